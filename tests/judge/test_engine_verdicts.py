"""Candidates that try what the engine does in another way than Python's machine: the verdicts are the same."""

from __future__ import annotations

from faces import Compile

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

SOURCE = """
#include <ctype.h>
int next(int x) { return x + 1; }
int upper(int c) { return isupper((unsigned char)c); }
"""
NEXT = "next: leal 1(%rdi), %eax\n {0}\n ret\n"
STACK_USES = (
    "movl %eax, (%rsp)\n movl (%rsp), %eax",
    "addl (%rsp), %eax",  # not set
    "movl 16(%rsp), %ecx\n incl 16(%rsp)\n addl %ecx, %eax\n subl $1, %ecx\n addl %ecx, %eax",
)
DEPTHS = (0x3000, 0x20000, 0x60000, 0x2000000)
"""Bytes below the caller's frame: in what the engine maps at first, in the rest of the stack, in what it may grow by, and
below that."""
OTHERS = (
    "fld1",
    "movq %rdi, %mm0",
    "std",
    "pushq $0x3f80\n ldmxcsr (%rsp)\n addq $8, %rsp",
    "incl 16(%rsp)",
    "movabsq $0x7f0000000000, %rdx\n movl (%rdx), %ecx",
    "jmp 1f+1\n1: movl $0x90909090, %edx",
    "movb $0xc3, -8(%rsp)\n leaq -8(%rsp), %rdx\n call *%rdx",
    "incl counter(%rip)\n cmpl $5, counter(%rip)\n jb 1f\n incl %eax\n1: ret\n.bss\ncounter: .long 0\n.text",
    ".byte 0x90",
)
UPPER = """upper: pushq %rbx
        movzbl %dil, %ebx
        call __ctype_b_loc
        movq (%rax), %rax
        movzwl (%rax,%rbx,2), %eax
        {0}
        popq %rbx
        ret
"""


def count_passes(compiled: Compile, function: str, texts: list[str]) -> int:
    """How many candidates pass. Fails where that depends on the engine, and where it settles none of them."""
    harness, without = (Harness(compiled(SOURCE), function, JudgeSettings(examples=10, effort=0)) for _ in range(2))
    without.engine.give_up()
    passes = 0
    for text in texts:
        verdict = harness.judge(text, explain=False)
        assert verdict == without.judge(text, explain=False), text
        passes += verdict.kind == "pass"
    assert 1 <= harness.engine.statistics.settled <= passes
    return passes


def test_the_stack(compiled: Compile) -> None:
    uses = [f"subq ${depth}, %rsp\n {use}\n addq ${depth}, %rsp" for depth in DEPTHS for use in STACK_USES]
    assert count_passes(compiled, "next", [NEXT.format(use) for use in uses]) == 3


def test_state_of_the_processor_and_memory(compiled: Compile) -> None:
    texts = [NEXT.format(other) for other in OTHERS]
    assert count_passes(compiled, "next", texts) == 1, "each run begins with the same counter"


def test_results_of_glibc(compiled: Compile) -> None:
    ends = ("andl $256, %eax", "andl $512, %eax", "andl $256, %eax\n testb $1, %bl\n je 1f\n shrl $8, %eax\n1:")
    assert count_passes(compiled, "upper", [UPPER.format(end) for end in ends]) == 2, (
        "either result will do on each input"
    )


WRITTEN_VECTORS = """
#include <sys/uio.h>
#include <errno.h>
static char text[3][4] = {"one", "two", "six"};
int written(int descriptor) {
    struct iovec parts[3] = {{text[0], 3}, {text[1], 3}, {text[2], 3}};
    errno = 0;
    return (int)writev(descriptor > 2 ? 2 : descriptor + 7, parts, 3) * 256 + errno;
}
"""


def test_a_vector_for_a_bad_descriptor_has_one_error(compiled: Compile) -> None:
    """The engine added the error up for each part."""
    reference = compiled(WRITTEN_VECTORS)
    harness = Harness(reference, "written", JudgeSettings(examples=20, effort=0))
    assert harness.judge(reference.texts.assembly("written", "O1")).passed
    assert harness.engine.statistics.settled == 1, harness.engine.statistics
