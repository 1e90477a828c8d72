/* Whether the heap of a run shows the same as the expected one.
 *
 * Python compares heaps after a walk along all pointers, which gives each object the number at which it is reached (see
 * `judge/canonical_heap.py`). Here the live objects must be equal as they are, at the same addresses. Then the walk
 * finds the same in both runs, as long as it starts from the same pointers, and each one leads to a live object. */
#include <string.h>

#include "heap.h"

/* The object that was allocated at an address, live or freed; NULL for none. */
static Object *find_allocated(Engine *engine, const ExpectedBlock *expected) {
    uint64_t mapped = count_mapped(expected->size), end = expected->address + (expected->size ? expected->size : 1);
    /* The pages end with the page of the object's end, or begin with the object. */
    uint64_t base = engine->entry->is_4gib_aligned ? expected->address : (end + PAGE - 1) / PAGE * PAGE - mapped;
    Object *object = find_base(engine->heap, base);
    return object && object->address == expected->address && object->size == expected->size ? object : NULL;
}

static bool has_live_objects(Engine *engine, Entry *entry) {
    Heap *heap = engine->heap;
    if (heap->live_count != entry->live_count)
        return false;
    for (uint32_t i = 0; i < entry->live_count; i++) {
        ExpectedBlock *expected = &entry->live[i];
        Object *object = find_allocated(engine, expected);
        if (!object || !object->is_live || object->mapped != expected->pages.size ||
            !is_expected(engine, pages_of(heap, object), expected->pages, (Span){0}, &expected->constants))
            return false;
    }
    return true;
}

static bool has_freed_objects(Engine *engine, Entry *entry) {
    if (engine->heap->freed_count != entry->freed_count)
        return false;
    for (uint32_t i = 0; i < entry->freed_count; i++) {
        Object *object = find_allocated(engine, &entry->freed[i]);
        if (!object || object->is_live)
            return false;
    }
    return true;
}

/* Whether any aligned word may be a pointer into the heap; with `only_stray`, one that leads to no live object. The
 * data lies at an address. */
static bool has_pointer(Engine *engine, const uint8_t *data, uint64_t size, uint64_t address, bool only_stray) {
    for (uint64_t at = -address % 8; at + 8 <= size; at += 8) {
        uint64_t value;
        memcpy(&value, data + at, sizeof value);
        if (value - HEAP_START < HEAP_END - HEAP_START && !(only_stray && find_object(engine, value)))
            return true;
    }
    return false;
}

/* Whether two contents of a place, which are equal as far as they are compared, start the same walk. With `is_stray`,
 * no pointer in them may lead to anything but a live object. */
static bool leads_to_same(Engine *engine, const uint8_t *first, const uint8_t *second, uint64_t size, uint64_t address,
                          bool is_stray) {
    bool is_same = !memcmp(first, second, size);
    if (is_same)
        return !is_stray || !has_pointer(engine, first, size, address, true);
    return !has_pointer(engine, first, size, address, false) && !has_pointer(engine, second, size, address, false);
}

static bool do_objects_lead_to_same(Engine *engine, Entry *entry, bool is_stray) {
    for (uint32_t i = 0; i < entry->object_count; i++) {
        InputObject *object = &entry->objects[i];
        const uint8_t *memory = engine->arena.memory + engine->slots[object->slot].host + object->start;
        if (!leads_to_same(engine, memory, object->expected.data, object->initial.size, object->start, is_stray))
            return false;
    }
    for (uint32_t i = 0; i < entry->change_count; i++) {
        Patch *change = &entry->changes[i];
        const uint8_t *memory = find_memory(engine, change->address, change->data.size);
        if (!memory || !leads_to_same(engine, memory, change->data.data, change->data.size, 0, is_stray))
            return false;
    }
    return true;
}

/* Whether no pointer leads to an object that only one of the runs has allocated and freed. */
static bool is_freed_unreachable(Engine *engine, Entry *entry) {
    if (entry->call_count)
        return false;
    for (uint32_t i = 0; i < entry->result_count; i++) {
        uint8_t value[2 * VALUE_BYTES] = {0};
        uc_reg_read(engine->uc, entry->results[i].id, value);
        if (has_pointer(engine, value, VALUE_BYTES, 0, true) ||
            has_pointer(engine, entry->results[i].value, VALUE_BYTES, 0, true))
            return false;
    }
    for (uint32_t i = 0; i < engine->variable_count; i++) {
        const uint8_t *memory = find_memory(engine, engine->variables[i].address, engine->variables[i].size);
        if (!memory || has_pointer(engine, memory, engine->variables[i].size, 0, true))
            return false;
    }
    for (uint32_t i = 0; i < entry->live_count; i++)
        if (has_pointer(engine, entry->live[i].pages.data, entry->live[i].pages.size, 0, true))
            return false;
    return true;
}

LeftReason heap_compare(Engine *engine, Entry *entry) {
    Heap *heap = engine->heap;
    for (uint32_t i = 0; i < entry->object_count; i++)
        if (engine->slots[entry->objects[i].slot].is_freed != entry->objects[i].is_freed)
            return LEFT_HEAP;
    if (!heap->count && !entry->live_count && !entry->freed_count)
        return LEFT_NOT;
    /* A candidate may do without objects that the reference frees before it returns. */
    bool is_stray = !has_freed_objects(engine, entry);
    if (!has_live_objects(engine, entry) || !do_objects_lead_to_same(engine, entry, is_stray) ||
        (is_stray && !is_freed_unreachable(engine, entry)))
        return LEFT_HEAP;
    return LEFT_NOT;
}
