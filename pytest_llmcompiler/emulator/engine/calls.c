/* Checks at the calls between a candidate and the program, and at aligned operands. It follows `emulator/calls.py` and
 * `AlignedOperand` of `targets/processor.py`. A breach leaves the run at once. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define STACK_ALIGNMENT 16
#define MAX_CALLS 20        /* Calls that end with a detour in a run: `_MAX_DETOURS` in `calls.py`. */
#define MAX_CALLBACKS 20    /* The same. */
#define DETOUR_OFFSET 8     /* From the return address of the function under test to that of detours. */
#define MAX_DETOURS 128     /* Under way at once. A run with more is left. */
#define MAX_REGISTERS 64    /* Of one detour: more than any target has. */
#define MAX_RESULTS 8       /* Registers of one result: the same. */

/* What is known of a function: see `CalledFunction` in `calls.py`. */
typedef enum { CALLEE_IS_NARROW = 1, CALLEE_HAS_GARBAGE = 2, CALLEE_CLOBBERS = 4, CALLEE_IS_VARIADIC = 8 } CalleeBits;
#define MAX_VECTOR_COUNT 8 /* As in `calls.py`: of `al` at a call of a variadic function. */

typedef struct {
    uint8_t bytes[2 * VALUE_BYTES];
} Value;

/* A call that returns by way of the address of HOOK_DETOUR. */
typedef struct {
    uint64_t stack; /* The stack pointer at the entry of the function. */
    uint64_t caller; /* The return address of the call. */
    Hook *hook; /* Its kind says what is done at the return. */
    Value values[MAX_REGISTERS]; /* The hook's registers at the call. */
} Detour;

struct Calls {
    uint32_t detours_left, callbacks_left;
    uint32_t detour_count;
    Detour detours[MAX_DETOURS];
};

Calls *calls_open(Engine *engine) {
    if (!ignore_block(&engine->counter, engine->return_address + DETOUR_OFFSET))
        return NULL;
    return calloc(1, sizeof(Calls));
}

void calls_reset(Engine *engine) {
    Calls *calls = engine->calls;
    calls->detour_count = 0;
    calls->detours_left = MAX_CALLS, calls->callbacks_left = MAX_CALLBACKS;
}

static uint64_t return_address_bytes(Engine *engine) {
    return engine->link_register >= 0 ? 0 : 8;
}

static bool is_called_by_candidate(Engine *engine) {
    return is_in_candidate(engine, get_return_address(engine));
}

/* False where the run is left. */
static bool note_misaligned(Engine *engine, uint64_t callee) {
    bool is_noted = engine->is_shown && engine->misaligned_count < MOST_MISALIGNED;
    if (is_noted)
        engine->misaligned[engine->misaligned_count++] = callee;
    else
        leave(engine, LEFT_ALIGNMENT);
    return is_noted;
}

void calls_enter(Engine *engine, uint64_t address) {
    uint64_t stack = get_register(engine, engine->stack_pointer) + return_address_bytes(engine);
    uint64_t offset = stack - engine->stack_start;
    if (stack % STACK_ALIGNMENT && is_called_by_candidate(engine) && !note_misaligned(engine, address))
        return;
    if (!engine->shadow_space)
        return;
    if (offset < engine->stack_size - engine->shadow_space)
        fill_pattern(find_stack(engine, offset, engine->shadow_space), engine->shadow_space,
                     engine->fills[engine->fill].pattern);
    else if (engine->stack_start - stack <= engine->stack_max_growth)
        leave(engine, LEFT_STACK);
}

/* -- detours */

static Detour *find_detour(Calls *calls, uint64_t stack) {
    for (uint32_t i = 0; i < calls->detour_count; i++)
        if (calls->detours[i].stack == stack)
            return &calls->detours[i];
    return NULL;
}

/* The detour of a stack pointer. A call that never returned may have left one, which is overwritten. */
static Detour *add_detour(Calls *calls, uint64_t stack) {
    Detour *detour = find_detour(calls, stack);
    if (!detour && calls->detour_count < MAX_DETOURS)
        detour = &calls->detours[calls->detour_count++];
    return detour;
}

uint64_t calls_find_caller(Engine *engine, uint64_t stack, uint64_t word) {
    Detour *detour = find_detour(engine->calls, stack);
    return detour ? detour->caller : word;
}

static void begin_detour(Engine *engine, Hook *hook) {
    uint64_t stack = get_register(engine, engine->stack_pointer);
    Detour *detour = hook->register_count <= MAX_REGISTERS ? add_detour(engine->calls, stack) : NULL;
    if (!detour) {
        leave(engine, LEFT_HOOK);
        return;
    }
    detour->stack = stack;
    detour->caller = get_return_address(engine);
    detour->hook = hook;
    for (uint32_t i = 0; i < hook->register_count; i++) {
        memset(&detour->values[i], 0, sizeof detour->values[i]);
        uc_reg_read(engine->uc, hook->registers[i], &detour->values[i]);
    }
    if (!set_return_address(engine, engine->return_address + DETOUR_OFFSET))
        leave(engine, LEFT_STACK);
}

