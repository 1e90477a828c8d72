"""Proofs of passing code: what is proved, and code that is almost right, of which nothing may be proved."""

from __future__ import annotations

import pytest

pytest.importorskip("z3")

from faces import Compile

from pytest_llmcompiler import Verdict, check
from pytest_llmcompiler.errors import JudgeError, SettingError
from pytest_llmcompiler.judge import settings
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.proof import Prover
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.prover.contract import find_contract
from pytest_llmcompiler.prover.prove import ProofResult, prove

SOURCE = """
extern int seen(int);
int counter;
int twice(int x) { return (int)((unsigned)x * 2u); }
int first(int *p) { return p[0]; }
int call(int x) { return seen(x) + 1; }
unsigned ratio(unsigned a, unsigned b) { return a / b; }
void count(int by) { counter += by; }
unsigned sum(unsigned *p, unsigned n) { unsigned s = 0; for (unsigned i = 0; i != n; i++) s += p[i]; return s; }
double scale(double x, double y) { return x * y + 1.0; }
int narrow(signed char c) { return c; }
"""
LOOP = """sum: xorl %eax, %eax
    testl %esi, %esi
    je 2f
    xorl %ecx, %ecx
1:  addl (%rdi,%rcx,4), %eax
    incl %ecx
    cmpl %ecx, %esi
    jne 1b
2:  ret
"""
CALL = "call: pushq %rbx\n movl %edi, %ebx\n call seen\n incl %eax\n popq %rbx\n ret\n"
RIGHT = {
    "twice": [
        "twice: leal (%rdi,%rdi), %eax\n ret",
        "twice: movl %edi, -4(%rsp)\n movl -4(%rsp), %eax\n shll %eax\n ret",
        "twice: pushq %rbx\n movl %edi, %ebx\n addl %ebx, %ebx\n movl %ebx, %eax\n popq %rbx\n ret",
    ],
    "first": ["first: movl (%rdi), %ecx\n movl %ecx, %eax\n ret"],
    "call": [CALL],
    "ratio": ["ratio: movl %edi, %eax\n xorl %edx, %edx\n divl %esi\n ret"],
    "count": ["count: movl counter(%rip), %eax\n addl %edi, %eax\n movl %eax, counter(%rip)\n ret"],
    "sum": [LOOP],
    "scale": [
        "scale: mulsd %xmm1, %xmm0\n addsd .L1(%rip), %xmm0\n ret\n .section .rodata\n .p2align 3\n.L1: .double 1.0"
    ],
    "narrow": ["narrow: movsbl %dil, %eax\n ret", "narrow: movl %edi, %eax\n ret"],
}
"""Right code. The second `narrow` relies on the caller's extension to 32 bits, as clang's code does."""
WRONG = {
    "a result that is wrong for one input": (
        "twice",
        "twice: leal (%rdi,%rdi), %eax\n cmpl $0x12345678, %edi\n jne 1f\n incl %eax\n1: ret",
    ),
    "a register that callers keep": ("twice", "twice: movl %edi, %ebx\n leal (%rbx,%rbx), %eax\n ret"),
    "the stack pointer": ("twice", "twice: pushq %rdi\n leal (%rdi,%rdi), %eax\n ret"),
    "far below the stack pointer": (
        "twice",
        "twice: movl %edi, -200(%rsp)\n movl -200(%rsp), %eax\n addl %eax, %eax\n ret",
    ),
    "the direction flag": ("twice", "twice: std\n leal (%rdi,%rdi), %eax\n ret"),
    "an undefined flag": (
        "twice",
        "twice: leal (%rdi,%rdi), %eax\n imull %edi, %edi\n jz 1f\n nop\n1: jp 2f\n incl %eax\n2: ret",
    ),
    "uninitialised stack": ("twice", "twice: leal (%rdi,%rdi), %eax\n addl -8(%rsp), %eax\n ret"),
    "uninitialised register": ("twice", "twice: leal (%rdi,%rdi), %eax\n testb $1, %r10b\n je 1f\n incl %eax\n1: ret"),
    "a variable of the text": (
        "twice",
        "twice: incl n(%rip)\n leal (%rdi,%rdi), %eax\n ret\n .bss\nn: .long 0",
    ),
    "an endless loop": ("twice", "twice: leal (%rdi,%rdi), %eax\n testl %edi, %edi\n1: js 1b\n ret"),
    "a read that the reference does not do": ("first", "first: movl 4(%rdi), %ecx\n movl (%rdi), %eax\n ret"),
    "a write that is undone": ("first", "first: movl (%rdi), %eax\n incl (%rdi)\n decl (%rdi)\n ret"),
    "an operand that may be misaligned": ("first", "first: movaps (%rdi), %xmm0\n movd %xmm0, %eax\n ret"),
    "another argument": ("call", CALL.replace("call seen", "incl %edi\n call seen")),
    "two calls": ("call", CALL.replace("call seen", "call seen\n movl %ebx, %edi\n call seen")),
    "a stack that is not aligned": ("call", "call: call seen\n incl %eax\n ret"),
    "a register that the callee changes": (
        "call",
        "call: subq $8, %rsp\n call seen\n xorl %esi, %eax\n xorl %esi, %eax\n movl %r8d, %esi\n subl %r8d, %esi\n leal 1(%rax,%rcx), %eax\n addq $8, %rsp\n ret",
    ),
    "the red zone across a call": (
        "call",
        "call: movl %edi, -16(%rsp)\n subq $8, %rsp\n call seen\n addq $8, %rsp\n subl %eax, -16(%rsp)\n incl %eax\n addl -16(%rsp), %eax\n ret",
    ),
    "another divisor": (
        "ratio",
        "ratio: movl %edi, %eax\n xorl %edx, %edx\n divl %esi\n movl %edi, %ecx\n movl %eax, %r8d\n xorl %edx, %edx\n movl %edi, %eax\n divl %edi\n movl %r8d, %eax\n ret",
    ),
    "a second write of a global": ("count", "count: addl %edi, counter(%rip)\n addl %edi, counter(%rip)\n ret"),
    "one more round": ("sum", LOOP.replace("testl %esi, %esi\n    je 2f\n", "")),
    "a loop that goes on for ever": ("sum", LOOP.replace("jne 1b", "jmp 1b")),
    "another constant": (
        "scale",
        "scale: mulsd %xmm1, %xmm0\n addsd .L1(%rip), %xmm0\n ret\n .section .rodata\n.L1: .double 2.0",
    ),
    "operands of a float subtraction": ("scale", "scale: subsd %xmm1, %xmm0\n ret"),
    "the upper half of an argument": (
        "twice",
        "twice: leaq (%rdi,%rdi), %rax\n shrq $1, %rax\n movq %rax, %rcx\n shrq $32, %rcx\n addl %ecx, %eax\n addl %edi, %eax\n ret",
    ),
}


