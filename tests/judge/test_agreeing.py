"""The inputs on which code that fails agrees with the reference are counted, on request."""

from __future__ import annotations

import struct

import pytest
from faces import Compile

from pytest_llmcompiler import Verdict
from pytest_llmcompiler.judge import agreeing
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.settings import JudgeSettings

CLAMP = "int clamp(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }"
UPPER_LIMIT_ALONE = "clamp:\n cmpl %edx, %edi\n movl %edi, %eax\n cmovgl %edx, %eax\n ret\n"


@pytest.fixture(scope="module")
def harness(compiled: Compile) -> Harness:
    return Harness(compiled(CLAMP), "clamp", JudgeSettings(count_agreeing=True))


def judge(harness: Harness, assembly: str) -> Verdict:
    return harness.judge(assembly, explain=False)


def test_each_input_is_counted(harness: Harness) -> None:
    verdict = judge(harness, UPPER_LIMIT_ALONE)
    inputs = [struct.unpack("<3i", b"".join(value.data for value in input.args)) for input in harness.corpus.entries]
    right = sum(min(v, hi) == (lo if v < lo else min(v, hi)) for v, lo, hi in inputs)
    assert verdict.kind == "mismatch" and 0 < right < len(inputs)
    assert (verdict.detail["agreeing"], verdict.detail["inputs"]) == (right, len(inputs))


def test_the_count_does_not_depend_on_the_engine(compiled: Compile, harness: Harness) -> None:
    without = Harness(compiled(CLAMP), "clamp", JudgeSettings(count_agreeing=True))
    without.engine.give_up()
    assert judge(without, UPPER_LIMIT_ALONE).detail == judge(harness, UPPER_LIMIT_ALONE).detail


@pytest.mark.parametrize(
    ("kind", "body"), [("hang", "jmp clamp"), ("crash", "movl 0, %eax\n ret"), ("mismatch", "movl $77777, %eax\n ret")]
)
def test_code_that_is_wrong_everywhere_agrees_nowhere(harness: Harness, kind: str, body: str) -> None:
    verdict = judge(harness, f"clamp:\n {body}\n")
    assert (verdict.kind, verdict.detail["agreeing"]) == (kind, 0)


def test_right_results_with_a_lost_register_do_not_agree(harness: Harness) -> None:
    right = "movl %edi, %eax\n cmpl %edx, %edi\n cmovgl %edx, %eax\n cmpl %esi, %edi\n cmovll %esi, %eax\n ret"
    assert judge(harness, f"clamp:\n {right}\n").passed
    verdict = judge(harness, f"clamp:\n xorl %ebx, %ebx\n {right}\n")
    assert (verdict.kind, verdict.detail["agreeing"]) == ("abi", 0)


def test_code_that_only_a_second_look_finds_wrong_agrees_on_all_inputs(compiled: Compile) -> None:
    source = "int f(int x) { return x + 1; }"
    wrong = "f:\n leal 1(%rdi), %eax\n cmpl $91234567, %edi\n jne 1f\n xorl %eax, %eax\n1: ret\n"
    verdict = judge(Harness(compiled(source), "f", JudgeSettings(count_agreeing=True)), wrong)
    assert verdict.kind == "mismatch" and "input" in verdict.detail["second_look"]
    assert verdict.detail["agreeing"] == verdict.detail["inputs"]


def test_a_count_that_takes_too_long_is_left_out(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that hangs runs up to the limit of each input, which counts against the budget of the runs."""
    source = "unsigned f(unsigned char n) { unsigned s = 0; for (unsigned i = 0; i < n; i++) s += i * i; return s; }"
    harness = Harness(compiled(source), "f", JudgeSettings(count_agreeing=True))
    assert judge(harness, "f:\n jmp f\n").detail["agreeing"] == 0
    monkeypatch.setattr(agreeing, "_BUDGET", 100_000)
    verdict = judge(harness, "f:\n nop\n jmp f\n")
    assert verdict.kind == "hang" and "agreeing" not in verdict.detail


def test_nothing_is_counted_unless_asked_for(compiled: Compile) -> None:
    assert "agreeing" not in judge(Harness(compiled(CLAMP), "clamp", JudgeSettings()), UPPER_LIMIT_ALONE).detail
