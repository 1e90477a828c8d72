/* Number theory, roots, fixed point and a little statistics. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef int32_t q16;

typedef struct summary {
    double mean, variance;
    double min, max;
    unsigned n;
} summary;

unsigned long long gcd(unsigned long long a, unsigned long long b)
{
    while (b != 0) {
        unsigned long long r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* Binary gcd of narrow numbers. */
uint16_t gcd16(uint16_t u, uint16_t v)
{
    unsigned shift = 0;

    if (u == 0 || v == 0)
        return u | v;
    while (((u | v) & 1) == 0) {
        u >>= 1;
        v >>= 1;
        shift++;
    }
    while ((u & 1) == 0)
        u >>= 1;
    do {
        while ((v & 1) == 0)
            v >>= 1;
        if (u > v) {
            uint16_t t = u;
            u = v;
            v = t;
        }
        v = (uint16_t)(v - u);
    } while (v != 0);
    return (uint16_t)(u << shift);
}

static uint64_t mulmod(uint64_t a, uint64_t b, uint64_t m)
{
    return (uint64_t)((unsigned __int128)a * b % m);
}

/* base^exp mod m; 0 for m == 0. */
uint64_t modpow(uint64_t base, uint64_t exp, uint64_t m)
{
    uint64_t result;

    if (m == 0)
        return 0;
    result = 1 % m;
    base %= m;
    for (; exp; exp >>= 1) {
        if (exp & 1)
            result = mulmod(result, base, m);
        base = mulmod(base, base, m);
    }
    return result;
}

uint32_t isqrt(uint64_t x)
{
    uint64_t root = 0, bit = 1ull << 62;

    while (bit > x)
        bit >>= 2;
    for (; bit; bit >>= 2) {
        if (x >= root + bit) {
            x -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return (uint32_t)root;
}

/* Square root by Newton's iteration; -1 for what has none. */
double newton_sqrt(double a)
{
    double x;

    if (!(a >= 0.0) || a > 1e150)
        return -1.0;
    if (a == 0.0)
        return 0.0;
    x = a > 1.0 ? a : 1.0;
    for (int i = 0; i < 600; i++) {
        double next = 0.5 * (x + a / x);
        if (next >= x)
            break;
        x = next;
    }
    return x;
}

/* Horner: c[0] + c[1] x + ... */
double poly_eval(const double *c, size_t n, double x)
{
    double y = 0.0;

    while (n > 0)
        y = y * x + c[--n];
    return y;
}

/* The derivative of a polynomial, in place; the number of coefficients left. */
size_t poly_derive(float *c, size_t n)
{
    for (size_t i = 1; i < n; i++)
        c[i - 1] = c[i] * (float)i;
    return n ? n - 1 : 0;
}

/* Simpson's rule with 2 * steps intervals. */
double simpson(double (*f)(double), double a, double b, unsigned char steps)
{
    unsigned n = 2u * steps;
    double h, sum;

    if (n == 0)
        return 0.0;
    h = (b - a) / n;
    sum = f(a) + f(b);
    for (unsigned i = 1; i < n; i++)
        sum += (i & 1 ? 4.0 : 2.0) * f(a + i * h);
    return sum * h / 3.0;
}

/* Product of two Q16.16 numbers, to nearest, clipped. */
q16 q16_mul(q16 a, q16 b)
{
    int64_t p = (int64_t)a * b + 0x8000;

    p = p >= 0 ? p / 65536 : -((-p + 65535) / 65536);
    if (p > INT32_MAX)
        return INT32_MAX;
    if (p < INT32_MIN)
        return INT32_MIN;
    return (q16)p;
}

q16 q16_div(q16 a, q16 b)
{
    int64_t q;

    if (b == 0)
        return a < 0 ? INT32_MIN : INT32_MAX;
    q = (int64_t)a * 65536 / b;
    return q > INT32_MAX ? INT32_MAX : q < INT32_MIN ? INT32_MIN : (q16)q;
}

/* Linear interpolation in a table of ascending xs; flat outside of it. */
double interpolate(const double *xs, const double *ys, size_t n, double x)
{
    size_t i = 1;

    if (n == 0)
        return NAN;
    if (!(x > xs[0]))
        return ys[0];
    while (i < n && xs[i] < x)
        i++;
    if (i == n)
        return ys[n - 1];
    return ys[i - 1] + (ys[i] - ys[i - 1]) * ((x - xs[i - 1]) / (xs[i] - xs[i - 1]));
}

/* Welford's method, with the extremes on the way. */
summary summarize(const double *values, unsigned n)
{
    summary s = {0.0, 0.0, INFINITY, -INFINITY, n};

    for (unsigned i = 0; i < n; i++) {
        double delta = values[i] - s.mean;
        s.mean += delta / (i + 1);
        s.variance += delta * (values[i] - s.mean);
        if (values[i] < s.min)
            s.min = values[i];
        if (values[i] > s.max)
            s.max = values[i];
    }
    s.variance = n > 1 ? s.variance / (n - 1) : 0.0;
    return s;
}

/* Least squares: 0 and the line in *slope and *offset, or -1 when there is none. */
int fit_line(const float *x, const float *y, int n, float *slope, float *offset)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0, d;

    for (int i = 0; i < n; i++) {
        sx += x[i];
        sy += y[i];
        sxx += (double)x[i] * x[i];
        sxy += (double)x[i] * y[i];
    }
    d = n * sxx - sx * sx;
    if (n < 2 || !(d > 0.0))
        return -1;
    *slope = (float)((n * sxy - sx * sy) / d);
    *offset = (float)((sy * sxx - sx * sxy) / d);
    return 0;
}

/* Divide rounding to minus infinity. */
int floor_div(int a, int b)
{
    int q;

    if (b == 0 || (b == -1 && a == INT32_MIN))
        return 0;
    q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}