@pytest.fixture(scope="module")
def try_proof(compiled: Compile):  # type: ignore[no-untyped-def]
    reference = compiled(SOURCE)
    functions: dict[str, FunctionUnderTest] = {}

    def attempt(function: str, text: str) -> ProofResult:
        under_test = functions.setdefault(function, FunctionUnderTest(reference, function))
        levels = [(level, under_test.assemble_reference(level)[1]) for level in ("O2", "O0")]
        candidate = under_test.assemble_candidate(text, "llvm")
        return prove(levels, candidate, function, find_contract(reference, function))

    return attempt


@pytest.mark.parametrize(("function", "text"), [(name, text) for name, texts in RIGHT.items() for text in texts])
def test_right_code_is_proved(try_proof, function: str, text: str) -> None:  # type: ignore[no-untyped-def]
    result = try_proof(function, text + "\n")
    assert result["proved"], result


@pytest.mark.parametrize("name", WRONG)
def test_code_that_is_almost_right_is_not_proved(try_proof, name: str) -> None:  # type: ignore[no-untyped-def]
    result = try_proof(WRONG[name][0], WRONG[name][1] + "\n")
    assert not result["proved"], name
    assert result["reason"]


def judge(function: str, text: str, **settings: float) -> Verdict:
    return check(SOURCE, function, text + "\n", examples=10, **settings)  # type: ignore[arg-type]


WRONG_FOR_ONE = {
    "twice": "twice: leal (%rdi,%rdi), %eax\n cmpl $0x12345678, %edi\n jne 1f\n incl %eax\n1: ret",
    "first": "first: movl (%rdi), %eax\n cmpl $0x12345678, %eax\n jne 1f\n incl %eax\n1: ret",
    "count": "count: addl %edi, counter(%rip)\n cmpl $0x12345678, counter(%rip)\n jne 1f\n incl counter(%rip)\n1: ret",
}
"""Code that is wrong for one value of an argument, of an object, of a global variable."""


@pytest.mark.parametrize("function", WRONG_FOR_ONE)
def test_the_input_of_a_refutation_fails_the_code(function: str) -> None:
    assert judge(function, WRONG_FOR_ONE[function], effort=0).passed
    verdict = judge(function, WRONG_FOR_ONE[function], effort=0, prove=True)
    assert verdict.kind == "mismatch" and "proved" not in verdict.detail
    assert any("the solver computed the input" in line for line in verdict.evidence)


def test_a_proof_that_an_input_contradicts_is_an_error_of_the_harness(
    compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim(*arguments: object) -> ProofResult:
        return ProofResult(proved=True, level="O2", steps=0, reason="", refutation=None)

    monkeypatch.setattr(Prover, "prove", claim)
    harness = Harness(compiled(SOURCE), "twice", JudgeSettings(10, effort=0, prove=True))
    assert harness.judge(RIGHT["twice"][0] + "\n").detail["proved"]
    with pytest.raises(JudgeError, match="twice is proved to be equal to clang -O2, and an input shows that it is not"):
        harness.judge(WRONG_FOR_ONE["twice"] + "\n")
    harness.engine.close()


def test_a_verdict_says_whether_code_is_proved() -> None:
    proved = judge("sum", LOOP, prove=True)
    assert proved.passed and proved.detail["proved"] is True
    assert proved.detail["proof"]["level"] in ("O0", "O1", "O2", "O3") and "reason" not in proved.detail["proof"]
    passed = judge("sum", LOOP)
    assert passed.passed and "proved" not in passed.detail
    unproved = judge("twice", "twice: cld\n leal (%rdi,%rdi), %eax\n ret", prove=True)
    assert unproved.passed and unproved.detail["proved"] is False
    assert unproved.detail["proof"]["reason"] == "cld"
    wrong = judge("twice", "twice: movl %edi, %eax\n ret", prove=True)
    assert wrong.kind == "mismatch" and "proved" not in wrong.detail


def test_proofs_without_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"pip install 'pytest-llmcompiler\[prove\]'"):
        judge("twice", RIGHT["twice"][0], prove=True)
