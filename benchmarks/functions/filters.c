/* Audio: filters, companding, mixing. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>

#define TAPS 8
#define MU_BIAS 0x84
#define MU_CLIP 32635

struct biquad {
    float b0, b1, b2, a1, a2;
    float z1, z2;
};

struct envelope {
    enum { IDLE, ATTACK, DECAY, SUSTAIN, RELEASE } stage;
    double level;
    double attack, decay, sustain, release;   /* steps per sample, and a level */
};

struct adpcm {
    int16_t predictor;
    uint8_t index;
};

static const int16_t fir_taps[TAPS] = {-120, 410, 2300, 6100, 6100, 2300, 410, -120};
static int16_t fir_history[TAPS];
static unsigned fir_at;

static const uint8_t adpcm_steps[] = {7, 8, 9, 11, 13, 16, 19, 23, 28, 34, 41, 50, 60, 73, 88, 107, 130, 157, 190, 230};

static int16_t saturate(int32_t v)
{
    if (v > INT16_MAX)
        return INT16_MAX;
    if (v < INT16_MIN)
        return INT16_MIN;
    return (int16_t)v;
}

/* A sample through the low-pass filter, Q15 with a gain of about one half. */
int16_t fir_process(int16_t x)
{
    int32_t acc = 1 << 14;
    unsigned at = fir_at % TAPS;

    fir_history[at] = x;
    for (unsigned k = 0; k < TAPS; k++)
        acc += fir_taps[k] * fir_history[(at + TAPS - k) % TAPS];
    fir_at = (at + 1) % TAPS;
    return saturate(acc >> 15);
}

/* Transposed direct form II, in place. */
void biquad_process(struct biquad *f, float *samples, size_t count)
{
    float z1 = f->z1, z2 = f->z2;

    for (size_t i = 0; i < count; i++) {
        float x = samples[i], y = f->b0 * x + z1;
        z1 = f->b1 * x - f->a1 * y + z2;
        z2 = f->b2 * x - f->a2 * y;
        samples[i] = y;
    }
    f->z1 = z1;
    f->z2 = z2;
}

/* First-order high-pass that takes the offset out of a signal; remembers the last sample. */
double dc_block(double x)
{
    static double last_x, last_y;

    last_y = x - last_x + 0.995 * last_y;
    last_x = x;
    return last_y;
}

uint8_t mulaw_encode(int16_t pcm)
{
    int sign = pcm < 0 ? 0x80 : 0, exponent = 7;
    int magnitude = pcm < 0 ? -pcm : pcm;

    if (magnitude > MU_CLIP)
        magnitude = MU_CLIP;
    magnitude += MU_BIAS;
    for (int mask = 0x4000; exponent > 0 && !(magnitude & mask); mask >>= 1)
        exponent--;
    return (uint8_t)~(sign | exponent << 4 | (magnitude >> (exponent + 3) & 15));
}

int16_t mulaw_decode(uint8_t code)
{
    code = (uint8_t)~code;
    int exponent = code >> 4 & 7;
    int value = (((code & 15) << 3) + MU_BIAS) << exponent;

    value -= MU_BIAS;
    return (int16_t)(code & 0x80 ? -value : value);
}

/* Add `in`, scaled by gain / 256, to `out`. */
void mix(int16_t *restrict out, const int16_t *restrict in, uint32_t frames, uint8_t gain)
{
    for (uint32_t i = 0; i < frames; i++)
        out[i] = saturate(out[i] + in[i] * gain / 256);
}

/* Interleaved stereo to mono, in 8 bits with an offset of 128. */
void stereo_to_u8(const int16_t *in, uint8_t *out, int frames)
{
    for (; frames > 0; frames--, in += 2)
        *out++ = (uint8_t)(((in[0] + in[1]) / 2 + 32768) >> 8);
}

