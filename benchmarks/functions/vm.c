/* A bytecode interpreter: stack machine, register machine and a disassembler. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum opcode {
	OP_HALT, OP_PUSH, OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_DUP, OP_SWAP,
	OP_DROP, OP_LOAD, OP_STORE, OP_JUMP, OP_JZ, OP_LESS, OP_NEG, OP_COUNT
};

enum status { VM_OK, VM_UNDERFLOW, VM_OVERFLOW, VM_DIVIDE, VM_BAD_OP, VM_BAD_ADDRESS, VM_STEPS };

#define STACK_MAX 16
#define VARS 8

struct vm {
	const uint8_t *code;
	uint32_t code_len;
	uint32_t pc;
	int32_t stack[STACK_MAX];
	uint32_t sp;
	int32_t vars[VARS];
	enum status status;
};

union word {
	uint32_t bits;
	float real;
	struct { uint8_t b0, b1, b2, b3; } bytes;
};

struct op_info {
	const char *name;
	uint8_t operands;
	int8_t effect;
};

static const struct op_info ops[OP_COUNT] = {
	{"halt", 0, 0}, {"push", 1, 1}, {"add", 0, -1}, {"sub", 0, -1}, {"mul", 0, -1}, {"div", 0, -1}, {"dup", 0, 1},
	{"swap", 0, 0}, {"drop", 0, -1}, {"load", 1, 1}, {"store", 1, -1}, {"jump", 1, 0}, {"jz", 1, -1}, {"less", 0, -1},
	{"neg", 0, 0},
};

static unsigned long instructions;	/* executed by all machines so far */

static bool push(struct vm *vm, int32_t value)
{
	if (vm->sp >= STACK_MAX) {
		vm->status = VM_OVERFLOW;
		return false;
	}
	vm->stack[vm->sp++] = value;
	return true;
}

static int32_t pop(struct vm *vm)
{
	if (vm->sp == 0 || vm->sp > STACK_MAX) {
		vm->status = VM_UNDERFLOW;
		return 0;
	}
	return vm->stack[--vm->sp];
}

/* Two's complement arithmetic that wraps. */
static int32_t arithmetic(struct vm *vm, enum opcode op, int32_t a, int32_t b)
{
	switch (op) {
	case OP_ADD:
		return (int32_t)((uint32_t)a + (uint32_t)b);
	case OP_SUB:
		return (int32_t)((uint32_t)a - (uint32_t)b);
	case OP_MUL:
		return (int32_t)((uint32_t)a * (uint32_t)b);
	case OP_LESS:
		return a < b;
	case OP_DIV:
		if (b == 0 || (b == -1 && a == INT32_MIN)) {
			vm->status = VM_DIVIDE;
			return 0;
		}
		return a / b;
	default:
		vm->status = VM_BAD_OP;
		return 0;
	}
}

/* Run until the program halts or fails, at most `fuel` instructions. */
enum status vm_run(struct vm *vm, uint16_t fuel)
{
	int32_t a, b;

	vm->status = VM_OK;
	while (vm->status == VM_OK) {
		uint8_t op, operand = 0;

		if (fuel-- == 0)
			return vm->status = VM_STEPS;
		if (vm->pc >= vm->code_len)
			return vm->status = VM_BAD_ADDRESS;
		op = vm->code[vm->pc++];
		if (op >= OP_COUNT)
			return vm->status = VM_BAD_OP;
		if (ops[op].operands) {
			if (vm->pc >= vm->code_len)
				return vm->status = VM_BAD_ADDRESS;
			operand = vm->code[vm->pc++];
		}
		instructions++;
		switch ((enum opcode)op) {
		case OP_HALT:
			return vm->status;
		case OP_PUSH:
			push(vm, (int8_t)operand);
			break;
		case OP_DUP:
			a = pop(vm);
			if (vm->status == VM_OK && push(vm, a))
				push(vm, a);
			break;
		case OP_SWAP:
			b = pop(vm);
			a = pop(vm);
			if (vm->status == VM_OK && push(vm, b))
				push(vm, a);
			break;
		case OP_DROP:
			pop(vm);
			break;
		case OP_LOAD:
			push(vm, vm->vars[operand % VARS]);
			break;
		case OP_STORE:
			a = pop(vm);
			if (vm->status == VM_OK)
				vm->vars[operand % VARS] = a;
			break;
		case OP_JUMP:
			vm->pc = operand;
			break;
		case OP_JZ:
			if (pop(vm) == 0)
				vm->pc = operand;
			break;
		case OP_NEG:
			a = pop(vm);
			if (vm->status == VM_OK)
				push(vm, (int32_t)(0u - (uint32_t)a));
			break;
		default:
			b = pop(vm);
			a = pop(vm);
			if (vm->status == VM_OK) {
				a = arithmetic(vm, (enum opcode)op, a, b);
				push(vm, a);
			}
		}
	}
	return vm->status;
}

