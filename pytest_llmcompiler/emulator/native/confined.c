/* Runs foreign machine code for its parent, in a process that can do nothing else.
 *
 * The process has no C library. It maps parts of one memory file at the addresses that the parent names, unmaps all
 * other memory but its own few pages, closes every descriptor but its socket, and has the kernel refuse every system
 * call but those in `install_filter`. Then it traps. From there on all happens in the handler of signals: it tells the
 * parent why the code stopped, with all registers, and waits for an order. To run code is to return from the handler
 * with other registers, so the kernel sets them all, whatever the processor has.
 *
 * Foreign code shares the address space with this program, and can take it over: then it has a socket on which it can
 * say anything, and nothing else. The parent reads messages of one size and checks what it uses.
 *
 * Sources: Linux's arch/x86/include/uapi/asm/sigcontext.h and ucontext.h; Intel Software Developer's Manual, volume 1, chapter 13. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "confined.h"

enum { SOCKET, MEMORY }; /* The descriptors with which the process starts. */

enum {
    STACK_BYTES = 64 << 10,
    SIGNAL_BYTES = 8, /* of the kernel's signal set */
    RELOCATED = 3,    /* MREMAP_MAYMOVE | MREMAP_FIXED */
    FAILED = 2,       /* the exit status where the process can't be set up */
    SET_FS = 0x1002,  /* ARCH_SET_FS of arch_prctl */
};
#define USER_END 0x7ffffffff000ul
#define FIRST_PAGE 0x1000ul
#define CODE(start) ((uint64_t)(uintptr_t)(start))

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

/* The legacy region of an XSAVE area, in the last bytes of which the kernel says how much is behind it. */
typedef struct {
    uint16_t fpcw, fpsw;
    uint8_t tags, unused;
    uint16_t opcode;
    uint64_t instruction, data;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t x87[8][16], xmm[VECTORS][16], unused_too[48];
    uint32_t magic, extended_size; /* FP_XSTATE_MAGIC1 */
    uint64_t components;           /* one bit each */
    uint32_t area_size, padding[7];
} Legacy;
_Static_assert(sizeof(Legacy) == FX_BYTES, "the legacy region has 512 bytes");
#define FP_XSTATE_MAGIC1 0x46505853u

typedef struct {
    void (*handler)(int, SignalInfo *, SignalContext *);
    uint64_t flags;
    void (*restorer)(void);
    uint64_t mask;
} SignalAction;

extern char __ehdr_start[], _end[]; /* of this program, by the linker */
extern char behind_system_call[];
long system_call(long number, const long *arguments); /* six of them */
void return_from_signal(void);

#define CALL(number, ...) system_call(number, (const long[6]){__VA_ARGS__})

/* All system calls of the process are made by one instruction, so that the kernel can tell them from foreign code's. */
__asm__(".text\n"
        ".globl system_call, behind_system_call, return_from_signal, _start\n"
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
        "  jmp 1b\n"
        "_start:\n"
        "  lea stack_end(%rip), %rsp\n"
        "  call set_up\n"
        "  int3\n" /* the first event */
        "  hlt\n"
        ".bss\n"
        ".balign 4096\n"
        "  .skip 65536\n"
        "stack_end:\n"
        "  .skip 4096\n"
        ".text\n");

static uint8_t signal_stack[STACK_BYTES] __attribute__((aligned(64)));
static Event event;
static Order order;
static uint32_t extended_offsets[8]; /* of the components of an XSAVE area, from CPUID */
static uint32_t extended_sizes[8];

/* Compilers call these of their own accord. */
void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return start;
}

void *memset(void *to, int byte, size_t size) {
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
    return start;
}

static void leave(int status) {
    CALL(SYS_exit_group, status);
}

/* End the process unless a system call succeeds. */
static long need(long result) {
    if (result < 0 && result > -4096)
        leave(FAILED);
    return result;
}

/* -- the handler of signals */

enum { YMM_HIGH = 2, OPMASK = 5, ZMM_HIGH = 6, ZMM_UPPER = 7 };

static void read_layout_of_vectors(void) {
    for (uint32_t component = YMM_HIGH; component <= ZMM_UPPER; component++) {
        uint32_t size, offset, ecx = component, edx;
        __asm__ volatile("cpuid" : "=a"(size), "=b"(offset), "+c"(ecx), "=d"(edx) : "0"(0xd));
        extended_sizes[component] = size;
        extended_offsets[component] = offset;
    }
}

/* Mark a component of an area as present: else the processor takes its initial state. */
static void mark_present(uint8_t *area, uint64_t components) {
    uint64_t present;
    memcpy(&present, area + FX_BYTES, sizeof present);
    present |= components;
    memcpy(area + FX_BYTES, &present, sizeof present);
}

/* Fill the parts of vector registers that SSE does not know, and the mask registers. */
static void clobber_vectors(uint8_t *area, uint64_t available, uint64_t fill) {
    static const uint8_t components[] = {YMM_HIGH, OPMASK, ZMM_HIGH, ZMM_UPPER};
    for (uint32_t i = 0; i < sizeof components; i++) {
        uint32_t component = components[i];
        if (!(available >> component & 1))
            continue;
        mark_present(area, 1ul << component);
        for (uint32_t at = 0; at < extended_sizes[component]; at += sizeof fill)
            memcpy(area + extended_offsets[component] + at, &fill, sizeof fill);
    }
}

