"""Thread-local variables: part of inputs and compared, and reached in the ways of compilers alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_llmcompiler import Judge, Sample
from pytest_llmcompiler.judge.verdict import Verdict

SOURCE = """
#include <errno.h>
_Thread_local int depth = 5;
static __thread long table[4] = {3, 1, 4, 1};
extern _Thread_local int elsewhere;
int ordinary;
int deeper(int by) { depth += by; ordinary++; return depth; }
long looked_up(unsigned i) { return table[i & 3]; }
int calls(void) { static _Thread_local int count = 7; return ++count; }
int far_away(int x) { elsewhere ^= x; return elsewhere; }
int *where(void) { return &depth; }
"""
PROGRAM = """
#include <stdio.h>
static _Thread_local int depth = 3;
int main(void) { int c; while ((c = getchar()) != EOF) depth += c; printf("%d", depth); return depth & 7; }
"""
ADD = " addl %edi, {place}\n incl ordinary(%rip)\n movl {place}, %eax\n ret\n"
GENERAL = " data16\n leaq {}@{}(%rip), %rdi\n{} call __tls_get_addr@PLT\n"
AROUND = "deeper:\n pushq %rbx\n movl %edi, %ebx\n{} addl %ebx, {place}\n incl ordinary(%rip)\n movl {place}, %eax\n popq %rbx\n ret\n"
EXECUTABLE = "deeper:\n" + ADD.format(place="%fs:depth@tpoff")
ARM = """deeper:
 mrs x8, tpidr_el0
 add x8, x8, :tprel_hi12:depth
 ldr w9, [x8, :tprel_lo12_nc:depth]
 add w9, w9, w0
 str w9, [x8, :tprel_lo12_nc:depth]
 adrp x10, ordinary
 ldr w11, [x10, :lo12:ordinary]
 add w11, w11, #1
 str w11, [x10, :lo12:ordinary]
 mov w0, w9
 ret
"""
DESCRIBED = """where:
 stp x29, x30, [sp, #-16]!
 adrp x0, :tlsdesc:depth
 ldr x1, [x0, :tlsdesc_lo12:depth]
 add x0, x0, :tlsdesc_lo12:depth
 .tlsdesccall depth
 blr x1
 mrs x8, tpidr_el0
 add x0, x8, x0
 ldp x29, x30, [sp], #16
 ret
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Judge]:
    with Judge(1, examples=10) as pool:
        yield pool


def judge(pool: Judge, function: str, text: str, target: str = "x86_64-linux") -> Verdict:
    return pool.check(Sample(SOURCE, function, text, target=target))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("deeper", EXECUTABLE),
        ("deeper", ".intel_syntax noprefix\ndeeper:\n add DWORD PTR fs:depth@tpoff, edi\n inc DWORD PTR ordinary[rip]\n"
                   " mov eax, DWORD PTR fs:depth@tpoff\n ret\n"),
        ("deeper", "deeper:\n movq depth@gottpoff(%rip), %rcx\n" + ADD.format(place="%fs:(%rcx)")),
        ("deeper", AROUND.format(GENERAL.format("depth", "tlsgd", " .value 0x6666\n rex64\n"), place="(%rax)")),
        ("deeper", AROUND.format(GENERAL.format("depth", "tlsld", ""), place="depth@dtpoff(%rax)").replace(" data16\n", "")),
        ("deeper", "deeper:\n leaq depth@tlsdesc(%rip), %rax\n call *depth@tlscall(%rax)\n addq %fs:0, %rax\n movq %rax, %rcx\n"
                   + ADD.format(place="(%rcx)")),
        ("where", "where:\n leaq _TLS_MODULE_BASE_@tlsdesc(%rip), %rax\n call *_TLS_MODULE_BASE_@tlscall(%rax)\n"
                  " addq %fs:0, %rax\n leaq depth@dtpoff(%rax), %rax\n ret\n"),
        ("looked_up", "looked_up:\n andl $3, %edi\n movq %fs:table@tpoff(,%rdi,8), %rax\n ret\n"
                      '.section .tdata,"awT",@progbits\n.type table, @object\ntable: .quad 3, 1, 4, 1\n'),
        ("calls", "calls:\n movl %fs:count.0@tpoff, %eax\n incl %eax\n movl %eax, %fs:count.0@tpoff\n ret\n"
                  '.section .tdata,"awT",@progbits\n.size count.0, 4\ncount.0: .long 7\n'),
        ("far_away", "far_away:\n movq elsewhere@GOTTPOFF(%rip), %rcx\n xorl %fs:(%rcx), %edi\n movl %edi, %fs:(%rcx)\n"
                     " movl %edi, %eax\n ret\n"),
    ],
    ids=["executable", "intel", "initial", "general", "module", "descriptor", "base", "array", "static", "declared"],
)  # fmt: skip
def test_each_way_to_a_thread_local_variable_passes(pool: Judge, function: str, text: str) -> None:
    verdict = judge(pool, function, text)
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("right", "wrong", "kind"),
    [
        ("%fs:depth@tpoff, %eax", "depth(%rip), %eax", "link"),
        ("%fs:depth@tpoff, %eax", "depth@GOTPCREL(%rip), %eax", "link"),
        ("ordinary(%rip)", "%fs:ordinary@tpoff", "link"),
        ("%fs:", "%gs:", "crash"),
        ("%fs:", "", "crash"),
        ("@tpoff", "@dtpoff", "crash"),
        ("@tpoff", "@tpoff+4", "mismatch"),
        ("addl %edi, %fs:depth@tpoff", "addl %fs:depth@tpoff, %edi", "mismatch"),
        ("ret\n", "ret\n.data\n.quad depth\n", "link"),
    ],
)
def test_no_other_way_does(pool: Judge, right: str, wrong: str, kind: str) -> None:
    assert right in EXECUTABLE
    assert judge(pool, "deeper", EXECUTABLE.replace(right, wrong)).kind == kind


