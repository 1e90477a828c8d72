/* Reading images: numbers, and bytes with their length before them. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static const uint8_t *take(Reader *reader, uint64_t size) {
    if (reader->failed || size > (uint64_t)(reader->end - reader->next)) {
        reader->failed = true;
        return NULL;
    }
    const uint8_t *data = reader->next;
    reader->next += size;
    return data;
}

uint32_t read_u32(Reader *reader) {
    uint32_t value = 0;
    const uint8_t *data = take(reader, sizeof value);
    if (data)
        memcpy(&value, data, sizeof value);
    return value;
}

uint64_t read_u64(Reader *reader) {
    uint64_t value = 0;
    const uint8_t *data = take(reader, sizeof value);
    if (data)
        memcpy(&value, data, sizeof value);
    return value;
}

Span read_span(Reader *reader) {
    uint64_t size = read_u32(reader);
    const uint8_t *data = take(reader, size);
    return (Span){data, data ? size : 0};
}

bool read_count(Reader *reader, uint32_t *count, void **items, size_t item_size) {
    *count = read_u32(reader);
    /* Each item takes at least a byte of the image, so that a damaged count can't ask for more than the image has. */
    if (reader->failed || *count > (uint64_t)(reader->end - reader->next)) {
        reader->failed = true;
        *count = 0;
    }
    *items = *count ? calloc(*count, item_size) : NULL;
    return !*count || *items;
}

void read_value(Reader *reader, uint8_t value[VALUE_BYTES]) {
    const uint8_t *data = take(reader, VALUE_BYTES);
    if (data)
        memcpy(value, data, VALUE_BYTES);
}

void read_registers(Reader *reader, RegisterValues *registers) {
    if (!read_count(reader, &registers->count, (void **)&registers->items, sizeof *registers->items))
        return;
    for (uint32_t i = 0; i < registers->count; i++) {
        registers->items[i].id = (int)read_u32(reader);
        read_value(reader, registers->items[i].value);
    }
}

void read_expected_registers(Reader *reader, uint32_t *count, ExpectedRegister **items) {
    if (!read_count(reader, count, (void **)items, sizeof **items))
        return;
    for (uint32_t i = 0; i < *count; i++) {
        (*items)[i].id = (int)read_u32(reader);
        read_value(reader, (*items)[i].mask);
        read_value(reader, (*items)[i].value);
    }
}
