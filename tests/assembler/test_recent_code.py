"""Texts that differ in comments alone are assembled once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from assembly_runner import assemble_f

from pytest_llmcompiler.assembler.recent_code import RecentCode, strip_text
from pytest_llmcompiler.targets import get_target

DIALECT = get_target().dialect
PLAIN = '\t.globl\tf\nf:\n\tmovl\t$1, %eax\n\n\t.ascii\t"# no comment"\n\tretq\n'


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("f:", "f: # the function  "),
        PLAIN.replace("\n\n", "\n\t# a comment alone\n"),
        PLAIN.replace("retq", "retq   \t"),
    ],
)
def test_comments_and_blanks_at_the_ends_of_lines_do_not_count(text: str) -> None:
    assert text != PLAIN and strip_text(text, DIALECT) == strip_text(PLAIN, DIALECT) == PLAIN
    assert assemble_f(text) == assemble_f(PLAIN), "lines included"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("$1", "$2"),
        PLAIN.replace("\tmovl", " movl"),
        PLAIN.replace("\n\n", "\n"),
        PLAIN.replace("# no", "#  no"),
    ],
)
def test_all_else_counts(text: str) -> None:
    assert strip_text(text, DIALECT) not in (None, PLAIN)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN + "/* a comment over\n two lines */\n",
        PLAIN + '.ascii "',
        "section .text\nf: mov eax, 1 ; NASM\n ret\n",
        "f:\n mov eax, 1 ; perhaps NASM\n ret\n",
        PLAIN + "\n" * (1 << 20),
    ],
    ids=["block", "literal", "nasm", "unclear", "long"],
)
def test_what_is_not_clear_line_by_line_is_always_assembled(text: str) -> None:
    assert strip_text(text, DIALECT) is None


def test_what_was_not_asked_for_lately_is_forgotten() -> None:
    code = assemble_f(PLAIN)
    weight = len(code.mnemonics) + 1
    recent = RecentCode(2 * weight)
    for key in ("first", "second"):
        recent.add(key, replace(code, fallback_reason=key))
    assert recent.find("first") == replace(code, fallback_reason="first")
    recent.add("third", code)
    assert [recent.find(key) is None for key in ("first", "second", "third")] == [False, True, False]
    recent.add("large", replace(code, mnemonics=dict.fromkeys(range(3 * weight), "nop")))
    assert [recent.find(key) for key in ("first", "third", "large")] == [None] * 3, "what is too large is not kept"
