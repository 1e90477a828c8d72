// LLMC: program
// LLMC: stdin "1 + 2 * 3\n" "(4 - 6) / 0\n" "2 * (3 + 4)\n"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *rest;
static const char *problem;

static long long parse_sum(void);

static void skip_blanks(void)
{
    while (isspace((unsigned char)*rest))
        rest++;
}

static long long parse_number(void)
{
    long long value = 0;
    int digits = 0;
    skip_blanks();
    if (*rest == '(') {
        rest++;
        value = parse_sum();
        skip_blanks();
        if (*rest != ')')
            problem = "missing )";
        else
            rest++;
        return value;
    }
    int is_negative = *rest == '-';
    rest += is_negative;
    while (isdigit((unsigned char)*rest) && digits < 9) {
        value = 10 * value + (*rest++ - '0');
        digits++;
    }
    if (!digits)
        problem = "expected a number";
    return is_negative ? -value : value;
}

static long long limit(long long value)
{
    if (value > 1000000000000LL || value < -1000000000000LL) {
        problem = "too large";
        return 0;
    }
    return value;
}

static long long parse_product(void)
{
    long long value = parse_number();
    for (;;) {
        skip_blanks();
        char sign = *rest;
        if (sign != '*' && sign != '/' && sign != '%')
            return value;
        rest++;
        long long factor = parse_number();
        if (sign == '*')
            value = factor > 1000000000LL || factor < -1000000000LL ? limit(2000000000000LL) : limit(value % 1000000 * factor);
        else if (factor == 0)
            problem = "division by zero";
        else
            value = sign == '/' ? value / factor : value % factor;
    }
}

static long long parse_sum(void)
{
    long long value = parse_product();
    for (;;) {
        skip_blanks();
        char sign = *rest;
        if (sign != '+' && sign != '-')
            return value;
        rest++;
        long long term = parse_product();
        value = limit(sign == '+' ? value + term : value - term);
    }
}

int main(void)
{
    char line[256];
    int faults = 0;
    for (int number = 1; fgets(line, sizeof line, stdin); number++) {
        line[strcspn(line, "\n")] = '\0';
        rest = line;
        problem = NULL;
        long long value = parse_sum();
        skip_blanks();
        if (!problem && *rest)
            problem = "expected an operator";
        if (problem) {
            fprintf(stderr, "line %d: %s\n", number, problem);
            faults++;
        } else {
            printf("%lld\n", value);
        }
    }
    return faults ? 1 : 0;
}
