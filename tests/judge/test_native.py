"""Candidates with AVX, which run on the processor itself in a confined process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faces import Compile
from native_code import needs_avx, needs_avx512
from sources import STATEFUL
from whole_files import compile_whole

from pytest_llmcompiler import Judge, Sample, check
from pytest_llmcompiler.emulator.native import support
from pytest_llmcompiler.emulator.native.process import ConfinedProcess
from pytest_llmcompiler.errors import CaseError, JudgeError
from pytest_llmcompiler.judge import harness
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.program_harness import ProgramHarness
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.targets.levels import IsaLevel

pytestmark = needs_avx

ADD_EIGHT = "void add_eight(int *restrict p, const int *q) { for (int i = 0; i < 8; i++) p[i] += q[i]; }"
ADD_EIGHT_CODE = """
add_eight:
    vmovdqu (%rdi), %ymm0
    vpaddd  (%rsi), %ymm0, %ymm0
    vmovdqu %ymm0, (%rdi)
    vzeroupper
    retq
"""
SQUARE = "float square(float x) { return x * x; }"
SQUARE_CODE = "square: mulss %xmm0, %xmm0\n ret\n"


Judgement = Callable[..., Verdict]


@pytest.fixture
def judge(compiled: Compile) -> Judgement:
    """Judges a text for a function of a source; natively where nothing else is said."""

    def run(source: str, function: str, assembly: str, isa: IsaLevel = "x86-64-v3", **settings: object) -> Verdict:
        judged = JudgeSettings(**{"examples": 20, "native": "auto", "isa": isa, **settings})  # type: ignore[arg-type]
        return Harness(compiled(source), function, judged).judge(assembly)

    return run


def test_right_code_passes(judge: Judgement) -> None:
    verdict = judge(ADD_EIGHT, "add_eight", ADD_EIGHT_CODE)
    assert (verdict.kind, verdict.detail["native"]) == ("pass", True)


def test_static_variables_of_functions_that_an_earlier_process_prepared() -> None:
    source = "static int table[8] = {3, 1}; int get(unsigned i) { return table[i & 7]; } void put(unsigned i, int v) { table[i & 7] = v; }"
    code = "get:\n andl $7, %edi\n leaq table(%rip), %rax\n vmovd (%rax,%rdi,4), %xmm0\n vmovd %xmm0, %eax\n ret\n"
    for _ in range(2):
        with Judge(1, examples=5, native="auto", isa="x86-64-v3") as pool:
            verdict = pool.check(Sample(source, "get", code))
        assert (verdict.kind, verdict.detail["native"]) == ("pass", True)


def test_wrong_code_is_a_mismatch_with_a_small_input(judge: Judgement) -> None:
    verdict = judge(ADD_EIGHT, "add_eight", ADD_EIGHT_CODE.replace("vpaddd", "vpsubd"))
    assert verdict.kind == "mismatch"
    assert verdict.detail["native"]
    assert verdict.detail["input"]


@pytest.mark.parametrize(("settings"), [{"native": "off"}, {"isa": "x86-64"}, {"isa": "x86-64-v2"}])
def test_nothing_runs_natively_unless_it_is_allowed(judge: Judgement, settings: dict[str, str]) -> None:
    verdict = judge(ADD_EIGHT, "add_eight", ADD_EIGHT_CODE, **settings)
    assert verdict.kind == "inconclusive"
    assert "native" not in verdict.detail


def test_code_that_the_emulator_runs_is_left_to_it(judge: Judgement) -> None:
    verdict = judge(SQUARE, "square", SQUARE_CODE)
    assert verdict.kind == "pass"
    assert "native" not in verdict.detail


def test_a_processor_without_avx_judges_as_before(judge: Judgement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMC_PROCESSOR", "x86-64-v2")
    support.find_processor_level.cache_clear()
    try:
        verdict = judge(ADD_EIGHT, "add_eight", ADD_EIGHT_CODE)
    finally:
        monkeypatch.undo()
        support.find_processor_level.cache_clear()
    assert verdict.kind == "inconclusive"
    assert "VEX" in verdict.message


AVX512 = ADD_EIGHT_CODE.replace("%ymm0", "%ymm17").replace("vmovdqu", "vmovdqu32")


def test_code_above_the_level_is_inconclusive(judge: Judgement) -> None:
    assert judge(ADD_EIGHT, "add_eight", AVX512).kind == "inconclusive"


@needs_avx512
def test_avx512_runs_where_it_is_allowed(judge: Judgement) -> None:
    assert judge(ADD_EIGHT, "add_eight", AVX512, isa="x86-64-v4").kind == "pass"
    masked = """
    add_eight:
        movl $0xff, %eax
        kmovw %eax, %k1
        vmovdqu32 (%rdi), %zmm1{%k1}{z}
        vpaddd (%rsi), %zmm1, %zmm1{%k1}
        vmovdqu32 %zmm1, (%rdi){%k1}
        ret
    """
    assert judge(ADD_EIGHT, "add_eight", masked, isa="x86-64-v4").kind == "pass"


FAULTS = {
    "an aligned operand": ("vmovaps 4(%rsp), %ymm0", "misaligned access of 32 bytes"),
    "a null pointer": ("xorl %eax, %eax\n vmovups (%rax), %ymm0", "bad read of 32 bytes at 0x0"),
    "a store through a null pointer": ("xorl %eax, %eax\n vmovups %xmm0, (%rax)", "bad write of 16 bytes at 0x0"),
    "no address": ("movabsq $0xdead00000000, %rax\n shlq $8, %rax\n vmovups (%rax), %ymm0", "bad read of 32 bytes"),
    "no instruction": ("vzeroupper\n ud2", "illegal instruction"),
    "a jump to no code": ("vzeroupper\n xorl %eax, %eax\n jmpq *%rax", "bad jump"),
    "a division": ("vzeroupper\n xorl %ecx, %ecx\n divl %ecx", "division by zero"),
    "a system call": ("vzeroupper\n movl $39, %eax\n syscall", "`syscall` in user code"),
    "a privileged instruction": ("vzeroupper\n hlt", "`hlt` in user code"),
    "a write to its own code": ("vmovups %ymm0, square(%rip)", "bad write of 32 bytes"),
    # The operand of `movl` holds `syscall; ret`, which no list of instructions shows.
    "a hidden system call": ("vzeroupper\n jmp .Lhidden + 1\n.Lhidden: movl $0xc3050f, %eax", "`syscall` in user code"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_a_crash_with_its_line(judge: Judgement, what: str) -> None:
    code, message = FAULTS[what]
    verdict = judge(SQUARE, "square", f"square:\n vmulss %xmm0, %xmm0, %xmm0\n {code}\n ret\n", examples=5)
    assert verdict.kind == "crash", verdict
    assert message in verdict.message


def test_accesses_beside_an_object_fault(judge: Judgement) -> None:
    verdict = judge(ADD_EIGHT, "add_eight", ADD_EIGHT_CODE.replace("(%rsi)", "4(%rsi)"))
    assert verdict.kind == "crash"
    assert "bad read of 32 bytes" in verdict.message


def kill_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each confined process killed before its next event."""
    wait = ConfinedProcess.wait

    def wait_for_killed(self: ConfinedProcess, seconds: float) -> object:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
        return wait(self, seconds)

    monkeypatch.setattr(ConfinedProcess, "wait", wait_for_killed)


