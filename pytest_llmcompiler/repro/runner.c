/* Runs a candidate natively on one input beside the reference, and prints the differences.
 *
 * Each runs in a process of its own, with the same memory at the same addresses as in the judge's emulator: objects at
 * the edge of unmapped pages, a stack that holds garbage, a heap with separate pages for each object. The C library is
 * not used here, because the program may define any of its names, and the candidate may be one of them.
 *
 * With LLMC_DEBUG in the environment the candidate alone runs, in this very process, for a debugger.
 *
 * `foreign_code.h` has what this shares with the process in which the judge runs code natively. The judge enters code by
 * returning from a handler of signals, and answers calls in a handler. Debuggers stop at signals, so here the code is
 * entered by a jump, and calls lead to code that answers them.
 */
#include "runner.h"

#define PAGE 4096ul
#define TIME_LIMIT 2              /* seconds for each run */
#define OUTPUT_BYTES (1ul << 20)  /* limit of each output stream of a run */
#define MAX_CALLS 1000            /* recorded external calls of a run; the judge stops at as many */
#define MAX_ARGUMENTS 12          /* recorded arguments of an external call */
#define MAX_BLOCKS 1100           /* live heap objects of a run */
#define MAX_DATA 64               /* recorded bytes that an argument points to; as in the judge */
#define PRINTED_BYTES 48          /* bytes of a value that are printed */

/* -- the system */

#define CALL3(number, a, b, c) CALL(number, (long)(a), (long)(b), (long)(c))
/* The kernel's names of signals. */
enum {
    SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGSEGV = 11, SIGALRM = 14, SIGXFSZ = 25
};
static const byte signals[] = {EXCEPTION_SIGNALS, SIGABRT, SIGALRM, SIGXFSZ};
enum { READ_WRITE = 3, READ_EXECUTE = 5, READ_WRITE_EXECUTE = 7 };

static void fill(byte *to, const byte *pattern, word size)
{
    for (word at = 0; at < size; at++)
        to[at] = pattern[at % 4];
}

/* Memory of zeros for a child and its parent. */
static void *map_shared(word size)
{
    return (void *)CALL(__NR_mmap, 0, (long)size, READ_WRITE, 0x21 /* MAP_SHARED | MAP_ANONYMOUS */, -1);
}

/* -- output */

static void print(const char *text)
{
    word size = 0;
    while (text[size])
        size++;
    CALL3(__NR_write, 1, text, size);
}

static void print_number(word number, unsigned base)
{
    char digits[24], *at = digits + sizeof digits - 1;
    for (*at = 0; number || !*at; number /= base)
        *--at = "0123456789abcdef"[number % base];
    if (base == 16)
        print("0x");
    print(at);
}

static void print_signed(long number)
{
    if (number < 0)
        print("-");
    print_number(number < 0 ? -(word)number : (word)number, 10);
}

static void print_bytes(const byte *data, word size)
{
    int text = size > 0;
    for (word at = 0; at < size; at++)
        text &= (data[at] >= 32 && data[at] < 127) || data[at] == '\n' || data[at] == '\t' || (!data[at] && at);
    if (text)
        print("\"");
    for (word at = 0; at < size && at < PRINTED_BYTES; at++) {
        char plain[2] = {(char)data[at], 0}, pair[4] = {"0123456789abcdef"[data[at] >> 4], "0123456789abcdef"[data[at] & 15], ' ', 0};
        if (!text)
            print(pair);
        else
            print(data[at] == '\n' ? "\\n" : data[at] == '\t' ? "\\t" : data[at] ? plain : "\\0");
    }
    if (text)
        print("\"");
    if (size > PRINTED_BYTES)
        print(" ...");
    if (!size)
        print("nothing");
}

static void print_error(const char *text)
{
    print("run: ");
    print(text);
    print("\n");
    CALL3(__NR_exit_group, 2, 0, 0);
}

/* -- the report of a run, in memory that the parent shares */

enum { NOTHING, RETURNED, EXITED, SIGNALLED, TRAPPED, DIVERGED, LIMITED };

struct call {
    int callee, count;
    struct {
        word size;
        byte data[MAX_PASSED];
        word pointee;
        byte pointed[MAX_DATA];
    } arguments[MAX_ARGUMENTS];
};

struct block {
    word address, size, base, mapped;
};

struct report {
    int outcome, code;
    int line, in_callee; /* the line of the candidate; 1: that line called the function that failed */
    int has_stray_write, errno_after, is_freed[64];
    int misaligned; /* the number of the thunk that was called with a misaligned stack; -1: another function */
    Event event; /* SIGNALLED */
    char message[160];
    State after;
    byte x87_tags; /* of the registers that hold a value */
    byte frame[LLMC_STACK_SIZE];
    word calls_count;
    struct call calls[MAX_CALLS];
    int blocks_count;
    struct block blocks[MAX_BLOCKS];
    byte heap[MAX_BLOCKS * PAGE];
    byte memory[]; /* the slots of all objects, then all globals */
};

static struct report *report;
static void insert_streams(void *data, word size);
static int role; /* 0: reference, 1: candidate */
static int in_debugger, running; /* running: between the start of the code under test and its return */
static word stack_end; /* the end of the stack that is searched for return addresses */
static const struct llmc_reproducer *const reproducer = &llmc_reproducer;

/* -- entering and leaving the code under test
 *
 * llmc_enter loads all registers and jumps to the code under test. A return leads to llmc_returned, which stores the
 * registers in llmc_after and returns to the caller of llmc_enter. An external call leads to llmc_external with the number of
 * the callee in llmc_number: it stores the registers in llmc_at_call, calls llmc_called on a private stack, loads the
 * registers that this leaves and returns to the code under test. The vector registers and x87 pass through llmc_area. */

word llmc_home, llmc_target, llmc_upper, llmc_returns[1024];
half llmc_number, llmc_depth, llmc_misaligned;
half llmc_components; /* the parts of an XSAVE area that the processor has and the system supports; 0: no XSAVE */
State llmc_after, llmc_at_call;
byte llmc_area[PAGE] __attribute__((aligned(64))); /* longer than the parts that are set */
byte llmc_private[1 << 16] __attribute__((aligned(16)));
void llmc_enter(void (*function)(void), const State *state);
void llmc_returned(void);
void llmc_external(void);
__attribute__((used)) void llmc_called(void);

