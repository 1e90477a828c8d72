// A tokenizer and an evaluator for arithmetic expressions (Pratt's method).
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { T_END, T_NUM, T_NAME, T_OP, T_OPEN, T_CLOSE, T_BAD } kind_t;

typedef struct {
    kind_t kind;
    const char* begin;
    size_t length;
    int64_t value;
} token_t;

typedef struct {
    const char* at;
    token_t token;
    bool failed;
    unsigned depth;
} parser_t;

static int64_t variables[26];

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || c == '_'; }

// Reads one token at *p and moves *p behind it.
token_t next_token(const char** p) {
    const char* s = *p;
    token_t t = {T_END, s, 0, 0};

    while (*s == ' ' || *s == '\t') s++;
    t.begin = s;
    if (is_digit(*s)) {
        t.kind = T_NUM;
        for (; is_digit(*s); s++) {
            int digit = *s - '0';
            if (t.value > (INT64_MAX - digit) / 10) t.kind = T_BAD;
            else t.value = t.value * 10 + digit;
        }
    } else if (is_letter(*s)) {
        t.kind = T_NAME;
        while (is_letter(*s) || is_digit(*s)) s++;
    } else {
        switch (*s) {
            case '\0': break;
            case '(': t.kind = T_OPEN; s++; break;
            case ')': t.kind = T_CLOSE; s++; break;
            case '<':
            case '>':
                t.kind = T_OP;
                s += s[1] == s[0] ? 2 : 1;
                break;
            case '+': case '-': case '*': case '/': case '%': case '&': case '|': case '^':
                t.kind = T_OP;
                s++;
                break;
            default: t.kind = T_BAD; s++;
        }
    }
    t.length = (size_t)(s - t.begin);
    *p = s;
    return t;
}

// How strongly a binary operator binds; 0 for anything else.
int binding_power(const token_t* t) {
    if (t->kind != T_OP) return 0;
    switch (*t->begin) {
        case '|': return 1;
        case '^': return 2;
        case '&': return 3;
        case '<': case '>': return t->length == 2 ? 5 : 4;
        case '+': case '-': return 6;
        case '*': case '/': case '%': return 7;
        default: return 0;
    }
}

// Applies an operator; false for a division that has no result and for a bad shift. Everything else wraps.
bool apply(char op, bool doubled, int64_t a, int64_t b, int64_t* result) {
    uint64_t x = (uint64_t)a, y = (uint64_t)b;

    switch (op) {
        case '+': *result = (int64_t)(x + y); return true;
        case '-': *result = (int64_t)(x - y); return true;
        case '*': *result = (int64_t)(x * y); return true;
        case '&': *result = a & b; return true;
        case '|': *result = a | b; return true;
        case '^': *result = a ^ b; return true;
        case '<':
        case '>':
            if (!doubled) {
                *result = op == '<' ? a < b : a > b;
                return true;
            }
            if (b < 0 || b > 63) return false;
            *result = op == '<' ? (int64_t)(x << b) : a >> b;
            return true;
        case '/':
        case '%':
            if (b == 0 || (b == -1 && a == INT64_MIN)) return false;
            *result = op == '/' ? a / b : a % b;
            return true;
        default: return false;
    }
}

static void advance(parser_t* p) { p->token = next_token(&p->at); }

static int64_t fail(parser_t* p) {
    p->failed = true;
    return 0;
}

static int64_t expression(parser_t* p, int power);

static int64_t prefix(parser_t* p) {
    token_t t = p->token;
    int64_t value;

    advance(p);
    switch (t.kind) {
        case T_NUM: return t.value;
        case T_NAME: return t.length == 1 && *t.begin != '_' ? variables[*t.begin - 'a'] : fail(p);
        case T_OP:
            if (*t.begin != '-') return fail(p);
            value = expression(p, 8);
            return (int64_t)(0 - (uint64_t)value);
        case T_OPEN:
            value = expression(p, 0);
            if (p->token.kind != T_CLOSE) return fail(p);
            advance(p);
            return value;
        default: return fail(p);
    }
}

static int64_t expression(parser_t* p, int power) {
    int64_t left;

    if (p->depth >= 50) return fail(p);
    p->depth++;
    left = prefix(p);
    while (!p->failed && binding_power(&p->token) > power) {
        token_t op = p->token;
        int64_t right;

        advance(p);
        right = expression(p, binding_power(&op));
        if (p->failed || !apply(*op.begin, op.length == 2, left, right, &left)) {
            left = fail(p);
        }
    }
    p->depth--;
    return left;
}

// The value of an expression. Returns 0 on success, else the 1-based position of what was not understood.
int evaluate(const char* text, int64_t* value) {
    parser_t p = {text, {T_END, text, 0, 0}, false, 0};

    advance(&p);
    *value = expression(&p, 0);
    if (p.failed || p.token.kind != T_END) {
        *value = 0;
        return (int)(p.token.begin - text) + 1;
    }
    return 0;
}

bool set_variable(char name, int64_t value) {
    if (name < 'a' || name > 'z') return false;
    variables[name - 'a'] = value;
    return true;
}

// Copies an expression in the shortest form that reads the same: blanks go, except between words.
size_t squeeze(const char* text, char* out, size_t size) {
    size_t n = 0;
    kind_t before = T_END;

    if (size == 0) return 0;
    for (;;) {
        token_t t = next_token(&text);
        bool words = (before == T_NUM || before == T_NAME) && (t.kind == T_NUM || t.kind == T_NAME);

        if (t.kind == T_END || n + t.length + words >= size) break;
        if (words) out[n++] = ' ';
        for (size_t i = 0; i < t.length; i++) out[n++] = t.begin[i];
        before = t.kind;
    }
    out[n] = '\0';
    return n;
}