def test_a_variable_that_is_not_written_back_is_found(pool: Judge) -> None:
    text = "deeper:\n movl %fs:depth@tpoff, %eax\n addl %edi, %eax\n incl ordinary(%rip)\n ret\n"
    verdict = judge(pool, "deeper", text)
    assert (verdict.kind, "global depth" in verdict.message) == ("mismatch", True), verdict
    assert judge(pool, "calls", "calls: movl $8, %eax\n movl %eax, %fs:count.0@tpoff\n ret\n").kind == "mismatch"


def test_code_for_aarch64(pool: Judge) -> None:
    """Local exec where the variable lies before the thread pointer, and descriptors."""
    assert judge(pool, "deeper", ARM, "aarch64-linux").passed
    assert judge(pool, "where", DESCRIBED, "aarch64-linux").passed
    assert judge(pool, "deeper", ARM.replace("str w9", "ldr w9"), "aarch64-linux").kind == "mismatch"
    ordinary = ARM.replace(":tprel_lo12_nc:", ":lo12:")
    assert judge(pool, "deeper", ordinary, "aarch64-linux").kind == "link"
    windows = judge(pool, "deeper", "deeper:\n movl %ecx, %eax\n ret\n", "x86_64-windows")
    assert (windows.kind, "thread-local variable depth" in windows.message) == ("inconclusive", True), windows


def test_optimised_ir_and_pass_lists(pool: Judge) -> None:
    ir = """@depth = thread_local global i32 5
@ordinary = global i32 0
define i32 @deeper(i32 %by) {
  %place = call ptr @llvm.threadlocal.address.p0(ptr @depth)
  %depth = load i32, ptr %place
  %sum = add i32 %depth, %by
  store i32 %sum, ptr %place
  %count = load i32, ptr @ordinary
  %more = add i32 %count, 1
  store i32 %more, ptr @ordinary
  ret i32 %sum
}
"""
    assert pool.check(Sample(SOURCE, "deeper", ir, task="ir")).passed
    assert (
        pool.check(Sample(SOURCE, "deeper", ir.replace("i32 %sum, ptr", "i32 %by, ptr"), task="ir")).kind == "mismatch"
    )
    assert pool.check(Sample(SOURCE, "deeper", "-Oz", task="tune")).passed


@pytest.mark.parametrize("target", ["x86_64-linux", "aarch64-linux"])
def test_whole_programs_have_thread_local_variables_of_their_own(pool: Judge, target: str) -> None:
    text = {
        "x86_64-linux": "main:\n pushq %rbx\n1: call getchar\n testl %eax, %eax\n js 2f\n addl %eax, %fs:depth@tpoff\n jmp 1b\n"
        "2: movl %fs:depth@tpoff, %esi\n leaq .Lf(%rip), %rdi\n xorl %eax, %eax\n call printf\n"
        " movl %fs:depth@tpoff, %eax\n andl $7, %eax\n popq %rbx\n ret\n",
        "aarch64-linux": "main:\n stp x29, x30, [sp, #-32]!\n str x19, [sp, #16]\n mrs x19, tpidr_el0\n"
        " add x19, x19, :tprel_hi12:depth\n add x19, x19, :tprel_lo12_nc:depth\n1: bl getchar\n tbnz w0, #31, 2f\n"
        " ldr w1, [x19]\n add w1, w1, w0\n str w1, [x19]\n b 1b\n2: ldr w1, [x19]\n adrp x0, .Lf\n"
        " add x0, x0, :lo12:.Lf\n bl printf\n ldr w0, [x19]\n and w0, w0, #7\n ldr x19, [sp, #16]\n"
        " ldp x29, x30, [sp], #32\n ret\n",
    }[target]
    text += '.Lf: .asciz "%d"\n.section .tdata,"awT",%progbits\ndepth: .long 3\n'
    assert pool.check(Sample(PROGRAM, "main", text, target=target, program=True)).passed
    other = text.replace(".long 3", ".long 4")
    assert pool.check(Sample(PROGRAM, "main", other, target=target, program=True)).kind == "mismatch"
