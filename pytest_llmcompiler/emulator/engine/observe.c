/* What the reference shows on an input that is not in the suite, as the expected image that runs are compared with. */
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "look.h"

/* The constant that an address leads to, of the kind of a known one: a text up to its end, or as many bytes. */
static Span find_constant(Engine *twin, uint64_t address, Span known) {
    Region *region = find_region(twin, address);
    if (!region || !region->is_constant || !known.size || address - region->address >= region->data_size)
        return (Span){0};
    uint64_t offset = address - region->address, room = region->data_size - offset;
    Span constant = {region->memory + offset, known.size};
    if (!known.data[known.size - 1]) {
        const uint8_t *end = memchr(constant.data, 0, room);
        constant.size = end ? (uint64_t)(end - constant.data) + 1 : 0;
    }
    return constant.size <= room ? constant : (Span){0};
}

/* The pointers to constants in some bytes, at the offsets at which the base has such pointers. */
static bool observe_constants(Engine *twin, Arena *arena, const uint8_t *data, ConstantPointers *constants) {
    constants->items = arena_copy(arena, constants->items, constants->count * sizeof *constants->items);
    for (uint32_t i = 0; constants->items && i < constants->count; i++) {
        uint64_t address;
        memcpy(&address, data + constants->items[i].offset, sizeof address);
        constants->items[i].data = find_constant(twin, address, constants->items[i].data);
    }
    return constants->items;
}

static void observe_results(Engine *twin, Entry *entry) {
    for (uint32_t i = 0; i < entry->result_count; i++) {
        uint8_t value[2 * VALUE_BYTES] = {0};
        uc_reg_read(twin->uc, entry->results[i].id, value);
        memcpy(entry->results[i].value, value, VALUE_BYTES);
    }
    if (entry->result_count)
        entry->result_constant =
            find_constant(twin, get_register(twin, entry->results[0].id), entry->result_constant);
}

static bool observe_objects(Engine *twin, Arena *arena, Entry *entry) {
    for (uint32_t i = 0; i < entry->object_count; i++) {
        InputObject *object = &entry->objects[i];
        Slot *slot = &twin->slots[object->slot];
        object->is_freed = slot->is_freed;
        object->expected = (Span){twin->arena.memory + slot->host + object->start, object->initial.size};
        if (!observe_constants(twin, arena, object->expected.data, &object->constants))
            return false;
    }
    return true;
}

static const Patch *find_base_change(const Patch *changes, uint32_t count, uint64_t address) {
    for (uint32_t i = 0; i < count; i++)
        if (changes[i].address == address)
            return &changes[i];
    return NULL;
}

/* What is expected of every variable that runs can change. */
static bool observe_variables(Engine *twin, Arena *arena, Entry *entry) {
    const Patch *known_changes = entry->changes;
    uint32_t known_count = entry->change_count;
    entry->change_count = 0;
    entry->changes = arena_take(arena, twin->variable_count * sizeof *entry->changes);
    for (uint32_t i = 0; entry->changes && i < twin->variable_count; i++) {
        uint64_t address = twin->variables[i].address, size = twin->variables[i].size;
        Region *region = find_region(twin, address);
        if (!region || !region->initial)
            continue; /* A constant. */
        const Patch *known = find_base_change(known_changes, known_count, address);
        Patch *change = &entry->changes[entry->change_count++];
        *change = known ? *known : (Patch){.address = address};
        change->data = (Span){region->memory + (address - region->address), size};
        if (!observe_constants(twin, arena, change->data.data, &change->constants))
            return false;
    }
    return entry->changes;
}

static bool observe_heap(Engine *twin, Arena *arena, Entry *entry) {
    Heap *heap = twin->heap;
    entry->live_count = entry->freed_count = 0;
    entry->live = arena_take(arena, heap->count * sizeof *entry->live);
    entry->freed = arena_take(arena, heap->count * sizeof *entry->freed);
    for (uint32_t i = 0; entry->live && entry->freed && i < heap->count; i++) {
        const Object *object = &heap->objects[i];
        ExpectedBlock block = {object->address, object->size, {0}, {0}};
        if (object->is_live) {
            block.pages = (Span){pages_of(heap, object), object->mapped};
            entry->live[entry->live_count++] = block;
        } else
            entry->freed[entry->freed_count++] = block;
    }
    return entry->live && entry->freed;
}

static void observe_errno(Engine *twin, Entry *entry) {
    const uint8_t *memory = twin->errno_address ? find_memory(twin, twin->errno_address, 4) : NULL;
    if (memory)
        memcpy(&entry->errno_value, memory, 4);
    entry->compares_errno = twin->compares_errno && memory && entry->errno_value != entry->environment.errno_value;
}

