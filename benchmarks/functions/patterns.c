/*
 * Matching and substitution on C strings.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* [a-z], [!x]: whether c is in the class that starts after the bracket. *next is past its end. */
static bool in_class(const char *p, char c, const char **next)
{
    bool negate = *p == '!' || *p == '^', found = false;
    const char *first;

    if (negate) {
        p++;
    }
    first = p;
    while (*p != '\0' && (*p != ']' || p == first)) {
        unsigned char low = (unsigned char)*p, high = low;
        if (p[1] == '-' && p[2] != '\0' && p[2] != ']') {
            high = (unsigned char)p[2];
            p += 2;
        }
        if ((unsigned char)c >= low && (unsigned char)c <= high) {
            found = true;
        }
        p++;
    }
    *next = *p == ']' ? p + 1 : p;
    return found != negate;
}

/* Shell-like matching: ?, *, [class] and a backslash before a literal character. */
bool glob_match(const char *pattern, const char *text)
{
    const char *star = NULL, *retry = NULL;

    for (;;) {
        const char *next = pattern + 1;
        bool matched = false;

        if (*pattern == '*') {
            star = ++pattern;
            retry = text;
            continue;
        }
        if (*text == '\0') {
            return *pattern == '\0';
        }
        switch (*pattern) {
        case '\0':
            break;
        case '?':
            matched = true;
            break;
        case '[':
            matched = in_class(pattern + 1, *text, &next);
            break;
        case '\\':
            if (pattern[1] != '\0') {
                matched = pattern[1] == *text;
                next = pattern + 2;
                break;
            }
            /* fall through */
        default:
            matched = *pattern == *text;
        }
        if (matched) {
            pattern = next;
            text++;
        } else if (star != NULL) {
            pattern = star;
            text = ++retry;
        } else {
            return false;
        }
    }
}

/* How many times needle occurs in hay, without overlaps. */
size_t count_occurrences(const char *hay, const char *needle)
{
    size_t n = 0, step = strlen(needle);

    if (step == 0) {
        return 0;
    }
    while ((hay = strstr(hay, needle)) != NULL) {
        n++;
        hay += step;
    }
    return n;
}

/* A new string in which each occurrence of `old` is `new`; NULL when there is no memory. */
char *replace_all(const char *text, const char *old, const char *new)
{
    size_t old_len = strlen(old), new_len = strlen(new);
    size_t hits = count_occurrences(text, old);
    char *result = malloc(strlen(text) - hits * old_len + hits * new_len + 1);
    char *out = result;

    if (result == NULL) {
        return NULL;
    }
    while (hits-- > 0) {
        const char *hit = strstr(text, old);
        size_t before = (size_t)(hit - text);
        memcpy(out, text, before);
        memcpy(out + before, new, new_len);
        out += before + new_len;
        text = hit + old_len;
    }
    strcpy(out, text);
    return result;
}

/* Cut a line at each separator, in place. At most `max` fields; the last keeps the rest. */
int split_fields(char *line, char separator, char *fields[], int max)
{
    int n = 0;

    while (n < max) {
        fields[n++] = line;
        if (n == max) {
            break;
        }
        line = strchr(line, separator);
        if (line == NULL) {
            break;
        }
        *line++ = '\0';
    }
    return n;
}

/* The length of the longest prefix that all strings have. */
size_t common_prefix(const char *const *words, size_t count)
{
    size_t len = 0;

    if (count == 0) {
        return 0;
    }
    for (;; len++) {
        char c = words[0][len];
        if (c == '\0') {
            return len;
        }
        for (size_t i = 1; i < count; i++) {
            if (words[i][len] != c) {
                return len;
            }
        }
    }
}

/* Levenshtein distance of two words of at most 31 bytes; -1 when one is longer. */
int edit_distance(const char *s, const char *t)
{
    enum { MOST = 31 };
    int row[MOST + 1];
    size_t n = strlen(s), m = strlen(t);

    if (n > MOST || m > MOST) {
        return -1;
    }
    for (size_t j = 0; j <= m; j++) {
        row[j] = (int)j;
    }
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = diagonal + (s[i - 1] != t[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) {
                best = row[j] + 1;
            }
            if (row[j - 1] + 1 < best) {
                best = row[j - 1] + 1;
            }
            row[j] = best;
        }
    }
    return row[m];
}
