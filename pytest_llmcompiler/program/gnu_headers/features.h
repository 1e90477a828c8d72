/* <features.h>, which every header of the C library includes, with the macros of glibc's <sys/cdefs.h>. */
#ifndef LLMC_GNU_FEATURES_H
#define LLMC_GNU_FEATURES_H

#include_next <features.h>
#include <sys/cdefs.h>

#endif
