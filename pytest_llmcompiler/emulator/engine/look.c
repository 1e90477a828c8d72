/* The second look at a candidate that shows the same on the whole suite: inputs that are made for this candidate.
 *
 * The suite's inputs are made from the reference alone. Here each input of the suite is a base of which some numbers
 * are changed. The reference runs on the changed input in a machine of its own, `twin`, and what it shows is what the
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

/* What a run costs beside the bytes of code that it executes. A unit is about a nanosecond. */
#define RUN_COST 4096u     /* Its reset, and the comparison at its end. */
#define BLOCK_COST 12u     /* The hook on each basic block. */
#define COMPARISON_COST 20u /* The hook on each comparison. */
#define MAX_BASES 256  /* Changed inputs that are bases of further ones. */
#define RECENT_BASES 16
#define LONG_BYTES 8192 /* Of objects. A run on a longer input costs as much as many others. */
#define MAX_PATHS 32768 /* Pairs of paths that are remembered. A power of two. */
/* A run of a candidate may execute so many bytes of code, or so many times what the reference does. */
#define LIMIT_MINIMUM 100000
#define LIMIT_FACTOR 16
#define MAX_LIKE_LEADS 2 /* Leads that change the same integer first and differ for the same reason. */

/* A base of changed inputs: an entry of the suite, with integers that are changed already. */
typedef struct {
    uint32_t entry, count;
    Change *changes;
} Base;

struct Look {
    Engine *engine, *twin;
    Generator generator;
    uint64_t budget;
    /* Changed inputs: each of the two machines puts the memory of its last one back when it gets the next one. */
    Arena *arenas[3];
    Entry entries[3];
    uint32_t base_count, next_base;
    Base bases[MAX_BASES];
    uint64_t paths[MAX_PATHS];
    bool reports_reaching;
    EdgeSet reached; /* By the reference, on any input. */
    uint32_t path_count;
    const Entry *returning; /* An entry on which the reference returns; NULL where it never does. */
    bool has_last;
    uint32_t last_number; /* The last input on which both did the same, and the comparisons of the runs on it. */
    Changes last_changes;
    Comparisons last_comparisons[2];
    LookResult *result;
    LeftReason lead_reasons[MAX_LEADS];
};

uint32_t choose(Look *look, uint32_t count) {
    return draw(&look->generator, count);
}

/* -- running */

typedef enum { SAME, UNUSABLE, DIFFERENT } Outcome;

static void pay(Look *look, const Engine *engine) {
    uint64_t cost = RUN_COST + engine->executed_bytes + BLOCK_COST * engine->edges.block_count +
                    COMPARISON_COST * (uint64_t)engine->comparisons->total;
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
    if (!is_difference(reason))
        return SAME;
    /* Where the reference's own run is not what is expected after it, it has written beside all objects. */
    return compare_run(twin, entry) == LEFT_NOT ? DIFFERENT : UNUSABLE;
}

/* The place of an input that was not the last one of either machine: the candidate's is not run on each of the twin's. */
static uint32_t find_free_entry(const Look *look) {
    uint32_t place = 0;
    while (&look->entries[place] == look->engine->entry || &look->entries[place] == look->twin->entry)
        place++;
    return place;
}

/* Run both on a base with changes. A difference counts where it shows under two fills: what differs with what nobody has
 * set is no fault of the candidate. */
