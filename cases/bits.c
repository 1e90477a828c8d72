/* Integers of every width and sign, and more arguments than there are registers. */
#include <stdbool.h>
#include <stdint.h>

uint8_t reverse_bits(uint8_t byte)
{
    uint8_t reversed = 0;

    for (int i = 0; i < 8; i++) {
        reversed = (uint8_t)(reversed << 1 | (byte & 1));
        byte >>= 1;
    }
    return reversed;
}

int8_t saturating_add(int8_t a, int8_t b)
{
    int sum = a + b;

    if (sum > INT8_MAX) {
        return INT8_MAX;
    }
    if (sum < INT8_MIN) {
        return INT8_MIN;
    }
    return (int8_t)sum;
}

short average(short a, short b)
{
    return (short)((a + b) / 2);
}

uint16_t swap_bytes(uint16_t value)
{
    return (uint16_t)(value >> 8 | value << 8);
}

uint32_t rotate_left(uint32_t value, unsigned amount)
{
    amount &= 31;
    return amount == 0 ? value : value << amount | value >> (32 - amount);
}

int64_t sign_extend(uint64_t value, unsigned bits)
{
    uint64_t sign;

    if (bits == 0 || bits >= 64) {
        return (int64_t)value;
    }
    sign = UINT64_C(1) << (bits - 1);
    value &= (sign << 1) - 1;
    return (int64_t)((value ^ sign) - sign);
}

bool is_power_of_two(unsigned long value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

int count_ones(long long value)
{
    unsigned long long rest = (unsigned long long)value;
    int ones = 0;

    while (rest != 0) {
        rest &= rest - 1;
        ones++;
    }
    return ones;
}

/* The largest number whose square is not above `n`. */
uint32_t integer_sqrt(uint64_t n)
{
    uint64_t root = 0;

    for (uint64_t bit = UINT64_C(1) << 31; bit != 0; bit >>= 1) {
        uint64_t trial = root | bit;
        if (trial * trial <= n) {
            root = trial;
        }
    }
    return (uint32_t)root;
}

uint64_t hash_fields(uint8_t kind, int8_t level, uint16_t port, int16_t offset, bool urgent, uint32_t source,
                     int32_t delta, uint64_t id, char mark)
{
    const uint64_t prime = UINT64_C(1099511628211);
    uint64_t hash = UINT64_C(14695981039346656037);

    hash = (hash ^ kind) * prime;
    hash = (hash ^ (uint64_t)level) * prime;
    hash = (hash ^ port) * prime;
    hash = (hash ^ (uint64_t)offset) * prime;
    hash = (hash ^ urgent) * prime;
    hash = (hash ^ source) * prime;
    hash = (hash ^ (uint64_t)delta) * prime;
    hash = (hash ^ id) * prime;
    return (hash ^ (uint64_t)mark) * prime;
}
