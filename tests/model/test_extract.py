"""Finding the assembly in an answer."""

from __future__ import annotations

import contextlib
import time

import pytest

from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.model.answer import Answer, StopReason
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.model.extract.blocks import ExtractedCode

F = "f:\n\tmovl\t%edi, %eax\n\tretq\n"
INTEL = "f:\n    mov eax, dword ptr [rdi + 4*rsi]\n    ret\n"
HELPER = "helper:\n\tretq\n"
IR = "define i32 @f(i32 %0) {\n  %2 = add nsw i32 %0, 1\n  ret i32 %2\n}\n"

SWITCH = """\
	.text
	.globl	f
	.type	f,@function
f:                                      # @f
	.cfi_startproc
	movl	%edi, %eax
	cmpl	$2, %edi
	ja	.LBB0_4
	jmpq	*.LJTI0_0(,%rax,8)
.LBB0_1:
	leaq	.L.str(%rip), %rdi
	jmp	other
.LBB0_2:
	movl	$7, %eax
.LBB0_4:
	retq
.Lfunc_end0:
	.size	f, .Lfunc_end0-f
	.cfi_endproc
	.section	.rodata,"a",@progbits
	.p2align	3, 0x0
.LJTI0_0:
	.quad	.LBB0_1
	.quad	.LBB0_2
	.quad	.LBB0_1
	.text
	.globl	other                           # -- Begin function other
	.type	other,@function
other:                                  # @other
	.cfi_startproc
	testl	%edi, %edi
	je	.LBB1_2
	xorl	%eax, %eax
.LBB1_2:
	retq
.Lfunc_end1:
	.size	other, .Lfunc_end1-other
	.cfi_endproc
	.section	.rodata.str1.1,"aMS",@progbits,1
.L.str:
	.asciz	"abc"
	.size	.L.str, 4
"""


def extract(text: str, stop: StopReason = "eos") -> ExtractedCode:
    return extract_assembly(Answer(text, stop=stop), "f")


@pytest.mark.parametrize(
    ("answer", "text", "first_line"),
    [
        pytest.param(f"The assembly:\n\n<code>{F}</code>", F, 3, id="tag"),
        pytest.param(f"<code>\n\n{F}</code> Note: 5% faster.\n\tnop\n", F, 3, id="notes after the tag"),
        pytest.param(f"Sure!\n<code>{F}", F, 2, id="tag swallowed by the stop string"),
        pytest.param(f"{F}</code>", F, 1, id="tag opened by the prompt"),
        pytest.param(f"Here:\n```asm\n{F}```\nDone.\n", F, 3, id="fence"),
        pytest.param(f"~~~\n{F}~~~", F, 2, id="tildes"),
        pytest.param(f"```\n{F}", F, 2, id="fence without an end"),
        pytest.param(f"<code>\n```asm\n{F}```\n</code>", F, 3, id="fence in a tag"),
        pytest.param(F, F, 1, id="bare"),
        pytest.param(INTEL, INTEL, 1, id="bare, Intel syntax"),
        pytest.param(f"Here is the assembly of f:\n\n{F}\nIt returns (see above) 5%.\n", F, 3, id="bare in prose"),
        pytest.param(f"Look.\n{HELPER}{F}", HELPER + F, 2, id="bare with a helper before it"),
        pytest.param(f"Look here:\n\t.text\n{F}.Lend:\nBye.", f"\t.text\n{F}.Lend:\n", 2, id="bare with directives"),
        pytest.param(f"<CODE>{F}</CODE>", F, 1, id="upper case"),
        pytest.param(f"<code>{F}</code>".replace("\n", "\r\n"), F, 1, id="carriage returns"),
        pytest.param('<code>"f":\n\tretq\n</code>', '"f":\n\tretq\n', 1, id="quoted label"),
    ],
)
def test_code_is_found_with_its_first_line(answer: str, text: str, first_line: int) -> None:
    assert extract(answer) == ExtractedCode(text, first_line)


@pytest.mark.parametrize(
    "answer",
    [
        f"```asm\n{HELPER}```\n and\n```asm\n{F}```",
        f"<code>{HELPER}</code> then <code>{F}</code> then <code>{HELPER}</code>",
        f"Use <code>movl</code>:\n```\n{F}```",
        f"```c\nint f(int x) {{ return x; }}\n```\n```\n{F}```",
        f"Use <code>movl</code>, as in\n\n{F}",
        f"<code>{HELPER} <code>{F}</code>",
    ],
)
def test_the_block_with_the_function_counts(answer: str) -> None:
    assert extract(answer).text == F


