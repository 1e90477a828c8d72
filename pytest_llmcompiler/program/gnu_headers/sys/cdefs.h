/* <sys/cdefs.h>, which musl lacks: the macros that programs take from glibc and the BSDs. All code here is C, not C++. */
#ifndef LLMC_GNU_SYS_CDEFS_H
#define LLMC_GNU_SYS_CDEFS_H

#define __BEGIN_DECLS
#define __END_DECLS
#define __THROW __attribute__((__nothrow__))
#define __THROWNL __attribute__((__nothrow__))
#define __NTH(declaration) __attribute__((__nothrow__)) declaration
#define __P(parameters) parameters
#define __PMT(parameters) parameters
#define __CONCAT(first, second) first##second
#define __STRING(text) #text
#define __nonnull(parameters) __attribute__((__nonnull__ parameters))
#define __wur
#define __attribute_pure__ __attribute__((__pure__))
#define __attribute_const__ __attribute__((__const__))
#define __attribute_malloc__ __attribute__((__malloc__))
#define __attribute_noinline__ __attribute__((__noinline__))
#define __attribute_used__ __attribute__((__used__))
#define __attribute_deprecated__ __attribute__((__deprecated__))
#define __attribute_warn_unused_result__ __attribute__((__warn_unused_result__))
#define __always_inline inline __attribute__((__always_inline__))
#define __GNUC_PREREQ(major, minor) ((__GNUC__ << 16) + __GNUC_MINOR__ >= ((major) << 16) + (minor))

#endif
