/* Comparisons in runs, and inputs on which they turn out otherwise.
 *
 * Where a comparison was seen, one of the compared numbers often is an integer of the input, or is as far from one as from
 * the other number:
 *
 *     cmpl $99, %edi           with 5 in %edi, which is the argument n: 98, 99 and 100 are tried for n
 *     subl $7, %edi            5 - 7 is compared with 92: 94 less than it. 94 is added to n, and 93 and 95
 *     cmpl $92, %edi
 *
 * That is repeated until each comparison had numbers that are equal, and ones next to each other: see "REDQUEEN: Fuzzing
 * with Input-to-State Correspondence" (Aschermann and others, 2019). */
#include <stdlib.h>

#include "look.h"

#define MAX_RELATIONS 512 /* Addresses whose comparisons are noticed. A power of two. */
#define MAX_TRIES 24      /* Inputs that are made for the comparisons at one address. */
#define ALL_DISTANCES 7

struct Relations {
    uint32_t count;
    Relation items[MAX_RELATIONS];
};

Relations *relations_open(void) {
    return calloc(1, sizeof(Relations));
}

static uint64_t low_bits(uint64_t value, uint32_t bits) {
    return bits < 64 ? value & ((1ull << bits) - 1) : value;
}

/* The relation of an address, which may be a new one; NULL where there is no place for it. */
static Relation *find_relation(Relations *relations, uint64_t address) {
    uint32_t place = (uint32_t)(address * 0x9E3779B97F4A7C15u >> 32) % MAX_RELATIONS;
    for (; relations->items[place].address; place = (place + 1) % MAX_RELATIONS)
        if (relations->items[place].address == address)
            return &relations->items[place];
    if (relations->count == MAX_RELATIONS / 2)
        return NULL;
    relations->count++;
    relations->items[place].address = address;
    return &relations->items[place];
}

/* -- noticing */

static void on_comparison(uc_engine *uc, uint64_t address, uint64_t first, uint64_t second, uint32_t bits, void *data) {
    Comparisons *comparisons = ((Engine *)data)->comparisons;
    Relation *relation = find_relation(comparisons->relations, address);
    if (!relation)
        return;
    first = low_bits(first, bits), second = low_bits(second, bits);
    uint64_t distance = low_bits(first - second + 1, bits);
    if (distance < 3)
        relation->seen |= 1 << distance;
    uint32_t total = comparisons->total++;
    uint32_t place = total < MAX_COMPARISONS ? total : total * 0x9E3779B9u >> 16;
    comparisons->items[place % MAX_COMPARISONS] = (Comparison){address, {first, second}, bits};
}

bool notice_comparisons(Engine *engine, Relations *relations, uint64_t first, uint64_t last) {
    engine->comparisons = calloc(1, sizeof *engine->comparisons);
    if (!engine->comparisons)
        return false;
    engine->comparisons->relations = relations;
    uc_hook handle;
    if (engine->arch != UC_ARCH_X86)
        return true;
    if (first <= last) /* What was translated before does not call the hook. */
        uc_ctl_remove_cache(engine->uc, first, last + 1);
    return !uc_hook_add(engine->uc, &handle, UC_HOOK_TCG_OPCODE, (void *)on_comparison, engine, first, last,
                        UC_TCG_OP_SUB, UC_TCG_OP_FLAG_CMP);
}

/* -- changing inputs */

/* Whether a number that is compared in so many bits may be an integer of the input with a value of `size` bytes. */
static bool is_like(uint64_t value, uint32_t size, uint64_t compared, uint32_t bits) {
    uint64_t sign = 1ull << (8 * size - 1);
    return low_bits(value, bits) == compared ||
           (8 * size < bits && low_bits((value ^ sign) - sign, bits) == compared);
}

