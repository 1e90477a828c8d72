/* The engine: runs one function of a program on the inputs of its suite, on unicorn's C interface, and says for each run
 * whether it shows the same as the expected image. It decides only "the same": whatever it can't show to be equal is left
 * to the judge's Python machine, which runs that input again and finds the failure in words.
 *
 * All numbers in images are little-endian, as is every host that this runs on. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <unicorn/unicorn.h>

#include "pages.h"

#define EXPORT __attribute__((visibility("default")))
#define STUB_SIZE 16u   /* Bytes of a stub of a callback. */
#define ENTRY_BUCKETS 256
#define EDGE_WORDS 64
#define DESCRIPTORS 3 /* The standard streams. */
#define MOST_MISALIGNED 64 /* A run with more calls of that kind is Python's. */
#define VALUE_BYTES 16 /* Bytes of the largest register. */

/* Bytes of an image. They are not copied: the image outlives all that is read from it. */
typedef struct {
    const uint8_t *data;
    uint64_t size;
} Span;

/* -- reading images (image.c) */

typedef struct {
    const uint8_t *next, *end;
    bool failed; /* Whether the image ended too early. All further reads give zeros. */
} Reader;

uint32_t read_u32(Reader *reader);
uint64_t read_u64(Reader *reader);
Span read_span(Reader *reader);
/* Read a count, and allocate so many items of zeros; false where there is no memory. */
bool read_count(Reader *reader, uint32_t *count, void **items, size_t item_size);

/* -- registers */

typedef struct {
    int id; /* unicorn's number. */
    uint8_t value[VALUE_BYTES];
} RegisterValue;

typedef struct {
    int id;
    uint8_t mask[VALUE_BYTES], value[VALUE_BYTES];
} ExpectedRegister;

typedef struct {
    uint32_t count;
    RegisterValue *items;
} RegisterValues;

void read_value(Reader *reader, uint8_t value[VALUE_BYTES]);
void read_registers(Reader *reader, RegisterValues *registers);
void read_expected_registers(Reader *reader, uint32_t *count, ExpectedRegister **items);

/* -- memory (memory.c) */

/* A piece of the guest's memory with its own pages of the host. */
typedef struct {
    uint64_t address, size;
    uint32_t permissions;
    bool is_constant; /* Not executable, and the program does not change it: pointers to equal constants are equal. */
    uint8_t *memory;
    uint8_t *initial; /* What every run starts from; NULL where runs can't change it. */
    Pages pages;      /* Where it has `initial`. */
    uint64_t data_size; /* Bytes of it that the program or the text has: the rest is the end of the last page. */
} Region;

/* -- what fills what nobody has set (fills of `emulator/uninitialised.py`, in this order) */

enum { FILL_GARBAGE, FILL_INVERSE, FILL_ZEROS, FILL_SMALL, FILLS };

typedef struct {
    uint8_t pattern[4];
    const uint8_t *stack_page; /* What each page of the stack starts as: a part of the image. */
    uint64_t frame_offset; /* From the start of the stack to the caller's frame. */
    RegisterValues state;  /* All registers from which a run starts. */
    RegisterValues scratch; /* What a call leaves in the registers that it may change. */
    RegisterValues callee_saved;
    uint64_t flags_register, flags_mask, flags; /* The condition flags at the start and after a call. */
    uc_context *context;
} Fill;

/* -- inputs with their expected images */

/* A pointer to a constant. A candidate may bring constants of its own: then its pointer may lead to an equal one. */
typedef struct {
    uint64_t offset; /* In the memory that has the pointer. */
    Span data;       /* The bytes of the constant. */
} ConstantPointer;

typedef struct {
    uint32_t count;
    ConstantPointer *items;
} ConstantPointers;

typedef struct {
    uint32_t slot;         /* The number of the slot in the arena. */
    uint32_t start;        /* Offset of the object in its slot. */
    Span initial;          /* The bytes of the object. */
    Span expected;         /* The same after the reference's run. */
    Span mask;             /* 1 bits where `expected` counts; empty where every bit does. */
    bool is_freed;         /* By the reference. Then its bytes are not compared. */
    bool is_result;        /* The caller's buffer for the result, which can't be freed. */
    ConstantPointers constants; /* In `expected`. */
} InputObject;

typedef struct {
    uint64_t address;
    Span data;
    Span mask; /* As in `InputObject`. */
    ConstantPointers constants; /* In what is expected of a variable. */
} Patch;

