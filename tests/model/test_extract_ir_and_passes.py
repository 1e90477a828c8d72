"""Extraction of IR, pass lists and claimed sizes from answers."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

import pytest
from sources import TWICE_IR

from pytest_llmcompiler.errors import (
    NoCodeError,
    TruncatedError,
)
from pytest_llmcompiler.model.answer import Answer, StopReason
from pytest_llmcompiler.model.extract.blocks import ExtractedCode
from pytest_llmcompiler.model.extract.claims import find_claimed_sizes
from pytest_llmcompiler.model.extract.ir import extract_ir
from pytest_llmcompiler.model.extract.passes import extract_passes
from pytest_llmcompiler.program.ir import count_instructions, parse

PROSE = "Sure! Here you are; the loop is gone:\n\n"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        pytest.param(TWICE_IR, 1, id="bare"),
        pytest.param(PROSE + TWICE_IR + "\nThis is half as long.\n", 3, id="bare, in prose"),
        pytest.param(f"<code>{TWICE_IR}</code>", 1, id="tags"),
        pytest.param(f"{PROSE}<code>\n{TWICE_IR}", 4, id="a tag that was not closed"),
        pytest.param(f"{TWICE_IR}</code>", 1, id="the prompt opened the tag"),
        pytest.param(f"{PROSE}```llvm\n{TWICE_IR}```\nIt works.", 4, id="fence"),
        pytest.param(f"<code>```\n{TWICE_IR}```</code>", 2, id="fence in tags"),
        pytest.param(f"<code>opt -p 'sroa'</code>\n<code>{TWICE_IR}</code>", 2, id="the second block defines it"),
        pytest.param(PROSE.replace("\n", "\r\n") + TWICE_IR.replace("\n", "\r\n"), 3, id="lines end as on Windows"),
    ],
)
def test_ir_in_answers(answer: str, line: int) -> None:
    code = extract_ir(Answer(answer), "twice")
    assert (code.text, code.first_line) == (TWICE_IR, line)


def test_ir_with_declarations_attributes_and_metadata() -> None:
    whole = (
        '; ModuleID = \'<stdin>\'\nsource_filename = "a.c"\ntarget triple = "x86_64-pc-linux-gnu"\n\n%s = type { i32 }\n'
        '@g = external global %s\n\n; Function Attrs: nounwind\ndefine i32 @"twice"(i32 %x) #0 {\nentry:\n\n'
        "  switch i32 %x, label %a [\n    i32 1, label %a\n  ]\n\na:\n  ret i32 0, !tbaa !3\n}\n\n"
        'declare i32 @other(ptr) #1\n\nattributes #0 = { nounwind }\n\n!llvm.ident = !{!0}\n!0 = !{!"clang"}\n'
    )
    assert extract_ir(Answer(PROSE + whole + "\nDone.\n"), "twice").text == whole


NEEDS = (
    "define i32 @twice(i32 %x) #0 {\n  %y = call i32 @other(i32 %x), !a !1\n  ret i32 %y\n}\n\n"
    "declare i32 @other(i32)\n\nattributes #0 = { nounwind }\n\n!1 = !{i32 7}\n!2 = !{i32 8}\n"
)


def test_ir_that_was_cut_is_whole_or_truncated_never_wrong() -> None:
    needed = NEEDS.index("!2 = ")
    for end in range(1, len(NEEDS) + 1):
        try:
            text = extract_ir(Answer(f"<code>{NEEDS[:end]}", stop="length"), "twice").text
        except (TruncatedError, NoCodeError):
            assert end < needed
            continue
        assert end >= needed and count_instructions(parse(text)) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("<code>define i32 @twi", "before the definition of 'twice', after 0 lines"),
        ("<code>define i32 @twice(i32 %x) {\n  ret", "before the end of 'twice', after 1 lines"),
        (f"<code>{NEEDS[: NEEDS.index('declare')].replace(' #0', '')}", "before @other, which 'twice' needs"),
        (f"<code>{NEEDS[: NEEDS.index('attributes')]}", "before #0, which 'twice' needs"),
    ],
)
def test_truncated_ir_says_what_is_missing(answer: str, message: str) -> None:
    with pytest.raises(TruncatedError, match=re.escape(message)):
        extract_ir(Answer(answer, stop="length"), "twice")


OZ = "module(default<Oz>)"


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        (OZ, OZ),
        (f"<code>{OZ}</code>", OZ),
        (f"<code>opt -p '{OZ}'</code>", OZ),
        (f"opt -passes={OZ} in.ll", OZ),
        (f'Run `opt -S --passes="{OZ}" -o out.ll` on it.', OZ),
        (f"Run the following passes '{OZ},instcombine' to reduce instruction count from 29 to 14.", f"{OZ},instcombine"),
        (f"Use -p ‘{OZ}’ to reduce binary size.\n\n<code>{TWICE_IR}</code>", OZ),
        (f"```\nopt -passes '\n{OZ}'\n```", OZ),
        ("Optimise it with `opt -Oz in.ll`.", "Oz"),
        ("function(sroa,loop-mssa(licm<allowspeculation>))", "function(sroa,loop-mssa(licm<allowspeculation>))"),
        ("The best pass for it is `mem2reg`.", "mem2reg"),
        ("<code>instcombine</code>", "instcombine"),
        ("To beat -Oz, run <code>function(instcombine,simplifycfg)</code>", "function(instcombine,simplifycfg)"),
        ("Better than -O2: `function(sroa)`", "function(sroa)"),
    ],
)  # fmt: skip
def test_pass_lists_in_answers(answer: str, passes: str) -> None:
    assert extract_passes(Answer(answer)).text.strip() == passes


@pytest.mark.parametrize(
    "answer", ["", "It is small already.", f"<code>{TWICE_IR}</code>", "Well, (perhaps) not.", "small"]
)
def test_answers_without_a_pass_list(answer: str) -> None:
    with pytest.raises(NoCodeError, match=r"the answer (is empty|has no pass list in it; it begins)"):
        extract_passes(Answer(answer))


@pytest.mark.parametrize("answer", ["opt -p 'function(sroa", "opt -p function(sroa", "<code>function(sroa,", "opt -O"])
def test_pass_lists_that_were_cut(answer: str) -> None:
    with pytest.raises((TruncatedError, NoCodeError), match="token limit"):
        extract_passes(Answer(answer, stop="length"))


@pytest.mark.parametrize("stop", ["eos", "length"])
@pytest.mark.parametrize("extract", [lambda answer: extract_ir(answer, "f"), extract_passes], ids=["ir", "passes"])
@pytest.mark.parametrize("piece", ["<code>", "define i32 @f(", "}\n", "'", "opt -p '", "-p a", "(a,", "`x,y`", "!1 "])
def test_a_long_hostile_answer_takes_no_long_time(
    piece: str, extract: Callable[[Answer], ExtractedCode], stop: StopReason
) -> None:
    """Extraction takes time that grows with the length of the answer, not with its square: 2 s of processor time are
    a hundred times what 20 000 repetitions need, and a hundredth of what quadratic time would be."""
    started = time.process_time()
    with contextlib.suppress(NoCodeError, TruncatedError):
        extract(Answer(piece * 20_000, stop=stop))
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("answer", "sizes"),
    [
        ("The assembly will have instruction count 29 and binary sise 129 bytes:", {"instructions": 29, "size": 129}),
        ("And the LLVM-IR will have instruction count 7 and binary size 80 bytes", {"instructions": 7, "size": 80}),
        (
            "to reduce instruction count from 9 to 4 and binary size from 90 to 71 bytes",
            {"instructions": 4, "size": 71},
        ),
        ("binary size of 12 bytes", {"size": 12}),
        ("<code>f:\n\tretq</code>", {}),
        (
            "The input code has instruction count 5 and binary size 7 bytes. It will have instruction count 4",
            {"instructions": 4},
        ),
    ],
)
def test_claimed_sizes_in_answers(answer: str, sizes: dict[str, int]) -> None:
    assert find_claimed_sizes(answer) == sizes
