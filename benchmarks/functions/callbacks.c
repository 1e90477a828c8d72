/* Code that works through function pointers, tables of events, intervals, variable arguments. */
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef int (*compare_fn)(const void *a, const void *b);
typedef long (*fold_fn)(long acc, int item);
typedef bool (*visit_fn)(void *context, const char *name, int value);
typedef void (*handler_fn)(int code);

struct entry {
    const char *name;
    int value;
};

struct interval {
    int32_t start, end;     /* end is not part of it */
};

struct job {
    uint16_t id;
    uint8_t priority;
    uint32_t ready_at;
};

enum event { EV_NONE, EV_KEY, EV_CLICK, EV_TIMER, EV_CLOSE, EV_MAX };

struct stats {
    unsigned keys, clicks, ticks;
    int last;
    bool closed;
};

static struct stats stats;

static void on_key(int code) { stats.keys++; stats.last = code; }
static void on_click(int code) { stats.clicks++; stats.last = -(code & 0xff); }
static void on_timer(int code) { stats.ticks += code > 0; }
static void on_close(int code) { stats.closed = code == 0; }

static const handler_fn handlers[EV_MAX] = {
    [EV_KEY] = on_key, [EV_CLICK] = on_click, [EV_TIMER] = on_timer, [EV_CLOSE] = on_close,
};

static handler_fn fallback = on_timer;

/* Hand an event to its handler; the fallback gets what nobody wants. Whether it had one of its own. */
bool dispatch(enum event event, int code)
{
    if ((unsigned)event < EV_MAX && handlers[event] != NULL) {
        handlers[event](code);
        return true;
    }
    if (fallback)
        fallback(code);
    return false;
}

handler_fn set_fallback(handler_fn handler)
{
    handler_fn old = fallback;

    fallback = handler;
    return old;
}

long fold(const int *items, size_t n, long start, fold_fn f)
{
    for (size_t i = 0; i < n; i++)
        start = f(start, items[i]);
    return start;
}

/* Visit entries up to the one without a name, until the visitor says stop. How many were visited. */
int for_each_entry(const struct entry *table, visit_fn visit, void *context)
{
    int visited = 0;

    for (; table->name != NULL; table++) {
        visited++;
        if (!visit(context, table->name, table->value))
            break;
    }
    return visited;
}

/* The largest of n elements of any type, the first of equals; NULL for none. */
const void *max_element(const void *base, size_t n, size_t size, compare_fn cmp)
{
    const char *p = base, *best = base;

    if (n == 0)
        return NULL;
    for (size_t i = 1; i < n; i++) {
        p += size;
        if (cmp(p, best) > 0)
            best = p;
    }
    return best;
}

/* Keep the items for which a predicate is true, in order. */
size_t filter(int16_t *items, size_t count, bool (*keep)(int16_t item, void *context), void *context)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (keep(items[i], context))
            items[kept++] = items[i];
    return kept;
}

/* The sum of `count` ints; wraps. */
int sum_ints(int count, ...)
{
    va_list ap;
    unsigned sum = 0;

    va_start(ap, count);
    while (count-- > 0)
        sum += (unsigned)va_arg(ap, int);
    va_end(ap);
    return (int)sum;
}

static char *put_unsigned(char *p, const char *end, unsigned v, unsigned base)
{
    char digits[32];
    int n = 0;

    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    while (n > 0 && p < end)
        *p++ = digits[--n];
    return p;
}

/* A printf that knows %d, %x, %c and %%. The length of what fits, NUL not counted. */
size_t format(char *out, size_t size, const char *fmt, ...)
{
    char *p = out, *end;
    va_list ap;

    if (size == 0)
        return 0;
    end = out + size - 1;
    va_start(ap, fmt);
    for (; *fmt && p < end; fmt++) {
        int v;
        if (*fmt != '%') {
            *p++ = *fmt;
            continue;
        }
        switch (*++fmt) {
        case 'd':
            v = va_arg(ap, int);
            if (v < 0)
                *p++ = '-';
            p = put_unsigned(p, end, v < 0 ? 0u - (unsigned)v : (unsigned)v, 10);
            break;
        case 'x':
            p = put_unsigned(p, end, va_arg(ap, unsigned), 16);
            break;
        case 'c':
            *p++ = (char)va_arg(ap, int);
            break;
        case '\0':
            goto done;
        default:
            *p++ = *fmt;
        }
    }
done:
    va_end(ap);
    *p = '\0';
    return (size_t)(p - out);
}

/* Merge intervals that are in order of their start and overlap or touch; the number left. */
size_t merge_intervals(struct interval *v, size_t n)
{
    size_t last = 0;

    if (n == 0)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if (v[i].start <= v[last].end) {
            if (v[i].end > v[last].end)
                v[last].end = v[i].end;
        } else {
            v[++last] = v[i];
        }
    }
    return last + 1;
}

/* How many of the intervals hold `t`, and the next time that this changes (INT32_MAX: never). */
unsigned active_at(const struct interval *v, int n, int32_t t, int32_t *until)
{
    unsigned active = 0;

    *until = INT32_MAX;
    for (int i = 0; i < n; i++) {
        bool inside = v[i].start <= t && t < v[i].end;
        int32_t change = inside ? v[i].end : v[i].start;
        active += inside;
        if (change > t && change < *until)
            *until = change;
    }
    return active;
}

/* The index of the job to run now: highest priority first, then the one that waits longest; -1 if none is ready. */
int pick_job(const struct job *jobs, size_t count, uint32_t now)
{
    int best = -1;

    for (size_t i = 0; i < count; i++) {
        const struct job *j = &jobs[i];
        if (j->ready_at > now)
            continue;
        if (best < 0 || j->priority > jobs[best].priority
            || (j->priority == jobs[best].priority && j->ready_at < jobs[best].ready_at))
            best = (int)i;
    }
    return best;
}

/* The value of a name in a sorted table. */
int lookup(const struct entry *table, int n, const char *name, int missing)
{
    int lo = 0, hi = n - 1;

    while (lo <= hi) {
        int mid = lo + (hi - lo) / 2;
        int order = strcmp(name, table[mid].name);
        if (order == 0)
            return table[mid].value;
        if (order < 0)
            hi = mid - 1;
        else
            lo = mid + 1;
    }
    return missing;
}
