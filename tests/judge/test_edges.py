"""Code that returns the right values and is wrong for hardware, signals, callers or the rest of the program."""

from __future__ import annotations

import itertools

import capstone
import pytest
from faces import Compile, Judged
from function_runner import FunctionRunner, result_of
from sources import STATEFUL

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.targets.x86_64_linux import find_aligned_operand

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
int plus(int x) { return (int)((unsigned)x + 1u); }
int flag(int x) { char on; on = 1; if (x > 5) on = 0; return on ? x : 9; }
int keep(int (*f)(int), int x) { int y = f(x); return y ^ x; }
struct rec { char tag; int n; char rest[12]; };
void partly(struct rec *r, int x) { struct rec t; t.tag = 1; t.n = x; t.rest[0] = 2; *r = t; }
char *copied(int x) { char t[24]; t[0] = x & 7; t[1] = 0; char *p = malloc(24); if (p) memcpy(p, t, 24); return p; }
double scaled(double x) { return x * 0.5; }
void move16(char *out, const char *in) { memcpy(out, in, 16); }
// LLMC: arg move16.out elements 16..20
// LLMC: arg move16.in elements 16..20
// LLMC: arg move16.out non-null
// LLMC: arg move16.in non-null
"""


def test_reads_of_uninitialised_memory_are_found(judged: Judged, compiled: Compile) -> None:
    """The uninitialised byte that a truth value is read from is true with one fill and false with another."""
    right = compiled(SOURCE).texts.assembly("flag", "O0")
    assert judged(SOURCE, "flag", right).passed
    verdict = judged(SOURCE, "flag", "".join(line for line in right.splitlines(True) if "movb\t$1" not in line))
    assert verdict.kind == "mismatch"
    assert any(
        "fails where that holds zeros, passes where it holds a pattern of bits" in line for line in verdict.evidence
    )
    always_nine = right.replace("movb\t$1", "movb\t$0")
    assert "unused stack" not in str(judged(SOURCE, "flag", always_nine))


CONSTANTS = r"""
static const char *digits = "0123456789abcdef";
static char *levels[] = {"low", "high", "none"};
static struct step { int by; short turns[3]; } steps[4] = {{1, {1, 2, 3}}, {2, {4, 5, 6}}, {4, {7, 8, 9}}, {8, {}}};
int digit(signed char c) { return c > 15 ? '?' : digits[c]; }
int other(unsigned i) { return i < 8 ? "ABCDEFGH"[i] : 0; }
const char *level(unsigned n) { return n > 1 ? levels[2] : levels[n]; }
int turn(unsigned n) { return steps[n & 3].turns[2]; }
"""

OWN_CONSTANTS = {
    "digit": """digit:
 movl $63, %eax
 cmpb $15, %dil
 jg 1f
 movsbq %dil, %rdi
 leaq .Ldigits(%rip), %rax
 movsbl (%rax,%rdi), %eax
1: ret
 .section .rodata
 .fill 130, 1, 0x55
.Ldigits: .string "0123456789abcdef"
""",
    "level": """level:
 leaq .Lnone(%rip), %rax
 cmpl $1, %edi
 ja 1f
 movl %edi, %edi
 leaq levels(%rip), %rax
 movq (%rax,%rdi,8), %rax
1: ret
 .section .rodata
.Lnone: .string "none"
""",
    "turn": """turn:
 andl $3, %edi
 leaq .Lturns(%rip), %rax
 movswl (%rax,%rdi,2), %eax
 ret
 .section .rodata
