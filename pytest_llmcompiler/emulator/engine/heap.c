/* The heap of the emulated process: malloc and its kin (see `emulator/heap.py`, which this follows exactly).
 *
 * Mapping memory takes unicorn about 40 µs, more than most runs. So all objects lie in one block of the host's memory,
 * which is mapped once, and `on_page` (memory.c) leads the addresses of live objects into it:
 *
 *     0x5581C0001ff0 (a live object of 16 bytes)  ->  page 3 of the block
 *     0x5581C0003000 (freed, or not allocated)    ->  no page: the access faults
 *
 * The table keeps the pages that were accessed. What is freed must fault from then on, so the table is emptied at each
 * free, and between runs; that takes 0.2 µs. Input objects that are freed lose their pages in the same way. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "heap.h"

#define MAX_FILLED_BYTES (256ull << 20)
#define LANE_SIZE (2ull << 20)
#define LANE_PLACES 256u
#define OVERFLOW_START (HEAP_START + (HEAP_LIMIT + 1) * LANE_SIZE)
#define ALIGNED_STRIDE (1ull << 16)
#define MALLOC_ALIGNMENT 16
#define ENOMEM_NUMBER 12

#define BLOCK_START 0x5DF000000000ull /* Where the block is mapped, above all objects. No access to it is allowed. */
#define BLOCK_PAGES (24u << 10) /* More than 20,000 objects of one page. A run that needs more is left to Python. */

Heap *heap_open(Engine *engine) {
    return calloc(1, sizeof(Heap));
}

/* -- finding objects */

static uint32_t hash(uint64_t key) {
    return (uint32_t)(key * 0x9E3779B97F4A7C15ull >> 48);
}

Object *find_base(Heap *heap, uint64_t base) {
    for (uint32_t place = hash(base); heap->places[place]; place = (place + 1) % PLACES) {
        Object *object = &heap->objects[heap->places[place] - 1];
        if (object->base == base)
            return object;
    }
    return NULL;
}

static uint32_t find_lane(Heap *heap, uint64_t size) {
    uint32_t lane = hash(size);
    while (heap->lanes[lane].count && heap->lanes[lane].size != size)
        lane = (lane + 1) % PLACES;
    heap->lanes[lane].size = size;
    return lane;
}

uint64_t count_mapped(uint64_t size) {
    return size ? (size + PAGE - 1) / PAGE * PAGE : PAGE;
}

/* The bytes from one object of a size to the next. */
static uint64_t count_room(Engine *engine, uint64_t mapped) {
    uint64_t room = mapped + PAGE; /* One page that is not mapped. */
    if (!engine->entry || !engine->entry->is_4gib_aligned)
        return room;
    return (room + ALIGNED_STRIDE - 1) / ALIGNED_STRIDE * ALIGNED_STRIDE;
}

/* Where the first object of a size lies in its lane. */
static uint64_t find_lane_start(Engine *engine, uint64_t size) {
    return engine->entry && engine->entry->is_4gib_aligned ? 0 : size / 8 % LANE_PLACES * PAGE;
}

/* The live object on whose pages an address lies; NULL where none does. */
Object *find_object(Engine *engine, uint64_t address) {
    Heap *heap = engine->heap;
    if (!heap->live_count || address < HEAP_START || address >= HEAP_END)
        return NULL;
    Object *object = NULL;
    if (address < OVERFLOW_START) {
        uint64_t size = (address - HEAP_START) / LANE_SIZE, offset = (address - HEAP_START) % LANE_SIZE;
        offset -= find_lane_start(engine, size); /* Below it nothing is found. */
        object = find_base(heap, address - offset % count_room(engine, count_mapped(size)));
    } else
        for (uint32_t i = 0; i < heap->count && !object; i++)
            if (heap->objects[i].is_live && address - heap->objects[i].base < heap->objects[i].mapped)
                object = &heap->objects[i];
    return object && object->is_live && address - object->base < object->mapped ? object : NULL;
}

uint8_t *pages_of(Heap *heap, const Object *object) {
    return heap->block + (uint64_t)object->page * PAGE;
}

uint8_t *heap_memory(Engine *engine, uint64_t address, uint64_t size) {
    Object *object = find_object(engine, address);
    if (!object || size > object->mapped - (address - object->base))
        return NULL;
    return pages_of(engine->heap, object) + (address - object->base);
}

uint64_t heap_bytes_to_end(Engine *engine, uint64_t address) {
    Object *object = find_object(engine, address);
    bool is_inside = object && address >= object->address && address - object->address < object->size;
    return is_inside ? object->address + object->size - address : 0;
}

/* -- unicorn's table of pages */

bool is_heap_page(uint64_t page) {
    return page >= HEAP_START && page < HEAP_END;
}

bool is_block_page(uint64_t page) {
    return page >= BLOCK_START && page < HEAP_END;
}

