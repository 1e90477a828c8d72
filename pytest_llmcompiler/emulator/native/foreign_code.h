/* Foreign code on the processor itself, without a C library: system calls, memory at fixed addresses, handlers of signals
 * and what they say of the code that was stopped, and all registers that the code starts from.
 *
 * The confined process (`confined.c`) and the program of a reproducer (`repro/runner.c`) are built from this.
 *
 * Sources: Linux's arch/x86/include/uapi/asm/sigcontext.h and ucontext.h; Intel Software Developer's Manual, volume 1,
 * chapter 13; the System V ABI for x86-64 for system calls. */
#ifndef FOREIGN_CODE_H
#define FOREIGN_CODE_H

#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

enum { R8, R9, R10, R11, R12, R13, R14, R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, FLAGS, REGISTERS }; /* sigcontext */
enum {
    VECTORS = 16,     /* zmm0 to zmm15 */
    VECTOR_WORDS = 8, /* the lowest two of them are xmm0 to xmm15 */
    XMM_WORDS = 2,
    FX_BYTES = 512,  /* the legacy region of an XSAVE area: x87, MXCSR, xmm */
};

/* What code starts from. */
typedef struct {
    uint64_t registers[REGISTERS];
    uint64_t fill; /* the contents of zmm16 to zmm31, and of the mask registers */
    uint32_t mxcsr, fpcw;
    uint64_t vectors[VECTORS][VECTOR_WORDS];
} State;

/* Why code was stopped: a signal, with the state of the processor. */
typedef struct {
    uint32_t signal;
    int32_t code;     /* `si_code` */
    uint64_t address; /* `si_addr` */
    uint64_t registers[REGISTERS];
    uint64_t error, trap; /* the processor's error code and the number of the exception */
    uint8_t fx[FX_BYTES];
    uint64_t uppers[VECTORS][VECTOR_WORDS - XMM_WORDS]; /* what SSE does not know of the vector registers */
} Event;

/* Which parts of a state are set. */
enum {
    STATE_FRESH = 1,   /* x87 is emptied, and its control word is set. */
    STATE_UPPERS = 2, /* What SSE does not know of the vector registers is set, and the mask registers. */
};

/* Those of the processor's exceptions, and of system calls that a filter traps: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV,
 * SIGSYS. */
#define EXCEPTION_SIGNALS 4, 5, 7, 8, 11, 31
enum { CODE_OF_KERNEL = 0x80 /* SI_KERNEL: the address of the access is not known */ };

/* The kernel's own structures; a C library has others. */
typedef struct {
    int32_t signal, error, code, unused;
    uint64_t address;
} SignalInfo;

typedef struct {
    uint64_t flags, link, stack[3];
    uint64_t registers[REGISTERS];
    uint16_t segments[4];
    uint64_t error, trap, old_mask, fault_address;
    uint8_t *vectors; /* an XSAVE area: `Legacy`, and behind it a header and the rest */
} SignalContext;

typedef struct {
    void (*handler)(int, SignalInfo *, SignalContext *);
    uint64_t flags;
    void (*restorer)(void);
    uint64_t mask;
} SignalAction;

/* The legacy region of an XSAVE area. In its last bytes the kernel says what is behind it. */
typedef struct {
    uint16_t fpcw, fpsw;
    uint8_t tags, unused; /* a bit for each register of x87 that holds a value */
    uint16_t opcode;
    uint64_t instruction, data;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t x87[8][16];
    uint64_t xmm[VECTORS][XMM_WORDS];
    uint8_t unused_too[48];
    uint32_t magic, extended_size; /* FP_XSTATE_MAGIC1 */
    uint64_t components;           /* one bit each */
    uint32_t area_size, padding[7];
} __attribute__((may_alias)) Legacy;
_Static_assert(sizeof(Legacy) == FX_BYTES, "the legacy region has 512 bytes");
#define FP_XSTATE_MAGIC1 0x46505853u

/* -- bytes */

static inline void copy(void *to, const void *from, size_t size) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static inline void set(void *to, int byte, size_t size) {
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
}

/* -- the kernel */

extern char behind_system_call[];
long system_call(long number, const long *arguments); /* six of them */
void return_from_signal(void);

/* All system calls of the program are made by one instruction, so that the kernel can tell them from foreign code's. */
__asm__(".text\n"
        "system_call:\n"
        "  mov %rdi, %rax\n"
        "  mov (%rsi), %rdi\n"
        "  mov 16(%rsi), %rdx\n"
        "  mov 24(%rsi), %r10\n"
        "  mov 32(%rsi), %r8\n"
        "  mov 40(%rsi), %r9\n"
        "  mov 8(%rsi), %rsi\n"
        "1: syscall\n"
        "behind_system_call:\n"
        "  ret\n"
        "return_from_signal:\n"
        "  mov $15, %eax\n" /* rt_sigreturn */
        "  jmp 1b\n");

#define CALL(number, ...) system_call(number, (const long[6]){__VA_ARGS__})

static inline int is_error(long result) {
    return result < 0 && result > -4096;
}

/* Map memory at an address at which there is none. Without a file it is zeros. Returns the address or an error. */
static long map_at(uint64_t address, uint64_t size, long protection, long file, uint64_t offset) {
    /* MAP_FIXED_NOREPLACE, and MAP_SHARED or MAP_PRIVATE | MAP_ANONYMOUS */
    long flags = 0x100000 | (file < 0 ? 0x22 : 0x1);
    return CALL(__NR_mmap, (long)address, (long)size, protection, flags, file, (long)offset);
}

/* Have signals handled on a stack of their own, with all others blocked: so a fault of the handler is the end. Returns 0 or
 * an error. */
