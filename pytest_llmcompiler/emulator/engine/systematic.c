/* The part of a second look that leaves little to chance: changes that are tried one by one.
 *
 * - Each constant of the candidate's code, in integers that no array holds: limits of a comparison that is off by one.
 * - Each length of a buffer up to 130, where an integer counts its elements or a zero ends it: compilers handle 8, 16,
 *   32 or 64 elements at once, and the rest one by one, so that code may be wrong for a single length.
 * - Powers of two and their neighbours, in integers that no array holds: numbers that no longer fit in fewer bits.
 * - Arrays that are zero but for one element, at each index: what is wrong for one lane, or one entry of a table.
 * - The same with two equal elements, at some pairs of indices: what looks for a number that is there twice. */
#include "look.h"

#define MAX_LENGTH 130     /* Two rounds of a loop over 64 elements, and both sides of the borders. */
#define MAX_CONSTANTS 96   /* Inputs with constants. */
#define MAX_POWERS 72      /* Inputs with powers of two. */
#define MAX_ELEMENTS 32    /* Elements of an array that are set one by one. */
#define MAX_PAIRS 48       /* Pairs of equal elements. */
#define MAX_SMALL 9        /* The largest small value of such a pair. */
#define LEAST_ELEMENTS 2
#define LEAST_LENGTH 4     /* Elements of the buffer whose lengths are tried. */

static bool is_direct(const CellRow *row) {
    return row->count == 1 && row->place != PLACE_OBJECT;
}

/* The bits of a number in a cell: an integer of its size, or the float of that value. */
static uint64_t fit(const CellRow *row, uint64_t value) {
    if (row->is_float)
        return encode_float(row, (double)(int64_t)value);
    return value & mask_of(row);
}

/* -- constants */

static uint32_t count_direct(const Entry *entry) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < entry->row_count; i++)
        count += is_direct(&entry->rows[i]);
    return count;
}

static const CellRow *find_direct(const Entry *entry, uint32_t number) {
    for (uint32_t i = 0; i < entry->row_count; i++)
        if (is_direct(&entry->rows[i]) && !number--)
            return &entry->rows[i];
    return NULL;
}

static void try_constants(Look *look, const Bases *bases, const uint64_t *constants, uint32_t count, uint64_t rest) {
    for (uint32_t i = 0; i < MAX_CONSTANTS && count && may_go_on(look, rest); i++) {
        uint32_t number = bases->numbers[choose(look, bases->count)];
        const Entry *entry = &bases->entries[number];
        uint32_t direct = count_direct(entry);
        if (!direct)
            return; /* All inputs of a function have the same arguments. */
        /* Integer by integer: where there are many of both, each gets the first constants, which matter most. */
        const CellRow *row = find_direct(entry, i % direct);
        explore(look, number, &(Change){row->first, fit(row, constants[i / direct % count])}, 1);
    }
}

/* -- powers of two */

static void try_powers(Look *look, const Bases *bases, uint64_t rest) {
    static const uint64_t values[] = {0x80,       0x100,       0x8000,      0x10000,     0x7FFFFFFF, 0x80000000,
                                      UINT32_MAX, 0x100000000, 0x100000001, 0x200000000, 1ull << 63, UINT64_MAX};
    uint32_t count = sizeof values / sizeof *values;
    const Entry *entry = &bases->entries[bases->numbers[choose(look, bases->count)]];
    uint32_t number = (uint32_t)(entry - bases->entries), tries = 0;
    for (uint32_t i = 0; i < entry->row_count; i++) {
        const CellRow *row = &entry->rows[i];
        for (uint32_t j = 0; row->count == 1 && row->size > 1 && !row->is_float && j < count; j++)
            if (values[j] <= mask_of(row) && tries++ < MAX_POWERS && may_go_on(look, rest))
                explore(look, number, &(Change){row->first, values[j]}, 1);
    }
}

/* -- lengths */

/* The cell that counts the elements or the bytes of a row of an object; NULL where there is none. */
static const CellRow *find_counter(const Entry *entry, const CellRow *elements) {
    uint64_t bytes = entry->objects[elements->index].initial.size;
    for (uint32_t i = 0; i < entry->row_count; i++) {
        const CellRow *row = &entry->rows[i];
        uint64_t value = row->count == 1 ? read_cell(entry, row, row->first) : 0;
        if (value && !row->is_boolean && (value == bytes / elements->size || value == bytes))
            return row;
    }
    return NULL;
}

/* Cells that lie before the first zero of a row. */
static uint32_t count_until_zero(const Entry *entry, const CellRow *row) {
    uint32_t count = 0;
    while (count < row->count && read_cell(entry, row, row->first + count))
        count++;
    return count;
}