/* Offsets are those of `State`. */
#define SAVE(to)                                                                                                 \
    "movq %r8, " to "(%rip)\nmovq %r9, " to "+8(%rip)\nmovq %r10, " to "+16(%rip)\nmovq %r11, " to "+24(%rip)\n"  \
    "movq %r12, " to "+32(%rip)\nmovq %r13, " to "+40(%rip)\nmovq %r14, " to "+48(%rip)\n"                       \
    "movq %r15, " to "+56(%rip)\nmovq %rdi, " to "+64(%rip)\nmovq %rsi, " to "+72(%rip)\n"                       \
    "movq %rbp, " to "+80(%rip)\nmovq %rbx, " to "+88(%rip)\nmovq %rdx, " to "+96(%rip)\n"                       \
    "movq %rax, " to "+104(%rip)\nmovq %rcx, " to "+112(%rip)\nmovq %rsp, " to "+120(%rip)\n"
#define SAVE_FLAGS(to)                                                                                        \
    "pushfq\npopq " to "+136(%rip)\ncld\nmovl llmc_components(%rip), %eax\nxorl %edx, %edx\ntestl %eax, %eax\n" \
    "jz 1f\nxsave64 llmc_area(%rip)\njmp 2f\n1: fxsave64 llmc_area(%rip)\n2:\n"
/* The state that rax points to. The vector registers come first, and rax last; after rsp nothing else uses the stack. */
#define LOAD                                                                                                    \
    "movq %rax, %rbx\nmovl llmc_components(%rip), %eax\nxorl %edx, %edx\ntestl %eax, %eax\njz 1f\n"              \
    "xrstor64 llmc_area(%rip)\njmp 2f\n1: fxrstor64 llmc_area(%rip)\n2: movq %rbx, %rax\n"                       \
    "pushq 136(%rax)\npopfq\n"                                                                                  \
    "movq (%rax), %r8\nmovq 8(%rax), %r9\nmovq 16(%rax), %r10\nmovq 24(%rax), %r11\nmovq 32(%rax), %r12\n"      \
    "movq 40(%rax), %r13\nmovq 48(%rax), %r14\nmovq 56(%rax), %r15\nmovq 64(%rax), %rdi\nmovq 72(%rax), %rsi\n" \
    "movq 80(%rax), %rbp\nmovq 88(%rax), %rbx\nmovq 96(%rax), %rdx\nmovq 112(%rax), %rcx\n"                     \
    "movq 120(%rax), %rsp\nmovq 104(%rax), %rax\n"

__asm__(".text\n.globl llmc_external\n"
        "llmc_enter:\n"
        "pushq %rbx\npushq %rbp\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, llmc_home(%rip)\nmovq %rdi, llmc_target(%rip)\nmovq %rsi, %rax\n" LOAD "jmp *llmc_target(%rip)\n"
        "llmc_returned:\n" SAVE("llmc_after")
        "movq llmc_home(%rip), %rsp\n" SAVE_FLAGS("llmc_after") "fninit\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbp\npopq %rbx\nret\n"
        "llmc_external:\n" SAVE("llmc_at_call")
        "leaq llmc_private+65536(%rip), %rsp\n" SAVE_FLAGS("llmc_at_call")
        "call llmc_called\n"
        "leaq llmc_at_call(%rip), %rax\n" LOAD "ret\n");

/* The components that a state sets and the processor has. */
static half find_own_components(void)
{
    half eax = 1, ebx, ecx = 0, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    if (!(ecx >> 27 & 1)) /* OSXSAVE */
        return 0;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return eax & SET_COMPONENTS;
}

/* What has been saved in llmc_area. */
static void read_vectors(State *state)
{
    const Legacy *legacy = (const Legacy *)llmc_area;
    uint64_t uppers[VECTORS][VECTOR_WORDS - XMM_WORDS];
    read_uppers(uppers, llmc_area, llmc_components);
    for (int number = 0; number < VECTORS; number++) {
        copy(state->vectors[number], legacy->xmm[number], sizeof legacy->xmm[number]);
        copy(state->vectors[number] + XMM_WORDS, uppers[number], sizeof uppers[number]);
    }
    state->mxcsr = legacy->mxcsr, state->fpcw = legacy->fpcw;
}

static void enter(void)
{
    State entry;
    copy(&entry, reproducer->entry, sizeof entry);
    insert_streams(entry.registers, sizeof entry.registers);
    if ((llmc_components = find_own_components()))
        read_layout_of_vectors();
    write_vectors(llmc_area, llmc_components, &entry, STATE_FRESH | STATE_UPPERS);
    llmc_enter(reproducer->candidate, &entry);
    read_vectors(&llmc_after);
}

#define ALLOCATOR(number, name)                                                              \
    __asm__(".text\n.weak " name "\n.type " name ",@function\n" name ":\nmovl $" #number \
            ", llmc_number(%rip)\njmp llmc_external\n")
ALLOCATOR(0x2000, "malloc");
ALLOCATOR(0x2001, "calloc");
ALLOCATOR(0x2002, "realloc");
ALLOCATOR(0x2003, "free");
ALLOCATOR(0x2004, "aligned_alloc");
ALLOCATOR(0x2005, "memalign");

/* -- the candidate's lines */

extern const word first_line[] __asm__("__start_llmc_lines") __attribute__((weak));
extern const word last_line[] __asm__("__stop_llmc_lines") __attribute__((weak));

/* The line of the instruction at an address; 0 where the address is not in the candidate. An instruction has at most 15
 * bytes, so an address further behind the last known instruction is in other code. */
static int find_line(word address)
{
    word best = 0, line = 0;
    for (const word *entry = first_line; entry < last_line; entry += 2)
        if (entry[0] <= address && entry[0] >= best)
            best = entry[0], line = entry[1];
    return address - best < 16 ? (int)line : 0;
}

/* The line of the candidate that called the running code: the first return address on the stack that lies behind an
 * instruction of the candidate. Return addresses that an LLMC_INT_THUNK took off the stack come first. */
