/* Encoders and decoders over byte buffers. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Write the base64 text of `data`, with no terminator. The length of the text, or 0 when it does not fit. */
size_t base64_encode(const uint8_t *data, size_t len, char *out, size_t out_size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t written = 0;

    if ((len + 2) / 3 * 4 > out_size) {
        return 0;
    }
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = (uint32_t)data[i] << 16;
        if (i + 1 < len) {
            group |= (uint32_t)data[i + 1] << 8;
        }
        if (i + 2 < len) {
            group |= data[i + 2];
        }
        out[written++] = digits[group >> 18];
        out[written++] = digits[group >> 12 & 63];
        out[written++] = i + 1 < len ? digits[group >> 6 & 63] : '=';
        out[written++] = i + 2 < len ? digits[group & 63] : '=';
    }
    return written;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

/* Returns the number of bytes written, limited by the pairs of digits and by the room. */
size_t hex_decode(const char *text, uint8_t *out, size_t out_size)
{
    size_t written = 0;

    while (written < out_size) {
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0) {
            break;
        }
        out[written++] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return written;
}

/* Read a LEB128 number. Returns the bytes used, 0 if it is truncated or has more than 64 bits. */
size_t varint_decode(const uint8_t *buf, size_t len, uint64_t *value)
{
    uint64_t result = 0;

    for (size_t i = 0; i < len && i < 10; i++) {
        if (i == 9 && buf[i] > 1) {
            return 0;
        }
        result |= (uint64_t)(buf[i] & 0x7f) << (7 * i);
        if ((buf[i] & 0x80) == 0) {
            *value = result;
            return i + 1;
        }
    }
    return 0;
}

uint32_t crc32(const uint8_t *data, size_t len)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* Decode PackBits run lengths. Returns the number of bytes written, -1 if `in` is truncated or `out` is full. */
long unpack_bits(const int8_t *in, size_t in_len, int8_t *out, size_t out_len)
{
    size_t from = 0, to = 0;

    while (from < in_len) {
        int run = in[from++];
        if (run == -128) {
            continue;
        }
        size_t count = run >= 0 ? (size_t)run + 1 : (size_t)-run + 1;
        if (count > out_len - to || from + (run >= 0 ? count : 1) > in_len) {
            return -1;
        }
        if (run >= 0) {
            memcpy(out + to, in + from, count);
            from += count;
        } else {
            memset(out + to, in[from++], count);
        }
        to += count;
    }
    return (long)to;
}

int main(void)
{
    static const uint8_t varint[] = {0xe5, 0x8e, 0x26};
    static const int8_t packed[] = {-3, 7, 2, 1, 2, 3, -128};
    char text[16];
    uint8_t bytes[8];
    int8_t unpacked[8];
    uint64_t number;

    if (base64_encode((const uint8_t *)"pleasure.", 8, text, sizeof text) != 12 ||
        memcmp(text, "cGxlYXN1cmU=", 12) != 0) {
        return 1;
    }
    if (hex_decode("5891b5b5", bytes, sizeof bytes) != 4 || memcmp(bytes, "\x58\x91\xb5\xb5", 4) != 0) {
        return 2;
    }
    if (varint_decode(varint, sizeof varint, &number) != 3 || number != 624485) {
        return 3;
    }
    if (crc32((const uint8_t *)"123456789", 9) != 0xcbf43926) {
        return 4;
    }
    if (unpack_bits(packed, sizeof packed, unpacked, sizeof unpacked) != 7 ||
        memcmp(unpacked, "\7\7\7\7\1\2\3", 7) != 0) {
        return 5;
    }
    return 0;
}
