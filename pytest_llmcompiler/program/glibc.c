/* glibc's own functions that musl lacks, written with musl's: what glibc's headers and compilers for glibc name.

   The headers of glibc turn calls into calls of functions of the same work: strcpy into __strcpy_chk under
   -D_FORTIFY_SOURCE, toupper into a table. Functions that merely have another name in musl are not here: they are in
   glibc_names.txt. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <mqueue.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>
#include <wchar.h>

/* -- The tables behind toupper and tolower, for -128 to 255. Numbers below 0 map to themselves, as musl's functions
   map them; musl's own tables have zeros there. (Its table of classes fits.) */

#define UPPER(c) ((c) >= 'a' && (c) <= 'z' ? (c) - 32 : (c))
#define LOWER(c) ((c) >= 'A' && (c) <= 'Z' ? (c) + 32 : (c))
#define ROW4(f, c) f(c), f((c) + 1), f((c) + 2), f((c) + 3)
#define ROW16(f, c) ROW4(f, c), ROW4(f, (c) + 4), ROW4(f, (c) + 8), ROW4(f, (c) + 12)
#define ROW64(f, c) ROW16(f, c), ROW16(f, (c) + 16), ROW16(f, (c) + 32), ROW16(f, (c) + 48)
#define TABLE(f) {ROW64(f, -128), ROW64(f, -64), ROW64(f, 0), ROW64(f, 64), ROW64(f, 128), ROW64(f, 192)}

static const int32_t upper_table[384] = TABLE(UPPER), lower_table[384] = TABLE(LOWER);
static const int32_t *const upper_start = upper_table + 128, *const lower_start = lower_table + 128;

const int32_t *const *__ctype_toupper_loc(void) { return &upper_start; }
const int32_t *const *__ctype_tolower_loc(void) { return &lower_start; }

/* -- Failed checks */

_Noreturn void __fortify_fail(const char *message)
{
    dprintf(2, "*** %s ***: terminated\n", message);
    abort();
}
_Noreturn void __chk_fail(void) { __fortify_fail("buffer overflow detected"); }

/* Stops unless an object of `have` bytes has room for `need`. */
static void check(size_t need, size_t have)
{
    if (need > have)
        __chk_fail();
}
/* The same for `count` elements of `size` bytes. */
static void check_array(size_t count, size_t size, size_t have)
{
    if (size && count > have / size)
        __chk_fail();
}

/* -- Assertions */

_Noreturn void __assert_fail(const char *expression, const char *file, unsigned line, const char *function)
{
    dprintf(2, "%s:%u: %s: Assertion `%s' failed.\n", file, line, function ? function : "", expression);
    abort();
}
_Noreturn void __assert(const char *expression, const char *file, int line)
{
    __assert_fail(expression, file, (unsigned)line, 0);
}
_Noreturn void __assert_perror_fail(int number, const char *file, unsigned line, const char *function)
{
    dprintf(2, "%s:%u: %s: Unexpected error: %s.\n", file, line, function ? function : "", strerror(number));
    abort();
}

/* -- Numbers */

#define CLASSIFY(suffix, type)                                                                                         \
    int __isinf##suffix(type x) { return __builtin_isinf_sign(x); }                                                    \
    int __isnan##suffix(type x) { return __builtin_isnan(x); }                                                         \
    int __finite##suffix(type x) { return __builtin_isfinite(x); }                                                     \
    int __issignaling##suffix(type x) { return __builtin_issignaling(x); }
CLASSIFY(, double)
CLASSIFY(f, float)
CLASSIFY(l, long double)

/* -- Hooks for profilers, which do nothing here */

void mcount(void) {}
void _mcount(void) {}
void __fentry__(void) {}
void __cyg_profile_func_enter(void *function, void *caller) { (void)function, (void)caller; }
void __cyg_profile_func_exit(void *function, void *caller) { (void)function, (void)caller; }

/* -- What gcc's own library has and the bundled compiler's lacks: arithmetic of -ftrapv, and unwinding, which no C
   function begins. */

#define TRAPPING(name, type, operation)                                                                                \
    type name(type a, type b)                                                                                          \
    {                                                                                                                  \
        type result;                                                                                                   \
        if (operation(a, b, &result))                                                                                  \
            abort();                                                                                                   \
        return result;                                                                                                 \
    }