static int find_caller_line(word stack)
{
    if (llmc_depth && llmc_depth <= 1024 && find_line(llmc_returns[llmc_depth - 1] - 1))
        return find_line(llmc_returns[llmc_depth - 1] - 1);
    word start = reproducer->whole_program ? (word)&start : LLMC_STACK - LLMC_STACK_BELOW;
    if (reproducer->whole_program && stack < stack_end - LLMC_STACK_BELOW)
        return 0;
    for (word at = stack & -8ul; at >= (reproducer->whole_program ? 0 : start) && at < stack_end - 8 && at < stack + 2048; at += 8)
        if (find_line(*(word *)at - 1))
            return find_line(*(word *)at - 1);
    return 0;
}

/* -- the heap
 *
 * Each object ends at an unmapped page, or begins at one with aligned_objects. As in the emulator, its address depends
 * only on its size and on how many objects of that size were allocated before it: every size has an area of SIZE_AREA
 * bytes, which begins with some unused pages, and objects that do not fit into it follow each other in OVERFLOW_AREA. */

#define HEAP 0x5581a0000000ul
#define HEAP_LIMIT (4ul << 20)
#define SIZE_AREA (2ul << 20)
#define AREA_STARTS 256 /* pages at which areas begin, by the size of their objects */
#define HEAP_ALIGNMENT (1ul << 16)
#define OVERFLOW_AREA (HEAP + (HEAP_LIMIT + 1) * SIZE_AREA)

static struct block blocks[MAX_BLOCKS];
static int blocks_count, is_freed[64];
static word mapped_bytes, overflow_used;
/* How many objects of each size were allocated. It is mapped by the kernel, far from addresses that wild pointers of the
 * candidate hit. */
static half *allocated_counts;

static void finish(int outcome, int code, const char *message);

static word allocate(word size, word align)
{
    if (align & (align - 1) || !align || align > PAGE || size > HEAP_LIMIT || size + mapped_bytes > HEAP_LIMIT || blocks_count == MAX_BLOCKS)
        return 0;
    word mapped = size ? (size + PAGE - 1) / PAGE * PAGE : PAGE;
    if (!allocated_counts)
        allocated_counts = map_shared((HEAP_LIMIT + 1) * sizeof *allocated_counts);
    word room = reproducer->aligned_objects ? (mapped + PAGE + HEAP_ALIGNMENT - 1) / HEAP_ALIGNMENT * HEAP_ALIGNMENT : mapped + PAGE;
    word start = reproducer->aligned_objects ? 0 : size / 8 % AREA_STARTS * PAGE;
    word offset = start + allocated_counts[size]++ * room, base = HEAP + size * SIZE_AREA + offset;
    if (offset + room > SIZE_AREA)
        base = OVERFLOW_AREA + overflow_used, overflow_used += room;
    if (map_at(base, mapped, READ_WRITE, -1, 0) != (long)base)
        return 0;
    fill((byte *)base, reproducer->garbage, mapped);
    word address = reproducer->aligned_objects ? base : (base + mapped - (size ? size : 1)) / align * align;
    struct block *block = &blocks[blocks_count++];
    block->address = address, block->size = size, block->base = base, block->mapped = mapped;
    mapped_bytes += mapped;
    return address;
}

/* malloc and its like: fails where the input says so, and sets errno to ENOMEM. */
static word allocate_for_program(word size, word align)
{
    int *errno_location = __extension__({ extern int *__errno_location(void); __errno_location(); });
    int refused = reproducer->shortage == 1 || (reproducer->shortage && (size % 8 == 0) == (reproducer->shortage == 3));
    word address = refused ? 0 : allocate(size, align);
    if (!address)
        *errno_location = 12;
    return address;
}

/* The size of a live object; ends the run where the address is not that of one. */
static word find_size(word address)
{
    for (int at = 0; at < blocks_count; at++)
        if (blocks[at].address == address)
            return blocks[at].size;
    for (int at = 0; at < reproducer->objects_count; at++)
        if (reproducer->objects[at].address == address && reproducer->objects[at].data && !is_freed[at])
            return reproducer->objects[at].size;
    finish(TRAPPED, 0, "free or realloc of a pointer that malloc did not return");
    return 0;
}

static void release(word address)
{
    if (!address)
        return;
    find_size(address);
    for (int at = 0; at < blocks_count; at++)
        if (blocks[at].address == address) {
            CALL3(__NR_munmap, blocks[at].base, blocks[at].mapped, 0);
            mapped_bytes -= blocks[at].mapped;
            copy(&blocks[at], &blocks[--blocks_count], sizeof *blocks);
            return;
        }
    for (int at = 0; at < reproducer->objects_count; at++)
        if (reproducer->objects[at].address == address) {
            CALL3(__NR_munmap, reproducer->objects[at].slot.address, reproducer->objects[at].slot.size, 0);
            is_freed[at] = 1;
        }
}

static word resize(word old, word size)
{
    word before = old ? find_size(old) : 0, address = allocate_for_program(size, 16);
    if (address && old) {
        copy((void *)address, (void *)old, size < before ? size : before);
        release(old);
    }
    return address;
}

static void heap_called(int which)
{
    word first = llmc_at_call.registers[RDI], second = llmc_at_call.registers[RSI], result = 0;
    if (which == 0)
        result = allocate_for_program(first, 16);
    else if (which == 1) {
        result = allocate_for_program(first * second, 16);
        for (word at = 0; result && at < first * second; at++)
            ((byte *)result)[at] = 0;
    } else if (which == 2)
        result = resize(first, second);
    else if (which == 3) {
        release(first);
        return;
    } else
        result = allocate_for_program(second, first);
    llmc_at_call.registers[RAX] = result;
}

/* -- external calls */

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

/* A register of a state, or a word of a vector register. */
static const word *find_register(const State *state, int number)
{
    return number < REGISTERS ? &state->registers[number] : &state->vectors[0][0] + number - REGISTERS;
}

