/* Sorting and searching in arrays. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct employee {
    char name[12];
    uint16_t age;
    int32_t salary;
};

static void swap_ints(int *a, int *b)
{
    int t = *a;
    *a = *b;
    *b = t;
}

void insertion_sort(int *a, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int x = a[i];
        size_t j = i;
        while (j > 0 && a[j - 1] > x) {
            a[j] = a[j - 1];
            j--;
        }
        a[j] = x;
    }
}

/* Let a[root] sink until both of its children are smaller. */
static void sift_down(int *a, size_t root, size_t n)
{
    while (root < n / 2) {
        size_t child = 2 * root + 1;
        if (child + 1 < n && a[child] < a[child + 1])
            child++;
        if (a[root] >= a[child])
            return;
        swap_ints(&a[root], &a[child]);
        root = child;
    }
}

void heap_sort(int *a, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_down(a, i, n);
    while (n > 1) {
        n--;
        swap_ints(&a[0], &a[n]);
        sift_down(a, 0, n);
    }
}

/* Quicksort with the median of three as pivot; short ranges are left to insertion sort. */
void quick_sort(int *a, size_t n)
{
    while (n > 8) {
        size_t mid = n / 2, i = 0, j = n - 1;
        if (a[mid] < a[0])
            swap_ints(&a[mid], &a[0]);
        if (a[n - 1] < a[0])
            swap_ints(&a[n - 1], &a[0]);
        if (a[n - 1] < a[mid])
            swap_ints(&a[n - 1], &a[mid]);
        int pivot = a[mid];
        for (;;) {
            while (a[i] < pivot)
                i++;
            while (pivot < a[j])
                j--;
            if (i >= j)
                break;
            swap_ints(&a[i++], &a[j--]);
        }
        quick_sort(a, i);
        a += i;
        n -= i;
    }
    insertion_sort(a, n);
}

/* Merge the ascending runs src[0..mid) and src[mid..n) into dst. */
static void merge_runs(double *restrict dst, const double *restrict src, size_t mid, size_t n)
{
    size_t i = 0, j = mid;

    for (size_t k = 0; k < n; k++) {
        if (i < mid && (j >= n || !(src[j] < src[i])))
            dst[k] = src[i++];
        else
            dst[k] = src[j++];
    }
}

/* Stable. `scratch` has room for n values. */
void merge_sort(double *values, double *scratch, size_t n)
{
    size_t mid = n / 2;

    if (n < 2)
        return;
    merge_sort(values, scratch, mid);
    merge_sort(values + mid, scratch + mid, n - mid);
    merge_runs(scratch, values, mid, n);
    memcpy(values, scratch, n * sizeof *values);
}

/* The index of `key` in an ascending array, or -1 - (the place where it belongs). */
ptrdiff_t binary_search(const int32_t *a, size_t n, int32_t key)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (a[mid] < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < n && a[lo] == key)
        return (ptrdiff_t)lo;
    return -1 - (ptrdiff_t)lo;
}

/* Counting sort of bytes. */
void sort_bytes(uint8_t *bytes, size_t len)
{
    size_t counts[256] = {0};

    for (size_t i = 0; i < len; i++)
        counts[bytes[i]]++;
    for (unsigned value = 0; value < 256; value++) {
        memset(bytes, (int)value, counts[value]);
        bytes += counts[value];
    }
}

/* The k-th smallest value (k < n) of an array, which is reordered. */
float select_kth(float *v, size_t n, size_t k)
{
    size_t lo = 0, hi = n - 1;

    while (lo < hi) {
        float pivot = v[hi];
        size_t store = lo;
        for (size_t i = lo; i < hi; i++) {
            if (v[i] < pivot) {
                float t = v[i];
                v[i] = v[store];
                v[store++] = t;
            }
        }
        v[hi] = v[store];
        v[store] = pivot;
        if (store == k)
            break;
        if (store < k)
            lo = store + 1;
        else
            hi = store - 1;
    }
    return v[k];
}

static int by_salary(const void *left, const void *right)
{
    const struct employee *a = left, *b = right;

    if (a->salary != b->salary)
        return a->salary < b->salary ? 1 : -1;
    return strncmp(a->name, b->name, sizeof a->name);
}

static int by_age(const void *left, const void *right)
{
    return (int)((const struct employee *)left)->age - (int)((const struct employee *)right)->age;
}

/* Sort staff by age, or by falling salary. */
void sort_staff(struct employee *staff, size_t count, bool young_first)
{
    qsort(staff, count, sizeof *staff, young_first ? by_age : by_salary);
}

/* Remove repeated neighbours; the new length. */
size_t unique(int *a, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++)
        if (kept == 0 || a[kept - 1] != a[i])
            a[kept++] = a[i];
    return kept;
}

int main(void)
{
    int a[] = {5, -3, 99, 0, 5, 12, -3, 7, 1, 1, 40, -8, 6}, b[13], c[13];
    double d[] = {2.5, -1, 9, 0.25, 2.5, 3}, scratch[6];
    float f[] = {3, 1, 2, 9, -4};
    uint8_t bytes[] = "sorting bytes";
    struct employee staff[] = {{"ann", 40, 3000}, {"bob", 25, 3000}, {"cid", 31, 4500}};

    memcpy(b, a, sizeof a);
    memcpy(c, a, sizeof a);
    insertion_sort(a, 13);
    heap_sort(b, 13);
    quick_sort(c, 13);
    if (memcmp(a, b, sizeof a) || memcmp(a, c, sizeof a))
        return 1;
    printf("%zu distinct, 12 at %td, 13 at %td\n", unique(c, 13), binary_search(a, 13, 12), binary_search(a, 13, 13));
    merge_sort(d, scratch, 6);
    printf("%g %g %g %g %g %g\n", d[0], d[1], d[2], d[3], d[4], d[5]);
    sort_bytes(bytes, 13);
    printf("[%s] median %g\n", (char *)bytes, (double)select_kth(f, 5, 2));
    sort_staff(staff, 3, true);
    printf("%s %s %s\n", staff[0].name, staff[1].name, staff[2].name);
    sort_staff(staff, 3, false);
    printf("%s %s %s\n", staff[0].name, staff[1].name, staff[2].name);
    return 0;
}