bool heap_page(Engine *engine, uint64_t page, uint64_t *block_address) {
    Object *object = find_object(engine, page);
    if (!object)
        return false;
    *block_address = BLOCK_START + (uint64_t)object->page * PAGE + (page - object->base);
    return true;
}

static bool map_block(Engine *engine) {
    Heap *heap = engine->heap;
    uint64_t size = (uint64_t)BLOCK_PAGES * PAGE;
    if (heap->is_mapped)
        return true;
    void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        return false;
    heap->block = block;
    heap->is_mapped = !uc_mem_map_ptr(engine->uc, BLOCK_START, size, UC_PROT_READ | UC_PROT_WRITE, block);
    return heap->is_mapped;
}

/* -- allocation */

/* The number of the first of so many pages in the block; BLOCK_PAGES where the block is full. Pages of freed objects
 * are used again: they are in the processor's cache. */
static uint32_t take_pages(Heap *heap, uint32_t count) {
    uint32_t number = heap->free_pages[count];
    if (number) {
        heap->free_pages[count] = heap->objects[number - 1].next_free;
        return heap->objects[number - 1].page;
    }
    if (count > BLOCK_PAGES - heap->used_pages)
        return BLOCK_PAGES;
    heap->used_pages += count;
    return heap->used_pages - count;
}

static void fill_garbage(Engine *engine, uint8_t *pages, uint64_t mapped) {
    for (uint64_t at = 0; at < mapped; at += PAGE)
        memcpy(pages + at, engine->arena.initial, PAGE);
}

/* The address of `room` bytes for the next object of a lane. No address is used twice in a run. */
static uint64_t reserve(Engine *engine, Lane *lane, uint64_t room) {
    Heap *heap = engine->heap;
    uint64_t offset = find_lane_start(engine, lane->size) + lane->count++ * room;
    if (offset + room <= LANE_SIZE)
        return HEAP_START + lane->size * LANE_SIZE + offset;
    heap->overflow_bytes += room;
    return OVERFLOW_START + heap->overflow_bytes - room;
}

static uint64_t allocate(Engine *engine, uint64_t size, uint64_t alignment) {
    Heap *heap = engine->heap;
    if (alignment & (alignment - 1) || !alignment || alignment > PAGE || size > HEAP_LIMIT ||
        size + heap->mapped_bytes > HEAP_LIMIT)
        return 0;
    uint64_t mapped = count_mapped(size);
    uint32_t page = map_block(engine) ? take_pages(heap, (uint32_t)(mapped / PAGE)) : BLOCK_PAGES;
    if (page == BLOCK_PAGES || heap->count == MAX_OBJECTS) {
        leave(engine, LEFT_HEAP);
        return 0;
    }
    uint32_t lane = find_lane(heap, size);
    uint64_t base = reserve(engine, &heap->lanes[lane], count_room(engine, mapped));
    uint64_t last = base + mapped - (size ? size : 1);
    uint64_t address = engine->entry->is_4gib_aligned ? base : last / alignment * alignment;
    uint32_t place = hash(base);
    while (heap->places[place])
        place = (place + 1) % PLACES;
    heap->objects[heap->count++] = (Object){address, size, base, mapped, page, 0, lane, place, true};
    heap->places[place] = heap->count;
    heap->live_count++;
    heap->mapped_bytes += mapped;
    heap->filled_bytes += mapped;
    heap->has_changed = true;
    fill_garbage(engine, heap->block + (uint64_t)page * PAGE, mapped);
    return address;
}

uint64_t heap_allocate(Engine *engine, uint64_t size) {
    return allocate(engine, size, MALLOC_ALIGNMENT);
}

static bool has_no_memory(const Environment *environment, uint64_t size) {
    bool is_multiple = size % 8 == 0;
    return environment->shortage == 1 || environment->shortage == (is_multiple ? 3 : 2);
}

/* Allocate under the environment seed. Where there is no memory the result is 0, and errno is set. */
static uint64_t allocate_for_program(Engine *engine, uint64_t size, uint64_t alignment) {
    Heap *heap = engine->heap;
    uint64_t address = 0;
    if (heap->count >= heap->most_allocations || heap->filled_bytes >= MAX_FILLED_BYTES) {
        leave(engine, LEFT_LIMIT);
        return 0;
    }
    if (has_no_memory(&engine->entry->environment, size))
        heap->is_out_of_memory = true;
    else
        address = allocate(engine, size, alignment);
    if (!address && engine->errno_address) {
        uint32_t number = ENOMEM_NUMBER;
        uint8_t *memory = find_writable(engine, engine->errno_address, sizeof number);
        if (memory)
            memcpy(memory, &number, sizeof number);
    }
    return address;
}

/* -- freeing */

/* What is freed or reallocated: an object of the heap, or one of the input. */
typedef struct {
    Object *object;
    InputObject *input;
} Freeable;