TRAPPING(__mulvdi3, long long, __builtin_mul_overflow)
TRAPPING(__addvti3, __int128, __builtin_add_overflow)
TRAPPING(__subvti3, __int128, __builtin_sub_overflow)
TRAPPING(__mulvti3, __int128, __builtin_mul_overflow)
int __clrsbdi2(long long x) { return x == 0 || x == -1 ? 63 : __builtin_clzll(x < 0 ? ~x : x) - 1; }
int __clrsbti2(__int128 x)
{
    unsigned __int128 magnitude = x < 0 ? ~x : x;
    unsigned long long high = magnitude >> 64, low = magnitude;
    return high ? __builtin_clzll(high) - 1 : low ? 63 + __builtin_clzll(low) : 127;
}
_Noreturn void _Unwind_Resume(void *exception) { abort(); }
int __gcc_personality_v0(void) { abort(); }

/* -- Strings */

void *rawmemchr(const void *s, int c)
{
    const unsigned char *at = s;
    while (*at != (unsigned char)c)
        at++;
    return (void *)at;
}
wchar_t *wmempcpy(wchar_t *d, const wchar_t *s, size_t n) { return wmemcpy(d, s, n) + n; }

void *__memcpy_chk(void *d, const void *s, size_t n, size_t have) { return check(n, have), memcpy(d, s, n); }
void *__memmove_chk(void *d, const void *s, size_t n, size_t have) { return check(n, have), memmove(d, s, n); }
void *__mempcpy_chk(void *d, const void *s, size_t n, size_t have) { return check(n, have), mempcpy(d, s, n); }
void *__memset_chk(void *d, int c, size_t n, size_t have) { return check(n, have), memset(d, c, n); }
void *__memset_explicit_chk(void *d, int c, size_t n, size_t have) { return check(n, have), memset(d, c, n); }
void __explicit_bzero_chk(void *d, size_t n, size_t have) { check(n, have), explicit_bzero(d, n); }
char *__strcpy_chk(char *d, const char *s, size_t have) { return check(strlen(s) + 1, have), strcpy(d, s); }
char *__stpcpy_chk(char *d, const char *s, size_t have) { return check(strlen(s) + 1, have), stpcpy(d, s); }
char *__strncpy_chk(char *d, const char *s, size_t n, size_t have) { return check(n, have), strncpy(d, s, n); }
char *__stpncpy_chk(char *d, const char *s, size_t n, size_t have) { return check(n, have), stpncpy(d, s, n); }
char *__strcat_chk(char *d, const char *s, size_t have)
{
    return check(strlen(d) + strlen(s) + 1, have), strcat(d, s);
}
char *__strncat_chk(char *d, const char *s, size_t n, size_t have)
{
    return check(strlen(d) + strnlen(s, n) + 1, have), strncat(d, s, n);
}
size_t __strlcpy_chk(char *d, const char *s, size_t n, size_t have) { return check(n, have), strlcpy(d, s, n); }
size_t __strlcat_chk(char *d, const char *s, size_t n, size_t have) { return check(n, have), strlcat(d, s, n); }

wchar_t *__wmemcpy_chk(wchar_t *d, const wchar_t *s, size_t n, size_t have) { return check(n, have), wmemcpy(d, s, n); }
wchar_t *__wmemmove_chk(wchar_t *d, const wchar_t *s, size_t n, size_t have)
{
    return check(n, have), wmemmove(d, s, n);
}
wchar_t *__wmempcpy_chk(wchar_t *d, const wchar_t *s, size_t n, size_t have)
{
    return check(n, have), wmempcpy(d, s, n);
}
wchar_t *__wmemset_chk(wchar_t *d, wchar_t c, size_t n, size_t have) { return check(n, have), wmemset(d, c, n); }
wchar_t *__wcscpy_chk(wchar_t *d, const wchar_t *s, size_t have) { return check(wcslen(s) + 1, have), wcscpy(d, s); }
wchar_t *__wcpcpy_chk(wchar_t *d, const wchar_t *s, size_t have) { return check(wcslen(s) + 1, have), wcpcpy(d, s); }
wchar_t *__wcsncpy_chk(wchar_t *d, const wchar_t *s, size_t n, size_t have)
{
    return check(n, have), wcsncpy(d, s, n);
}
wchar_t *__wcpncpy_chk(wchar_t *d, const wchar_t *s, size_t n, size_t have)
{
    return check(n, have), wcpncpy(d, s, n);
}
wchar_t *__wcscat_chk(wchar_t *d, const wchar_t *s, size_t have)
{
    return check(wcslen(d) + wcslen(s) + 1, have), wcscat(d, s);
}
wchar_t *__wcsncat_chk(wchar_t *d, const wchar_t *s, size_t n, size_t have)
{
    return check(wcslen(d) + wcsnlen(s, n) + 1, have), wcsncat(d, s, n);
}
size_t __mbstowcs_chk(wchar_t *d, const char *s, size_t n, size_t have) { return check(n, have), mbstowcs(d, s, n); }
size_t __mbsrtowcs_chk(wchar_t *d, const char **s, size_t n, mbstate_t *state, size_t have)
{
    return check(n, have), mbsrtowcs(d, s, n, state);
}
size_t __mbsnrtowcs_chk(wchar_t *d, const char **s, size_t most, size_t n, mbstate_t *state, size_t have)
{
    return check(n, have), mbsnrtowcs(d, s, most, n, state);
}
size_t __wcstombs_chk(char *d, const wchar_t *s, size_t n, size_t have) { return check(n, have), wcstombs(d, s, n); }
size_t __wcsrtombs_chk(char *d, const wchar_t **s, size_t n, mbstate_t *state, size_t have)
{
    return check(n, have), wcsrtombs(d, s, n, state);
}
size_t __wcsnrtombs_chk(char *d, const wchar_t **s, size_t most, size_t n, mbstate_t *state, size_t have)
{
    return check(n, have), wcsnrtombs(d, s, most, n, state);
}
size_t __wcrtomb_chk(char *d, wchar_t c, mbstate_t *state, size_t have)
{
    return check(MB_CUR_MAX, have), wcrtomb(d, c, state);
}
int __wctomb_chk(char *d, wchar_t c, size_t have) { return check(MB_CUR_MAX, have), wctomb(d, c); }

