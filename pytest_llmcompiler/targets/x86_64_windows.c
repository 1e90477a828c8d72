/* The wrapper of the C library for code that is compiled for Windows.

   The code runs in a Linux process and calls the functions of musl. It calls them by the Microsoft convention, and its
   `long` has 32 bits. Each function here takes the arguments by that convention, has 32 bits where the library has
   `long`, and calls the library. The linker's name of the wrapper of `f` is `win64.f`, which is also the name that the
   code uses.

   Some functions share a type with their caller that has another layout on Windows, or call the caller back by a
   convention that a wrapper can't know. These are not wrapped: setjmp, wide characters, `struct tm`, threads,
   signals, atexit, long double. */
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

/* A wrapper is weak, since a case may define a function of the same name. */
#define MS __attribute__((ms_abi, weak))
#define SYMBOL(name) __asm__("win64." #name)
/* A wrapper that only changes the convention: its result type, its name, and the types of its parameters. */
#define WRAP0(R, name) \
    MS R w_##name(void) SYMBOL(name); \
    MS R w_##name(void) { return (R)name(); }
#define WRAP1(R, name, A) \
    MS R w_##name(A a) SYMBOL(name); \
    MS R w_##name(A a) { return (R)name(a); }
#define WRAP2(R, name, A, B) \
    MS R w_##name(A a, B b) SYMBOL(name); \
    MS R w_##name(A a, B b) { return (R)name(a, b); }
#define WRAP3(R, name, A, B, C) \
    MS R w_##name(A a, B b, C c) SYMBOL(name); \
    MS R w_##name(A a, B b, C c) { return (R)name(a, b, c); }
#define WRAP4(R, name, A, B, C, D) \
    MS R w_##name(A a, B b, C c, D d) SYMBOL(name); \
    MS R w_##name(A a, B b, C c, D d) { return (R)name(a, b, c, d); }

typedef const char *string;
typedef const void *address;
typedef long long s64;

/* string.h, strings.h */
WRAP3(void *, memcpy, void *, address, size_t)
WRAP3(void *, memmove, void *, address, size_t)
WRAP3(void *, memset, void *, int, size_t)
WRAP3(int, memcmp, address, address, size_t)
WRAP3(void *, memchr, address, int, size_t)
WRAP3(void *, memrchr, address, int, size_t)
WRAP3(void *, mempcpy, void *, address, size_t)
WRAP4(void *, memccpy, void *, address, int, size_t)
WRAP4(void *, memmem, address, size_t, address, size_t)
WRAP3(int, bcmp, address, address, size_t)
WRAP3(void, bcopy, address, void *, size_t)
WRAP2(void, bzero, void *, size_t)
WRAP1(size_t, strlen, string)
WRAP2(size_t, strnlen, string, size_t)
WRAP2(int, strcmp, string, string)
WRAP3(int, strncmp, string, string, size_t)
WRAP2(int, strcasecmp, string, string)
WRAP3(int, strncasecmp, string, string, size_t)
WRAP2(int, strcoll, string, string)
WRAP3(size_t, strxfrm, char *, string, size_t)
WRAP2(char *, strcpy, char *, string)
WRAP2(char *, stpcpy, char *, string)
WRAP3(char *, strncpy, char *, string, size_t)
WRAP3(char *, stpncpy, char *, string, size_t)
WRAP2(char *, strcat, char *, string)
WRAP3(char *, strncat, char *, string, size_t)
WRAP3(size_t, strlcpy, char *, string, size_t)
WRAP3(size_t, strlcat, char *, string, size_t)
WRAP2(char *, strchr, string, int)
WRAP2(char *, strrchr, string, int)
WRAP2(char *, strchrnul, string, int)
WRAP2(char *, index, string, int)
WRAP2(char *, rindex, string, int)
WRAP2(char *, strstr, string, string)
WRAP2(char *, strcasestr, string, string)
WRAP2(size_t, strspn, string, string)
WRAP2(size_t, strcspn, string, string)
WRAP2(char *, strpbrk, string, string)
WRAP2(char *, strtok, char *, string)
WRAP3(char *, strtok_r, char *, string, char **)
WRAP2(char *, strsep, char **, string)
WRAP1(char *, strdup, string)
WRAP2(char *, strndup, string, size_t)
WRAP1(char *, strerror, int)
WRAP1(int, ffs, int)
WRAP1(int, ffsll, s64)