def test_a_process_that_is_killed_from_outside_says_nothing_of_the_code(
    judge: Judgement, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_processes(monkeypatch)
    verdict = judge(ADD_EIGHT, "add_eight", ADD_EIGHT_CODE)
    assert verdict.kind == "inconclusive"
    assert "killed from outside" in verdict.message


@pytest.mark.parametrize(
    ("name", "native", "kind"), [("look", "auto", "inconclusive"), ("find_disagreement", "always", "pass")]
)
def test_a_process_that_is_killed_after_the_suite(
    judge: Judgement, monkeypatch: pytest.MonkeyPatch, name: str, native: str, kind: str
) -> None:
    """In the second look there is no verdict; where the engines are compared, it stands."""
    function = getattr(harness, name)

    def run(*args: Any) -> Any:
        kill_processes(monkeypatch)
        return function(*args)

    monkeypatch.setattr(harness, name, run)
    code = ADD_EIGHT_CODE if native == "auto" else SQUARE_CODE
    source, called = (ADD_EIGHT, "add_eight") if native == "auto" else (SQUARE, "square")
    verdict = judge(source, called, code, native=native)
    assert verdict.kind == kind
    assert ("killed from outside" in verdict.message) == (kind == "inconclusive")


TWO_NANS = """
#include <math.h>
struct pair { double sum, difference; };
void combine(struct pair *p, double x) {
    p->sum = INFINITY - INFINITY + (x - x + NAN);
    p->difference = p->sum - x;
}
"""
TWO_NANS_CODE = """
combine:
    movabsq $0xfff8000000000000, %rax
    movq %rax, %xmm1
    movabsq $0x7ff8000000000001, %rax
    movq %rax, %xmm2
    addsd %xmm2, %xmm1
    movsd %xmm1, (%rdi)
    movapd %xmm1, %xmm2
    subsd %xmm0, %xmm1
    movsd %xmm1, 8(%rdi)
    ret
"""


@pytest.mark.parametrize(
    ("code", "kind"), [(TWO_NANS_CODE, "pass"), (TWO_NANS_CODE.replace("8(%rdi)", "(%rdi)"), "mismatch")]
)
def test_engines_may_choose_either_of_two_nans(judge: Judgement, code: str, kind: str) -> None:
    assert judge(TWO_NANS, "combine", code, native="always").kind == kind


NANS_IN_A_STRUCT = """
struct pair { double a, b; };
union bits { unsigned long long word; double number; };
void take(struct pair p);
void sums(unsigned long long x, unsigned long long y) {
    union bits first = {x | 0x7ff8000000000000}, second = {y | 0xfff8000000000000};
    take((struct pair){first.number + second.number, 1.0});
}
"""
NANS_IN_A_STRUCT_CODE = """
sums:
    movabsq $0x7ff8000000000000, %rax
    orq %rax, %rdi
    movabsq $0xfff8000000000000, %rax
    orq %rax, %rsi
    vmovq %rdi, %xmm1
    vmovq %rsi, %xmm2
    vaddsd %xmm1, %xmm2, %xmm0
    movabsq $0x3ff0000000000000, %rax
    vmovq %rax, %xmm1
    jmp take
"""


def test_all_nans_in_a_struct_that_is_passed_are_one(judge: Judgement) -> None:
    assert judge(NANS_IN_A_STRUCT, "sums", NANS_IN_A_STRUCT_CODE).kind == "pass"
    assert judge(NANS_IN_A_STRUCT, "sums", NANS_IN_A_STRUCT_CODE.replace("3ff0", "3ff8")).kind == "mismatch"


def test_an_endless_loop_hangs(judge: Judgement) -> None:
    verdict = judge(SQUARE, "square", "square: vmulss %xmm0, %xmm0, %xmm0\n.Lagain: jmp .Lagain\n", examples=3)
    assert verdict.kind == "hang"
    assert "s of processor time" in verdict.message


def test_instructions_whose_result_varies_are_inconclusive(judge: Judgement) -> None:
    verdict = judge(SQUARE, "square", "square: vmulss %xmm0, %xmm0, %xmm0\n rdtsc\n ret\n", examples=3)
    assert verdict.kind == "inconclusive"


@pytest.mark.parametrize(
    "read", ["vextractf128 $1, %ymm9, %xmm0", "vmovaps %xmm12, %xmm0"], ids=["upper half", "lower half"]
)
def test_registers_without_a_value_hold_garbage(judge: Judgement, read: str) -> None:
    assert judge(SQUARE, "square", f"square: {read}\n ret\n", examples=5).kind == "mismatch"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("vzeroupper\n xorl %ebx, %ebx", "callee-saved register %rbx is not restored"),
        ("movl $0x1fc0, -4(%rsp)\n vldmxcsr -4(%rsp)", "the floating-point control words are changed"),
        ("vzeroupper\n fld1", "the x87 register stack is not empty"),
        ("vzeroupper\n std", "the direction flag is left set"),
    ],
)
def test_breaches_of_the_calling_convention_show(judge: Judgement, code: str, message: str) -> None:
    verdict = judge(SQUARE, "square", f"square:\n vmulss %xmm0, %xmm0, %xmm0\n {code}\n ret\n", examples=5)
    assert (verdict.kind, verdict.message) == ("abi", message)


