"""Failures that the engine shows: they are told in the same words as by Python's machine, which need not run."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

import pytest
from faces import Compile

from pytest_llmcompiler.emulator.engine_machine import EngineMachine
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict

SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int steps, table[3] = {1, 2, 3};
struct wide { long a, b, c; };
int next(int x) { return x + 1; }
double half(double x) { return x / 2; }
void clear(int p[static 4]) { p[0] = p[1] = p[2] = p[3] = 0; }
void count(int n) { steps += n; table[1] = n; }
struct wide triple(long a) { struct wide w = {a, a, a}; return w; }
char *copy(const char *text) { char *new = malloc(strlen(text) + 1); return new ? strcpy(new, text) : new; }
void drop(char *text) { if (text) free(text); }
int say(int n) { printf("%d\\n", n); return n; }
void leave(int n) { if (n > 3) exit(n & 7); }
int ask(int (*f)(int), int x) { return f(x) + 1; }
"""
NEXT = "next: {0}\n leal 1(%rdi), %eax\n ret\n"
FAULTS = (
    "movl 0, %eax",
    "movb $1, 8(%rdi)",
    "movb $1, next(%rip)",
    "movabsq $0x8c2c528cd45f33e5, %rdx\n movq (%rdx), %rcx",
    "xorl %edx, %edx\n jmp *%rdx",
    "movabsq $0x700000000000, %rdx\n call *%rdx",
    "pushq %rbx\n movl 7, %ecx",
    "xorl %ecx, %ecx\n movl $1, %eax\n cltd\n idivl %ecx",
    "ud2",
    "hlt",
    "int3",
    "movaps 1(%rsp), %xmm0",
    "vmovaps %ymm0, %ymm1",
    "1: jmp 1b",
    "1: call 1b",
    "pushq %rdi\n callq abort",
    "callq abort",
    "pushq %rbx\n 1: movl $1, %edi\n callq malloc\n jmp 1b",
)
BREACHES = (
    "movl %edi, %ebx\n callq rand\n movl %ebx, %edi",
    "movl $1, %ebx",
    "std",
    "subq $8, %rsp",
    "movq $1, 8(%rsp)",
    "movl $1, %ebx\n movl $2, %r12d\n std",
)
OTHERS = {
    "half": "half: ret\n",
    "clear": "clear: movq $0, (%rdi)\n movl $1, 8(%rdi)\n movl $0, 12(%rdi)\n ret\n",
    "count": "count: addl %edi, steps(%rip)\n movl %edi, table+8(%rip)\n ret\n",
    "triple": "triple: movq %rdi, %rax\n movq %rsi, (%rdi)\n movq %rsi, 8(%rdi)\n movq $7, 16(%rdi)\n ret\n",
    "copy": "copy: pushq %rdi\n callq strlen\n leaq 2(%rax), %rdi\n callq malloc\n popq %rsi\n testq %rax, %rax\n"
    " je 1f\n movq %rax, %rdi\n jmp strcpy\n1: ret\n",
    "drop": "drop: ret\n",
    "say": "say: pushq %rbx\n movl %edi, %ebx\n leal 1(%rdi), %esi\n leaq format(%rip), %rdi\n xorl %eax, %eax\n"
    ' callq printf\n movl %ebx, %eax\n popq %rbx\n ret\n.section .rodata\nformat: .string "%d\\n"\n',
    "leave": "leave: cmpl $4, %edi\n jge 1f\n ret\n1: pushq %rax\n andl $6, %edi\n callq exit\n",
}
BAD_FREE = "drop: testq %rdi, %rdi\n je 1f\n incq %rdi\n jmp free\n1: ret\n"
UNASKED = "ask: pushq %rax\n movq %rdi, %rax\n leal 1(%rsi), %edi\n callq *%rax\n incl %eax\n popq %rcx\n ret\n"