static long install_handler(void (*handler)(int, SignalInfo *, SignalContext *), void *stack, uint64_t stack_size,
                            const uint8_t *signals, size_t count) {
    const struct {
        void *start;
        uint64_t flags, size;
    } place = {stack, 0, stack_size};
    long result = CALL(__NR_sigaltstack, (long)&place);
    /* SA_SIGINFO, SA_RESTORER, SA_ONSTACK */
    const SignalAction action = {handler, 0x4 | 0x04000000 | 0x08000000, return_from_signal, ~0ul};
    for (size_t i = 0; i < count && !result; i++)
        result = CALL(__NR_rt_sigaction, signals[i], (long)&action, 0, 8 /* bytes of a set of signals */);
    return result;
}

/* -- vector registers, in an XSAVE area */

enum { YMM_HIGH = 2, OPMASK = 5, ZMM_HIGH = 6, ZMM_UPPER = 7, COMPONENTS };
enum { SET_COMPONENTS = 3 | 1 << YMM_HIGH | 1 << OPMASK | 1 << ZMM_HIGH | 1 << ZMM_UPPER }; /* 3: x87 and SSE */

static uint32_t component_offsets[COMPONENTS], component_sizes[COMPONENTS]; /* in bytes, from CPUID */

/* To be called before the first `write_vectors`. */
static void read_layout_of_vectors(void) {
    for (uint32_t component = YMM_HIGH; component < COMPONENTS; component++) {
        uint32_t size, offset, ecx = component, edx;
        __asm__ volatile("cpuid" : "=a"(size), "=b"(offset), "+c"(ecx), "=d"(edx) : "0"(0xd));
        component_sizes[component] = size;
        component_offsets[component] = offset;
    }
}

/* Mark components of an area as present: else the processor takes their initial states. */
static void mark_present(uint8_t *area, uint64_t components) {
    uint64_t present;
    copy(&present, area + FX_BYTES, sizeof present);
    present |= components;
    copy(area + FX_BYTES, &present, sizeof present);
}

/* Where the words of the vector registers are: so many of each, from the first on, lie together in a component. */
static const struct {
    uint32_t component, first, count;
} upper_parts[] = {{YMM_HIGH, 2, 2}, {ZMM_HIGH, 4, 4}};

/* The words behind those that SSE knows. A component that is not present has its initial state: zeros. */
static void read_uppers(uint64_t (*uppers)[VECTOR_WORDS - XMM_WORDS], const uint8_t *area, uint64_t components) {
    uint64_t present;
    copy(&present, area + FX_BYTES, sizeof present);
    set(uppers, 0, sizeof(uint64_t[VECTORS][VECTOR_WORDS - XMM_WORDS]));
    for (uint32_t part = 0; part < sizeof upper_parts / sizeof *upper_parts; part++) {
        uint32_t component = upper_parts[part].component, size = upper_parts[part].count * sizeof(uint64_t);
        for (uint32_t number = 0; components & present & 1ul << component && number < VECTORS; number++)
            copy(uppers[number] + upper_parts[part].first - XMM_WORDS, area + component_offsets[component] + number * size, size);
    }
}

static void write_uppers(uint8_t *area, uint64_t components, const State *state) {
    for (uint32_t part = 0; part < sizeof upper_parts / sizeof *upper_parts; part++) {
        uint32_t component = upper_parts[part].component, size = upper_parts[part].count * sizeof(uint64_t);
        if (!(components & 1ul << component))
            continue;
        mark_present(area, 1ul << component);
        for (uint32_t number = 0; number < VECTORS; number++)
            copy(area + component_offsets[component] + number * size, state->vectors[number] + upper_parts[part].first, size);
    }
    for (uint32_t component = OPMASK; component < COMPONENTS; component++) {
        if (component == ZMM_HIGH || !(components & 1ul << component))
            continue;
        mark_present(area, 1ul << component);
        for (uint32_t at = 0; at < component_sizes[component]; at += sizeof state->fill)
            copy(area + component_offsets[component] + at, &state->fill, sizeof state->fill);
    }
}

/* Set an area to a state. `components` are those that it has; none: it is as long as its legacy region. */
static void write_vectors(uint8_t *area, uint64_t components, const State *state, uint32_t flags) {
    Legacy *legacy = (Legacy *)area;
    if (flags & STATE_FRESH) {
        set(legacy, 0, offsetof(Legacy, mxcsr));
        set(legacy->x87, 0, sizeof legacy->x87);
        legacy->fpcw = (uint16_t)state->fpcw;
    }
    legacy->mxcsr = state->mxcsr;
    for (uint32_t number = 0; number < VECTORS; number++)
        copy(legacy->xmm[number], state->vectors[number], sizeof *legacy->xmm);
    if (!components)
        return;
    mark_present(area, 3); /* x87 and SSE */
    if (flags & STATE_UPPERS)
        write_uppers(area, components & SET_COMPONENTS, state);
}

/* The components that the kernel has saved in an area; 0 where it is a legacy region alone. */
static uint64_t find_components(const uint8_t *area) {
    const Legacy *legacy = (const Legacy *)area;
    return legacy->magic == FP_XSTATE_MAGIC1 ? legacy->components : 0;
}

/* What a handler of signals sees of the code that was stopped. */
static void observe(Event *event, int signal, const SignalInfo *info, const SignalContext *context) {
    event->signal = (uint32_t)signal;
    event->code = info->code;
    event->address = info->address;
    copy(event->registers, context->registers, sizeof event->registers);
    event->error = context->error;
    event->trap = context->trap;
    copy(event->fx, context->vectors, FX_BYTES);
    read_uppers(event->uppers, context->vectors, find_components(context->vectors));
}

#endif