def test_the_stack_grows(judge: Judgement) -> None:
    deep = """
    square:
        vmulss %xmm0, %xmm0, %xmm0
        leaq -0x60000(%rsp), %rax
        vmovss %xmm0, (%rax)
        vmovss (%rax), %xmm0
        ret
    """
    assert judge(SQUARE, "square", deep, examples=5).kind == "pass"


CALLS = """
#include <stdio.h>
#include <stdlib.h>
struct item { float v[8]; struct item *next; };
float weigh(float x);
struct item *push(struct item *head, const float *restrict v, float (*f)(float)) {
    struct item *item = malloc(sizeof *item);
    if (!item) return head;
    for (int i = 0; i < 8; i++) item->v[i] = v[i] + 1.0f;
    item->v[0] = f ? f(item->v[1]) : weigh(v[2]);
    item->next = head;
    if (head) printf("%d\\n", (int)sizeof *item);
    return item;
}
"""
CALLS_CODE = """
    .section .rodata
.Lone: .float 1.0
.Lformat: .string "%d\\n"
    .text
push:
    pushq %rbp
    pushq %rbx
    pushq %r12
    movq %rdi, %rbx
    movq %rsi, %rbp
    movq %rdx, %r12
    movl $40, %edi
    call malloc
    testq %rax, %rax
    je .Lfull
    vbroadcastss .Lone(%rip), %ymm0
    vaddps (%rbp), %ymm0, %ymm0
    vmovups %ymm0, (%rax)
    movq %rbx, 32(%rax)
    movq %rax, %rbx
    vzeroupper
    vmovss 8(%rbp), %xmm0
    testq %r12, %r12
    je .Lweigh
    vmovss 4(%rbx), %xmm0
    call *%r12
    jmp .Lstore
.Lweigh:
    call weigh@PLT
.Lstore:
    vmovss %xmm0, (%rbx)
    cmpq $0, 32(%rbx)
    je .Ldone
    movl $40, %esi
    leaq .Lformat(%rip), %rdi
    xorl %eax, %eax
    call printf
.Ldone:
.Lfull:
    movq %rbx, %rax
    popq %r12
    popq %rbx
    popq %rbp
    ret
"""


