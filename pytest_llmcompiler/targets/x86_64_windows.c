/* The C library as code for Windows calls it: musl's functions under the Microsoft calling convention, where `long` has
   32 bits. This is compiled for Linux; each function is named `win64.` and its own name.

   Not here, because what they share with their caller has another layout or convention on Windows: setjmp, wide
   characters, `struct tm`, threads, signals, atexit, long double. */
#define _GNU_SOURCE
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Weak: a case may have a function of the same name. */
#define MS __attribute__((ms_abi, weak))
#define NAMED(name) __asm__("win64." #name)
#define F0(R, name) \
    MS R w_##name(void) NAMED(name); \
    MS R w_##name(void) { return (R)name(); }
#define F1(R, name, A) \
    MS R w_##name(A a) NAMED(name); \
    MS R w_##name(A a) { return (R)name(a); }
#define F2(R, name, A, B) \
    MS R w_##name(A a, B b) NAMED(name); \
    MS R w_##name(A a, B b) { return (R)name(a, b); }
#define F3(R, name, A, B, C) \
    MS R w_##name(A a, B b, C c) NAMED(name); \
    MS R w_##name(A a, B b, C c) { return (R)name(a, b, c); }
#define F4(R, name, A, B, C, D) \
    MS R w_##name(A a, B b, C c, D d) NAMED(name); \
    MS R w_##name(A a, B b, C c, D d) { return (R)name(a, b, c, d); }

typedef const char *text;
typedef const void *memory;
typedef long long s64;

/* string.h, strings.h */
F3(void *, memcpy, void *, memory, size_t)
F3(void *, memmove, void *, memory, size_t)
F3(void *, memset, void *, int, size_t)
F3(int, memcmp, memory, memory, size_t)
F3(void *, memchr, memory, int, size_t)
F3(void *, memrchr, memory, int, size_t)
F3(void *, mempcpy, void *, memory, size_t)
F4(void *, memccpy, void *, memory, int, size_t)
F4(void *, memmem, memory, size_t, memory, size_t)
F3(int, bcmp, memory, memory, size_t)
F3(void, bcopy, memory, void *, size_t)
F2(void, bzero, void *, size_t)
F1(size_t, strlen, text)
F2(size_t, strnlen, text, size_t)
F2(int, strcmp, text, text)
F3(int, strncmp, text, text, size_t)
F2(int, strcasecmp, text, text)
F3(int, strncasecmp, text, text, size_t)
F2(int, strcoll, text, text)
F3(size_t, strxfrm, char *, text, size_t)
F2(char *, strcpy, char *, text)
F2(char *, stpcpy, char *, text)
F3(char *, strncpy, char *, text, size_t)
F3(char *, stpncpy, char *, text, size_t)
F2(char *, strcat, char *, text)
F3(char *, strncat, char *, text, size_t)
F3(size_t, strlcpy, char *, text, size_t)
F3(size_t, strlcat, char *, text, size_t)
F2(char *, strchr, text, int)
F2(char *, strrchr, text, int)
F2(char *, strchrnul, text, int)
F2(char *, index, text, int)
F2(char *, rindex, text, int)
F2(char *, strstr, text, text)
F2(char *, strcasestr, text, text)
F2(size_t, strspn, text, text)
F2(size_t, strcspn, text, text)
F2(char *, strpbrk, text, text)
F2(char *, strtok, char *, text)
F3(char *, strtok_r, char *, text, char **)
F2(char *, strsep, char **, text)
F1(char *, strdup, text)
F2(char *, strndup, text, size_t)
F1(char *, strerror, int)
F1(int, ffs, int)
F1(int, ffsll, s64)

/* ctype.h */
F1(int, isalnum, int)
F1(int, isalpha, int)
F1(int, isblank, int)
F1(int, iscntrl, int)
F1(int, isdigit, int)
F1(int, isgraph, int)
F1(int, islower, int)
F1(int, isprint, int)
F1(int, ispunct, int)
F1(int, isspace, int)
F1(int, isupper, int)
F1(int, isxdigit, int)
F1(int, isascii, int)
F1(int, tolower, int)
F1(int, toupper, int)

