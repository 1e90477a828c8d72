/* What input.c tells runner.c: an input, where it lies, and what is looked at afterwards. Addresses are those that the
 * judge's emulator used; sizes and offsets are in bytes. */
#ifndef LLMC_KIT_H
#define LLMC_KIT_H

typedef unsigned char byte;
typedef unsigned int half;
typedef unsigned long word;

enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15, GENERAL };

struct llmc_registers {
    word general[GENERAL];
    word vector[16][2];
    word flags;
    half mxcsr, control, tags, unused;
};

struct llmc_slot { /* a mapped piece of memory that one object may have */
    word address, size;
};

struct llmc_object {
    const char *label;
    word address, size;
    struct llmc_slot slot;
    const byte *data; /* null: garbage */
    const byte *mask; /* the bits that are compared; null: all */
};

struct llmc_global {
    const char *name;
    byte *at;
    word size;
    const byte *data; /* null: its initial value */
    const byte *mask;
};

struct llmc_pad { /* what lies before and behind a constant, in the variable that holds it */
    byte *at;
    word size, pad;
};

enum { NUMBER, ADDRESS, TEXT, DATA };

struct llmc_argument {
    int kind;
    int registers[2]; /* -1: none; 16 and up: a vector register */
    word offset;      /* in the argument area of the stack, where it is in no register */
    word size;
    word pointee; /* DATA: how many bytes are compared of what it points to */
    const byte *mask;
};

struct llmc_outside { /* a function that is not there */
    const char *name;
    const struct llmc_argument *arguments;
    int count;
};

struct llmc_effect {
    byte *symbol; /* what `address` counts from */
    word address;
    const byte *data;
    word size;
    int made; /* it is a new object of the heap */
};

struct llmc_result {
    int number; /* of the register; 16 and up: a vector register */
    word value, mask;
    int same_as; /* the register for arguments that holds the value; -1: none */
};

struct llmc_reply {
    int callee;
    const struct llmc_result *results;
    int results_count;
    const struct llmc_effect *effects;
    int effects_count;
};

struct llmc_scene {
    const char *function, *verdict;
    const char *const *shown; /* lines that tell the input, ended by null */
    int whole;                /* run the program from main on */
    void (*candidate)(void), (*reference)(void);
    const struct llmc_registers *entry, *lost; /* at the start; what calls out leave in the registers they may change */
    const byte *stack;                         /* arguments on the stack */
    word stack_size;
    byte garbage[4], unset[4]; /* what fills the objects' memory; what fills the stack */
    const struct llmc_object *objects;
    int objects_count;
    const struct llmc_global *globals;
    int globals_count;
    const struct llmc_pad *pads;
    int pads_count;
    const struct llmc_outside *callbacks;
    int callbacks_count;
    const struct llmc_outside *externals;
    const struct llmc_reply *replies[2]; /* of the reference's and of the candidate's run */
    int replies_count[2];
    const struct llmc_argument *result;
    int result_signed, result_float, result_count; /* count 0: no result */
    int low;                                       /* objects begin, and do not end, at the edge of memory */
    int shortage;                                  /* malloc finds no memory: 1 at all, 2 for odd sizes, 3 for multiples of 8 */
    int errno_before, errno_matters;
    const char *const *thunks; /* the names of the functions whose calls are watched */
};

extern const struct llmc_scene llmc_scene;
extern const struct llmc_slot llmc_slots[];
extern const int llmc_slots_count;
void llmc_unbuffer(void);

#define LLMC_EXTERNAL 0x1000
#define LLMC_HEAP 0x2000
#define LLMC_STACK 0x7ffd12340000ul
#define LLMC_STACK_SIZE (64 * 4096ul)
#define LLMC_DEEP (256 * 4096ul)
#define LLMC_STUBS 0x0f000000ul
#define LLMC_STUB_SIZE 16
#define LLMC_RETURN (LLMC_STUBS + 4096 - LLMC_STUB_SIZE)

/* Code that is put in front of a function to see whether the stack is aligned when the candidate calls it. */
#define LLMC_THUNK(number, name)                                                                      \
    __asm__(".text\n.globl \"llmc.call." name "\"\n\"llmc.call." name "\":\n"                        \
            "leaq 8(%rsp), %r11\ntestb $15, %r11b\njz 1f\nmovl $" #number ", llmc_misaligned(%rip)\n" \
            "1: jmp \"" name "\"\n")
/* The same for one that returns an int: the upper half of the register is anybody's guess. */
#define LLMC_NARROW(number, name)                                                                         \
    __asm__(".text\n.globl \"llmc.call." name "\"\n\"llmc.call." name "\":\n"                            \
            "leaq 8(%rsp), %r11\ntestb $15, %r11b\njz 1f\nmovl $" #number ", llmc_misaligned(%rip)\n"     \
            "1: movl llmc_depth(%rip), %r11d\nincl llmc_depth(%rip)\nandl $1023, %r11d\n"                 \
            "popq llmc_returns(,%r11,8)\ncall \"" name "\"\n"                                             \
            "decl llmc_depth(%rip)\nmovl llmc_depth(%rip), %r11d\nandl $1023, %r11d\n"                    \
            "movl %eax, %eax\norq llmc_upper(%rip), %rax\n"                                               \
            "pushq llmc_returns(,%r11,8)\nret\n")
/* A function that is not there. */
#define LLMC_STUB(number, name)                                                 \
    __asm__(".text\n.globl \"" name "\"\n.type \"" name "\",@function\n.p2align 4\n\"" name "\":\n" \
            "movl $" #number ", llmc_number(%rip)\njmp llmc_outside\n")

#endif
