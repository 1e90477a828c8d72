/* The kernel of the emulated process: the few system calls that musl makes (see `emulator/kernel.py`, which this
 * follows exactly). Output is not kept: it is compared with what is expected while it is written. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define OUTPUT_LIMIT (1u << 20)
#define RECORDED_BYTES (64u << 10) /* The most output of a run that is recorded. */
#define MAX_SYSTEM_CALLS 20000
#define MAX_VECTORS 1024
#define EPOCH 1400000000ull
#define ARCH_SET_FS 0x1002

enum { NUMBER_ENOENT = 2, NUMBER_EBADF = 9, NUMBER_EFAULT = 14, NUMBER_ENOSPC = 28, NUMBER_ESPIPE = 29, NUMBER_ENOSYS = 38,
       OPEN_CHANGES = 01103 /* O_ACCMODE | O_CREAT | O_TRUNC */, TCGETS = 0x5401, TIOCGWINSZ = 0x5413 };

struct Kernel {
    const Environment *environment;
    Span expected[DESCRIPTORS];    /* Output by descriptor; for 0, what is consumed of standard input. */
    uint64_t written[DESCRIPTORS]; /* Bytes. */
    uint64_t read;                 /* Bytes of standard input. */
    uint32_t calls, clock_reads;
    bool is_refused_expected; /* Whether the reference makes calls that are refused, whose text only Python compares. */
    uint8_t *recorded; /* What the run has written, by descriptor; NULL where it is compared with what is expected. */
};

Kernel *kernel_open(Engine *engine) {
    return calloc(1, sizeof(Kernel));
}

void kernel_reset(Engine *engine, Entry *entry) {
    Kernel *kernel = engine->kernel;
    *kernel = (Kernel){.recorded = kernel->recorded};
    kernel->environment = &entry->environment;
    for (uint32_t i = 0; i < entry->output_count; i++)
        if (entry->outputs[i].descriptor < DESCRIPTORS)
            kernel->expected[entry->outputs[i].descriptor] = entry->outputs[i].data;
        else
            kernel->is_refused_expected |= entry->outputs[i].data.size > 0;
}

/* -- the guest's memory */

/* The memory that a call uses, in `memory`, and 0; an error number below zero where the process would get one. What is
 * not at the start of all addresses, where never any memory is, is left to Python if it can't be accessed. */
static int64_t find_operand(Engine *engine, uint64_t address, uint64_t size, bool is_written, uint8_t **memory) {
    Region *region = find_region(engine, address);
    bool is_writable = !region || region->permissions & UC_PROT_WRITE;
    *memory = NULL;
    if (size && is_written && is_writable)
        *memory = find_writable(engine, address, size);
    else if (size && !is_written)
        *memory = (uint8_t *)find_memory(engine, address, size);
    if (*memory || !size)
        return 0;
    if (address >= PAGE || region)
        leave(engine, LEFT_SYSTEM_CALL);
    return -NUMBER_EFAULT;
}

static int64_t store_words(Engine *engine, uint64_t address, const uint64_t *words, uint64_t size) {
    uint8_t *memory;
    int64_t error = find_operand(engine, address, size, true, &memory);
    if (!error)
        memcpy(memory, words, size);
    return error;
}

/* Refuse a call that others would see. Python keeps the text of such calls, and compares it. */
static int64_t refuse(Engine *engine, int64_t result) {
    leave(engine, LEFT_OUTPUT);
    return result;
}

/* -- input and output */

static uint8_t *recorded_of(Kernel *kernel, uint64_t descriptor) {
    return kernel->recorded + descriptor * RECORDED_BYTES;
}

static int64_t write_output(Engine *engine, uint64_t descriptor, uint64_t address, uint64_t size) {
    Kernel *kernel = engine->kernel;
    if (!descriptor)
        return refuse(engine, -NUMBER_EBADF); /* On a terminal standard input can be written to. */
    if (descriptor != 1 && descriptor != 2)
        return -NUMBER_EBADF;
    if (descriptor == 1 && kernel->environment->fails_output)
        return -NUMBER_ENOSPC;
    uint64_t *written = &kernel->written[descriptor];
    Span expected = kernel->expected[descriptor];
    uint64_t room = kernel->recorded ? RECORDED_BYTES : expected.size;
    if (size > room - *written || size > OUTPUT_LIMIT - *written) {
        leave(engine, LEFT_OUTPUT);
        return 0;
    }
    uint8_t *memory;
    if (find_operand(engine, address, size, false, &memory))
        leave(engine, LEFT_SYSTEM_CALL); /* Output from unmapped memory ends the run. */
    else if (kernel->recorded && size)
        memcpy(recorded_of(kernel, descriptor) + *written, memory, size);
    else if (size && memcmp(memory, expected.data + *written, size))
        leave(engine, LEFT_OUTPUT);
    *written += size;
    return (int64_t)size;
}

