/* The guest's memory: what is mapped, and how every run gets its initial contents back.
 *
 * unicorn keeps a table of pages, and asks `on_page` for those that are not in it. So it can be led to other addresses
 * than the guest's: the slots of objects and the heap are mapped once, in blocks, at addresses that the guest can't use.
 * Mapping takes 40 us, more than most runs.
 *
 *     0x5581A0003000 (a slot)  ->  0x5DF010002000 (its place in the arena)
 *
 * No hook on invalid accesses is needed for that. unicorn would be slow at each store where one exists. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define ARENA_BLOCK 0x5DF010000000ull /* Among the addresses of the heap, above all objects and the heap's own block. */
#define READ_WRITE (UC_PROT_READ | UC_PROT_WRITE)

void fill_pattern(uint8_t *memory, uint64_t size, const uint8_t pattern[4]) {
    for (uint64_t at = 0; at + 4 <= size; at += 4)
        memcpy(memory + at, pattern, 4);
}

Region *add_region(Engine *engine, uint64_t address, uint64_t size, uint32_t permissions, bool is_constant,
                   bool is_restored, Span data) {
    if (engine->region_count == engine->region_capacity) {
        uint32_t capacity = engine->region_capacity ? 2 * engine->region_capacity : 32;
        Region *regions = realloc(engine->regions, capacity * sizeof *regions);
        if (!regions)
            return NULL;
        engine->regions = regions, engine->region_capacity = capacity;
    }
    Region *region = &engine->regions[engine->region_count];
    *region = (Region){address, size, permissions, is_constant, map_host(size), .data_size = data.size};
    if (!region->memory || data.size > size)
        return NULL;
    if (data.size)
        memcpy(region->memory, data.data, data.size);
    if (is_restored) {
        region->initial = map_host(size);
        if (!region->initial)
            return NULL;
        memcpy(region->initial, region->memory, data.size);
        if (!open_pages(&region->pages, size, region->memory, region->initial, false))
            return NULL;
    }
    if (uc_mem_map_ptr(engine->uc, address, size, permissions, region->memory) != UC_ERR_OK)
        return NULL;
    engine->region_count++;
    return region;
}

Region *find_region(Engine *engine, uint64_t address) {
    for (uint32_t i = 0; i < engine->region_count; i++)
        if (address - engine->regions[i].address < engine->regions[i].size)
            return &engine->regions[i];
    return NULL;
}

/* Where a piece of the guest's memory lies. */
typedef struct {
    Pages *pages; /* NULL for what no run changes. */
    uint8_t *memory;
    uint64_t offset, size; /* Of the address, in the piece, and of the piece from its start. */
    uint64_t block_address; /* The address that unicorn is led to. */
    uint32_t permissions;
} Place;

static bool find_stack_place(Engine *engine, uint64_t address, Place *place) {
    uint64_t growth = engine->stack_max_growth, offset = address - (engine->stack_start - growth);
    if (offset >= growth + engine->stack_size || (offset < growth && !engine->has_grown))
        return false;
    *place = (Place){&engine->stack, engine->stack.memory, offset, growth + engine->stack_size, address, READ_WRITE};
    return true;
}

static Slot *find_slot(Engine *engine, uint64_t address) {
    for (uint32_t i = 0; i < engine->slot_count; i++)
        if (address - engine->slots[i].address < engine->slots[i].size)
            return &engine->slots[i];
    return NULL;
}

static bool find_slot_place(Engine *engine, uint64_t address, Place *place) {
    Slot *slot = find_slot(engine, address);
    if (!slot || slot->is_freed)
        return false;
    uint64_t offset = slot->host + (address - slot->address);
    *place = (Place){&engine->arena, engine->arena.memory, offset, slot->host + slot->size, ARENA_BLOCK + offset,
                     READ_WRITE};
    return true;
}

/* All but the heap. */
static bool find_place(Engine *engine, uint64_t address, Place *place) {
    if (find_stack_place(engine, address, place))
        return true;
    Region *region = find_region(engine, address);
    if (!region)
        return find_slot_place(engine, address, place);
    *place = (Place){region->initial ? &region->pages : NULL, region->memory, address - region->address, region->size,
                     address, region->permissions};
    return true;
}

/* The host's memory of so many bytes, after `prepare` was called for the pages that they lie on. */
static uint8_t *prepare_memory(Engine *engine, uint64_t address, uint64_t size,
                               void (*prepare)(Pages *pages, uint64_t offset, uint64_t size)) {
    Place place;
    if (!find_place(engine, address, &place))
        return heap_memory(engine, address, size);
    if (size > place.size - place.offset)
        return NULL;
    if (place.pages)
        prepare(place.pages, place.offset, size);
    return place.memory + place.offset;
}

const uint8_t *find_memory(Engine *engine, uint64_t address, uint64_t size) {
    return prepare_memory(engine, address, size, fill_pages);
}

uint8_t *find_writable(Engine *engine, uint64_t address, uint64_t size) {
    return prepare_memory(engine, address, size, note_written);
}

