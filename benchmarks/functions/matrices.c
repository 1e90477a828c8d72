/* Linear algebra on small dense matrices, in row order. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define N 4

typedef float mat4[N][N];

/* y += alpha * x */
void saxpy(size_t n, float alpha, const float *restrict x, float *restrict y)
{
    for (size_t i = 0; i < n; ++i)
        y[i] += alpha * x[i];
}

double dot(const double *x, const double *y, int n)
{
    double s = 0;

    for (int i = 0; i < n; ++i)
        s += x[i] * y[i];
    return s;
}

void mat4_mul(mat4 c, mat4 a, mat4 b)
{
    mat4 t;

    for (int i = 0; i < N; ++i)
        for (int j = 0; j < N; ++j) {
            t[i][j] = 0;
            for (int k = 0; k < N; ++k)
                t[i][j] += a[i][k] * b[k][j];
        }
    for (int i = 0; i < N; ++i)
        for (int j = 0; j < N; ++j)
            c[i][j] = t[i][j];
}

void mat4_transpose(mat4 m)
{
    for (int i = 0; i < N; ++i)
        for (int j = 0; j < i; ++j) {
            float t = m[i][j];
            m[i][j] = m[j][i];
            m[j][i] = t;
        }
}

/* c (rows x cols) = a (rows x inner) * b (inner x cols), wrapping at 32 bits. */
void matmul_u32(const uint32_t *a, const uint32_t *b, uint32_t *c, uint8_t rows, uint8_t inner, uint8_t cols)
{
    for (unsigned i = 0; i < rows; i++) {
        for (unsigned j = 0; j < cols; j++) {
            uint32_t sum = 0;
            for (unsigned k = 0; k < inner; k++)
                sum += a[i * inner + k] * b[k * cols + j];
            c[i * cols + j] = sum;
        }
    }
}

/* The sum of every stride-th of `count` elements. */
int64_t strided_sum(const int32_t *data, size_t count, size_t stride)
{
    int64_t sum = 0;

    if (stride == 0)
        return 0;
    for (size_t i = 0; i < count; i += stride) {
        sum += data[i];
        if (stride > count - i)
            break;
    }
    return sum;
}

double determinant3(const double m[3][3])
{
    return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
         - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
         + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

/* LU with row exchanges, in place. The sign of the permutation, 0 for a singular matrix. */
int lu_decompose(double a[N][N], int perm[N])
{
    int sign = 1;

    for (int i = 0; i < N; i++)
        perm[i] = i;
    for (int k = 0; k < N; k++) {
        int pivot = k;
        for (int i = k + 1; i < N; i++)
            if (fabs(a[i][k]) > fabs(a[pivot][k]))
                pivot = i;
        if (fabs(a[pivot][k]) < 1e-12)
            return 0;
        if (pivot != k) {
            int p = perm[k];
            perm[k] = perm[pivot];
            perm[pivot] = p;
            for (int j = 0; j < N; j++) {
                double t = a[k][j];
                a[k][j] = a[pivot][j];
                a[pivot][j] = t;
            }
            sign = -sign;
        }
        for (int i = k + 1; i < N; i++) {
            a[i][k] /= a[k][k];
            for (int j = k + 1; j < N; j++)
                a[i][j] -= a[i][k] * a[k][j];
        }
    }
    return sign;
}

/* Solve with what lu_decompose left. */
void lu_solve(double lu[N][N], const int perm[N], const double b[N], double x[N])
{
    for (int i = 0; i < N; i++) {
        x[i] = b[perm[i] & (N - 1)];
        for (int j = 0; j < i; j++)
            x[i] -= lu[i][j] * x[j];
    }
    for (int i = N - 1; i >= 0; i--) {
        for (int j = i + 1; j < N; j++)
            x[i] -= lu[i][j] * x[j];
        x[i] /= lu[i][i];
    }
}

/* The sum of the absolute values of the largest row. */
float norm_inf(const float *m, int rows, int cols, int pitch)
{
    float largest = 0.0f;

    for (int r = 0; r < rows; r++) {
        const float *row = m + (ptrdiff_t)r * pitch;
        float sum = 0.0f;
        for (int c = 0; c < cols; c++)
            sum += row[c] < 0 ? -row[c] : row[c];
        if (sum > largest)
            largest = sum;
    }
    return largest;
}

int main(void)
{
    mat4 a = {{1, 2, 0, 0}, {0, 1, 3, 0}, {0, 0, 1, 4}, {5, 0, 0, 1}}, b;
    double m[N][N] = {{2, 1, 1, 0}, {4, 3, 3, 1}, {8, 7, 9, 5}, {6, 7, 9, 8}}, x[N];
    const double rhs[N] = {4, 11, 29, 30}, cube[3][3] = {{2, 0, 1}, {1, 3, 2}, {1, 1, 1}};
    const uint32_t p[6] = {1, 2, 3, 4, 5, 6};
    uint32_t q[4];
    const int32_t data[10] = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10};
    int perm[N];

    mat4_mul(b, a, a);
    mat4_transpose(b);
    saxpy(4, 0.5f, a[0], b[0]);
    printf("%g %g %g, norm %g\n", (double)b[0][0], (double)b[0][1], (double)b[3][2], (double)norm_inf(b[0], 4, 3, 4));
    printf("%d", lu_decompose(m, perm));
    lu_solve(m, perm, rhs, x);
    printf(": %.3f %.3f %.3f %.3f\n", x[0], x[1], x[2], x[3]);
    matmul_u32(p, p, q, 2, 3, 2);
    printf("%u %u %u %u\n", q[0], q[1], q[2], q[3]);
    printf("%g %g %lld\n", determinant3(cube), dot(rhs, x, 4), (long long)strided_sum(data, 10, 3));
    return 0;
}