static void record_call(const struct llmc_external *external, int callee)
{
    if (report->calls_count >= MAX_CALLS)
        finish(LIMITED, 0, "still running after 1000 external calls");
    struct call *call = &report->calls[report->calls_count++];
    call->callee = callee;
    call->count = external->count < MAX_ARGUMENTS ? external->count : MAX_ARGUMENTS;
    for (int at = 0; at < call->count; at++) {
        const struct llmc_argument *argument = &external->arguments[at];
        word words[MAX_PASSED / 8] = {0}, size = argument->size < MAX_PASSED ? argument->size : MAX_PASSED;
        if (argument->registers[0] < 0)
            copy(words, (byte *)llmc_at_call.registers[RSP] + 8 + argument->offset, size);
        for (int part = 0; part < MAX_PASSED / 8 && argument->registers[part] >= 0; part++)
            words[part] = *find_register(&llmc_at_call, argument->registers[part]);
        for (word place = 0; place < size; place++)
            call->arguments[at].data[place] = ((byte *)words)[place] & (argument->mask ? argument->mask[place] : 0xff);
        call->arguments[at].size = size;
        word most = argument->kind == TEXT ? MAX_DATA : argument->kind == DATA ? argument->pointee : 0, place = 0;
        for (; place < most && place < MAX_DATA && is_readable(words[0] + place); place++) {
            call->arguments[at].pointed[place] = ((byte *)words[0])[place];
            if (argument->kind == TEXT && !((byte *)words[0])[place])
                break;
        }
        call->arguments[at].pointee = place;
    }
}

/* Let pointers to the standard streams lead to those of this process: the tables have the judge's numbers for them. */
static void insert_streams(void *data, word size)
{
    for (word at = 0; at + 8 <= size; at++)
        for (int stream = 0; stream < 3; stream++) {
            word value;
            copy(&value, (byte *)data + at, 8);
            if (value == llmc_stream_numbers[stream])
                copy((byte *)data + at, llmc_streams[stream], 8);
        }
}

/* Leave in registers and memory what the call left in the emulator. */
static void answer_call(const struct llmc_reply *answer)
{
    word passed[REGISTERS];
    copy(passed, llmc_at_call.registers, sizeof passed);
    static const int clobbered[] = {RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11};
    for (word at = 0; at < sizeof clobbered / sizeof *clobbered; at++)
        llmc_at_call.registers[clobbered[at]] = reproducer->clobbered->registers[clobbered[at]];
    copy(llmc_at_call.vectors, reproducer->clobbered->vectors, sizeof llmc_at_call.vectors);
    llmc_at_call.fill = reproducer->clobbered->fill;
    const word conditions = 0x8d5; /* carry, parity, adjust, zero, sign, overflow */
    word *flags = &llmc_at_call.registers[FLAGS];
    *flags = (*flags & ~conditions) | (reproducer->clobbered->registers[FLAGS] & conditions);
    for (int at = 0; at < answer->effects_count; at++) {
        const struct llmc_effect *effect = &answer->effects[at];
        word address = (word)effect->symbol + effect->address;
        if (effect->allocates && allocate(effect->size, 16) != address)
            finish(DIVERGED, 0, "an external call allocates memory at another address than in the emulator");
        copy((void *)address, effect->data, effect->size);
    }
    for (int at = 0; at < answer->results_count; at++) {
        const struct llmc_result *result = &answer->results[at];
        word *to = (word *)find_register(&llmc_at_call, result->number);
        *to = (*to & ~result->mask) | (result->value & result->mask);
        if (result->same_as >= 0)
            *to = passed[result->same_as];
        insert_streams(to, 8);
    }
}

void llmc_called(void)
{
    if (llmc_number >= LLMC_HEAP) {
        heap_called((int)llmc_number - LLMC_HEAP);
        return;
    }
    int is_external = llmc_number >= LLMC_EXTERNAL;
    const struct llmc_external *external =
        is_external ? &reproducer->externals[llmc_number - LLMC_EXTERNAL] : &reproducer->callbacks[llmc_number];
    if (!is_external && (int)llmc_number >= reproducer->callbacks_count)
        finish(TRAPPED, 0, "a call of an address that is no function");
    if (llmc_at_call.registers[RSP] % 16 != 8 && find_line(*(word *)llmc_at_call.registers[RSP] - 1))
        report->misaligned = -1;
    word number = report->calls_count;
    read_vectors(&llmc_at_call);
    record_call(external, (int)llmc_number);
    if ((int)number >= reproducer->replies_count[role] || reproducer->replies[role][number].callee != (int)llmc_number)
        finish(DIVERGED, 0, "an external call that was not made in the emulator, so its answer is not known");
    answer_call(&reproducer->replies[role][number]);
    write_vectors(llmc_area, llmc_components, &llmc_at_call, STATE_UPPERS);
}

/* -- one run */

static word memory_size(void)
{
    word size = 0;
    for (int at = 0; at < reproducer->objects_count; at++)
        size += reproducer->objects[at].slot.size;
    for (int at = 0; at < reproducer->globals_count; at++)
        size += reproducer->globals[at].size;
    return size;
}

/* Copy memory and registers into the report. */
static void snapshot(void)
{
    byte *to = report->memory;
    for (int at = 0; at < reproducer->objects_count; at++) {
        const struct llmc_slot *slot = &reproducer->objects[at].slot;
        if (!is_freed[at])
            copy(to, (void *)slot->address, slot->size);
        report->is_freed[at] = is_freed[at];
        to += slot->size;
    }
    for (int at = 0; at < reproducer->globals_count; at++) {
        copy(to, reproducer->globals[at].at, reproducer->globals[at].size);
        to += reproducer->globals[at].size;
    }
    word used = 0;
    report->blocks_count = 0;
    for (int at = 0; at < blocks_count; at++) {
        copy(report->heap + used, (void *)blocks[at].base, blocks[at].mapped);
        copy(&report->blocks[report->blocks_count++], &blocks[at], sizeof *blocks);
        used += blocks[at].mapped;
    }
    for (int at = 0; at < llmc_slots_count && !reproducer->whole_program; at++) {
        int used_slot = 0;
        for (int number = 0; number < reproducer->objects_count; number++)
            used_slot |= reproducer->objects[number].slot.address == llmc_slots[at].address;
        for (word place = 0; !used_slot && place < llmc_slots[at].size; place++)
            report->has_stray_write |= ((byte *)llmc_slots[at].address)[place] != reproducer->garbage[place % 4];
    }
    if (!reproducer->whole_program)
        copy(report->frame, (void *)LLMC_STACK, LLMC_STACK_SIZE);
    report->errno_after = *__extension__({ extern int *__errno_location(void); __errno_location(); });
    copy(&report->after, &llmc_after, sizeof llmc_after);
    report->x87_tags = ((const Legacy *)llmc_area)->tags;
    if (llmc_misaligned)
        report->misaligned = (int)llmc_misaligned;
}