def test_calls_of_the_program_the_library_and_the_kernel_are_answered_as_in_the_emulator(judge: Judgement) -> None:
    assert judge(CALLS, "push", CALLS_CODE, examples=40).kind == "pass"
    wrong = judge(CALLS, "push", CALLS_CODE.replace("vmovss 4(%rbx), %xmm0", "vmovss 12(%rbx), %xmm0"), examples=40)
    assert wrong.kind == "mismatch"
    assert "callback" in wrong.message


def test_calls_clobber_the_upper_halves_of_registers(judge: Judgement) -> None:
    kept = CALLS_CODE.replace(
        "    call *%r12\n", "    vmovups (%rbp), %ymm5\n    call *%r12\n    vmovups %ymm5, (%rbx)\n"
    )
    kept = kept.replace("vmovss 4(%rbx), %xmm0\n", "vmovss 4(%rbx), %xmm0\n")
    assert judge(CALLS, "push", kept, examples=40).kind == "mismatch"


FREED = """
#include <stdlib.h>
int last(int *p) { int x = p[0]; free(p); return x; }
"""


def test_freed_memory_faults(judge: Judgement) -> None:
    code = (
        "last:\n pushq %rbx\n movq %rdi, %rbx\n call free\n vmovd (%rbx), %xmm0\n vmovd %xmm0, %eax\n popq %rbx\n ret\n"
    )
    verdict = judge(FREED, "last", code)
    assert verdict.kind == "crash"
    assert "bad read of 4 bytes" in verdict.message
    right = (
        "last:\n pushq %rbx\n vmovd (%rdi), %xmm0\n vmovd %xmm0, %ebx\n call free\n movl %ebx, %eax\n popq %rbx\n ret\n"
    )
    assert judge(FREED, "last", right).kind == "pass"


MULTIPLY_ADD = "double combine(double a, double b, double c, double d) { return a * b + c * d; }"


