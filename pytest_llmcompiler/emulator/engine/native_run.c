/* The work around one run of the Python machine: memory and registers before it, and the blocks that it
 * executes. It follows `emulator/machine.py` and `emulator/coverage.py`; the emulator and its hooks
 * are Python's. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* -- before a run */

/* Memory of the host that every run starts with the same contents. */
typedef struct {
    uint8_t *memory;
    const uint8_t *initial;
    uint64_t size;
} Block;

/* A piece of memory that an input sets. The bytes follow it, or lie at `source` where that is not NULL. */
typedef struct {
    uint8_t *target;
    const uint8_t *source;
    uint64_t size;
} Write;

typedef struct {
    uint64_t id; /* unicorn's number of the register. */
    uint8_t value[VALUE_BYTES];
} RegisterWrite;

/* Copy the pages that differ: most runs change few. */
static void restore_block(const Block *block) {
    for (uint64_t at = 0; at < block->size; at += PAGE) {
        uint64_t part = block->size - at < PAGE ? block->size - at : PAGE;
        if (memcmp(block->memory + at, block->initial + at, part))
            memcpy(block->memory + at, block->initial + at, part);
    }
}

static void do_writes(const uint8_t *writes, uint64_t size) {
    for (uint64_t at = 0; at < size;) {
        Write write;
        memcpy(&write, writes + at, sizeof write);
        at += sizeof write;
        memcpy(write.target, write.source ? write.source : writes + at, write.size);
        at += write.source ? 0 : write.size;
    }
}

/* Give memory and registers their contents, and run. Returns unicorn's error. */
EXPORT int native_run(uc_engine *uc, uc_context *context, const Block *blocks, uint32_t block_count,
                      const uint8_t *writes, uint64_t writes_size, const uint8_t *registers, uint32_t register_count,
                      uint64_t begin, uint64_t until, uint64_t count) {
    for (uint32_t i = 0; i < block_count; i++)
        restore_block(&blocks[i]);
    do_writes(writes, writes_size);
    int error = uc_context_restore(uc, context);
    for (uint32_t i = 0; i < register_count && !error; i++) {
        RegisterWrite write;
        memcpy(&write, registers + i * sizeof write, sizeof write);
        error = uc_reg_write(uc, (int)write.id, write.value);
    }
    return error ? error : (int)uc_emu_start(uc, begin, until, 0, count);
}

/* -- the blocks that a run executes */

typedef struct {
    uint64_t from, to;
} Edge;

typedef struct {
    uint64_t executed_bytes, case_bytes, edge_count;
    Edge *edges;  /* Each once, in the order in which they were first taken. */
    bool is_full; /* Whether an edge was left out, since there was no memory for it. */
    uint64_t last_block;
    uint64_t start, end, case_start, case_end;
    uint64_t capacity; /* Of `edges`; the table has twice as many places, a power of two. */
    uint32_t *table;   /* One more than the index of an edge; 0 in a free place. */
    uc_hook hook;
} BlockTrace;

static uint32_t *find_place(BlockTrace *trace, Edge edge) {
    uint64_t mask = 2 * trace->capacity - 1;
    uint64_t hash = (edge.from * 0x9E3779B97F4A7C15u ^ edge.to) * 0xD6E8FEB86659FD93u;
    for (uint64_t at = hash >> 32;; at++) {
        uint32_t *place = &trace->table[at & mask];
        Edge *known = *place ? &trace->edges[*place - 1] : NULL;
        if (!known || (known->from == edge.from && known->to == edge.to))
            return place;
    }
}

static bool grow(BlockTrace *trace) {
    uint64_t capacity = trace->capacity ? 2 * trace->capacity : 256;
    uint32_t *table = calloc(2 * capacity, sizeof *table);
    Edge *edges = table ? realloc(trace->edges, capacity * sizeof *edges) : NULL;
    if (!edges) {
        free(table);
        return false;
    }
    free(trace->table);
    trace->table = table;
    trace->edges = edges;
    trace->capacity = capacity;
    for (uint32_t i = 0; i < trace->edge_count; i++)
        *find_place(trace, edges[i]) = i + 1;
    return true;
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *data) {
    BlockTrace *trace = data;
    (void)uc;
    trace->executed_bytes += size;
    if (trace->case_start <= address && address < trace->case_end)
        trace->case_bytes += size;
    if (address < trace->start || address >= trace->end)
        return;
    Edge edge = {trace->last_block, address};
    trace->last_block = address;
    uint32_t *place = find_place(trace, edge);
    if (*place)
        return;
    if (trace->edge_count == trace->capacity) {
        if (!grow(trace)) {
            trace->is_full = true;
            return;
        }
        place = find_place(trace, edge);
    }
    trace->edges[trace->edge_count++] = edge;
    *place = (uint32_t)trace->edge_count;
}

EXPORT void native_reset_trace(BlockTrace *trace) {
    trace->executed_bytes = trace->case_bytes = trace->last_block = 0;
    if (trace->edge_count)
        memset(trace->table, 0, 2 * trace->capacity * sizeof *trace->table);
    trace->edge_count = 0;
}

EXPORT void native_close_trace(BlockTrace *trace) {
    free(trace->edges);
    free(trace->table);
    free(trace);
}

/* Count the blocks of all runs from now on, and the edges between the blocks of one function. NULL: no memory. */
EXPORT BlockTrace *native_open_trace(uc_engine *uc, uint64_t start, uint64_t end, uint64_t case_start,
                                     uint64_t case_end) {
    BlockTrace *trace = calloc(1, sizeof *trace);
    if (!trace)
        return NULL;
    trace->start = start;
    trace->end = end;
    trace->case_start = case_start;
    trace->case_end = case_end;
    if (!grow(trace) || uc_hook_add(uc, &trace->hook, UC_HOOK_BLOCK, (void *)on_block, trace, 1, 0)) {
        native_close_trace(trace);
        return NULL;
    }
    return trace;
}

/* -- the instructions that a run executes */

static void on_counted_block(uc_engine *uc, uint64_t address, uint32_t size, void *data) {
    count_block(data, uc, address, size);
}

/* Count the instructions of all runs from now on, but for blocks at some addresses. NULL: no memory. */
EXPORT InstructionCounter *native_open_counter(uc_engine *uc, const uint64_t *ignored, uint32_t ignored_count) {
    InstructionCounter *counter = calloc(1, sizeof *counter);
    bool is_open = counter;
    for (uint32_t i = 0; i < ignored_count && is_open; i++)
        is_open = ignore_block(counter, ignored[i]);
    uc_hook hook;
    if (is_open && !uc_hook_add(uc, &hook, UC_HOOK_BLOCK, (void *)on_counted_block, counter, 1, 0))
        return counter;
    free(counter);
    return NULL;
}

/* -- all bits of addresses */

static bool on_page(uc_engine *uc, uint64_t page, uc_mem_type type, uc_tlb_entry *entry, void *data) {
    entry->paddr = page;
    entry->perms = UC_PROT_ALL; /* What the memory behind it does not allow faults all the same. */
    return true;
}

/* Have accesses through addresses fault that the memory has only without their upper 12 bits. unicorn's own tables of pages
 * have physical addresses, in which these are missing. Returns whether it is so from now on. */
EXPORT bool native_keep_address_bits(uc_engine *uc) {
    uc_hook hook;
    return !uc_hook_add(uc, &hook, UC_HOOK_TLB_FILL, (void *)on_page, NULL, 1, 0) && !uc_ctl_tlb_mode(uc, UC_TLB_VIRTUAL) &&
           !uc_ctl_flush_tlb(uc);
}
