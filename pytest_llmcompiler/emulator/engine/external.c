/* External calls, replayed (see `emulator/external_calls.py`): calls of callbacks, and of functions that the program
 * only declares.
 *
 * The answer to a call is a function of the environment seed, of the call's number, and of the arguments with some of
 * the memory that they point to. The engine does not compute it: `judge/engine_calls.py` has written each call of the
 * reference's run with its answer, and with all that the answer and the call's description depend on. A call that is
 * equal in all of that gets the same answer; a run with any other call is left. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define WORD 8
#define NO_ARGUMENT UINT32_MAX
#define STACK_WORD_TOP 0x7ffd /* The upper half of every address of the stack. */
#define ELSEWHERE 1           /* What stands for such an address in descriptions. */

/* Names in `judge/engine_calls.py`, in this order. */
typedef enum {
    ARGUMENT_UNKNOWN,  /* What it depends on can't be told. */
    ARGUMENT_VALUE,    /* No pointer: `value` counts under `mask`. */
    ARGUMENT_NAN,      /* A float that is no number. All of them are equal. */
    ARGUMENT_CODE,     /* A pointer to a function: an address of the program. */
    ARGUMENT_FIXED,    /* A pointer to what has the same address in every run. */
    ARGUMENT_STACK,    /* A pointer to the stack. */
    ARGUMENT_CONSTANT, /* A pointer to a constant: the program's, or the same one of the candidate. */
    ARGUMENT_KINDS
} ArgumentKind;

/* Bytes that must lie where an argument points. */
typedef struct {
    bool hides_stack; /* Whether addresses of the stack in the guest's memory are compared as `ELSEWHERE`. */
    Span data, mask;  /* An empty mask: all bits count. */
} Contents;

typedef struct {
    int id; /* unicorn's number. */
    uint32_t size; /* Bytes of the argument in it. */
} Part;

typedef struct {
    ArgumentKind kind;
    bool is_indirect; /* Whether the address of a copy is passed. */
    uint32_t part_count; /* 0: the argument lies at `offset` of the argument area. */
    Part *parts;
    uint64_t offset;
    Span value, mask;
    uint64_t room; /* Bytes from where it points to the end of the heap object there; 0: there is none. */
    uint32_t contents_count;
    Contents *contents;
} PassedArgument;

typedef struct {
    uint32_t argument; /* The number of the argument that it is written through. */
    Span data;
} Write;

typedef struct {
    int id;
    Span data; /* Its lowest bytes; the others are clobbered. */
} ResultRegister;

struct ExpectedCall {
    bool is_external; /* Whether it is a function that the program only declares; else a callback. */
    uint32_t callee;
    uint32_t argument_count;
    PassedArgument *arguments;
    /* The answer. */
    uint32_t write_count;
    Write *writes;
    int buffer_register;      /* Of the address of a result in memory; -1: the result is in registers. */
    uint32_t result_argument; /* The number of the argument that is returned. */
    uint64_t allocated;       /* Bytes of the new heap object that is returned; 0: none is. */
    Span contents;            /* Of the result in memory, or of the new object. */
    uint32_t result_count;
    ResultRegister *results;
};

struct Externals {
    uint32_t next; /* The number of the run's next call. */
};

/* -- reading an entry */

/* Reads the calls of an entry. The image has equal bytes once. */
typedef struct {
    Reader image;
    uint32_t span_count;
    Span *spans;
} CallReader;

static Span read_shared(CallReader *reader) {
    uint32_t number = read_u32(&reader->image);
    if (number >= reader->span_count) {
        reader->image.failed = true;
        return (Span){0};
    }
    return reader->spans[number];
}

static bool read_argument(CallReader *reader, PassedArgument *argument) {
    argument->kind = read_u32(&reader->image);
    argument->is_indirect = read_u32(&reader->image);
    if (!read_count(&reader->image, &argument->part_count, (void **)&argument->parts, sizeof *argument->parts))
        return false;
    for (uint32_t i = 0; i < argument->part_count; i++) {
        argument->parts[i].id = (int)read_u32(&reader->image), argument->parts[i].size = read_u32(&reader->image);
        reader->image.failed |= argument->parts[i].size > WORD;
    }
    argument->offset = read_u64(&reader->image);
    argument->value = read_shared(reader), argument->mask = read_shared(reader);
    argument->room = read_u64(&reader->image);
    if (!read_count(&reader->image, &argument->contents_count, (void **)&argument->contents,
                    sizeof *argument->contents))
        return false;
    for (uint32_t i = 0; i < argument->contents_count; i++) {
        Contents *contents = &argument->contents[i];
        contents->hides_stack = read_u32(&reader->image);
        contents->data = read_shared(reader), contents->mask = read_shared(reader);
        reader->image.failed |= contents->mask.size && contents->mask.size != contents->data.size;
    }
    reader->image.failed |= argument->kind >= ARGUMENT_KINDS || argument->mask.size != argument->value.size ||
                      (argument->kind > ARGUMENT_NAN && argument->value.size != WORD);
    return !reader->image.failed;
}