@pytest.mark.parametrize(
    "code",
    [
        "vmulsd %xmm3, %xmm2, %xmm2\n vfmadd213sd %xmm2, %xmm1, %xmm0",
        "vmulsd %xmm1, %xmm0, %xmm0\n vfmadd231sd %xmm3, %xmm2, %xmm0",
        "vmulsd %xmm1, %xmm0, %xmm0\n vmulsd %xmm3, %xmm2, %xmm2\n vaddsd %xmm2, %xmm0, %xmm0",
    ],
)
def test_a_compiler_may_round_products_or_not(judge: Judgement, code: str) -> None:
    assert judge(MULTIPLY_ADD, "combine", f"combine:\n {code}\n ret\n", examples=60).kind == "pass"


def test_wrong_sums_of_products_are_caught(judge: Judgement) -> None:
    code = "combine:\n vmulsd %xmm3, %xmm2, %xmm2\n vfmsub213sd %xmm2, %xmm1, %xmm0\n ret\n"
    assert judge(MULTIPLY_ADD, "combine", code, examples=60).kind == "mismatch"


TWICE = "int twice(int x) { return 2 * x; }"


def test_code_that_passes_gets_a_second_look(judge: Judgement) -> None:
    code = "twice:\n vmovd %edi, %xmm0\n vpaddd %xmm0, %xmm0, %xmm0\n vmovd %xmm0, %eax\n{}\n ret\n"
    right = judge(TWICE, "twice", code.format(""))
    assert right.kind == "pass"
    assert right.detail["second_look"]["inputs"] > 100
    wrong = judge(TWICE, "twice", code.format(" cmpl $1234567, %edi\n jne .Lend\n incl %eax\n.Lend:"))
    assert wrong.kind == "mismatch"
    assert wrong.detail["input"] == ["x = 1234567"]
    assert judge(TWICE, "twice", code.format(""), effort=0).detail.get("second_look") is None


ADD_TRIPLE = "void add_triple(int *a, const int *b, int n) { for (int i = 0; i < n; i++) a[i] += b[i] * 3; }"
ADD_TRIPLE_CODE = """
add_triple:
    vpxor %xmm0, %xmm0, %xmm0
    xorl  %eax, %eax
1:  cmpl  %edx, %eax
    jge   3f
    movl  (%rsi,%rax,4), %ecx
    leal  (%rcx,%rcx,2), %r8d
    cmpl  $77777, %ecx
    jne   2f
    incl  %r8d
2:  addl  %r8d, (%rdi,%rax,4)
    incl  %eax
    jmp   1b
3:  ret
"""


def test_a_large_reserve_leaves_inputs_to_the_constants_of_the_code(judge: Judgement) -> None:
    verdict = judge(ADD_TRIPLE, "add_triple", ADD_TRIPLE_CODE, examples=60)
    assert verdict.kind == "mismatch"
    assert "77777" in " ".join(verdict.detail["input"])


@pytest.mark.parametrize("operand", ["broadcast", "whole"])
def test_constants_that_vector_code_loads_are_tried(judge: Judgement, operand: str) -> None:
    """Elements of q that are 1234567 count as one more."""
    load = "vpbroadcastd .Lc(%rip), %ymm2" if operand == "broadcast" else "vmovdqu .Lc(%rip), %ymm2"
    values = "1234567" if operand == "broadcast" else ", ".join(["1234567"] * 8)
    wrong = f"{load}\n vpcmpeqd (%rsi), %ymm2, %ymm2\n vpsubd %ymm2, %ymm0, %ymm0\n vmovdqu %ymm0, (%rdi)"
    code = ADD_EIGHT_CODE.replace("vmovdqu %ymm0, (%rdi)", wrong)
    verdict = judge(ADD_EIGHT, "add_eight", f"{code} .section .rodata\n.Lc: .long {values}\n")
    assert verdict.kind == "mismatch"
    assert "1234567" in " ".join(verdict.detail["input"]).split("q = ")[1]


@pytest.mark.parametrize("code", ["leal (%rdi,%rdi), %eax", "movl %edi, %eax"])
def test_code_of_the_emulator_runs_alike_on_the_processor(judge: Judgement, code: str) -> None:
    """With `always`, a difference would be an error."""
    emulated, both = (judge(TWICE, "twice", f"twice: {code}\n ret\n", native=mode) for mode in ("off", "always"))
    assert (emulated.kind, emulated.message) == (both.kind, both.message)