typedef struct {
    int pointer_register; /* -1: the pointer is at `pointer_offset` of the argument area. */
    uint64_t pointer_offset, offset;
} ArgumentCopy;

typedef struct {
    RegisterValues registers;
    Span stack;
} ArgumentValues;

typedef struct {
    uint64_t address, size;
    Span pages; /* All pages that are mapped for the object; empty for a freed one. */
    ConstantPointers constants; /* In the pages. */
} ExpectedBlock;

typedef struct {
    uint32_t descriptor;
    Span data;
} ExpectedOutput;

/* One external call of the reference's run: see external.c. */
typedef struct ExpectedCall ExpectedCall;

/* What an input's environment seed chooses. */
typedef struct {
    uint32_t errno_value;
    uint32_t shortage; /* 0: enough memory; 1: none; 2: none for sizes that are not multiples of 8; 3: none for those that are. */
    bool fails_output; /* Whether standard output can't be written. */
    Span standard_input;
    uint64_t clock_seconds, clock_microseconds;
    uint64_t process_number;
} Environment;

/* A byte of a candidate that stands for a variable of the program: 0 for one value of the variable, 1 for the other. */
typedef struct {
    uint64_t address; /* Of the byte. */
    uint64_t variable;
    Span values[2]; /* Both of the variable's size. */
} Boolean;

typedef enum { END_RETURN, END_EXIT, END_ABORT, END_LEFT } End;

/* Integers of one size of an input that lie side by side (see cells.c). They are numbered from `first` on. */
typedef struct {
    uint32_t first, count;
    uint32_t place, index; /* What they lie in: a register, the argument area, an object, or a variable. */
    uint64_t offset;       /* Of the first one, in bytes. */
    uint32_t size;         /* Bytes of each. */
    bool is_boolean, is_signed;
    bool is_extended; /* Whether the caller extends it to 32 bits. */
    bool is_float;    /* Whether it is the bits of a float. */
} CellRow;

typedef struct {
    uint32_t index; /* In the suite. */
    bool is_varied, is_inspected, has_small_numbers;
    bool is_4gib_aligned;
    bool is_of_other; /* What is expected is not what the reference shows: see `ImageKind` in `judge/engine_suite.py`. */
    bool is_left; /* The engine can't show what the reference does on it, so that it is always left to Python. */
    uint64_t limit; /* Bytes of code that a run may execute. An instruction has at least one. */
    Environment environment;
    ArgumentValues arguments, inverse_arguments;
    RegisterValues small; /* What registers without an argument hold where it `has_small_numbers`. */
    uint32_t copy_count;
    ArgumentCopy *copies;
    uint32_t patch_count; /* Values that the input gives to variables. */
    Patch *patches;
    uint32_t object_count;
    InputObject *objects;
    /* What is expected: */
    End end;
    uint32_t exit_code;
    bool has_assertion; /* Whether the end is an abort by a failed assertion, which has the expression `assertion`. */
    Span assertion;
    uint32_t result_count;
    ExpectedRegister *results;
    Span result_constant; /* For a result that points to a constant: its bytes. */
    uint32_t change_count; /* Variables whose contents are not those that the program starts with, or have a mask. */
    Patch *changes;
    bool is_out_of_memory;
    uint32_t live_count, freed_count;
    ExpectedBlock *live, *freed;
    bool compares_errno;
    uint32_t errno_value;
    uint32_t output_count;
    ExpectedOutput *outputs;
    uint32_t call_count;
    ExpectedCall *calls;
    uint32_t row_count; /* What of the input a second look may change. */
    CellRow *rows;
    uint64_t digest, executed_bytes; /* Of the edges that the reference takes, and the code; for `Engine.observed`. */
} Entry;

/* -- why a run is left to Python; names in `emulator/engine.py`, in this order */

typedef enum {
    LEFT_NOT,
    LEFT_UNSUPPORTED, /* The image says so. */
    LEFT_FAULT,
    LEFT_LIMIT,
    LEFT_STACK,     /* It needs more than the first stack. */
    LEFT_HOOK,      /* An instruction, or a function, that the engine does not know. */
    LEFT_END,       /* It ends in another way than the reference. */
    LEFT_RESULT,
    LEFT_OBJECT,
    LEFT_VARIABLE,
    LEFT_REGISTER,  /* A callee-saved or a control register. */
    LEFT_FRAME,     /* The caller's frame. */
    LEFT_HEAP,
    LEFT_ERRNO,
    LEFT_OUTPUT,
    LEFT_CALL,      /* An external call. */
    LEFT_ALIGNMENT, /* The stack at a call. */
    LEFT_SYSTEM_CALL,
    LEFT_INSPECTION,
    LEFT_COUNT
} LeftReason;

