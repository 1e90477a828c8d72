/* Function pointers: which calls the caller's functions get, and in which order. */
#include <stdbool.h>
#include <stddef.h>

typedef int compare_function(const void *a, const void *b);

void insertion_sort(int *values, size_t count, bool (*comes_before)(int, int))
{
    for (size_t i = 1; i < count; i++) {
        int value = values[i];
        size_t hole = i;
        while (hole > 0 && comes_before(value, values[hole - 1])) {
            values[hole] = values[hole - 1];
            hole--;
        }
        values[hole] = value;
    }
}

int fold(const int *values, size_t count, int start, int (*combine)(int, int))
{
    for (size_t i = 0; i < count; i++) {
        start = combine(start, values[i]);
    }
    return start;
}

/* Keep the values for which `keep` is true, in order. Returns their number. */
size_t filter(int *values, size_t count, bool (*keep)(int value, void *context), void *context)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (keep(values[i], context)) {
            values[kept++] = values[i];
        }
    }
    return kept;
}

/* The first of `count` sorted elements of `width` bytes that is not below `key`; the end if there is none. */
const void *lower_bound(const void *key, const char *base, size_t count, size_t width, compare_function *compare)
{
    while (count > 0) {
        const char *middle = base + count / 2 * width;
        if (compare(middle, key) < 0) {
            base = middle + width;
            count -= count / 2 + 1;
        } else {
            count /= 2;
        }
    }
    return base;
}

static void swap(int *a, int *b)
{
    int old = *a;

    *a = *b;
    *b = old;
}

void quicksort(int *values, size_t count)
{
    size_t low = 0;

    if (count < 2) {
        return;
    }
    swap(&values[count / 2], &values[count - 1]);
    for (size_t i = 0; i < count - 1; i++) {
        if (values[i] < values[count - 1]) {
            swap(&values[i], &values[low++]);
        }
    }
    swap(&values[low], &values[count - 1]);
    quicksort(values, low);
    quicksort(values + low + 1, count - low - 1);
}

/* Whether some value is related to a later one; stops at the first pair. */
bool any_pair(const unsigned short *values, size_t count, bool (*related)(unsigned short, unsigned short))
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++) {
            if (related(values[i], values[j])) {
                return true;
            }
        }
    }
    return false;
}

static bool descending(int a, int b)
{
    return a > b;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

static bool is_multiple(int value, void *context)
{
    int divisor = *(const int *)context;

    return divisor > 0 && value % divisor == 0;
}

static int compare_ints(const void *a, const void *b)
{
    int left = *(const int *)a, right = *(const int *)b;

    return (left > right) - (left < right);
}

static bool add_up_to_ten(unsigned short a, unsigned short b)
{
    return a + b == 10;
}

int main(void)
{
    int values[] = {31, 4, 15, 92, 65, 35, 89, 79};
    static const unsigned short digits[] = {9, 4, 8, 6, 2};
    int three = 3, key = 40;

    quicksort(values, 8);
    for (int i = 1; i < 8; i++) {
        if (values[i - 1] > values[i]) {
            return 1;
        }
    }
    if (lower_bound(&key, (const char *)values, 8, sizeof values[0], compare_ints) != &values[4]) {
        return 2;
    }
    insertion_sort(values, 8, descending);
    if (values[0] != 92 || values[7] != 4 || fold(values, 8, 0, larger) != 92) {
        return 3;
    }
    if (filter(values, 8, is_multiple, &three) != 1 || values[0] != 15) {
        return 4;
    }
    return any_pair(digits, 5, add_up_to_ten) && !any_pair(digits, 3, add_up_to_ten) ? 0 : 5;
}