/* ctype.h */
WRAP1(int, isalnum, int)
WRAP1(int, isalpha, int)
WRAP1(int, isblank, int)
WRAP1(int, iscntrl, int)
WRAP1(int, isdigit, int)
WRAP1(int, isgraph, int)
WRAP1(int, islower, int)
WRAP1(int, isprint, int)
WRAP1(int, ispunct, int)
WRAP1(int, isspace, int)
WRAP1(int, isupper, int)
WRAP1(int, isxdigit, int)
WRAP1(int, isascii, int)
WRAP1(int, tolower, int)
WRAP1(int, toupper, int)

/* stdlib.h, errno.h, assert.h */
WRAP1(void *, malloc, size_t)
WRAP2(void *, calloc, size_t, size_t)
WRAP2(void *, realloc, void *, size_t)
WRAP3(void *, reallocarray, void *, size_t, size_t)
WRAP1(void, free, void *)
WRAP2(void *, aligned_alloc, size_t, size_t)
WRAP2(void *, memalign, size_t, size_t)
WRAP3(int, posix_memalign, void **, size_t, size_t)
WRAP1(int, abs, int)
WRAP1(int, labs, int)
WRAP1(s64, llabs, s64)
WRAP1(s64, imaxabs, s64)
WRAP2(div_t, div, int, int)
WRAP2(lldiv_t, lldiv, s64, s64)
WRAP1(int, atoi, string)
WRAP1(int, atol, string)
WRAP1(s64, atoll, string)
WRAP1(double, atof, string)
WRAP2(double, strtod, string, char **)
WRAP2(float, strtof, string, char **)
WRAP3(s64, strtoll, string, char **, int)
WRAP3(s64, strtoull, string, char **, int)
WRAP3(s64, strtoimax, string, char **, int)
WRAP3(s64, strtoumax, string, char **, int)
WRAP0(int, rand)
WRAP1(void, srand, unsigned)
WRAP1(int, rand_r, unsigned *)
WRAP0(int, random)
WRAP1(void, srandom, unsigned)
WRAP1(char *, getenv, string)
WRAP1(void, exit, int)
WRAP1(void, _Exit, int)
WRAP0(void, abort)
WRAP0(int *, __errno_location)
WRAP4(void, __assert_fail, string, string, int, string)

/* `ldiv_t` where `long` has 32 bits. */
typedef struct {
    int quot, rem;
} quotient32;

MS quotient32 w_ldiv(int a, int b) SYMBOL(ldiv);
MS quotient32 w_ldiv(int a, int b) { return (quotient32){a / b, a % b}; }

/* A number that does not fit 32 bits is a range error. */

MS int w_strtol(string s, char **end, int base) SYMBOL(strtol);
MS int w_strtol(string s, char **end, int base)
{
    long number = strtol(s, end, base);

    if (number != (int)number) {
        errno = ERANGE;
        return number < 0 ? INT_MIN : INT_MAX;
    }
    return (int)number;
}

MS unsigned w_strtoul(string s, char **end, int base) SYMBOL(strtoul);
MS unsigned w_strtoul(string s, char **end, int base)
{
    unsigned long number = strtoul(s, end, base);

    if (number > UINT_MAX && -number > UINT_MAX) { /* a number with a minus sign wraps around */
        errno = ERANGE;
        return UINT_MAX;
    }
    return (unsigned)number;
}

typedef int (__attribute__((ms_abi)) *comparison)(address, address);

/* Calls the comparison function, which has the Microsoft convention, for qsort_r. */
static int call_comparison(address a, address b, void *compare) { return ((comparison)compare)(a, b); }

MS void w_qsort(void *base, size_t count, size_t size, comparison compare) SYMBOL(qsort);
MS void w_qsort(void *base, size_t count, size_t size, comparison compare)
{
    qsort_r(base, count, size, call_comparison, (void *)compare);
}

MS void *w_bsearch(address key, address base, size_t count, size_t size, comparison compare) SYMBOL(bsearch);
MS void *w_bsearch(address key, address base, size_t count, size_t size, comparison compare)
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
WRAP1(time_t, time, time_t *)
WRAP0(int, clock)
WRAP2(double, difftime, time_t, time_t)
WRAP2(int, gettimeofday, struct timeval *, void *)
WRAP2(int, clock_gettime, int, struct timespec *)
WRAP2(int, timespec_get, struct timespec *, int)
WRAP0(int, getpid)
WRAP3(s64, read, int, void *, size_t)
WRAP3(s64, write, int, address, size_t)

