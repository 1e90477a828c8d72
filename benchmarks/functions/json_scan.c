/* A JSON scanner that allocates nothing: it validates, skips and cuts out pieces of a text. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum {
    JSON_END,
    JSON_ERROR,
    JSON_PUNCTUATION,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL
} JsonKind;

typedef struct {
    JsonKind kind;
    const char *start;
    size_t length;
} JsonToken;

typedef struct {
    const char *cur;
    const char *end;
} JsonCursor;

enum { JSON_MAX_DEPTH = 16 };

static void skip_blanks(JsonCursor *cursor)
{
    while (cursor->cur < cursor->end) {
        char c = *cursor->cur;
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            break;
        }
        cursor->cur++;
    }
}

/* The length of a string with its quotes, 0 when it is malformed or cut off. */
size_t json_string_length(const char *s, size_t n)
{
    size_t i = 1;

    if (n < 2 || s[0] != '"') {
        return 0;
    }
    while (i < n) {
        unsigned char c = (unsigned char)s[i++];
        if (c == '"') {
            return i;
        }
        if (c < 0x20) {
            return 0;
        }
        if (c != '\\') {
            continue;
        }
        if (i == n) {
            return 0;
        }
        c = (unsigned char)s[i++];
        if (c == 'u') {
            for (int k = 0; k < 4; k++, i++) {
                if (i == n || s[i] == '\0' || strchr("0123456789abcdefABCDEF", s[i]) == NULL) {
                    return 0;
                }
            }
        } else if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL) {
            return 0;
        }
    }
    return 0;
}

static size_t count_digits(const char *s, size_t n)
{
    size_t i = 0;

    while (i < n && s[i] >= '0' && s[i] <= '9') {
        i++;
    }
    return i;
}

/* The length of the number at s, 0 when there is none. */
size_t json_number_length(const char *s, size_t n)
{
    size_t i = 0, digits;

    if (i < n && s[i] == '-') {
        i++;
    }
    digits = count_digits(s + i, n - i);
    if (digits == 0 || (digits > 1 && s[i] == '0')) {
        return 0;
    }
    i += digits;
    if (i < n && s[i] == '.') {
        digits = count_digits(s + i + 1, n - i - 1);
        if (digits == 0) {
            return 0;
        }
        i += 1 + digits;
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        i++;
        if (i < n && (s[i] == '+' || s[i] == '-')) {
            i++;
        }
        digits = count_digits(s + i, n - i);
        if (digits == 0) {
            return 0;
        }
        i += digits;
    }
    return i;
}

/* Take the next token from a cursor. */
JsonToken json_next(JsonCursor *cursor)
{
    static const struct {
        const char *word;
        JsonKind kind;
    } words[] = {{"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};
    JsonToken token = {JSON_ERROR, NULL, 0};
    size_t left;

    skip_blanks(cursor);
    token.start = cursor->cur;
    left = (size_t)(cursor->end - cursor->cur);
    if (left == 0) {
        token.kind = JSON_END;
        return token;
    }
    switch (*cursor->cur) {
    case '{': case '}': case '[': case ']': case ',': case ':':
        token.kind = JSON_PUNCTUATION;
        token.length = 1;
        break;
    case '"':
        token.length = json_string_length(cursor->cur, left);
        token.kind = token.length ? JSON_STRING : JSON_ERROR;
        break;
    case 't': case 'f': case 'n':
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            size_t length = strlen(words[i].word);
            if (length <= left && memcmp(words[i].word, cursor->cur, length) == 0) {
                token.kind = words[i].kind;
                token.length = length;
            }
        }
        break;
    default:
        token.length = json_number_length(cursor->cur, left);
        token.kind = token.length ? JSON_NUMBER : JSON_ERROR;
    }
    cursor->cur += token.length;
    return token;
}

/* Whether n bytes hold balanced brackets outside of strings, no deeper than JSON_MAX_DEPTH. */
int json_balanced(const char *text, size_t n)
{
    char stack[JSON_MAX_DEPTH];
    int depth = 0, quoted = 0;

    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                quoted = 0;
            }
        } else if (c == '"') {
            quoted = 1;
        } else if (c == '[' || c == '{') {
            if (depth == JSON_MAX_DEPTH) {
                return 0;
            }
            stack[depth++] = c == '[' ? ']' : '}';
        } else if (c == ']' || c == '}') {
            if (depth == 0 || stack[--depth] != c) {
                return 0;
            }
        }
    }
    return depth == 0 && !quoted;
}

static int skip_value(JsonCursor *cursor, JsonToken first, int depth)
{
    JsonToken token;
    char close;

    if (first.kind != JSON_PUNCTUATION) {
        return first.kind != JSON_END && first.kind != JSON_ERROR;
    }
    if ((*first.start != '{' && *first.start != '[') || depth == 0) {
        return 0;
    }
    close = *first.start == '{' ? '}' : ']';
    token = json_next(cursor);
    if (token.kind == JSON_PUNCTUATION && *token.start == close) {
        return 1;
    }
    for (;;) {
        if (close == '}') {
            if (token.kind != JSON_STRING) {
                return 0;
            }
            token = json_next(cursor);
            if (token.kind != JSON_PUNCTUATION || *token.start != ':') {
                return 0;
            }
            token = json_next(cursor);
        }
        if (!skip_value(cursor, token, depth - 1)) {
            return 0;
        }
        token = json_next(cursor);
        if (token.kind != JSON_PUNCTUATION) {
            return 0;
        }
        if (*token.start == close) {
            return 1;
        }
        if (*token.start != ',') {
            return 0;
        }
        token = json_next(cursor);
    }
}

/* Whether a C string is one JSON value and nothing else. */
int json_valid(const char *text)
{
    JsonCursor cursor = {text, text + strlen(text)};

    if (!skip_value(&cursor, json_next(&cursor), JSON_MAX_DEPTH)) {
        return 0;
    }
    return json_next(&cursor).kind == JSON_END;
}

/* Write s as a JSON string into out; the length of the whole, which may be more than was written (like snprintf). */
size_t json_quote(const char *s, char *out, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;
#define PUT(c) do { if (n + 1 < size) out[n] = (char)(c); n++; } while (0)

    PUT('"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            PUT('\\');
            PUT(c);
        } else if (c == '\n') {
            PUT('\\');
            PUT('n');
        } else if (c < 0x20) {
            PUT('\\');
            PUT('u');
            PUT('0');
            PUT('0');
            PUT(hex[c >> 4]);
            PUT(hex[c & 15]);
        } else {
            PUT(c);
        }
    }
    PUT('"');
    if (size > 0) {
        out[n < size ? n : size - 1] = '\0';
    }
    return n;
#undef PUT
}