def judge_both_ways(compiled: Compile, function: str, texts: list[str], target: str = "x86_64-linux") -> list[Verdict]:
    """The verdicts on candidates that all fail. Fails where they depend on the engine, or where it shows not all."""
    settings = JudgeSettings(examples=20, effort=0, target=target)
    harness, without = (Harness(compiled(SOURCE, target=target), function, settings) for _ in range(2))
    without.engine.give_up()
    verdicts = []
    for text in texts:
        verdict = harness.judge(text, explain=False)
        assert verdict == without.judge(text, explain=False), text
        verdicts.append(verdict)
    assert harness.engine.statistics.shown == len(texts)
    return verdicts


def test_faults(compiled: Compile) -> None:
    verdicts = judge_both_ways(compiled, "next", [NEXT.format(fault) for fault in FAULTS])
    assert [verdict.kind for verdict in verdicts].count("crash") == 12
    assert {verdict.kind for verdict in verdicts} == {"crash", "hang", "inconclusive", "mismatch"}


def test_breaches_of_the_calling_convention(compiled: Compile) -> None:
    texts = [NEXT.format(breach) for breach in BREACHES]
    assert {verdict.kind for verdict in judge_both_ways(compiled, "next", texts)} == {"abi", "crash"}


@pytest.mark.parametrize("function", OTHERS)
def test_mismatches(compiled: Compile, function: str) -> None:
    (verdict,) = judge_both_ways(compiled, function, [OTHERS[function]])
    assert verdict.kind == "mismatch"


def test_what_malloc_did_not_return_is_freed(compiled: Compile) -> None:
    (verdict,) = judge_both_ways(compiled, "drop", [BAD_FREE])
    assert verdict.kind == "crash" and "malloc did not return" in verdict.message


def test_faults_on_aarch64(compiled: Compile) -> None:
    faults = ("mov x1, #8\n ldr w2, [x1]", "udf #0", "mov x1, #16\n br x1", "1: b 1b", "mov x19, #1")
    texts = [f"next: {fault}\n add w0, w0, #1\n ret\n" for fault in faults]
    verdicts = judge_both_ways(compiled, "next", texts, "aarch64-linux")
    assert [verdict.kind for verdict in verdicts] == ["crash", "crash", "crash", "hang", "abi"]


def test_other_calls_are_left_to_the_machine(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "ask", JudgeSettings(examples=20, effort=0))
    verdict = harness.judge(UNASKED, explain=False)
    assert ["external call 1", "callback 0(0)", "callback 0(1)"] in verdict.detail["differences"]
    assert harness.engine.statistics.shown == 0


def test_replies_of_hostile_code(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "next", JudgeSettings(examples=5, effort=0))
    assert harness.judge("next: leal 1(%rdi), %eax\n ret\n").passed
    entry = next(iter(harness.corpus.entries.values()))
    under_test = FunctionUnderTest(harness.reference, "next")
    candidate = under_test.assemble_candidate("next: ret\n", "llvm")
    numbers = (0, 1, 2, 4, 5, 1 << 31, (1 << 32) - 1)
    replies = [b"", *(struct.pack("<5I", end, 0, 1, count, 0) + bytes(9000) for end in numbers for count in numbers)]
    replies += [struct.pack("<5I", 3, 0, 0, 0, 0) + b"\xff" * size for size in (0, 200, 100_000)]
    refused = 0
    for reply in replies:
        show = functools.partial(answer, reply)
        machine = EngineMachine(show, under_test.reference.golden, under_test.signature, candidate)
        try:
            run = machine.run(0, entry.layout, entry.expected, "garbage")
        except EngineError:
            refused += 1
        else:
            assert len(run.slots) == len(entry.layout.objects) and run.outcome in ("return", "exit", "abort", "limit")
    assert refused > len(replies) // 2


def answer(reply: bytes, entry: int, fill: int, registers: Sequence[int]) -> bytes:
    """A reply to any question."""
    return reply