.Lturns: .short 3, 6, 9, 0
""",
}


@pytest.mark.parametrize("function", OWN_CONSTANTS)
def test_constants_of_the_candidate(judged: Judged, function: str) -> None:
    """A candidate may have its own copy of a constant; memory before a string is undefined."""
    right = OWN_CONSTANTS[function]
    verdict = judged(CONSTANTS, function, right)
    assert verdict.kind == "pass", str(verdict)
    wrong = right.replace('"none"', '"nine"').replace("9abcdef", "9bacdef").replace("3, 6, 9", "3, 6, 8")
    assert judged(CONSTANTS, function, wrong).kind == "mismatch"


LARGE = r"""
int far(unsigned i) { int room[100000]; for (int k = 0; k < 4; k++) room[k * 33333] = k; return room[(i & 3) * 33333]; }
"""


def test_a_large_frame(judged: Judged, compiled: Compile) -> None:
    """A function may use 1 MiB of the stack. The stack is new for each run, and an endless recursion leaves it."""
    assert judged(LARGE, "far", compiled(LARGE).texts.assembly("far", "O0")).passed
    assert judged(LARGE, "far", "far:\n movl %edi, %eax\n andl $3, %eax\n ret\n").passed
    assert judged(LARGE, "far", "far:\n movl %edi, %eax\n andl $1, %eax\n ret\n").kind == "mismatch"
    kept = (
        "far:\n incl -300000(%rsp)\n movl -300000(%rsp), %ecx\n decl -300000(%rsp)\n movl %edi, %eax\n andl $3, %eax\n"
    )
    assert judged(LARGE, "far", f"{kept} cmpl $1, %ecx\n je 1f\n incl %eax\n1: ret\n").kind == "mismatch"
    assert (
        judged(LARGE, "far", "far:\n subq $4104, %rsp\n movl %edi, (%rsp)\n call far\n addq $4104, %rsp\n ret\n").kind
        == "crash"
    )


@pytest.mark.parametrize("register", ["ecx", "r10d", "r11d", "ebx", "r12d"])
def test_uninitialised_registers_hold_different_values(judged: Judged, register: str) -> None:
    text = f"plus:\n testl %{register}, %{register}\n je 1f\n leal 1(%rdi), %eax\n ret\n1: movl %edi, %eax\n ret\n"
    assert judged(SOURCE, "plus", text).kind == "mismatch"


def test_registers_without_a_value_may_hold_small_numbers(compiled: Compile) -> None:
    """Code that is right unless a register without a value happens to hold one small number."""
    harness = Harness(compiled(SOURCE), "plus", JudgeSettings())
    text = "plus:\n leal 1(%rdi), %eax\n cmpq ${}, %rdx\n jne 1f\n incl %eax\n1: ret\n"
    verdicts = {number: harness.judge(text.format(number)) for number in range(1, 17)}
    found = [number for number, verdict in verdicts.items() if verdict.kind == "mismatch"]
    assert len(found) >= 12, found
    assert any("small numbers in registers" in str(verdicts[number]) for number in found)


def test_registers_after_a_callback(judged: Judged) -> None:
    """A register that the call may change has another value with each fill."""
    text = """keep:
 pushq %rbx
 movl %esi, %ebx
 movq %rdi, %rax
 movl %esi, %edi
 call *%rax
 testl %r8d, %r8d
 jne 1f
 incl %eax
1: xorl %ebx, %eax
 popq %rbx
 ret
