/* Small compressors: run lengths, a sliding window, bits and Huffman code lengths. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define WINDOW 255
#define MIN_MATCH 3
#define MAX_MATCH (MIN_MATCH + 127)

typedef struct {
    const uint8_t *data;
    size_t size;
    size_t pos;       /* in bits */
} bit_reader;

typedef struct {
    uint8_t *buf;
    size_t size;
    uint32_t acc;
    uint8_t nbits;
    size_t used;
} bit_writer;

/* Pairs of (count, byte). The packed size, 0 if dst is too small. */
size_t rle_pack(uint8_t *dst, size_t dst_size, const uint8_t *src, size_t src_size)
{
    size_t out = 0;

    for (size_t i = 0; i < src_size;) {
        size_t run = 1;
        while (run < 255 && i + run < src_size && src[i + run] == src[i])
            run++;
        if (dst_size - out < 2)
            return 0;
        dst[out++] = (uint8_t)run;
        dst[out++] = src[i];
        i += run;
    }
    return out;
}

long rle_unpack(uint8_t *dst, size_t dst_size, const uint8_t *src, size_t src_size)
{
    uint8_t *out = dst, *end = dst + dst_size;

    if (src_size % 2)
        return -1;
    for (; src_size; src_size -= 2, src += 2) {
        if (src[0] > end - out)
            return -2;
        memset(out, src[1], src[0]);
        out += src[0];
    }
    return out - dst;
}

/* The longest match for src[at..] within the window; its length, and how far back in *back. */
static unsigned find_match(const uint8_t *src, size_t len, size_t at, unsigned *back)
{
    unsigned best = 0;
    size_t start = at > WINDOW ? at - WINDOW : 0;

    for (size_t from = start; from < at; from++) {
        unsigned n = 0;
        while (n < MAX_MATCH && at + n < len && src[from + n] == src[at + n])
            n++;
        if (n > best) {
            best = n;
            *back = (unsigned)(at - from);
        }
    }
    return best;
}

/*
 * A token is either 0..127 (that many literals, plus one, follow) or 128 + length - MIN_MATCH and a distance.
 * The packed size, or 0 when it does not fit.
 */
size_t lz_pack(const uint8_t *src, size_t len, uint8_t *dst, size_t cap)
{
    size_t at = 0, out = 0, pending = 0;

    while (at < len || pending > 0) {
        unsigned back = 0, match = at < len ? find_match(src, len, at, &back) : 0;

        if (pending > 0 && (match >= MIN_MATCH || pending == 128 || at >= len)) {
            if (cap - out < pending + 1)
                return 0;
            dst[out++] = (uint8_t)(pending - 1);
            memcpy(dst + out, src + at - pending, pending);
            out += pending;
            pending = 0;
        } else if (match >= MIN_MATCH) {
            if (cap - out < 2)
                return 0;
            dst[out++] = (uint8_t)(128 + match - MIN_MATCH);
            dst[out++] = (uint8_t)back;
            at += match;
        } else {
            pending++;
            at++;
        }
    }
    return out;
}

/* Undo lz_pack. 0 and the size in *produced, or a negative number that says what is wrong. */
int lz_unpack(const uint8_t *src, size_t len, uint8_t *dst, size_t cap, size_t *produced)
{
    size_t in = 0, out = 0;
    int status = 0;

    while (in < len) {
        unsigned token = src[in++];
        if (token < 128) {
            size_t n = token + 1u;
            if (n > len - in) {
                status = -1;
                goto done;
            }
            if (n > cap - out) {
                status = -2;
                goto done;
            }
            memcpy(dst + out, src + in, n);
            in += n;
            out += n;
        } else {
            size_t n = token - 128u + MIN_MATCH, back;
            if (in == len) {
                status = -1;
                goto done;
            }
            back = src[in++];
            if (back == 0 || back > out) {
                status = -3;
                goto done;
            }
            if (n > cap - out) {
                status = -2;
                goto done;
            }
            for (; n > 0; n--, out++)
                dst[out] = dst[out - back];
        }
    }
done:
    *produced = out;
    return status;
}

