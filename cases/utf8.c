/* UTF-8: bytes to code points and back. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static bool is_surrogate(uint32_t code_point)
{
    return (code_point & 0xfffff800) == 0xd800;
}

/* The bytes written, 0 for a code point that has no encoding or no room. */
size_t utf8_encode(uint32_t code_point, unsigned char *out, size_t size)
{
    size_t length = code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;

    if (code_point > 0x10ffff || is_surrogate(code_point) || length > size) {
        return 0;
    }
    if (length == 1) {
        out[0] = (unsigned char)code_point;
        return 1;
    }
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (unsigned char)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    out[0] = (unsigned char)(0xf00 >> length | code_point);
    return length;
}

/* The code point that starts at `buf[pos]`, or -1 when the bytes there are none. */
int32_t utf8_decode(const unsigned char *buf, size_t size, size_t pos)
{
    static const uint32_t smallest[] = {0x80, 0x800, 0x10000};
    uint32_t code_point;
    size_t more;

    if (pos >= size) {
        return -1;
    }
    code_point = buf[pos];
    if (code_point < 0x80) {
        return (int32_t)code_point;
    }
    if (code_point < 0xc0 || code_point >= 0xf8) {
        return -1;
    }
    more = code_point < 0xe0 ? 1 : code_point < 0xf0 ? 2 : 3;
    if (more >= size - pos) {
        return -1;
    }
    code_point &= 0x3fu >> more;
    for (size_t i = 1; i <= more; i++) {
        if ((buf[pos + i] & 0xc0) != 0x80) {
            return -1;
        }
        code_point = code_point << 6 | (buf[pos + i] & 0x3f);
    }
    if (code_point < smallest[more - 1] || code_point > 0x10ffff || is_surrogate(code_point)) {
        return -1;
    }
    return (int32_t)code_point;
}

/* Code points in a string: every byte but the continuations. */
size_t utf8_length(const char *text)
{
    size_t length = 0;

    for (; *text != '\0'; text++) {
        length += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return length;
}

int main(void)
{
    static const char sample[] = "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80";
    const unsigned char *bytes = (const unsigned char *)sample;
    unsigned char out[4];

    if (utf8_length(sample) != 9) {
        return 1;
    }
    if (utf8_decode(bytes, sizeof sample, 2) != 0xef || utf8_decode(bytes, sizeof sample, 7) != 0x20ac ||
        utf8_decode(bytes, sizeof sample, 11) != 0x1f600 || utf8_decode(bytes, sizeof sample, 8) != -1) {
        return 2;
    }
    if (utf8_encode(0x20ac, out, sizeof out) != 3 || memcmp(out, "\xe2\x82\xac", 3) != 0 ||
        utf8_encode(0x1f600, out, sizeof out) != 4 || memcmp(out, "\xf0\x9f\x98\x80", 4) != 0) {
        return 3;
    }
    if (utf8_encode(0xef, out, sizeof out) != 2 || utf8_encode('a', out, sizeof out) != 1 ||
        utf8_encode(0xdfff, out, sizeof out) != 0) {
        return 4;
    }
    return 0;
}