"""
    assert judged(SOURCE, "keep", text).kind == "mismatch"
    assert judged(SOURCE, "keep", text.replace(" incl %eax\n", "")).passed


@pytest.mark.parametrize("level", ["O0", "O1", "O2", "O3"])
@pytest.mark.parametrize("function", ["partly", "copied"])
def test_uninitialised_bytes_may_be_copied(judged: Judged, compiled: Compile, function: str, level: str) -> None:
    verdict = judged(SOURCE, function, compiled(SOURCE).texts.assembly(function, level))
    assert verdict.passed, str(verdict)


SPILL = "plus:\n subq ${}, %rsp\n movdqa %xmm0, (%rsp)\n leal 1(%rdi), %eax\n addq ${}, %rsp\n ret\n"


def test_misaligned_accesses_fault(judged: Judged) -> None:
    assert judged(SOURCE, "plus", SPILL.format(24, 24)).passed
    verdict = judged(SOURCE, "plus", SPILL.format(32, 32))
    assert verdict.kind == "crash"
    assert verdict.message.startswith("misaligned access of 16 bytes at 0x7ff")
    assert verdict.message.endswith(" in line 3")
    assert "  at        line 3: movdqa %xmm0, (%rsp)" in verdict.evidence
    assert judged(SOURCE, "plus", SPILL.format(32, 32).replace("movdqa", "movdqu")).passed


def test_misaligned_constants_fault(judged: Judged) -> None:
    text = "scaled:\n mulpd .Lhalf(%rip), %xmm0\n ret\n .section .rodata\n .balign 16\n{}.Lhalf: .double 0.5, 0.5\n"
    assert judged(SOURCE, "scaled", text.format("")).passed
    verdict = judged(SOURCE, "scaled", text.format(" .quad 0\n"))
    assert verdict.kind == "crash"
    assert "misaligned access of 16 bytes" in verdict.message
    assert judged(SOURCE, "scaled", text.format(" .quad 0\n").replace("mulpd", "mulsd")).passed


def test_misaligned_buffers_fault(judged: Judged) -> None:
    text = "move16:\n movups (%rsi), %xmm0\n movups %xmm0, (%rdi)\n ret\n"
    assert judged(SOURCE, "move16", text).passed
    verdict = judged(SOURCE, "move16", text.replace("movups %xmm0", "movaps %xmm0"))
    assert verdict.kind == "crash"
    assert "misaligned access of 16 bytes at out" in verdict.message


@pytest.mark.parametrize(
    ("code", "is_aligned"),
    [
        ("0f2807", True),  # movaps (%rdi), %xmm0
        ("0f2907", True),
        ("660f6f07", True),  # movdqa
        ("66440f6f07", True),
        ("660fef07", True),  # pxor
        ("660f383707", True),  # pcmpgtq
        ("660f3a0f0701", True),  # palignr
        ("660fe707", True),  # movntdq
        ("480fc70f", True),  # cmpxchg16b
        ("0f1007", False),  # movups
        ("f30f6f07", False),  # movdqu
        ("f20ff007", False),  # lddqu
        ("660f2f07", False),  # comisd
        ("0f2f07", False),
        ("f20f5807", False),  # addsd
        ("660f3a630701", False),  # pcmpistri
        ("660f382007", False),  # pmovsxbw
        ("660fefc0", False),  # pxor of registers
        ("8b07", False),
        ("0f84000000", False),  # cut off
        ("", False),
    ],
)
def test_instructions_that_require_alignment(code: str, is_aligned: bool) -> None:
    """Each instruction was run on a processor, with an address that is not a multiple of 16."""
    assert (find_aligned_operand(bytes.fromhex(code), 0x1000) is not None) == is_aligned


def test_every_instruction_that_requires_alignment_is_found() -> None:
    """The opcodes are looked at before an instruction is decoded: none is missed by that."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    unaligned = ("movup", "movdqu", "lddqu", "pcmpestr", "pcmpistr", "sha", "bnd", "comisd")
    starts = itertools.product(("", "66", "f2", "f3"), ("", "48"), ("0f", "0f38", "0f3a"), range(256))
    for prefix, rex, escape, opcode in starts:
        code = bytes.fromhex(f"{prefix}{rex}{escape}{opcode:02x}{8 * (opcode % 8) | 7:02x}{'01' * 8}")
        instruction = next(decoder.disasm(code, 0x1000, 1), None)
        is_aligned = instruction is not None and not instruction.mnemonic.startswith(unaligned)
        is_aligned &= any(
            operand.type == capstone.x86.X86_OP_MEM and operand.size == 16
            for operand in (instruction.operands if instruction else ())
        )
        assert (find_aligned_operand(code, 0x1000) is not None) == is_aligned, code.hex()


def test_addresses_of_operands() -> None:
    registers = {"rdi": 0x1008, "rcx": 2, "fs_base": 0x100, "edi": 0xFFFFFFF8, "ecx": 2}
    for code, address in {
        "0f28444f10": 0x1008 + 2 * 2 + 16,  # movaps 16(%rdi,%rcx,2), %xmm0
        "0f2805f0ffffff": 0x500 + 7 - 16,  # movaps -16(%rip), %xmm0
        "640f2807": 0x1108,  # movaps %fs:(%rdi), %xmm0
        "670f28444f10": 12,  # movaps 16(%edi,%ecx,2), %xmm0
        "0f28042540000000": 0x40,  # movaps 0x40, %xmm0
    }.items():
        operand = find_aligned_operand(bytes.fromhex(code), 0x500)
        assert operand is not None
        assert operand.address(registers.__getitem__) == address, code