/* Up to 24 bits, most significant first; past the end come zeros. */
uint32_t read_bits(bit_reader *r, unsigned n)
{
    uint32_t v = 0;

    if (n > 24)
        n = 24;
    while (n-- > 0) {
        size_t byte = r->pos / 8;
        unsigned bit = byte < r->size ? r->data[byte] >> (7 - r->pos % 8) & 1u : 0;
        v = v << 1 | bit;
        r->pos++;
    }
    return v;
}

void write_bits(bit_writer *w, uint32_t value, unsigned n)
{
    for (unsigned i = n > 32 ? 32 : n; i-- > 0;) {
        w->acc = w->acc << 1 | (value >> i & 1);
        if (++w->nbits >= 8) {
            if (w->used < w->size)
                w->buf[w->used++] = (uint8_t)w->acc;
            w->nbits = 0;
        }
    }
}

/* Canonical Huffman codes (at most 15 bits) from their lengths, 0: unused. -1 if there are too many codes. */
int huffman_codes(const uint8_t lengths[16], uint16_t codes[16])
{
    unsigned per_length[16] = {0}, next[16], code = 0;

    for (int i = 0; i < 16; i++)
        per_length[lengths[i] & 15]++;
    per_length[0] = 0;
    for (int bits = 1; bits < 16; bits++) {
        code = (code + per_length[bits - 1]) << 1;
        next[bits] = code;
        if (code + per_length[bits] > 1u << bits)
            return -1;
    }
    for (int i = 0; i < 16; i++)
        codes[i] = lengths[i] & 15 ? (uint16_t)next[lengths[i] & 15]++ : 0;
    return 0;
}

/* Zigzag and difference coding of samples, in place. */
void delta_encode(int16_t *samples, size_t n)
{
    int16_t previous = 0;

    for (size_t i = 0; i < n; i++) {
        int d = (int16_t)(uint16_t)(samples[i] - previous);
        previous = samples[i];
        samples[i] = (int16_t)(uint16_t)(d < 0 ? -2 * d - 1 : 2 * d);
    }
}

int main(void)
{
    static const char text[] = "the rain in spain falls mainly on the plain, the rain, the rain....";
    static const uint8_t lengths[16] = {2, 3, 3, 3, 3, 3, 4, 4};
    uint8_t packed[100], unpacked[100];
    uint16_t codes[16];
    int16_t samples[6] = {5, 7, -3, 32767, -32768, 0};
    size_t n, m = 0;
    bit_writer w = {packed, sizeof packed, 0, 0, 0};
    bit_reader r = {packed, sizeof packed, 0};

    n = rle_pack(packed, sizeof packed, (const uint8_t *)"aaaaabccccccccd", 15);
    printf("rle %zu %ld\n", n, rle_unpack(unpacked, sizeof unpacked, packed, n));
    n = lz_pack((const uint8_t *)text, sizeof text, packed, sizeof packed);
    printf("lz %zu of %zu: %d", n, sizeof text, lz_unpack(packed, n, unpacked, sizeof unpacked, &m));
    printf(" %zu %s\n", m, memcmp(text, unpacked, sizeof text) ? "differs" : "same");
    printf("huffman %d:", huffman_codes(lengths, codes));
    for (int i = 0; i < 8; i++)
        printf(" %x", codes[i]);
    for (int i = 0; i < 8; i++)
        write_bits(&w, codes[i], lengths[i]);
    printf("\nbits %zu: %u", w.used, read_bits(&r, 2));
    printf(" %u", read_bits(&r, 11));
    delta_encode(samples, 6);
    for (int i = 0; i < 6; i++)
        printf(" %d", samples[i]);
    putchar('\n');
    return 0;
}