/* stdlib.h, errno.h, assert.h */
F1(void *, malloc, size_t)
F2(void *, calloc, size_t, size_t)
F2(void *, realloc, void *, size_t)
F3(void *, reallocarray, void *, size_t, size_t)
F1(void, free, void *)
F2(void *, aligned_alloc, size_t, size_t)
F2(void *, memalign, size_t, size_t)
F3(int, posix_memalign, void **, size_t, size_t)
F1(int, abs, int)
F1(int, labs, int)
F1(s64, llabs, s64)
F1(s64, imaxabs, s64)
F2(div_t, div, int, int)
F2(lldiv_t, lldiv, s64, s64)
F1(int, atoi, text)
F1(int, atol, text)
F1(s64, atoll, text)
F1(double, atof, text)
F2(double, strtod, text, char **)
F2(float, strtof, text, char **)
F3(s64, strtoll, text, char **, int)
F3(s64, strtoull, text, char **, int)
F3(s64, strtoimax, text, char **, int)
F3(s64, strtoumax, text, char **, int)
F0(int, rand)
F1(void, srand, unsigned)
F1(int, rand_r, unsigned *)
F0(int, random)
F1(void, srandom, unsigned)
F1(char *, getenv, text)
F1(void, exit, int)
F1(void, _Exit, int)
F0(void, abort)
F0(int *, __errno_location)
F4(void, __assert_fail, text, text, int, text)

typedef struct {
    int quot, rem;
} pair;

MS pair w_ldiv(int a, int b) NAMED(ldiv);
MS pair w_ldiv(int a, int b) { return (pair){a / b, a % b}; }

MS int w_strtol(text s, char **end, int base) NAMED(strtol);
MS int w_strtol(text s, char **end, int base)
{
    long number = strtol(s, end, base);

    if (number != (int)number) {
        errno = ERANGE;
        return number < 0 ? INT_MIN : INT_MAX;
    }
    return (int)number;
}

MS unsigned w_strtoul(text s, char **end, int base) NAMED(strtoul);
MS unsigned w_strtoul(text s, char **end, int base)
{
    unsigned long number = strtoul(s, end, base);

    if (number > UINT_MAX && -number > UINT_MAX) { /* one with a minus sign wraps */
        errno = ERANGE;
        return UINT_MAX;
    }
    return (unsigned)number;
}

typedef int (__attribute__((ms_abi)) *comparison)(memory, memory);

static int compared(memory a, memory b, void *compare) { return ((comparison)compare)(a, b); }

MS void w_qsort(void *base, size_t count, size_t size, comparison compare) NAMED(qsort);
MS void w_qsort(void *base, size_t count, size_t size, comparison compare)
{
    qsort_r(base, count, size, compared, (void *)compare);
}

MS void *w_bsearch(memory key, memory base, size_t count, size_t size, comparison compare) NAMED(bsearch);
MS void *w_bsearch(memory key, memory base, size_t count, size_t size, comparison compare)
{
    while (count) {
        size_t half = count / 2;
        char *middle = (char *)base + half * size;
        int sign = compare(key, middle);

        if (!sign) {
            return middle;
        }
        base = sign < 0 ? base : middle + size;
        count = sign < 0 ? half : count - half - 1;
    }
    return NULL;
}

/* time.h, unistd.h */
F1(time_t, time, time_t *)
F0(int, clock)
F2(double, difftime, time_t, time_t)
F2(int, gettimeofday, struct timeval *, void *)
F2(int, clock_gettime, int, struct timespec *)
F2(int, timespec_get, struct timespec *, int)
F0(int, getpid)
F3(s64, read, int, void *, size_t)
F3(s64, write, int, memory, size_t)

