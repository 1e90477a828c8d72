/* Whether a run shows the same as the expected image. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static bool has_register(Engine *engine, const ExpectedRegister *expected) {
    uint8_t value[2 * VALUE_BYTES] = {0};
    uc_reg_read(engine->uc, expected->id, value);
    for (int at = 0; at < VALUE_BYTES; at++)
        if ((value[at] ^ expected->value[at]) & expected->mask[at])
            return false;
    return true;
}

bool has_register_value(Engine *engine, const RegisterValue *expected) {
    uint8_t value[2 * VALUE_BYTES] = {0};
    uc_reg_read(engine->uc, expected->id, value);
    return !memcmp(value, expected->value, VALUE_BYTES);
}

/* Whether a constant with these bytes lies at an address. */
static bool is_constant_at(Engine *engine, uint64_t address, Span data) {
    Region *region = find_region(engine, address);
    if (!region || !region->is_constant || address - region->address >= region->data_size)
        return false;
    uint64_t offset = address - region->address;
    /* Constants of the program that hold addresses lie on writable pages: what a candidate writes there does not count. */
    bool is_program = region - engine->regions < engine->candidate_first_region;
    const uint8_t *memory = is_program && region->initial ? region->initial : region->memory;
    return data.size <= region->data_size - offset && !memcmp(memory + offset, data.data, data.size);
}

/* Whether the result points to a constant with the same bytes: a candidate may bring constants of its own. */
static bool points_to_constant(Engine *engine, Entry *entry) {
    return entry->result_constant.size &&
           is_constant_at(engine, get_register(engine, entry->results[0].id), entry->result_constant);
}

/* Give pointers to equal constants their expected values. */
static void replace_constants(Engine *engine, uint8_t *memory, Span expected, const ConstantPointers *constants) {
    for (uint32_t i = 0; i < constants->count; i++) {
        ConstantPointer *pointer = &constants->items[i];
        uint64_t address;
        if (expected.size < sizeof address || pointer->offset > expected.size - sizeof address)
            continue;
        memcpy(&address, memory + pointer->offset, sizeof address);
        if (is_constant_at(engine, address, pointer->data))
            memcpy(memory + pointer->offset, expected.data + pointer->offset, sizeof address);
    }
}

bool is_expected(Engine *engine, const uint8_t *memory, Span expected, Span mask, const ConstantPointers *constants) {
    if (is_equal(memory, expected.data, expected.size, mask))
        return true;
    uint8_t *copy = constants->count ? malloc(expected.size) : NULL;
    if (!copy)
        return false;
    memcpy(copy, memory, expected.size);
    replace_constants(engine, copy, expected, constants);
    bool is_same = is_equal(copy, expected.data, expected.size, mask);
    free(copy);
    return is_same;
}

bool is_frame_restored(Engine *engine, Entry *entry) {
    ArgumentValues *arguments = engine->fill == FILL_INVERSE ? &entry->inverse_arguments : &entry->arguments;
    uint64_t frame = engine->fills[engine->fill].frame_offset + arguments->stack.size;
    return is_restored(&engine->stack, engine->stack_max_growth + frame, engine->stack_size - frame);
}

/* Whether the function breaks a rule of its calling convention with what it leaves at its return. */
static bool has_breach(Engine *engine, Entry *entry) {
    Fill *fill = &engine->fills[engine->fill];
    for (uint32_t i = 0; i < fill->callee_saved.count; i++)
        if (!has_register_value(engine, &fill->callee_saved.items[i]))
            return true;
    return get_register(engine, engine->stack_pointer) != engine->stack_start + fill->frame_offset ||
           !is_frame_restored(engine, entry);
}

static LeftReason compare_registers(Engine *engine, Entry *entry) {
    Fill *fill = &engine->fills[engine->fill];
    for (uint32_t i = 0; i < entry->result_count; i++)
        if (!has_register(engine, &entry->results[i]) && !points_to_constant(engine, entry))
            return LEFT_RESULT;
    for (uint32_t i = 0; i < fill->callee_saved.count; i++)
        if (!has_register_value(engine, &fill->callee_saved.items[i]))
            return LEFT_REGISTER;
    for (uint32_t i = 0; i < engine->control_count; i++)
        if (!has_register(engine, &engine->controls[i]))
            return LEFT_REGISTER;
    if (get_register(engine, engine->stack_pointer) != engine->stack_start + fill->frame_offset)
        return LEFT_REGISTER;
    return is_frame_restored(engine, entry) ? LEFT_NOT : LEFT_FRAME;
}

