"""Code that tests flags which nobody set: at the entry of a function, and after a call."""

from __future__ import annotations

import pytest
from faces import Compile

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

SOURCE = """
void told(int);
int first(int a, int b) { return a; }
int larger(int a, int b) { told(a); return a > b ? a : b; }
"""
X86 = ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")
ARM = ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le")
AT_ENTRY = {
    "x86_64-linux": (X86, "movl %edi, %eax\n cmov{0}l %esi, %eax\n ret", "movl %esi, %eax\n cmov{0}l %edi, %eax\n ret"),
    "x86_64-windows": (
        X86,
        "movl %ecx, %eax\n cmov{0}l %edx, %eax\n ret",
        "movl %edx, %eax\n cmov{0}l %ecx, %eax\n ret",
    ),
    "aarch64-linux": (ARM, "csel w0, w1, w0, {0}\n ret", "csel w0, w0, w1, {0}\n ret"),
}
AFTER_A_CALL = {
    "x86_64-linux": (
        "pushq %rbx\n pushq %rbp\n pushq %rax\n movl %edi, %ebx\n movl %esi, %ebp\n {0}\n call told\n {1}\n"
        " cmovlel %ebp, %ebx\n movl %ebx, %eax\n popq %rcx\n popq %rbp\n popq %rbx\n ret",
        "cmpl %ebp, %ebx",
    ),
    "aarch64-linux": (
        "stp x29, x30, [sp, #-32]!\n stp x19, x20, [sp, #16]\n mov w19, w0\n mov w20, w1\n {0}\n bl told\n {1}\n"
        " csel w0, w19, w20, gt\n ldp x19, x20, [sp, #16]\n ldp x29, x30, [sp], #32\n ret",
        "cmp w19, w20",
    ),
}


def open_harnesses(compiled: Compile, target: str, function: str) -> tuple[Harness, Harness]:
    """A harness with the engine and one without."""
    settings = JudgeSettings(examples=20, effort=0)
    harness, without = (Harness(compiled(SOURCE, target=target), function, settings) for _ in range(2))
    without.engine.give_up()
    return harness, without


@pytest.mark.parametrize("target", AT_ENTRY)
def test_every_condition_at_the_entry(compiled: Compile, target: str) -> None:
    harness, without = open_harnesses(compiled, target, "first")
    conditions, *texts = AT_ENTRY[target]
    for text in (f"first: {text.format(condition)}\n" for text in texts for condition in conditions):
        verdict = harness.judge(text, explain=False)
        assert verdict.kind == "mismatch", text
        assert without.judge(text, explain=False) == verdict


@pytest.mark.parametrize("target", AFTER_A_CALL)
def test_flags_do_not_survive_a_call(compiled: Compile, target: str) -> None:
    text, comparison = AFTER_A_CALL[target]
    for harness in open_harnesses(compiled, target, "larger"):
        assert harness.judge(f"larger: {text.format('', comparison)}\n", explain=False).kind == "pass"
        assert harness.judge(f"larger: {text.format(comparison, '')}\n", explain=False).kind == "mismatch"