/* stdio.h */
F1(int, puts, text)
F1(int, putchar, int)
F2(int, fputs, text, FILE *)
F2(int, fputc, int, FILE *)
F2(int, putc, int, FILE *)
F4(size_t, fwrite, memory, size_t, size_t, FILE *)
F4(size_t, fread, void *, size_t, size_t, FILE *)
F0(int, getchar)
F1(int, fgetc, FILE *)
F1(int, getc, FILE *)
F2(int, ungetc, int, FILE *)
F3(char *, fgets, char *, int, FILE *)
F1(int, fflush, FILE *)
F1(int, feof, FILE *)
F1(int, ferror, FILE *)
F2(FILE *, fopen, text, text)
F1(int, fclose, FILE *)
F1(void, perror, text)

/* Arguments of a variadic function lie in slots of 8 bytes, which for System V are those that no register had room for
   (its processor supplement, section 3.5.7). Registers are used up where these offsets begin. */
struct list {
    unsigned general, vectors;
    char *slots, *registers;
};
#define LIST(name, arguments) \
    va_list name; \
    *(struct list *)name = (struct list){48, 304, arguments, NULL}

static int is_one_of(text letters, char letter)
{
    while (*letters && *letters != letter) {
        letters++;
    }
    return *letters != 0;
}

/* A format without the `l` in front of integers, which have 32 bits where it stands. Wide characters and long double are
   others on Windows: these trap. */
static void translate(text format, char *to)
{
    while (*format) {
        if ((*to++ = *format++) != '%') {
            continue;
        }
        while (*format && *format < 'A' && *format != '%') { /* flags, width and precision */
            *to++ = *format++;
        }
        if (is_one_of("LSC", *format) || (*format == 'l' && is_one_of("sc[", format[1]))) {
            __builtin_trap();
        }
        if (*format == 'l' && is_one_of("diouxXn", format[1])) {
            format++;
        }
        while (is_one_of("hljztq", *format)) {
            *to++ = *format++;
        }
        if (*format) {
            *to++ = *format++;
        }
    }
    *to = 0;
}

#define TRANSLATED(name, format) \
    char name[strlen(format) + 1]; \
    translate(format, name)

#define V1(name, A) \
    MS int w_v##name(A a, text format, char *slots) NAMED(v##name); \
    MS int w_v##name(A a, text format, char *slots) \
    { \
        TRANSLATED(plain, format); \
        LIST(list, slots); \
        return v##name(a, plain, list); \
    } \
    MS int w_##name(A a, text format, ...) NAMED(name); \
    MS int w_##name(A a, text format, ...) \
    { \
        __builtin_ms_va_list slots; \
        __builtin_ms_va_start(slots, format); \
        return w_v##name(a, format, slots); \
    }
V1(fprintf, FILE *)
V1(sprintf, char *)
V1(asprintf, char **)
V1(fscanf, FILE *)
V1(sscanf, text)

MS int w_vprintf(text format, char *slots) NAMED(vprintf);
MS int w_vprintf(text format, char *slots) { return w_vfprintf(stdout, format, slots); }

MS int w_printf(text format, ...) NAMED(printf);
MS int w_printf(text format, ...)
{
    __builtin_ms_va_list slots;
    __builtin_ms_va_start(slots, format);
    return w_vfprintf(stdout, format, slots);
}

MS int w_scanf(text format, ...) NAMED(scanf);
MS int w_scanf(text format, ...)
{
    __builtin_ms_va_list slots;
    __builtin_ms_va_start(slots, format);
    return w_vfscanf(stdin, format, slots);
}

MS int w_vsnprintf(char *to, size_t size, text format, char *slots) NAMED(vsnprintf);
MS int w_vsnprintf(char *to, size_t size, text format, char *slots)
{
    TRANSLATED(plain, format);
    LIST(list, slots);
    return vsnprintf(to, size, plain, list);
}

MS int w_snprintf(char *to, size_t size, text format, ...) NAMED(snprintf);
MS int w_snprintf(char *to, size_t size, text format, ...)
{
    __builtin_ms_va_list slots;
    __builtin_ms_va_start(slots, format);
    return w_vsnprintf(to, size, format, slots);
}

