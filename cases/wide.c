/* 128-bit integers. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef unsigned __int128 wide;

struct amount {
    __int128 units;
    uint64_t currency, scale;
};

wide multiply_wide(uint64_t a, uint64_t b)
{
    return (wide)a * b;
}

uint64_t high_half(int64_t a, int64_t b)
{
    return (uint64_t)((wide)((__int128)a * b) >> 64);
}

bool add_wide(wide a, wide b, wide *sum)
{
    *sum = a + b;
    return *sum < a;
}

wide shift_wide(wide value, int places)
{
    return places < 0 ? value >> (-(unsigned)places & 127) : value << (places & 127);
}

__int128 clamp_wide(__int128 value, __int128 low, __int128 high)
{
    if (value < low) {
        return low;
    }
    return value > high ? high : value;
}

/* (a * b) mod `modulus`; 0 for modulus 0. */
uint64_t multiply_mod(uint64_t a, uint64_t b, uint64_t modulus)
{
    return modulus == 0 ? 0 : (uint64_t)((wide)a * b % modulus);
}

uint64_t power_mod(uint64_t base, uint32_t power, uint64_t modulus)
{
    uint64_t half;

    if (power == 0) {
        return modulus != 1;
    }
    half = power_mod(base, power / 2, modulus);
    half = multiply_mod(half, half, modulus);
    return power % 2 == 0 ? half : multiply_mod(half, base, modulus);
}

/* Write the decimal digits without a terminator. Returns their number, or 0 if they do not fit. */
size_t format_wide(wide value, char *out, size_t size)
{
    size_t digits = 1;

    for (wide rest = value / 10; rest != 0; rest /= 10) {
        digits++;
    }
    if (digits > size) {
        return 0;
    }
    for (size_t i = digits; i > 0; i--) {
        out[i - 1] = (char)('0' + (int)(value % 10));
        value /= 10;
    }
    return digits;
}

struct amount add_amounts(struct amount a, const struct amount *b)
{
    if (a.currency == b->currency && a.scale == b->scale) {
        a.units = (__int128)((wide)a.units + (wide)b->units);
    }
    return a;
}