/* stdio.h */
WRAP1(int, puts, string)
WRAP1(int, putchar, int)
WRAP2(int, fputs, string, FILE *)
WRAP2(int, fputc, int, FILE *)
WRAP2(int, putc, int, FILE *)
WRAP4(size_t, fwrite, address, size_t, size_t, FILE *)
WRAP4(size_t, fread, void *, size_t, size_t, FILE *)
WRAP0(int, getchar)
WRAP1(int, fgetc, FILE *)
WRAP1(int, getc, FILE *)
WRAP2(int, ungetc, int, FILE *)
WRAP3(char *, fgets, char *, int, FILE *)
WRAP1(int, fflush, FILE *)
WRAP1(int, feof, FILE *)
WRAP1(int, ferror, FILE *)
WRAP2(FILE *, fopen, string, string)
WRAP1(int, fclose, FILE *)
WRAP1(void, perror, string)

/* The variable arguments of a Windows function are in consecutive slots of 8 bytes. A System V `va_list` can read
   such slots: its `overflow_arg_area` is where the arguments are that did not fit into registers (processor
   supplement, section 3.5.7). The two offsets count the bytes of saved registers that are used up: all 48 of the
   general registers, and all up to 304, which is 48 + 16 * 16, of the vector registers. */
struct system_v_list {
    unsigned general_offset, vector_offset;
    char *overflow_arg_area, *register_save_area;
};
#define LIST(name, arguments) \
    va_list name; \
    *(struct system_v_list *)name = (struct system_v_list){48, 304, arguments, NULL}

static int is_one_of(string letters, char letter)
{
    while (*letters && *letters != letter) {
        letters++;
    }
    return *letters != 0;
}

/* Copies a format without the `l` of integers, which have 32 bits here where the format has `l`. Traps for wide
   characters and long double, whose types differ on Windows. */
static void translate_format(string format, char *to)
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

/* Defines a variable that holds a translated format. */
#define TRANSLATE(name, format) \
    char name[strlen(format) + 1]; \
    translate_format(format, name)

/* A function `name(A, format, ...)` and its variant with a list of arguments. */
#define WRAP_FORMATTED(name, A) \
    MS int w_v##name(A a, string format, char *slots) SYMBOL(v##name); \
    MS int w_v##name(A a, string format, char *slots) \
    { \
        TRANSLATE(plain, format); \
        LIST(list, slots); \
        return v##name(a, plain, list); \
    } \
    MS int w_##name(A a, string format, ...) SYMBOL(name); \
    MS int w_##name(A a, string format, ...) \
    { \
        __builtin_ms_va_list slots; \
        __builtin_ms_va_start(slots, format); \
        return w_v##name(a, format, slots); \
    }
WRAP_FORMATTED(fprintf, FILE *)
WRAP_FORMATTED(sprintf, char *)
WRAP_FORMATTED(asprintf, char **)
WRAP_FORMATTED(fscanf, FILE *)
WRAP_FORMATTED(sscanf, string)

MS int w_vprintf(string format, char *slots) SYMBOL(vprintf);
MS int w_vprintf(string format, char *slots) { return w_vfprintf(stdout, format, slots); }

MS int w_printf(string format, ...) SYMBOL(printf);
MS int w_printf(string format, ...)
{
    __builtin_ms_va_list slots;
    __builtin_ms_va_start(slots, format);
    return w_vfprintf(stdout, format, slots);
}

MS int w_scanf(string format, ...) SYMBOL(scanf);
MS int w_scanf(string format, ...)
{
    __builtin_ms_va_list slots;
    __builtin_ms_va_start(slots, format);
    return w_vfscanf(stdin, format, slots);
}

MS int w_vsnprintf(char *to, size_t size, string format, char *slots) SYMBOL(vsnprintf);
MS int w_vsnprintf(char *to, size_t size, string format, char *slots)
{
    TRANSLATE(plain, format);
    LIST(list, slots);
    return vsnprintf(to, size, plain, list);
}

MS int w_snprintf(char *to, size_t size, string format, ...) SYMBOL(snprintf);
MS int w_snprintf(char *to, size_t size, string format, ...)
{
    __builtin_ms_va_list slots;
    __builtin_ms_va_start(slots, format);
    return w_vsnprintf(to, size, format, slots);
}