/* math.h */
#define M1(name) F1(double, name, double) F1(float, name##f, float)
#define M2(name) F2(double, name, double, double) F2(float, name##f, float, float)
M1(sqrt)
M1(cbrt)
M1(fabs)
M1(floor)
M1(ceil)
M1(round)
M1(trunc)
M1(rint)
M1(nearbyint)
M1(sin)
M1(cos)
M1(tan)
M1(asin)
M1(acos)
M1(atan)
M1(sinh)
M1(cosh)
M1(tanh)
M1(asinh)
M1(acosh)
M1(atanh)
M1(exp)
M1(exp2)
M1(expm1)
M1(log)
M1(log2)
M1(log10)
M1(log1p)
M1(logb)
M1(erf)
M1(erfc)
M1(tgamma)
M1(lgamma)
M2(pow)
M2(fmod)
M2(remainder)
M2(fmin)
M2(fmax)
M2(fdim)
M2(hypot)
M2(atan2)
M2(copysign)
M2(nextafter)
F3(double, fma, double, double, double)
F3(float, fmaf, float, float, float)
F2(double, ldexp, double, int)
F2(float, ldexpf, float, int)
F2(double, scalbn, double, int)
F2(float, scalbnf, float, int)
F2(double, frexp, double, int *)
F2(float, frexpf, float, int *)
F2(double, modf, double, double *)
F2(float, modff, float, float *)
F1(int, ilogb, double)
F1(int, ilogbf, float)
F1(int, lround, double)
F1(int, lroundf, float)
F1(s64, llround, double)
F1(s64, llroundf, float)
F1(int, lrint, double)
F1(int, lrintf, float)
F1(s64, llrint, double)
F1(s64, llrintf, float)
F1(int, __fpclassify, double)
F1(int, __fpclassifyf, float)
F1(int, __signbit, double)
F1(int, __signbitf, float)

/* What compilers call for numbers of 128 bits: these go by reference, and come back in a vector register. */
typedef __int128 s128;
typedef long long vector __attribute__((vector_size(16)));
typedef union {
    s128 number;
    vector lanes;
} both;
#define I2(name) \
    s128 name(s128, s128); \
    MS vector w_##name(const s128 *a, const s128 *b) NAMED(name); \
    MS vector w_##name(const s128 *a, const s128 *b) { return (both){name(*a, *b)}.lanes; }
#define TO_FLOAT(R, name) \
    R name(s128); \
    MS R w_##name(const s128 *a) NAMED(name); \
    MS R w_##name(const s128 *a) { return name(*a); }
#define FROM_FLOAT(A, name) \
    s128 name(A); \
    MS vector w_##name(A a) NAMED(name); \
    MS vector w_##name(A a) { return (both){name(a)}.lanes; }
I2(__divti3)
I2(__modti3)
I2(__udivti3)
I2(__umodti3)
I2(__multi3)
TO_FLOAT(double, __floattidf)
TO_FLOAT(double, __floatuntidf)
TO_FLOAT(float, __floattisf)
TO_FLOAT(float, __floatuntisf)
FROM_FLOAT(double, __fixdfti)
FROM_FLOAT(double, __fixunsdfti)
FROM_FLOAT(float, __fixsfti)
FROM_FLOAT(float, __fixunssfti)
int __popcountdi2(s64);
int __popcountsi2(int);
F1(int, __popcountdi2, s64)
F1(int, __popcountsi2, int)

/* Called at the start of `main`, and before a large frame is taken: the stack is all there. */
MS void w___main(void) NAMED(__main);
MS void w___main(void) {}
__asm__(
    ".weak win64.___chkstk_ms, win64.__chkstk\n"
    ".type win64.___chkstk_ms,@function\n.type win64.__chkstk,@function\n"
    "win64.___chkstk_ms:\nwin64.__chkstk:\n\tret\n"
    ".size win64.___chkstk_ms,1\n.size win64.__chkstk,1\n");
