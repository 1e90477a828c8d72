/* The guest's memory: what is mapped, and how every run gets its initial contents back. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"

static uint8_t *map_host(uint64_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

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
    *region = (Region){address, size, permissions, is_constant, map_host(size), NULL, data.size};
    if (!region->memory || data.size > size)
        return NULL;
    if (data.size)
        memcpy(region->memory, data.data, data.size);
    if (is_restored) {
        region->initial = map_host(size);
        if (!region->initial)
            return NULL;
        memcpy(region->initial, region->memory, data.size);
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

uint8_t *find_memory(Engine *engine, uint64_t address, uint64_t size) {
    uint64_t offset = address - engine->stack_start;
    if (offset >= engine->stack_low && offset < engine->stack_size)
        return size <= engine->stack_size - offset ? engine->stack + offset : NULL;
    uint64_t growth = address - (engine->stack_start - engine->stack_max_growth);
    if (engine->has_grown && growth < engine->stack_max_growth)
        return size <= engine->stack_max_growth - growth ? engine->growth + growth : NULL;
    Region *region = find_region(engine, address);
    if (region)
        return size <= region->size - (address - region->address) ? region->memory + (address - region->address) : NULL;
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        Slot *slot = &engine->slots[i];
        if (slot->is_mapped && !slot->is_freed && address - slot->address < slot->size)
            return size <= slot->size - (address - slot->address)
                       ? engine->arena + slot->host + (address - slot->address)
                       : NULL;
    }
    return heap_memory(engine, address, size);
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

/* Copy the pages that differ. Most runs change few, and comparing is faster than copying. */
static void restore_pages(uint8_t *memory, const uint8_t *initial, uint64_t size) {
    for (uint64_t at = 0; at < size; at += PAGE) {
        uint64_t part = size - at < PAGE ? size - at : PAGE;
        if (memcmp(memory + at, initial + at, part))
            memcpy(memory + at, initial + at, part);
    }
}

void map_stack(Engine *engine, uint64_t low) {
    if (engine->stack_low == low)
        return;
    if (engine->stack_low < engine->stack_size)
        uc_mem_unmap(engine->uc, engine->stack_start + engine->stack_low, engine->stack_size - engine->stack_low);
    uc_mem_map_ptr(engine->uc, engine->stack_start + low, engine->stack_size - low, UC_PROT_READ | UC_PROT_WRITE,
                   engine->stack + low);
    engine->stack_low = low;
}

/* Map what the stack may grow by, until the next run. */
static bool grow_stack(Engine *engine) {
    uint64_t size = engine->stack_max_growth;
    if (!engine->growth)
        engine->growth = map_host(size);
    if (!engine->growth)
        return false;
    fill_pattern(engine->growth, size, engine->fills[engine->fill].pattern);
    engine->has_grown = !uc_mem_map_ptr(engine->uc, engine->stack_start - size, size, UC_PROT_READ | UC_PROT_WRITE,
                                        engine->growth);
    return engine->has_grown;
}

static void shrink_stack(Engine *engine) {
    if (engine->has_grown)
        uc_mem_unmap(engine->uc, engine->stack_start - engine->stack_max_growth, engine->stack_max_growth);
    engine->has_grown = false;
}

static void fill_slot(Engine *engine, Slot *slot, uint64_t start, uint64_t size) {
    memcpy(engine->arena + slot->host + start, engine->untouched + slot->host + start, size);
}

/* Map a slot that an input or a run needs: unicorn takes long for each mapping. */
static void map_slot(Engine *engine, Slot *slot) {
    if (!slot->is_mapped)
        slot->is_mapped = !uc_mem_map_ptr(engine->uc, slot->address, slot->size, UC_PROT_READ | UC_PROT_WRITE,
                                          engine->arena + slot->host);
}

void map_small_slots(Engine *engine) {
    for (uint32_t i = 0; i < engine->entry_count; i++)
        for (uint32_t j = 0; j < engine->entries[i].object_count; j++) {
            Slot *slot = &engine->slots[engine->entries[i].objects[j].slot];
            if (slot->size <= PAGE)
                map_slot(engine, slot);
        }
}

bool map_at_access(Engine *engine, uint64_t address) {
    if (address - engine->stack_start < engine->stack_low) {
        memcpy(engine->stack, engine->stack_initial, engine->stack_low);
        map_stack(engine, 0);
        return true;
    }
    if (!engine->has_grown && address - (engine->stack_start - engine->stack_max_growth) < engine->stack_max_growth)
        return grow_stack(engine);
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        Slot *slot = &engine->slots[i];
        if (!slot->is_mapped && address - slot->address < slot->size) {
            map_slot(engine, slot);
            return slot->is_mapped;
        }
    }
    return false;
}

/* Unmap the large slots that an input does not use. All that is mapped is compared after each run, which takes 10 µs for
 * a large slot. Inputs come in the order of their sizes, so that slots are rarely mapped and unmapped. */
static void drop_unused_slots(Engine *engine) {
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        Slot *slot = &engine->slots[i];
        if (slot->is_mapped && !slot->is_used && slot->size > PAGE) {
            uc_mem_unmap(engine->uc, slot->address, slot->size);
            slot->is_mapped = false;
        }
        slot->is_used = false;
    }
}

static void place_objects(Engine *engine, Entry *entry) {
    Entry *last = engine->entry;
    for (uint32_t i = 0; last && i < last->object_count; i++) {
        InputObject *object = &last->objects[i];
        Slot *slot = &engine->slots[object->slot];
        if (engine->is_rest_untouched)
            fill_slot(engine, slot, object->start, object->initial.size);
        else
            fill_slot(engine, slot, 0, slot->size);
    }
    if (last && !engine->is_rest_untouched)
        for (uint32_t i = 0; i < engine->slot_count; i++)
            if (engine->slots[i].is_mapped)
                fill_slot(engine, &engine->slots[i], 0, engine->slots[i].size);
    for (uint32_t i = 0; i < entry->object_count; i++) {
        InputObject *object = &entry->objects[i];
        Slot *slot = &engine->slots[object->slot];
        slot->is_used = true;
        map_slot(engine, slot);
        memcpy(engine->arena + slot->host + object->start, object->initial.data, object->initial.size);
    }
    drop_unused_slots(engine);
}

void reset_memory(Engine *engine, Entry *entry) {
    for (uint32_t i = 0; i < engine->region_count; i++) {
        Region *region = &engine->regions[i];
        if (region->initial)
            restore_pages(region->memory, region->initial, region->size);
    }
    for (uint32_t i = 0; i < entry->patch_count; i++) {
        Patch *patch = &entry->patches[i];
        uint8_t *memory = find_memory(engine, patch->address, patch->data.size);
        if (memory)
            memcpy(memory, patch->data.data, patch->data.size);
    }
    shrink_stack(engine);
    uint64_t low = engine->stack_low;
    restore_pages(engine->stack + low, engine->stack_initial + low, engine->stack_size - low);
    place_objects(engine, entry);
    engine->entry = entry;
}
