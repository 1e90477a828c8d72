/* Base 16, 32, 64 and 85. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char B64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char B32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* URL-safe base64 without padding. The length of the text; out needs len / 3 * 4 + 4 bytes. */
size_t b64_encode(const void *data, size_t len, char *out)
{
    const uint8_t *in = data;
    char *o = out;
    uint32_t acc = 0;
    int bits = 0;

    while (len-- > 0) {
        acc = acc << 8 | *in++;
        bits += 8;
        while (bits >= 6) {
            bits -= 6;
            *o++ = B64[acc >> bits & 63];
        }
    }
    if (bits > 0)
        *o++ = B64[acc << (6 - bits) & 63];
    *o = '\0';
    return (size_t)(o - out);
}

static int b64_value(unsigned char c)
{
    const char *hit;

    if (c == '+')
        return 62;
    if (c == '/')
        return 63;
    hit = c ? strchr(B64, c) : NULL;
    return hit ? (int)(hit - B64) : -1;
}

/* Both alphabets; white space is skipped, '=' ends it. Bytes written, or -1 on a foreign character or too little room. */
int b64_decode(const char *s, uint8_t *out, int room)
{
    uint32_t acc = 0;
    int bits = 0, n = 0;

    for (; *s && *s != '='; s++) {
        int v;

        if (*s == ' ' || *s == '\n' || *s == '\r')
            continue;
        v = b64_value((unsigned char)*s);
        if (v < 0)
            return -1;
        acc = acc << 6 | (uint32_t)v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (n >= room)
                return -1;
            out[n++] = (uint8_t)(acc >> bits);
        }
    }
    return n;
}

/* Five bytes become eight characters; a shorter last group is padded with '='. */
void b32_encode_group(const uint8_t *in, unsigned n, char out[8])
{
    uint64_t group = 0;
    unsigned i, used;

    if (n > 5)
        n = 5;
    for (i = 0; i < 5; i++)
        group = group << 8 | (i < n ? in[i] : 0u);
    used = (n * 8 + 4) / 5;
    for (i = 0; i < 8; i++)
        out[i] = i < used ? B32[group >> (35 - 5 * i) & 31] : '=';
}

/* The value of one base 32 character, in either case; 0 reads as O, and 1 as I. */
int b32_value(char c)
{
    switch (c) {
    case '0':
        c = 'O';
        break;
    case '1':
        c = 'I';
        break;
    default:
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
    }
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

/* "DE AD BE EF": sep is between the bytes unless it is 0. out has room for 3 * n + 1 bytes. */
char *hex_dump(const uint8_t *p, size_t n, char sep, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    char *w = out;

    for (size_t i = 0; i < n; i++) {
        if (i && sep)
            *w++ = sep;
        *w++ = digits[p[i] >> 4];
        *w++ = digits[p[i] & 15];
    }
    *w = 0;
    return out;
}

/* Ascii85 of four bytes. Zero is the single letter z. Characters written. */
int a85_word(uint32_t word, char out[static 5])
{
    int i;

    if (word == 0) {
        out[0] = 'z';
        return 1;
    }
    for (i = 4; i >= 0; i--) {
        out[i] = (char)('!' + word % 85);
        word /= 85;
    }
    return 5;
}

int main(void)
{
    char text[64];
    uint8_t back[16];
    int n;

    printf("%zu ", b64_encode("any carnal pleas", 16, text));
    printf("%s\n", text);
    n = b64_decode(text, back, sizeof back);
    printf("%d %.*s\n", n, n, (const char *)back);
    b32_encode_group((const uint8_t *)"foo", 3, text);
    printf("%.8s %d\n", text, b32_value('q'));
    puts(hex_dump(back, 4, ':', text));
    printf("%d\n", a85_word(0x4d616e20, text));
    printf("%.5s\n", text);
    return 0;
}
