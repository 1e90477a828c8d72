/* Runs a candidate natively on one input beside the reference, and tells in what they differ.
 *
 * Each runs in a process of its own, on the same memory at the same addresses as in the judge's emulator: objects at
 * the edge of unmapped pages, a stack that holds garbage, a heap with a page of its own for each object. The C library
 * is not used here, since the program may define any of its names, and the candidate may be one of them.
 *
 * With LLMC_HERE in the environment the candidate alone runs, in this very process, for a debugger.
 */
#include "runner.h"

#define PAGE 4096ul
#define FRAME (2 * PAGE)
#define SECONDS 2
#define OUTPUT (1ul << 20)
#define MOST_CALLS 1000
#define MOST_ARGUMENTS 12
#define MOST_BLOCKS 1100
#define MOST_DATA 64

/* -- the system */

static long call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#define CALL(number, a, b, c) call6(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)
enum {
    WRITE = 1, MMAP = 9, MPROTECT = 10, MUNMAP = 11, SIGACTION = 13, PREAD = 17, DUP2 = 33, NANOSLEEP = 35,
    SETITIMER = 38, FORK = 57, WAIT4 = 61, KILL = 62, SIGALTSTACK = 131, PRCTL = 157, SETRLIMIT = 160, OPEN = 2,
    EXIT_GROUP = 231, MEMFD = 319
};

