/* The second look: what look.c, cells.c and observe.c share. */
#ifndef LOOK_H
#define LOOK_H

#include "engine.h"

/* As in `emulator/engine_look.py`. */
#define MAX_LEADS 16
#define MAX_REACHING 32
#define MAX_CHANGES 256

/* Where integers of an input lie; names in `judge/engine_cells.py`, in this order. */
enum { PLACE_REGISTER, PLACE_STACK, PLACE_OBJECT, PLACE_VARIABLE };

/* One integer of an input that gets another value. */
typedef struct {
    uint32_t cell;
    uint64_t value;
} Change;

/* -- cells.c */

/* Memory for one changed entry after the other. */
typedef struct {
    uint8_t *memory;
    uint64_t used;
} Arena;

Arena *arena_open(void); /* NULL where there is no memory. */
void *arena_take(Arena *arena, uint64_t size); /* NULL where it is full. */
void *arena_copy(Arena *arena, const void *data, uint64_t size); /* NULL where it is full. */

/* The row of a cell; NULL where there is no such cell. */
const CellRow *find_row(const Entry *entry, uint32_t cell);
uint64_t read_cell(const Entry *entry, const CellRow *row, uint32_t cell);
uint64_t mask_of(const CellRow *row); /* The bits that a cell of a row may have. */
/* The base with some integers changed, in the arena, which is emptied before; false where that is not possible. */
bool change_entry(Arena *arena, const Entry *base, const Change *changes, uint32_t count, Entry *changed);

/* -- observe.c */

/* Run the reference on a changed entry, and make what its run shows the expected image of the entry; false where the
 * engine can't show it. The image lies in the memory of `twin` until its next run. */
bool observe(Engine *twin, Arena *arena, Entry *entry, int fill);
/* Run the reference on the reserve, once for all candidates. False where there is no memory. */
bool observe_reserve(Engine *engine, Engine *twin);

/* -- changes.c */

/* A list of changes: a later change of the same integer replaces the former. */
typedef struct {
    const Entry *entry;
    uint32_t count;
    Change items[MAX_CHANGES];
} Changes;

/* What changes are made from. */
typedef struct {
    uint64_t random;
    uint32_t constant_count; /* Of the candidate. */
    uint64_t *constants;
    const Engine *engine;
    uint32_t usable_count;
    uint32_t *usable; /* The entries of the suite that have integers, and that the engine can compare. */
} Generator;

uint32_t draw(Generator *generator, uint32_t count); /* A random number below a count. */
uint64_t value_of(const Changes *changes, uint32_t cell);
uint64_t encode_float(const CellRow *row, double number);
void set_value(Changes *changes, uint32_t cell, uint64_t value);
void change_randomly(Generator *generator, Changes *changes);

/* -- comparisons.c */

#define MAX_COMPARISONS 64

/* One comparison in a run, of numbers of so many bits. */
typedef struct {
    uint64_t address, values[2];
    uint32_t bits;
} Comparison;

/* What is known of the comparisons at an address. */
typedef struct {
    uint64_t address; /* 0: a free place. */
    uint8_t seen;     /* A bit for each distance from -1 to 1 that the compared numbers had. */
    uint8_t tries;    /* How often inputs were made for another distance. */
} Relation;

/* The relations of the reference, or of the candidate. */
typedef struct Relations Relations;

/* The comparisons of a run. Of many, some are kept. */
struct Comparisons {
    uint32_t total;
    Comparison items[MAX_COMPARISONS];
    Relations *relations;
};

/* Have a machine notice the comparisons in the code from a first to a last address; in all of its code where the first is
 * above the last, which nothing of may have run yet. Processors other than x86 notice none. False where that fails. */
bool notice_comparisons(Engine *engine, Relations *relations, uint64_t first, uint64_t last);
Relations *relations_open(void); /* NULL where there is no memory. */
/* Change an input so that numbers of which one was compared get a distance that they did not have. `comparisons` are
 * those of a run on the input. False where all are known. */
bool change_compared(Generator *generator, const Comparisons *comparisons, Changes *changes);

/* -- look.c */

/* What was asked for, and what was noticed. */
typedef struct {
    uint32_t entry, count;
    Change changes[MAX_CHANGES];
} Lead;

typedef struct {
    uint32_t inputs; /* On which both ran. */
    uint32_t lead_count;
    Lead leads[MAX_LEADS];
    uint32_t reaching_count; /* Inputs on which the reference takes edges that no input of the suite takes. */
    Lead reaching[MAX_REACHING];
} LookResult;

typedef struct Look Look;

/* A random number below a count. */
uint32_t choose(Look *look, uint32_t count);
/* Whether more than `rest` of the budget is left, and room for leads. */
bool may_go_on(const Look *look, uint64_t rest);
/* Try an entry of the suite with changes, and keep what it shows. */
void explore(Look *look, uint32_t number, const Change *changes, uint32_t count);

/* Look at a candidate that was loaded and shows the same on the suite; false where the request can't be read. */
bool look(Engine *engine, Engine *twin, Span request, LookResult *result);

/* -- systematic.c */

/* The entries of the suite that may be changed. */
typedef struct {
    const Entry *entries;
    const uint32_t *numbers;
    uint32_t count;
} Bases;

/* Try the changes that are worth trying one by one, with at most three quarters of the budget. `has_lengths` tells
 * whether inputs of every length were tried already. */
void explore_systematically(Look *look, const Bases *bases, const uint64_t *constants, uint32_t constant_count,
                            bool has_lengths, uint64_t budget);

#endif