double envelope_next(struct envelope *e)
{
    switch (e->stage) {
    case ATTACK:
        e->level += e->attack;
        if (e->level >= 1.0) {
            e->level = 1.0;
            e->stage = DECAY;
        }
        break;
    case DECAY:
        e->level -= e->decay;
        if (e->level <= e->sustain) {
            e->level = e->sustain;
            e->stage = SUSTAIN;
        }
        break;
    case RELEASE:
        e->level -= e->release;
        if (e->level <= 0.0) {
            e->level = 0.0;
            e->stage = IDLE;
        }
        break;
    case IDLE:
    case SUSTAIN:
        break;
    }
    return e->level;
}

/* One nibble of ADPCM. */
int adpcm_decode(struct adpcm *s, unsigned nibble)
{
    static const int8_t moves[8] = {-1, -1, -1, -1, 2, 4, 6, 8};
    int last = (int)(sizeof adpcm_steps) - 1;
    int index = s->index > last ? last : s->index;
    int step = adpcm_steps[index], difference = step >> 3;

    if (nibble & 4)
        difference += step;
    if (nibble & 2)
        difference += step >> 1;
    if (nibble & 1)
        difference += step >> 2;
    s->predictor = saturate(s->predictor + (nibble & 8 ? -difference : difference));
    index += moves[nibble & 7];
    s->index = (uint8_t)(index < 0 ? 0 : index > last ? last : index);
    return s->predictor;
}

/* Root mean square, and the peak on the way. */
float level_meter(const float *block, unsigned n, float *peak)
{
    float sum = 0.0f;

    *peak = 0.0f;
    if (n == 0)
        return 0.0f;
    for (const float *p = block; p < block + n; p++) {
        float a = fabsf(*p);
        if (a > *peak)
            *peak = a;
        sum += *p * *p;
    }
    return sqrtf(sum / (float)n);
}

/* Power of one frequency by Goertzel's method; `coefficient` is 2 cos(2 pi f / rate). */
double goertzel(const int8_t *x, size_t n, double coefficient)
{
    double s1 = 0.0, s2 = 0.0;

    for (size_t i = 0; i < n; i++) {
        double s0 = coefficient * s1 - s2 + x[i];
        s2 = s1;
        s1 = s0;
    }
    return s1 * s1 + s2 * s2 - coefficient * s1 * s2;
}

int main(void)
{
    struct biquad f = {0.2f, 0.4f, 0.2f, -0.5f, 0.25f, 0.0f, 0.0f};
    struct envelope e = {ATTACK, 0.0, 0.375, 0.25, 0.5, 0.2};
    struct adpcm s = {0, 0};
    float block[6] = {1.0f, -0.5f, 0.25f, 0.0f, 0.75f, -1.0f}, peak;
    int16_t a[4] = {1000, -2000, 30000, -30000}, b[4] = {500, 500, 20000, -20000};
    const int8_t tone[8] = {0, 70, 100, 70, 0, -70, -100, -70};
    uint8_t mono[2];

    for (int i = 0; i < 10; i++)
        printf("%d ", fir_process(i == 2 ? 32767 : 0));
    biquad_process(&f, block, 6);
    printf("\n%.4f", (double)level_meter(block, 6, &peak));
    printf(" %.4f %.3f\n", (double)peak, goertzel(tone, 8, 1.4142135623730951));
    for (int i = -30000; i < 32000; i += 12345)
        printf("%d->%d ", i, mulaw_decode(mulaw_encode((int16_t)i)));
    mix(a, b, 4, 128);
    stereo_to_u8(a, mono, 2);
    printf("\n%d %d %d %d, %u %u\n", a[0], a[1], a[2], a[3], mono[0], mono[1]);
    for (int i = 0; i < 6; i++)
        printf("%.3f %d ", envelope_next(&e), adpcm_decode(&s, (unsigned)(i * 5 + 3)));
    printf("%.4f", dc_block(1.0));
    printf(" %.4f\n", dc_block(1.0));
    return 0;
}
