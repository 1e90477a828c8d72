/* Misuse that the result of a run does not show (see `find_misuse` in `emulator/tracing.py`): accesses below the red
 * zone. Jumps into the middle of an instruction are noticed in every run (see `on_block` in machine.c). */
#include <string.h>

#include "engine.h"

static bool is_x86_push(const uint8_t *code) {
    if ((*code & 0xF0) == 0x40) /* REX */
        code++;
    bool is_indirect = code[0] == 0xFF && ((code[1] >> 3 & 7) == 2 || (code[1] >> 3 & 7) == 6);
    return (code[0] & 0xF8) == 0x50 || code[0] == 0x68 || code[0] == 0x6A || code[0] == 0xE8 || is_indirect;
}

/* A load or store of one register or two, with `[sp, #-N]!`. */
static bool is_arm_push(const uint8_t *code) {
    uint32_t word;
    memcpy(&word, code, sizeof word);
    bool is_of_stack = (word >> 5 & 31) == 31;
    bool is_pair = (word & 0x3B800000) == 0x29800000 && word >> 21 & 1;
    bool is_single = (word & 0x3B200C00) == 0x38000C00 && word >> 20 & 1;
    return is_of_stack && (is_pair || is_single);
}

/* Whether the instruction at an address moves the stack pointer down before it writes to the memory there: a push or a
 * call. unicorn still shows the old stack pointer then. Any other instruction is left to Python. */
static bool is_push(Engine *engine, uint64_t address) {
    Region *region = find_region(engine, address);
    if (!region || region->size - (address - region->address) < 4)
        return false;
    const uint8_t *code = region->memory + (address - region->address);
    return engine->arch == UC_ARCH_X86 ? is_x86_push(code) : engine->arch == UC_ARCH_ARM64 && is_arm_push(code);
}

static void on_stack_access(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value, void *data) {
    Engine *engine = data;
    int64_t below = (int64_t)(get_register(engine, engine->stack_pointer) - engine->red_zone - address);
    if (below <= 0)
        return;
    uint64_t counter = get_register(engine, engine->program_counter);
    bool is_own = engine->red_zone == 0 && type == UC_MEM_WRITE && is_push(engine, counter);
    if (is_in_candidate(engine, counter) && !is_own)
        leave(engine, LEFT_INSPECTION);
}

bool inspect(Engine *engine) {
    uc_hook handle;
    uint64_t end = engine->stack_start + engine->stack_size - 1;
    if (uc_hook_add(engine->uc, &handle, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, on_stack_access, engine,
                    engine->stack_start, end))
        return false;
    for (uint32_t i = engine->candidate_first_region; i < engine->region_count; i++) {
        Region *region = &engine->regions[i];
        if (region->permissions & UC_PROT_EXEC) /* Code that was translated before does not call the hook. */
            uc_ctl_remove_cache(engine->uc, region->address, region->address + region->size);
    }
    for (uint32_t i = 0; i < engine->entry_count; i++)
        if (engine->entries[i].is_inspected && engine_run_entry(engine, &engine->entries[i], FILL_GARBAGE) != LEFT_NOT)
            return false;
    return true;
}