static void set_vectors(uint8_t *area) {
    Legacy legacy;
    memcpy(&legacy, area, sizeof legacy);
    if (order.flags & RUN_FRESH) {
        memset(&legacy, 0, offsetof(Legacy, mxcsr));
        memset(legacy.x87, 0, sizeof legacy.x87);
        legacy.fpcw = (uint16_t)order.fpcw;
    }
    legacy.mxcsr = order.mxcsr;
    memcpy(legacy.xmm, order.vectors, sizeof legacy.xmm);
    memcpy(area, &legacy, sizeof legacy);
    if (legacy.magic != FP_XSTATE_MAGIC1)
        return;
    mark_present(area, 3); /* x87 and SSE */
    if (order.flags & RUN_CLOBBER)
        clobber_vectors(area, legacy.components, order.fill);
}

static void report(int signal, const SignalInfo *info, const SignalContext *context) {
    event.signal = (uint32_t)signal;
    event.code = info->code;
    event.address = info->address;
    memcpy(event.registers, context->registers, sizeof event.registers);
    event.error = context->error;
    event.trap = context->trap;
    memcpy(event.fx, context->vectors, FX_BYTES);
    if (CALL(SYS_write, SOCKET, (long)&event, sizeof event) != sizeof event)
        leave(FAILED);
}

static void handle(int signal, SignalInfo *info, SignalContext *context) {
    report(signal, info, context);
    for (;;) {
        if (CALL(SYS_read, SOCKET, (long)&order, sizeof order) != sizeof order)
            leave(FAILED);
        if (order.kind == ORDER_RUN)
            break;
        need(CALL(SYS_mremap, (long)order.from, (long)order.size, (long)order.size, RELOCATED, (long)order.to));
    }
    memcpy(context->registers, order.registers, sizeof order.registers);
    set_vectors(context->vectors);
}

/* -- before any foreign code */

/* The kernel's names: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS. */
static const uint8_t signals[] = {4, 5, 7, 8, 11, 31};

static void install_handler(void) {
    struct {
        void *start;
        uint64_t flags, size;
    } stack = {signal_stack, 0, sizeof signal_stack};
    need(CALL(SYS_sigaltstack, (long)&stack));
    /* SA_SIGINFO, SA_RESTORER, SA_ONSTACK; every signal is blocked meanwhile, so a fault of the handler is the end. */
    SignalAction action = {handle, 0x4 | 0x04000000 | 0x08000000, return_from_signal, ~0ul};
    for (uint32_t i = 0; i < sizeof signals; i++)
        need(CALL(SYS_rt_sigaction, signals[i], (long)&action, 0, SIGNAL_BYTES));
    uint64_t none = 0;
    need(CALL(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&none, 0, SIGNAL_BYTES));
}

#define LOAD(field, offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field) + (offset))
#define EQUALS(value, if_equal, if_not) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, if_equal, if_not)
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, action)

/* System calls of foreign code trap, whatever they are. Of this program's own: the socket is read and written, memory
 * that is there already is moved, a signal handler returns, and the process ends. Jumps skip so many lines. */
static void install_filter(void) {
    uint64_t place = CODE(behind_system_call);
    struct sock_filter filter[] = {
        LOAD(arch, 0),
        EQUALS(AUDIT_ARCH_X86_64, 0, 4),
        LOAD(instruction_pointer, 0),
        EQUALS((uint32_t)place, 0, 2),
        LOAD(instruction_pointer, 4),
        EQUALS((uint32_t)(place >> 32), 1, 0),
        ANSWER(SECCOMP_RET_TRAP),
        LOAD(nr, 0),
        EQUALS(SYS_rt_sigreturn, 8, 0),
        EQUALS(SYS_exit_group, 7, 0),
        EQUALS(SYS_read, 4, 0),
        EQUALS(SYS_write, 3, 0),
        EQUALS(SYS_mremap, 0, 5),
        LOAD(args[3], 0),
        EQUALS(RELOCATED, 2, 3),
        LOAD(args[0], 0),
        EQUALS(SOCKET, 0, 1),
        ANSWER(SECCOMP_RET_ALLOW),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    need(CALL(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1));
    need(CALL(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&program));
}

static void receive(void *message, long size) {
    if (CALL(SYS_read, SOCKET, (long)message, size) != size)
        leave(FAILED);
}

static void map_memory(uint32_t count) {
    uint64_t start = CODE(__ehdr_start) & ~(FIRST_PAGE - 1), end = (CODE(_end) + FIRST_PAGE - 1) & ~(FIRST_PAGE - 1);
    need(CALL(SYS_munmap, FIRST_PAGE, (long)(start - FIRST_PAGE)));
    need(CALL(SYS_munmap, (long)end, (long)(USER_END - end)));
    for (uint32_t i = 0; i < count; i++) {
        Mapping mapping;
        receive(&mapping, sizeof mapping);
        need(CALL(SYS_mmap, (long)mapping.address, (long)mapping.size, mapping.protection,
                  MAP_SHARED | MAP_FIXED_NOREPLACE, MEMORY, (long)mapping.offset));
    }
}

void set_up(void) {
    Setup setup;
    receive(&setup, sizeof setup);
    need(CALL(SYS_prctl, PR_SET_PDEATHSIG, 9 /* SIGKILL */));
    if (CALL(SYS_getppid) != setup.parent)
        leave(FAILED);
    map_memory(setup.mapping_count);
    need(CALL(SYS_close_range, MEMORY, ~0u));
    uint64_t none[2] = {0, 0};
    static const uint8_t limits[] = {4, 7}; /* RLIMIT_CORE, RLIMIT_NOFILE */
    for (uint32_t i = 0; i < sizeof limits; i++)
        need(CALL(SYS_prlimit64, 0, limits[i], (long)none));
    need(CALL(SYS_prctl, PR_SET_DUMPABLE));
    need(CALL(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV)); /* no clock for foreign code */
    need(CALL(SYS_arch_prctl, SET_FS, (long)setup.thread_pointer));
    read_layout_of_vectors();
    install_handler();
    install_filter();
}
