/* What input.c describes and runner.c runs: an input, its addresses, and what is compared after a run. Addresses are those
 * of the judge's emulator; sizes and offsets are in bytes. */
#ifndef LLMC_RUNNER_H
#define LLMC_RUNNER_H

#include "foreign_code.h"

typedef unsigned char byte;
typedef unsigned int half;
typedef unsigned long word;

struct llmc_slot { /* mapped memory that one object can occupy */
    word address, size;
};

struct llmc_object {
    const char *label;
    word address, size;
    struct llmc_slot slot;
    const byte *data; /* the initial bytes; null: garbage */
    const byte *mask; /* the bits that are compared; null: all */
};

struct llmc_pointer { /* a pointer to a symbol of the program, in a variable */
    word at;          /* from the start of the variable */
    byte *target;
};

struct llmc_global {
    const char *name;
    byte *at;
    word size;
    const byte *data; /* the bytes at the start; null: the initial value in the program */
    const byte *mask; /* the bits that are compared; null: all */
    const struct llmc_pointer *pointers; /* those in `data`, where its bytes are zero */
    int pointers_count;
};

struct llmc_pad { /* a variable that holds a constant, with padding of `pad` bytes before and behind it */
    byte *at;
    word size, pad;
};

enum { NUMBER, ADDRESS, TEXT, DATA };

enum { MAX_PASSED = 64 }; /* bytes of an argument or a result in registers */

struct llmc_argument {
    int kind;
    int registers[MAX_PASSED / 8]; /* -1: none; REGISTERS and up: the words of the vector registers */
    word offset;      /* in the argument area of the stack, where the argument is in no register */
    word size;
    word pointee;     /* DATA: how many of the bytes that the argument points to are compared */
    const byte *mask; /* the bits that are compared; null: all */
};

struct llmc_external { /* a function that the case does not define */
    const char *name;
    const struct llmc_argument *arguments;
    int count;
};

struct llmc_effect { /* a write to memory by an external call */
    byte *symbol; /* the variable that `address` counts from; null: `address` is absolute */
    word address;
    const byte *data;
    word size;
    int allocates; /* the call allocated this memory as a new object of the heap */
};

struct llmc_result { /* the value that an external call leaves in a register */
    int number; /* of the register; REGISTERS and up: a vector register */
    word value, mask;
    int same_as; /* the argument register that holds the same value; -1: none */
};

struct llmc_reply { /* the answer to an external call */
    int callee;
    const struct llmc_result *results;
    int results_count;
    const struct llmc_effect *effects;
    int effects_count;
};

struct llmc_reproducer {
    const char *function, *verdict;
    const char *const *input_lines; /* the input as C, ended by null */
    int whole_program;              /* 1: run the program from main on; all below `thunks` is unused then */
    void (*candidate)(void), (*reference)(void);
    const char *const *thunks; /* the names of the functions whose calls are checked for stack alignment */
    const State *entry;     /* the registers at the start */
    const State *clobbered; /* what an external call leaves in the registers that it may change */
    const byte *stack;                      /* arguments on the stack */
    word stack_size;
    byte garbage[4];       /* the pattern that fills the memory around the objects */
    byte uninitialised[4]; /* the pattern that fills the stack and the padding of constants */
    const struct llmc_object *objects;
    int objects_count;
    const struct llmc_global *globals;
    int globals_count;
    const struct llmc_pad *pads;
    int pads_count;
    const struct llmc_external *callbacks;
    int callbacks_count;
    const struct llmc_external *externals;
    const struct llmc_reply *replies[2]; /* to the calls of the reference's and of the candidate's run */
    int replies_count[2];
    const struct llmc_argument *result;
    int result_signed, result_count; /* count 0: no result */
    int result_float_bytes;          /* of each floating-point number, where the result is one or a vector of them */
    int aligned_objects; /* 1: objects begin at multiples of 4 GiB, instead of ending at the edge of mapped memory */
    int shortage;    /* when malloc finds no memory: 0 never, 1 always, 2 for sizes that are no multiple of 8, 3 for multiples */
    byte input[1024]; /* what can be read from standard input */
    word input_size;
    int errno_before, errno_matters;
};

extern const struct llmc_reproducer llmc_reproducer;
extern const struct llmc_slot llmc_slots[];
extern const int llmc_slots_count;
void llmc_unbuffer(void);
void llmc_place_threads(void); /* fills in the addresses of thread-local variables */
extern const word llmc_stream_numbers[3]; /* what stands in the tables for stdin, stdout and stderr */
extern void *const *const llmc_streams[3];

/* Numbers of callees: callbacks from 0 on, external functions from LLMC_EXTERNAL on, allocators from LLMC_HEAP on. */
#define LLMC_EXTERNAL 0x1000
#define LLMC_HEAP 0x2000
/* The addresses below are those of the judge's emulator. */
#define LLMC_STACK 0x7ffd12340000ul
#define LLMC_STACK_SIZE (64 * 4096ul)
#define LLMC_STACK_BELOW (256 * 4096ul) /* more room than in the emulator, below the stack that is compared */
#define LLMC_STUBS 0x0f000000ul
#define LLMC_STUB_SIZE 16
#define LLMC_RETURN (LLMC_STUBS + 4096 - LLMC_STUB_SIZE)

/* Code in front of a function that checks whether the stack is aligned to 16 bytes when the candidate calls it. */
#define LLMC_THUNK(number, name)                                                                      \
    __asm__(".text\n.globl \"llmc.call." name "\"\n\"llmc.call." name "\":\n"                        \
            "leaq 8(%rsp), %r11\ntestb $15, %r11b\njz 1f\nmovl $" #number ", llmc_misaligned(%rip)\n" \
            "1: jmp \"" name "\"\n")
/* The same for a function that returns an int, with garbage in the upper half of %rax, which the convention leaves
 * undefined. It keeps the return address in llmc_returns, so that the function finds its arguments on the stack. */
#define LLMC_INT_THUNK(number, name)                                                                      \
    __asm__(".text\n.globl \"llmc.call." name "\"\n\"llmc.call." name "\":\n"                            \
            "leaq 8(%rsp), %r11\ntestb $15, %r11b\njz 1f\nmovl $" #number ", llmc_misaligned(%rip)\n"     \
            "1: movl llmc_depth(%rip), %r11d\nincl llmc_depth(%rip)\nandl $1023, %r11d\n"                 \
            "popq llmc_returns(,%r11,8)\ncall \"" name "\"\n"                                             \
            "decl llmc_depth(%rip)\nmovl llmc_depth(%rip), %r11d\nandl $1023, %r11d\n"                    \
            "movl %eax, %eax\norq llmc_upper(%rip), %rax\n"                                               \
            "pushq llmc_returns(,%r11,8)\nret\n")
/* An external function, which is answered as in the emulator. */
#define LLMC_STUB(number, name)                                                                       \
    __asm__(".text\n.globl \"" name "\"\n.type \"" name "\",@function\n.p2align 4\n\"" name "\":\n" \
            "movl $" #number ", llmc_number(%rip)\njmp llmc_external\n")

#endif
