/* Loading a candidate: its segments, and the jumps to it in the place of functions of the program. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static bool read_segments(Engine *engine, Reader *reader) {
    uint32_t count = read_u32(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        uint64_t address = read_u64(reader), size = read_u64(reader);
        uint32_t permissions = read_u32(reader);
        bool is_constant = !(permissions & UC_PROT_EXEC);
        if (!add_region(engine, address, size, permissions, is_constant, permissions & UC_PROT_WRITE, read_span(reader)))
            return false;
    }
    return !reader->failed;
}

/* Put jumps into the place of the program's functions. */
static bool read_jumps(Engine *engine, Reader *reader) {
    uint32_t count = read_u32(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        uint64_t address = read_u64(reader);
        Span code = read_span(reader);
        Region *region = find_region(engine, address);
        if (!region || code.size > region->size - (address - region->address))
            return false;
        memcpy(region->memory + (address - region->address), code.data, code.size);
        uc_ctl_remove_cache(engine->uc, address, address + code.size);
    }
    return !reader->failed;
}

static void read_booleans(Engine *engine, Reader *reader) {
    if (!read_count(reader, &engine->boolean_count, (void **)&engine->booleans, sizeof *engine->booleans))
        return;
    for (uint32_t i = 0; i < engine->boolean_count; i++) {
        Boolean *boolean = &engine->booleans[i];
        boolean->address = read_u64(reader), boolean->variable = read_u64(reader);
        boolean->values[0] = read_span(reader), boolean->values[1] = read_span(reader);
        if (boolean->values[0].size != boolean->values[1].size || !find_memory(engine, boolean->address, 1) ||
            !find_memory(engine, boolean->variable, boolean->values[0].size))
            reader->failed = true;
    }
}

void set_booleans(Engine *engine) {
    for (uint32_t i = 0; i < engine->boolean_count; i++) {
        Boolean *boolean = &engine->booleans[i];
        Span one = boolean->values[1];
        *find_memory(engine, boolean->address, 1) =
            !memcmp(find_memory(engine, boolean->variable, one.size), one.data, one.size);
    }
}

void get_booleans(Engine *engine) {
    for (uint32_t i = 0; i < engine->boolean_count; i++) {
        Boolean *boolean = &engine->booleans[i];
        uint64_t size = boolean->values[0].size;
        uint8_t byte = *find_memory(engine, boolean->address, 1);
        uint8_t *variable = find_memory(engine, boolean->variable, size);
        if (byte < 2)
            memcpy(variable, boolean->values[byte].data, size);
        else
            memset(variable, byte, size); /* None of the variable's values. */
    }
}

static bool read_labels(Engine *engine, Reader *reader) {
    if (!read_count(reader, &engine->label_count, (void **)&engine->labels, sizeof *engine->labels))
        return false;
    for (uint32_t i = 0; i < engine->label_count; i++)
        engine->labels[i] = read_u64(reader);
    return !reader->failed;
}

bool load_candidate(Engine *engine, Span image) {
    Reader reader = {image.data, image.data + image.size, false};
    if (!read_segments(engine, &reader) || !read_jumps(engine, &reader))
        return false;
    engine->code_start = read_u64(&reader), engine->code_end = read_u64(&reader);
    Span starts = read_span(&reader);
    if (starts.size * 8 < engine->code_end - engine->code_start)
        return false;
    engine->starts = (uint8_t *)starts.data;
    read_booleans(engine, &reader);
    return read_labels(engine, &reader) && read_hooks(engine, &reader);
}
