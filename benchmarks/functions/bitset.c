/* Sets of small numbers as bits, in words that the caller owns. */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long word_t;
#define WORD_BITS (sizeof(word_t) * CHAR_BIT)

typedef struct bitset128 {
  word_t w[2];
} bitset128;

bool bits_test(const word_t *set, unsigned i) { return set[i / WORD_BITS] >> i % WORD_BITS & 1; }

/* Set bit i; whether it was set before. */
bool bits_set(word_t *set, unsigned i) {
  word_t mask = (word_t)1 << i % WORD_BITS;
  bool was = (set[i / WORD_BITS] & mask) != 0;

  set[i / WORD_BITS] |= mask;
  return was;
}

/* Set the bits from <= i < to of a set of n bits; whole words at once. */
void bits_set_range(word_t *set, size_t n, size_t from, size_t to) {
  if (to > n)
    to = n;
  while (from < to) {
    size_t shift = from % WORD_BITS, count = WORD_BITS - shift;
    word_t mask = ~(word_t)0;

    if (count > to - from)
      count = to - from;
    if (count < WORD_BITS)
      mask = (((word_t)1 << count) - 1) << shift;
    set[from / WORD_BITS] |= mask;
    from += count;
  }
}

static unsigned popcount_word(word_t x) {
  x -= x >> 1 & 0x5555555555555555ul;
  x = (x & 0x3333333333333333ul) + (x >> 2 & 0x3333333333333333ul);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0ful;
  return (unsigned)(x * 0x0101010101010101ul >> 56);
}

size_t bits_count(const word_t *set, size_t words) {
  size_t total = 0;

  for (size_t i = 0; i < words; i++)
    total += popcount_word(set[i]);
  return total;
}

/* The first set bit at or after `start`; n when there is none. */
size_t bits_next(const word_t *set, size_t n, size_t start) {
  while (start < n) {
    word_t rest = set[start / WORD_BITS] >> start % WORD_BITS;

    if (rest != 0) {
      while ((rest & 1) == 0) {
        rest >>= 1;
        start++;
      }
      return start < n ? start : n;
    }
    start += WORD_BITS - start % WORD_BITS;
  }
  return n;
}

enum set_op { OP_UNION, OP_INTERSECT, OP_DIFFERENCE, OP_SYMMETRIC };

/* dst = dst op src. Whether dst changed. */
bool bits_combine(word_t *dst, const word_t *src, size_t words, enum set_op op) {
  word_t changed = 0;

  for (; words > 0; words--, dst++, src++) {
    word_t before = *dst;

    switch (op) {
    case OP_UNION:
      *dst |= *src;
      break;
    case OP_INTERSECT:
      *dst &= *src;
      break;
    case OP_DIFFERENCE:
      *dst &= ~*src;
      break;
    case OP_SYMMETRIC:
      *dst ^= *src;
      break;
    }
    changed |= before ^ *dst;
  }
  return changed != 0;
}

/* Shift a 128-bit set to higher numbers; what leaves is lost. */
bitset128 bitset128_shift(bitset128 s, unsigned by) {
  bitset128 r = {{0, 0}};

  if (by == 0)
    return s;
  if (by < 64) {
    r.w[0] = s.w[0] << by;
    r.w[1] = s.w[1] << by | s.w[0] >> (64 - by);
  } else if (by < 128) {
    r.w[1] = s.w[0] << (by - 64);
  }
  return r;
}

/* Write "1,3-5,9" for the set bits; false if it does not fit. */
bool bits_format(bitset128 s, char *out, size_t size) {
  size_t used = 0, i = 0;

  if (size == 0)
    return false;
  out[0] = '\0';
  while ((i = bits_next(s.w, 128, i)) < 128) {
    size_t last = i;
    int n;

    while (last + 1 < 128 && bits_test(s.w, (unsigned)(last + 1)))
      last++;
    if (last == i)
      n = snprintf(out + used, size - used, "%s%zu", used ? "," : "", i);
    else
      n = snprintf(out + used, size - used, "%s%zu-%zu", used ? "," : "", i, last);
    if (n < 0 || (size_t)n >= size - used)
      return false;
    used += (size_t)n;
    i = last + 1;
  }
  return true;
}