static int64_t read_input(Engine *engine, uint64_t descriptor, uint64_t address, uint64_t size) {
    Kernel *kernel = engine->kernel;
    if (descriptor)
        return -NUMBER_EBADF;
    Span input = kernel->environment->standard_input;
    uint64_t rest = input.size - kernel->read, count = size < rest ? size : rest;
    uint8_t *memory;
    int64_t error = find_operand(engine, address, count, true, &memory);
    if (error)
        return error;
    if (count)
        memcpy(memory, input.data + kernel->read, count);
    kernel->read += count;
    return (int64_t)count;
}

/* Do a readv or a writev: the same for each of the pieces. */
static int64_t use_vectors(Engine *engine, uint64_t descriptor, uint64_t vectors, uint64_t count, bool is_write) {
    uint64_t pieces[2 * MAX_VECTORS];
    int64_t sum = 0;
    count = count < MAX_VECTORS ? count : MAX_VECTORS;
    if (descriptor && !is_write)
        return -NUMBER_EBADF;
    uint8_t *memory;
    int64_t error = find_operand(engine, vectors, 16 * count, false, &memory);
    if (error)
        return error;
    if (count)
        memcpy(pieces, memory, 16 * count);
    for (uint64_t i = 0; i < count && engine->left == LEFT_NOT; i++) {
        uint64_t address = pieces[2 * i], size = pieces[2 * i + 1];
        int64_t result = is_write ? write_output(engine, descriptor, address, size)
                                  : read_input(engine, descriptor, address, size);
        if (result < 0)
            return result;
        sum += result;
    }
    return sum;
}

/* -- the clock */

/* Microseconds since 1970: each call finds one more. */
static uint64_t read_clock(Kernel *kernel) {
    kernel->clock_reads++;
    return kernel->environment->clock_seconds * 1000000 + kernel->environment->clock_microseconds + kernel->clock_reads;
}

/* Store the time since a second: the seconds, and the rest in units of so many to a microsecond. */
static int64_t store_time(Engine *engine, uint64_t address, uint64_t units, uint64_t epoch) {
    uint64_t now = read_clock(engine->kernel), words[2] = {now / 1000000 - epoch, now % 1000000 * units};
    return address ? store_words(engine, address, words, sizeof words) : 0;
}

static int64_t get_seconds(Engine *engine, uint64_t address) {
    uint64_t seconds = read_clock(engine->kernel) / 1000000;
    int64_t error = address ? store_words(engine, address, &seconds, sizeof seconds) : 0;
    return error ? error : (int64_t)seconds;
}

/* -- calls */

static int64_t set_thread(Engine *engine, uint64_t code, uint64_t address) {
    if (code != ARCH_SET_FS)
        return -NUMBER_ENOSYS;
    if (engine->arch == UC_ARCH_X86)
        set_register(engine, UC_X86_REG_FS_BASE, address);
    else
        leave(engine, LEFT_SYSTEM_CALL);
    return 0;
}

static SystemCallKind find_kind(Engine *engine, uint64_t number) {
    for (uint32_t i = 0; i < engine->system_call_count; i++)
        if (engine->system_calls[i].number == number)
            return engine->system_calls[i].kind;
    return SYSTEM_CALL_REFUSED;
}