/* End the run with an outcome. After a fatal signal only abort leaves memory that can be compared. */
static void finish(int outcome, int code, const char *message)
{
    if (in_debugger) {
        print(message);
        print("\n");
        __asm__ volatile("int3");
    }
    if (report) {
        report->outcome = outcome, report->code = code;
        for (word at = 0; message[at] && at < sizeof report->message - 1; at++)
            report->message[at] = message[at];
        if (outcome == TRAPPED)
            report->line = find_caller_line(llmc_at_call.registers[RSP]);
        if (outcome != SIGNALLED || code == SIGABRT)
            snapshot();
    }
    CALL3(__NR_exit_group, code, 0, 0);
}

/* The C library's exit ends here. The symbol is weak, because the program may define it. */
__attribute__((weak)) void _Exit(int code)
{
    if (running && report)
        finish(EXITED, code & 0xff, "");
    for (;;)
        CALL3(__NR_exit_group, code, 0, 0);
}

static void on_signal(int signal, SignalInfo *information, SignalContext *context)
{
    observe(&report->event, signal, information, context);
    word pc = context->registers[RIP];
    report->line = find_line(signal == SIGTRAP ? pc - 1 : pc);
    report->in_callee = !report->line;
    if (!report->line)
        report->line = find_caller_line(context->registers[RSP]);
    finish(SIGNALLED, signal, "");
}

static void start_watching(void)
{
    static byte stack[1 << 16] __attribute__((aligned(16)));
    install_handler(on_signal, stack, sizeof stack, signals, sizeof signals);
    word interval[4] = {0, 0, TIME_LIMIT, 0};
    CALL3(__NR_setitimer, 0, interval, 0);
    word limit[2] = {OUTPUT_BYTES, OUTPUT_BYTES};
    CALL3(__NR_setrlimit, 1, limit, 0); /* RLIMIT_FSIZE */
    CALL3(__NR_prctl, 1, 9, 0); /* PR_SET_PDEATHSIG, SIGKILL: die with the parent */
}

static void map_exactly(word address, word size)
{
    if (map_at(address, size, READ_WRITE, -1, 0) != (long)address)
        print_error("the addresses of the input are in use in this process, by chance: start it again");
}

/* Write the code that callbacks and the return from the function lead to: each stub sets llmc_number and jumps to
 * llmc_external, the one at LLMC_RETURN jumps to llmc_returned. */
