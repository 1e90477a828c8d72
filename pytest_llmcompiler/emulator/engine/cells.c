/* The integers of an input, as cells in an entry of the image: see `InputNumbers` in `corpus/input_numbers.py`. */
#include <stdlib.h>
#include <string.h>

#include "look.h"

#define ARENA_BYTES (1u << 20) /* Far more than an input has. A larger one is not used. */

/* -- reading */

/* The bytes that a cell is written to: the caller extends an argument to 32 bits. */
static uint64_t written_size(const CellRow *row) {
    return row->is_extended && row->size < 4 ? 4 : row->size;
}

/* Whether all cells of a row lie in what they are said to lie in. */
static bool is_inside(Entry *entry, const CellRow *row) {
    uint64_t size = (uint64_t)row->count * written_size(row), room = 0;
    if (row->size != 1 && row->size != 2 && row->size != 4 && row->size != 8)
        return false;
    switch (row->place) {
    case PLACE_REGISTER:
        room = 8;
        break;
    case PLACE_STACK:
        room = entry->arguments.stack.size;
        break;
    case PLACE_OBJECT:
        room = row->index < entry->object_count ? entry->objects[row->index].initial.size : 0;
        break;
    case PLACE_VARIABLE:
        room = row->index < entry->patch_count ? entry->patches[row->index].data.size : 0;
        break;
    default:
        return false;
    }
    return row->offset <= room && size <= room - row->offset;
}

void read_cells(Reader *reader, Entry *entry) {
    if (!read_count(reader, &entry->row_count, (void **)&entry->rows, sizeof *entry->rows))
        return;
    for (uint32_t i = 0; i < entry->row_count; i++) {
        CellRow *row = &entry->rows[i];
        row->first = read_u32(reader), row->count = read_u32(reader);
        row->place = read_u32(reader), row->index = read_u32(reader), row->offset = read_u64(reader);
        row->size = read_u32(reader);
        row->is_boolean = read_u32(reader), row->is_signed = read_u32(reader), row->is_extended = read_u32(reader);
        row->is_float = read_u32(reader);
        if (!row->count || !is_inside(entry, row))
            reader->failed = true;
    }
}

const CellRow *find_row(const Entry *entry, uint32_t cell) {
    for (uint32_t i = 0; i < entry->row_count; i++)
        if (cell - entry->rows[i].first < entry->rows[i].count)
            return &entry->rows[i];
    return NULL;
}

uint64_t mask_of(const CellRow *row) {
    return row->is_boolean ? 1 : row->size == 8 ? UINT64_MAX : (1ull << 8 * row->size) - 1;
}

uint64_t read_cell(const Entry *entry, const CellRow *row, uint32_t cell) {
    uint64_t offset = row->offset + (uint64_t)(cell - row->first) * row->size, value = 0;
    const uint8_t *data = NULL;
    if (row->place == PLACE_OBJECT)
        data = entry->objects[row->index].initial.data;
    else if (row->place == PLACE_VARIABLE)
        data = entry->patches[row->index].data.data;
    else if (row->place == PLACE_STACK)
        data = entry->arguments.stack.data;
    else
        for (uint32_t i = 0; i < entry->arguments.registers.count; i++)
            if (entry->arguments.registers.items[i].id == (int)row->index)
                data = entry->arguments.registers.items[i].value;
    if (data)
        memcpy(&value, data + offset, row->size);
    return value;
}

/* -- changed inputs */

Arena *arena_open(void) {
    Arena *arena = malloc(sizeof *arena);
    if (!arena)
        return NULL;
    *arena = (Arena){malloc(ARENA_BYTES), 0};
    return arena->memory ? arena : NULL;
}

void *arena_take(Arena *arena, uint64_t size) {
    if (size > ARENA_BYTES - 16 - arena->used)
        return NULL;
    uint8_t *memory = arena->memory + arena->used;
    arena->used += (size + 15) / 16 * 16;
    return memory;
}

void *arena_copy(Arena *arena, const void *data, uint64_t size) {
    void *copy = arena_take(arena, size);
    if (copy && size)
        memcpy(copy, data, size);
    return copy;
}

static bool copy_arguments(Arena *arena, ArgumentValues *arguments) {
    RegisterValues *registers = &arguments->registers;
    registers->items = arena_copy(arena, registers->items, registers->count * sizeof *registers->items);
    arguments->stack.data = arena_copy(arena, arguments->stack.data, arguments->stack.size);
    return registers->items && arguments->stack.data;
}

/* The entry with all that changes may write to copied, but for the contents of objects and variables. */
static bool copy_entry(Arena *arena, const Entry *base, Entry *changed) {
    arena->used = 0;
    *changed = *base;
    changed->objects = arena_copy(arena, base->objects, base->object_count * sizeof *base->objects);
    changed->patches = arena_copy(arena, base->patches, base->patch_count * sizeof *base->patches);
    changed->results = arena_copy(arena, base->results, base->result_count * sizeof *base->results);
    return changed->objects && changed->patches && changed->results && copy_arguments(arena, &changed->arguments) &&
           copy_arguments(arena, &changed->inverse_arguments);
}

/* The bytes of a span that may be written to: those of the base are copied before. */
static uint8_t *own(Arena *arena, Span *span, const Span *base) {
    if (span->data == base->data)
        span->data = arena_copy(arena, base->data, base->size);
    return (uint8_t *)span->data;
}

/* A value with the bits that the caller extends an argument by. */
static uint64_t extend(const CellRow *row, uint64_t value) {
    uint64_t sign = 1ull << (8 * row->size - 1);
    return row->is_extended && row->is_signed ? (value ^ sign) - sign : value;
}

static void write_register(ArgumentValues *arguments, const CellRow *row, uint64_t offset, uint64_t value) {
    for (uint32_t i = 0; i < arguments->registers.count; i++)
        if (arguments->registers.items[i].id == (int)row->index)
            memcpy(arguments->registers.items[i].value + offset, &value, written_size(row));
}

static bool write_cell(Arena *arena, const Entry *base, Entry *changed, const Change *change) {
    const CellRow *row = find_row(base, change->cell);
    if (!row)
        return false;
    uint64_t offset = row->offset + (uint64_t)(change->cell - row->first) * row->size;
    uint64_t value = extend(row, change->value & mask_of(row));
    uint8_t *data = NULL;
    if (row->place == PLACE_OBJECT)
        data = own(arena, &changed->objects[row->index].initial, &base->objects[row->index].initial);
    else if (row->place == PLACE_VARIABLE)
        data = own(arena, &changed->patches[row->index].data, &base->patches[row->index].data);
    else if (row->place == PLACE_STACK) {
        memcpy((uint8_t *)changed->inverse_arguments.stack.data + offset, &value, written_size(row));
        data = (uint8_t *)changed->arguments.stack.data;
    } else {
        write_register(&changed->arguments, row, offset, value);
        write_register(&changed->inverse_arguments, row, offset, value);
        return true;
    }
    if (data)
        memcpy(data + offset, &value, written_size(row));
    return data;
}

bool change_entry(Arena *arena, const Entry *base, const Change *changes, uint32_t count, Entry *changed) {
    if (!copy_entry(arena, base, changed))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!write_cell(arena, base, changed, &changes[i]))
            return false;
    return true;
}
