/* How many instructions a run executes. unicorn knows how many a translated block has: it is asked once for each block.
 * From its second repetition on, a string instruction with a repeat prefix is a block of its own: each repetition counts,
 * as the work that it is. */
#include <stdlib.h>

#include "engine.h"

static CountedBlock *find_counted(InstructionCounter *counter, uint64_t address) {
    return &counter->blocks[(address * 0x9E3779B97F4A7C15u >> 32) % COUNTED_BLOCKS];
}

static bool is_ignored(const InstructionCounter *counter, uint64_t address) {
    for (uint32_t i = 0; i < counter->ignored_count; i++)
        if (counter->ignored[i] == address)
            return true;
    return false;
}

void count_block(InstructionCounter *counter, uc_engine *uc, uint64_t address, uint32_t size) {
    CountedBlock *block = find_counted(counter, address);
    if (block->address != address || block->size != size) {
        uc_tb translated = {0};
        if (uc_ctl_request_cache(uc, address, &translated) || translated.pc != address) {
            counter->has_failed = true;
            return;
        }
        *block = (CountedBlock){address, size, is_ignored(counter, address) ? 0 : translated.icount};
    }
    counter->instructions += block->count;
}

bool ignore_block(InstructionCounter *counter, uint64_t address) {
    uint64_t *ignored = realloc(counter->ignored, (counter->ignored_count + 1) * sizeof *ignored);
    if (!ignored)
        return false;
    counter->ignored = ignored;
    ignored[counter->ignored_count++] = address;
    find_counted(counter, address)->address = 0; /* It may have been counted before. */
    return true;
}
