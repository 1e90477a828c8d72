"""The engine's checks at calls between a candidate and the program, and at operands that must be aligned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engine_runner import EngineRunner
from faces import Compile

SOURCE = r"""
#include <stdlib.h>
__attribute__((noinline)) int twice(int x) { return x * 2 + 1; }
int plus(int x) { return twice(x) + x; }
long number(const char *text) { return atoi(text); }
static int compare(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return x < y ? -1 : x > y;
}
void sort(int values[4]) { qsort(values, 4, sizeof *values, compare); }
__attribute__((noinline)) void note(int *p, int x) { *p = x; }
int noted(int x, int y) { int a; note(&a, x); return a + y; }
__attribute__((noinline)) float half(float x) { return x / 2; }
float halves(float x, float y) { return half(x) + y; }
__attribute__((noinline)) unsigned next(unsigned x) { return x + 1; }
unsigned long wide(unsigned x) { return next(x); }
float doubled(float x) { return x + x; }
static int mode;
void begin(void) { mode = 5; }
int scaled(int x) { return mode ? x * 2 : x - 1; }
"""
PLUS = "plus: pushq %rbx\n movl %edi, %ebx\n call twice\n addl %ebx, %eax\n popq %rbx\n ret"
NUMBER = "number: pushq %rcx\n call atoi\n cltq\n popq %rcx\n ret"
SORT = """
sort:   movl $4, %esi
        movl $4, %edx
        leaq compare(%rip), %rcx
        jmp qsort
compare:
        movl (%rsi), %ecx
        xorl %eax, %eax
        cmpl %ecx, (%rdi)
        setg %al
        setl %cl
        subb %cl, %al
        movsbl %al, %eax
        ret
"""
ON_STACK = "doubled: movaps %xmm0, {}(%rsp)\n addss {}(%rsp), %xmm0\n ret"
IN_TABLE = "doubled: xorl %eax, %eax\n addps %xmm0, %xmm0\n andps .Lmask+{}(%rip), %xmm0\n ret\n .section .rodata\n .p2align 4\n.Lmask: .fill 8, 4, -1"
BY_INDEX = "doubled: leaq -24(%rsp), %rdx\n movl ${}, %ecx\n movaps %xmm0, -8(%rdx,%rcx,4)\n addss %xmm0, %xmm0\n ret"
TWICE = "twice: leal 1(%rdi,%rdi), %eax\n ret\n .globl twice, plus\n"
OWN = f"{TWICE}plus: movl %edi, %esi\n call twice\n addl %esi, %eax\n ret"
BEGIN = "begin: movb $1, mode(%rip)\n ret\n .local mode\n .comm mode,1,4"
SCALED = "scaled: leal (%rdi,%rdi), %eax\n decl %edi\n cmpb $0, mode(%rip)\n cmovel %edi, %eax\n ret\n .local mode\n .comm mode,1,4"

NOTED = "noted: subq $24, %rsp\n movl %esi, 8(%rsp)\n movl %edi, %esi\n leaq 12(%rsp), %rdi\n call note\n movl 12(%rsp), %eax\n addl 8(%rsp), %eax\n addq $24, %rsp\n ret"
NOTED_BY = NOTED.replace("movl %esi, 8(%rsp)", "movl %esi, {0}").replace("addl 8(%rsp)", "addl {0}")
HALVES = "halves: subq $24, %rsp\n movss %xmm1, 12(%rsp)\n call half\n addss 12(%rsp), %xmm0\n addq $24, %rsp\n ret"
WIDE = "wide: pushq %rcx\n call next\n movl %eax, %eax\n popq %rcx\n ret"

LINUX = {
    # What -O0 code leaves alone in registers is not there after a call.
    "clobbered": ("noted", NOTED, NOTED_BY.format("%r10d"), "result"),
    "clobbered-argument": ("noted", NOTED, NOTED.replace("movl 12(%rsp)", "movl (%rdi)"), "fault"),
    "clobbered-no-result": ("noted", NOTED_BY.format("8(%rsp)"), NOTED_BY.format("%eax").replace("movl 12(%rsp), %eax\n addl %eax", "addl 12(%rsp)"), "result"),
    "clobbered-vector": ("halves", HALVES, HALVES.replace("addss 12(%rsp)", "addss %xmm1"), "result"),
    "narrow-own": ("wide", WIDE, WIDE.replace("movl %eax, %eax", "nop"), "result"),
    "call": ("plus", PLUS, PLUS.replace("pushq %rbx", "movl %edi, %ebx").replace("popq %rbx", "nop"), "alignment"),
    "narrow": ("number", NUMBER, NUMBER.replace("cltq", "nop"), "result"),
    "narrow-aligned": ("number", NUMBER, NUMBER.replace("pushq", "movq").replace("%rcx", "%rcx, %rcx", 1).replace("popq %rcx", "nop"), "alignment"),
    "callback": ("sort", SORT, SORT.replace("xorl %eax, %eax", "xorl %eax, %eax\n movl %eax, %ebp"), "register"),
    "callback-result": ("sort", SORT, SORT.replace("(%rdi)", "%ecx"), "object"),
    "stack": ("doubled", ON_STACK.format(-24, -24), ON_STACK.format(-16, -16), "fault"),
    "table": ("doubled", IN_TABLE.format(0), IN_TABLE.format(4), "fault"),
    "index": ("doubled", BY_INDEX.format(2), BY_INDEX.format(3), "fault"),
    "own": ("plus", OWN, OWN.replace("%esi", "%eax", 1), "result"),
    "boolean": ("begin", BEGIN, BEGIN.replace("$1", "$0"), "variable"),
    "no-boolean": ("begin", BEGIN, BEGIN.replace("$1", "$5"), "variable"),
    "read-boolean": ("scaled", SCALED, SCALED.replace("cmovel", "cmovnel"), "result"),
}  # fmt: skip
WINDOWS_PLUS = """
plus:   pushq %rbx
        subq $32, %rsp
        movl %ecx, %ebx
        call twice
        addl %ebx, %eax
        addq $32, %rsp
        popq %rbx
        ret