/* Whether the run came to an end that other runs can be compared with. */
static bool has_usable_end(Engine *twin, Entry *entry) {
    bool is_stopped = twin->end == END_RETURN && get_register(twin, twin->program_counter) != twin->return_address;
    return !is_stopped && !heap_lacks_memory(twin) && externals_compare(twin, entry) == LEFT_NOT;
}

bool observe(Engine *twin, Arena *arena, Entry *entry, int fill) {
    begin_run(twin, entry, fill);
    enter(twin, entry);
    if (!emulate(twin, twin->function) || !has_usable_end(twin, entry))
        return false;
    entry->is_out_of_memory = false;
    entry->end = twin->end, entry->exit_code = twin->exit_code;
    entry->has_assertion = twin->has_asserted;
    if (twin->end == END_RETURN)
        observe_results(twin, entry);
    observe_errno(twin, entry);
    entry->output_count = DESCRIPTORS;
    entry->outputs = arena_take(arena, DESCRIPTORS * sizeof *entry->outputs);
    if (!entry->outputs)
        return false;
    kernel_observe(twin, entry->outputs);
    return observe_objects(twin, arena, entry) && observe_variables(twin, arena, entry) &&
           observe_heap(twin, arena, entry);
}

/* -- the reserve: what the reference shows is kept, so that a candidate runs alone */

#define MAX_KEPT_BYTES 16384 /* Of the variables. With larger ones, the reference runs again for each candidate. */

static bool keep(const void **data, uint64_t size) {
    void *copy = malloc(size + 1);
    if (copy && size)
        memcpy(copy, *data, size);
    *data = copy;
    return copy;
}

static bool keep_span(Span *span) {
    return keep((const void **)&span->data, span->size);
}

static bool keep_constants(ConstantPointers *constants) {
    return keep((const void **)&constants->items, constants->count * sizeof *constants->items);
}

static bool keep_blocks(ExpectedBlock **blocks, uint32_t count) {
    bool is_kept = keep((const void **)blocks, count * sizeof **blocks);
    for (uint32_t i = 0; is_kept && i < count; i++)
        is_kept = keep_span(&(*blocks)[i].pages);
    return is_kept;
}

/* Copy all of an observed entry that lies in the arena, or in memory of the twin. */
static bool keep_observed(Entry *entry) {
    bool is_kept = keep((const void **)&entry->changes, entry->change_count * sizeof *entry->changes) &&
                   keep((const void **)&entry->outputs, entry->output_count * sizeof *entry->outputs) &&
                   keep_blocks(&entry->live, entry->live_count) && keep_blocks(&entry->freed, entry->freed_count);
    for (uint32_t i = 0; is_kept && i < entry->object_count; i++)
        is_kept = keep_span(&entry->objects[i].expected) && keep_constants(&entry->objects[i].constants);
    for (uint32_t i = 0; is_kept && i < entry->change_count; i++)
        is_kept = keep_span(&entry->changes[i].data) && keep_constants(&entry->changes[i].constants);
    for (uint32_t i = 0; is_kept && i < entry->output_count; i++)
        is_kept = keep_span(&entry->outputs[i].data);
    return is_kept;
}

static bool observe_one(Engine *twin, Arena *arena, const Entry *entry, Entry *observed) {
    *observed = *entry;
    arena->used = 0;
    if (!keep((const void **)&observed->objects, observed->object_count * sizeof *observed->objects) ||
        !keep((const void **)&observed->results, observed->result_count * sizeof *observed->results))
        return false;
    observed->is_left = entry->is_left || !observe(twin, arena, observed, FILL_GARBAGE) ||
                        compare_run(twin, observed) != LEFT_NOT;
    observed->digest = twin->edges.digest, observed->executed_bytes = twin->executed_bytes;
    return observed->is_left || keep_observed(observed);
}

bool observe_reserve(Engine *engine, Engine *twin) {
    uint64_t size = 0;
    for (uint32_t i = 0; i < twin->variable_count; i++)
        size += twin->variables[i].size;
    Arena *arena = arena_open();
    engine->observed = calloc(engine->reserve_count + 1, sizeof *engine->observed);
    if (!arena || !engine->observed)
        return false;
    twin->traces_edges = true;
    for (uint32_t i = 0; i < engine->reserve_count; i++) {
        engine->observed[i].is_left = true;
        const Entry *entry = &twin->entries[twin->entry_count + i];
        if (size <= MAX_KEPT_BYTES && !observe_one(twin, arena, entry, &engine->observed[i]))
            return false;
    }
    twin->traces_edges = false;
    free(arena->memory), free(arena);
    return true;
}
