/* The heap's state, for heap.c and compare_heap.c. */
#ifndef HEAP_H
#define HEAP_H

#include "engine.h"

#define HEAP_START 0x5581A0000000ull
#define HEAP_END 0x5E0000000000ull
#define HEAP_LIMIT (4ull << 20)
#define MAX_ALLOCATIONS 20000
#define MAX_FUNCTION_ALLOCATIONS 400
#define MAX_OBJECTS (MAX_ALLOCATIONS + 4096u) /* External calls may allocate some on top. */
#define MAX_OBJECT_PAGES ((uint32_t)(HEAP_LIMIT / PAGE))
#define PLACES (1u << 16) /* Of each of the two tables. At most a third of them is taken. */

typedef struct {
    uint64_t address, size;
    uint64_t base, mapped; /* The start and the bytes of its pages. */
    uint32_t page;         /* The number of its first page in the block. */
    uint32_t next_free;    /* For freed pages: 1 + the number of the next object that has left as many. */
    uint32_t lane, place;  /* Where it is in the tables. */
    bool is_live;
} Object;

/* How many objects of a size were allocated in the run. */
typedef struct {
    uint64_t size;
    uint32_t count;
} Lane;

struct Heap {
    bool is_mapped;
    bool has_changed; /* Whether the present run has allocated or freed anything. */
    bool is_out_of_memory;
    uint8_t *block;
    uint32_t used_pages; /* Of the block, from its start. */
    uint32_t free_pages[MAX_OBJECT_PAGES + 2]; /* By a count of pages: 1 + the number of a freed object that had as many. */
    uint32_t count, live_count, freed_count, most_allocations;
    uint64_t mapped_bytes, overflow_bytes, filled_bytes;
    Object objects[MAX_OBJECTS];
    uint32_t places[PLACES]; /* 1 + the number of an object, by its base. */
    Lane lanes[PLACES];
};

uint64_t count_mapped(uint64_t size); /* Bytes of the pages of an object. */
Object *find_base(Heap *heap, uint64_t base); /* The object whose pages begin at an address; NULL where none does. */
Object *find_object(Engine *engine, uint64_t address); /* The live object on whose pages an address lies, or NULL. */
uint8_t *pages_of(Heap *heap, const Object *object);

#endif