"""
WINDOWS_HOME = """
plus:   subq $40, %rsp
        movl %ecx, {}(%rsp)
        call twice
        addl {}(%rsp), %eax
        addq $40, %rsp
        ret
"""
WINDOWS = {
    "call": ("plus", WINDOWS_PLUS, WINDOWS_PLUS.replace("$32", "$40"), "alignment"),
    "home": ("plus", WINDOWS_HOME.format(32, 32), WINDOWS_HOME.format(24, 24), "result"),
    "clobbered": ("plus", WINDOWS_PLUS, WINDOWS_PLUS.replace("%ebx", "%r10d"), "result"),
    "narrow": (
        "number",
        "number: subq $40, %rsp\n call atoi\n addq $40, %rsp\n ret",
        "number: subq $40, %rsp\n call atoi\n shrq %rax\n addq $40, %rsp\n ret",
        "result",
    ),
}
ARM_PLUS = """
plus:   stp x29, x30, [sp, #-32]!
        str w0, [sp, #16]
        bl twice
        ldr w1, [sp, #16]
        add w0, w0, w1
        ldp x29, x30, [sp], #32
        ret
"""
ARM_NUMBER = "number: str x30, [sp, #-16]!\n bl atoi\n sxtw x0, w0\n ldr x30, [sp], #16\n ret"
ARM_STACK = "doubled: str s0, [sp, #-{0}]!\n ldr s1, [sp]\n add sp, sp, #{0}\n fadd s0, s0, s1\n ret"
ARM = {
    "call": ("plus", ARM_PLUS, ARM_PLUS.replace("bl twice", "sub sp, sp, #8\n bl twice\n add sp, sp, #8"), "alignment"),
    "narrow": ("number", ARM_NUMBER, ARM_NUMBER.replace("sxtw x0, w0", "nop"), "result"),
    "stack": ("doubled", ARM_STACK.format(16), ARM_STACK.format(8), "fault"),
    "clobbered": (
        "plus",
        ARM_PLUS,
        ARM_PLUS.replace("str w0, [sp, #16]", "mov w17, w0").replace("ldr w1, [sp, #16]", "mov w1, w17"),
        "result",
    ),
}
CASES = [
    pytest.param(target, *values, id=f"{target}-{name}")
    for target, cases in (("x86_64-linux", LINUX), ("x86_64-windows", WINDOWS), ("aarch64-linux", ARM))
    for name, values in cases.items()
]

Runner = Callable[[str, str], EngineRunner]


@pytest.fixture(scope="module")
def runner(compiled: Compile) -> Runner:
    """The suite of a function of `SOURCE` for a target."""
    runners: dict[tuple[str, str], EngineRunner] = {}

    def prepare(function: str, target: str = "x86_64-linux") -> EngineRunner:
        if (function, target) not in runners:
            runners[function, target] = EngineRunner(compiled(SOURCE, target=target), function, 10)
        return runners[function, target]

    return prepare


@pytest.mark.parametrize(("target", "function", "right", "wrong", "reason"), CASES)
def test_calls_and_operands(target: str, function: str, right: str, wrong: str, reason: str, runner: Runner) -> None:
    suite = runner(function, target)
    assert set(suite.run()) == {"not left"}
    assert set(suite.run(right)) == {"not left"}
    assert reason in suite.run(wrong)