/* -- printf and its kin. `flag` asks glibc for more checks of the format, which correct programs pass. */

int __vsnprintf_chk(char *d, size_t n, int flag, size_t have, const char *format, va_list list)
{
    return check(n, have), vsnprintf(d, n, format, list);
}
int __vsprintf_chk(char *d, int flag, size_t have, const char *format, va_list list)
{
    int length = vsnprintf(d, have > INT_MAX ? INT_MAX : have, format, list);
    return check(length < 0 ? 0 : (size_t)length + 1, have), length;
}
int __vswprintf_chk(wchar_t *d, size_t n, int flag, size_t have, const wchar_t *format, va_list list)
{
    return check(n, have), vswprintf(d, n, format, list);
}
int __vasprintf_chk(char **d, int flag, const char *format, va_list list) { return vasprintf(d, format, list); }
int __vdprintf_chk(int file, int flag, const char *format, va_list list) { return vdprintf(file, format, list); }
int __vfprintf_chk(FILE *file, int flag, const char *format, va_list list) { return vfprintf(file, format, list); }
int __vprintf_chk(int flag, const char *format, va_list list) { return vprintf(format, list); }
int __vfwprintf_chk(FILE *file, int flag, const wchar_t *format, va_list list)
{
    return vfwprintf(file, format, list);
}
int __vwprintf_chk(int flag, const wchar_t *format, va_list list) { return vwprintf(format, list); }
void __vsyslog_chk(int priority, int flag, const char *format, va_list list) { vsyslog(priority, format, list); }

/* Defines `NAME(parameters, format, ...)`, which calls `function(arguments, format, list)`. */
#define VARIADIC(name, character, function, arguments, ...)                                                            \
    int name(__VA_ARGS__, const character *format, ...)                                                                \
    {                                                                                                                  \
        va_list list;                                                                                                  \
        va_start(list, format);                                                                                        \
        int result = function arguments;                                                                               \
        va_end(list);                                                                                                  \
        return result;                                                                                                 \
    }
VARIADIC(__sprintf_chk, char, __vsprintf_chk, (d, flag, have, format, list), char *d, int flag, size_t have)
VARIADIC(__snprintf_chk, char, __vsnprintf_chk, (d, n, flag, have, format, list), char *d, size_t n, int flag,
         size_t have)
VARIADIC(__swprintf_chk, wchar_t, __vswprintf_chk, (d, n, flag, have, format, list), wchar_t *d, size_t n, int flag,
         size_t have)
VARIADIC(__asprintf_chk, char, vasprintf, (d, format, list), char **d, int flag)
VARIADIC(__dprintf_chk, char, vdprintf, (file, format, list), int file, int flag)
VARIADIC(__fprintf_chk, char, vfprintf, (file, format, list), FILE *file, int flag)
VARIADIC(__printf_chk, char, vprintf, (format, list), int flag)
VARIADIC(__fwprintf_chk, wchar_t, vfwprintf, (file, format, list), FILE *file, int flag)
VARIADIC(__wprintf_chk, wchar_t, vwprintf, (format, list), int flag)

void __syslog_chk(int priority, int flag, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsyslog(priority, format, list);
    va_end(list);
}

/* -- Input */

