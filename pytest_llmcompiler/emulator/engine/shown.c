/* What a left run shows, so that the judge can compare it and find the words without a run of its own (see
 * `emulator/engine_machine.py`). The run is repeated for that: only then is each detail of a fault noticed, output kept,
 * and are instructions counted where a run may be too long. */
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "shown.h"

#define MOST_STACK_WORDS 256 /* As in `emulator/calls.py`. */
#define USER_ADDRESSES ((1ull << 47) - 1)
#define PHYSICAL_ADDRESSES ((1ull << 52) - 1) /* Of x86-64. */

/* How a run ends. The first three are those of `End`; `emulator/engine_machine.py` has the same. */
typedef enum { SHOWN_FAULT = END_ABORT + 1, SHOWN_LIMIT, SHOWN_NOTHING } ShownEnd;

/* -- what is written */

static void put_bytes(Shown *shown, const void *data, uint64_t size) {
    if (shown->is_too_long || size > MAX_SHOWN_BYTES - shown->size) {
        shown->is_too_long = true;
        return;
    }
    memcpy(shown->data + shown->size, data, size);
    shown->size += (uint32_t)size;
}

static void put_u32(Shown *shown, uint32_t number) {
    put_bytes(shown, &number, sizeof number);
}

static void put_u64(Shown *shown, uint64_t number) {
    put_bytes(shown, &number, sizeof number);
}

static void put_span(Shown *shown, const void *data, uint64_t size) {
    put_u32(shown, (uint32_t)size);
    if (data)
        put_bytes(shown, data, size);
    else if (size)
        shown->is_too_long = true; /* Nothing lies there. */
}

/* -- repeating a run */

static bool on_invalid_access(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value, void *data) {
    Engine *engine = data;
    bool is_jump = type == UC_MEM_FETCH_UNMAPPED || type == UC_MEM_FETCH_PROT;
    uint64_t counter = is_jump ? get_return_address(engine) : get_register(engine, engine->program_counter);
    /* On Python's machine, addresses have lost the bits that no physical address has. */
    if (engine->arch == UC_ARCH_X86 || address <= USER_ADDRESSES)
        note_fault(engine, (Fault){FAULT_ACCESS, type, size, counter, address & PHYSICAL_ADDRESSES});
    leave(engine, LEFT_FAULT);
    return false;
}

/* unicorn's own count of instructions is of no use: with hooks as here, it ends no run. */
static void on_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *data) {
    Engine *engine = data;
    if (engine->instructions_left)
        engine->instructions_left--;
    else
        uc_emu_stop(uc);
}

/* Have unicorn report each access to what is not mapped, as it does on Python's machine. */
static bool report_accesses(Engine *engine) {
    uc_hook handle;
    if (engine->reports_accesses)
        return true;
    engine->reports_accesses = true;
    /* Code that was translated before neither keeps the program counter for the hook, nor counts instructions. */
    for (uint32_t i = 0; i < engine->region_count; i++) {
        Region *region = &engine->regions[i];
        if (region->permissions & UC_PROT_EXEC)
            uc_ctl_remove_cache(engine->uc, region->address, region->address + region->size);
    }
    uc_ctl_flush_tlb(engine->uc);
    return !uc_hook_add(engine->uc, &handle, UC_HOOK_MEM_INVALID, on_invalid_access, engine, 1, 0) &&
           !uc_hook_add(engine->uc, &handle, UC_HOOK_CODE, on_instruction, engine, 1, 0);
}

/* Run an input for at most so many instructions; 0: without a limit. */
static void run_again(Engine *engine, Entry *entry, int fill, uint64_t most) {
    begin_run(engine, entry, fill);
    engine->instructions_left = most ? most : UINT64_MAX;
    if (most)
        engine->limit = UINT64_MAX;
    enter(engine, entry);
    uc_err error = uc_emu_start(engine->uc, engine->function, engine->return_address, 0, 0);
    if (error && engine->left == LEFT_NOT) {
        note_fault(engine, (Fault){FAULT_EMULATOR, error, 0, get_register(engine, engine->program_counter), 0});
        engine->left = LEFT_FAULT;
    }
    if (engine->left == LEFT_NOT)
        get_booleans(engine);
}

static ShownEnd find_end(Engine *engine, bool is_counted) {
    if (engine->left == LEFT_FAULT || engine->left == LEFT_HOOK)
        return engine->fault.kind ? SHOWN_FAULT : SHOWN_NOTHING;
    if (engine->left == LEFT_LIMIT && engine->executed_bytes <= engine->limit)
        return SHOWN_LIMIT; /* Of allocations, or of system calls. */
    if (engine->left != LEFT_NOT)
        return SHOWN_NOTHING;
    bool is_stopped = engine->end == END_RETURN && get_register(engine, engine->program_counter) != engine->return_address;
    return !is_stopped ? (ShownEnd)engine->end : is_counted ? SHOWN_LIMIT : SHOWN_NOTHING;
}

static ShownEnd repeat(Engine *engine, Entry *entry, int fill) {
    if (entry->is_left || !kernel_record(engine))
        return SHOWN_NOTHING;
    engine->is_shown = true;
    run_again(engine, entry, fill, 0);
    /* Instructions are counted only where their bytes are more than a run may execute: counting is slow. */
    bool is_counted = engine->left == LEFT_LIMIT && engine->executed_bytes > engine->limit;
    if (is_counted || engine->left == LEFT_FAULT) {
        if (!report_accesses(engine))
            return SHOWN_NOTHING;
        run_again(engine, entry, fill, is_counted ? entry->limit : 0);
    }
    return find_end(engine, is_counted);
}

/* -- what it shows */

