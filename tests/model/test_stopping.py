"""Where an answer is stopped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.model.llama.stopping import StopDetector
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

BODY = "f:\n\t.cfi_startproc\n\tretq\n.Lfunc_end0:\n\t.size\tf, .Lfunc_end0-f\n\t.cfi_endproc\n"
NOTES = '\t.ident\t"clang"\n\t.section\t".note.GNU-stack","",@progbits\n'


def generate(text: str, function: str = "f", size: int = 3) -> tuple[str, bool]:
    """Feed a text to a StopDetector in pieces of `size` bytes. Returns the answer, and whether it ended early."""
    detector, data = StopDetector(function), text.encode()
    for start in range(0, len(data), size):
        if detector.add(data[start : start + size]):
            return detector.text, True
    return detector.text, False


def list_instructions(code: str) -> list[str]:
    return [line for line in code.splitlines() if line.startswith("\t") and not line.startswith("\t.")]


@given(st.text(max_size=40), st.text(max_size=10), st.integers(1, 7))
def test_the_closing_tag_ends_an_answer_and_is_left_out(text: str, rest: str, size: int) -> None:
    text = text.replace("</code>", "")
    left, ended = generate(text + "</code>" + rest, size=size)
    assert ended and left == text


def test_an_answer_ends_with_its_function() -> None:
    left, ended = generate(f"It is:\n<code>\n{BODY}{NOTES}</code>\n")
    assert ended
    assert left.startswith(f"It is:\n<code>\n{BODY}"[:-1]) and ".note" not in left


@pytest.mark.parametrize(
    "text",
    [
        BODY.replace("f", "g"),
        BODY.replace("\tretq\n", "\tjmpq\t*.LJTI0_0(,%rdi,8)\n") + NOTES,
        BODY.replace("\tretq\n", "\tjmp\tf.cold\n") + NOTES,
        BODY.replace("\tretq\n", "\tleaq\t.Lswitch.table.f(%rip), %rax\n\tretq\n") + NOTES,
        BODY.replace("\tretq\n", "\tmovl\tCSWTCH.4(,%rax,4), %eax\n\tretq\n") + NOTES,
        BODY.replace("\tretq\n", "\tmovl\ttable.0(,%rax,4), %eax\n\tretq\n") + NOTES,
        "f:\n\t.cfi_startproc\n\tretq\n.Lfunc_end0:\n\t.size\tf, .Lfunc_end0-f\n",
        BODY[: BODY.index("\t.cfi_endproc")] + "\t.cfi_endpro",
    ],
    ids=[
        "another function",
        "jump table",
        "cold part",
        "table of a switch",
        "gcc's table",
        "gcc's static local",
        "unwinding not closed",
        "half a line",
    ],
)
def test_an_answer_goes_on_while_the_function_lacks_something(text: str) -> None:
    assert generate(text) == (text, False)


def test_an_answer_ends_once_nothing_is_missing() -> None:
    table = "\t.section\t.rodata\n.LJTI0_0:\n\t.quad\t.Lfunc_end0\n\t.quad\t.Lfunc_end0\n.Lnext:\n"
    text = BODY.replace("\tretq\n", "\tjmpq\t*.LJTI0_0(,%rdi,8)\n") + table
    left, _ = generate(text + NOTES)
    assert left.count(".quad") == 2


@pytest.mark.parametrize("case", ["cases/git_lfs.c", "cases/tokens.c", "benchmarks/functions/machines.c"])
@pytest.mark.parametrize("level", ["O0", "O2"])
def test_clang_s_own_assembly_keeps_all_its_instructions(case: str, level: str, pytestconfig: pytest.Config) -> None:
    reference = Reference(read_case(pytestconfig.rootpath / case, case), Toolchain())
    for function in reference.functions:
        text = f"<code>{reference.texts.assembly(function, level)}</code>"
        left, ended = generate(text, function, 11)
        assert ended
        code = extract_assembly(Answer(left, stop="stop"), function).text
        whole = extract_assembly(Answer(text), function).text
        assert list_instructions(code) == list_instructions(whole)


def test_the_beginning_of_the_next_line_is_removed() -> None:
    assert generate(BODY + "\t.section", size=len(BODY) + 4) == (BODY, True)


@pytest.mark.parametrize("rest", ["\n", "\tmovl\t%eax, %eax\n", "\t.cfi_endproc\n", "\tnop\n.Lx:\n"])
def test_an_endless_answer_is_searched_less_and_less_often(rest: str) -> None:
    detector, text = StopDetector("f"), (BODY.replace("\tretq\n", "\tjmp\tf.cold\n") + rest * 500).encode()
    assert not any(detector.add(text[start : start + 8]) for start in range(0, len(text), 8))
    assert 0 < detector.searches < 120