static bool read_answer(CallReader *reader, ExpectedCall *call) {
    if (!read_count(&reader->image, &call->write_count, (void **)&call->writes, sizeof *call->writes))
        return false;
    for (uint32_t i = 0; i < call->write_count; i++) {
        call->writes[i].argument = read_u32(&reader->image), call->writes[i].data = read_shared(reader);
        reader->image.failed |= call->writes[i].argument >= call->argument_count;
    }
    call->buffer_register = (int)read_u32(&reader->image);
    call->result_argument = read_u32(&reader->image);
    reader->image.failed |= call->result_argument != NO_ARGUMENT && call->result_argument >= call->argument_count;
    call->allocated = read_u64(&reader->image);
    call->contents = read_shared(reader);
    if (!read_count(&reader->image, &call->result_count, (void **)&call->results, sizeof *call->results))
        return false;
    for (uint32_t i = 0; i < call->result_count; i++) {
        call->results[i].id = (int)read_u32(&reader->image), call->results[i].data = read_shared(reader);
        reader->image.failed |= call->results[i].data.size > VALUE_BYTES;
    }
    return !reader->image.failed;
}

static bool read_call(CallReader *reader, ExpectedCall *call) {
    call->is_external = read_u32(&reader->image), call->callee = read_u32(&reader->image);
    if (!read_count(&reader->image, &call->argument_count, (void **)&call->arguments, sizeof *call->arguments))
        return false;
    for (uint32_t i = 0; i < call->argument_count; i++)
        if (!read_argument(reader, &call->arguments[i]))
            return false;
    return read_answer(reader, call);
}

static bool read_calls(CallReader *reader, Entry *entry) {
    if (!read_count(&reader->image, &reader->span_count, (void **)&reader->spans, sizeof *reader->spans))
        return false;
    for (uint32_t i = 0; i < reader->span_count; i++)
        reader->spans[i] = read_span(&reader->image);
    if (!read_count(&reader->image, &entry->call_count, (void **)&entry->calls, sizeof *entry->calls))
        return false;
    for (uint32_t i = 0; i < entry->call_count; i++)
        if (!read_call(reader, &entry->calls[i]))
            return false;
    return !reader->image.failed;
}

bool externals_read_entry(Engine *engine, Reader *reader, Entry *entry) {
    Span image = read_span(reader);
    if (!image.size)
        return true;
    CallReader calls = {.image = {image.data, image.data + image.size, reader->failed}};
    bool is_read = read_calls(&calls, entry);
    free(calls.spans);
    return is_read;
}

Externals *externals_open(Engine *engine) {
    return calloc(1, sizeof(Externals));
}

void externals_reset(Engine *engine) {
    engine->externals->next = 0;
}

LeftReason externals_compare(Engine *engine, Entry *entry) {
    return engine->externals->next == entry->call_count ? LEFT_NOT : LEFT_CALL;
}

uint32_t externals_count(Engine *engine) {
    return engine->externals->next;
}

/* -- comparing a call */

/* The argument area: it begins behind the return address, or at the stack pointer where calls push none. */
static uint64_t argument_area(Engine *engine) {
    return get_register(engine, engine->stack_pointer) + (engine->link_register < 0 ? WORD : 0);
}

static bool has_parts(Engine *engine, PassedArgument *argument) {
    uint64_t at = 0;
    for (uint32_t i = 0; i < argument->part_count; i++) {
        uint64_t value = get_register(engine, argument->parts[i].id), size = argument->parts[i].size;
        if (at + size > argument->value.size)
            return false;
        for (uint64_t byte = 0; byte < size; byte++, at++)
            if (((uint8_t)(value >> 8 * byte) ^ argument->value.data[at]) & argument->mask.data[at])
                return false;
    }
    return at == argument->value.size;
}

/* The word in which a pointer is passed. */
static bool read_pointer(Engine *engine, PassedArgument *argument, uint64_t *pointer) {
    *pointer = 0;
    if (argument->part_count) {
        *pointer = get_register(engine, argument->parts[0].id);
        return argument->part_count == 1 && argument->parts[0].size == WORD;
    }
    const uint8_t *memory = find_memory(engine, argument_area(engine) + argument->offset, WORD);
    if (memory)
        memcpy(pointer, memory, WORD);
    return memory;
}