RED = "plus:\n movl %edi, -{0}(%rsp)\n movl -{0}(%rsp), %eax\n incl %eax\n ret\n"


def test_stores_below_the_red_zone(judged: Judged) -> None:
    assert judged(SOURCE, "plus", RED.format(128)).passed
    verdict = judged(SOURCE, "plus", RED.format(132))
    assert verdict.kind == "abi"
    assert verdict.message.startswith("store below the red zone")
    assert "  at        line 2: movl %edi, -132(%rsp)" in verdict.evidence
    assert verdict.evidence[0].startswith("  input     x = ")
    assert judged(SOURCE, "plus", RED.format(108).replace("plus:", "plus:\n pushq %rax\n popq %rcx\n")).passed


def test_loads_below_the_red_zone(judged: Judged) -> None:
    text = "plus:\n pushq %rdi\n subq $256, %rsp\n addq $264, %rsp\n movl -136(%rsp), %ecx\n leal 1(%rdi), %eax\n ret\n"
    verdict = judged(SOURCE, "plus", text)
    assert verdict.kind == "abi"
    assert verdict.message.startswith("load below the red zone")


def test_library_code_may_use_the_stack_below_the_red_zone(judged: Judged, compiled: Compile) -> None:
    for level in ("O0", "O2"):
        assert judged(SOURCE, "copied", compiled(SOURCE).texts.assembly("copied", level)).passed


def test_an_instruction_among_data(judged: Judged) -> None:
    text = "plus:\n leal 1(%rdi), %eax\n ret\n .section .rodata\n pushq %rbp\nnumber: .quad 1\n"
    assert judged(SOURCE, "plus", text).passed


def test_a_jump_into_an_instruction_is_inconclusive(judged: Judged) -> None:
    """Code hidden in an immediate was not checked for instructions that the emulator can't run."""
    text = "plus:\n leal 1(%rdi), %eax\n jmp .La+1\n.La: movl $0xc3c3c3c3, %eax\n ret\n"
    verdict = judged(SOURCE, "plus", text)
    assert verdict.kind == "inconclusive"
    assert "middle of an instruction" in verdict.message
    assert judged(SOURCE, "plus", text.replace("+1", "")).kind == "mismatch"
    padded = "plus:\n leal 1(%rdi), %eax\n testl %eax, %eax\n je 1f\n .p2align 4\n1: ret\n"
    assert judged(SOURCE, "plus", padded).passed
    wrong = text.replace("leal 1(", "leal 2(")
    assert judged(SOURCE, "plus", wrong).kind == "mismatch"


@pytest.mark.parametrize(
    "body",
    [
        " movq $1, %rsp\n movaps %xmm0, (%rsp)\n ret\n",
        " movq $-1, %rsp\n movaps %xmm0, (%rsp)\n ret\n",
        " negq %rsp\n movaps %xmm0, 1(%rsp)\n call plus\n",
        " leaq plus(%rip), %rsp\n incq %rsp\n movdqa (%rsp), %xmm0\n ret\n",
        " pushq %rsp\n movdqa (%rsp), %xmm1\n jmp plus\n",
        " movabsq $0x7fffffffffffffff, %rdi\n paddd (%rdi,%rdi,8), %xmm0\n ret\n",
        " movaps %fs:1, %xmm0\n ret\n",
        " jmp .La+2\n.La: movabsq $0x9090909090909090, %rax\n jmp plus\n",
    ],
)
def test_hostile_stacks_and_addresses(judged: Judged, body: str) -> None:
    verdict = judged(SOURCE, "plus", f"plus:\n{body}")
    assert verdict.kind in ("crash", "hang"), str(verdict)
    assert judged(SOURCE, "plus", f"plus:\n{body}") == verdict


