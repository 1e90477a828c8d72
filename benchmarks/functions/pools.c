/* Queues, ring buffers and allocators. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ARENA_SIZE 256
#define BLOCKS 12

typedef struct ring {
    uint8_t *data;
    size_t capacity;
    size_t start;
    size_t used;
} ring;

typedef struct block {
    struct block *next;
    uint32_t owner;
} block;

typedef struct deque {
    int16_t items[8];
    uint8_t head, count;
} deque;

static union {
    uint8_t bytes[ARENA_SIZE];
    uint64_t align;
} arena;
static size_t arena_top;

static block blocks[BLOCKS];
static block *free_list;
static unsigned blocks_used;

/* Append as much as fits; the number of bytes taken. */
size_t ring_write(ring *r, const uint8_t *src, size_t len)
{
    size_t room, at, first;

    if (r->used > r->capacity || r->start >= r->capacity)
        return 0;
    room = r->capacity - r->used;
    if (len > room)
        len = room;
    at = r->used < r->capacity - r->start ? r->start + r->used : r->used - (r->capacity - r->start);
    first = r->capacity - at < len ? r->capacity - at : len;
    memcpy(r->data + at, src, first);
    memcpy(r->data, src + first, len - first);
    r->used += len;
    return len;
}

size_t ring_read(ring *r, uint8_t *dst, size_t len)
{
    size_t done = 0;

    if (r->start >= r->capacity)
        return 0;
    while (done < len && r->used > 0) {
        dst[done++] = r->data[r->start];
        if (++r->start == r->capacity)
            r->start = 0;
        r->used--;
    }
    return done;
}

bool deque_push_front(deque *d, int16_t item)
{
    if (d->count >= 8)
        return false;
    d->head = (uint8_t)((d->head + 7) % 8);
    d->items[d->head] = item;
    d->count++;
    return true;
}

bool deque_push_back(deque *d, int16_t item)
{
    if (d->count >= 8)
        return false;
    d->items[(d->head + d->count++) % 8] = item;
    return true;
}

/* The item at the back, or INT16_MIN when the deque is empty. */
int16_t deque_pop_back(deque *d)
{
    if (d->count == 0)
        return INT16_MIN;
    d->count--;
    return d->items[(d->head + d->count) % 8];
}

/* Memory from the arena at a multiple of 1 << shift; NULL when there is too little. */
void *arena_alloc(size_t size, unsigned shift)
{
    size_t align = (size_t)1 << (shift & 3);
    size_t start = (arena_top + align - 1) & ~(align - 1);

    if (start > ARENA_SIZE || size > ARENA_SIZE - start)
        return NULL;
    arena_top = start + size;
    memset(arena.bytes + start, 0, size);
    return arena.bytes + start;
}

/* A copy of a string in the arena. */
char *arena_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = arena_alloc(n, 0);

    return copy ? memcpy(copy, s, n) : NULL;
}

/* Everything that was allocated since `mark` is free again; -1 for a mark that never was. */
int arena_release(size_t mark)
{
    if (mark > arena_top)
        return -1;
    arena_top = mark;
    return 0;
}

/* A block for an owner, from the free list or fresh; NULL when all are in use. */
block *block_get(uint32_t owner)
{
    block *b = free_list;

    if (b)
        free_list = b->next;
    else if (blocks_used < BLOCKS)
        b = &blocks[blocks_used++];
    else
        return NULL;
    b->next = NULL;
    b->owner = owner;
    return b;
}

bool block_put(block *b)
{
    if (!b || b->owner == 0)
        return false;
    b->owner = 0;
    b->next = free_list;
    free_list = b;
    return true;
}

/* First fit: the place of `size` free bytes in a row in a map of used bytes, which get used; -1 if there are none. */
int map_claim(uint8_t map[32], unsigned size)
{
    unsigned run = 0;

    if (size == 0 || size > 256)
        return -1;
    for (unsigned bit = 0; bit < 256; bit++) {
        run = map[bit / 8] >> (bit % 8) & 1 ? 0 : run + 1;
        if (run == size) {
            for (unsigned k = bit + 1 - size; k <= bit; k++)
                map[k / 8] |= (uint8_t)(1u << (k % 8));
            return (int)(bit + 1 - size);
        }
    }
    return -1;
}

int main(void)
{
    uint8_t room[8], out[9] = {0}, map[32] = {0xff, 0x0f, 0x01};
    ring r = {room, sizeof room, 0, 0};
    deque d = {{0}, 0, 0};
    size_t n;
    char *s;
    block *a, *b;

    n = ring_write(&r, (const uint8_t *)"abcdef", 6);
    n = n * 10 + ring_read(&r, out, 4);
    n = n * 10 + ring_write(&r, (const uint8_t *)"ghijkl", 6);
    n = n * 10 + ring_read(&r, out, 8);
    printf("%zu %s\n", n, (char *)out);
    for (int16_t i = 0; i < 5; i++) {
        printf("%d", deque_push_front(&d, i));
        printf("%d ", deque_push_back(&d, (int16_t)-i));
    }
    printf("%d", deque_pop_back(&d));
    s = arena_strdup("kept");
    n = arena_top;
    a = block_get(7);
    printf(" %s %d", s, arena_alloc(300, 2) == NULL);
    arena_strdup("dropped");
    printf(" %d", arena_release(n));
    printf(" %zu", arena_top);
    b = block_put(a) ? block_get(9) : NULL;
    printf(" %d", a == b);
    printf(" %d", map_claim(map, 4));
    printf(" %d\n", map_claim(map, 6));
    return 0;
}