/* Give an integer that equals a compared number another value; false where none does. */
static bool replace_compared(Generator *generator, Changes *changes, uint64_t compared, uint64_t wanted, uint32_t bits) {
    const Entry *entry = changes->entry;
    uint32_t first_row = draw(generator, entry->row_count);
    for (uint32_t i = 0; i < entry->row_count; i++) {
        const CellRow *row = &entry->rows[(first_row + i) % entry->row_count];
        uint32_t first_cell = draw(generator, row->count);
        for (uint32_t j = 0; j < row->count; j++) {
            uint32_t cell = row->first + (first_cell + j) % row->count;
            uint64_t value = value_of(changes, cell);
            if (!is_like(value, row->size, compared, bits))
                continue;
            set_value(changes, cell, value - low_bits(value, bits) + wanted);
            return true;
        }
    }
    return false;
}

/* Add a number to the two bytes that a big-endian or little-endian number in an array has: what sums such numbers, as
 * checksums do, is compared with more bits than a byte has. */
static void shift_bytes(Generator *generator, Changes *changes, const CellRow *row, uint32_t cell, int64_t difference) {
    uint32_t other = cell + 1 < row->first + row->count ? cell + 1 : cell - 1;
    bool is_big = draw(generator, 2);
    uint64_t first = value_of(changes, cell), second = value_of(changes, other);
    uint64_t sum = is_big ? first << 8 | second : second << 8 | first;
    sum += (uint64_t)difference;
    set_value(changes, cell, is_big ? sum >> 8 : sum);
    set_value(changes, other, is_big ? sum : sum >> 8);
}

/* Add to an integer what a compared number lacks; sometimes a half, a quarter or an eighth of it. */
static void shift_compared(Generator *generator, Changes *changes, uint64_t lacking, uint32_t bits) {
    const CellRow *row = &changes->entry->rows[draw(generator, changes->entry->row_count)];
    uint32_t cell = row->first + draw(generator, row->count);
    uint64_t sign = 1ull << (bits - 1);
    int64_t difference = (int64_t)((low_bits(lacking, bits) ^ sign) - sign);
    bool is_negative = !draw(generator, 4);
    if (row->size == 1 && row->count > 1 && bits > 8 && draw(generator, 2)) {
        shift_bytes(generator, changes, row, cell, is_negative ? -difference : difference);
        return;
    }
    if (draw(generator, 2))
        difference /= 1 << draw(generator, 4);
    uint64_t value = value_of(changes, cell);
    set_value(changes, cell, is_negative ? value - (uint64_t)difference : value + (uint64_t)difference);
}

/* Change an input so that two compared numbers get a distance from -1 to 1. */
static void bring_near(Generator *generator, Changes *changes, const Comparison *comparison, int distance) {
    uint64_t first = comparison->values[0], second = comparison->values[1];
    uint32_t bits = comparison->bits;
    uint64_t wanted[2] = {low_bits(second + (uint64_t)distance, bits), low_bits(first - (uint64_t)distance, bits)};
    uint32_t side = draw(generator, 2);
    for (uint32_t i = 0; i < 2; i++, side = !side)
        if (replace_compared(generator, changes, comparison->values[side], wanted[side], bits))
            return;
    shift_compared(generator, changes, wanted[side] - comparison->values[side], bits);
}

bool change_compared(Generator *generator, const Comparisons *comparisons, Changes *changes) {
    uint32_t count = comparisons->total < MAX_COMPARISONS ? comparisons->total : MAX_COMPARISONS;
    uint32_t start = count ? draw(generator, count) : 0;
    for (uint32_t i = 0; i < count; i++) {
        const Comparison *comparison = &comparisons->items[(start + i) % count];
        Relation *relation = find_relation(comparisons->relations, comparison->address);
        if (!relation || relation->seen == ALL_DISTANCES || relation->tries == MAX_TRIES)
            continue;
        relation->tries++;
        uint32_t distance = draw(generator, 2) ? 1 : draw(generator, 3);
        while (relation->seen >> distance & 1)
            distance = (distance + 1) % 3;
        bring_near(generator, changes, comparison, (int)distance - 1);
        return true;
    }
    return false;
}