def test_writes_to_the_caller_s_frame_and_to_code(compiled: Compile) -> None:
    reference = compiled(SOURCE)
    run = FunctionRunner(reference, "plus", " leal 1(%rdi), %eax\n movb $0, 8(%rsp)\n ret")(1)
    assert [breach.message for breach in run.abi_breaches] == ["the caller's stack frame is written"]
    run = FunctionRunner(reference, "plus", " movb $0, (%rsp)\n leal 1(%rdi), %eax\n ret")(1)
    assert run.outcome == "fault"
    for place in ("plus(%rip)", "flag(%rip)"):
        run = FunctionRunner(reference, "plus", f" movb $0, {place}\n leal 1(%rdi), %eax\n ret")(1)
        assert run.fault is not None
        assert run.fault.description == "bad write"


def test_stack_alignment_at_calls(compiled: Compile) -> None:
    """Only calls of functions that other files may call need an aligned stack."""
    source = """#include <stdlib.h>
    static int local(int x) { return x & 7; }
    int shared(int x) { return x & 7; }
    int outer(int x) { return local(x) + shared(x) + abs(x); }
    """
    reference = compiled(source)
    for callee, breaches in {"local": 0, "shared": 1, "abs": 1}.items():
        assert (
            FunctionRunner(reference, "outer", f" pushq %rax\n call {callee}\n popq %rcx\n ret")(1).abi_breaches == ()
        )
        run = FunctionRunner(reference, "outer", f" call {callee}\n ret")(1)
        assert run.outcome == "return"
        assert len(run.abi_breaches) == breaches, callee


def test_uninitialised_fills(compiled: Compile) -> None:
    runner = FunctionRunner(compiled(SOURCE), "plus", " movl -8(%rsp), %eax\n ret")
    on_zeros = runner(1, uninitialised="zeros")
    assert result_of(on_zeros) == 0
    assert result_of(runner(1)) != 0
    assert runner(1, uninitialised="zeros").has_same_effects(on_zeros)
    frames = FunctionRunner(compiled(SOURCE), "plus", " movl %esp, %eax\n ret")
    assert result_of(frames(1, uninitialised="small")) - result_of(frames(1, uninitialised="zeros")) == 32


BESIDE_CONSTANTS = """
static const unsigned short steps[3] = {100, 10, 1};
static const char *const names[2] = {"low", "high"};
int sum(int n)
{
    int all = 0;
    if (n < 0 || n > 999) return -1;
    for (int i = 0; i < 3; i++) while (n >= steps[i]) n -= steps[i], all++;
    return all;
}
int named(int n) { return names[n & 1][0]; }
"""


def test_memory_beside_a_constant_may_be_zero(judged: Judged, compiled: Compile) -> None:
    """With zero beside the constants the wrong loop never ends; most other values there end it."""
    right = compiled(BESIDE_CONSTANTS).texts.assembly("sum", "O0")
    assert judged(BESIDE_CONSTANTS, "sum", right).passed
    assert "cmpl\t$3" in right
    assert judged(BESIDE_CONSTANTS, "sum", right.replace("cmpl\t$3", "cmpl\t$4")).kind == "hang"
    null = "named:\n andl $1, %edi\n leaq names(%rip), %rax\n movq (%rax,%rdi,8), %rcx\n {}movsbl (%rcx), %eax\n ret\n"
    assert judged(BESIDE_CONSTANTS, "named", null.format("")).passed
    assert judged(BESIDE_CONSTANTS, "named", null.format("cmpq $0, -8(%rax)\n je 1f\n") + "1: ret\n").kind == "mismatch"


RETURNED = """
#include <ctype.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
int flag(const char *s) { return strcmp(s, "yes") == 0 || strcmp(s, "on") == 0; }
int digits(const char *s) { int n = 0; while (isdigit((unsigned char)s[n])) n++; return n; }
static jmp_buf place;
static void leave(int x) { if (x > 4) longjmp(place, x); }
int left(int x) { int back = setjmp(place); if (back) return back + 1; leave(x); return 0; }
int tail(const char *s) { return strcmp(s, "yes"); }
int absent(const char *s) { return strcmp(s, "yes") > 0 ? 1 : 0; }
// LLMC: arg flag.s cstring
// LLMC: arg digits.s cstring
// LLMC: arg flag.s non-null
// LLMC: arg digits.s non-null
// LLMC: arg tail.s non-null
// LLMC: arg absent.s non-null
"""