/* False where no live object that can be freed starts at an address. The buffer for a result can't be freed. */
static bool find_freeable(Engine *engine, uint64_t address, Freeable *freeable) {
    Object *object = find_object(engine, address);
    *freeable = (Freeable){NULL, NULL};
    if (object) {
        freeable->object = object;
        return object->address == address;
    }
    for (uint32_t i = 0; i < engine->entry->object_count; i++) {
        InputObject *input = &engine->entry->objects[i];
        Slot *slot = &engine->slots[input->slot];
        if (slot->address + input->start == address && !input->is_result && !slot->is_freed) {
            freeable->input = input;
            return true;
        }
    }
    return false;
}

static void release(Engine *engine, const Freeable *freeable) {
    Heap *heap = engine->heap;
    heap->has_changed = true;
    if (freeable->object) {
        Object *object = freeable->object;
        uint32_t *free_pages = &heap->free_pages[object->mapped / PAGE];
        object->is_live = false;
        object->next_free = *free_pages;
        *free_pages = (uint32_t)(object - heap->objects) + 1;
        heap->mapped_bytes -= object->mapped;
        heap->live_count--, heap->freed_count++;
    } else
        engine->slots[freeable->input->slot].is_freed = true;
    uc_ctl_flush_tlb(engine->uc);
}

/* -- the library's functions */

static uint64_t get_argument(Engine *engine, int number) {
    return get_register(engine, engine->library_arguments[number]);
}

/* The product, or where it has more than 64 bits a number that is too large for the heap. Its lowest three bits, which
 * decide on a shortage, are right. */
static uint64_t multiply(uint64_t first, uint64_t second) {
    uint64_t product;
    return __builtin_mul_overflow(first, second, &product) ? (product & 7) | ~7ull : product;
}

static uint64_t call_calloc(Engine *engine) {
    uint64_t size = multiply(get_argument(engine, 0), get_argument(engine, 1));
    uint64_t address = allocate_for_program(engine, size, MALLOC_ALIGNMENT);
    if (address)
        memset(heap_memory(engine, address, size), 0, size);
    return address;
}

static void leave_bad_free(Engine *engine) {
    note_fault(engine, (Fault){FAULT_BAD_FREE, 0, 0, get_return_address(engine), 0});
    leave(engine, LEFT_FAULT);
}

static uint64_t call_realloc(Engine *engine) {
    uint64_t old = get_argument(engine, 0), size = get_argument(engine, 1);
    Freeable freeable;
    if (old && !find_freeable(engine, old, &freeable)) {
        leave_bad_free(engine);
        return 0;
    }
    uint64_t address = allocate_for_program(engine, size, MALLOC_ALIGNMENT);
    if (address && old) {
        uint64_t old_size = freeable.object ? freeable.object->size : freeable.input->initial.size;
        uint64_t kept = size < old_size ? size : old_size;
        memcpy(heap_memory(engine, address, kept), find_memory(engine, old, kept), kept);
        release(engine, &freeable);
    }
    return address;
}

static void call_free(Engine *engine) {
    uint64_t address = get_argument(engine, 0);
    Freeable freeable;
    if (!address)
        return;
    if (find_freeable(engine, address, &freeable))
        release(engine, &freeable);
    else
        leave_bad_free(engine);
}

void heap_call(Engine *engine, HookKind kind) {
    uint64_t result = 0;
    switch (kind) {
    case HOOK_FREE:
        call_free(engine);
        return;
    case HOOK_MALLOC:
        result = allocate_for_program(engine, get_argument(engine, 0), MALLOC_ALIGNMENT);
        break;
    case HOOK_ALIGNED_ALLOC:
        result = allocate_for_program(engine, get_argument(engine, 1), get_argument(engine, 0));
        break;
    case HOOK_CALLOC:
        result = call_calloc(engine);
        break;
    case HOOK_REALLOC:
        result = call_realloc(engine);
        break;
    default:
        leave(engine, LEFT_HOOK);
    }
    set_register(engine, engine->library_return_register, result);
}

/* -- runs */

void heap_reset(Engine *engine) {
    Heap *heap = engine->heap;
    if (heap->has_changed) {
        for (uint32_t i = 0; i < heap->count; i++) {
            Object *object = &heap->objects[i];
            heap->places[object->place] = heap->lanes[object->lane].count = 0;
            heap->free_pages[object->mapped / PAGE] = 0;
        }
        for (uint32_t i = 0; i < engine->slot_count; i++)
            engine->slots[i].is_freed = false;
        heap->count = heap->live_count = heap->freed_count = heap->used_pages = 0;
        heap->mapped_bytes = heap->overflow_bytes = heap->filled_bytes = 0;
        uc_ctl_flush_tlb(engine->uc);
    }
    heap->has_changed = heap->is_out_of_memory = false;
    heap->most_allocations = MAX_FUNCTION_ALLOCATIONS;
}

bool heap_lacks_memory(Engine *engine) {
    return engine->heap->is_out_of_memory;
}
