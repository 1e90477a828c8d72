"""The engine's closer look at passing code: what it settles, and what it leaves to Python, which finds the same without
it."""

from __future__ import annotations

import pytest
from faces import Compile

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

SOURCE = "void store(long long *p, long long v) { p[0] = v; p[1] = v + 1; }"
TEXTS = {
    "x86_64-linux": "store: {0}\n movq %rsi, (%rdi)\n incq %rsi\n movq %rsi, 8(%rdi)\n {1}\n ret\n",
    "x86_64-windows": "store: {0}\n movq %rdx, (%rcx)\n incq %rdx\n movq %rdx, 8(%rcx)\n {1}\n ret\n",
    "aarch64-linux": "store: {0}\n str x1, [x0]\n add x1, x1, #1\n str x1, [x0, #8]\n {1}\n ret\n",
}
RIGHT = {
    "x86_64-linux": [
        ("", ""),
        ("pushq %rbx", "popq %rbx"),
        ("movl $1, -128(%rsp)", ""),
        ("call 1f", "jmp 2f\n1: ret\n2:"),
    ],
    "x86_64-windows": [("pushq %rbx", "popq %rbx"), ("pushq %r12", "popq %r12"), ("call 1f", "jmp 2f\n1: ret\n2:")],
    "aarch64-linux": [
        ("stp x29, x30, [sp, #-16]!", "ldp x29, x30, [sp], #16"),
        ("str q8, [sp, #-16]!", "ldr q8, [sp], #16"),
        ("sub sp, sp, #32\n str x1, [sp, #16]!", "add sp, sp, #16"),
    ],
}
BELOW = {
    "x86_64-linux": [("movl $1, -136(%rsp)", ""), ("pushq %rbx\n movl -132(%rsp), %eax", "popq %rbx")],
    "x86_64-windows": [
        ("movl $1, -8(%rsp)", ""),
        ("pushq %rbx\n movl -8(%rsp), %eax", "popq %rbx"),
        ("pushq -64(%rsp)", "popq %rax"),
    ],
    "aarch64-linux": [
        ("str x1, [sp, #-8]", ""),
        ("stp x1, x1, [sp, #-16]", ""),
        ("str x19, [sp, #-16]!\n ldur x9, [sp, #-8]", "ldr x19, [sp], #16"),
        ("mov x9, sp\n str x1, [x9, #-16]!", ""),
    ],
}


@pytest.mark.parametrize("target", TEXTS)
def test_accesses_below_the_stack(compiled: Compile, target: str) -> None:
    harness, without = (
        Harness(compiled(SOURCE, target=target), "store", JudgeSettings(examples=10, effort=0)) for _ in range(2)
    )
    without.engine.give_up()
    for parts in (*RIGHT[target], *BELOW[target]):
        text = TEXTS[target].format(*parts)
        verdict = harness.judge(text, explain=False)
        assert verdict.kind == ("pass" if parts in RIGHT[target] else "abi"), text
        assert verdict == without.judge(text, explain=False)
    assert harness.engine.statistics.settled == len(RIGHT[target])