static void make_stubs(void)
{
    map_exactly(LLMC_STUBS, PAGE);
    for (int number = 0; number < (int)(PAGE / LLMC_STUB_SIZE); number++) {
        byte *at = (byte *)LLMC_STUBS + number * LLMC_STUB_SIZE;
        word to = (word)llmc_external;
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
    CALL3(__NR_mprotect, LLMC_STUBS, PAGE, 5);
}

static void write_input(void)
{
    llmc_place_threads();
    for (int at = 0; at < llmc_slots_count; at++) {
        map_exactly(llmc_slots[at].address, llmc_slots[at].size);
        fill((byte *)llmc_slots[at].address, reproducer->garbage, llmc_slots[at].size);
    }
    for (int at = 0; at < reproducer->objects_count; at++)
        if (reproducer->objects[at].data) {
            copy((void *)reproducer->objects[at].address, reproducer->objects[at].data, reproducer->objects[at].size);
            insert_streams((void *)reproducer->objects[at].address, reproducer->objects[at].size);
        }
    for (int at = 0; at < reproducer->globals_count; at++)
        if (reproducer->globals[at].data) {
            copy(reproducer->globals[at].at, reproducer->globals[at].data, reproducer->globals[at].size);
            insert_streams(reproducer->globals[at].at, reproducer->globals[at].size);
        }
    for (int at = 0; at < reproducer->globals_count; at++) {
        const struct llmc_global *global = &reproducer->globals[at];
        for (int number = 0; number < global->pointers_count; number++)
            copy(global->at + global->pointers[number].at, &global->pointers[number].target, 8);
    }
    for (int at = 0; at < reproducer->pads_count; at++) {
        const struct llmc_pad *pad = &reproducer->pads[at];
        word first = (word)pad->at & -PAGE, last = ((word)pad->at + pad->size + PAGE - 1) & -PAGE;
        CALL3(__NR_mprotect, first, last - first, 3);
        fill(pad->at, reproducer->uninitialised, pad->pad);
        fill(pad->at + pad->size - pad->pad, reproducer->uninitialised, pad->pad);
    }
    map_exactly(LLMC_STACK - LLMC_STACK_BELOW, LLMC_STACK_BELOW + LLMC_STACK_SIZE);
    fill((byte *)LLMC_STACK - LLMC_STACK_BELOW, reproducer->uninitialised, LLMC_STACK_BELOW + LLMC_STACK_SIZE);
    word stack = reproducer->entry->registers[RSP], back = LLMC_RETURN;
    copy((void *)stack, &back, 8);
    copy((void *)(stack + 8), reproducer->stack, reproducer->stack_size);
    insert_streams((void *)(stack + 8), reproducer->stack_size);
    make_stubs();
    llmc_upper = reproducer->clobbered->registers[RAX] & 0xffffffff00000000ul;
    blocks_count = 0, mapped_bytes = 0, overflow_used = 0;
}

/* Overwrite the candidate with a jump to the reference's own code, so that this runs wherever the candidate is called. */
static void redirect_to_reference(void)
{
    byte *at = (byte *)reproducer->candidate;
    word first = (word)at & -PAGE;
    int distance = (int)((word)reproducer->reference - ((word)at + 5));
    CALL3(__NR_mprotect, first, 2 * PAGE, 7);
    at[0] = 0xe9;
    copy(at + 1, &distance, 4);
}

static void start_program(void)
{
    extern char **__environ;
    static char *empty[1];
    __environ = empty;
    llmc_unbuffer();
    *__extension__({ extern int *__errno_location(void); __errno_location(); }) = reproducer->errno_before;
    running = 1;
}

static void run(void)
{
    write_input();
    stack_end = LLMC_STACK + LLMC_STACK_SIZE;
    start_program();
    enter();
    running = 0;
}

/* -- both runs, and their differences */

static struct report *reports[2];
static int output[2][2];

/* Start a run in a child. The parent gets the child's process number. The child runs the function and ends, or returns 0
 * to let the program's main follow. */
static int start_run(int which)
{
    role = which;
    for (int stream = 0; stream < 2; stream++)
        output[which][stream] = (int)CALL3(__NR_memfd_create, "output", 0, 0);
    int child = (int)CALL3(__NR_fork, 0, 0, 0);
    if (child)
        return child;
    report = reports[which];
    if (reproducer->input_size) {
        int ends[2];
        CALL3(__NR_pipe, ends, 0, 0);
        CALL3(__NR_write, ends[1], reproducer->input, reproducer->input_size);
        CALL3(__NR_close, ends[1], 0, 0);
        CALL3(__NR_dup2, ends[0], 0, 0);
    } else
        CALL3(__NR_dup2, CALL3(__NR_open, "/dev/null", 0, 0), 0, 0);
    for (int stream = 0; stream < 2; stream++)
        CALL3(__NR_dup2, output[which][stream], stream + 1, 0);
    start_watching();
    if (which == 0)
        redirect_to_reference();
    if (reproducer->whole_program) {
        start_program();
        return 0;
    }
    run();
    finish(RETURNED, 0, "");
    return 0;
}

static void wait_for(int child)
{
    int status;
    word interval[2] = {0, 2000000};
    for (int left = (TIME_LIMIT + 1) * 500; CALL3(__NR_wait4, child, &status, 1) == 0; left--) {
        if (!left)
            CALL3(__NR_kill, child, 9, 0);
        CALL3(__NR_nanosleep, interval, 0, 0);
    }
}

static const char *signal_name(int signal)
{
    return signal == SIGILL    ? "SIGILL (illegal instruction)"
           : signal == SIGTRAP ? "SIGTRAP (breakpoint instruction)"
           : signal == SIGABRT ? "SIGABRT (abort)"
           : signal == SIGBUS  ? "SIGBUS (bad access)"
           : signal == SIGFPE  ? "SIGFPE (division by zero, or a quotient that does not fit)"
           : signal == SIGSEGV ? "SIGSEGV (bad access)"
           : signal == SIGXFSZ ? "SIGXFSZ (more than 1 MiB of output)"
                               : "a signal";
}

static void print_line(const struct report *of)
{
    if (of->line) {
        print(of->in_callee ? ", called from line " : " in line ");
        print_number((word)of->line, 10);
        print(" of candidate.s");
    }
}

static void print_address(word address)
{
    print_number(address, 16);
    for (int at = 0; at < reproducer->objects_count; at++) {
        const struct llmc_object *object = &reproducer->objects[at];
        long offset = (long)(address - object->address);
        if (offset < -(long)PAGE || offset >= (long)(object->size + PAGE))
            continue;
        print(" (");
        print(object->label);
        print(offset < 0 ? " - " : " + ");
        print_number((word)(offset < 0 ? -offset : offset), 10);
        print(", of ");
        print_number(object->size, 10);
        print(" bytes)");
        return;
    }
    if (address < PAGE)
        print(" (a null pointer)");
}

/* Whether the address of an event is the one that was accessed. */
static int has_address(const Event *event)
{
    return (event->signal == SIGSEGV || event->signal == SIGBUS) && event->code != CODE_OF_KERNEL;
}

static void print_outcome(const struct report *of)
{
    if (of->outcome == RETURNED)
        print("returns");
    else if (of->outcome == EXITED)
        print("exits with code "), print_number((word)of->code, 10);
    else if (of->outcome == SIGNALLED && of->event.signal == SIGALRM) {
        print("still running after ");
        print_number(TIME_LIMIT, 10);
        print(" s");
        print_line(of);
    } else if (of->outcome == SIGNALLED) {
        print(signal_name(of->event.signal));
        if (has_address(&of->event))
            print(" at "), print_address(of->event.address);
        else if (of->event.signal == SIGSEGV)
            print(" at a non-canonical or misaligned address, or of a privileged instruction");
        print_line(of);
    } else if (of->outcome == NOTHING)
        print("was killed");
    else {
        print(of->message);
        print_line(of);
    }
    print("\n");
}

static int differences_count;

static void report_difference(const char *what)
{
    differences_count++;
    print("differs: ");
    print(what);
}

static void print_both(const byte *first, const byte *second, word size)
{
    print("\n  reference ");
    print_bytes(first, size);
    print("\n  candidate ");
    print_bytes(second, size);
    print("\n");
}

/* Whether two words are equal, or point to equal constants: the candidate may have its own copy of one. */
static int is_same_word(word first, word second)
{
    if (first == second)
        return 1;
    if (!in_image(first) || !in_image(second))
        return 0;
    const byte *one = (const byte *)first, *two = (const byte *)second;
    for (word at = 0; at < MAX_DATA && in_image(first + at) && in_image(second + at); at++) {
        if (one[at] != two[at])
            return 0;
        if (!one[at])
            return 1;
    }
    return 1;
}

/* The offset of the first byte that differs; `size` where none does. Words that point to equal constants are equal. */
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
        if (!is_same_word(words[0], words[1]))
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
    report_difference(kind);
    print(name);
    print(" from byte ");
    print_number(at, 10);
    print_both(first + at, second + at, size - at < 24 ? size - at : 24);
}

static int is_nan(const byte *data, int size)
{
    word bits = 0;
    copy(&bits, data, (word)size);
    return size == 4 ? (bits & 0x7fffffff) > 0x7f800000 : (bits & ~(1ul << 63)) > 0x7fful << 52;
}

