/* Functions whose code differs on Windows, because of its calling convention or its C library. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct one { char a; };
struct two { short a; };
struct three { char a[3]; };
struct four { float a; };
struct eight { int a, b; };
struct twelve { int a[3]; };
struct sixteen { double a, b; };
extern int helper1(int);
extern int helper(int, const char *, ...);
extern double outside(struct eight, double, struct twelve, float, long, char);
static int counter;
static const int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
unsigned packed(struct one a, struct two b, struct three c, struct four d, struct eight e, struct twelve f)
{
    return a.a ^ b.a ^ c.a[0] ^ c.a[2] ^ (d.a > 1) ^ e.a ^ e.b ^ f.a[2];
}
struct sixteen scaled(struct sixteen v, double k, float n) { v.a *= k; v.b += n; return v; }
struct three shifted(struct three v, int n) { v.a[1] ^= n; return v; }
struct eight swapped(struct eight v) { struct eight r = {v.b, v.a}; return r; }
double placed(int a, double b, short c, float d, double e, unsigned char f) { return a + b * 2 + c * 3 + d * 5 + e * 7 + f; }
double total(int n, ...)
{
    va_list list;
    double sum = 0;
    va_start(list, n);
    for (int i = 0; i < (n & 3); i++)
        sum += va_arg(list, double);
    va_end(list);
    return sum;
}
__int128 wide(__int128 a, int b, __int128 c) { return a / (c | 1) ^ b; }
int applied(int (*f)(int, short, float), int x) { return f(x, -3, 1.5f) ^ f(x & 0xff, 7, 2); }
double asked(int x) { return helper(x, "abc", 1.5, x) ^ helper(x & 7, "de", 2.5, 7); }
double told(int x) { struct eight e = {x, 1}; struct twelve t = {{x, 2, 3}}; return outside(e, x, t, 2, x, x); }
int counted(int i) { counter ^= table[i & 7]; return counter; }
char *copied(const char *s) { char *p = malloc(strlen(s) + 1); return p ? strcpy(p, s) : p; }
static int less(const void *a, const void *b) { int x = *(const int *)a, y = *(const int *)b; return (x > y) - (x < y); }
int median(int *values, unsigned count)
{
    if (!count) return 0;
    qsort(values, count, sizeof *values, less);
    return bsearch(&values[count / 2], values, count, sizeof *values, less) ? values[count / 2] : -1;
}
int shown(char *to, long n, const char *s) { return sprintf(to, "%5ld|%s|%lld|%.2f|%lx", n, s, (long long)n, n / 4.0, n); }
long parsed(const char *s) { char *end; long n = strtol(s, &end, 0); return n ^ (end - s); }
int filled(int n) { char big[9000]; memset(big, n, sizeof big); return big[n & 4095] + big[8999]; }
int larger(int a, int b) { return a < b ? b : a; }
double grown(int a, double b) { return a * b; }
long long far(int x) { return x; }
int near(signed char x) { return x; }
int lone(int x) { return helper1(x) ^ x; }
int said(double x, long n) { return printf("%.2f %ld\n", x, n); }
int main(void) { int v[] = {3, 1, 2}; printf("%d %.2f %ld\n", median(v, 3), scaled((struct sixteen){1, 2}, 3, 4).b, parsed("12x")); return 3; }
