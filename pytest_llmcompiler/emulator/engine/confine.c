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
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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

/* `seccomp.py` has the list: memory, the open pipes, the clock, the process itself. A thread that unicorn or keystone
 * would start is none of them. */
static const int allowed[] = {ALLOWED_CALLS};
enum { ALLOWED = sizeof allowed / sizeof *allowed, HEAD = 4, TAIL = 5 };

/* Have Landlock refuse all files, TCP connections and signals to others, as `landlock.py` does: beside the filter, which
 * refuses them too. An old kernel knows fewer rights and fields, and refuses those that it does not know. */
static void give_up_files(void) {
    enum { CREATE_RULESET = 444, RESTRICT_SELF = 446, ASK_VERSION = 1 };
    long version = syscall(CREATE_RULESET, NULL, 0, ASK_VERSION);
    if (version < 1)
        return;
    int rights = version == 1 ? 13 : version == 2 ? 14 : version < 5 ? 15 : 16;
    struct { uint64_t files, network, scopes; } handled = {(1u << rights) - 1, 3, 3};
    int ruleset = (int)syscall(CREATE_RULESET, &handled, version < 4 ? 8 : version < 6 ? 16 : 24, 0);
    if (ruleset < 0)
        return;
    syscall(RESTRICT_SELF, ruleset, 0);
    close(ruleset);
}

void give_up_system_calls(void) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    give_up_files();
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, 0});
    if (!ALLOWED)
        return; /* There is no list for this processor: the other limits stay. */
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
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program); /* A kernel without filters leaves the other limits. */
}
