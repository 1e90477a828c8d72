/* Bit-fields, unions and small structs by value. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct date {
    unsigned day : 5;
    unsigned month : 4;
    unsigned weekday : 3;
    unsigned year : 20;
};

struct header {
    uint16_t source, target;
    int offset : 12;
    bool urgent : 1;
    bool final : 1;
    unsigned window : 18;
};

struct color {
    uint8_t red, green, blue;
};

union number {
    float value;
    uint32_t bits;
    uint8_t bytes[4];
};

struct date make_date(unsigned year, unsigned month, unsigned day)
{
    static const uint8_t shift[] = {0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
    struct date date;
    unsigned y = month < 3 ? year - 1 : year;

    date.year = year & 0xfffff;
    date.month = month & 15;
    date.day = day & 31;
    date.weekday = (y + y / 4 - y / 100 + y / 400 + shift[(month + 11) % 12] + day) % 7;
    return date;
}

int compare_dates(struct date a, struct date b)
{
    if (a.year != b.year) {
        return a.year < b.year ? -1 : 1;
    }
    if (a.month != b.month) {
        return a.month < b.month ? -1 : 1;
    }
    return (a.day > b.day) - (a.day < b.day);
}

/* Move a packet's window on by its signed offset. */
bool advance(struct header *header, int steps)
{
    if (header->final) {
        return false;
    }
    if (steps < 0 || steps > 4) {
        header->urgent = true;
        steps &= 3;
    }
    header->window = (header->window + (unsigned)(header->offset * steps)) & 0x3ffff;
    header->offset = header->offset / 2;
    header->final = header->window == 0;
    return true;
}

uint64_t pack_header(struct header header)
{
    uint64_t word = (uint64_t)header.source << 48 | (uint64_t)header.target << 32;

    word |= (uint64_t)((unsigned)header.offset & 0xfff) << 20;
    word |= (uint64_t)header.urgent << 19 | (uint64_t)header.final << 18;
    return word | header.window;
}

struct color blend(struct color under, struct color over, uint8_t alpha)
{
    struct color result;

    result.red = (uint8_t)((over.red * alpha + under.red * (255 - alpha)) / 255);
    result.green = (uint8_t)((over.green * alpha + under.green * (255 - alpha)) / 255);
    result.blue = (uint8_t)((over.blue * alpha + under.blue * (255 - alpha)) / 255);
    return result;
}

/* The exponent of a float, from its bits. */
int exponent(union number number)
{
    return (int)(number.bits >> 23 & 0xff) - 127;
}

uint8_t xor_bytes(union number *number, uint8_t mask)
{
    uint8_t sum = 0;

    for (int i = 0; i < 4; i++) {
        number->bytes[i] ^= mask;
        sum ^= number->bytes[i];
    }
    return sum;
}

int main(void)
{
    struct date leap = make_date(2024, 2, 29);
    struct header header = {443, 51413, -8, false, false, 64};
    struct color grey = blend((struct color){0, 0, 0}, (struct color){255, 128, 64}, 128);
    union number half = {0.5f};

    if (leap.weekday != 4 || compare_dates(leap, make_date(2024, 3, 1)) != -1) {
        return 1;
    }
    if (!advance(&header, 2) || header.window != 48 || header.offset != -4) {
        return 2;
    }
    if (pack_header(header) != UINT64_C(0x01bbc8d5ffc00030)) {
        return 3;
    }
    if (grey.red != 128 || grey.green != 64 || grey.blue != 32) {
        return 4;
    }
    if (exponent(half) != -1 || xor_bytes(&half, 0xff) != 0x3f || half.bits != 0xc0ffffff) {
        return 5;
    }
    return 0;
}
