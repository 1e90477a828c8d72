/* Bounded copying and the small string helpers that every program grows. */
#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* Copy as much of src as fits in size bytes, always terminated. The length of src. */
size_t copy_string(char *restrict dst, const char *restrict src, size_t size)
{
    size_t i = 0;

    if (size != 0) {
        for (; i + 1 < size && src[i] != '\0'; i++)
            dst[i] = src[i];
        dst[i] = '\0';
    }
    while (src[i] != '\0')
        i++;
    return i;
}

/* Append src to the string in dst, which has room for size bytes. Returns 0, or -1 if it was cut. */
int append_string(char *restrict dst, const char *restrict src, size_t size)
{
    size_t used = 0;

    while (used < size && dst[used] != '\0')
        used++;
    if (used == size)
        return -1;
    return copy_string(dst + used, src, size - used) < size - used ? 0 : -1;
}

/* Remove white space at both ends, in place. */
char *trim(char *s)
{
    size_t n, skip = 0;

    if (s == NULL)
        return NULL;
    n = strlen(s);
    while (n > 0 && isspace((unsigned char)s[n - 1]))
        n--;
    while (skip < n && isspace((unsigned char)s[skip]))
        skip++;
    memmove(s, s + skip, n - skip);
    s[n - skip] = '\0';
    return s;
}

/* Compare without regard to ASCII case. */
int compare_nocase(const char *a, const char *b)
{
    int ca, cb;

    do {
        ca = tolower((unsigned char)*a++);
        cb = tolower((unsigned char)*b++);
    } while (ca == cb && ca != 0);
    return (ca > cb) - (ca < cb);
}

static void reverse_range(char *from, char *to)
{
    while (from < to) {
        char c = *from;
        *from++ = *--to;
        *to = c;
    }
}

/* "one two three" becomes "three two one"; runs of blanks stay as long as they are. */
void reverse_words(char *text)
{
    char *p = text;

    reverse_range(text, text + strlen(text));
    while (*p != '\0') {
        char *start;

        while (*p == ' ')
            p++;
        start = p;
        while (*p != '\0' && *p != ' ')
            p++;
        reverse_range(start, p);
    }
}

/* Replace every byte `from` by `to`; how many there were. */
size_t replace_char(char *s, char from, char to)
{
    size_t count = 0;

    for (; *s; s++) {
        if (*s == from) {
            *s = to;
            count++;
        }
    }
    return count;
}

/* Whether text ends with suffix. */
int ends_with(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);

    return m <= n && memcmp(text + (n - m), suffix, m) == 0;
}