static void read_result(const struct report *of, byte *to)
{
    for (int at = 0; at < reproducer->result_count; at++)
        copy(to + 8 * at, find_register(&of->after, reproducer->result->registers[at]), 8);
    for (word at = 0; at < reproducer->result->size; at++)
        to[at] &= reproducer->result->mask ? reproducer->result->mask[at] : 0xff;
}

static void print_result(const byte *data)
{
    long number = 0;
    word size = reproducer->result->size;
    copy(&number, data, size < 8 ? size : 8);
    if (size > 8)
        print_bytes(data, size);
    else if (reproducer->result_float_bytes) {
        print("the bits ");
        print_number((word)number, 16);
    } else if (reproducer->result_signed)
        print_signed(size < 8 ? number << (64 - 8 * size) >> (64 - 8 * size) : number);
    else
        print_number((word)number, (word)number > 0xffff ? 16 : 10);
    for (word end = 0; size == 8 && in_image((word)number); end++)
        if (end == 40 || !((byte *)number)[end]) {
            print(" ");
            print_bytes((byte *)number, end);
            break;
        }
    print("\n");
}

static void compare_results(void)
{
    byte results[2][MAX_PASSED] = {{0}, {0}};
    if (!reproducer->result_count)
        return;
    for (int which = 0; which < 2; which++)
        read_result(reports[which], results[which]);
    int is_float = reproducer->result_float_bytes > 0, is_same = 1;
    word size = reproducer->result->size, part = is_float ? (word)reproducer->result_float_bytes : size;
    for (word at = 0; at < size; at += part) {
        const byte *first = results[0] + at, *second = results[1] + at;
        int are_nans = is_float && is_nan(first, (int)part) && is_nan(second, (int)part);
        is_same &= are_nans || first_difference(first, second, 0, part) == part;
    }
    if (is_same)
        return;
    report_difference("return value\n  reference ");
    print_result(results[0]);
    print("  candidate ");
    print_result(results[1]);
}

static const struct llmc_external *external_of(const struct call *call)
{
    return call->callee >= LLMC_EXTERNAL ? &reproducer->externals[call->callee - LLMC_EXTERNAL] : &reproducer->callbacks[call->callee];
}

static void print_call(const struct report *of, word number)
{
    if (number >= of->calls_count) {
        print("no call\n");
        return;
    }
    const struct call *call = &of->calls[number];
    print(external_of(call)->name);
    print("(");
    for (int at = 0; at < call->count; at++) {
        word value = 0;
        copy(&value, call->arguments[at].data, 8);
        print(at ? ", " : "");
        print_number(value, value > 0xffff ? 16 : 10);
        if (call->arguments[at].pointee) {
            print(" -> ");
            print_bytes(call->arguments[at].pointed, call->arguments[at].pointee);
        }
    }
    print(")\n");
}

static int is_same_call(const struct call *first, const struct call *second)
{
    if (first->callee != second->callee)
        return 0;
    for (int at = 0; at < first->count; at++) {
        const struct llmc_argument *argument = &external_of(first)->arguments[at];
        word values[2], size = first->arguments[at].size;
        copy(&values[0], first->arguments[at].data, 8);
        copy(&values[1], second->arguments[at].data, 8);
        /* Addresses on the stack and of equal constants depend on the compiler, so they are not compared. */
        int is_incomparable = argument->kind != NUMBER && values[0] != values[1] &&
                    (values[0] - LLMC_STACK < LLMC_STACK_SIZE || is_same_word(values[0], values[1]));
        if (!is_incomparable && first_difference(first->arguments[at].data, second->arguments[at].data, 0, size) != size)
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
    for (word at = 0; at < most && at < MAX_CALLS; at++) {
        int counted = at < reports[0]->calls_count && at < reports[1]->calls_count;
        if (counted && is_same_call(&reports[0]->calls[at], &reports[1]->calls[at]))
            continue;
        report_difference("external call ");
        print_number(at + 1, 10);
        print("\n  reference ");
        print_call(reports[0], at);
        print("  candidate ");
        print_call(reports[1], at);
        return;
    }
}

static void compare_output(void)
{
    byte *texts[2] = {map_shared(OUTPUT_BYTES), map_shared(OUTPUT_BYTES)};
    for (int stream = 0; stream < 2; stream++) {
        long sizes[2];
        for (int which = 0; which < 2; which++) {
            sizes[which] = CALL(__NR_pread64, output[which][stream], (long)texts[which], OUTPUT_BYTES);
            sizes[which] = sizes[which] < 0 ? 0 : sizes[which];
        }
        word least = (word)(sizes[0] < sizes[1] ? sizes[0] : sizes[1]), at = 0;
        while (at < least && texts[0][at] == texts[1][at])
            at++;
        if (at == (word)sizes[0] && sizes[0] == sizes[1])
            continue;
        report_difference(stream ? "standard error" : "standard output");
        print(" from byte ");
        print_number(at, 10);
        print("\n  reference ");
        print_bytes(texts[0] + at, (word)sizes[0] - at);
        print("\n  candidate ");
        print_bytes(texts[1] + at, (word)sizes[1] - at);
        print("\n");
    }
}

static void compare_around(const struct llmc_object *object, const byte *memory)
{
    word start = object->address - object->slot.address, past = start + object->size;
    for (word at = 0; at < object->slot.size; at++) {
        if ((at >= start && at < past) || memory[at] == reproducer->garbage[at % 4])
            continue;
        report_difference("memory that belongs to no object is written: ");
        print_number(at < start ? start - at : at - past + 1, 10);
        print(at < start ? " bytes before " : " bytes past the end of ");
        print(object->label);
        print("\n");
        return;
    }
}

static void compare_objects(void)
{
    const byte *first = reports[0]->memory, *second = reports[1]->memory;
    for (int at = 0; at < reproducer->objects_count; at++) {
        const struct llmc_object *object = &reproducer->objects[at];
        word start = object->address - object->slot.address;
        if (reports[0]->is_freed[at] != reports[1]->is_freed[at]) {
            report_difference("");
            print(object->label);
            print(reports[1]->is_freed[at] ? " is freed by the candidate alone\n" : " is freed by the reference alone\n");
        } else if (!reports[0]->is_freed[at]) {
            compare_memory("", object->label, first + start, second + start, object->mask, object->size);
            compare_around(object, second);
        }
        first += object->slot.size, second += object->slot.size;
    }
    for (int at = 0; at < reproducer->globals_count; at++) {
        const struct llmc_global *global = &reproducer->globals[at];
        compare_memory("global ", global->name, first, second, global->mask, global->size);
        first += global->size, second += global->size;
    }
    if (reports[1]->has_stray_write)
        report_difference("memory that belongs to no object is written\n");
}

/* The number of the live heap object with the lowest address above `after`; -1 where there is none. */
static int find_next_block(const struct report *of, word after)
{
    int best = -1;
    for (int at = 0; at < of->blocks_count && at < MAX_BLOCKS; at++)
        if (of->blocks[at].address > after && (best < 0 || of->blocks[at].address < of->blocks[best].address))
            best = at;
    return best;
}

static const byte *find_block_data(const struct report *of, int number)
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
        const struct block *objects[2];
        for (int which = 0; which < 2; which++) {
            numbers[which] = find_next_block(reports[which], after[which]);
            objects[which] = numbers[which] < 0 ? 0 : &reports[which]->blocks[numbers[which]];
            after[which] = objects[which] ? objects[which]->address : after[which];
        }
        if (!objects[0] && !objects[1])
            return;
        if (!objects[0] || !objects[1] || objects[0]->size != objects[1]->size) {
            report_difference("live heap objects\n  reference ");
            objects[0] ? print_number(objects[0]->size, 10) : print("none");
            print(objects[0] ? " bytes\n  candidate " : "\n  candidate ");
            objects[1] ? print_number(objects[1]->size, 10) : print("none");
            print(objects[1] ? " bytes\n" : "\n");
            return;
        }
        compare_memory("heap object", "", find_block_data(reports[0], numbers[0]), find_block_data(reports[1], numbers[1]), 0, objects[0]->size);
    }
}