static void copy(void *to, const void *from, word size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static void fill(byte *to, const byte *pattern, word size)
{
    for (word at = 0; at < size; at++)
        to[at] = pattern[at % 4];
}

static word map(word address, word size, int shared)
{
    /* MAP_FIXED_NOREPLACE where an address is asked for */
    long flags = (shared ? 1 : 2) | 0x20 | (address ? 0x100000 : 0);
    return (word)call6(MMAP, (long)address, (long)size, 3, flags, -1, 0);
}

/* -- telling */

static void say(const char *text)
{
    word size = 0;
    while (text[size])
        size++;
    CALL(WRITE, 1, text, size);
}

static void say_number(word number, unsigned base)
{
    char digits[24], *at = digits + sizeof digits - 1;
    for (*at = 0; number || !*at; number /= base)
        *--at = "0123456789abcdef"[number % base];
    if (base == 16)
        say("0x");
    say(at);
}

static void say_signed(long number)
{
    if (number < 0)
        say("-");
    say_number(number < 0 ? -(word)number : (word)number, 10);
}

static void say_bytes(const byte *data, word size)
{
    int text = size > 0;
    for (word at = 0; at < size; at++)
        text &= (data[at] >= 32 && data[at] < 127) || data[at] == '\n' || data[at] == '\t' || (!data[at] && at);
    if (text)
        say("\"");
    for (word at = 0; at < size && at < 48; at++) {
        char plain[2] = {(char)data[at], 0}, pair[4] = {"0123456789abcdef"[data[at] >> 4], "0123456789abcdef"[data[at] & 15], ' ', 0};
        if (!text)
            say(pair);
        else
            say(data[at] == '\n' ? "\\n" : data[at] == '\t' ? "\\t" : data[at] ? plain : "\\0");
    }
    if (text)
        say("\"");
    if (size > 48)
        say(" ...");
    if (!size)
        say("nothing");
}

static void say_error(const char *text)
{
    say("run: ");
    say(text);
    say("\n");
    CALL(EXIT_GROUP, 2, 0, 0);
}

/* -- what a run leaves for the parent to see */

enum { NOTHING, RETURNED, EXITED, SIGNALLED, TRAPPED, PARTED, LIMITED };

struct call {
    int callee, count;
    struct {
        word size;
        byte data[16];
        word pointee;
        byte pointed[MOST_DATA];
    } arguments[MOST_ARGUMENTS];
};

struct block {
    word address, size, base, mapped;
};

struct report {
    int ended, code, signal, line, inside, stray, misaligned, errno_after, freed[64];
    word pc, address;
    int known; /* whether the address is */
    char words[160];
    struct llmc_registers after;
    byte frame[LLMC_STACK_SIZE];
    word calls_count;
    struct call calls[MOST_CALLS];
    int blocks_count;
    struct block blocks[MOST_BLOCKS];
    byte heap[MOST_BLOCKS * PAGE];
    byte memory[]; /* slots, then globals */
};

static struct report *report;
static int role; /* 0: reference, 1: candidate */
static int here, running;
static word deepest; /* where the stack ends that is looked at for return addresses */
static const struct llmc_scene *const scene = &llmc_scene;

/* -- going in and out of the code under test */

word llmc_home, llmc_target, llmc_upper, llmc_returns[1024];
half llmc_number, llmc_depth, llmc_misaligned;
struct llmc_registers llmc_after, llmc_seen;
byte llmc_environment[32], llmc_private[1 << 16] __attribute__((aligned(16)));
void llmc_enter(void (*function)(void), const struct llmc_registers *registers);
void llmc_returned(void);
void llmc_outside(void);
__attribute__((used)) void llmc_called(void);

#define SAVE(to)                                                                                                  \
    "movq %rax, " to "(%rip)\nmovq %rbx, " to "+8(%rip)\nmovq %rcx, " to "+16(%rip)\nmovq %rdx, " to "+24(%rip)\n" \
    "movq %rsi, " to "+32(%rip)\nmovq %rdi, " to "+40(%rip)\nmovq %rbp, " to "+48(%rip)\n"                        \
    "movq %rsp, " to "+56(%rip)\nmovq %r8, " to "+64(%rip)\nmovq %r9, " to "+72(%rip)\n"                          \
    "movq %r10, " to "+80(%rip)\nmovq %r11, " to "+88(%rip)\nmovq %r12, " to "+96(%rip)\n"                        \
    "movq %r13, " to "+104(%rip)\nmovq %r14, " to "+112(%rip)\nmovq %r15, " to "+120(%rip)\n"                     \
    "movdqu %xmm0, " to "+128(%rip)\nmovdqu %xmm1, " to "+144(%rip)\nmovdqu %xmm2, " to "+160(%rip)\n"            \
    "movdqu %xmm3, " to "+176(%rip)\nmovdqu %xmm4, " to "+192(%rip)\nmovdqu %xmm5, " to "+208(%rip)\n"            \
    "movdqu %xmm6, " to "+224(%rip)\nmovdqu %xmm7, " to "+240(%rip)\nmovdqu %xmm8, " to "+256(%rip)\n"            \
    "movdqu %xmm9, " to "+272(%rip)\nmovdqu %xmm10, " to "+288(%rip)\nmovdqu %xmm11, " to "+304(%rip)\n"          \
    "movdqu %xmm12, " to "+320(%rip)\nmovdqu %xmm13, " to "+336(%rip)\nmovdqu %xmm14, " to "+352(%rip)\n"         \
    "movdqu %xmm15, " to "+368(%rip)\n"
/* All but rax, which holds the address, and rsp, which comes last. */
#define LOAD                                                                                                   \
    "movdqu 128(%rax), %xmm0\nmovdqu 144(%rax), %xmm1\nmovdqu 160(%rax), %xmm2\nmovdqu 176(%rax), %xmm3\n"       \
    "movdqu 192(%rax), %xmm4\nmovdqu 208(%rax), %xmm5\nmovdqu 224(%rax), %xmm6\nmovdqu 240(%rax), %xmm7\n"       \
    "movdqu 256(%rax), %xmm8\nmovdqu 272(%rax), %xmm9\nmovdqu 288(%rax), %xmm10\nmovdqu 304(%rax), %xmm11\n"     \
    "movdqu 320(%rax), %xmm12\nmovdqu 336(%rax), %xmm13\nmovdqu 352(%rax), %xmm14\nmovdqu 368(%rax), %xmm15\n"   \
    "movq 8(%rax), %rbx\nmovq 16(%rax), %rcx\nmovq 24(%rax), %rdx\nmovq 32(%rax), %rsi\nmovq 40(%rax), %rdi\n"   \
    "movq 48(%rax), %rbp\nmovq 64(%rax), %r8\nmovq 72(%rax), %r9\nmovq 80(%rax), %r10\nmovq 88(%rax), %r11\n"    \
    "movq 96(%rax), %r12\nmovq 104(%rax), %r13\nmovq 112(%rax), %r14\nmovq 120(%rax), %r15\n"                    \
    "movq 56(%rax), %rsp\nmovq (%rax), %rax\n"

__asm__(".text\n.globl llmc_outside\n"
        "llmc_enter:\n"
        "pushq %rbx\npushq %rbp\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, llmc_home(%rip)\nmovq %rdi, llmc_target(%rip)\nmovq %rsi, %rax\n"
        "fninit\nldmxcsr 392(%rax)\npushq $0x202\npopfq\n" LOAD "jmp *llmc_target(%rip)\n"
        "llmc_returned:\n" SAVE("llmc_after")
        "movq llmc_home(%rip), %rsp\npushfq\npopq llmc_after+384(%rip)\ncld\nstmxcsr llmc_after+392(%rip)\n"
        "fnstenv llmc_environment(%rip)\nfninit\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbp\npopq %rbx\nret\n"
        "llmc_outside:\n" SAVE("llmc_seen")
        "leaq llmc_private+65536(%rip), %rsp\npushfq\npopq llmc_seen+384(%rip)\ncld\n"
        "call llmc_called\n"
        "pushq llmc_seen+384(%rip)\npopfq\nleaq llmc_seen(%rip), %rax\n" LOAD "ret\n");

#define ALLOCATOR(number, name)                                                              \
    __asm__(".text\n.weak " name "\n.type " name ",@function\n" name ":\nmovl $" #number \
            ", llmc_number(%rip)\njmp llmc_outside\n")
ALLOCATOR(0x2000, "malloc");
ALLOCATOR(0x2001, "calloc");
ALLOCATOR(0x2002, "realloc");
ALLOCATOR(0x2003, "free");
ALLOCATOR(0x2004, "aligned_alloc");
ALLOCATOR(0x2005, "memalign");

/* -- the candidate's lines */

extern const word first_line[] __asm__("__start_llmc_lines") __attribute__((weak));
extern const word last_line[] __asm__("__stop_llmc_lines") __attribute__((weak));

/* The line of the instruction that holds an address; 0 where that is none of the candidate's. */
static int line_at(word address)
{
    word best = 0, line = 0;
    for (const word *entry = first_line; entry < last_line; entry += 2)
        if (entry[0] <= address && entry[0] >= best)
            best = entry[0], line = entry[1];
    return address - best < 16 ? (int)line : 0;
}

static int caller_line(word stack)
{
    if (llmc_depth && llmc_depth <= 1024 && line_at(llmc_returns[llmc_depth - 1] - 1))
        return line_at(llmc_returns[llmc_depth - 1] - 1);
    word start = scene->whole ? (word)&start : LLMC_STACK - LLMC_DEEP;
    if (scene->whole && stack < deepest - LLMC_DEEP)
        return 0;
    for (word at = stack & -8ul; at >= (scene->whole ? 0 : start) && at < deepest - 8 && at < stack + 2048; at += 8)
        if (line_at(*(word *)at - 1))
            return line_at(*(word *)at - 1);
    return 0;
}

/* -- the heap: each object ends, or begins, at a page that is not there */

#define HEAP 0x5581a0000000ul
#define HEAP_LIMIT (4ul << 20)
#define LANE (2ul << 20)
#define ROUND (1ul << 16)
#define BEYOND (HEAP + (HEAP_LIMIT + 1) * LANE)

static struct block blocks[MOST_BLOCKS];
static int blocks_count, freed[64];
static word held, beyond;
static half *made; /* how many objects there were of each size; far away from the program, where wild pointers go */

static void finish(int how, int code, const char *words);

static word allocate(word size, word align)
{
    if (align & (align - 1) || !align || align > PAGE || size > HEAP_LIMIT || size + held > HEAP_LIMIT || blocks_count == MOST_BLOCKS)
        return 0;
    word mapped = size ? (size + PAGE - 1) / PAGE * PAGE : PAGE;
    if (!made)
        made = (half *)map(0, (HEAP_LIMIT + 1) * sizeof *made, 0);
    word room = scene->low ? (mapped + PAGE + ROUND - 1) / ROUND * ROUND : mapped + PAGE;
    word offset = made[size]++ * room, base = HEAP + size * LANE + offset;
    if (offset + room > LANE)
        base = BEYOND + beyond, beyond += room;
    if (map(base, mapped, 0) != base)
        return 0;
    fill((byte *)base, scene->garbage, mapped);
    word address = scene->low ? base : (base + mapped - (size ? size : 1)) / align * align;
    struct block *block = &blocks[blocks_count++];
    block->address = address, block->size = size, block->base = base, block->mapped = mapped;
    held += mapped;
    return address;
}

static word asked(word size, word align)
{
    int *errno_location = __extension__({ extern int *__errno_location(void); __errno_location(); });
    int refused = scene->shortage == 1 || (scene->shortage && (size % 8 == 0) == (scene->shortage == 3));
    word address = refused ? 0 : allocate(size, align);
    if (!address)
        *errno_location = 12;
    return address;
}

static word size_of(word address)
{
    for (int at = 0; at < blocks_count; at++)
        if (blocks[at].address == address)
            return blocks[at].size;
    for (int at = 0; at < scene->objects_count; at++)
        if (scene->objects[at].address == address && scene->objects[at].data && !freed[at])
            return scene->objects[at].size;
    finish(TRAPPED, 0, "free or realloc of a pointer that malloc did not give");
    return 0;
}

static void release(word address)
{
    if (!address)
        return;
    size_of(address);
    for (int at = 0; at < blocks_count; at++)
        if (blocks[at].address == address) {
            CALL(MUNMAP, blocks[at].base, blocks[at].mapped, 0);
            held -= blocks[at].mapped;
            copy(&blocks[at], &blocks[--blocks_count], sizeof *blocks);
            return;
        }
    for (int at = 0; at < scene->objects_count; at++)
        if (scene->objects[at].address == address) {
            CALL(MUNMAP, scene->objects[at].slot.address, scene->objects[at].slot.size, 0);
            freed[at] = 1;
        }
}

static word resized(word old, word size)
{
    word before = old ? size_of(old) : 0, address = asked(size, 16);
    if (address && old) {
        copy((void *)address, (void *)old, size < before ? size : before);
        release(old);
    }
    return address;
}

static void heap_called(int which)
{
    word first = llmc_seen.general[RDI], second = llmc_seen.general[RSI], result = 0;
    if (which == 0)
        result = asked(first, 16);
    else if (which == 1) {
        result = asked(first * second, 16);
        for (word at = 0; result && at < first * second; at++)
            ((byte *)result)[at] = 0;
    } else if (which == 2)
        result = resized(first, second);
    else if (which == 3) {
        release(first);
        return;
    } else
        result = asked(second, first);
    llmc_seen.general[RAX] = result;
}

/* -- calls of functions that are not there */

static int in_image(word address)
{
    extern const byte __executable_start[], etext[];
    return address >= (word)__executable_start && address < (word)etext;
}

static int is_readable(word address)
{
    for (int at = 0; at < llmc_slots_count; at++)
        if (address - llmc_slots[at].address < llmc_slots[at].size)
            return 1;
    for (int at = 0; at < blocks_count; at++)
        if (address - blocks[at].base < blocks[at].mapped)
            return 1;
    extern const byte __executable_start[], end[];
    return (address >= (word)__executable_start && address < (word)end) || address - LLMC_STACK < LLMC_STACK_SIZE;
}

static word value_of(int number)
{
    return number < 16 ? llmc_seen.general[number] : llmc_seen.vector[number - 16][0];
}

static void record(const struct llmc_outside *outside, int callee)
{
    if (report->calls_count >= MOST_CALLS)
        finish(LIMITED, 0, "it makes more than 1000 calls out");
    struct call *call = &report->calls[report->calls_count++];
    call->callee = callee;
    call->count = outside->count < MOST_ARGUMENTS ? outside->count : MOST_ARGUMENTS;
    for (int at = 0; at < call->count; at++) {
        const struct llmc_argument *argument = &outside->arguments[at];
        word words[2] = {0, 0}, size = argument->size < 16 ? argument->size : 16;
        if (argument->registers[0] < 0)
            copy(words, (byte *)llmc_seen.general[RSP] + 8 + argument->offset, size);
        else {
            words[0] = value_of(argument->registers[0]);
            words[1] = argument->registers[1] < 0 ? 0 : value_of(argument->registers[1]);
        }
        for (word place = 0; place < size; place++)
            call->arguments[at].data[place] = ((byte *)words)[place] & (argument->mask ? argument->mask[place] : 0xff);
        call->arguments[at].size = size;
        word most = argument->kind == TEXT ? MOST_DATA : argument->kind == DATA ? argument->pointee : 0, place = 0;
        for (; place < most && place < MOST_DATA && is_readable(words[0] + place); place++) {
            call->arguments[at].pointed[place] = ((byte *)words[0])[place];
            if (argument->kind == TEXT && !((byte *)words[0])[place])
                break;
        }
        call->arguments[at].pointee = place;
    }
}

static void reply(const struct llmc_reply *given)
{
    word passed[GENERAL];
    copy(passed, llmc_seen.general, sizeof passed);
    static const int lost[] = {RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11};
    for (word at = 0; at < sizeof lost / sizeof *lost; at++)
        llmc_seen.general[lost[at]] = scene->lost->general[lost[at]];
    copy(llmc_seen.vector, scene->lost->vector, sizeof llmc_seen.vector);
    for (int at = 0; at < given->effects_count; at++) {
        const struct llmc_effect *effect = &given->effects[at];
        word address = (word)effect->symbol + effect->address;
        if (effect->made && allocate(effect->size, 16) != address)
            finish(PARTED, 0, "the heap is not as it was in the emulator");
        copy((void *)address, effect->data, effect->size);
    }
    for (int at = 0; at < given->results_count; at++) {
        const struct llmc_result *result = &given->results[at];
        word *to = result->number < 16 ? &llmc_seen.general[result->number] : llmc_seen.vector[result->number - 16];
        *to = (*to & ~result->mask) | (result->value & result->mask);
        if (result->same_as >= 0)
            *to = passed[result->same_as];
    }
}

void llmc_called(void)
{
    if (llmc_number >= LLMC_HEAP) {
        heap_called((int)llmc_number - LLMC_HEAP);
        return;
    }
    int external = llmc_number >= LLMC_EXTERNAL;
    const struct llmc_outside *outside =
        external ? &scene->externals[llmc_number - LLMC_EXTERNAL] : &scene->callbacks[llmc_number];
    if (!external && (int)llmc_number >= scene->callbacks_count)
        finish(TRAPPED, 0, "a jump into no function");
    if (llmc_seen.general[RSP] % 16 != 8 && line_at(*(word *)llmc_seen.general[RSP] - 1))
        report->misaligned = -1;
    word number = report->calls_count;
    record(outside, (int)llmc_number);
    if ((int)number >= scene->replies_count[role] || scene->replies[role][number].callee != (int)llmc_number)
        finish(PARTED, 0, "it makes another call out than in the emulator, whose answer is not known");
    reply(&scene->replies[role][number]);
}

/* -- one run */

static word memory_size(void)
{
    word size = 0;
    for (int at = 0; at < scene->objects_count; at++)
        size += scene->objects[at].slot.size;
    for (int at = 0; at < scene->globals_count; at++)
        size += scene->globals[at].size;
    return size;
}

/* Let the parent see what there is now. */
static void snapshot(void)
{
    byte *to = report->memory;
    for (int at = 0; at < scene->objects_count; at++) {
        const struct llmc_slot *slot = &scene->objects[at].slot;
        if (!freed[at])
            copy(to, (void *)slot->address, slot->size);
        report->freed[at] = freed[at];
        to += slot->size;
    }
    for (int at = 0; at < scene->globals_count; at++) {
        copy(to, scene->globals[at].at, scene->globals[at].size);
        to += scene->globals[at].size;
    }
    word used = 0;
    report->blocks_count = 0;
    for (int at = 0; at < blocks_count; at++) {
        copy(report->heap + used, (void *)blocks[at].base, blocks[at].mapped);
        copy(&report->blocks[report->blocks_count++], &blocks[at], sizeof *blocks);
        used += blocks[at].mapped;
    }
    for (int at = 0; at < llmc_slots_count && !scene->whole; at++) {
        int used_slot = 0;
        for (int other = 0; other < scene->objects_count; other++)
            used_slot |= scene->objects[other].slot.address == llmc_slots[at].address;
        for (word place = 0; !used_slot && place < llmc_slots[at].size; place++)
            report->stray |= ((byte *)llmc_slots[at].address)[place] != scene->garbage[place % 4];
    }
    if (!scene->whole)
        copy(report->frame, (void *)LLMC_STACK, LLMC_STACK_SIZE);
    report->errno_after = *__extension__({ extern int *__errno_location(void); __errno_location(); });
    copy(&report->after, &llmc_after, sizeof llmc_after);
    report->after.control = *(unsigned short *)llmc_environment;
    report->after.tags = *(unsigned short *)(llmc_environment + 8);
    if (llmc_misaligned)
        report->misaligned = (int)llmc_misaligned;
}

static void finish(int how, int code, const char *words)
{
    if (here) {
        say(words);
        say("\n");
        __asm__ volatile("int3");
    }
    if (report) {
        report->ended = how, report->code = code;
        for (word at = 0; words[at] && at < sizeof report->words - 1; at++)
            report->words[at] = words[at];
        if (how == TRAPPED)
            report->line = caller_line(llmc_seen.general[RSP]);
        if (how != SIGNALLED || code == 6)
            snapshot();
    }
    CALL(EXIT_GROUP, code, 0, 0);
}

/* The C library's exit ends here. */
__attribute__((weak)) void _Exit(int code)
{
    if (running && report)
        finish(EXITED, code & 0xff, "");
    for (;;)
        CALL(EXIT_GROUP, code, 0, 0);
}

static void on_signal(int signal, const byte *information, const byte *context)
{
    const word *registers = (const word *)(context + 40);
    word stack = registers[15], pc = registers[16];
    report->signal = signal;
    report->pc = pc;
    report->address = *(const word *)(information + 16);
    report->known = (signal == 11 || signal == 7) && *(const int *)(information + 8) != 0x80;
    report->line = line_at(signal == 5 ? pc - 1 : pc);
    report->inside = !report->line;
    if (!report->line)
        report->line = caller_line(stack);
    finish(SIGNALLED, signal, "");
}

static void listen(void)
{
    static byte stack[1 << 16] __attribute__((aligned(16)));
    struct { void *at; int flags; word size; } other = {stack, 0, sizeof stack};
    CALL(SIGALTSTACK, &other, 0, 0);
    static const int signals[] = {4, 5, 6, 7, 8, 11, 14, 25, 31};
    for (word at = 0; at < sizeof signals / sizeof *signals; at++) {
        /* SA_SIGINFO, SA_ONSTACK, SA_RESTORER; nothing returns from the handler */
        struct { void *handler; word flags; void *restorer; word mask; } action = {
            (void *)on_signal, 0x4 | 0x08000000 | 0x04000000, (void *)on_signal, 0};
        call6(SIGACTION, signals[at], (long)&action, 0, 8, 0, 0);
    }
    word interval[4] = {0, 0, SECONDS, 0};
    CALL(SETITIMER, 0, interval, 0);
    word limit[2] = {OUTPUT, OUTPUT};
    CALL(SETRLIMIT, 1, limit, 0);
    CALL(PRCTL, 1, 9, 0); /* die with the parent */
}

static void needed(word address, word size)
{
    if (map(address, size, 0) != address)
        say_error("the addresses of the input are taken here, by chance: start it again");
}

/* Where callbacks and the return from the function lead. */
static void make_stubs(void)
{
    needed(LLMC_STUBS, PAGE);
    for (int number = 0; number < (int)(PAGE / LLMC_STUB_SIZE); number++) {
        byte *at = (byte *)LLMC_STUBS + number * LLMC_STUB_SIZE;
        word to = (word)llmc_outside;
        if ((word)at == LLMC_RETURN)
            to = (word)llmc_returned;
        else { /* movl $number, llmc_number */
            half place = (half)(word)&llmc_number;
            at[0] = 0xc7, at[1] = 0x04, at[2] = 0x25;
            copy(at + 3, &place, 4);
            copy(at + 7, &number, 4);
            at += 11;
        }
        int distance = (int)(to - ((word)at + 5));
        at[0] = 0xe9;
        copy(at + 1, &distance, 4);
    }
    CALL(MPROTECT, LLMC_STUBS, PAGE, 5);
}

static void put_input(void)
{
    for (int at = 0; at < llmc_slots_count; at++) {
        needed(llmc_slots[at].address, llmc_slots[at].size);
        fill((byte *)llmc_slots[at].address, scene->garbage, llmc_slots[at].size);
    }
    for (int at = 0; at < scene->objects_count; at++)
        if (scene->objects[at].data)
            copy((void *)scene->objects[at].address, scene->objects[at].data, scene->objects[at].size);
    for (int at = 0; at < scene->globals_count; at++)
        if (scene->globals[at].data)
            copy(scene->globals[at].at, scene->globals[at].data, scene->globals[at].size);
    for (int at = 0; at < scene->pads_count; at++) {
        const struct llmc_pad *pad = &scene->pads[at];
        word first = (word)pad->at & -PAGE, last = ((word)pad->at + pad->size + PAGE - 1) & -PAGE;
        CALL(MPROTECT, first, last - first, 3);
        fill(pad->at, scene->unset, pad->pad);
        fill(pad->at + pad->size - pad->pad, scene->unset, pad->pad);
    }
    needed(LLMC_STACK - LLMC_DEEP, LLMC_DEEP + LLMC_STACK_SIZE);
    fill((byte *)LLMC_STACK - LLMC_DEEP, scene->unset, LLMC_DEEP + LLMC_STACK_SIZE);
    word stack = scene->entry->general[RSP], back = LLMC_RETURN;
    copy((void *)stack, &back, 8);
    copy((void *)(stack + 8), scene->stack, scene->stack_size);
    make_stubs();
    llmc_upper = scene->lost->general[RAX] & 0xffffffff00000000ul;
    blocks_count = 0, held = 0, beyond = 0;
}

/* Let the reference's own code run wherever the candidate is called. */
static void put_reference(void)
{
    byte *at = (byte *)scene->candidate;
    word first = (word)at & -PAGE;
    int distance = (int)((word)scene->reference - ((word)at + 5));
    CALL(MPROTECT, first, 2 * PAGE, 7);
    at[0] = 0xe9;
    copy(at + 1, &distance, 4);
}

static void begin(void)
{
    extern char **__environ;
    static char *empty[1];
    __environ = empty;
    llmc_unbuffer();
    *__extension__({ extern int *__errno_location(void); __errno_location(); }) = scene->errno_before;
    running = 1;
}

static void run(void)
{
    put_input();
    deepest = LLMC_STACK + LLMC_STACK_SIZE;
    begin();
    llmc_enter(scene->candidate, scene->entry);
    running = 0;
}

/* -- both runs, and what they differ in */

static struct report *reports[2];
static int output[2][2];

/* In the child: the run itself, or a return for main to follow. In the parent: the child's number. */
static int started(int which)
{
    role = which;
    for (int stream = 0; stream < 2; stream++)
        output[which][stream] = (int)CALL(MEMFD, "output", 0, 0);
    int child = (int)CALL(FORK, 0, 0, 0);
    if (child)
        return child;
    report = reports[which];
    CALL(DUP2, CALL(OPEN, "/dev/null", 0, 0), 0, 0);
    for (int stream = 0; stream < 2; stream++)
        CALL(DUP2, output[which][stream], stream + 1, 0);
    listen();
    if (which == 0)
        put_reference();
    if (scene->whole) {
        begin();
        return 0;
    }
    run();
    finish(RETURNED, 0, "");
    return 0;
}

static void await(int child)
{
    int status;
    word pause[2] = {0, 2000000};
    for (int left = (SECONDS + 1) * 500; CALL(WAIT4, child, &status, 1) == 0; left--) {
        if (!left)
            CALL(KILL, child, 9, 0);
        CALL(NANOSLEEP, pause, 0, 0);
    }
}

static const char *signal_name(int signal)
{
    return signal == 4    ? "SIGILL (illegal instruction)"
           : signal == 5  ? "SIGTRAP (breakpoint instruction)"
           : signal == 6  ? "SIGABRT (abort)"
           : signal == 7  ? "SIGBUS (bad access)"
           : signal == 8  ? "SIGFPE (division by zero or overflow in it)"
           : signal == 11 ? "SIGSEGV (bad access)"
           : signal == 25 ? "SIGXFSZ (more than 1 MiB of output)"
                          : "a signal";
}

static void say_line(const struct report *of)
{
    if (of->line) {
        say(of->inside ? ", called from line " : " in line ");
        say_number((word)of->line, 10);
        say(" of candidate.s");
    }
}

static void say_place(word address)
{
    say_number(address, 16);
    for (int at = 0; at < scene->objects_count; at++) {
        const struct llmc_object *object = &scene->objects[at];
        long offset = (long)(address - object->address);
        if (offset < -(long)PAGE || offset >= (long)(object->size + PAGE))
            continue;
        say(" (");
        say(object->label);
        say(offset < 0 ? " - " : " + ");
        say_number((word)(offset < 0 ? -offset : offset), 10);
        say(", of ");
        say_number(object->size, 10);
        say(" bytes)");
        return;
    }
    if (address < PAGE)
        say(" (a null pointer)");
}

static void say_end(const struct report *of)
{
    if (of->ended == RETURNED)
        say("returns");
    else if (of->ended == EXITED)
        say("exits with code "), say_number((word)of->code, 10);
    else if (of->ended == SIGNALLED && of->signal == 14) {
        say("still running after ");
        say_number(SECONDS, 10);
        say(" s");
        say_line(of);
    } else if (of->ended == SIGNALLED) {
        say(signal_name(of->signal));
        if (of->known)
            say(" at "), say_place(of->address);
        else if (of->signal == 11)
            say(" at no address that a process can have, or misaligned, or privileged");
        say_line(of);
    } else if (of->ended == NOTHING)
        say("was killed");
    else {
        say(of->words);
        say_line(of);
    }
    say("\n");
}

static int count;

static void differs(const char *what)
{
    count++;
    say("differs: ");
    say(what);
}

static void both(const byte *first, const byte *second, word size)
{
    say("\n  reference ");
    say_bytes(first, size);
    say("\n  candidate ");
    say_bytes(second, size);
    say("\n");
}

/* Whether two words are the same, or point to equal constants. */
static int alike(word first, word second)
{
    if (first == second)
        return 1;
    if (!in_image(first) || !in_image(second))
        return 0;
    const byte *one = (const byte *)first, *two = (const byte *)second;
    for (word at = 0; at < MOST_DATA && in_image(first + at) && in_image(second + at); at++) {
        if (one[at] != two[at])
            return 0;
        if (!one[at])
            return 1;
    }
    return 1;
}

/* The first byte of an object that differs; its size where none does. */
static word first_difference(const byte *first, const byte *second, const byte *mask, word size)
{
    for (word at = 0; at < size; at++) {
        if (!((first[at] ^ second[at]) & (mask ? mask[at] : 0xff)))
            continue;
        word start = at & -8ul, words[2];
        if (start + 8 > size)
            return at;
        copy(&words[0], first + start, 8);
        copy(&words[1], second + start, 8);
        if (!alike(words[0], words[1]))
            return at;
        at = start + 7;
    }
    return size;
}

static void compare_memory(const char *kind, const char *name, const byte *first, const byte *second, const byte *mask, word size)
{
    word at = first_difference(first, second, mask, size);
    if (at == size)
        return;
    differs(kind);
    say(name);
    say(" from byte ");
    say_number(at, 10);
    both(first + at, second + at, size - at < 24 ? size - at : 24);
}

static int is_nan(const byte *data, int size)
{
    word bits = 0;
    copy(&bits, data, (word)size);
    return size == 4 ? (bits & 0x7fffffff) > 0x7f800000 : (bits & ~(1ul << 63)) > 0x7fful << 52;
}

static void result_of(const struct report *of, byte *to)
{
    for (int at = 0; at < scene->result_count; at++) {
        int number = scene->result->registers[at];
        copy(to + 8 * at, number < 16 ? &of->after.general[number] : of->after.vector[number - 16], 8);
    }
    for (word at = 0; at < scene->result->size; at++)
        to[at] &= scene->result->mask ? scene->result->mask[at] : 0xff;
}

static void say_result(const byte *data)
{
    long number = 0;
    word size = scene->result->size;
    copy(&number, data, size < 8 ? size : 8);
    if (size > 8)
        say_bytes(data, size);
    else if (scene->result_float) {
        say("the bits ");
        say_number((word)number, 16);
    } else if (scene->result_signed)
        say_signed(size < 8 ? number << (64 - 8 * size) >> (64 - 8 * size) : number);
    else
        say_number((word)number, (word)number > 0xffff ? 16 : 10);
    for (word end = 0; size == 8 && in_image((word)number); end++)
        if (end == 40 || !((byte *)number)[end]) {
            say(" ");
            say_bytes((byte *)number, end);
            break;
        }
    say("\n");
}

static void compare_results(void)
{
    byte results[2][16] = {{0}, {0}};
    word words[2], size = scene->result ? scene->result->size : 0;
    if (!scene->result_count)
        return;
    for (int which = 0; which < 2; which++) {
        result_of(reports[which], results[which]);
        copy(&words[which], results[which], 8);
    }
    int same = first_difference(results[0], results[1], 0, size) == size;
    if (same || (scene->result_float && is_nan(results[0], (int)size) && is_nan(results[1], (int)size)))
        return;
    differs("return value\n  reference ");
    say_result(results[0]);
    say("  candidate ");
    say_result(results[1]);
}

static const struct llmc_outside *outside_of(const struct call *call)
{
    return call->callee >= LLMC_EXTERNAL ? &scene->externals[call->callee - LLMC_EXTERNAL] : &scene->callbacks[call->callee];
}

static void say_call(const struct report *of, word number)
{
    if (number >= of->calls_count) {
        say("no call\n");
        return;
    }
    const struct call *call = &of->calls[number];
    say(outside_of(call)->name);
    say("(");
    for (int at = 0; at < call->count; at++) {
        word value = 0;
        copy(&value, call->arguments[at].data, 8);
        say(at ? ", " : "");
        say_number(value, value > 0xffff ? 16 : 10);
        if (call->arguments[at].pointee) {
            say(" -> ");
            say_bytes(call->arguments[at].pointed, call->arguments[at].pointee);
        }
    }
    say(")\n");
}

static int same_call(const struct call *first, const struct call *second)
{
    if (first->callee != second->callee)
        return 0;
    for (int at = 0; at < first->count; at++) {
        const struct llmc_argument *argument = &outside_of(first)->arguments[at];
        word values[2], size = first->arguments[at].size;
        copy(&values[0], first->arguments[at].data, 8);
        copy(&values[1], second->arguments[at].data, 8);
        /* Where the stack, constants and the candidate's own data lie says nothing. */
        int apart = argument->kind != NUMBER && values[0] != values[1] &&
                    (values[0] - LLMC_STACK < LLMC_STACK_SIZE || alike(values[0], values[1]));
        if (!apart && first_difference(first->arguments[at].data, second->arguments[at].data, 0, size) != size)
            return 0;
        word pointee = first->arguments[at].pointee;
        if (first_difference(first->arguments[at].pointed, second->arguments[at].pointed, 0, pointee) != pointee)
            return 0;
    }
    return 1;
}

static void compare_calls(void)
{
    word most = reports[0]->calls_count > reports[1]->calls_count ? reports[0]->calls_count : reports[1]->calls_count;
    for (word at = 0; at < most && at < MOST_CALLS; at++) {
        int counted = at < reports[0]->calls_count && at < reports[1]->calls_count;
        if (counted && same_call(&reports[0]->calls[at], &reports[1]->calls[at]))
            continue;
        differs("call ");
        say_number(at + 1, 10);
        say(" out of the function\n  reference ");
        say_call(reports[0], at);
        say("  candidate ");
        say_call(reports[1], at);
        return;
    }
}

static void compare_output(void)
{
    byte *texts[2] = {(byte *)map(0, OUTPUT, 0), (byte *)map(0, OUTPUT, 0)};
    for (int stream = 0; stream < 2; stream++) {
        long sizes[2];
        for (int which = 0; which < 2; which++) {
            sizes[which] = call6(PREAD, output[which][stream], (long)texts[which], OUTPUT, 0, 0, 0);
            sizes[which] = sizes[which] < 0 ? 0 : sizes[which];
        }
        word least = (word)(sizes[0] < sizes[1] ? sizes[0] : sizes[1]), at = 0;
        while (at < least && texts[0][at] == texts[1][at])
            at++;
        if (at == (word)sizes[0] && sizes[0] == sizes[1])
            continue;
        differs(stream ? "standard error" : "standard output");
        say(" from byte ");
        say_number(at, 10);
        say("\n  reference ");
        say_bytes(texts[0] + at, (word)sizes[0] - at);
        say("\n  candidate ");
        say_bytes(texts[1] + at, (word)sizes[1] - at);
        say("\n");
    }
}

static void compare_around(const struct llmc_object *object, const byte *memory)
{
    word start = object->address - object->slot.address, past = start + object->size;
    for (word at = 0; at < object->slot.size; at++) {
        if ((at >= start && at < past) || memory[at] == scene->garbage[at % 4])
            continue;
        differs("memory that belongs to no object is written: ");
        say_number(at < start ? start - at : at - past + 1, 10);
        say(at < start ? " bytes before " : " bytes past the end of ");
        say(object->label);
        say("\n");
        return;
    }
}

static void compare_objects(void)
{
    const byte *first = reports[0]->memory, *second = reports[1]->memory;
    for (int at = 0; at < scene->objects_count; at++) {
        const struct llmc_object *object = &scene->objects[at];
        word start = object->address - object->slot.address;
        if (reports[0]->freed[at] != reports[1]->freed[at]) {
            differs("");
            say(object->label);
            say(reports[1]->freed[at] ? " is freed by the candidate alone\n" : " is freed by the reference alone\n");
        } else if (!reports[0]->freed[at]) {
            compare_memory("", object->label, first + start, second + start, object->mask, object->size);
            compare_around(object, second);
        }
        first += object->slot.size, second += object->slot.size;
    }
    for (int at = 0; at < scene->globals_count; at++) {
        const struct llmc_global *global = &scene->globals[at];
        compare_memory("global ", global->name, first, second, global->mask, global->size);
        first += global->size, second += global->size;
    }
    if (reports[1]->stray)
        differs("memory that belongs to no object is written\n");
}

/* The place of the live object that comes next by its address, after that of `after`; -1 where none does. */
static int next_block(const struct report *of, word after)
{
    int best = -1;
    for (int at = 0; at < of->blocks_count && at < MOST_BLOCKS; at++)
        if (of->blocks[at].address > after && (best < 0 || of->blocks[at].address < of->blocks[best].address))
            best = at;
    return best;
}

static const byte *block_data(const struct report *of, int number)
{
    const byte *data = of->heap;
    for (int at = 0; at < number; at++)
        data += of->blocks[at].mapped;
    return data + (of->blocks[number].address - of->blocks[number].base);
}

static void compare_heaps(void)
{
    word after[2] = {0, 0};
    for (;;) {
        int numbers[2];
        const struct block *found[2];
        for (int which = 0; which < 2; which++) {
            numbers[which] = next_block(reports[which], after[which]);
            found[which] = numbers[which] < 0 ? 0 : &reports[which]->blocks[numbers[which]];
            after[which] = found[which] ? found[which]->address : after[which];
        }
        if (!found[0] && !found[1])
            return;
        if (!found[0] || !found[1] || found[0]->size != found[1]->size) {
            differs("live heap objects\n  reference ");
            found[0] ? say_number(found[0]->size, 10) : say("no further one");
            say(found[0] ? " bytes\n  candidate " : "\n  candidate ");
            found[1] ? say_number(found[1]->size, 10) : say("no further one");
            say(found[1] ? " bytes\n" : "\n");
            return;
        }
        compare_memory("heap object", "", block_data(reports[0], numbers[0]), block_data(reports[1], numbers[1]), 0, found[0]->size);
    }
}

static void compare_convention(void)
{
    const struct llmc_registers *after = &reports[1]->after, *entry = scene->entry;
    static const struct { int number; const char *name; } saved[] = {
        {RBX, "%rbx"}, {RBP, "%rbp"}, {R12, "%r12"}, {R13, "%r13"}, {R14, "%r14"}, {R15, "%r15"}};
    for (word at = 0; at < sizeof saved / sizeof *saved; at++)
        if (after->general[saved[at].number] != entry->general[saved[at].number]) {
            differs("callee-saved register ");
            say(saved[at].name);
            say(" is not restored: ");
            say_number(entry->general[saved[at].number], 16);
            say(" at the call, ");
            say_number(after->general[saved[at].number], 16);
            say(" after it\n");
        }
    if (after->general[RSP] != entry->general[RSP] + 8) {
        differs("the stack pointer returns ");
        say_signed((long)(after->general[RSP] - entry->general[RSP] - 8));
        say(" bytes off\n");
    }
    if (after->flags & 0x400)
        differs("the direction flag is left set\n");
    if (((after->mxcsr ^ 0x1f80) & 0xffc0) || after->control != 0x37f)
        differs("the floating-point control words are changed\n");
    if (after->tags != 0xffff)
        differs("the x87 register stack is not empty\n");
    if (reports[1]->misaligned) {
        differs("the stack is not aligned to 16 bytes at a call");
        if (reports[1]->misaligned > 0) {
            say(" of ");
            say(scene->thunks[reports[1]->misaligned - 1]);
        }
        say("\n");
    }
    word frame = entry->general[RSP] + 8 + scene->stack_size - LLMC_STACK;
    for (word at = frame; at < LLMC_STACK_SIZE; at++)
        if (reports[1]->frame[at] != scene->unset[at % 4]) {
            differs("the caller's stack frame is written\n");
            return;
        }
}

static int same_end(void)
{
    const struct report *first = reports[0], *second = reports[1];
    return first->ended == second->ended && first->code == second->code && first->signal == second->signal;
}

static void compare(void)
{
    if (!same_end()) {
        count++;
        if (reports[0]->ended != RETURNED && reports[0]->ended != EXITED)
            return;
        if (scene->whole)
            compare_output();
        return;
    }
    if (reports[0]->ended == RETURNED)
        compare_results();
    compare_calls();
    compare_output();
    compare_objects();
    compare_heaps();
    if (scene->errno_matters && reports[0]->errno_after != scene->errno_before && reports[0]->errno_after != reports[1]->errno_after) {
        differs("errno\n  reference ");
        say_signed(reports[0]->errno_after);
        say("\n  candidate ");
        say_signed(reports[1]->errno_after);
        say("\n");
    }
    if (reports[0]->ended == RETURNED)
        compare_convention();
}

static int is_set(const char *name)
{
    extern char **__environ;
    for (char **entry = __environ; entry && *entry; entry++) {
        word at = 0;
        while (name[at] && (*entry)[at] == name[at])
            at++;
        if (!name[at] && (*entry)[at] == '=')
            return 1;
    }
    return 0;
}

static void run_here(void)
{
    here = 1, role = 1;
    report = (struct report *)map(0, sizeof *report + memory_size(), 0);
    if (scene->whole) {
        report = 0;
        begin();
        return;
    }
    run();
    say("the candidate returned\n");
    CALL(EXIT_GROUP, 0, 0, 0);
}

__attribute__((constructor)) static void llmc_begin(void)
{
    deepest = (word)__builtin_frame_address(0);
    if (is_set("LLMC_HERE")) {
        run_here();
        return;
    }
    say(scene->function);
    say(", which the judge found to be\n  ");
    say(scene->verdict);
    say("\non\n");
    for (const char *const *line = scene->shown; *line; line++) {
        say("  ");
        say(*line);
        say("\n");
    }
    for (int which = 0; which < 2; which++) {
        reports[which] = (struct report *)map(0, sizeof *reports[which] + memory_size(), 1);
        int child = started(which);
        if (!child)
            return;
        await(child);
        say(which ? "candidate: " : "reference: ");
        say_end(reports[which]);
    }
    compare();
    if (!count)
        say("no difference here: see README.txt\n");
    CALL(EXIT_GROUP, count ? 1 : 0, 0, 0);
}