/* -- hooks on single addresses */

typedef enum {
    HOOK_LEAVE,       /* Leave the run to Python. */
    HOOK_ABORT,
    HOOK_ASSERT,      /* What a failed assertion calls, with its expression. */
    HOOK_MALLOC, HOOK_CALLOC, HOOK_REALLOC, HOOK_FREE, HOOK_ALIGNED_ALLOC,
    HOOK_CALL,        /* A function of the program that a candidate may call; `number` has bits of `CalleeBits`. */
    HOOK_OWN_CALL,    /* The same for one that the candidate defines too; `registers` are preserved. */
    HOOK_CALLBACK,    /* A local function of the candidate, called by its address. */
    HOOK_DETOUR,      /* The address to which calls return that something is done after. */
    HOOK_EXTERNAL,    /* A function that the program only declares; `number` is its number. */
    HOOK_STUBS,       /* Every address of the page of callbacks. */
    HOOK_GUARD        /* An instruction whose operand must be aligned. */
} HookKind;

/* -- system calls; names in `emulator/engine_image.py`, in this order */

typedef enum {
    SYSTEM_CALL_LEAVE,
    SYSTEM_CALL_READ, SYSTEM_CALL_WRITE, SYSTEM_CALL_READV, SYSTEM_CALL_WRITEV, SYSTEM_CALL_CLOSE, SYSTEM_CALL_LSEEK,
    SYSTEM_CALL_SLEEP, SYSTEM_CALL_GET_NUMBER,
    SYSTEM_CALL_REFUSED, /* All that others would see, and that are done by no run. */
    SYSTEM_CALL_EXIT, SYSTEM_CALL_GETTIMEOFDAY,
    SYSTEM_CALL_ARCH_PRCTL, SYSTEM_CALL_TIME, SYSTEM_CALL_SET_TID_ADDRESS, SYSTEM_CALL_CLOCK_GETTIME,
    SYSTEM_CALL_OPEN, SYSTEM_CALL_OPENAT,
    SYSTEM_CALL_PATH, /* All others that ask about a file by its name. */
    SYSTEM_CALL_FILE, /* All others that use the descriptor of an open file. */
    SYSTEM_CALL_FCNTL, SYSTEM_CALL_IOCTL,
    SYSTEM_CALL_QUERY /* All that change nothing that others see. */
} SystemCallKind;

typedef struct {
    uint64_t number;
    SystemCallKind kind;
} SystemCall;

/* The edges between basic blocks that a run has taken, and a digest of this set. */
typedef struct {
    uint64_t bits[EDGE_WORDS];
    uint64_t digest;
    uint64_t block_count; /* Executed blocks, each as often as it ran. */
} EdgeSet;

/* -- how many instructions a run executes (instructions.c) */

#define COUNTED_BLOCKS 1024 /* More than most runs execute. Each child that counts other blocks copies the pages. */

typedef struct {
    uint64_t address;
    uint32_t size, count; /* In bytes, and in instructions. */
} CountedBlock;

typedef struct {
    uint64_t instructions; /* Of the present run. */
    bool has_failed;       /* Whether they could not be counted. */
    uint32_t ignored_count;
    uint64_t *ignored;     /* The addresses of blocks that are the emulator's own. */
    CountedBlock blocks[COUNTED_BLOCKS]; /* By a hash of their addresses; of two in one place the last one is kept. */
} InstructionCounter;

/* A block begins: add its instructions. */
void count_block(InstructionCounter *counter, uc_engine *uc, uint64_t address, uint32_t size);
/* Count nothing for the block at an address. False where there is no memory. */
bool ignore_block(InstructionCounter *counter, uint64_t address);

typedef struct Engine Engine;