/* The object of an input on a page of the arena; NULL for none. A slot has at most one, and its own pages. */
static InputObject *find_object_on(Engine *engine, Entry *entry, uint64_t page) {
    for (uint32_t i = 0; i < entry->object_count; i++) {
        Slot *slot = &engine->slots[entry->objects[i].slot];
        if (page - slot->host < slot->size)
            return &entry->objects[i];
    }
    return NULL;
}

/* Whether what lies around objects on a written page of the arena is garbage. */
static bool is_rest_garbage(Engine *engine, Entry *entry, uint64_t page) {
    InputObject *object = find_object_on(engine, entry, page);
    uint64_t start = page, end = page;
    if (object) {
        uint64_t first = engine->slots[object->slot].host + object->start, last = first + object->initial.size;
        start = first < page ? page : first < page + PAGE ? first : page + PAGE;
        end = last < start ? start : last < page + PAGE ? last : page + PAGE;
    }
    return is_restored(&engine->arena, page, start - page) && is_restored(&engine->arena, end, page + PAGE - end);
}

bool is_unused_arena_restored(Engine *engine, Entry *entry) {
    for (uint32_t i = 0; i < engine->arena.written_count; i++) {
        uint64_t page = (uint64_t)engine->arena.written[i] * PAGE;
        if (!find_object_on(engine, entry, page) && !is_restored(&engine->arena, page, PAGE))
            return false;
    }
    return true;
}

static LeftReason compare_objects(Engine *engine, Entry *entry) {
    for (uint32_t i = 0; i < entry->object_count; i++) {
        InputObject *object = &entry->objects[i];
        const uint8_t *memory = engine->arena.memory + engine->slots[object->slot].host + object->start;
        if (!object->is_freed && !is_expected(engine, memory, object->expected, object->mask, &object->constants))
            return LEFT_OBJECT;
    }
    for (uint32_t i = 0; i < engine->arena.written_count; i++)
        if (!is_rest_garbage(engine, entry, (uint64_t)engine->arena.written[i] * PAGE))
            return LEFT_OBJECT;
    return LEFT_NOT;
}

static Patch *find_change(Entry *entry, uint64_t address) {
    for (uint32_t i = 0; i < entry->change_count; i++)
        if (entry->changes[i].address == address)
            return &entry->changes[i];
    return NULL;
}

static LeftReason compare_variables(Engine *engine, Entry *entry) {
    for (uint32_t i = 0; i < engine->variable_count; i++) {
        uint64_t address = engine->variables[i].address, size = engine->variables[i].size;
        Region *region = find_region(engine, address);
        if (!region || !region->initial)
            continue; /* A constant. */
        Patch *change = find_change(entry, address);
        const uint8_t *memory = region->memory + (address - region->address);
        bool is_same = change ? change->data.size == size &&
                                    is_expected(engine, memory, change->data, change->mask, &change->constants)
                              : is_restored(&region->pages, address - region->address, size);
        if (!is_same)
            return LEFT_VARIABLE;
    }
    return LEFT_NOT;
}

static LeftReason compare_errno(Engine *engine, Entry *entry) {
    if (!entry->compares_errno || !engine->errno_address)
        return LEFT_NOT;
    const uint8_t *memory = find_memory(engine, engine->errno_address, 4);
    return memory && !memcmp(memory, &entry->errno_value, 4) ? LEFT_NOT : LEFT_ERRNO;
}

/* All but registers. */
static LeftReason compare_effects(Engine *engine, Entry *entry) {
    LeftReason left = compare_objects(engine, entry);
    left = left ? left : compare_variables(engine, entry);
    left = left ? left : heap_compare(engine, entry);
    left = left ? left : compare_errno(engine, entry);
    left = left ? left : kernel_compare(engine, entry);
    return left ? left : externals_compare(engine, entry);
}

LeftReason compare_run(Engine *engine, Entry *entry) {
    uint64_t counter = get_register(engine, engine->program_counter);
    if (engine->end == END_RETURN && counter != engine->return_address)
        return counter ? LEFT_LIMIT : LEFT_FAULT; /* unicorn stops at address 0, as `emulate` asks it to. */
    /* Compilers may remove allocations. So runs count only where memory is short in both or in neither. */
    if (heap_lacks_memory(engine) != entry->is_out_of_memory)
        return LEFT_NOT;
    if (engine->end != entry->end || (engine->end == END_EXIT && engine->exit_code != entry->exit_code))
        return LEFT_END;
    if (engine->end == END_ABORT && engine->has_asserted != entry->has_assertion)
        return LEFT_END;
    LeftReason left = engine->end == END_RETURN ? compare_registers(engine, entry) : LEFT_NOT;
    LeftReason rest = left && left != LEFT_REGISTER && left != LEFT_FRAME ? left : compare_effects(engine, entry);
    engine->is_breach_only = left && !rest && has_breach(engine, entry);
    return left ? left : rest;
}
