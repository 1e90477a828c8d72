/* Pixels: copying, blending, filtering and filling. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct Image {
  int w, h;
  uint8_t *px; /* w * h gray values */
} Image;

typedef struct Rgb {
  uint8_t r, g, b;
} Rgb;

typedef struct Yuv {
  uint8_t y, u, v;
} Yuv;

static uint8_t ClampByte(int v) { return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v; }

/* Copies `src` to (x, y) of `dst`, clipped. Returns the number of pixels. */
int Blit(const Image *src, Image *dst, int x, int y) {
  int x0 = x < 0 ? 0 : x, y0 = y < 0 ? 0 : y;
  int x1, y1;

  if (x >= dst->w || y >= dst->h || x <= -src->w || y <= -src->h) return 0;
  x1 = dst->w - x < src->w ? dst->w : x + src->w;
  y1 = dst->h - y < src->h ? dst->h : y + src->h;
  for (int row = y0; row < y1; ++row) {
    memmove(dst->px + row * dst->w + x0, src->px + (row - y) * src->w + (x0 - x), (size_t)(x1 - x0));
  }
  return (x1 - x0) * (y1 - y0);
}

/* Source over destination, 0xAARRGGBB, not premultiplied; the destination is opaque. */
uint32_t BlendPixel(uint32_t src, uint32_t dst) {
  uint32_t a = src >> 24, out = 0xff000000u;

  for (int shift = 0; shift < 24; shift += 8) {
    uint32_t s = src >> shift & 0xff, d = dst >> shift & 0xff;
    uint32_t sum = s * a + d * (255 - a) + 127;
    out |= sum / 255 << shift;
  }
  return out;
}

void BlendRow(uint32_t *restrict dst, const uint32_t *restrict src, unsigned n) {
  while (n--) {
    uint32_t s = *src++;
    if (s >> 24 == 0xff) {
      *dst = s;
    } else if (s >> 24 != 0) {
      *dst = BlendPixel(s, *dst);
    }
    dst++;
  }
}

/* 3 x 3 box blur of a small image; the edge is averaged over what there is. */
void BoxBlur(const uint8_t *in, uint8_t *out, uint8_t w, uint8_t h) {
  for (int y = 0; y < h; y++) {
    for (int x = 0; x < w; x++) {
      unsigned sum = 0, count = 0;
      for (int dy = -1; dy <= 1; dy++) {
        for (int dx = -1; dx <= 1; dx++) {
          int sx = x + dx, sy = y + dy;
          if (sx < 0 || sy < 0 || sx >= w || sy >= h) continue;
          sum += in[sy * w + sx];
          count++;
        }
      }
      out[y * w + x] = (uint8_t)((sum + count / 2) / count);
    }
  }
}

/* Fills the area of one color around (x, y) of an 8 x 8 tile. Returns its size. */
int FloodFill(uint8_t tile[64], unsigned x, unsigned y, uint8_t color) {
  uint8_t stack[64];
  int top = 0, filled = 0;
  uint8_t old;

  if (x > 7 || y > 7) return 0;
  old = tile[y * 8 + x];
  if (old == color) return 0;
  tile[y * 8 + x] = color;
  stack[top++] = (uint8_t)(y * 8 + x);
  while (top > 0) {
    unsigned at = stack[--top];
    const bool open[4] = {at % 8 > 0, at % 8 < 7, at / 8 > 0, at / 8 < 7};
    static const int8_t step[4] = {-1, 1, -8, 8};
    filled++;
    for (int i = 0; i < 4; i++) {
      unsigned next = at + (unsigned)step[i];
      if (open[i] && tile[next] == old) {
        tile[next] = color;
        stack[top++] = (uint8_t)next;
      }
    }
  }
  return filled;
}

/* BT.601, full range, in 16.16 fixed point. */
Yuv RgbToYuv(Rgb c) {
  Yuv out;
  int y = 19595 * c.r + 38470 * c.g + 7471 * c.b;
  int u = -11056 * c.r - 21712 * c.g + 32768 * c.b;
  int v = 32768 * c.r - 27440 * c.g - 5328 * c.b;

  out.y = ClampByte((y + 32768) / 65536);
  out.u = ClampByte((u + 128 * 65536 + 32768) / 65536);
  out.v = ClampByte((v + 128 * 65536 + 32768) / 65536);
  return out;
}

void YuvToRgb(const Yuv *in, Rgb *out) {
  int y = in->y * 65536 + 32768, u = in->u - 128, v = in->v - 128;

  out->r = ClampByte((y + 91881 * v) / 65536);
  out->g = ClampByte((y - 22554 * u - 46802 * v) / 65536);
  out->b = ClampByte((y + 116130 * u) / 65536);
}

/* Counts gray values; returns the most frequent one. */
uint8_t Histogram(const uint8_t *px, uint32_t size, uint32_t bins[256]) {
  unsigned best = 0;

  memset(bins, 0, 256 * sizeof bins[0]);
  while (size-- > 0) bins[*px++]++;
  for (unsigned i = 1; i < 256; i++) {
    if (bins[i] > bins[best]) best = i;
  }
  return (uint8_t)best;
}

uint16_t PackRgb565(Rgb c) { return (uint16_t)((c.r & 0xf8) << 8 | (c.g & 0xfc) << 3 | c.b >> 3); }

/* Makes gray of RGB triples, in place. */
void Desaturate(Rgb *px, int count) {
  for (int i = 0; i < count; i++) {
    Rgb *p = px + i;
    p->r = p->g = p->b = (uint8_t)((77u * p->r + 150u * p->g + 29u * p->b) >> 8);
  }
}