def test_both_engines_look_at_all_bits_of_an_address(judge: Judgement) -> None:
    """unicorn by itself takes the upper 12 bits for zeros, and `always` would find a difference."""
    code = "get:\n movabsq $0x8000000000000000, %rax\n addq %rdi, %rax\n movl (%rax), %eax\n ret\n"
    verdict = judge("int get(const int *p) { return *p; }", "get", code, native="always", examples=5)
    assert (verdict.kind, "bad read" in verdict.message) == ("crash", True), verdict


def test_a_difference_between_emulator_and_processor_names_the_instruction(judge: Judgement) -> None:
    """The emulator computes an exact reciprocal of 3, processors one of twelve bits."""
    code = "twice:\n movl $3, %eax\n cvtsi2ss %eax, %xmm1\n rcpss %xmm1, %xmm0\n movd %xmm0, %eax\n ret\n"
    with pytest.raises(JudgeError, match=r"emulator and processor differ at line 4: rcpss %xmm1, %xmm0 .*xmm0: 0x"):
        judge(TWICE, "twice", code, native="always")


def test_what_the_emulator_computes_wrongly_runs_natively(judge: Judgement) -> None:
    """unicorn leaves a value too many on the stack of x87 where the operand of the logarithm is 0."""
    code = """
    twice:
        movl $0, -8(%rsp)
        fld1
        fildl -8(%rsp)
        fyl2x
        fstpl -8(%rsp)
        leal (%rdi,%rdi), %eax
        ret
    """
    assert judge(TWICE, "twice", code).kind == "pass"
    assert judge(TWICE, "twice", code, native="off").kind == "inconclusive"


INTRINSICS = """
// LLMC: isa x86-64-v3
#include <immintrin.h>
void shuffle(unsigned char *restrict p, const unsigned char *restrict q, unsigned n) {
    for (unsigned i = 0; i + 32 <= n; i += 32) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(p + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(q + i));
        _mm256_storeu_si256((__m256i *)(p + i), _mm256_shuffle_epi8(a, b));
    }
}
"""
SHUFFLE_CODE = """
shuffle:
    xorl %eax, %eax
.Lnext:
    leal 32(%rax), %ecx
    cmpl %edx, %ecx
    ja .Ldone
    vmovdqu (%rdi,%rax), %ymm0
    vpshufb (%rsi,%rax), %ymm0, %ymm0
    vmovdqu %ymm0, (%rdi,%rax)
    movl %ecx, %eax
    jmp .Lnext
.Ldone:
    vzeroupper
    ret
"""


def test_a_case_with_intrinsics_runs_natively_itself(judge: Judgement) -> None:
    right = judge(INTRINSICS, "shuffle", SHUFFLE_CODE)
    assert (right.kind, right.detail["native"]) == ("pass", True), right
    wrong = judge(INTRINSICS, "shuffle", SHUFFLE_CODE.replace("vpshufb", "vpaddb"))
    assert wrong.kind == "mismatch"
    beyond = judge(
        INTRINSICS, "shuffle", SHUFFLE_CODE.replace("ja .Ldone", "").replace("jmp .Lnext", "cmpl $64, %eax\n jb .Lnext")
    )
    assert beyond.kind == "crash"


def test_code_without_avx_for_a_case_with_intrinsics_runs_natively_too(judge: Judgement) -> None:
    verdict = judge(INTRINSICS, "shuffle", "shuffle: ret\n")
    assert (verdict.kind, verdict.detail["native"]) == ("mismatch", True)


@pytest.mark.parametrize("settings", [{"native": "off"}, {"isa": "x86-64"}])
def test_a_case_with_intrinsics_is_inconclusive_where_nothing_may_run_natively(
    judge: Judgement, settings: dict[str, str]
) -> None:
    verdict = judge(INTRINSICS, "shuffle", SHUFFLE_CODE, **settings)
    assert verdict.kind == "inconclusive"
    assert "--llmc-isa x86-64-v3" in verdict.message


ADD_VECTORS = """
// LLMC: isa x86-64-v3
#include <immintrin.h>
void add(__m256i *p, const __m256i *q) { *p = _mm256_add_epi32(*p, *q); }
"""