static Outcome try_changes(Look *look, uint32_t number, const Change *changes, uint32_t count) {
    const Entry *base = &look->engine->entries[number];
    for (int fill = FILL_GARBAGE; fill <= FILL_INVERSE; fill++) {
        uint32_t place = find_free_entry(look);
        Arena *arena = look->arenas[place];
        Entry *entry = &look->entries[place];
        if (!change_entry(arena, base, changes, count, entry))
            return UNUSABLE;
        entry->limit = look->twin->entries[number].limit;
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
    if (count)
        memcpy(lead->changes, changes, count * sizeof *changes);
    lead->count = count > 1 ? reduce(look, number, lead->changes, count) : count;
    if (is_known(look, lead, reason))
        return;
    look->lead_reasons[result->lead_count++] = reason;
}

/* -- bases */

/* Whether the candidate's last path and a path of the reference are a new pair. */
static bool is_new_path(Look *look, uint64_t reference) {
    uint64_t path = look->engine->edges.digest * 0x9E3779B97F4A7C15u ^ reference;
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

/* Where there is no room, the oldest base makes way. */
static void add_base(Look *look, uint32_t number, const Change *changes, uint32_t count) {
    Change *copy = malloc((count + 1) * sizeof *copy);
    if (!copy)
        return;
    if (count)
        memcpy(copy, changes, count * sizeof *copy);
    Base *base = &look->bases[look->next_base++ % MAX_BASES];
    if (look->base_count < MAX_BASES)
        look->base_count++;
    else
        free(base->changes);
    *base = (Base){number, count, copy};
}

static void keep_last(Look *look, uint32_t number, const Change *changes, uint32_t count) {
    look->has_last = true, look->last_number = number;
    look->last_changes.entry = &look->engine->entries[number], look->last_changes.count = count;
    if (count)
        memcpy(look->last_changes.items, changes, count * sizeof *changes);
    look->last_comparisons[0] = *look->engine->comparisons;
    look->last_comparisons[1] = *look->twin->comparisons;
}

/* Whether the reference has just taken an edge that it had taken on no input before. */
static bool has_new_edge(Look *look) {
    bool is_new = false;
    for (uint32_t i = 0; i < EDGE_WORDS; i++) {
        is_new = is_new || look->twin->edges.bits[i] & ~look->reached.bits[i];
        look->reached.bits[i] |= look->twin->edges.bits[i];
    }
    return is_new;
}

static void add_reaching(Look *look, uint32_t number, const Change *changes, uint32_t count) {
    LookResult *result = look->result;
    add_base(look, number, changes, count);
    if (result->reaching_count == MAX_REACHING)
        return;
    Lead *reaching = &result->reaching[result->reaching_count++];
    reaching->entry = number, reaching->count = count;
    memcpy(reaching->changes, changes, count * sizeof *changes);
}

bool may_go_on(const Look *look, uint64_t rest) {
    return look->budget > rest && look->result->lead_count < MAX_LEADS;
}

void explore(Look *look, uint32_t number, const Change *changes, uint32_t count) {
    Outcome outcome = try_changes(look, number, changes, count);
    look->result->inputs += outcome != UNUSABLE;
    if (outcome == DIFFERENT)
        add_lead(look, number, changes, count);
    else if (outcome == SAME) {
        keep_last(look, number, changes, count);
        if (look->reports_reaching && has_new_edge(look) && count)
            add_reaching(look, number, changes, count);
        else if (is_new_path(look, look->twin->edges.digest))
            add_base(look, number, changes, count);
    }
}

/* -- what is tried next */

/* Change the last input so that a comparison of either run turns out otherwise. */
static bool try_compared(Look *look) {
    Changes changes = look->last_changes;
    uint32_t which = choose(look, 2);
    bool is_changed = change_compared(&look->generator, &look->last_comparisons[which], &changes) ||
                      change_compared(&look->generator, &look->last_comparisons[!which], &changes);
    if (is_changed && changes.count)
        explore(look, look->last_number, changes.items, changes.count);
    return is_changed;
}

/* One of the latest bases, which got furthest, or any. */
static const Base *choose_base(Look *look) {
    uint32_t recent = look->base_count < RECENT_BASES ? look->base_count : RECENT_BASES;
    bool is_recent = choose(look, 2);
    return &look->bases[(look->next_base - 1 - choose(look, is_recent ? recent : look->base_count)) % MAX_BASES];
}

/* A random change: of half of them of the suite's inputs, of half of those that were found. */
static void try_random(Look *look) {
    Generator *generator = &look->generator;
    Changes changes = {0};
    uint32_t number = generator->usable[choose(look, generator->usable_count)];
    if (look->base_count && choose(look, 2)) {
        const Base *base = choose_base(look);
        number = base->entry, changes.count = base->count;
        memcpy(changes.items, base->changes, base->count * sizeof *base->changes);
    }
    changes.entry = &look->engine->entries[number];
    change_randomly(generator, &changes);
    if (changes.count)
        explore(look, number, changes.items, changes.count);
}

/* One changed input. */
static void try_next(Look *look) {
    if (!look->has_last || choose(look, 2) || !try_compared(look))
        try_random(look);
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
        if (lead.entry < look->engine->entry_count + look->engine->reserve_count && may_go_on(look, 0))
            explore(look, lead.entry, lead.changes, lead.count);
    }
    return !reader->failed;
}

static bool read_request(Look *look, Reader *reader) {
    Generator *generator = &look->generator;
    generator->random = read_u64(reader), look->budget = read_u64(reader);
    look->reports_reaching = read_u32(reader);
    if (!read_count(reader, &generator->constant_count, (void **)&generator->constants, sizeof *generator->constants))
        return false;
    for (uint32_t i = 0; i < generator->constant_count; i++)
        generator->constants[i] = read_u64(reader);
    return !reader->failed;
}

static uint64_t count_object_bytes(const Entry *entry) {
    uint64_t size = 0;
    for (uint32_t i = 0; i < entry->object_count; i++)
        size += entry->objects[i].initial.size;
    return size;
}

/* List the entries that have integers, and objects of so many bytes at most. */
static void list_usable(Generator *generator, const Engine *twin, uint64_t most_bytes) {
    const Engine *engine = generator->engine;
    for (uint32_t i = 0; i < engine->entry_count + engine->reserve_count; i++) {
        const Entry *entry = &engine->entries[i];
        bool is_left = entry->is_left || twin->entries[i].is_left;
        if (entry->row_count && !is_left && count_object_bytes(entry) <= most_bytes)
            generator->usable[generator->usable_count++] = i;
    }
}

/* Run the candidate alone on an input on which it is known what the reference shows. */
static void try_observed(Look *look, uint32_t number, Entry *observed) {
    uint64_t limit = LIMIT_FACTOR * observed->executed_bytes;
    observed->limit = limit > LIMIT_MINIMUM ? limit : LIMIT_MINIMUM;
    LeftReason reason = engine_run_entry(look->engine, observed, FILL_GARBAGE);
    pay(look, look->engine);
    if (is_difference(reason))
        explore(look, number, NULL, 0);
    else {
        look->result->inputs++;
        if (is_new_path(look, observed->digest))
            add_base(look, number, NULL, 0);
    }
}

/* Run the reserve as it is, with at most half of the budget. */
static void try_reserve(Look *look, uint64_t rest) {
    Engine *engine = look->engine;
    for (uint32_t i = 0; i < engine->reserve_count && may_go_on(look, rest); i++) {
        uint32_t number = engine->entry_count + i;
        if (!engine->observed[i].is_left)
            try_observed(look, number, &engine->observed[i]);
        else if (!look->twin->entries[number].is_left)
            explore(look, number, NULL, 0);
    }
}

static bool prepare_generator(Look *look) {
    const Engine *engine = look->engine;
    Generator *generator = &look->generator;
    generator->engine = engine;
    generator->usable = calloc(engine->entry_count + engine->reserve_count + 1, sizeof *generator->usable);
    if (!generator->usable)
        return false;
    list_usable(generator, look->twin, LONG_BYTES);
    if (!generator->usable_count)
        list_usable(generator, look->twin, UINT64_MAX);
    for (uint32_t i = 0; i < engine->entry_count && !look->returning; i++)
        if (engine->entries[i].end == END_RETURN)
            look->returning = &engine->entries[i];
    return true;
}

bool look(Engine *engine, Engine *twin, Span request, LookResult *result) {
    Reader reader = {request.data, request.data + request.size, false};
    Look *look = calloc(1, sizeof *look);
    if (!look)
        return false;
    look->engine = engine, look->twin = twin, look->result = result;
    for (uint32_t i = 0; i < 3; i++)
        if (!(look->arenas[i] = arena_open()))
            return false;
    if (!read_request(look, &reader) || !prepare_generator(look))
        return false;
    Relations *relations = relations_open(); /* Of its own: a reference with many comparisons leaves no place for others. */
    if (!relations || !notice_comparisons(engine, relations, engine->code_start, engine->code_end - 1))
        return false;
    engine->traces_edges = twin->traces_edges = true;
    if (!try_first(look, &reader))
        return false;
    try_reserve(look, look->budget / 2);
    Generator *generator = &look->generator;
    Bases bases = {engine->entries, generator->usable, generator->usable_count};
    for (uint32_t i = 0; look->reports_reaching && i < bases.count && may_go_on(look, 0); i++)
        explore(look, bases.numbers[i], NULL, 0);
    if (bases.count)
        explore_systematically(look, &bases, generator->constants, generator->constant_count, engine->reserve_count,
                               look->budget);
    while (bases.count && may_go_on(look, 0))
        try_next(look);
    engine->traces_edges = false;
    return true; /* The child ends soon: nothing is freed. */
}