static void compare_convention(void)
{
    const State *after = &reports[1]->after, *entry = reproducer->entry;
    static const struct { int number; const char *name; } saved[] = {
        {RBX, "%rbx"}, {RBP, "%rbp"}, {R12, "%r12"}, {R13, "%r13"}, {R14, "%r14"}, {R15, "%r15"}};
    for (word at = 0; at < sizeof saved / sizeof *saved; at++)
        if (after->registers[saved[at].number] != entry->registers[saved[at].number]) {
            report_difference("callee-saved register ");
            print(saved[at].name);
            print(" is not restored: ");
            print_number(entry->registers[saved[at].number], 16);
            print(" at the call, ");
            print_number(after->registers[saved[at].number], 16);
            print(" after it\n");
        }
    if (after->registers[RSP] != entry->registers[RSP] + 8) {
        report_difference("the stack pointer returns ");
        print_signed((long)(after->registers[RSP] - entry->registers[RSP] - 8));
        print(" bytes off\n");
    }
    if (after->registers[FLAGS] & 0x400)
        report_difference("the direction flag is left set\n");
    if (((after->mxcsr ^ 0x1f80) & 0xffc0) || after->fpcw != 0x37f)
        report_difference("the floating-point control words are changed\n");
    if (reports[1]->x87_tags)
        report_difference("the x87 register stack is not empty\n");
    if (reports[1]->misaligned) {
        report_difference("the stack is not aligned to 16 bytes at a call");
        if (reports[1]->misaligned > 0) {
            print(" of ");
            print(reproducer->thunks[reports[1]->misaligned - 1]);
        }
        print("\n");
    }
    word frame = entry->registers[RSP] + 8 + reproducer->stack_size - LLMC_STACK;
    for (word at = frame; at < LLMC_STACK_SIZE; at++)
        if (reports[1]->frame[at] != reproducer->uninitialised[at % 4]) {
            report_difference("the caller's stack frame is written\n");
            return;
        }
}

static int has_same_outcome(void)
{
    const struct report *first = reports[0], *second = reports[1];
    return first->outcome == second->outcome && first->code == second->code && first->event.signal == second->event.signal;
}

static void compare(void)
{
    if (!has_same_outcome()) {
        differences_count++;
        if (reports[0]->outcome != RETURNED && reports[0]->outcome != EXITED)
            return;
        if (reproducer->whole_program)
            compare_output();
        return;
    }
    if (reports[0]->outcome == RETURNED)
        compare_results();
    compare_calls();
    compare_output();
    compare_objects();
    compare_heaps();
    if (reproducer->errno_matters && reports[0]->errno_after != reproducer->errno_before && reports[0]->errno_after != reports[1]->errno_after) {
        report_difference("errno\n  reference ");
        print_signed(reports[0]->errno_after);
        print("\n  candidate ");
        print_signed(reports[1]->errno_after);
        print("\n");
    }
    if (reports[0]->outcome == RETURNED)
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

static void run_in_debugger(void)
{
    in_debugger = 1, role = 1;
    report = map_shared(sizeof *report + memory_size());
    if (reproducer->whole_program) {
        report = 0;
        start_program();
        return;
    }
    run();
    print("the candidate returned\n");
    CALL3(__NR_exit_group, 0, 0, 0);
}

__attribute__((constructor)) static void llmc_begin(void)
{
    stack_end = (word)__builtin_frame_address(0);
    if (is_set("LLMC_DEBUG")) {
        run_in_debugger();
        return;
    }
    print("function  ");
    print(reproducer->function);
    print("\nverdict   ");
    print(reproducer->verdict);
    print("\n");
    for (const char *const *line = reproducer->input_lines; *line; line++) {
        print(line == reproducer->input_lines ? "input     " : "          ");
        print(*line);
        print("\n");
    }
    for (int which = 0; which < 2; which++) {
        reports[which] = map_shared(sizeof *reports[which] + memory_size());
        int child = start_run(which);
        if (!child)
            return;
        wait_for(child);
        print(which ? "candidate: " : "reference: ");
        print_outcome(reports[which]);
    }
    compare();
    if (!differences_count)
        print("no difference in these native runs: README.txt says what they can't show\n");
    CALL3(__NR_exit_group, differences_count ? 1 : 0, 0, 0);
}