/* With these fills each path is run once more. */
static bool is_varied(Engine *engine) {
    return engine->fill != FILL_GARBAGE;
}

/* Make the upper half of the result garbage. */
static void fill_upper_half(Engine *engine) {
    uint64_t result = get_register(engine, engine->return_register);
    uint64_t garbage = engine->narrow_garbage[engine->fill];
    set_register(engine, engine->return_register, (garbage & ~0xFFFFFFFFull) | (result & 0xFFFFFFFFull));
}

/* Make garbage of all that a call may change, but for its result. */
static void clobber_around_results(Engine *engine, const Hook *hook) {
    Value results[MAX_RESULTS] = {0};
    for (uint32_t i = 0; i < hook->result_count && i < MAX_RESULTS; i++)
        uc_reg_read(engine->uc, hook->results[i], &results[i]);
    clobber_registers(engine);
    for (uint32_t i = 0; i < hook->result_count && i < MAX_RESULTS; i++)
        uc_reg_write(engine->uc, hook->results[i], &results[i]);
}

/* Make garbage of what a call leaves undefined. */
static void end_call(Engine *engine, Detour *detour) {
    Hook *hook = detour->hook;
    bool clobbers = hook->number & CALLEE_CLOBBERS && is_varied(engine);
    if (clobbers)
        clobber_around_results(engine, hook);
    for (uint32_t i = 0; hook->kind == HOOK_OWN_CALL && i < hook->register_count; i++)
        uc_reg_write(engine->uc, hook->registers[i], &detour->values[i]);
    if (hook->number & CALLEE_IS_NARROW && (clobbers || hook->number & CALLEE_HAS_GARBAGE))
        fill_upper_half(engine);
}

static void check_registers(Engine *engine, Detour *detour) {
    for (uint32_t i = 0; i < detour->hook->register_count; i++) {
        Value value = {0};
        uc_reg_read(engine->uc, detour->hook->registers[i], &value);
        if (memcmp(&value, &detour->values[i], sizeof value))
            leave(engine, LEFT_REGISTER);
    }
}

static void end_detour(Engine *engine) {
    uint64_t stack = get_register(engine, engine->stack_pointer) - return_address_bytes(engine);
    Detour *detour = find_detour(engine->calls, stack);
    if (!detour) {
        leave(engine, LEFT_FAULT); /* A jump to an address where no function begins. */
        return;
    }
    set_register(engine, engine->stack_pointer, stack);
    if (!set_return_address(engine, detour->caller))
        leave(engine, LEFT_STACK);
    if (detour->hook->kind == HOOK_CALLBACK)
        check_registers(engine, detour);
    else
        end_call(engine, detour);
    *detour = engine->calls->detours[--engine->calls->detour_count];
}

/* -- aligned operands */

static uint64_t optional_register(Engine *engine, int id) {
    return id < 0 ? 0 : get_register(engine, id);
}

static void check_operand(Engine *engine, Hook *hook) {
    uint64_t address = optional_register(engine, hook->base) + hook->offset;
    address += optional_register(engine, hook->index) * hook->scale;
    if (hook->bits < 64)
        address &= ((uint64_t)1 << hook->bits) - 1;
    address += optional_register(engine, hook->segment);
    if (address % hook->alignment) {
        note_fault(engine, (Fault){FAULT_MISALIGNED, 0, hook->alignment, hook->first, address});
        leave(engine, LEFT_FAULT);
    }
}

/* -- hooks */

/* Of a function that the candidate calls, or jumps to at its end. */
static void check_vector_count(Engine *engine) {
    bool is_own = is_called_by_candidate(engine) || get_return_address(engine) == engine->return_address;
    if (is_own && (get_register(engine, engine->return_register) & 0xFF) > MAX_VECTOR_COUNT)
        leave(engine, LEFT_ALIGNMENT);
}

static void on_call(Engine *engine, Hook *hook) {
    calls_enter(engine, hook->first);
    if (hook->number & CALLEE_IS_VARIADIC)
        check_vector_count(engine);
    bool is_wanted = hook->number & CALLEE_HAS_GARBAGE || (hook->number & CALLEE_CLOBBERS && is_varied(engine));
    if (is_wanted && engine->calls->detours_left && is_called_by_candidate(engine)) {
        engine->calls->detours_left--;
        begin_detour(engine, hook);
    }
}

static void on_callback(Engine *engine, Hook *hook) {
    if (engine->calls->callbacks_left && !is_called_by_candidate(engine)) {
        engine->calls->callbacks_left--;
        begin_detour(engine, hook);
    }
}

void calls_hook(Engine *engine, Hook *hook, uint64_t address) {
    switch (hook->kind) {
    case HOOK_CALL:
        on_call(engine, hook);
        break;
    case HOOK_OWN_CALL:
        if ((hook->register_count || is_varied(engine)) && is_called_by_candidate(engine))
            begin_detour(engine, hook);
        break;
    case HOOK_CALLBACK:
        on_callback(engine, hook);
        break;
    case HOOK_DETOUR:
        end_detour(engine);
        break;
    default:
        check_operand(engine, hook);
    }
}
