from __future__ import annotations

import contextlib

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


def code(text: str, stop: StopReason = "eos") -> ExtractedCode:
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
def test_the_code_is_found_with_its_line(answer: str, text: str, first_line: int) -> None:
    assert code(answer) == ExtractedCode(text, first_line)


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
def test_of_several_blocks_the_one_with_the_function_counts(answer: str) -> None:
    assert code(answer).text == F


def test_without_the_label_anywhere_the_block_that_looks_like_assembly_counts() -> None:
    assert code(f"```c\nint f;\n```\n```\n{HELPER}```").text == HELPER
    assert code(f"```llvm\n{IR}```").text == IR


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
def test_an_answer_without_code(answer: str, message: str) -> None:
    with pytest.raises(NoCodeError, match=message):
        code(answer)


def test_an_answer_that_never_comes_to_code_says_that_the_limit_ended_it() -> None:
    with pytest.raises(NoCodeError, match="reached the token limit with no code"):
        code("The assembly will have", "length")


@pytest.mark.parametrize("answer", [f"<code>{F}</code> This", f"```\n{F}```\n", f"{F}This function returns.\nIt"])
def test_the_limit_after_the_end_of_the_code_does_no_harm(answer: str) -> None:
    assert code(answer, "length").text == F


@pytest.mark.parametrize("head", ["", "<code>", "The code:\n```asm\n"], ids=["bare", "tag", "fence"])
@pytest.mark.parametrize("stop", ["eos", "stop"])
def test_code_that_the_model_ended_itself_is_whole(head: str, stop: StopReason) -> None:
    assert code(head + F, stop).text == F


@pytest.mark.parametrize("head", ["", "<code>", "The code:\n```asm\n"], ids=["bare", "tag", "fence"])
def test_cut_by_the_limit_it_is_whole_or_truncated_but_never_silently_less(head: str) -> None:
    function = SWITCH[SWITCH.index("f: ") : SWITCH.index("\t.section\t.rodata,")]
    table = SWITCH[SWITCH.index(".LJTI0_0:") : SWITCH.index("\t.text\n\t.globl\tother")]
    other = SWITCH[SWITCH.index("other: ") : SWITCH.index("\t.section\t.rodata.str")]
    whole_from = SWITCH.index("other: ") + len(other.splitlines(keepends=True)[0])
    for end in range(1, len(SWITCH) + 1):
        try:
            text = code(head + SWITCH[:end], "length").text
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
def test_truncated_says_what_is_missing(answer: str, message: str) -> None:
    with pytest.raises(TruncatedError, match=message):
        code(answer, "length")


def test_a_long_hostile_answer_takes_no_long_time() -> None:
    for piece in ("<code>", "</code>", "```\n", "f:", "\t", "a ", "%", "[ ", ".L1 "):
        for stop in ("eos", "length"):
            with contextlib.suppress(NoCodeError, TruncatedError):
                extract_assembly(Answer(piece * 20_000, stop=stop), "f")


def test_a_lone_surrogate_is_no_text() -> None:
    assert extract_assembly(Answer("f:\n ret # \udc80\n"), "f").text.encode("utf-8")
