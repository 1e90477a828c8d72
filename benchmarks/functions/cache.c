/* A small cache with least recently used eviction, and a byte ring. */
#include <stdint.h>
#include <stddef.h>
#include <string.h>

#define WAYS 4
#define NONE 0xff

/* Entries form a doubly linked list by index, the newest at the head. */
struct lru_entry {
	uint32_t key;
	int64_t value;
	uint8_t prev, next;
	uint8_t valid : 1, dirty : 1;
};

struct lru {
	struct lru_entry e[WAYS];
	uint8_t head, tail;
	unsigned hits, misses;
};

void lru_init(struct lru *c)
{
	unsigned i;

	memset(c, 0, sizeof(*c));
	for (i = 0; i < WAYS; i++) {
		c->e[i].prev = i == 0 ? NONE : (uint8_t)(i - 1);
		c->e[i].next = i == WAYS - 1 ? NONE : (uint8_t)(i + 1);
	}
	c->head = 0;
	c->tail = WAYS - 1;
}

/* Move entry i to the front. */
static void lru_touch(struct lru *c, uint8_t i)
{
	struct lru_entry *e;

	if (i >= WAYS || c->head >= WAYS || c->head == i)
		return;
	e = &c->e[i];
	if (e->prev < WAYS)
		c->e[e->prev].next = e->next;
	if (e->next < WAYS)
		c->e[e->next].prev = e->prev;
	else
		c->tail = e->prev;
	e->prev = NONE;
	e->next = c->head;
	c->e[c->head].prev = i;
	c->head = i;
}

static int lru_index(const struct lru *c, uint32_t key)
{
	int i;

	for (i = 0; i < WAYS; i++)
		if (c->e[i].valid && c->e[i].key == key)
			return i;
	return -1;
}

/* 1 and the value, or 0. */
int lru_get(struct lru *c, uint32_t key, int64_t *value)
{
	int i = lru_index(c, key);

	if (i < 0) {
		c->misses++;
		return 0;
	}
	c->hits++;
	*value = c->e[i].value;
	lru_touch(c, (uint8_t)i);
	return 1;
}

/* Store a value. If a changed entry had to go it is written to *evicted and 1 is returned. */
int lru_put(struct lru *c, uint32_t key, int64_t value, struct lru_entry *evicted)
{
	int i = lru_index(c, key), gone = 0;

	if (i < 0) {
		i = c->tail;
		if (i >= WAYS)
			return -1;
		if (c->e[i].valid && c->e[i].dirty) {
			*evicted = c->e[i];
			gone = 1;
		}
		c->e[i].valid = 1;
		c->e[i].dirty = 0;
		c->e[i].key = key;
	} else if (c->e[i].value != value) {
		c->e[i].dirty = 1;
	}
	c->e[i].value = value;
	lru_touch(c, (uint8_t)i);
	return gone;
}

/* A ring over memory of the caller. One byte stays free, so that full and empty differ. */
typedef struct {
	uint8_t *data;
	size_t size;
	size_t rd, wr;
} ring_t;

size_t ring_used(const ring_t *r)
{
	return r->wr >= r->rd ? r->wr - r->rd : r->size - r->rd + r->wr;
}

/* Put as many of n bytes as there is room for, in at most two pieces. */
size_t ring_write(ring_t *r, const uint8_t *src, size_t n)
{
	size_t room, first;

	if (r->size == 0 || r->rd >= r->size || r->wr >= r->size)
		return 0;
	room = r->size - 1 - ring_used(r);
	if (n > room)
		n = room;
	first = r->size - r->wr < n ? r->size - r->wr : n;
	memcpy(r->data + r->wr, src, first);
	memcpy(r->data, src + first, n - first);
	r->wr = (r->wr + n) % r->size;
	return n;
}

/* Take bytes up to and with a delimiter, or none at all if it is missing or dst is too small. */
size_t ring_read_until(ring_t *r, uint8_t delim, uint8_t *dst, size_t cap)
{
	size_t n = 0, at, used;

	if (r->size == 0 || r->rd >= r->size || r->wr >= r->size)
		return 0;
	used = ring_used(r);
	at = r->rd;
	while (n < used) {
		if (n == cap)
			return 0;
		dst[n++] = r->data[at];
		if (r->data[at] == delim) {
			r->rd = (at + 1) % r->size;
			return n;
		}
		if (++at == r->size)
			at = 0;
	}
	return 0;
}