typedef struct Hook {
    struct Hook *next; /* In its bucket of `Engine.entry_hooks`. */
    HookKind kind;
    uint64_t first, last;
    uint32_t number;
    uint32_t register_count;
    int *registers;
    uint32_t result_count;
    int *results; /* The registers in which a function may return its result. */
    /* For HOOK_GUARD: base + index * scale + offset, in `bits`, + segment must be a multiple of `alignment`. -1: none. */
    int base, index, segment;
    uint32_t scale, bits, alignment;
    uint64_t offset;
} Hook;

/* -- the parts that have state of a run (heap.c, kernel.c, calls.c, external.c) */

typedef struct Heap Heap;
typedef struct Kernel Kernel;
typedef struct Calls Calls;
typedef struct Externals Externals;
typedef struct Comparisons Comparisons;

typedef struct {
    uint64_t address;
    uint32_t size, host; /* Offset in the arena. */
    bool is_freed; /* In the present run: then accesses fault. */
} Slot;

/* The fault that ended the present run, where it is known. */
typedef enum {
    FAULT_NONE,
    FAULT_ACCESS,      /* `number` is unicorn's kind of access. */
    FAULT_INSTRUCTION, /* An illegal one. */
    FAULT_EXCEPTION,   /* `number` is the processor's. */
    FAULT_EMULATOR,    /* `number` is unicorn's error. */
    FAULT_BAD_FREE,    /* free or realloc of what malloc did not return. */
    FAULT_MISALIGNED,
    FAULT_HAZARD       /* An instruction that the emulator must not execute. */
} FaultKind;

typedef struct {
    FaultKind kind;
    uint32_t number, size; /* The size of the access. */
    uint64_t counter, address;
} Fault;

typedef struct {
    uint64_t runs, left_runs;
    uint64_t left[LEFT_COUNT];
} Statistics;

struct Engine {
    uc_engine *uc;
    /* The target. */
    uint32_t arch, mode;
    int stack_pointer, program_counter, link_register; /* -1: the return address is on the stack. */
    int return_register, library_return_register;
    uint32_t library_argument_count;
    int library_arguments[8];
    uint32_t shadow_space, red_zone;
    uint32_t half_preserved_count;
    int half_preserved[16][2]; /* Vector register, and the half of it that a call preserves. */
    uint64_t narrow_garbage[FILLS], upper_garbage[FILLS];
    uint32_t control_count;
    ExpectedRegister controls[8];
    int system_call_number, system_call_arguments[3], system_call_result;
    uint32_t system_call_count;
    SystemCall *system_calls;
    /* The program. */
    uint64_t function; /* The address of the function under test. */
    uint64_t load_address; /* Where candidates begin. */
    Span usual_jump;       /* The function's code as most candidates replace it: a jump to their first instruction. */
    bool has_code_page;    /* Whether a page is mapped there, and no candidate is loaded yet. */
    uint64_t return_address, stubs;
    uint64_t errno_address;
    uint64_t stdin_file; /* The C library's struct of standard input; 0 where there is none. */
    uint32_t region_count, region_capacity;
    Region *regions;
    uint32_t variable_count; /* The case's writable variables. */
    struct { uint64_t address, size; } *variables;
    uint32_t pad_count, pad_size;
    uint64_t *pads;
    Hook *entry_hooks[ENTRY_BUCKETS]; /* Those on functions, by a hash of their addresses. */
    Hook *stubs_hook;
    uint32_t guard_count;
    Hook **guards; /* By address. */
    Fill fills[FILLS];
    int fill; /* The present one. */
    /* The stack. */
    uint64_t stack_start, stack_size, stack_max_growth;
    Pages stack;    /* What it may grow by, and then the stack. */
    bool has_grown; /* In the present run. */
    /* The arena. */
    Pages arena; /* The slots of the input's objects. What belongs to no object is garbage. */
    uint32_t slot_count;
    Slot *slots;
    uint8_t garbage[4];
    /* The inputs. */
    uint32_t entry_count, reserve_count;
    Entry *entries; /* Those of the suite, then the reserve: inputs of second looks, of which nothing is expected. */
    Entry *observed; /* The reserve with what the reference shows; those are left on which that is not known. */
    /* The run of the whole program: the engine compares its end, and what it prints. */
    bool has_program;
    Entry program;
    uint64_t program_start;
    uint64_t process_stack_start; /* Offset in the stack. */
    Span process_stack; /* What a new process finds there; empty for a program that starts at `main`. */
    /* The candidate. */
    uint32_t candidate_first_region; /* Regions from here on are the candidate's. */
    uint64_t code_start, code_end; /* Of its executable segments, from the first to the end of the last. */
    uint32_t label_count; /* Of its constants. */
    uint64_t *labels;
    bool has_own_hooks; /* Whether functions in its code have hooks. */
    uint8_t *starts; /* A bit for each byte of code: whether an instruction begins there. */
    bool needs_alignment_check;
    uint32_t boolean_count;
    Boolean *booleans;
    /* The present run. */
    Entry *entry; /* Whose objects lie in the arena. */
    bool compares_errno; /* Whether what the function does with the error number counts. */
    bool traces_edges;   /* Whether `edges` is kept. */
    uint64_t last_block;
    EdgeSet edges;
    Comparisons *comparisons; /* NULL where they are not noticed. */
    bool has_ended;
    bool has_asserted; /* Whether the expected assertion failed. */
    End end;
    uint32_t exit_code;
    LeftReason left;
    bool is_breach_only; /* Whether it is left only since registers or the caller's frame are not restored. */
    Fault fault;
    bool is_shown; /* Whether calls with a misaligned stack are noted, and do not leave the run. */
    uint32_t misaligned_count;
    uint64_t misaligned[MOST_MISALIGNED]; /* The functions that were so called in the present run. */
    bool reports_accesses; /* Whether unicorn reports all accesses to what is not mapped. */
    uint64_t executed_bytes, limit, instructions_left;
    bool counts_instructions; /* Whether `counter` is kept. */
    InstructionCounter counter;
    Heap *heap;
    Kernel *kernel;
    Calls *calls;
    Externals *externals;
    Statistics statistics;
};