uint8_t *find_stack(Engine *engine, uint64_t offset, uint64_t size) {
    note_written(&engine->stack, engine->stack_max_growth + offset, size);
    return engine->stack.memory + engine->stack_max_growth + offset;
}

/* -- unicorn's table of pages */

/* A page that is not in the table, or not for writing, is accessed. Returns whether it may be. Pages without a place
 * are led to themselves, where unicorn finds that nothing is mapped. It reports only accesses of which it finds that. */
static bool on_page(uc_engine *uc, uint64_t page, uc_mem_type type, uc_tlb_entry *entry, void *data) {
    Engine *engine = data;
    Place place;
    entry->paddr = page;
    entry->perms = UC_PROT_ALL; /* What the memory behind it does not allow faults all the same. */
    if (engine->stack_start - 1 - page < engine->stack_max_growth)
        engine->has_grown = true;
    if (!find_place(engine, page, &place)) {
        bool is_closed = is_heap_page(page) ? !heap_page(engine, page, &entry->paddr) : find_slot(engine, page) != NULL;
        return !is_closed || (engine->reports_accesses && !is_block_page(page));
    }
    entry->paddr = place.block_address;
    if (!place.pages || !(place.permissions & UC_PROT_WRITE))
        return true;
    if (type == UC_MEM_WRITE)
        note_written(place.pages, place.offset, PAGE);
    else
        fill_pages(place.pages, place.offset, PAGE);
    /* A page that may be executed is slow in each store. */
    entry->perms = UC_PROT_READ;
    if (type == UC_MEM_FETCH)
        entry->perms |= UC_PROT_EXEC;
    else if (is_written(place.pages, place.offset))
        entry->perms |= UC_PROT_WRITE;
    return true;
}

bool take_over_pages(Engine *engine) {
    uc_hook handle;
    return !uc_hook_add(engine->uc, &handle, UC_HOOK_TLB_FILL, on_page, engine, 1, 0) &&
           !uc_ctl_tlb_mode(engine->uc, UC_TLB_VIRTUAL);
}

bool is_in_candidate(Engine *engine, uint64_t address) {
    for (uint32_t i = engine->candidate_first_region; i < engine->region_count; i++) {
        Region *region = &engine->regions[i];
        if (region->permissions & UC_PROT_EXEC && address - region->address <= region->data_size)
            return true;
    }
    return false;
}

bool is_equal(const uint8_t *first, const uint8_t *second, uint64_t size, Span mask) {
    if (!memcmp(first, second, size))
        return true;
    if (!mask.size)
        return false;
    for (uint64_t at = 0; at < size; at++)
        if ((first[at] ^ second[at]) & mask.data[at])
            return false;
    return true;
}

/* -- stacks and slots */

/* A page that is full of a pattern; NULL where there is no memory. */
static uint8_t *make_pattern_page(const uint8_t pattern[4]) {
    uint8_t *page = map_host(PAGE);
    if (page)
        fill_pattern(page, PAGE, pattern);
    return page;
}

bool open_stack(Engine *engine) {
    uint64_t size = engine->stack_max_growth + engine->stack_size, start = engine->stack_start - engine->stack_max_growth;
    return open_pages(&engine->stack, size, map_host(size), engine->fills[0].stack_page, true) &&
           !uc_mem_map_ptr(engine->uc, start, size, READ_WRITE, engine->stack.memory);
}

bool open_arena(Engine *engine, uint64_t size) {
    return open_pages(&engine->arena, size, map_host(size), make_pattern_page(engine->garbage), true) &&
           !uc_mem_map_ptr(engine->uc, ARENA_BLOCK, size, READ_WRITE, engine->arena.memory);
}

static void place_objects(Engine *engine, Entry *entry) {
    Entry *last = engine->entry;
    restore_pages(&engine->arena);
    for (uint32_t i = 0; last && i < last->object_count; i++) {
        InputObject *object = &last->objects[i];
        restore_bytes(&engine->arena, engine->slots[object->slot].host + object->start, object->initial.size);
    }
    for (uint32_t i = 0; i < entry->object_count; i++) {
        InputObject *object = &entry->objects[i];
        uint64_t offset = engine->slots[object->slot].host + object->start;
        fill_pages(&engine->arena, offset, object->initial.size);
        memcpy(engine->arena.memory + offset, object->initial.data, object->initial.size);
    }
}

void reset_memory(Engine *engine, Entry *entry) {
    for (uint32_t i = 0; i < engine->region_count; i++)
        if (engine->regions[i].initial)
            restore_pages(&engine->regions[i].pages);
    for (uint32_t i = 0; i < entry->patch_count; i++) {
        Patch *patch = &entry->patches[i];
        uint8_t *memory = find_writable(engine, patch->address, patch->data.size);
        if (memory)
            memcpy(memory, patch->data.data, patch->data.size);
    }
    if (engine->has_grown)
        uc_ctl_flush_tlb(engine->uc); /* The next access below the stack lets it grow again. */
    engine->has_grown = false;
    restore_pages(&engine->stack);
    place_objects(engine, entry);
    engine->entry = entry;
}
