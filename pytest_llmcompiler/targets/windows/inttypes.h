/* Formats of 64-bit integers for code whose `long` has 32 bits. musl's header writes them with `l`. */
#include_next <inttypes.h>
#undef __PRI64
#undef __PRIPTR
#define __PRI64 "ll"
#define __PRIPTR "ll"
