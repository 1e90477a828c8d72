/* Changing the numbers of an input. */
#include <string.h>

#include "look.h"

#define MAX_SHIFT 16 /* Elements that are taken out or inserted at once. */

/* -- random numbers: splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014) */

uint64_t next_random(Generator *generator) {
    uint64_t z = generator->random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

uint32_t draw(Generator *generator, uint32_t count) {
    return (uint32_t)(next_random(generator) >> 32) % count;
}

/* -- lists of changes */

uint64_t value_of(const Changes *changes, uint32_t cell) {
    for (uint32_t i = 0; i < changes->count; i++)
        if (changes->items[i].cell == cell)
            return changes->items[i].value;
    return read_cell(changes->entry, find_row(changes->entry, cell), cell);
}

/* Whether a cell is the zero at the end of an array of bytes. Without it, most functions run off the end of a text. */
static bool is_end_of_text(const Entry *entry, const CellRow *row, uint32_t cell) {
    return row->size == 1 && row->count > 1 && cell == row->first + row->count - 1 && !read_cell(entry, row, cell);
}

/* Give a cell a value, also where it ends a text. */
static void put_value(Changes *changes, const CellRow *row, uint32_t cell, uint64_t value) {
    value &= mask_of(row);
    for (uint32_t i = 0; i < changes->count; i++)
        if (changes->items[i].cell == cell) {
            changes->items[i].value = value;
            return;
        }
    if (changes->count < MAX_CHANGES)
        changes->items[changes->count++] = (Change){cell, value};
}

void set_value(Changes *changes, uint32_t cell, uint64_t value) {
    const CellRow *row = find_row(changes->entry, cell);
    if (row && !is_end_of_text(changes->entry, row, cell))
        put_value(changes, row, cell, value);
}

static uint64_t special_value(Generator *generator, uint32_t bits) {
    uint64_t power = 1ull << draw(generator, bits);
    switch (draw(generator, 6)) {
    case 0:
        return 0;
    case 1:
        return power;
    case 2:
        return power - 1;
    case 3:
        return -power;
    case 4:
        return -power - 1;
    default:
        return next_random(generator);
    }
}

uint64_t encode_float(const CellRow *row, double number) {
    uint64_t bits = 0;
    float narrow = (float)number;
    if (row->size == 4)
        memcpy(&bits, &narrow, sizeof narrow);
    else
        memcpy(&bits, &number, sizeof number);
    return bits;
}

static double decode_float(const CellRow *row, uint64_t bits) {
    double number;
    float narrow;
    memcpy(&number, &bits, sizeof number);
    memcpy(&narrow, &bits, sizeof narrow);
    return row->size == 4 ? narrow : number;
}

/* Another finite float. Infinities and NaNs are left to the suite: which NaN an operation gives does not count. */
static uint64_t change_float(Generator *generator, const CellRow *row, uint64_t bits) {
    static const double specials[] = {0, -0.0, 1, -1, 0.5, 2, 3, 1e-3, 1e3, 1e9, -1e9, 16777216, 1e-30};
    switch (draw(generator, 5)) {
    case 0:
        return encode_float(row, specials[draw(generator, sizeof specials / sizeof *specials)]);
    case 1:
        return encode_float(row, (double)(int64_t)(next_random(generator) % 2001) - 1000);
    case 2:
        return encode_float(row, -decode_float(row, bits));
    case 3:
        return encode_float(row, decode_float(row, bits) + (draw(generator, 2) ? 1 : -1));
    default: /* One bit of the fraction. */
        return bits ^ 1ull << draw(generator, row->size == 4 ? 23 : 52);
    }
}

static uint64_t special_of(Generator *generator, const CellRow *row, uint64_t value) {
    return row->is_float ? change_float(generator, row, value) : special_value(generator, 8 * row->size);
}

static const CellRow *choose_row(Generator *generator, const Entry *entry) {
    return &entry->rows[draw(generator, entry->row_count)];
}

static uint32_t choose_cell(Generator *generator, const CellRow *row) {
    return row->first + draw(generator, row->count);
}

/* Give one integer another value. */
static void change_one(Generator *generator, Changes *changes) {
    const CellRow *row = choose_row(generator, changes->entry);
    uint32_t cell = choose_cell(generator, row);
    uint64_t value = value_of(changes, cell);
    if (row->is_float) {
        set_value(changes, cell, change_float(generator, row, value));
        return;
    }
    uint32_t kind = draw(generator, generator->constant_count ? 8 : 5);
    if (kind == 0)
        value += draw(generator, 2) ? 1 + draw(generator, 4) : -(uint64_t)(1 + draw(generator, 4));
    else if (kind == 1)
        value ^= 1ull << draw(generator, 8 * row->size);
    else if (kind == 2)
        value = special_value(generator, 8 * row->size);
    else if (kind == 3) { /* As another integer of the input, or next to it. */
        const CellRow *other = choose_row(generator, changes->entry);
        value = value_of(changes, choose_cell(generator, other)) + draw(generator, 3) - 1;
    } else if (kind == 4)
        value = draw(generator, 4) ? value << 1 : -value;
    else
        value = generator->constants[draw(generator, generator->constant_count)];
    set_value(changes, cell, value);
}

/* All zeros but for one element, or for two equal ones. */
static void isolate_element(Generator *generator, Changes *changes, const CellRow *row) {
    uint32_t chosen = choose_cell(generator, row), other = draw(generator, 2) ? choose_cell(generator, row) : chosen;
    uint64_t value = value_of(changes, chosen);
    value = draw(generator, 2) ? special_of(generator, row, value) : value;
    for (uint32_t cell = row->first; cell < row->first + row->count; cell++)
        set_value(changes, cell, cell == chosen || cell == other ? value : 0);
}

/* Take some elements out, or insert elements from another place of the row, or a constant of the code: all behind move.
 * The zero at the end of a text stays, and zeros come before it where the text gets shorter. */
static void shift_elements(Generator *generator, Changes *changes, const CellRow *row) {
    uint32_t start = draw(generator, row->count), room = row->count - start;
    uint32_t count = 1 + draw(generator, room < MAX_SHIFT ? room : MAX_SHIFT), from = draw(generator, row->count);
    bool is_back = draw(generator, 2);
    uint64_t inserted[MAX_SHIFT];
    for (uint32_t i = 0; i < count; i++)
        inserted[i] = value_of(changes, row->first + (from + i) % row->count);
    if (generator->constant_count && !row->is_float && draw(generator, 2))
        inserted[0] = generator->constants[draw(generator, generator->constant_count)];
    for (uint32_t i = 0; i < room - count; i++) {
        uint32_t to = is_back ? start + i : row->count - 1 - i;
        set_value(changes, row->first + to, value_of(changes, row->first + (is_back ? to + count : to - count)));
    }
    for (uint32_t i = 0; i < count; i++)
        set_value(changes, row->first + (is_back ? row->count - count : start) + i, is_back ? 0 : inserted[i]);
}

/* Make a row equal to another one of the input, as far as both go; then with no zero in it, so that it has no end where
 * the elements are characters. */
static void copy_row(Generator *generator, Changes *changes, const CellRow *row) {
    const CellRow *from = choose_row(generator, changes->entry);
    bool has_zeros = draw(generator, 2);
    if (from->size != row->size || from->is_float != row->is_float)
        return;
    for (uint32_t i = 0; i < row->count && i < from->count; i++) {
        uint64_t value = value_of(changes, from->first + i);
        value = value || has_zeros ? value : 'A';
        put_value(changes, row, row->first + i, value);
        put_value(changes, from, from->first + i, value);
    }
}

static void exchange_elements(Generator *generator, Changes *changes, const CellRow *row) {
    uint32_t one = choose_cell(generator, row), other = choose_cell(generator, row);
    uint64_t value = value_of(changes, one);
    set_value(changes, one, value_of(changes, other));
    set_value(changes, other, value);
}

/* Elements from a row of another input. */
static void splice(Generator *generator, Changes *changes, const CellRow *row) {
    const Entry *donor = &generator->engine->entries[generator->usable[draw(generator, generator->usable_count)]];
    const CellRow *from = choose_row(generator, donor);
    uint32_t start = draw(generator, row->count), first = draw(generator, from->count);
    uint32_t most = row->count - start < from->count - first ? row->count - start : from->count - first;
    uint32_t count = 1 + draw(generator, most);
    for (uint32_t i = 0; i < count && from->size == row->size && from->is_float == row->is_float; i++)
        set_value(changes, row->first + start + i, read_cell(donor, from, from->first + first + i));
}

static void change_row(Generator *generator, Changes *changes) {
    const CellRow *row = choose_row(generator, changes->entry);
    if (row->count < 2)
        change_one(generator, changes);
    else
        switch (draw(generator, 5)) {
        case 0:
            isolate_element(generator, changes, row);
            break;
        case 1:
            shift_elements(generator, changes, row);
            break;
        case 2:
            exchange_elements(generator, changes, row);
            break;
        case 3:
            copy_row(generator, changes, row);
            break;
        default:
            splice(generator, changes, row);
        }
}

/* How many changes are made at once: mostly one, at most eight. */
static uint32_t choose_steps(Generator *generator) {
    uint32_t steps = 1;
    while (steps < 8 && !draw(generator, 3))
        steps++;
    return steps;
}

void change_randomly(Generator *generator, Changes *changes) {
    for (uint32_t steps = choose_steps(generator); steps; steps--)
        if (draw(generator, 4))
            change_one(generator, changes);
        else
            change_row(generator, changes);
}