@pytest.mark.parametrize(
    ("function", "change"),
    [
        ("flag", ("cmpl\t$0, %eax", "cmpq\t$0, %rax")),
        ("flag", ("testl\t%eax, %eax", "testq\t%rax, %rax")),
        ("absent", ("testl\t%eax, %eax", "testq\t%rax, %rax")),
        ("digits", ("", "")),
        ("left", ("", "")),
        ("tail", ("", "")),
    ],
)
def test_upper_half_of_an_int_from_a_library_function(
    judged: Judged, compiled: Compile, function: str, change: tuple[str, str]
) -> None:
    """An `int` is in the lower half of the register; the upper half is undefined."""
    reference = compiled(RETURNED)
    texts = [reference.texts.assembly(function, level) for level in ("O0", "O2")]
    for text in texts:
        verdict = judged(RETURNED, function, text)
        assert verdict.passed, str(verdict)
    if change[0]:
        texts = [text for text in texts if change[0] in text and "@PLT" in text]
        assert texts
        for text in texts:
            assert judged(RETURNED, function, text.replace(*change)).kind == "mismatch"


def test_a_crash_in_a_library_function_names_the_calling_line(judged: Judged) -> None:
    text = "flag:\n pushq %rax\n movl $8, %edi\n leaq .Lyes(%rip), %rsi\n call strcmp\n popq %rcx\n ret\n"
    verdict = judged(RETURNED, "flag", text + ' .section .rodata\n.Lyes: .string "yes"\n')
    assert verdict.kind == "crash"
    assert "in strcmp, called from line 5" in verdict.message, str(verdict)


PROGRAM = r"""
#include <stdio.h>
static int calls;
int key(int x) { return x == 770077 ? 4 : x & 3; }
static int used(void) { return key(770000 + 77); }
int main(int argc, char **argv)
{
    printf("%s %d\n", argv[0], argc);
    for (int i = 0; i < 40; i++) printf("%d,", key(i));
    printf("\n%d\n", used());
    return key(7);
}
int aside(int x) { return x & 1; }
void log_to(int x) { calls += x & 1; fprintf(stderr, "%d\n", x & 1); }
"""
KEY = "key:\n movl %edi, %eax\n andl $3, %eax\n movl $4, %ecx\n cmpl $770077, %edi\n cmovel %ecx, %eax\n ret\n"


def test_the_whole_program_passes_with_correct_code(judged: Judged, compiled: Compile) -> None:
    assert judged(PROGRAM, "key", KEY).passed
    for function in ("key", "aside", "log_to"):
        for level in ("O0", "O2"):
            verdict = judged(PROGRAM, function, compiled(PROGRAM).texts.assembly(function, level))
            assert verdict.passed, str(verdict)


def test_the_whole_program_shows_a_failure_that_no_input_shows(judged: Judged, compiled: Compile) -> None:
    """The element of `seen` is behind those that inputs have, so it is zero in every run but that of the whole program."""
    right = compiled(STATEFUL).texts.assembly("accumulate", "O0")
    assert judged(STATEFUL, "accumulate", right).passed
    verdict = judged(STATEFUL, "accumulate", right.replace("andl\t$1", "andl\t$3"))
    assert verdict.kind == "mismatch", str(verdict)
    assert verdict.message.startswith("the whole program: ")
    assert verdict.evidence[0] == "  input     the whole program, from main on"
    assert any("stdout" in line for line in verdict.evidence)


