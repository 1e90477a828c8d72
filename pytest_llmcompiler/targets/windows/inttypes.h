/* The formats of 64 bits, for which musl's `l` is too narrow where `long` has 32. */
#include_next <inttypes.h>
#undef __PRI64
#undef __PRIPTR
#define __PRI64 "ll"
#define __PRIPTR "ll"