static int64_t answer(Engine *engine, SystemCallKind kind, const uint64_t arguments[3]) {
    uint64_t first = arguments[0], second = arguments[1], third = arguments[2];
    switch (kind) {
    case SYSTEM_CALL_READ:
        return read_input(engine, first, second, third);
    case SYSTEM_CALL_WRITE:
        return write_output(engine, first, second, third);
    case SYSTEM_CALL_READV:
        return use_vectors(engine, first, second, third, false);
    case SYSTEM_CALL_WRITEV:
        return use_vectors(engine, first, second, third, true);
    case SYSTEM_CALL_CLOSE:
        return first < DESCRIPTORS ? refuse(engine, 0) : -NUMBER_EBADF;
    case SYSTEM_CALL_LSEEK:
        return first < DESCRIPTORS ? -NUMBER_ESPIPE : -NUMBER_EBADF;
    case SYSTEM_CALL_SLEEP:
        return 0;
    case SYSTEM_CALL_GET_NUMBER:
        return (int64_t)engine->kernel->environment->process_number;
    case SYSTEM_CALL_REFUSED:
        return refuse(engine, -NUMBER_ENOSYS);
    case SYSTEM_CALL_EXIT:
        finish(engine, END_EXIT, first & 0xFF);
        return 0;
    case SYSTEM_CALL_GETTIMEOFDAY:
        return store_time(engine, first, 1, 0);
    case SYSTEM_CALL_ARCH_PRCTL:
        return set_thread(engine, first, second);
    case SYSTEM_CALL_TIME:
        return get_seconds(engine, first);
    case SYSTEM_CALL_SET_TID_ADDRESS:
        return 1;
    case SYSTEM_CALL_CLOCK_GETTIME: /* Clocks 2 and 3 count the time of the process, which has just begun. */
        return store_time(engine, second, 1000, first == 2 || first == 3 ? EPOCH : 0);
    case SYSTEM_CALL_PATH:
        return -NUMBER_ENOENT;
    case SYSTEM_CALL_FILE:
        return -NUMBER_EBADF;
    case SYSTEM_CALL_OPEN:
        return second & OPEN_CHANGES ? refuse(engine, -NUMBER_ENOENT) : -NUMBER_ENOENT;
    case SYSTEM_CALL_OPENAT:
        return third & OPEN_CHANGES ? refuse(engine, -NUMBER_ENOENT) : -NUMBER_ENOENT;
    case SYSTEM_CALL_FCNTL: /* F_GETFD, F_SETFD and F_GETFL change nothing. */
        return second >= 1 && second <= 3 ? -NUMBER_EBADF : refuse(engine, -NUMBER_EBADF);
    case SYSTEM_CALL_IOCTL:
        if ((uint32_t)second != TCGETS && (uint32_t)second != TIOCGWINSZ)
            refuse(engine, 0);
        return -NUMBER_ENOSYS;
    case SYSTEM_CALL_QUERY:
        return -NUMBER_ENOSYS;
    case SYSTEM_CALL_LEAVE:
        break;
    }
    leave(engine, LEFT_SYSTEM_CALL);
    return 0;
}

void kernel_call(Engine *engine) {
    if (++engine->kernel->calls > MAX_SYSTEM_CALLS) {
        leave(engine, LEFT_LIMIT);
        return;
    }
    uint64_t arguments[3];
    for (int i = 0; i < 3; i++)
        arguments[i] = get_register(engine, engine->system_call_arguments[i]);
    SystemCallKind kind = find_kind(engine, get_register(engine, engine->system_call_number));
    int64_t result = answer(engine, kind, arguments);
    if (!engine->has_ended)
        set_register(engine, engine->system_call_result, (uint64_t)result);
}

/* -- what a run shows */

bool has_written_expected(Engine *engine) {
    Kernel *kernel = engine->kernel;
    return kernel->written[1] == kernel->expected[1].size && kernel->written[2] == kernel->expected[2].size &&
           !kernel->is_refused_expected;
}

/* Bytes that the run took from standard input, without what is left in the buffer of `stdin`. */
static uint64_t count_consumed(Engine *engine) {
    uint64_t bounds[2] = {0, 0}; /* musl's struct: flags, then where the unread bytes begin and end. */
    const uint8_t *file = engine->stdin_file ? find_memory(engine, engine->stdin_file, 24) : NULL;
    if (file)
        memcpy(bounds, file + 8, sizeof bounds);
    uint64_t unread = bounds[1] > bounds[0] ? bounds[1] - bounds[0] : 0;
    return unread < engine->kernel->read ? engine->kernel->read - unread : 0;
}

LeftReason kernel_compare(Engine *engine, Entry *entry) {
    /* What is consumed always begins where the text does, so that equal lengths are equal bytes. */
    bool is_equal = has_written_expected(engine) && count_consumed(engine) == engine->kernel->expected[0].size;
    return is_equal ? LEFT_NOT : LEFT_OUTPUT;
}

bool kernel_record(Engine *engine) {
    if (!engine->kernel->recorded)
        engine->kernel->recorded = malloc(DESCRIPTORS * RECORDED_BYTES);
    return engine->kernel->recorded;
}

void kernel_observe(Engine *engine, ExpectedOutput outputs[DESCRIPTORS]) {
    Kernel *kernel = engine->kernel;
    for (uint32_t i = 0; i < DESCRIPTORS; i++)
        outputs[i] = (ExpectedOutput){i, {recorded_of(kernel, i), i ? kernel->written[i] : count_consumed(engine)}};
}
