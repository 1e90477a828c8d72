/* Constants of 64 bits for code whose `long` has 32 bits. musl's header writes them with the suffix `L`. */
#include_next <stdint.h>
#undef INT64_C
#undef UINT64_C
#undef INTMAX_C
#undef UINTMAX_C
#define INT64_C(number) number##LL
#define UINT64_C(number) number##ULL
#define INTMAX_C(number) number##LL
#define UINTMAX_C(number) number##ULL
