/* The second look at a candidate that shows the same on the whole suite: inputs that are made for this candidate.
 *
 * The suite's inputs are made from the reference alone. Here each input of the suite is a base of which some integers are
 * changed. The reference runs on the changed input in a machine of its own, `twin`, and what it shows is what the
 * candidate's run is compared with. A difference is a lead, and no more: the judge asks its oracle whether the function
 * is defined on the input, and runs both again.
 *
 *     int level(unsigned n) { return n > 9 ? 2 : n > 4; }        the candidate has `cmpl $99` instead of `cmpl $9`
 *     suite: 0 5 7 4294967295 ...   no input from 10 to 99
 *     constants of the candidate: 4 99 -> 98 is tried for n: 2 by the reference, 1 by the candidate
 *
 * An input on which the two take a pair of paths that was not seen before is a base of further ones. All choices come
 * from a generator of random numbers, and the budget is counted in executed code: equal requests give equal results. */
#include <stdlib.h>
#include <string.h>

#include "look.h"

#define RUN_COST 4096u /* Of each run, beside the bytes of code that it executes: about as much as its reset takes. */
#define MAX_BASES 256  /* Changed inputs that are bases of further ones. */
#define MAX_PATHS 4096 /* Pairs of paths that are remembered. A power of two. */
/* A run of a candidate may execute so many bytes of code, or so many times what the reference does. */
#define LIMIT_MINIMUM 100000
#define LIMIT_FACTOR 16
#define MAX_LIKE_LEADS 2     /* Leads that change the same integer first and differ for the same reason. */

/* A base of changed inputs: an entry of the suite, with integers that are changed already. */
typedef struct {
    uint32_t entry, count;
    Change *changes;
} Base;

struct Look {
    Engine *engine, *twin;
    uint64_t random;
    uint64_t budget;
    uint32_t constant_count;
    uint64_t *constants;
    /* Two changed inputs: the machines put the memory of their last input back when they get the next one. */
    Arena *arenas[2];
    Entry entries[2];
    int turn;
    uint32_t usable_count;
    uint32_t *usable; /* The entries of the suite that have integers, and that the engine can compare. */
    uint32_t base_count;
    Base bases[MAX_BASES];
    uint64_t paths[MAX_PATHS];
    uint32_t path_count;
    const Entry *returning; /* An entry on which the reference returns; NULL where it never does. */
    LookResult *result;
    LeftReason lead_reasons[MAX_LEADS];
};

/* -- random numbers: splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014) */

