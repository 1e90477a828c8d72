/* What the confined process and its parent say to each other. `messages.py` has the same layouts. */
#ifndef CONFINED_H
#define CONFINED_H

#include <stdint.h>

enum {
    REGISTERS = 18,  /* r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags: the order of Linux's sigcontext. */
    VECTORS = 16,    /* xmm0 to xmm15 */
    FX_BYTES = 512,  /* the legacy region of XSAVE: x87, MXCSR, xmm */
    MAX_MAPPINGS = 512,
};

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

/* Why the process waits for an order: a signal, with the state of the processor. */
typedef struct {
    uint32_t signal;
    int32_t code;     /* `si_code` */
    uint64_t address; /* `si_addr` */
    uint64_t registers[REGISTERS];
    uint64_t error, trap; /* the processor's error code and the number of the exception */
    uint8_t fx[FX_BYTES];
} Event;

enum { ORDER_RUN, ORDER_MOVE };
enum {
    RUN_FRESH = 1,   /* x87 is emptied, and the control words are set. */
    RUN_CLOBBER = 2, /* What SSE does not know of the vector registers is filled. */
};

typedef struct {
    uint32_t kind, flags;
    uint64_t from, to, size; /* ORDER_MOVE: of whole pages */
    uint64_t fill;           /* RUN_CLOBBER: the contents */
    uint64_t registers[REGISTERS];
    uint32_t mxcsr, fpcw;
    uint8_t vectors[VECTORS][16];
} Order;

#endif
