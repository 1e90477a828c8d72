/* Natural numbers of any size in limbs of 32 bits, least first; and fractions. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint32_t limb;

struct rational {
    int num;
    int den;        /* > 0 */
};

/* r = a + b, all of n limbs; the carry. r may be a or b. */
limb big_add(limb *r, const limb *a, const limb *b, size_t n)
{
    uint64_t carry = 0;

    for (size_t i = 0; i < n; i++) {
        carry += (uint64_t)a[i] + b[i];
        r[i] = (limb)carry;
        carry >>= 32;
    }
    return (limb)carry;
}

/* r = a - b; the borrow. */
limb big_sub(limb *r, const limb *a, const limb *b, size_t n)
{
    limb borrow = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t d = (uint64_t)a[i] - b[i] - borrow;
        r[i] = (limb)d;
        borrow = (limb)(d >> 63);
    }
    return borrow;
}

int big_cmp(const limb *a, const limb *b, size_t n)
{
    while (n-- > 0)
        if (a[n] != b[n])
            return a[n] < b[n] ? -1 : 1;
    return 0;
}

/* r (na + nb limbs) = a * b. */
void big_mul(limb *restrict r, const limb *a, size_t na, const limb *b, size_t nb)
{
    memset(r, 0, (na + nb) * sizeof *r);
    for (size_t i = 0; i < na; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < nb; j++) {
            carry += (uint64_t)a[i] * b[j] + r[i + j];
            r[i + j] = (limb)carry;
            carry >>= 32;
        }
        r[i + nb] = (limb)carry;
    }
}

/* a /= d; the remainder. */
limb big_divmod_small(limb *a, size_t n, limb d)
{
    uint64_t rem = 0;

    if (d == 0)
        return 0;
    while (n-- > 0) {
        rem = rem << 32 | a[n];
        a[n] = (limb)(rem / d);
        rem %= d;
    }
    return (limb)rem;
}

/* a <<= bits (any number); what falls off the end is lost. */
void big_shl(limb *a, size_t n, unsigned bits)
{
    size_t words = bits / 32;

    bits %= 32;
    for (size_t i = n; i-- > 0;) {
        limb high = i >= words ? a[i - words] : 0;
        limb low = i >= words + 1 ? a[i - words - 1] : 0;
        a[i] = bits ? high << bits | low >> (32 - bits) : high;
    }
}

static bool big_is_zero(const limb *a, size_t n)
{
    limb any = 0;

    for (size_t i = 0; i < n; i++)
        any |= a[i];
    return any == 0;
}

/* The decimal digits of a, which becomes 0. Their number, or 0 when they do not fit into `size` with the NUL. */
size_t big_print(limb *a, size_t n, char *text, size_t size)
{
    size_t len = 0;

    do {
        if (len + 1 >= size)
            return 0;
        text[len++] = (char)('0' + big_divmod_small(a, n, 10));
    } while (!big_is_zero(a, n));
    text[len] = '\0';
    for (size_t i = 0; i < len / 2; i++) {
        char c = text[i];
        text[i] = text[len - 1 - i];
        text[len - 1 - i] = c;
    }
    return len;
}

/* High and low half of a 64 by 64 bit product. */
uint64_t mul_wide(uint64_t a, uint64_t b, uint64_t *high)
{
    unsigned __int128 p = (unsigned __int128)a * b;

    *high = (uint64_t)(p >> 64);
    return (uint64_t)p;
}

static long long gcd_of(long long a, long long b)
{
    if (a < 0)
        a = -a;
    while (b) {
        long long t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* Lowest terms and a positive denominator; 0/0 stays. Too large for an int: 0/0. */
static struct rational reduced(long long num, long long den)
{
    struct rational r = {0, 0};
    long long g;

    if (den == 0 || num < -(1ll << 62) || den < -(1ll << 62))
        return r;
    if (den < 0) {
        num = -num;
        den = -den;
    }
    g = gcd_of(num, den);
    num /= g;
    den /= g;
    if (num > INT32_MAX || num < INT32_MIN || den > INT32_MAX)
        return r;
    r.num = (int)num;
    r.den = (int)den;
    return r;
}

struct rational rat_add(struct rational x, struct rational y)
{
    if (x.den <= 0 || y.den <= 0)
        return (struct rational){0, 0};
    return reduced((long long)x.num * y.den + (long long)y.num * x.den, (long long)x.den * y.den);
}

struct rational rat_div(struct rational x, struct rational y)
{
    return reduced((long long)x.num * y.den, (long long)x.den * y.num);
}

int rat_cmp(const struct rational *x, const struct rational *y)
{
    long long l = (long long)x->num * y->den, r = (long long)y->num * x->den;

    return (l > r) - (l < r);
}

int main(void)
{
    limb f[8] = {1}, t[8], p[9], g[8];
    char text[90];
    struct rational h = {0, 1};
    uint64_t high;

    for (limb i = 2; i <= 40; i++) {
        big_mul(p, f, 8, &i, 1);
        memcpy(f, p, sizeof f);
    }
    big_add(t, f, f, 8);
    memcpy(g, f, sizeof g);
    big_shl(g, 8, 1);
    printf("%d ", big_cmp(t, g, 8));
    big_sub(t, t, f, 8);
    printf("%zu %s\n", big_print(t, 8, text, sizeof text), text);
    for (int i = 1; i <= 12; i++)
        h = rat_add(h, (struct rational){1, i});
    printf("%d/%d", h.num, h.den);
    h = rat_div(h, (struct rational){-3, 7});
    printf(" %d/%d %d\n", h.num, h.den, rat_cmp(&h, &(struct rational){-7, 1}));
    printf("%llu", (unsigned long long)mul_wide(0xfedcba9876543210u, 0x123456789abcdefu, &high));
    printf(" %llu\n", (unsigned long long)high);
    return 0;
}
