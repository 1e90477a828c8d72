/* Loading a candidate: its segments, and the jumps to it in the place of functions of the program. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define CODE_PERMISSIONS (UC_PROT_READ | UC_PROT_EXEC)

static bool write_code(Engine *engine, uint64_t address, Span code) {
    Region *region = find_region(engine, address);
    if (!region || code.size > region->size - (address - region->address))
        return false;
    uint8_t *memory = region->memory + (address - region->address);
    if (code.size && memcmp(memory, code.data, code.size)) {
        memcpy(memory, code.data, code.size);
        uc_ctl_remove_cache(engine->uc, address, address + code.size);
    }
    return true;
}

bool expect_candidate(Engine *engine) {
    engine->has_code_page =
        add_region(engine, engine->load_address, PAGE, CODE_PERMISSIONS, false, false, (Span){0}) != NULL;
    return write_code(engine, engine->function, engine->usual_jump);
}

/* Put the first segment into the page that is mapped for it, or unmap that page where the segment is another one. */
static bool fill_code_page(Engine *engine, uint64_t address, uint64_t size, uint32_t permissions, Span data) {
    Region *page = &engine->regions[engine->region_count - 1];
    engine->has_code_page = false;
    if (address == page->address && size == PAGE && permissions == CODE_PERMISSIONS && data.size <= PAGE) {
        memcpy(page->memory, data.data, data.size);
        page->data_size = data.size;
        return true;
    }
    uc_mem_unmap(engine->uc, page->address, page->size);
    engine->region_count--;
    return false;
}

static bool read_segments(Engine *engine, Reader *reader) {
    uint32_t count = read_u32(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        uint64_t address = read_u64(reader), size = read_u64(reader);
        uint32_t permissions = read_u32(reader);
        Span data = read_span(reader);
        if (engine->has_code_page && fill_code_page(engine, address, size, permissions, data))
            continue;
        bool is_constant = !(permissions & UC_PROT_EXEC);
        if (!add_region(engine, address, size, permissions, is_constant, permissions & UC_PROT_WRITE, data))
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
        if (!write_code(engine, address, code) || !ignore_block(&engine->counter, address))
            return false;
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
        *find_writable(engine, boolean->address, 1) =
            !memcmp(find_memory(engine, boolean->variable, one.size), one.data, one.size);
    }
}

void get_booleans(Engine *engine) {
    for (uint32_t i = 0; i < engine->boolean_count; i++) {
        Boolean *boolean = &engine->booleans[i];
        uint64_t size = boolean->values[0].size;
        uint8_t byte = *find_memory(engine, boolean->address, 1);
        uint8_t *variable = find_writable(engine, boolean->variable, size);
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
    uint64_t start = read_u64(&reader), end = read_u64(&reader);
    Span starts = read_span(&reader);
    if (starts.size * 8 < end - start)
        return false;
    engine->code_start = start, engine->code_end = end, engine->starts = (uint8_t *)starts.data;
    read_booleans(engine, &reader);
    return read_labels(engine, &reader) && read_hooks(engine, &reader);
}