/* An input in which a buffer can get any length: by a counter, or by a zero that is put into it. */
typedef struct {
    uint32_t number, length; /* The entry's number, and the elements of its buffer. */
    const CellRow *counter, *elements; /* One of them is NULL. */
} Measured;

/* Whether one length is better to start from: it is long enough, but no longer than that needs. */
static bool is_better(uint32_t length, uint32_t other) {
    return other < MAX_LENGTH ? length > other : length >= MAX_LENGTH && length < other;
}

static Measured find_measured(const Bases *bases, bool is_counted) {
    Measured best = {0};
    for (uint32_t i = 0; i < bases->count; i++) {
        const Entry *entry = &bases->entries[bases->numbers[i]];
        for (uint32_t j = 0; j < entry->row_count; j++) {
            const CellRow *row = &entry->rows[j], *counter = NULL;
            if (row->place != PLACE_OBJECT || row->count < LEAST_LENGTH)
                continue;
            if (is_counted)
                counter = find_counter(entry, row);
            uint32_t length = !is_counted ? count_until_zero(entry, row)
                              : counter   ? (uint32_t)read_cell(entry, counter, counter->first)
                                          : 0;
            if (length >= LEAST_LENGTH && (!best.length || is_better(length, best.length)))
                best = (Measured){bases->numbers[i], length, counter, is_counted ? NULL : row};
        }
    }
    return best;
}

static void try_lengths(Look *look, const Bases *bases, bool is_counted, uint64_t rest) {
    Measured measured = find_measured(bases, is_counted);
    for (uint32_t length = 0; length <= MAX_LENGTH && length < measured.length && may_go_on(look, rest); length++) {
        Change change = is_counted ? (Change){measured.counter->first, length}
                                   : (Change){measured.elements->first + length, 0};
        explore(look, measured.number, &change, 1);
    }
}

/* -- single elements */

/* The longest array with at most so many elements. */
static const CellRow *find_array(const Bases *bases, uint32_t most, uint32_t *number) {
    const CellRow *best = NULL;
    for (uint32_t i = 0; i < bases->count; i++) {
        const Entry *entry = &bases->entries[bases->numbers[i]];
        for (uint32_t j = 0; j < entry->row_count; j++) {
            const CellRow *row = &entry->rows[j];
            bool is_array = row->place >= PLACE_OBJECT && row->count >= LEAST_ELEMENTS && row->count <= most;
            if (is_array && (!best || row->count > best->count))
                best = row, *number = bases->numbers[i];
        }
    }
    return best;
}

static void try_single_elements(Look *look, const Bases *bases, uint64_t rest) {
    static const uint64_t values[] = {1, UINT64_MAX, 0x8080808080808080u};
    uint32_t number = 0;
    const CellRow *row = find_array(bases, MAX_ELEMENTS, &number);
    Change changes[MAX_ELEMENTS];
    for (uint32_t i = 0; row && i < 3 * row->count && may_go_on(look, rest); i++) {
        for (uint32_t cell = 0; cell < row->count; cell++)
            changes[cell] = (Change){row->first + cell, cell == i % row->count ? fit(row, values[i / row->count]) : 0};
        explore(look, number, changes, row->count);
    }
}

/* Two equal elements among zeros, as the array has them or small. */
static void try_pairs(Look *look, const Bases *bases, uint64_t rest) {
    uint32_t number = 0;
    const CellRow *row = find_array(bases, MAX_CHANGES, &number);
    Change changes[MAX_CHANGES];
    for (uint32_t i = 0; row && i < MAX_PAIRS && may_go_on(look, rest); i++) {
        uint32_t first = choose(look, row->count), second = choose(look, row->count);
        uint64_t value = read_cell(&bases->entries[number], row, row->first + first);
        value = value && choose(look, 2) ? value : fit(row, 1 + choose(look, MAX_SMALL));
        for (uint32_t cell = 0; cell < row->count; cell++)
            changes[cell] = (Change){row->first + cell, cell == first || cell == second ? value : 0};
        explore(look, number, changes, row->count);
    }
}

void explore_systematically(Look *look, const Bases *bases, const uint64_t *constants, uint32_t constant_count,
                            bool has_lengths, uint64_t budget) {
    try_constants(look, bases, constants, constant_count, budget / 16 * 14);
    try_powers(look, bases, budget / 16 * 13);
    if (!has_lengths) {
        try_lengths(look, bases, true, budget / 16 * 7);
        try_lengths(look, bases, false, budget / 16 * 5);
    }
    try_single_elements(look, bases, budget / 16 * 6);
    try_pairs(look, bases, budget / 16 * 4);
}
