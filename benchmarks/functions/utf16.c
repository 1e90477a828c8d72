/* UTF-16 and its way from and to UTF-8. */
#include <stdint.h>
#include <stddef.h>

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint8_t u8;

#define REPLACEMENT 0xFFFDu

enum byte_order { ORDER_UNKNOWN, ORDER_LITTLE, ORDER_BIG };

static int is_high(u32 c) { return (c & 0xFC00u) == 0xD800u; }
static int is_low(u32 c) { return (c & 0xFC00u) == 0xDC00u; }

/* One code point from [p, e); a surrogate on its own is replaced. p must be below e. */
const u16 *utf16_next(const u16 *p, const u16 *e, u32 *c)
{
  u32 m = *p++;

  if (is_high(m) && p != e && is_low(*p))
    m = 0x10000u + ((m - 0xD800u) << 10) + (*p++ - 0xDC00u);
  else if (is_high(m) || is_low(m))
    m = REPLACEMENT;
  *c = m;
  return p;
}

/* Units written to out (1 or 2), 0 if c is no character. */
int utf16_put(u32 c, u16 out[2])
{
  if (c > 0x10FFFF || is_high(c) || is_low(c))
    return 0;
  if (c < 0x10000) {
    out[0] = (u16)c;
    return 1;
  }
  c -= 0x10000;
  out[0] = (u16)(0xD800 | c >> 10);
  out[1] = (u16)(0xDC00 | (c & 0x3FF));
  return 2;
}

/* Number of code points in n units. */
size_t utf16_count(const u16 *s, size_t n)
{
  const u16 *e = s + n;
  size_t k = 0;
  u32 c;

  while (s < e) {
    s = utf16_next(s, e, &c);
    k++;
  }
  return k;
}

/* Bytes of UTF-8 for one code point. */
static unsigned utf8_put(u32 c, u8 *o)
{
  if (c < 0x80) {
    o[0] = (u8)c;
    return 1;
  }
  if (c < 0x800) {
    o[0] = (u8)(0xC0 | c >> 6);
    o[1] = (u8)(0x80 | (c & 0x3F));
    return 2;
  }
  if (c < 0x10000) {
    o[0] = (u8)(0xE0 | c >> 12);
    o[1] = (u8)(0x80 | (c >> 6 & 0x3F));
    o[2] = (u8)(0x80 | (c & 0x3F));
    return 3;
  }
  o[0] = (u8)(0xF0 | (c >> 18 & 7));
  o[1] = (u8)(0x80 | (c >> 12 & 0x3F));
  o[2] = (u8)(0x80 | (c >> 6 & 0x3F));
  o[3] = (u8)(0x80 | (c & 0x3F));
  return 4;
}

/* Converts n units into at most cap bytes, whole characters only. Bytes written. */
size_t utf16_to_utf8(const u16 *s, size_t n, u8 *out, size_t cap)
{
  const u16 *e = s + n;
  size_t k = 0;

  while (s < e) {
    u8 tmp[4];
    u32 c;
    unsigned len, i;

    s = utf16_next(s, e, &c);
    len = utf8_put(c, tmp);
    if (len > cap - k)
      break;
    for (i = 0; i < len; i++)
      out[k++] = tmp[i];
  }
  return k;
}

/* Looks for a byte order mark, and without one guesses from where the zeros are. */
enum byte_order utf16_guess_order(const u8 *data, size_t len)
{
  size_t even = 0, odd = 0, i;

  if (len >= 2 && data[0] == 0xFF && data[1] == 0xFE)
    return ORDER_LITTLE;
  if (len >= 2 && data[0] == 0xFE && data[1] == 0xFF)
    return ORDER_BIG;
  for (i = 0; i + 1 < len; i += 2) {
    even += data[i] == 0;
    odd += data[i + 1] == 0;
  }
  if (even == odd)
    return ORDER_UNKNOWN;
  return even < odd ? ORDER_LITTLE : ORDER_BIG;
}

/* Exchanges the bytes of each unit; src and dst may be the same array. */
void utf16_swap(u16 *dst, const u16 *src, size_t count)
{
  size_t i;

  for (i = 0; i < count; i++)
    dst[i] = (u16)(src[i] << 8 | src[i] >> 8);
}

/* 0, or 1 + the index of the first unit that is half of a pair. */
size_t utf16_invalid_at(const u16 *s, size_t n)
{
  size_t i = 0;

  while (i < n) {
    if (is_low(s[i]))
      return i + 1;
    if (is_high(s[i])) {
      if (i + 1 == n || !is_low(s[i + 1]))
        return i + 1;
      i++;
    }
    i++;
  }
  return 0;
}
