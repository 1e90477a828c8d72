/* Vectors, quaternions and a few questions of plane geometry. Structs go by value here. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct { float x, y, z; } vec3;
typedef struct { double w, x, y, z; } quat;
typedef struct { vec3 origin, direction; } ray;
typedef struct { vec3 min, max; } box3;
typedef struct { int x, y; } point;
typedef struct { double x, y; } vec2;

static vec3 vec3_make(float x, float y, float z) { vec3 v = { x, y, z }; return v; }

vec3 vec3_add(vec3 a, vec3 b) { return vec3_make(a.x + b.x, a.y + b.y, a.z + b.z); }
vec3 vec3_scale(vec3 v, float s) { return vec3_make(v.x * s, v.y * s, v.z * s); }
float vec3_dot(vec3 a, vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

vec3 vec3_cross(vec3 a, vec3 b)
{
    return vec3_make(a.y * b.z - a.z * b.y,
                     a.z * b.x - a.x * b.z,
                     a.x * b.y - a.y * b.x);
}

/* A vector of length 1, or the zero vector unchanged. */
vec3 vec3_normalize(vec3 v)
{
    float length = sqrtf(vec3_dot(v, v));
    return length > 0.0f ? vec3_scale(v, 1.0f / length) : v;
}

vec3 vec3_reflect(vec3 v, vec3 normal)
{
    return vec3_add(v, vec3_scale(normal, -2.0f * vec3_dot(v, normal)));
}

quat quat_mul(quat p, quat q)
{
    quat r;
    r.w = p.w * q.w - p.x * q.x - p.y * q.y - p.z * q.z;
    r.x = p.w * q.x + p.x * q.w + p.y * q.z - p.z * q.y;
    r.y = p.w * q.y - p.x * q.z + p.y * q.w + p.z * q.x;
    r.z = p.w * q.z + p.x * q.y - p.y * q.x + p.z * q.w;
    return r;
}

/* Turn a vector by a unit quaternion: q v q*. */
vec3 quat_rotate(const quat *q, vec3 v)
{
    quat p = { 0.0, v.x, v.y, v.z };
    quat conjugate = { q->w, -q->x, -q->y, -q->z };
    p = quat_mul(quat_mul(*q, p), conjugate);
    return vec3_make((float)p.x, (float)p.y, (float)p.z);
}

/* The distance at which a ray first meets a box (slab method). */
bool ray_hits_box(ray r, const box3 *box, float *distance)
{
    const float o[3] = { r.origin.x, r.origin.y, r.origin.z };
    const float d[3] = { r.direction.x, r.direction.y, r.direction.z };
    const float lo[3] = { box->min.x, box->min.y, box->min.z };
    const float hi[3] = { box->max.x, box->max.y, box->max.z };
    float near = 0.0f, far = INFINITY;

    for (int axis = 0; axis < 3; axis++) {
        if (d[axis] == 0.0f) {
            if (o[axis] < lo[axis] || o[axis] > hi[axis]) return false;
            continue;
        }
        float t0 = (lo[axis] - o[axis]) / d[axis];
        float t1 = (hi[axis] - o[axis]) / d[axis];
        if (t0 > t1) { float t = t0; t0 = t1; t1 = t; }
        if (t0 > near) near = t0;
        if (t1 < far) far = t1;
        if (near > far) return false;
    }
    *distance = near;
    return true;
}

/* The box around n points; an inside-out one for none. */
box3 bounds(const vec3 *points, size_t n)
{
    box3 b = { { INFINITY, INFINITY, INFINITY }, { -INFINITY, -INFINITY, -INFINITY } };
    for (const vec3 *p = points; p != points + n; ++p) {
        if (p->x < b.min.x) b.min.x = p->x;
        if (p->y < b.min.y) b.min.y = p->y;
        if (p->z < b.min.z) b.min.z = p->z;
        if (p->x > b.max.x) b.max.x = p->x;
        if (p->y > b.max.y) b.max.y = p->y;
        if (p->z > b.max.z) b.max.z = p->z;
    }
    return b;
}

/* 1: c lies to the left of a -> b, -1: to the right, 0: on the line. */
static int side(point a, point b, point c)
{
    long long p = ((long long)b.x - a.x) * ((long long)c.y - a.y);
    long long q = ((long long)b.y - a.y) * ((long long)c.x - a.x);
    return (p > q) - (p < q);
}

static bool between(int a, int b, int x)
{
    return a < b ? x >= a && x <= b : x >= b && x <= a;
}

/* Whether the segments a-b and c-d have a point in common. */
bool segments_meet(point a, point b, point c, point d)
{
    int s1 = side(a, b, c), s2 = side(a, b, d);
    int s3 = side(c, d, a), s4 = side(c, d, b);

    if (s1 != s2 && s3 != s4) return true;
    if (s1 == 0 && between(a.x, b.x, c.x) && between(a.y, b.y, c.y)) return true;
    if (s2 == 0 && between(a.x, b.x, d.x) && between(a.y, b.y, d.y)) return true;
    if (s3 == 0 && between(c.x, d.x, a.x) && between(c.y, d.y, a.y)) return true;
    return s4 == 0 && between(c.x, d.x, b.x) && between(c.y, d.y, b.y);
}

/* Even-odd rule. */
bool point_in_polygon(const vec2 *corners, int n, vec2 p)
{
    bool inside = false;

    for (int i = 0, j = n - 1; i < n; j = i++) {
        const vec2 *a = &corners[i], *b = &corners[j];
        if ((a->y > p.y) != (b->y > p.y) && p.x < (b->x - a->x) * (p.y - a->y) / (b->y - a->y) + a->x)
            inside = !inside;
    }
    return inside;
}

/* Twice the area of a polygon, positive when it runs counterclockwise. Coordinates wrap at 64 bits. */
long long polygon_area2(const point *corners, unsigned n)
{
    unsigned long long sum = 0;

    for (unsigned i = 0; i < n; i++) {
        point a = corners[i], b = corners[i + 1 < n ? i + 1 : 0];
        sum += (unsigned long long)((long long)a.x * b.y) - (unsigned long long)((long long)b.x * a.y);
    }
    return (long long)sum;
}