def test_vectors_in_memory_in_a_case_with_intrinsics(judge: Judgement, compiled: Compile) -> None:
    right = compiled(ADD_VECTORS).texts.assembly("add", "O2")
    verdict = judge(ADD_VECTORS, "add", right, examples=5)
    assert verdict.kind == "pass", verdict
    assert verdict.detail["cost"].keys() == {"bytes", "references"}  # nothing counts instructions
    assert verdict.detail["cost"]["references"]["O2"].keys() == {"bytes"}
    assert judge(ADD_VECTORS, "add", right.replace("vpaddd", "vpsubd"), examples=5).kind == "mismatch"


def test_the_whole_program_of_a_case_with_intrinsics(judge: Judgement, compiled: Compile) -> None:
    """Inputs do not show the fault: the state that it needs is far inside a large variable."""
    source = f"// LLMC: isa x86-64-v3\n{STATEFUL}"
    text = compiled(source).texts.assembly("accumulate", "O1")
    assert judge(source, "accumulate", text, examples=5, effort=0).kind == "pass"
    wrong = judge(source, "accumulate", text.replace("andl\t$1", "andl\t$3"), examples=5, effort=0)
    assert (wrong.kind, wrong.message.partition(":")[0]) == ("mismatch", "the whole program"), wrong


VECTORS = """
typedef float floats __attribute__((vector_size(16)));
struct weighted { char rank; floats values; };
float pick(const struct weighted *w) { return w->values[w->rank & 3] + w->values[0]; }
"""


def test_vectors_in_memory_in_the_emulator(judge: Judgement, compiled: Compile) -> None:
    text = compiled(VECTORS).texts.assembly("pick", "O1")
    assert judge(VECTORS, "pick", text, examples=10).kind == "pass"
    assert judge(VECTORS, "pick", text.replace("addss", "subss"), examples=10).kind == "mismatch"
    misaligned = judge(VECTORS, "pick", text.replace("16(%rdi)", "20(%rdi)"), examples=10)
    assert misaligned.message.startswith("misaligned access of 16 bytes at w + 20"), misaligned


PROGRAM = """
// LLMC: program{}
#include <stdio.h>
#include <stdlib.h>
int main(void)
{{
    int count, n = 0;
    unsigned sum = 0, *all = calloc(64, sizeof *all);
    if (!all || scanf("%d", &count) != 1)
        return 1;
    for (; n < count && n < 64; n++)
        all[n] = (unsigned)(n * n) ^ (unsigned)count;
    for (int i = 0; i < 64; i++)
        sum += all[i] * 3u;
    printf("%u\\n", sum);
    return 0;
}}
"""


@pytest.mark.parametrize("directive", ["", "\n// LLMC: isa x86-64-v3"], ids=["emulated reference", "native reference"])
def test_whole_programs_run_natively(compiled: Compile, tmp_path: Path, directive: str) -> None:
    (tmp_path / "answer.c").write_text(PROGRAM.format(""))
    right = compile_whole(tmp_path / "answer.c", "gcc", "-O3", "-mavx2")
    assert "ymm" in right
    reference = compiled(PROGRAM.format(directive))
    settings = JudgeSettings(examples=5, native="auto", isa="x86-64-v3")
    harness = ProgramHarness(reference, settings)
    verdict = harness.judge(right)
    assert (verdict.kind, verdict.detail["native"]) == ("pass", True), verdict
    assert verdict.detail["cost"].keys() == {"bytes", "references"}
    wrong = harness.judge(right.replace("vpaddd", "vpsubd"), explain=False)
    assert (wrong.kind, wrong.detail["native"]) == ("mismatch", True), wrong
    forbidden = ProgramHarness(reference, JudgeSettings(examples=5)).judge(right)
    assert (forbidden.kind, "native" in forbidden.detail) == ("inconclusive", False), forbidden


ROUNDING = """
// LLMC: program
#include <stdio.h>
int main(void)
{
    double x, y, sum = 0;
    while (scanf("%lf %lf", &x, &y) == 2)
        sum = sum * 0.1 + x * 0.3 + y * y;
    printf("%.17g\\n", sum);
    return 0;
}
"""


