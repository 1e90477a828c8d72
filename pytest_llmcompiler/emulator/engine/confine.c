/* A child that gives up all system calls but those that computing takes. `seccomp.py` does the same for Python's children,
 * and says what that is for.
 *
 * A filter is a program that the kernel runs at each system call. It jumps over so many of its next instructions: one
 * number where a comparison holds, another where it does not. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine.h"

#ifdef __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define END(action) BPF_STMT(BPF_RET | BPF_K, action)

/* Memory, the open pipes, the clock, the process itself. A thread that unicorn or keystone would start is none of them. */
static const int allowed[] = {
    SYS_read, SYS_readv, SYS_write, SYS_writev, SYS_close, SYS_mmap, SYS_mprotect, SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk, SYS_futex,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_sched_yield, SYS_clock_gettime,
    SYS_getpid, SYS_gettid, SYS_exit, SYS_exit_group, SYS_ppoll, SYS_getrandom, SYS_membarrier, SYS_clock_nanosleep,
#ifdef SYS_poll
    SYS_poll,
#endif
};
enum { ALLOWED = sizeof allowed / sizeof *allowed, HEAD = 4, TAIL = 5 };

void give_up_system_calls(void) {
    struct sock_filter filter[HEAD + ALLOWED + TAIL] = {
        LOAD(offsetof(struct seccomp_data, arch)),
        IF_EQUAL(ARCHITECTURE, 1, 0),
        END(SECCOMP_RET_KILL_PROCESS),
        LOAD(offsetof(struct seccomp_data, nr)),
    };
    for (int i = 0; i < ALLOWED; i++)
        filter[HEAD + i] = (struct sock_filter)IF_EQUAL(allowed[i], ALLOWED - 1 - i + TAIL - 1, 0);
    const struct sock_filter tail[TAIL] = {
        IF_EQUAL(SYS_tgkill, 0, 2), /* A process aborts by a signal to itself. */
        LOAD(offsetof(struct seccomp_data, args)),
        IF_EQUAL((unsigned)getpid(), 1, 0),
        END(SECCOMP_RET_ERRNO | EPERM),
        END(SECCOMP_RET_ALLOW),
    };
    for (int i = 0; i < TAIL; i++)
        filter[HEAD + ALLOWED + i] = tail[i];
    struct sock_fprog program = {HEAD + ALLOWED + TAIL, filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program); /* A kernel without filters leaves the other limits. */
}
