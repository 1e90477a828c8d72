/* Floats and doubles, alone and in structs that travel in registers of both kinds or through memory. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct point {
    double x, y;
};

struct rgb {
    float red, green, blue;
};

struct sample {
    int64_t time;
    double value;
};

struct box {
    struct point low, high;
};

struct affine {
    double a, b, c, d, tx, ty;
};

float clamp_unit(float value)
{
    return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
}

double polynomial(double x, const double *coefficients, size_t count)
{
    double result = 0.0;

    while (count > 0) {
        count--;
        result = result * x + coefficients[count];
    }
    return result;
}

/* More doubles than there are registers for them. */
double trilinear(double v000, double v001, double v010, double v011, double v100, double v101, double v110,
                 double v111, double x, double y, float z)
{
    double v00 = v000 + (v100 - v000) * x;
    double v01 = v001 + (v101 - v001) * x;
    double v10 = v010 + (v110 - v010) * x;
    double v11 = v011 + (v111 - v011) * x;
    double v0 = v00 + (v10 - v00) * y;
    double v1 = v01 + (v11 - v01) * y;

    return v0 + (v1 - v0) * z;
}

struct point midpoint(struct point a, struct point b)
{
    struct point middle = {(a.x + b.x) / 2, (a.y + b.y) / 2};

    return middle;
}

struct rgb mix(struct rgb from, struct rgb to, float amount)
{
    float rest;

    amount = clamp_unit(amount);
    rest = 1.0f - amount;
    from.red = from.red * rest + to.red * amount;
    from.green = from.green * rest + to.green * amount;
    from.blue = from.blue * rest + to.blue * amount;
    return from;
}

struct sample later(struct sample a, struct sample b)
{
    if (a.time == b.time) {
        a.value = a.value > b.value ? a.value : b.value;
        return a;
    }
    return a.time > b.time ? a : b;
}

struct box grow(struct box box, struct point point)
{
    if (point.x < box.low.x) {
        box.low.x = point.x;
    }
    if (point.y < box.low.y) {
        box.low.y = point.y;
    }
    if (point.x > box.high.x) {
        box.high.x = point.x;
    }
    if (point.y > box.high.y) {
        box.high.y = point.y;
    }
    return box;
}

struct affine compose(struct affine first, const struct affine *second)
{
    struct affine result;

    result.a = second->a * first.a + second->c * first.b;
    result.b = second->b * first.a + second->d * first.b;
    result.c = second->a * first.c + second->c * first.d;
    result.d = second->b * first.c + second->d * first.d;
    result.tx = second->a * first.tx + second->c * first.ty + second->tx;
    result.ty = second->b * first.tx + second->d * first.ty + second->ty;
    return result;
}

/* Twice the signed area of a closed polygon. */
double double_area(const struct point *points, size_t count)
{
    double sum = 0.0;

    for (size_t i = 0; i < count; i++) {
        const struct point *next = &points[i + 1 < count ? i + 1 : 0];
        sum += points[i].x * next->y - next->x * points[i].y;
    }
    return sum;
}

bool inside(const struct box *box, struct point point)
{
    return point.x >= box->low.x && point.x <= box->high.x && point.y >= box->low.y && point.y <= box->high.y;
}

/* The nearest percentage; anything outside 0 to 1, and NaN, is clamped. */
int to_percent(double share)
{
    if (!(share > 0.0)) {
        return 0;
    }
    if (share > 1.0) {
        return 100;
    }
    return (int)(share * 100.0 + 0.5);
}

int main(void)
{
    static const struct point square[] = {{0, 0}, {2, 0}, {2, 2}, {0, 2}};
    static const double cubic[] = {1, -2, 0, 0.5};
    static const struct affine quarter_turn = {0, 1, -1, 0, 10, 20};
    struct box box = {square[0], square[1]};
    struct rgb grey = mix((struct rgb){0, 0, 1}, (struct rgb){1, 0.5f, 0}, 0.5f);
    struct point middle = midpoint(square[0], square[2]);
    struct affine half_turn = compose(quarter_turn, &quarter_turn);
    struct sample newest = later((struct sample){1700000000, 2.5}, (struct sample){1700000060, -1.0});

    box = grow(box, square[2]);
    if (double_area(square, 4) != 8.0 || polynomial(2.0, cubic, 4) != 1.0) {
        return 1;
    }
    if (!inside(&box, middle) || inside(&box, (struct point){3, 1})) {
        return 2;
    }
    if (grey.red != 0.5f || grey.green != 0.25f || grey.blue != 0.5f) {
        return 3;
    }
    if (half_turn.a != -1 || half_turn.d != -1 || half_turn.tx != -10 || half_turn.ty != 30) {
        return 4;
    }
    if (newest.time != 1700000060 || newest.value != -1.0) {
        return 5;
    }
    if (trilinear(0, 1, 2, 3, 4, 5, 6, 7, 0.5, 0.5, 0.5f) != 3.5 || to_percent(0.505) != 51) {
        return 6;
    }
    return 0;
}
