/* Functions with a variable number of arguments, defined and called. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// A function may read only the arguments that the call passes: at most those in registers here.
// LLMC: arg sum_of.count range 0..5

long sum_of(int count, ...)
{
    unsigned long sum = 0;
    va_list arguments;

    va_start(arguments, count);
    for (int i = 0; i < count; i++) {
        sum += va_arg(arguments, unsigned long);
    }
    va_end(arguments);
    return (long)sum;
}

long digits_sum(uint16_t number)
{
    return sum_of(5, number / 10000 % 10ul, number / 1000 % 10ul, number / 100 % 10ul, number / 10 % 10ul,
                  number % 10ul);
}

int format_address(uint32_t address, uint16_t port, char *out, size_t size)
{
    return snprintf(out, size, "%u.%u.%u.%u:%u", address >> 24, address >> 16 & 255, address >> 8 & 255,
                    address & 255, port);
}

int format_reading(char *out, size_t size, const char *name, int16_t tenths)
{
    return snprintf(out, size, "%.12s: %.1f", name, tenths / 10.0);
}

int main(void)
{
    char text[32];

    if (sum_of(3, 10ul, 20ul, 12ul) != 42 || sum_of(0) != 0 || digits_sum(60123) != 12) {
        return 1;
    }
    if (format_address(0x7f000001, 8080, text, sizeof text) != 14 || strcmp(text, "127.0.0.1:8080") != 0) {
        return 2;
    }
    if (format_reading(text, sizeof text, "outside", -35) != 13 || strcmp(text, "outside: -3.5") != 0) {
        return 3;
    }
    return 0;
}