static bool has_value(Engine *engine, PassedArgument *argument) {
    uint64_t address = argument_area(engine) + argument->offset;
    if (argument->part_count && !argument->is_indirect)
        return has_parts(engine, argument);
    if (argument->is_indirect && !read_pointer(engine, argument, &address))
        return false;
    if (!argument->value.size)
        return true;
    const uint8_t *memory = find_memory(engine, address, argument->value.size);
    return memory && is_equal(memory, argument->value.data, argument->value.size, argument->mask);
}

static bool has_nan(Engine *engine, PassedArgument *argument) {
    uint64_t value = 0, size = argument->value.size;
    if (argument->part_count == 1)
        value = get_register(engine, argument->parts[0].id);
    else {
        const uint8_t *memory = find_memory(engine, argument_area(engine) + argument->offset, size);
        if (!memory || size > WORD)
            return false;
        memcpy(&value, memory, size);
    }
    return size == 4 ? (value & 0x7fffffff) > 0x7f800000 : (value & INT64_MAX) > 0x7ff0000000000000;
}

/* Whether an address lies in the candidate's own memory, or at the end of a part of it. */
static bool belongs_to_candidate(Engine *engine, uint64_t address) {
    for (uint32_t i = engine->candidate_first_region; i < engine->region_count; i++)
        if (address - engine->regions[i].address <= engine->regions[i].data_size)
            return true;
    return false;
}

static bool may_be_stack(Engine *engine, uint64_t address) {
    return address - (engine->stack_start - engine->stack_max_growth) < engine->stack_max_growth + engine->stack_size;
}

/* Whether an address means the same in the reference's run: it has the same number, and belongs to the program, the
 * input, the heap or nothing. */
static bool is_fixed(Engine *engine, PassedArgument *argument, uint64_t address) {
    uint64_t expected;
    memcpy(&expected, argument->value.data, WORD);
    return address == expected && !belongs_to_candidate(engine, address) && !may_be_stack(engine, address) &&
           heap_bytes_to_end(engine, address) == argument->room;
}

/* Bytes from an address in the candidate's constants to the end of the object there: at the latest its next label. 0
 * where no constant lies. */
static uint64_t bytes_of_constant(Engine *engine, uint64_t address) {
    Region *region = find_region(engine, address);
    uint64_t index = region ? (uint64_t)(region - engine->regions) : 0;
    if (!region || index < engine->candidate_first_region || region->permissions & (UC_PROT_WRITE | UC_PROT_EXEC))
        return 0;
    for (uint32_t i = engine->candidate_first_region; i < engine->region_count; i++) {
        Region *other = &engine->regions[i];
        if (other != region && address - other->address <= other->data_size)
            return 0; /* The end of another segment, which may count as writable memory, or as code. */
    }
    if (address - region->address >= region->data_size)
        return 0;
    uint64_t size = region->data_size - (address - region->address);
    for (uint32_t i = 0; i < engine->label_count; i++)
        if (engine->labels[i] > address && engine->labels[i] - address < size)
            size = engine->labels[i] - address;
    return size;
}

/* Whether bytes lie at an address, where aligned addresses of the stack count as `ELSEWHERE`. */
static bool equals_with_hidden_stack(const uint8_t *memory, uint64_t address, const Contents *contents) {
    uint64_t at = 0;
    while (at < contents->data.size) {
        uint64_t word = ELSEWHERE, step = 1;
        const uint8_t *observed = memory + at;
        if (!((address + at) % WORD) && contents->data.size - at >= WORD) {
            uint64_t value;
            memcpy(&value, observed, WORD);
            step = WORD;
            if (value >> 32 == STACK_WORD_TOP)
                observed = (const uint8_t *)&word;
        }
        Span mask = {contents->mask.size ? contents->mask.data + at : NULL, contents->mask.size ? step : 0};
        if (!is_equal(observed, contents->data.data + at, step, mask))
            return false;
        at += step;
    }
    return true;
}

static bool has_contents(Engine *engine, PassedArgument *argument, uint64_t address, uint64_t most) {
    for (uint32_t i = 0; i < argument->contents_count; i++) {
        Contents *contents = &argument->contents[i];
        uint64_t size = contents->data.size;
        const uint8_t *memory = size <= most ? find_memory(engine, address, size) : NULL;
        if (!memory)
            return false;
        /* The callee may use the home area, so that its contents are those of the call no more. */
        uint64_t home = argument_area(engine);
        if (engine->shadow_space && address < home + engine->shadow_space && home < address + size)
            return false;
        bool is_same = contents->hides_stack ? equals_with_hidden_stack(memory, address, contents)
                                             : is_equal(memory, contents->data.data, size, contents->mask);
        if (!is_same)
            return false;
    }
    return true;
}