/* The deepest stack that straight-line code needs; -1 if it is cut off, underflows or has a bad opcode. */
int vm_depth(const uint8_t *code, size_t len)
{
	int depth = 0, deepest = 0;

	for (size_t pc = 0; pc < len; pc++) {
		const struct op_info *op;

		if (code[pc] >= OP_COUNT)
			return -1;
		op = &ops[code[pc]];
		pc += op->operands;
		if (pc >= len)
			return -1;
		depth += op->effect;
		if (depth < 0)
			return -1;
		if (depth > deepest)
			deepest = depth;
	}
	return deepest;
}

/* Print one instruction to `out`. Its size in bytes, 0 when there is no whole one. */
unsigned vm_disassemble(const uint8_t *code, unsigned len, char *out, size_t size)
{
	if (len == 0 || code[0] >= OP_COUNT || len < 1u + ops[code[0]].operands)
		return 0;
	if (ops[code[0]].operands)
		snprintf(out, size, "%-5s %u", ops[code[0]].name, code[1]);
	else
		snprintf(out, size, "%s", ops[code[0]].name);
	return 1u + ops[code[0]].operands;
}

/* The opcode of a mnemonic, or -1. */
int vm_opcode(const char *name)
{
	for (int i = 0; i < OP_COUNT; i++)
		if (strcmp(ops[i].name, name) == 0)
			return i;
	return -1;
}

/*
 * A register machine with 32-bit instructions: opcode, destination and two sources of four bits each,
 * and a signed immediate of 16 bits.
 */
int reg_step(int32_t regs[16], uint32_t insn)
{
	unsigned op = insn >> 28, d = insn >> 24 & 15, s = insn >> 20 & 15, t = insn >> 16 & 15;
	int32_t imm = (int16_t)(insn & 0xffff);

	switch (op) {
	case 0:
		regs[d] = (int32_t)((uint32_t)regs[s] + (uint32_t)regs[t] + (uint32_t)imm);
		break;
	case 1:
		regs[d] = (int32_t)((uint32_t)regs[s] * (uint32_t)regs[t]);
		break;
	case 2:
		regs[d] = regs[s] & (regs[t] ^ imm);
		break;
	case 3:
		regs[d] = (int32_t)((uint32_t)regs[s] << (regs[t] & 31));
		break;
	case 4:
		regs[d] = regs[s] >> (regs[t] & 31);
		break;
	case 5:
		regs[d] = regs[s] < regs[t] ? imm : regs[d];
		break;
	case 6:
		return imm;
	default:
		return -1;
	}
	regs[0] = 0;
	return 0;
}

/* The exponent and the top of the mantissa of a float, byte by byte. */
unsigned float_class(float x, int *exponent)
{
	union word w;

	w.real = x;
	*exponent = (int)(w.bits >> 23 & 0xff) - 127;
	if (*exponent == 128)
		return (w.bits & 0x7fffff) != 0 ? 4 : 3;
	if (*exponent == -127)
		return (w.bits & 0x7fffff) != 0 ? 1 : 0;
	return w.bytes.b3 >> 7 ? 5 : 2;
}

int main(void)
{
	/* the factorial of 6: n in var 0, the product in var 1 */
	static const uint8_t code[] = {
		OP_PUSH, 6, OP_STORE, 0, OP_PUSH, 1, OP_STORE, 1,
		OP_LOAD, 0, OP_JZ, 28,
		OP_LOAD, 0, OP_LOAD, 1, OP_MUL, OP_STORE, 1,
		OP_LOAD, 0, OP_PUSH, 1, OP_SUB, OP_STORE, 0, OP_JUMP, 8,
		OP_HALT,
	};
	struct vm vm = {0};
	int32_t regs[16] = {0, 7, -3};
	char text[24];
	int exponent;

	vm.code = code;
	vm.code_len = sizeof code;
	printf("%d", vm_run(&vm, 1000));
	printf(" %d after %lu\n", vm.vars[1], instructions);
	for (unsigned at = 0, n; (n = vm_disassemble(code + at, sizeof code - at, text, sizeof text)) != 0; at += n)
		printf("%s;", text);
	printf("\n%d %d %d\n", vm_depth(code, sizeof code), vm_opcode("jz"), vm_opcode("jnz"));
	printf("%d", reg_step(regs, 0x03120005));
	printf("%d", reg_step(regs, 0x14310000));
	printf("%d: %d %d", reg_step(regs, 0x6000fff0), regs[3], regs[4]);
	printf(" %u", float_class(0.15625f, &exponent));
	printf(" %d\n", exponent);
	return 0;
}