char *__fgets_chk(char *d, size_t have, int n, FILE *file) { return check(n, have), fgets(d, n, file); }
char *__fgets_unlocked_chk(char *d, size_t have, int n, FILE *file) { return check(n, have), fgets(d, n, file); }
wchar_t *__fgetws_chk(wchar_t *d, size_t have, int n, FILE *file) { return check(n, have), fgetws(d, n, file); }
wchar_t *__fgetws_unlocked_chk(wchar_t *d, size_t have, int n, FILE *file) { return check(n, have), fgetws(d, n, file); }
char *__gets_chk(char *d, size_t have)
{
    if (have == SIZE_MAX)
        have = INT_MAX;
    if (!fgets(d, (int)have, stdin))
        return 0;
    size_t length = strlen(d);
    if (length && d[length - 1] == '\n')
        d[length - 1] = 0;
    else if (length + 1 == have && !feof(stdin))
        __chk_fail();
    return d;
}
size_t __fread_chk(void *d, size_t have, size_t size, size_t count, FILE *file)
{
    return check_array(count, size, have), fread(d, size, count, file);
}
size_t __fread_unlocked_chk(void *d, size_t have, size_t size, size_t count, FILE *file)
{
    return check_array(count, size, have), fread(d, size, count, file);
}
ssize_t __read_chk(int file, void *d, size_t n, size_t have) { return check(n, have), read(file, d, n); }
ssize_t __pread_chk(int file, void *d, size_t n, off_t offset, size_t have)
{
    return check(n, have), pread(file, d, n, offset);
}
ssize_t __pread64_chk(int file, void *d, size_t n, off_t offset, size_t have)
{
    return check(n, have), pread(file, d, n, offset);
}
ssize_t __readlink_chk(const char *path, char *d, size_t n, size_t have)
{
    return check(n, have), readlink(path, d, n);
}
ssize_t __readlinkat_chk(int folder, const char *path, char *d, size_t n, size_t have)
{
    return check(n, have), readlinkat(folder, path, d, n);
}
ssize_t __recv_chk(int file, void *d, size_t n, size_t have, int flags) { return check(n, have), recv(file, d, n, flags); }
ssize_t __recvfrom_chk(int file, void *d, size_t n, size_t have, int flags, struct sockaddr *from, socklen_t *size)
{
    return check(n, have), recvfrom(file, d, n, flags, from, size);
}

/* -- The system */

char *__getcwd_chk(char *d, size_t n, size_t have) { return check(n, have), getcwd(d, n); }
char *__getwd_chk(char *d, size_t have)
{
    char *result = getcwd(d, have < PATH_MAX ? have : PATH_MAX);
    return result;
}
char *getwd(char *d) { return getcwd(d, PATH_MAX); }
char *__realpath_chk(const char *path, char *d, size_t have) { return check(PATH_MAX, have), realpath(path, d); }
size_t __confstr_chk(int name, char *d, size_t n, size_t have) { return check(n, have), confstr(name, d, n); }
int __getdomainname_chk(char *d, size_t n, size_t have) { return check(n, have), getdomainname(d, n); }
int __gethostname_chk(char *d, size_t n, size_t have) { return check(n, have), gethostname(d, n); }
int __getgroups_chk(int n, gid_t *d, size_t have)
{
    return check_array(n < 0 ? 0 : n, sizeof *d, have), getgroups(n, d);
}
int __getlogin_r_chk(char *d, size_t n, size_t have) { return check(n, have), getlogin_r(d, n); }
int __ttyname_r_chk(int file, char *d, size_t n, size_t have) { return check(n, have), ttyname_r(file, d, n); }
int ptsname_r(int, char *, size_t);
int __ptsname_r_chk(int file, char *d, size_t n, size_t have) { return check(n, have), ptsname_r(file, d, n); }
int __poll_chk(struct pollfd *files, nfds_t n, int timeout, size_t have)
{
    return check_array(n, sizeof *files, have), poll(files, n, timeout);
}
int __ppoll_chk(struct pollfd *files, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t have)
{
    return check_array(n, sizeof *files, have), ppoll(files, n, timeout, mask);
}
const char *__inet_ntop_chk(int family, const void *address, char *d, socklen_t n, size_t have)
{
    return check(n, have), inet_ntop(family, address, d, n);
}
int __inet_pton_chk(int family, const char *text, void *d, size_t have)
{
    return check(family == AF_INET ? 4 : 16, have), inet_pton(family, text, d);
}
long __fdelt_chk(long file)
{
    if (file < 0 || file >= FD_SETSIZE)
        __chk_fail();
    return file / (8 * (long)sizeof(long));
}
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open(path, flags); }
int __openat_2(int folder, const char *path, int flags) { return openat(folder, path, flags); }
int __openat64_2(int folder, const char *path, int flags) { return openat(folder, path, flags); }
mqd_t __mq_open_2(const char *name, int flags) { return mq_open(name, flags); }