/* -- machine.c */

/* NULL where the image can't be read or loaded. */
Engine *engine_open(const uint8_t *image, uint64_t size);
void engine_close(Engine *engine);

/* Run an entry and compare it with what is expected. LEFT_NOT: the run shows the same. */
LeftReason engine_run_entry(Engine *engine, Entry *entry, int fill);

/* The parts of a run: its initial state, the arguments, and the emulation, which returns whether it is not left. */
void begin_run(Engine *engine, Entry *entry, int fill);
void enter(Engine *engine, Entry *entry);
bool emulate(Engine *engine, uint64_t address);

/* Parts of an entry in an image. */
void read_environment(Reader *reader, Environment *environment);
void read_patches(Reader *reader, uint32_t *count, Patch **patches);
void read_outputs(Reader *reader, uint32_t *count, ExpectedOutput **outputs);

/* End the run: `leave` for Python, `finish` with an outcome. */
void leave(Engine *engine, LeftReason reason);
/* Note what the fault is that ends the run. Of several the first one counts. */
void note_fault(Engine *engine, Fault fault);
void finish(Engine *engine, End end, uint32_t exit_code);

uint64_t get_register(Engine *engine, int id);
void set_register(Engine *engine, int id, uint64_t value);
/* Where the function that was just entered returns to; 0 where the stack pointer leads to no memory. */
uint64_t get_return_address(Engine *engine);
/* False where the stack pointer leads to no memory that every run gets back as it was. */
bool set_return_address(Engine *engine, uint64_t address);
/* Overwrite every register that a call may change. */
void clobber_registers(Engine *engine);

/* -- memory.c */

/* Map a piece of memory. `is_restored`: every run starts from its initial contents. NULL where there is no room. */
Region *add_region(Engine *engine, uint64_t address, uint64_t size, uint32_t permissions, bool is_constant,
                   bool is_restored, Span data);
Region *find_region(Engine *engine, uint64_t address);
/* The host's memory of so many bytes of the guest's: regions, stack, slots and heap; NULL where they are not all mapped. */
const uint8_t *find_memory(Engine *engine, uint64_t address, uint64_t size);
/* The same for what is about to be written. */
uint8_t *find_writable(Engine *engine, uint64_t address, uint64_t size);
/* So many bytes at an offset from the start of the stack, which are about to be written. */
uint8_t *find_stack(Engine *engine, uint64_t offset, uint64_t size);
/* Have unicorn ask `on_page` for pages. False where it does not. */
bool take_over_pages(Engine *engine);
bool is_in_candidate(Engine *engine, uint64_t address); /* In its code, or at the end of that. */
bool is_equal(const uint8_t *first, const uint8_t *second, uint64_t size, Span mask);
void reset_memory(Engine *engine, Entry *entry);
/* Map the stack, and the arena with so many bytes. False where there is no memory. */
bool open_stack(Engine *engine);
bool open_arena(Engine *engine, uint64_t size);
void fill_pattern(uint8_t *memory, uint64_t size, const uint8_t pattern[4]);

