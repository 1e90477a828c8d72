"""Listings of candidates, and the facts of verdicts that programs read."""

from __future__ import annotations

import pytest
from faces import CaseOf, Compile, Judged

from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.listing import MAX_INSTRUCTIONS

SOURCE = """
int limit = 9;
int twice(int x) { return (int)(2u * (unsigned)x); }
int clamp(int *p) { if (*p > limit) return limit; return twice(*p); }
"""
ATT = """\
clamp:
	movl	(%rdi), %eax
	cmpl	limit(%rip), %eax
	jle	.Lsmall
	movl	limit(%rip), %eax
	retq
.Lsmall:
	movl	%eax, %edi
	jmp	twice
"""
INTEL = """\
	.intel_syntax noprefix
clamp:
	mov eax, dword ptr [rdi]
	cmp eax, dword ptr [rip + limit]
	jle 1f
	mov eax, dword ptr [rip + limit]
	ret
1:	mov edi, eax
	jmp twice
"""
BLOCKS = [
    ["movl (%rdi), %eax", "cmpl limit(%rip), %eax", "jle .3"],
    ["movl limit(%rip), %eax", "retq"],
    ["movl %eax, %edi", "jmp twice"],
]


@pytest.mark.parametrize(("text", "lines"), [(ATT, [2, 3, 4, 5, 6, 8, 9]), (INTEL, [3, 4, 5, 6, 7, 8, 9])])
def test_the_listing_does_not_depend_on_the_syntax(
    judge: JudgeClient, case_of: CaseOf, text: str, lines: list[int]
) -> None:
    blocks = judge.listing(case_of(SOURCE), "clamp", text)
    assert blocks is not None
    assert [[line.text for line in block] for block in blocks] == BLOCKS
    assert [line.number for block in blocks for line in block] == lines


@pytest.mark.parametrize(
    "text",
    [
        "clamp:\n\tfrobnicate %eax\n",
        "other:\n\tret\n",
        "clamp:\n\tcall nobody\n",
        "clamp:\n" + "\tnop\n" * (MAX_INSTRUCTIONS + 1),
    ],
)
def test_text_without_code_or_with_too_much_has_no_listing(judge: JudgeClient, case_of: CaseOf, text: str) -> None:
    assert judge.listing(case_of(SOURCE), "clamp", text) is None


def test_the_facts_of_a_crash_have_input_and_line(judged: Judged) -> None:
    verdict = judged(SOURCE, "clamp", "\n\n" + ATT.replace("(%rdi)", "4096(%rdi)"))
    assert (verdict.kind, verdict.detail["line"]) == ("crash", 4)
    assert verdict.detail["input"] == [verdict.evidence[0].removeprefix("  input     ")]
    assert "differences" not in verdict.detail


def test_the_facts_of_a_mismatch_have_differences_and_divergence(judged: Judged, compiled: Compile) -> None:
    lines = compiled(SOURCE).texts.assembly("clamp", "O0").split("\n")
    [at] = [number for number, line in enumerate(lines) if "\tjle\t" in line]
    lines[at] = lines[at].replace("jle", "jge")
    verdict = judged(SOURCE, "clamp", "\n".join(lines))
    assert (verdict.kind, verdict.detail["parts"]) == ("mismatch", at + 1)
    location, expected, observed = verdict.detail["differences"][0]
    assert verdict.message == f"{location}: expected {expected}, observed {observed}"