CALLED_BEFORE = "accumulate:\n cmpl $0, seen+39996(%rip)\n je .Lfirst\n{} .Lfirst: movl $1, seen+39996(%rip)\n movl $1, %eax\n ret\n"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (" jmp accumulate\n", "hang", "still running"),
        (" movl 0, %eax\n ret\n", "crash", "bad read of 4 bytes at 0x0"),
        (" movl $3, %edi\n pushq %rax\n call exit\n", "mismatch", "ends with"),
        (" pushq %rax\n call abort\n", "mismatch", "ends with: expected exit code"),
        (" vzeroupper\n xorl %eax, %eax\n ret\n", "inconclusive", "vzeroupper"),
        (" xorl %eax, %eax\n ret\n", "mismatch", "stdout"),
    ],
)
def test_failures_of_the_whole_program(judged: Judged, body: str, kind: str, words: str) -> None:
    text = CALLED_BEFORE.format(body)
    verdict = judged(STATEFUL, "accumulate", text)
    assert verdict.kind == kind, str(verdict)
    assert "the whole program: " in verdict.message
    assert words in str(verdict)
    assert judged(STATEFUL, "accumulate", text) == verdict


LOOP = r"""
void sums(int *p, unsigned n, int *out)
{
    int s = 0;
    for (unsigned i = 0; i < n; i++) s += p[i] & 3;
    *out = s;
}
int table[4];
void put(int i, int v) { table[i & 3] = v; table[(i + 1) & 3] = 5; }
int pick(int x) { if (x > 7) return 3; return x < -7 ? 4 : 5; }
int pure(int x) { return x & 15; }
"""


def divergence_lines(judged: Judged, function: str, text: str) -> list[str]:
    verdict = judged(LOOP, function, text)
    assert not verdict.passed
    assert verdict == judged(LOOP, function, text)
    return [line for line in verdict.evidence if line.startswith("  diverges ")]


@pytest.mark.parametrize("level", ["O0", "O2"])
def test_divergence_at_a_constant(judged: Judged, compiled: Compile, level: str) -> None:
    texts = compiled(LOOP).texts
    right = texts.assembly("pick", level)
    line = next(number for number, line in enumerate(right.splitlines(), 1) if "$5" in line or "$7" in line)
    wrong = right.splitlines()
    wrong[line - 1] = wrong[line - 1].replace("$7", "$6").replace("$5", "$15")
    (evidence,) = divergence_lines(judged, "pick", "\n".join(wrong))
    assert evidence.startswith(f"  diverges  line {line}: ")
    first_level = next(other for other in ("O0", "O1", "O2", "O3") if texts.assembly("pick", other) == right)
    instruction = " ".join(right.splitlines()[line - 1].split())
    assert evidence.endswith(f"; clang -{first_level} has {instruction} there")


def test_divergence_at_a_missing_instruction(judged: Judged, compiled: Compile) -> None:
    right = compiled(LOOP).texts.assembly("sums", "O0").splitlines()
    at = next(index for index, line in enumerate(right) if "$3" in line)
    (evidence,) = divergence_lines(judged, "sums", "\n".join(right[:at] + right[at + 1 :]))
    assert evidence.startswith(f"  diverges  line {at + 1}: ")
    assert "; clang -O0 has andl $3, " in evidence


LIST_SUM = """\
struct node { struct node *next; int value; };
int held(const struct node *n) { int s = 0; while (n) { s += n->value; n = n->next; } return s; }
"""


def test_divergence_after_padding(judged: Judged, compiled: Compile) -> None:
    """Both runs execute the padding before an aligned loop, which is no instruction of either text."""
    right = compiled(LIST_SUM).texts.assembly("held", "O1")
    verdict = judged(LIST_SUM, "held", right.replace("addl\t8(%rdi), %eax", "jmp\t.LBB0_1"))
    assert verdict.kind == "crash", str(verdict)
    assert any(
        line.startswith("  diverges ") and "jmp .LBB0_1; clang -O1 has addl" in line for line in verdict.evidence
    )


