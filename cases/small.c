/* Functions of a few lines each, which a small model can compile. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pixel {
    uint8_t red, green, blue, alpha;
};

struct account {
    long balance;
    int overdrafts;
    short limit;
};

int ticks;
unsigned counts[26];

int letter_index(char c)
{
    if (c >= 'a' && c <= 'z') {
        return c - 'a';
    }
    return c >= 'A' && c <= 'Z' ? c - 'A' : -1;
}

int fahrenheit(int celsius)
{
    return celsius * 9 / 5 + 32;
}

unsigned next_random(unsigned state)
{
    return state * 1664525u + 1013904223u;
}

int middle_of_three(int a, int b, int c)
{
    if (a > b) {
        int swapped = a;
        a = b;
        b = swapped;
    }
    return c < a ? a : c > b ? b : c;
}

long days_of_weeks(short weeks, unsigned char days)
{
    return weeks * 7L + days;
}

bool is_leap_year(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

unsigned char grey_code(unsigned char binary)
{
    return binary ^ (binary >> 1);
}

uint32_t pack_pixel(const struct pixel *p)
{
    return (uint32_t)p->alpha << 24 | (uint32_t)p->red << 16 | (uint32_t)p->green << 8 | p->blue;
}

void darken(struct pixel *p, unsigned amount)
{
    amount &= 7;
    p->red >>= amount;
    p->green >>= amount;
    p->blue >>= amount;
}

bool withdraw(struct account *from, int amount)
{
    if (amount < 0 || from->balance - amount < -from->limit) {
        from->overdrafts++;
        return false;
    }
    from->balance -= amount;
    return true;
}

int tick(int step)
{
    ticks += step;
    return ticks & 1023;
}

void count_letter(char c)
{
    int index = letter_index(c);

    if (index >= 0) {
        counts[index]++;
    }
}

int sum_of_squares(int n)
{
    int sum = 0;

    for (int i = 1; i <= (n & 31); i++) {
        sum += i * i;
    }
    return sum;
}

unsigned collatz_steps(unsigned char start)
{
    unsigned n = start, steps = 0;

    while (n > 1) {
        n = n % 2 ? 3 * n + 1 : n / 2;
        steps++;
    }
    return steps;
}

unsigned common_divisor(unsigned a, unsigned b)
{
    while (b != 0) {
        unsigned rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

int digits(unsigned long number)
{
    int count = 1;

    while (number >= 10) {
        number /= 10;
        count++;
    }
    return count;
}

unsigned parity(uint16_t word)
{
    unsigned odd = 0;

    for (; word != 0; word &= word - 1) {
        odd ^= 1;
    }
    return odd;
}

size_t length(const char *text)
{
    size_t n = 0;

    while (text[n] != '\0') {
        n++;
    }
    return n;
}

int last_index_of(const int *values, int n, int wanted)
{
    for (int i = n - 1; i >= 0; i--) {
        if (values[i] == wanted) {
            return i;
        }
    }
    return -1;
}

long dot_product(const int *a, const int *b, int n)
{
    long sum = 0;

    for (int i = 0; i < n; i++) {
        sum += (long)a[i] * b[i];
    }
    return sum;
}

unsigned short checksum(const unsigned char *data, size_t size)
{
    unsigned sum = 0;

    for (size_t i = 0; i < size; i++) {
        sum = (sum >> 1) + ((sum & 1) << 15) + data[i];
        sum &= 0xffff;
    }
    return (unsigned short)sum;
}

void reverse(short *values, int n)
{
    for (int i = 0, j = n - 1; i < j; i++, j--) {
        short swapped = values[i];
        values[i] = values[j];
        values[j] = swapped;
    }
}

void running_total(long *values, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        values[i] += values[i - 1];
    }
}

int largest(const int *values, int n)
{
    int most = values[0];

    for (int i = 1; i < n; i++) {
        if (values[i] > most) {
            most = values[i];
        }
    }
    return most;
}

bool is_sorted(const unsigned char *values, int n)
{
    for (int i = 1; i < n; i++) {
        if (values[i - 1] > values[i]) {
            return false;
        }
    }
    return true;
}

int count_words(const char *text)
{
    int words = 0;
    bool inside = false;

    for (; *text; text++) {
        if (*text == ' ') {
            inside = false;
        } else if (!inside) {
            inside = true;
            words++;
        }
    }
    return words;
}

int days_in_month(int month)
{
    switch (month) {
    case 2:
        return 28;
    case 4:
    case 6:
    case 9:
    case 11:
        return 30;
    default:
        return month >= 1 && month <= 12 ? 31 : 0;
    }
}

int roman_digit(char letter)
{
    switch (letter) {
    case 'I':
        return 1;
    case 'V':
        return 5;
    case 'X':
        return 10;
    case 'L':
        return 50;
    case 'C':
        return 100;
    }
    return 0;
}

unsigned to_bcd(unsigned char value)
{
    return value / 100 << 8 | value / 10 % 10 << 4 | value % 10;
}

int round_to(int value, unsigned char step)
{
    int unit = step + 1;
    int rest = value % unit;

    return rest < 0 ? value - rest - unit : value - rest;
}

uint64_t spread_bits(uint8_t byte)
{
    uint64_t spread = byte;

    spread = (spread | spread << 28) & 0x0000000f0000000fULL;
    spread = (spread | spread << 14) & 0x0003000300030003ULL;
    return (spread | spread << 7) & 0x0101010101010101ULL;
}

int apply_twice(int (*change)(int), int value)
{
    return change(change(value));
}

double average_of(const float *values, unsigned char n)
{
    double sum = 0;

    for (unsigned i = 0; i < n; i++) {
        sum += values[i];
    }
    return n ? sum / n : 0;
}

int most_frequent_digit(const unsigned char *digits, int n)
{
    int times[10] = {0}, best = 0;

    for (int i = 0; i < n; i++) {
        times[digits[i] % 10]++;
    }
    for (int i = 1; i < 10; i++) {
        if (times[i] > times[best]) {
            best = i;
        }
    }
    return best;
}

long power(int base, unsigned char exponent)
{
    long result = 1;

    exponent &= 15;
    while (exponent--) {
        result *= base;
    }
    return result;
}

int compare_versions(const short *a, const short *b)
{
    for (int i = 0; i < 3; i++) {
        if (a[i] != b[i]) {
            return a[i] < b[i] ? -1 : 1;
        }
    }
    return 0;
}
