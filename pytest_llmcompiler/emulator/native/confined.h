/* What the confined process and its parent say to each other. `messages.py` has the same layouts. */
#ifndef CONFINED_H
#define CONFINED_H

#include "foreign_code.h"

/* The first message of the parent. As many messages with a `Mapping` each follow. */
typedef struct {
    uint64_t thread_pointer; /* the base of the segment fs */
    uint32_t mapping_count;
    uint32_t parent; /* its process number */
} Setup;

/* A part of the memory file, at the address where foreign code sees it. */
typedef struct {
    uint64_t address, size, offset;
    uint32_t protection;
    uint32_t unused;
} Mapping;

/* The process answers each order to run by an `Event`, and sends one when it is ready. */
enum { ORDER_RUN, ORDER_MOVE };

typedef struct {
    uint32_t kind, flags;    /* ORDER_RUN: those of a state */
    uint64_t from, to, size; /* ORDER_MOVE: of whole pages */
    State state;             /* ORDER_RUN */
} Order;

#endif
