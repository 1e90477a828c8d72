"""Signals that code sends to its own process do what they do natively: most of them end it."""

from __future__ import annotations

import pytest

from pytest_llmcompiler import Verdict, check

TWICE = "int twice(int x) { return 2 * x; }\n#include <signal.h>\n#include <unistd.h>\nvoid *keep[] = {raise, kill, getpid};\n"
BODY = "\tleal (%rdi,%rdi), %eax\n\tretq\n"


def with_call(call: str) -> str:
    return f"twice:\n\tpushq %rbx\n\tmovl %edi, %ebx\n{call}\tmovl %ebx, %edi\n\tpopq %rbx\n{BODY}"


def observed(verdict: Verdict) -> str:
    assert verdict.counterexample is not None, verdict
    return verdict.counterexample.observed


@pytest.mark.parametrize("signal", [2, 11, 15, 34])
def test_a_signal_ends_the_process(signal: int) -> None:
    verdict = check(TWICE, "twice", with_call(f"\tmovl ${signal}, %edi\n\tcall raise\n"), examples=5, explain=False)
    assert (verdict.kind, observed(verdict)) == ("mismatch", f"signal {signal}")


def test_a_signal_that_aborts() -> None:
    verdict = check(TWICE, "twice", with_call("\tmovl $6, %edi\n\tcall raise\n"), examples=5, explain=False)
    assert (verdict.kind, observed(verdict)) == ("mismatch", "abort()")


def test_a_signal_to_the_process_by_its_number() -> None:
    for find in ("\tcall getpid\n\tmovl %eax, %edi\n", "\txorl %edi, %edi\n"):
        verdict = check(TWICE, "twice", with_call(f"{find}\tmovl $9, %esi\n\tcall kill\n"), examples=5, explain=False)
        assert (verdict.kind, observed(verdict)) == ("mismatch", "signal 9")


def test_signals_that_do_nothing() -> None:
    calls = (
        "\txorl %edi, %edi\n\tcall raise\n",
        "\tmovl $17, %edi\n\tcall raise\n",
        "\tmovl $99, %edi\n\tcall raise\n",
    )
    assert [check(TWICE, "twice", with_call(call), examples=5).kind for call in calls] == ["pass"] * 3


def test_a_signal_to_another_process() -> None:
    """The process with the number 1 is no part of the program. The C library's thread with this number is."""
    verdict = check(TWICE, "twice", with_call("\tmovl $1, %edi\n\tmovl $9, %esi\n\tcall kill\n"), examples=5)
    assert verdict.kind == "mismatch" and observed(verdict).startswith('"kill\\n"')


ENDS = """
#include <signal.h>
int half(int x)
{
    if (x & 1)
        raise(SIGTERM);
    signal(SIGINT, SIG_IGN);
    raise(SIGINT);
    return x / 2;
}
"""
HALF = """half:
    pushq %rbx
    movl %edi, %ebx
    testb $1, %dil
    je 1f
    movl $SIGNAL, %edi
    call raise
1:  movl $2, %edi
    movl $1, %esi
    call signal
    movl $2, %edi
    call raise
    movl %ebx, %eax
    cltd
    movl $2, %ecx
    idivl %ecx
    popq %rbx
    retq
"""


def test_a_reference_that_ends_by_a_signal() -> None:
    assert check(ENDS, "half", HALF.replace("SIGNAL", "15"), examples=20).kind == "pass"
    verdict = check(ENDS, "half", HALF.replace("SIGNAL", "2"), examples=20)
    assert verdict.counterexample is not None
    assert (verdict.counterexample.expected, verdict.counterexample.observed) == ("signal 15", "signal 2")


def test_a_handler_is_not_judged() -> None:
    call = "\tmovl $10, %edi\n\tleaq twice(%rip), %rsi\n\tcall signal\n\tmovl $10, %edi\n\tcall raise\n"
    source = TWICE.replace("{raise,", "{signal, raise,")
    verdict = check(source, "twice", with_call(call), examples=5)
    assert (verdict.kind, verdict.message) == (
        "inconclusive",
        "a handler of signal 10, which the emulator can't judge",
    )


def test_a_reference_with_a_handler_has_no_inputs() -> None:
    source = """#include <signal.h>
static void heed(int signal) { (void)signal; }
int f(int x) { signal(10, heed); raise(10); return x; }
"""
    verdict = check(source, "f", "f:\tmovl %edi, %eax\n\tret\n", examples=5)
    assert (verdict.kind, "a handler of signal 10" in verdict.message) == ("inconclusive", True), verdict