static uint64_t next_random(Look *look) {
    uint64_t z = look->random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

uint32_t choose(Look *look, uint32_t count) {
    return (uint32_t)(next_random(look) >> 32) % count;
}

/* -- running */

typedef enum { SAME, UNUSABLE, DIFFERENT } Outcome;

static void pay(Look *look, const Engine *engine) {
    uint64_t cost = RUN_COST + engine->executed_bytes;
    look->budget = look->budget > cost ? look->budget - cost : 0;
}

/* Differences that the machine can't judge are none. */
static bool is_difference(LeftReason reason) {
    return reason != LEFT_NOT && reason != LEFT_UNSUPPORTED && reason != LEFT_HOOK && reason != LEFT_SYSTEM_CALL &&
           reason != LEFT_STACK;
}

/* Run both on a changed entry, under one fill. */
static Outcome run_both(Look *look, Arena *arena, Entry *entry, int fill) {
    Engine *engine = look->engine, *twin = look->twin;
    bool is_observed = observe(twin, arena, entry, fill);
    pay(look, twin);
    if (!is_observed)
        return UNUSABLE;
    uint64_t limit = LIMIT_FACTOR * twin->executed_bytes;
    entry->limit = limit > LIMIT_MINIMUM ? limit : LIMIT_MINIMUM;
    LeftReason reason = engine_run_entry(engine, entry, fill);
    pay(look, engine);
    return is_difference(reason) ? DIFFERENT : SAME;
}

/* Run both on a base with changes. A difference counts where it shows under two fills: what differs with what nobody has
 * set is no fault of the candidate. */
static Outcome try_changes(Look *look, uint32_t number, const Change *changes, uint32_t count) {
    const Entry *base = &look->engine->entries[number];
    for (int fill = FILL_GARBAGE; fill <= FILL_INVERSE; fill++) {
        look->turn = !look->turn;
        Arena *arena = look->arenas[look->turn];
        Entry *entry = &look->entries[look->turn];
        if (!change_entry(arena, base, changes, count, entry))
            return UNUSABLE;
        entry->limit = base->limit;
        if (!entry->result_count && look->returning) {
            entry->result_count = look->returning->result_count;
            entry->results = arena_copy(arena, look->returning->results, entry->result_count * sizeof *entry->results);
            if (!entry->results)
                return UNUSABLE;
        }
        Outcome outcome = run_both(look, arena, entry, fill);
        if (outcome != DIFFERENT)
            return fill == FILL_GARBAGE ? outcome : UNUSABLE;
    }
    return DIFFERENT;
}

/* -- leads */

/* Undo changes that the difference does not need, since the function is more often defined on a smaller change. */
static uint32_t reduce(Look *look, uint32_t number, Change *changes, uint32_t count) {
    Change fewer[MAX_CHANGES];
    for (uint32_t part = count / 2; part && look->budget; part /= 2)
        for (uint32_t start = 0; start + part <= count && count > part && look->budget;) {
            memcpy(fewer, changes, start * sizeof *fewer);
            memcpy(fewer + start, changes + start + part, (count - start - part) * sizeof *fewer);
            if (try_changes(look, number, fewer, count - part) == DIFFERENT) {
                count -= part;
                memcpy(changes, fewer, count * sizeof *fewer);
            } else
                start += part;
        }
    return count;
}

static bool is_known(Look *look, const Lead *lead, LeftReason reason) {
    uint32_t like = 0;
    for (uint32_t i = 0; i < look->result->lead_count; i++) {
        const Lead *other = &look->result->leads[i];
        if (other->entry == lead->entry && other->count == lead->count &&
            !memcmp(other->changes, lead->changes, lead->count * sizeof *lead->changes))
            return true;
        like += look->lead_reasons[i] == reason && other->count && lead->count &&
                other->changes[0].cell == lead->changes[0].cell;
    }
    return like >= MAX_LIKE_LEADS;
}

static void add_lead(Look *look, uint32_t number, const Change *changes, uint32_t count) {
    LookResult *result = look->result;
    LeftReason reason = look->engine->left;
    Lead *lead = &result->leads[result->lead_count];
    lead->entry = number;
    memcpy(lead->changes, changes, count * sizeof *changes);
    lead->count = count > 1 ? reduce(look, number, lead->changes, count) : count;
    if (is_known(look, lead, reason))
        return;
    look->lead_reasons[result->lead_count++] = reason;
}

/* -- bases */

/* Whether a pair of paths is new. */
static bool is_new_path(Look *look) {
    uint64_t path = look->engine->edges.digest * 0x9E3779B97F4A7C15u ^ look->twin->edges.digest;
    path += !path; /* 0 is a free place. */
    if (look->path_count >= MAX_PATHS / 2)
        return false;
    uint32_t place = (uint32_t)(path >> 32) % MAX_PATHS;
    for (; look->paths[place]; place = (place + 1) % MAX_PATHS)
        if (look->paths[place] == path)
            return false;
    look->paths[place] = path;
    look->path_count++;
    return true;
}

static void add_base(Look *look, uint32_t number, const Change *changes, uint32_t count) {
    if (look->base_count == MAX_BASES)
        return;
    Change *copy = malloc(count * sizeof *copy);
    if (!copy)
        return;
    memcpy(copy, changes, count * sizeof *copy);
    look->bases[look->base_count++] = (Base){number, count, copy};
}

bool may_go_on(const Look *look, uint64_t rest) {
    return look->budget > rest && look->result->lead_count < MAX_LEADS;
}

void explore(Look *look, uint32_t number, const Change *changes, uint32_t count) {
    Outcome outcome = try_changes(look, number, changes, count);
    look->result->inputs += outcome != UNUSABLE;
    if (outcome == DIFFERENT)
        add_lead(look, number, changes, count);
    else if (outcome == SAME && count && is_new_path(look))
        add_base(look, number, changes, count);
}

/* -- changing inputs */

/* A list of changes: a later change of the same integer replaces the former. */
typedef struct {
    const Entry *entry;
    uint32_t count;
    Change items[MAX_CHANGES];
} Changes;

static uint64_t value_of(const Changes *changes, uint32_t cell) {
    for (uint32_t i = 0; i < changes->count; i++)
        if (changes->items[i].cell == cell)
            return changes->items[i].value;
    return read_cell(changes->entry, find_row(changes->entry, cell), cell);
}

static void set_value(Changes *changes, uint32_t cell, uint64_t value) {
    const CellRow *row = find_row(changes->entry, cell);
    if (!row)
        return;
    value &= row->is_boolean ? 1 : row->size == 8 ? UINT64_MAX : (1ull << 8 * row->size) - 1;
    for (uint32_t i = 0; i < changes->count; i++)
        if (changes->items[i].cell == cell) {
            changes->items[i].value = value;
            return;
        }
    if (changes->count < MAX_CHANGES)
        changes->items[changes->count++] = (Change){cell, value};
}

static uint64_t special_value(Look *look, uint32_t bits) {
    uint64_t power = 1ull << choose(look, bits);
    switch (choose(look, 6)) {
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
        return next_random(look);
    }
}

static const CellRow *choose_row(Look *look, const Entry *entry) {
    return &entry->rows[choose(look, entry->row_count)];
}

static uint32_t choose_cell(Look *look, const CellRow *row) {
    return row->first + choose(look, row->count);
}

/* Give one integer another value. */
static void change_one(Look *look, Changes *changes) {
    const CellRow *row = choose_row(look, changes->entry);
    uint32_t cell = choose_cell(look, row);
    uint64_t value = value_of(changes, cell);
    uint32_t kind = choose(look, look->constant_count ? 8 : 5);
    if (kind == 0)
        value += choose(look, 2) ? 1 + choose(look, 4) : -(uint64_t)(1 + choose(look, 4));
    else if (kind == 1)
        value ^= 1ull << choose(look, 8 * row->size);
    else if (kind == 2)
        value = special_value(look, 8 * row->size);
    else if (kind == 3) { /* As another integer of the input, or next to it. */
        const CellRow *other = choose_row(look, changes->entry);
        value = value_of(changes, choose_cell(look, other)) + choose(look, 3) - 1;
    } else if (kind == 4)
        value = choose(look, 4) ? value << 1 : -value;
    else
        value = look->constants[choose(look, look->constant_count)];
    set_value(changes, cell, value);
}

/* All zeros but for one element. */
static void isolate_element(Look *look, Changes *changes, const CellRow *row) {
    uint32_t chosen = choose_cell(look, row);
    uint64_t value = choose(look, 2) ? special_value(look, 8 * row->size) : value_of(changes, chosen);
    for (uint32_t i = 0; i < row->count; i++)
        set_value(changes, row->first + i, row->first + i == chosen ? value : 0);
}

/* Elements one place further, from a chosen one on; or back. */
static void shift_elements(Look *look, Changes *changes, const CellRow *row) {
    uint32_t start = choose(look, row->count - 1), end = row->count - 1;
    bool is_back = choose(look, 2);
    for (uint32_t i = 0; i < end - start; i++) {
        uint32_t to = is_back ? start + i : end - i;
        set_value(changes, row->first + to, value_of(changes, row->first + (is_back ? to + 1 : to - 1)));
    }
    set_value(changes, row->first + (is_back ? end : start), special_value(look, 8 * row->size));
}

static void exchange_elements(Look *look, Changes *changes, const CellRow *row) {
    uint32_t one = choose_cell(look, row), other = choose_cell(look, row);
    uint64_t value = value_of(changes, one);
    set_value(changes, one, value_of(changes, other));
    set_value(changes, other, value);
}

/* Elements from a row of another input. */
static void splice(Look *look, Changes *changes, const CellRow *row) {
    const Entry *donor = &look->engine->entries[look->usable[choose(look, look->usable_count)]];
    const CellRow *from = choose_row(look, donor);
    uint32_t start = choose(look, row->count), first = choose(look, from->count);
    uint32_t most = row->count - start < from->count - first ? row->count - start : from->count - first;
    uint32_t count = 1 + choose(look, most);
    for (uint32_t i = 0; i < count && from->size == row->size; i++)
        set_value(changes, row->first + start + i, read_cell(donor, from, from->first + first + i));
}

static void change_row(Look *look, Changes *changes) {
    const CellRow *row = choose_row(look, changes->entry);
    if (row->count < 2)
        change_one(look, changes);
    else
        switch (choose(look, 4)) {
        case 0:
            isolate_element(look, changes, row);
            break;
        case 1:
            shift_elements(look, changes, row);
            break;
        case 2:
            exchange_elements(look, changes, row);
            break;
        default:
            splice(look, changes, row);
        }
}

/* One changed input: half of them from the suite's, half from those that were found. */
static void try_next(Look *look) {
    Changes changes = {0};
    uint32_t number = look->usable[choose(look, look->usable_count)];
    if (look->base_count && choose(look, 2)) {
        const Base *base = &look->bases[choose(look, look->base_count)];
        number = base->entry, changes.count = base->count;
        memcpy(changes.items, base->changes, base->count * sizeof *base->changes);
    }
    changes.entry = &look->engine->entries[number];
    uint32_t steps = 1;
    while (steps < 8 && !choose(look, 3))
        steps++;
    for (uint32_t i = 0; i < steps; i++)
        if (choose(look, 4))
            change_one(look, &changes);
        else
            change_row(look, &changes);
    if (changes.count)
        explore(look, number, changes.items, changes.count);
}

/* -- the request */

static bool read_lead(Reader *reader, Lead *lead) {
    lead->entry = read_u32(reader), lead->count = read_u32(reader);
    for (uint32_t i = 0; i < lead->count && i < MAX_CHANGES; i++)
        lead->changes[i].cell = read_u32(reader), lead->changes[i].value = read_u64(reader);
    return !reader->failed && lead->count <= MAX_CHANGES;
}

/* Try what the request names first. */
static bool try_first(Look *look, Reader *reader) {
    Lead lead;
    for (uint32_t count = read_u32(reader); count; count--) {
        if (!read_lead(reader, &lead))
            return false;
        if (lead.entry < look->engine->entry_count && look->result->lead_count < MAX_LEADS && look->budget)
            explore(look, lead.entry, lead.changes, lead.count);
    }
    return !reader->failed;
}

static bool read_request(Look *look, Reader *reader) {
    look->random = read_u64(reader), look->budget = read_u64(reader);
    if (!read_count(reader, &look->constant_count, (void **)&look->constants, sizeof *look->constants))
        return false;
    for (uint32_t i = 0; i < look->constant_count; i++)
        look->constants[i] = read_u64(reader);
    return !reader->failed;
}

static bool list_usable(Look *look) {
    Engine *engine = look->engine;
    look->usable = calloc(engine->entry_count + 1, sizeof *look->usable);
    for (uint32_t i = 0; look->usable && i < engine->entry_count; i++) {
        const Entry *entry = &engine->entries[i];
        if (entry->row_count && !entry->is_left)
            look->usable[look->usable_count++] = i;
        if (!look->returning && entry->end == END_RETURN)
            look->returning = entry;
    }
    return look->usable;
}

bool look(Engine *engine, Engine *twin, Span request, LookResult *result) {
    Reader reader = {request.data, request.data + request.size, false};
    Look *look = calloc(1, sizeof *look);
    if (!look)
        return false;
    look->engine = engine, look->twin = twin, look->result = result;
    look->arenas[0] = arena_open(), look->arenas[1] = arena_open();
    if (!look->arenas[0] || !look->arenas[1] || !read_request(look, &reader) || !list_usable(look))
        return false;
    engine->traces_edges = twin->traces_edges = true;
    if (!try_first(look, &reader))
        return false;
    if (look->usable_count)
        explore_systematically(look, &(Bases){engine->entries, look->usable, look->usable_count}, look->constants,
                               look->constant_count, look->budget);
    while (look->usable_count && may_go_on(look, 0))
        try_next(look);
    engine->traces_edges = false;
    return true; /* The child ends soon: nothing is freed. */
}
