/* Hash functions. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ROTL32(x, r) ((x) << (r) | (x) >> (32 - (r)))
#define ROTL64(x, r) ((x) << (r) | (x) >> (64 - (r)))

struct sip_state {
    uint64_t v0, v1, v2, v3;
};

union word {
    uint8_t b[8];
    uint32_t w[2];
    uint64_t q;
};

uint32_t fnv1a_32(const void *restrict key, size_t length)
{
    const uint8_t *p = key;
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < length; ++i)
        h = (h ^ p[i]) * 16777619u;
    return h;
}

/* The same over a string, without regard to ASCII case, in 64 bits. */
uint64_t fnv1a_nocase(const char *s)
{
    uint64_t h = 14695981039346656037u;

    while (*s) {
        unsigned char c = (unsigned char)*s++;
        if ((unsigned)c - 'A' < 26u)
            c |= 0x20;
        h ^= c;
        h *= 1099511628211u;
    }
    return h;
}

unsigned long djb2(const unsigned char *str)
{
    unsigned long h = 5381;
    int c;

    while ((c = *str++))
        h = ((h << 5) + h) + (unsigned long)c;
    return h;
}

static uint32_t mix32(uint32_t h)
{
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}

/* Four bytes at a time with a multiplication and a rotation each. */
uint32_t block_hash(const uint8_t *p, size_t n, uint32_t seed)
{
    uint32_t h = seed, k;
    size_t left = n;

    for (; left >= 4; left -= 4, p += 4) {
        memcpy(&k, p, 4);
        k *= 0xcc9e2d51u;
        k = ROTL32(k, 15);
        h ^= k * 0x1b873593u;
        h = ROTL32(h, 13) * 5 + 0xe6546b64u;
    }
    k = 0;
    switch (left) {
    case 3:
        k |= (uint32_t)p[2] << 16;
        /* fall through */
    case 2:
        k |= (uint32_t)p[1] << 8;
        /* fall through */
    case 1:
        k |= p[0];
        h ^= ROTL32(k * 0xcc9e2d51u, 15) * 0x1b873593u;
    }
    return mix32(h ^ (uint32_t)n);
}

/* A few rounds of SipHash on its state. */
void sip_rounds(struct sip_state *s, int rounds)
{
    while (rounds-- > 0) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = ROTL64(s->v1, 13) ^ s->v0;
        s->v3 = ROTL64(s->v3, 16) ^ s->v2;
        s->v0 = ROTL64(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = ROTL64(s->v1, 17) ^ s->v2;
        s->v3 = ROTL64(s->v3, 21) ^ s->v0;
        s->v2 = ROTL64(s->v2, 32);
    }
}

static struct sip_state sip_start(const uint64_t key[2])
{
    struct sip_state s;

    s.v0 = key[0] ^ 0x736f6d6570736575u;
    s.v1 = key[1] ^ 0x646f72616e646f6du;
    s.v2 = key[0] ^ 0x6c7967656e657261u;
    s.v3 = key[1] ^ 0x7465646279746573u;
    return s;
}

/* SipHash-2-4 of len bytes on a little endian machine. */
uint64_t siphash24(const uint64_t key[2], const void *data, size_t len)
{
    struct sip_state s = sip_start(key);
    const char *p = data;
    union word last = {.q = (uint64_t)len << 56};
    size_t rest = len;

    for (; rest >= 8; rest -= 8, p += 8) {
        uint64_t m;
        memcpy(&m, p, sizeof m);
        s.v3 ^= m;
        sip_rounds(&s, 2);
        s.v0 ^= m;
    }
    memcpy(last.b, p, rest);
    s.v3 ^= last.q;
    sip_rounds(&s, 2);
    s.v0 ^= last.q;
    s.v2 ^= 0xff;
    sip_rounds(&s, 4);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* The two halves of a word folded into one, seen through a union. */
uint32_t fold64(union word w)
{
    return w.w[0] ^ ROTL32(w.w[1], 7);
}