static void show_fault(Engine *engine, Shown *shown) {
    Fault *fault = &engine->fault;
    put_u32(shown, fault->kind), put_u32(shown, fault->number), put_u32(shown, fault->size);
    put_u64(shown, fault->counter), put_u64(shown, fault->address);
    uint64_t top = get_register(engine, engine->stack_pointer), offset = top - engine->stack_start, count = 0;
    if (offset < engine->stack_size - 8)
        count = (engine->stack_size - offset) / 8;
    count = count < MOST_STACK_WORDS ? count : MOST_STACK_WORDS;
    put_u32(shown, (uint32_t)count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t word = 0;
        const uint8_t *memory = find_memory(engine, top + 8 * i, sizeof word);
        if (memory)
            memcpy(&word, memory, sizeof word);
        put_u64(shown, calls_find_caller(engine, top + 8 * i, word));
    }
}

static void show_registers(Engine *engine, Reader *request, Shown *shown) {
    uint32_t count = read_u32(request);
    for (uint32_t i = 0; i < count && !request->failed; i++) {
        uint8_t value[2 * VALUE_BYTES] = {0};
        uc_reg_read(engine->uc, (int)read_u32(request), value);
        put_bytes(shown, value, VALUE_BYTES);
    }
}

/* The functions that were called with a misaligned stack, the callee-saved registers that are not restored, what the stack pointer is at a right return, and whether the caller's
 * frame is written. */
static void show_breaches(Engine *engine, Entry *entry, Shown *shown) {
    Fill *fill = &engine->fills[engine->fill];
    put_u32(shown, engine->misaligned_count);
    put_bytes(shown, engine->misaligned, engine->misaligned_count * sizeof *engine->misaligned);
    uint32_t count = 0, at = shown->size;
    put_u32(shown, 0);
    for (uint32_t i = 0; i < fill->callee_saved.count; i++)
        if (!has_register_value(engine, &fill->callee_saved.items[i])) {
            put_u32(shown, (uint32_t)fill->callee_saved.items[i].id);
            count++;
        }
    if (!shown->is_too_long)
        memcpy(shown->data + at, &count, sizeof count);
    put_u64(shown, engine->stack_start + fill->frame_offset);
    put_u32(shown, !is_frame_restored(engine, entry));
}

static void show_objects(Engine *engine, Entry *entry, Shown *shown) {
    put_u32(shown, !is_unused_arena_restored(engine, entry));
    put_u32(shown, entry->object_count);
    for (uint32_t i = 0; i < entry->object_count; i++) {
        Slot *slot = &engine->slots[entry->objects[i].slot];
        fill_pages(&engine->arena, slot->host, slot->size);
        put_u32(shown, slot->is_freed);
        put_span(shown, engine->arena.memory + slot->host, slot->size);
    }
}

static void show_variables(Engine *engine, Shown *shown) {
    put_u32(shown, engine->variable_count);
    for (uint32_t i = 0; i < engine->variable_count; i++) {
        uint64_t size = engine->variables[i].size;
        put_span(shown, find_memory(engine, engine->variables[i].address, size), size);
    }
    uint32_t number = 0;
    const uint8_t *memory = engine->errno_address ? find_memory(engine, engine->errno_address, sizeof number) : NULL;
    if (memory)
        memcpy(&number, memory, sizeof number);
    put_u32(shown, number);
}

static void show_heap(Engine *engine, Shown *shown) {
    Heap *heap = engine->heap;
    put_u32(shown, heap->count);
    for (uint32_t i = 0; i < heap->count; i++) {
        const Object *object = &heap->objects[i];
        put_u64(shown, object->address), put_u64(shown, object->size);
        put_u32(shown, object->is_live);
        if (object->is_live)
            put_span(shown, pages_of(heap, object), object->mapped);
    }
}

static void show_output(Engine *engine, Entry *entry, Shown *shown) {
    ExpectedOutput outputs[DESCRIPTORS];
    kernel_observe(engine, outputs);
    outputs[0].data.data = entry->environment.standard_input.data; /* What is consumed begins where the text does. */
    for (uint32_t i = 0; i < DESCRIPTORS; i++)
        put_span(shown, outputs[i].data.data, outputs[i].data.size);
}

/* The candidate's own writable memory. */
static void show_own_data(Engine *engine, Shown *shown) {
    uint32_t count = 0, at = shown->size;
    put_u32(shown, 0);
    for (uint32_t i = engine->candidate_first_region; i < engine->region_count; i++) {
        Region *region = &engine->regions[i];
        if (region->permissions & UC_PROT_WRITE) {
            put_u64(shown, region->address);
            put_span(shown, region->memory, region->data_size);
            count++;
        }
    }
    if (!shown->is_too_long)
        memcpy(shown->data + at, &count, sizeof count);
}

bool show_run(Engine *engine, Reader *request, Shown *shown) {
    uint32_t number = read_u32(request), fill = read_u32(request);
    if (request->failed || number >= engine->entry_count || fill >= FILLS)
        return false;
    Entry *entry = &engine->entries[number];
    ShownEnd end = repeat(engine, entry, (int)fill);
    if (end == SHOWN_NOTHING)
        return false;
    put_u32(shown, end), put_u32(shown, engine->exit_code), put_u32(shown, engine->has_asserted);
    put_u32(shown, externals_count(engine)), put_u32(shown, heap_lacks_memory(engine));
    show_registers(engine, request, shown);
    if (end == SHOWN_FAULT)
        show_fault(engine, shown);
    else if (end != SHOWN_LIMIT) {
        show_breaches(engine, entry, shown);
        show_objects(engine, entry, shown);
        show_variables(engine, shown);
        show_heap(engine, shown);
        show_output(engine, entry, shown);
        show_own_data(engine, shown);
    }
    return !shown->is_too_long && !request->failed;
}