def test_divergence_behind_padding_of_the_reference_alone(judged: Judged, compiled: Compile) -> None:
    """The candidate does not align the loop, so only the reference executes padding before it."""
    right = compiled(LIST_SUM).texts.assembly("held", "O1")
    assert "\t.p2align\t4\n.LBB0_" in right
    unaligned = "\n".join(line for line in right.splitlines() if ".p2align" not in line)
    verdict = judged(LIST_SUM, "held", unaligned.replace("addl\t8(%rdi), %eax", "subl\t8(%rdi), %eax"))
    assert verdict.kind == "mismatch", str(verdict)
    assert any("subl 8(%rdi), %eax; clang -O1 has addl" in line for line in verdict.evidence)


def test_divergence_at_a_jump(judged: Judged, compiled: Compile) -> None:
    right = compiled(LOOP).texts.assembly("pick", "O0")
    lines = right.splitlines()
    jumps = [index for index, line in enumerate(lines) if "\tjle\t" in line or "\tjg\t" in line or "\tjge\t" in line]
    target = lines[jumps[0]].split()[-1]
    other = next(
        word for word in right.split() if word.startswith(".LBB") and word.endswith(":") and word[:-1] != target
    )
    lines[jumps[0]] = lines[jumps[0]].replace(target, other[:-1])
    (evidence,) = divergence_lines(judged, "pick", "\n".join(lines))
    assert evidence.startswith(f"  diverges  line {jumps[0] + 1}: j")
    assert " goes on to line " in evidence


def test_divergence_does_not_depend_on_syntax(judged: Judged) -> None:
    """Intel syntax, hexadecimal numbers and comments make no other instructions."""
    text = """.intel_syntax noprefix
pure:
 push rbp
 mov rbp, rsp
 mov [rbp - 0x4], edi # the argument
 mov eax, [rbp - 0x4]
 and eax, 0xe
 pop rbp
 ret
"""
    (evidence,) = divergence_lines(judged, "pure", text)
    assert evidence.startswith("  diverges  line 7: and eax, 0xe; clang -O0")
    assert evidence.endswith(" has andl $15, %eax there")


def test_divergence_at_a_wrong_store(judged: Judged) -> None:
    text = """sums:
 xorl %r9d, %r9d
1: subl $1, %esi
 jb 2f
 movl (%rdi), %r8d
 addq $4, %rdi
 andl $3, %r8d
 addl %r8d, %r9d
 jmp 1b
2: notl %r9d
 movl %r9d, (%rdx)
 ret
"""
    (evidence,) = divergence_lines(judged, "sums", text)
    assert evidence == "  diverges  line 11: movl %r9d, (%rdx) stores 0xffffffff to out[0], the reference never does"
    other = (
        "put:\n andl $3, %edi\n movl %esi, table(,%rdi,4)\n incl %edi\n andl $3, %edi\n movl $6, table(,%rdi,4)\n ret\n"
    )
    (evidence,) = divergence_lines(judged, "put", other)
    assert evidence.startswith("  diverges  line 6: movl $6, table(,%rdi,4) stores 0x6 to global table[")


def test_no_divergence_in_unlike_code(judged: Judged) -> None:
    assert (
        divergence_lines(judged, "pure", "pure:\n leal 1(%rdi,%rdi,2), %ecx\n movl %ecx, %eax\n notl %eax\n ret\n")
        == []
    )


@pytest.mark.parametrize(
    "text",
    [
        "pure:\n jmp pure\n",
        "pure:\n movl %edi, %eax\n1: jmp 1b\n andl $15, %eax\n retq\n",
        "pure:\n movl %eax, table(%rip)\n incl %eax\n jmp pure\n",
        "pure:\n pushq %rax\n call pure\n",
        "pure:\n movl %edi, %eax\n jmp .La+1\n.La: andl $0xc3c3c3, %eax\n retq\n",
        "pure:\n jmp table\n",
        "pure:\n movl %edi, %eax\n andl $15, %eax\n jmp *%rax\n",
        "pure:\n .byte 0x89\n",
        "pure:\n movq pure(%rip), %rax\n movl %edi, %eax; andl $14, %eax; retq\n",
    ],
)
def test_hostile_traces(judged: Judged, text: str) -> None:
    verdict = judged(LOOP, "pure", text)
    assert not verdict.passed
    assert verdict == judged(LOOP, "pure", text)
