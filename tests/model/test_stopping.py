"""Where an answer ends by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.model.extract.blocks import ExtractedCode
from pytest_llmcompiler.model.llama.stopping import StopDetector
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

BODY = "f:\n\t.cfi_startproc\n\tretq\n.Lfunc_end0:\n\t.size\tf, .Lfunc_end0-f\n\t.cfi_endproc\n"
NOTES = '\t.ident\t"clang"\n\t.section\t".note.GNU-stack","",@progbits\n'


def written(text: str, function: str = "f", size: int = 3) -> tuple[str, bool]:
    """What is left of a text that is written in pieces, and whether it ended before them."""
    ending, data = StopDetector(function), text.encode()
    for start in range(0, len(data), size):
        if ending.ends(data[start : start + size]):
            return ending.text, True
    return ending.text, False


@given(st.text(max_size=40), st.text(max_size=10), st.integers(1, 7))
def test_the_closing_tag_ends_it_and_is_not_in_it(text: str, rest: str, size: int) -> None:
    text = text.replace("</code>", "")
    left, ended = written(text + "</code>" + rest, size=size)
    assert ended and left == text


def test_it_ends_with_the_function() -> None:
    left, ended = written(f"It is:\n<code>\n{BODY}{NOTES}</code>\n")
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
        *("another function", "jump table", "cold part", "table of a switch", "gcc's table", "gcc's static local"),
        *("unwinding not closed", "half a line"),
    ],
)
def test_it_goes_on_while_something_is_missing(text: str) -> None:
    assert written(text) == (text, False)


def test_it_ends_when_what_was_missing_is_there() -> None:
    table = "\t.section\t.rodata\n.LJTI0_0:\n\t.quad\t.Lfunc_end0\n\t.quad\t.Lfunc_end0\n.Lnext:\n"
    text = BODY.replace("\tretq\n", "\tjmpq\t*.LJTI0_0(,%rdi,8)\n") + table
    left, _ = written(text + NOTES)
    assert left.count(".quad") == 2


@pytest.mark.parametrize("case", ["cases/git_lfs.c", "cases/tokens.c", "benchmarks/functions/machines.c"])
@pytest.mark.parametrize("level", ["O0", "O2"])
def test_what_is_left_of_clang_s_own_text_is_whole(case: str, level: str, pytestconfig: pytest.Config) -> None:
    reference = Reference(read_case(pytestconfig.rootpath / case, case), Toolchain())
    for function in reference.functions:
        text = f"<code>{reference.assembly(function, level)}</code>"
        left, ended = written(text, function, 11)
        assert ended
        code = extract_assembly(Answer(left, stop="stop"), function).text
        whole = extract_assembly(Answer(text), function).text
        instructions = [line for line in whole.splitlines() if line.startswith("\t") and not line.startswith("\t.")]
        assert [
            line for line in code.splitlines() if line.startswith("\t") and not line.startswith("\t.")
        ] == instructions


def test_what_was_begun_of_the_next_line_is_not_in_it() -> None:
    assert written(BODY + "\t.section", size=len(BODY) + 4) == (BODY, True)


@pytest.mark.parametrize("rest", ["\n", "\tmovl\t%eax, %eax\n", "\t.cfi_endproc\n", "\tnop\n.Lx:\n"])
def test_an_answer_that_goes_on_for_ever_is_looked_at_ever_less_often(
    monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    looks = []

    def noted(answer: Answer, function: str) -> ExtractedCode:
        looks.append(answer)
        return extract_assembly(answer, function)

    monkeypatch.setattr("pytest_llmcompiler.model.llama.stopping.extract_assembly", noted)
    _, ended = written(BODY.replace("\tretq\n", "\tjmp\tf.cold\n") + rest * 500, size=8)
    assert not ended and len(looks) < 120