def test_a_compiler_may_round_the_products_of_a_whole_program_or_not(compiled: Compile, tmp_path: Path) -> None:
    (tmp_path / "answer.c").write_text(ROUNDING)
    right = compile_whole(tmp_path / "answer.c", "gcc", "-O2", "-march=x86-64-v3")
    assert "vfmadd" in right
    settings = JudgeSettings(examples=20, native="auto", isa="x86-64-v3")
    harness = ProgramHarness(compiled(ROUNDING), settings)
    assert harness.judge(right).kind == "pass"
    assert harness.judge(right.replace("vfmadd", "vfmsub"), explain=False).kind == "mismatch"


CHAOS = """
double chaos(int n)
{
    double x = (n & 1023) * 0.0009 + 0.05123;
    for (int i = 0; i < 60; i++)
        x = 3.9 * x - 3.9 * x * x;
    return x;
}
"""
"""Each step triples an error of rounding."""


def test_products_that_are_not_rounded_excuse_no_other_result(judge: Judgement) -> None:
    code = (
        "chaos:\n vxorpd %xmm0, %xmm0, %xmm0\n vfmadd231sd %xmm0, %xmm0, %xmm0\n movl $1234567, %eax\n"
        " vcvtsi2sdl %eax, %xmm0, %xmm0\n ret\n"
    )
    verdict = judge(CHAOS, "chaos", code)
    assert verdict.kind == "inconclusive"
    assert "other rounding may explain it" in verdict.message


def test_products_that_are_not_rounded_excuse_no_other_text_of_a_program(compiled: Compile, tmp_path: Path) -> None:
    settings = JudgeSettings(examples=20, native="auto", isa="x86-64-v3")
    harness = ProgramHarness(compiled(ROUNDING), settings)
    for right, wrong in (('"%.17g', '"sum %.17g'), ("return 0", "return 3")):
        (tmp_path / "answer.c").write_text(ROUNDING.replace(right, wrong))
        code = compile_whole(tmp_path / "answer.c", "gcc", "-O2", "-march=x86-64-v3")
        assert "vfmadd" in code
        assert harness.judge(code, explain=False).kind == "mismatch"


def test_an_unknown_level_is_an_error_of_the_case(judge: Judgement) -> None:
    with pytest.raises(CaseError, match="expected one of x86-64, x86-64-v2, x86-64-v3, x86-64-v4, found `avx9`"):
        judge("// LLMC: isa avx9\nint twice(int x) { return 2 * x; }", "twice", "twice: ret\n")


def test_check_and_batches_take_answers_in_intel_syntax() -> None:
    answer = """Here is the code:

    add_eight:
        vmovdqu ymm0, ymmword ptr [rdi]
        vpaddd ymm0, ymm0, ymmword ptr [rsi]
        vmovdqu ymmword ptr [rdi], ymm0
        vzeroupper
        ret

    It adds eight numbers at once.
    """
    assert check(ADD_EIGHT, "add_eight", answer, examples=10).kind == "inconclusive"
    assert check(ADD_EIGHT, "add_eight", answer, examples=10, native="auto", isa="x86-64-v3").kind == "pass"
    with Judge(1, examples=10, native="auto", isa="x86-64-v3") as judge:
        verdict = judge.check(Sample(ADD_EIGHT, "add_eight", answer))
    assert (verdict.kind, verdict.detail["native"]) == ("pass", True)


@pytest.mark.parametrize("settings", [{"native": "on"}, {"isa": "avx2"}])
def test_unknown_settings_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        check(ADD_EIGHT, "add_eight", "", **settings)  # type: ignore[arg-type]


def test_accesses_below_the_red_zone_show(judge: Judgement) -> None:
    code = "square:\n vmulss %xmm0, %xmm0, %xmm0\n vmovss %xmm0, {}(%rsp)\n vmovss {}(%rsp), %xmm0\n ret\n"
    assert judge(SQUARE, "square", code.format(-128, -128), examples=5).kind == "pass"
    verdict = judge(SQUARE, "square", code.format(-136, -136), examples=5)
    assert (verdict.kind, "store below the red zone" in verdict.message) == ("abi", True), verdict


def test_a_jump_into_an_instruction_is_inconclusive(judge: Judgement) -> None:
    code = "square:\n vmulss %xmm0, %xmm0, %xmm0\n jmp .Lhidden + 1\n.Lhidden: movl $0xc3, %eax\n"
    verdict = judge(SQUARE, "square", code, examples=5)
    assert (verdict.kind, "the middle of an instruction" in verdict.message) == ("inconclusive", True), verdict