static bool has_argument(Engine *engine, PassedArgument *argument) {
    if (argument->kind == ARGUMENT_VALUE)
        return has_value(engine, argument);
    if (argument->kind == ARGUMENT_NAN)
        return !argument->is_indirect && argument->part_count <= 1 && has_nan(engine, argument);
    uint64_t address;
    if (argument->kind == ARGUMENT_UNKNOWN || argument->is_indirect || !read_pointer(engine, argument, &address))
        return false;
    switch (argument->kind) {
    case ARGUMENT_CODE:
        return is_fixed(engine, argument, address);
    case ARGUMENT_STACK:
        return address - engine->stack_start < engine->stack_size &&
               has_contents(engine, argument, address, UINT64_MAX);
    case ARGUMENT_CONSTANT:
        if (!is_fixed(engine, argument, address))
            return has_contents(engine, argument, address, bytes_of_constant(engine, address));
        return has_contents(engine, argument, address, UINT64_MAX);
    default:
        return is_fixed(engine, argument, address) && has_contents(engine, argument, address, UINT64_MAX);
    }
}

static bool has_arguments(Engine *engine, ExpectedCall *call) {
    for (uint32_t i = 0; i < call->argument_count; i++)
        if (!has_argument(engine, &call->arguments[i]))
            return false;
    return true;
}

/* -- answering a call */

/* Write what a call writes. False where that is no memory that every run gets back as it was. */
static bool write_memory(Engine *engine, uint64_t address, Span data) {
    Region *region = find_region(engine, address);
    if (region && !region->initial)
        return false;
    uint64_t home = argument_area(engine);
    if (engine->shadow_space && address < home + engine->shadow_space && home < address + data.size)
        return false;
    uint8_t *memory = find_writable(engine, address, data.size);
    if (memory)
        memcpy(memory, data.data, data.size);
    return memory;
}

static bool write_effects(Engine *engine, ExpectedCall *call) {
    for (uint32_t i = 0; i < call->write_count; i++) {
        uint64_t address;
        if (!read_pointer(engine, &call->arguments[call->writes[i].argument], &address) ||
            !write_memory(engine, address, call->writes[i].data))
            return false;
    }
    return true;
}

/* Make the new object that a call returns. False where it is not the reference's. */
static bool allocate(Engine *engine, ExpectedCall *call) {
    uint64_t expected = 0;
    if (call->result_count != 1 || call->results[0].data.size != WORD)
        return false;
    memcpy(&expected, call->results[0].data.data, WORD);
    if (heap_allocate(engine, call->allocated) != expected)
        return false;
    return !expected || write_memory(engine, expected, call->contents);
}

static void set_low_bytes(Engine *engine, int id, const uint8_t *data, uint64_t size) {
    uint8_t value[2 * VALUE_BYTES] = {0};
    uc_reg_read(engine->uc, id, value);
    memcpy(value, data, size);
    uc_reg_write(engine->uc, id, value);
}

static bool answer(Engine *engine, ExpectedCall *call) {
    uint64_t pointer = 0;
    bool returns_pointer = call->buffer_register >= 0 || call->result_argument != NO_ARGUMENT;
    if (!write_effects(engine, call))
        return false;
    if (call->buffer_register >= 0) {
        pointer = get_register(engine, call->buffer_register);
        if (!write_memory(engine, pointer, call->contents))
            return false;
    } else if (call->result_argument != NO_ARGUMENT) {
        if (!read_pointer(engine, &call->arguments[call->result_argument], &pointer))
            return false;
    } else if (call->allocated && !allocate(engine, call))
        return false;
    clobber_registers(engine);
    for (uint32_t i = 0; i < call->result_count; i++) {
        ResultRegister *result = &call->results[i];
        if (returns_pointer)
            set_low_bytes(engine, result->id, (uint8_t *)&pointer, sizeof pointer);
        else
            set_low_bytes(engine, result->id, result->data.data, result->data.size);
    }
    return true;
}

void externals_hook(Engine *engine, Hook *hook, uint64_t address) {
    Entry *entry = engine->entry;
    bool is_external = hook->kind == HOOK_EXTERNAL;
    uint32_t callee = is_external ? hook->number : (uint32_t)((address - engine->stubs) / STUB_SIZE);
    if (!is_external) /* The other functions have a hook for this in each candidate. */
        calls_enter(engine, address);
    if (engine->has_ended)
        return;
    ExpectedCall *call = engine->externals->next < entry->call_count ? &entry->calls[engine->externals->next] : NULL;
    if (!call || call->is_external != is_external || call->callee != callee || !has_arguments(engine, call) ||
        !answer(engine, call)) {
        leave(engine, LEFT_CALL);
        return;
    }
    engine->externals->next++;
}