/* -- compare.c */

LeftReason compare_run(Engine *engine, Entry *entry);
bool has_register_value(Engine *engine, const RegisterValue *expected); /* Whether a register has it. */
bool is_frame_restored(Engine *engine, Entry *entry); /* The caller's. */
bool is_unused_arena_restored(Engine *engine, Entry *entry); /* The slots in which no object of the input lies. */
/* Whether memory has expected bytes under a mask, where pointers may lead to equal constants. */
bool is_expected(Engine *engine, const uint8_t *memory, Span expected, Span mask, const ConstantPointers *constants);

/* -- candidate.c */

/* Map the page in which the code of most candidates lies, and put the jump to it in the place of the function: both take
 * long beside a few runs. The function itself can't run any more. */
bool expect_candidate(Engine *engine);
/* Load a candidate; false where its image can't be read. */
bool load_candidate(Engine *engine, Span image);
/* Give the candidate's bytes the values that stand for those of the variables, before a run, and the other way after. */
void set_booleans(Engine *engine);
void get_booleans(Engine *engine);

/* -- hooks.c */

bool read_hooks(Engine *engine, Reader *reader);
void run_entry_hooks(Engine *engine, uint64_t address); /* Those of a function that begins at the address. */

/* -- heap.c */

Heap *heap_open(Engine *engine);
void heap_reset(Engine *engine);
void heap_call(Engine *engine, HookKind kind);
uint64_t heap_allocate(Engine *engine, uint64_t size); /* For external.c; 0 where there is no room. */
uint64_t heap_bytes_to_end(Engine *engine, uint64_t address);
uint8_t *heap_memory(Engine *engine, uint64_t address, uint64_t size);
bool is_heap_page(uint64_t page); /* Whether it is among the addresses of the heap. */
bool is_block_page(uint64_t page); /* Whether it is among the addresses to which unicorn is led. */
/* Where unicorn has such a page. False where no live object lies there. */
bool heap_page(Engine *engine, uint64_t page, uint64_t *block_address);
bool heap_lacks_memory(Engine *engine); /* Whether an allocation failed since the environment says so. */

/* -- compare_heap.c */

LeftReason heap_compare(Engine *engine, Entry *entry);

/* -- kernel.c */

Kernel *kernel_open(Engine *engine);
void kernel_reset(Engine *engine, Entry *entry);
void kernel_call(Engine *engine);
bool has_written_expected(Engine *engine); /* To standard output and standard error. */
LeftReason kernel_compare(Engine *engine, Entry *entry);
/* Let all further runs write what they like, and keep it; false where there is no memory. */
bool kernel_record(Engine *engine);
/* What the run has written, and for descriptor 0 as many bytes as it has consumed. */
void kernel_observe(Engine *engine, ExpectedOutput outputs[DESCRIPTORS]);

/* -- calls.c */

Calls *calls_open(Engine *engine);
void calls_reset(Engine *engine);
void calls_hook(Engine *engine, Hook *hook, uint64_t address);
/* `CallMonitor.on_call`: the function at an address was just entered. Check the alignment of the stack, and overwrite its
 * home area. */
void calls_enter(Engine *engine, uint64_t address);
/* A word of the stack, or the return address in its place that a detour has taken. */
uint64_t calls_find_caller(Engine *engine, uint64_t stack, uint64_t word);

/* -- external.c */

Externals *externals_open(Engine *engine);
bool externals_read_entry(Engine *engine, Reader *reader, Entry *entry);
void externals_reset(Engine *engine);
void externals_hook(Engine *engine, Hook *hook, uint64_t address);
LeftReason externals_compare(Engine *engine, Entry *entry);
uint32_t externals_count(Engine *engine); /* The external calls of the run. */

/* -- program.c */

void read_program(Engine *engine, Reader *reader);
/* Run the whole program, where the image has it. LEFT_NOT: it ends and prints as with the reference in it. */
LeftReason engine_run_program(Engine *engine);

/* -- cells.c */

void read_cells(Reader *reader, Entry *entry);

/* -- inspect.c */

/* Whether no inspected run shows a misuse that its result does not show. */
bool inspect(Engine *engine);

#endif