def test_without_the_label_the_block_that_looks_like_assembly_counts() -> None:
    assert extract(f"```c\nint f;\n```\n```\n{HELPER}```").text == HELPER
    assert extract(f"```llvm\n{IR}```").text == IR


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "the answer is empty"),
        (" \n\n", "the answer is empty"),
        ("I can't do that. Note: f: is not a function, 5% sure.", "it begins \"I can't do that."),
        ("<code></code>", "has no code in it"),
        ("```\n```", "has no code in it"),
        ("The assembly will have instruction count 29 and binary sise 129 bytes:", "has no code in it"),
        ("Thank you.\nDone", "has no code in it"),
        (IR, "it begins 'define i32 @f"),
        ("x" * 1000, r"it begins 'x{57}\.\.\.'$"),
    ],
)
def test_an_answer_without_code_is_an_error(answer: str, message: str) -> None:
    with pytest.raises(NoCodeError, match=message):
        extract(answer)


def test_the_message_says_that_the_token_limit_came_before_any_code() -> None:
    with pytest.raises(NoCodeError, match="reached the token limit with no code"):
        extract("The assembly will have", "length")


@pytest.mark.parametrize("answer", [f"<code>{F}</code> This", f"```\n{F}```\n", f"{F}This function returns.\nIt"])
def test_a_token_limit_behind_the_code_is_ignored(answer: str) -> None:
    assert extract(answer, "length").text == F


@pytest.mark.parametrize("head", ["", "<code>", "The code:\n```asm\n"], ids=["bare", "tag", "fence"])
@pytest.mark.parametrize("stop", ["eos", "stop"])
def test_code_that_the_model_ended_itself_is_complete(head: str, stop: StopReason) -> None:
    assert extract(head + F, stop).text == F


@pytest.mark.parametrize("head", ["", "<code>", "The code:\n```asm\n"], ids=["bare", "tag", "fence"])
def test_code_cut_by_the_token_limit_is_complete_or_truncated(head: str) -> None:
    function = SWITCH[SWITCH.index("f: ") : SWITCH.index("\t.section\t.rodata,")]
    table = SWITCH[SWITCH.index(".LJTI0_0:") : SWITCH.index("\t.text\n\t.globl\tother")]
    other = SWITCH[SWITCH.index("other: ") : SWITCH.index("\t.section\t.rodata.str")]
    whole_from = SWITCH.index("other: ") + len(other.splitlines(keepends=True)[0])
    for end in range(1, len(SWITCH) + 1):
        try:
            text = extract(head + SWITCH[:end], "length").text
        except (TruncatedError, NoCodeError):
            assert end < whole_from
            continue
        assert function in text
        assert table in text
        assert other in text or "other:" not in text
        assert SWITCH.startswith(text.rstrip("\n"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("<code>\t.text\n\t.globl f", "before the label 'f', after 1 lines"),
        (f"<code>{F}", "before the end of 'f', after 3 lines"),
        (f"{F}\tmov", "before the end of 'f'"),
        ("<code>f:\n\t.cfi_startproc\n\tretq\n\t.size f, .-f\n", "before the .cfi_endproc of 'f'"),
        (
            "<code>f:\n\tjmp *.LJTI0_0(,%rax,8)\n\t.size f, .-f\n.LJTI0_0:\n\t.quad f\n",
            "before .LJTI0_0, which 'f' needs",
        ),
    ],
)
def test_the_message_of_truncated_code_names_what_is_missing(answer: str, message: str) -> None:
    with pytest.raises(TruncatedError, match=message):
        extract(answer, "length")


@pytest.mark.parametrize("stop", ["eos", "length"])
@pytest.mark.parametrize(
    "piece",
    ["<code>", "</code>", "```\n", "f:", "\t", "a ", "%", "[ ", ".L1 ", "f:\n", "\tret\n", ".L1:\n"],
)
def test_the_time_for_a_long_hostile_answer_is_linear(piece: str, stop: StopReason) -> None:
    """100,000 pieces take a third of a second. A quadratic search would take minutes."""
    answer = Answer(piece * 100_000, stop=stop)
    started = time.process_time()
    with contextlib.suppress(NoCodeError, TruncatedError):
        extract_assembly(answer, "f")
    assert time.process_time() - started < 5


def test_many_labels_on_one_line_are_no_error() -> None:
    line = "g:" * 10_000
    assert extract(f"{F}{line} nop\n").text == f"{F}{line} nop\n"


def test_a_lone_surrogate_is_replaced() -> None:
    assert extract_assembly(Answer("f:\n ret # \udc80\n"), "f").text.encode("utf-8")