/* math.h: each function for double and for float. */
#define WRAP_MATH1(name) WRAP1(double, name, double) WRAP1(float, name##f, float)
#define WRAP_MATH2(name) WRAP2(double, name, double, double) WRAP2(float, name##f, float, float)
WRAP_MATH1(sqrt)
WRAP_MATH1(cbrt)
WRAP_MATH1(fabs)
WRAP_MATH1(floor)
WRAP_MATH1(ceil)
WRAP_MATH1(round)
WRAP_MATH1(trunc)
WRAP_MATH1(rint)
WRAP_MATH1(nearbyint)
WRAP_MATH1(sin)
WRAP_MATH1(cos)
WRAP_MATH1(tan)
WRAP_MATH1(asin)
WRAP_MATH1(acos)
WRAP_MATH1(atan)
WRAP_MATH1(sinh)
WRAP_MATH1(cosh)
WRAP_MATH1(tanh)
WRAP_MATH1(asinh)
WRAP_MATH1(acosh)
WRAP_MATH1(atanh)
WRAP_MATH1(exp)
WRAP_MATH1(exp2)
WRAP_MATH1(expm1)
WRAP_MATH1(log)
WRAP_MATH1(log2)
WRAP_MATH1(log10)
WRAP_MATH1(log1p)
WRAP_MATH1(logb)
WRAP_MATH1(erf)
WRAP_MATH1(erfc)
WRAP_MATH1(tgamma)
WRAP_MATH1(lgamma)
WRAP_MATH2(pow)
WRAP_MATH2(fmod)
WRAP_MATH2(remainder)
WRAP_MATH2(fmin)
WRAP_MATH2(fmax)
WRAP_MATH2(fdim)
WRAP_MATH2(hypot)
WRAP_MATH2(atan2)
WRAP_MATH2(copysign)
WRAP_MATH2(nextafter)
WRAP3(double, fma, double, double, double)
WRAP3(float, fmaf, float, float, float)
WRAP2(double, ldexp, double, int)
WRAP2(float, ldexpf, float, int)
WRAP2(double, scalbn, double, int)
WRAP2(float, scalbnf, float, int)
WRAP2(double, frexp, double, int *)
WRAP2(float, frexpf, float, int *)
WRAP2(double, modf, double, double *)
WRAP2(float, modff, float, float *)
WRAP1(int, ilogb, double)
WRAP1(int, ilogbf, float)
WRAP1(int, lround, double)
WRAP1(int, lroundf, float)
WRAP1(s64, llround, double)
WRAP1(s64, llroundf, float)
WRAP1(int, lrint, double)
WRAP1(int, lrintf, float)
WRAP1(s64, llrint, double)
WRAP1(s64, llrintf, float)
WRAP1(int, __fpclassify, double)
WRAP1(int, __fpclassifyf, float)
WRAP1(int, __signbit, double)
WRAP1(int, __signbitf, float)

/* The functions of the compiler's library for integers of 128 bits. By the Microsoft convention such an integer is
   passed by reference, and returned in a vector register. */
typedef __int128 s128;
typedef long long vector __attribute__((vector_size(16)));
typedef union {
    s128 number;
    vector lanes;
} int128_or_vector;
#define WRAP_INT128(name) \
    s128 name(s128, s128); \
    MS vector w_##name(const s128 *a, const s128 *b) SYMBOL(name); \
    MS vector w_##name(const s128 *a, const s128 *b) { return (int128_or_vector){name(*a, *b)}.lanes; }
#define WRAP_FROM_INT128(R, name) \
    R name(s128); \
    MS R w_##name(const s128 *a) SYMBOL(name); \
    MS R w_##name(const s128 *a) { return name(*a); }
#define WRAP_TO_INT128(A, name) \
    s128 name(A); \
    MS vector w_##name(A a) SYMBOL(name); \
    MS vector w_##name(A a) { return (int128_or_vector){name(a)}.lanes; }
WRAP_INT128(__divti3)
WRAP_INT128(__modti3)
WRAP_INT128(__udivti3)
WRAP_INT128(__umodti3)
WRAP_INT128(__multi3)
WRAP_FROM_INT128(double, __floattidf)
WRAP_FROM_INT128(double, __floatuntidf)
WRAP_FROM_INT128(float, __floattisf)
WRAP_FROM_INT128(float, __floatuntisf)
WRAP_TO_INT128(double, __fixdfti)
WRAP_TO_INT128(double, __fixunsdfti)
WRAP_TO_INT128(float, __fixsfti)
WRAP_TO_INT128(float, __fixunssfti)
int __popcountdi2(s64);
int __popcountsi2(int);
WRAP1(int, __popcountdi2, s64)
WRAP1(int, __popcountsi2, int)

/* Code for Windows calls `__main` at the start of `main`, to run constructors: there are none. It calls
   `___chkstk_ms` before it makes a frame of more than a page, so that the stack can grow: the whole stack is there
   from the start. */
MS void w___main(void) SYMBOL(__main);
MS void w___main(void) {}
__asm__(
    ".weak win64.___chkstk_ms, win64.__chkstk\n"
    ".type win64.___chkstk_ms,@function\n.type win64.__chkstk,@function\n"
    "win64.___chkstk_ms:\nwin64.__chkstk:\n\tret\n"
    ".size win64.___chkstk_ms,1\n.size win64.__chkstk,1\n");
