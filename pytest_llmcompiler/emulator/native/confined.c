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
 * What it shares with the programs of reproducers is in `foreign_code.h`. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "confined.h"

enum { SOCKET, MEMORY }; /* The descriptors with which the process starts. */

enum {
    STACK_BYTES = 64 << 10,
    RELOCATED = 3,    /* MREMAP_MAYMOVE | MREMAP_FIXED */
    FAILED = 2,       /* the exit status where the process can't be set up */
    SET_FS = 0x1002,  /* ARCH_SET_FS of arch_prctl */
};
#define USER_END 0x7ffffffff000ul
#define FIRST_PAGE 0x1000ul
#define CODE(start) ((uint64_t)(uintptr_t)(start))

extern char __ehdr_start[], _end[]; /* of this program, by the linker */

__asm__(".text\n"
        ".globl _start\n"
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

/* Compilers call these of their own accord. */
void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    copy(to, from, size);
    return to;
}

void *memset(void *to, int byte, size_t size) {
    set(to, byte, size);
    return to;
}

static void leave(int status) {
    CALL(__NR_exit_group, status);
}

/* End the process unless a system call succeeds. */
static long need(long result) {
    if (is_error(result))
        leave(FAILED);
    return result;
}

/* -- the handler of signals */

static void report(int signal, const SignalInfo *info, const SignalContext *context) {
    observe(&event, signal, info, context);
    if (CALL(__NR_write, SOCKET, (long)&event, sizeof event) != sizeof event)
        leave(FAILED);
}

static void handle(int signal, SignalInfo *info, SignalContext *context) {
    report(signal, info, context);
    for (;;) {
        if (CALL(__NR_read, SOCKET, (long)&order, sizeof order) != sizeof order)
            leave(FAILED);
        if (order.kind == ORDER_RUN)
            break;
        need(CALL(__NR_mremap, (long)order.from, (long)order.size, (long)order.size, RELOCATED, (long)order.to));
    }
    copy(context->registers, order.state.registers, sizeof order.state.registers);
    write_vectors(context->vectors, find_components(context->vectors), &order.state, order.flags);
}

/* -- before any foreign code */

static void catch_signals(void) {
    static const uint8_t signals[] = {EXCEPTION_SIGNALS};
    need(install_handler(handle, signal_stack, sizeof signal_stack, signals, sizeof signals));
    uint64_t none = 0;
    need(CALL(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&none, 0, sizeof none));
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
        EQUALS(__NR_rt_sigreturn, 8, 0),
        EQUALS(__NR_exit_group, 7, 0),
        EQUALS(__NR_read, 4, 0),
        EQUALS(__NR_write, 3, 0),
        EQUALS(__NR_mremap, 0, 5),
        LOAD(args[3], 0),
        EQUALS(RELOCATED, 2, 3),
        LOAD(args[0], 0),
        EQUALS(SOCKET, 0, 1),
        ANSWER(SECCOMP_RET_ALLOW),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    need(CALL(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1));
    need(CALL(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&program));
}

static void receive(void *message, long size) {
    if (CALL(__NR_read, SOCKET, (long)message, size) != size)
        leave(FAILED);
}

static void map_memory(uint32_t count) {
    uint64_t start = CODE(__ehdr_start) & ~(FIRST_PAGE - 1), end = (CODE(_end) + FIRST_PAGE - 1) & ~(FIRST_PAGE - 1);
    need(CALL(__NR_munmap, FIRST_PAGE, (long)(start - FIRST_PAGE)));
    need(CALL(__NR_munmap, (long)end, (long)(USER_END - end)));
    for (uint32_t i = 0; i < count; i++) {
        Mapping mapping;
        receive(&mapping, sizeof mapping);
        need(map_at(mapping.address, mapping.size, mapping.protection, MEMORY, mapping.offset));
    }
}

void set_up(void) {
    Setup setup;
    receive(&setup, sizeof setup);
    need(CALL(__NR_prctl, PR_SET_PDEATHSIG, 9 /* SIGKILL */));
    if (CALL(__NR_getppid) != setup.parent)
        leave(FAILED);
    map_memory(setup.mapping_count);
    need(CALL(__NR_close_range, MEMORY, ~0u));
    uint64_t none[2] = {0, 0};
    static const uint8_t limits[] = {4, 7}; /* RLIMIT_CORE, RLIMIT_NOFILE */
    for (uint32_t i = 0; i < sizeof limits; i++)
        need(CALL(__NR_prlimit64, 0, limits[i], (long)none));
    need(CALL(__NR_prctl, PR_SET_DUMPABLE));
    need(CALL(__NR_prctl, PR_SET_TSC, PR_TSC_SIGSEGV)); /* no clock for foreign code */
    need(CALL(__NR_arch_prctl, SET_FS, (long)setup.thread_pointer));
    read_layout_of_vectors();
    catch_signals();
    install_filter();
}
