/* A recursive descent parser: each function returns the place where it stopped. Arithmetic is modulo 2^64. */
#include <stdint.h>
#include <stddef.h>

const char *parse_sum(const char *text, uint64_t *value);

static const char *skip_spaces(const char *text)
{
    while (*text == ' ') {
        text++;
    }
    return text;
}

const char *parse_number(const char *text, uint64_t *value)
{
    *value = 0;
    while (*text >= '0' && *text <= '9') {
        *value = *value * 10 + (uint64_t)(*text - '0');
        text++;
    }
    return text;
}

const char *parse_factor(const char *text, uint64_t *value)
{
    text = skip_spaces(text);
    if (*text == '-') {
        text = parse_factor(text + 1, value);
        *value = -*value;
        return text;
    }
    if (*text == '(') {
        text = skip_spaces(parse_sum(text + 1, value));
        return *text == ')' ? text + 1 : text;
    }
    return parse_number(text, value);
}

const char *parse_product(const char *text, uint64_t *value)
{
    text = skip_spaces(parse_factor(text, value));
    while (*text == '*' || *text == '/' || *text == '%') {
        char operator = *text;
        uint64_t right;
        text = skip_spaces(parse_factor(text + 1, &right));
        if (operator == '*') {
            *value *= right;
        } else if (right == 0) {
            *value = UINT64_MAX;
        } else if (operator == '/') {
            *value /= right;
        } else {
            *value %= right;
        }
    }
    return text;
}

const char *parse_sum(const char *text, uint64_t *value)
{
    text = parse_product(text, value);
    while (*text == '+' || *text == '-') {
        char operator = *text;
        uint64_t right;
        text = parse_product(text + 1, &right);
        *value = operator == '+' ? *value + right : *value - right;
    }
    return text;
}

uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
    return b == 0 ? a : greatest_divisor(b, a % b);
}

/* The number of ways to pay `cents` with the coins up to index `largest`. */
unsigned count_change(unsigned char cents, unsigned char largest)
{
    static const unsigned char coins[] = {5, 10, 25, 50};
    unsigned ways = 0;

    if (largest >= sizeof coins) {
        largest = sizeof coins - 1;
    }
    if (largest == 0) {
        return cents % coins[0] == 0;
    }
    for (unsigned paid = 0; paid <= cents; paid += coins[largest]) {
        ways += count_change((unsigned char)(cents - paid), (unsigned char)(largest - 1));
    }
    return ways;
}

int main(void)
{
    static const char text[] = " 2 * (3 + 4) - -(10 / 5)";
    uint64_t value;

    if (parse_sum(text, &value) != text + sizeof text - 1 || value != 16) {
        return 1;
    }
    if (*parse_product("7 % 4 * 5 + 1", &value) != '+' || value != 15) {
        return 2;
    }
    return greatest_divisor(1071, 462) == 21 && count_change(100, 3) == 40 ? 0 : 3;
}
