/* <math.h> with the result of glibc's isinf: -1 for negative infinity. */
#ifndef LLMC_GLIBC_MATH_H
#define LLMC_GLIBC_MATH_H

#include_next <math.h>

#undef isinf
#define isinf(x) __builtin_isinf_sign(x)

#endif
