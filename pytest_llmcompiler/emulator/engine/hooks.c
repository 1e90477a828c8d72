/* Hooks on addresses.
 *
 * unicorn walks along all of its hooks for each instruction that it translates, and for each that has one. So it gets few:
 * functions are entered by jumps, which begin a block, and the hook of all blocks looks them up in a table.
 * (Code that falls through into a function is not noticed; no function of a C library does that to one that is hooked.)
 * Operands that must be aligned lie anywhere: those close to each other share a hook. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define GUARD_GAP 32 /* Bytes from one guard to the next up to which they share a hook. */

/* Abort, where the assertion is the expected one. What it prints beside its expression does not count. */
static void fail_assertion(Engine *engine) {
    Span expected = engine->entry->assertion;
    const uint8_t *expression = NULL;
    if (engine->entry->has_assertion)
        expression = find_memory(engine, get_register(engine, engine->library_arguments[0]), expected.size + 1);
    if (expression && !memcmp(expression, expected.data, expected.size) && !expression[expected.size]) {
        engine->has_asserted = true;
        finish(engine, END_ABORT, 0);
    } else
        leave(engine, LEFT_END);
}

static void run_hook(Engine *engine, Hook *hook, uint64_t address) {
    switch (hook->kind) {
    case HOOK_ABORT:
        finish(engine, END_ABORT, 0);
        break;
    case HOOK_ASSERT:
        fail_assertion(engine);
        break;
    case HOOK_MALLOC:
    case HOOK_CALLOC:
    case HOOK_REALLOC:
    case HOOK_FREE:
    case HOOK_ALIGNED_ALLOC:
        heap_call(engine, hook->kind);
        break;
    case HOOK_CALL:
    case HOOK_OWN_CALL:
    case HOOK_CALLBACK:
    case HOOK_DETOUR:
    case HOOK_GUARD:
        calls_hook(engine, hook, address);
        break;
    case HOOK_EXTERNAL:
    case HOOK_STUBS:
        externals_hook(engine, hook, address);
        break;
    default:
        leave(engine, LEFT_HOOK);
    }
}

/* -- functions */

static Hook **find_bucket(Engine *engine, uint64_t address) {
    return &engine->entry_hooks[(address * 0x9E3779B97F4A7C15u >> 32) % ENTRY_BUCKETS];
}

void run_entry_hooks(Engine *engine, uint64_t address) {
    for (Hook *hook = *find_bucket(engine, address); hook; hook = hook->next)
        if (hook->first == address)
            run_hook(engine, hook, address);
    Hook *stubs = engine->stubs_hook;
    if (stubs && address - stubs->first <= stubs->last - stubs->first)
        run_hook(engine, stubs, address);
}

/* -- instructions */

static void on_left_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *data) {
    note_fault(data, (Fault){FAULT_HAZARD, 0, 0, address, 0});
    leave(data, LEFT_HOOK);
}

static int compare_guards(const void *first, const void *second) {
    uint64_t one = (*(Hook *const *)first)->first, other = (*(Hook *const *)second)->first;
    return (one > other) - (one < other);
}

static void on_guarded_range(uc_engine *uc, uint64_t address, uint32_t size, void *data) {
    Engine *engine = data;
    uint32_t low = 0, high = engine->guard_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (engine->guards[middle]->first < address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < engine->guard_count && engine->guards[low]->first == address)
        run_hook(engine, engine->guards[low], address);
}

static bool add_code_hook(Engine *engine, uc_cb_hookcode_t action, uint64_t first, uint64_t last) {
    uc_hook handle;
    if (uc_hook_add(engine->uc, &handle, UC_HOOK_CODE, (void *)action, engine, first, last))
        return false;
    /* What was translated before does not call the hook. */
    uc_ctl_remove_cache(engine->uc, first, last + 1);
    return true;
}

static bool add_guards(Engine *engine) {
    uint32_t count = engine->guard_count;
    if (count)
        qsort(engine->guards, count, sizeof *engine->guards, compare_guards);
    for (uint32_t first = 0, last; first < count; first = last + 1) {
        last = first;
        while (last + 1 < count && engine->guards[last + 1]->first - engine->guards[last]->first <= GUARD_GAP)
            last++;
        if (!add_code_hook(engine, on_guarded_range, engine->guards[first]->first, engine->guards[last]->first))
            return false;
    }
    return true;
}

/* -- reading */

static bool add_hook(Engine *engine, Hook *hook) {
    switch (hook->kind) {
    case HOOK_LEAVE:
        return add_code_hook(engine, on_left_instruction, hook->first, hook->last);
    case HOOK_GUARD:
        engine->guards[engine->guard_count++] = hook;
        return hook->alignment;
    case HOOK_STUBS:
        engine->stubs_hook = hook;
        return true;
    default:
        /* A candidate's hooks come before those of the program on the same address, as on the Python machine. */
        if (hook->first - engine->code_start < engine->code_end - engine->code_start)
            engine->has_own_hooks = true;
        hook->next = *find_bucket(engine, hook->first);
        *find_bucket(engine, hook->first) = hook;
        return true;
    }
}

static void read_hook(Reader *reader, Hook *hook) {
    hook->kind = read_u32(reader);
    hook->first = read_u64(reader), hook->last = read_u64(reader);
    hook->number = read_u32(reader);
    if (read_count(reader, &hook->register_count, (void **)&hook->registers, sizeof *hook->registers))
        for (uint32_t i = 0; i < hook->register_count; i++)
            hook->registers[i] = (int)read_u32(reader);
    if (read_count(reader, &hook->result_count, (void **)&hook->results, sizeof *hook->results))
        for (uint32_t i = 0; i < hook->result_count; i++)
            hook->results[i] = (int)read_u32(reader);
    hook->base = (int)read_u32(reader), hook->index = (int)read_u32(reader);
    hook->segment = (int)read_u32(reader);
    hook->scale = read_u32(reader), hook->bits = read_u32(reader), hook->alignment = read_u32(reader);
    hook->offset = read_u64(reader);
}

bool read_hooks(Engine *engine, Reader *reader) {
    Hook *hooks;
    uint32_t count;
    if (!read_count(reader, &count, (void **)&hooks, sizeof *hooks))
        return false;
    engine->guards = calloc(count + 1, sizeof *engine->guards);
    engine->guard_count = 0; /* Only a candidate has guards. */
    for (uint32_t i = 0; i < count && engine->guards; i++) {
        read_hook(reader, &hooks[i]);
        if (reader->failed || !add_hook(engine, &hooks[i]))
            return false;
    }
    return engine->guards && add_guards(engine);
}
