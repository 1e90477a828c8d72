"""The code is found in the shapes in which models answer, and its lines are those of the answer."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pytest_llmcompiler import check
from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.model.answer import Answer, StopReason
from pytest_llmcompiler.model.extract.assembly import extract_assembly

SOURCE = """
int calls;
int helper(int x) { return x * 3; }
int f(int n) {
    int sum = 0;
    calls++;
    for (int i = 0; i < n; i++) if (i & 1) sum += helper(i); else sum -= i;
    return sum + calls;
}
"""
F = "f:\n\tleal\t1(%rdi,%rdi), %eax\n\tretq\n"
DRAFT = "f:\n\tmovl\t$1, %eax\n\tretq\n"
SKELETON = "f:\n    # code goes here\n"
NASM = "section .text\nglobal f\nf:\n    mov eax, dword [rdi + rcx*4] ; the first\n    ret\n"
HTML = F.replace("(", "&#40;").replace("%", "&#37;")
JSON = json.dumps({"explanation": "f: doubles", "assembly": F})
C = "```c\nint f(int x) { return 2*x + 1; }\n```\n"


def extract(text: str, stop: StopReason = "eos") -> tuple[str, int]:
    code = extract_assembly(Answer(text, stop=stop), "f")
    return code.text, code.first_line


@pytest.mark.parametrize(
    ("answer", "first_line"),
    [
        pytest.param(f"<think>Let me see.\n```asm\n{DRAFT}```\nHm.</think>\n\n```asm\n{F}```", 10, id="reasoning"),
        pytest.param(f"Hm, f: is\n{DRAFT}\n</think>\n\n{F}", 8, id="reasoning that the prompt began"),
        pytest.param(f"[THINK]{DRAFT}[/THINK]\n{F}", 5, id="reasoning in brackets"),
        pytest.param(f"<think>\n```asm\n{F}```\n", 3, id="all of it in reasoning without an end"),
        pytest.param(f"<think>ok</think>\n<answer>\n```nasm\n{F}```\n</answer>", 4, id="fence in an answer tag"),
        pytest.param(f"<answer>\n{F}</answer>", 2, id="answer tag"),
        pytest.param(f"<asm>\n{F}</asm>", 2, id="asm tag"),
        pytest.param(f"[ANSWER]\n{F}[/ANSWER]", 2, id="brackets"),
        pytest.param(f'<pre><code class="language-asm">{F}</code></pre>', 1, id="HTML"),
        pytest.param(f"{C}becomes\n```assembly\n{F}```\n", 6, id="C first"),
        pytest.param(f"```x86asm\n{F}```\n{C}", 2, id="C behind it"),
        pytest.param(f"```asm\n{F}```\nHere is an AT&T alternative:\n```asm\n{DRAFT}```", 2, id="an alternative"),
        pytest.param(f"```asm\n{DRAFT}```\nOops. Corrected:\n```asm\n{F}```", 8, id="a correction"),
        pytest.param(f"```asm\n{SKELETON}```\nFilled in:\n```asm\n{F}```", 7, id="a skeleton"),
        pytest.param(f"Here it is:```gas\n{F}```", 2, id="fence behind text"),
        pytest.param(f"```s\n{F.rstrip()}```\nDone.", 2, id="fence behind code"),
        pytest.param(f"````asm\n{F}````", 2, id="four backticks"),
        pytest.param(f"```asm\nnop\n```asm\n{F}```", 4, id="a fence without an end"),
        pytest.param(f"1. Do this:\n\n     ```asm\n{F}     ```\n", 4, id="fence in a list"),
        pytest.param("".join(f"> {line}\n" for line in ("```asm", *F.splitlines(), "```")), 2, id="quoted"),
        pytest.param(f"{F.rstrip()}<|im_end|>", 1, id="mark of a chat template"),
        pytest.param(f"```asm\n{F}```".replace("\n", "\r\n"), 2, id="carriage returns"),
        pytest.param(f"```\n{HTML}```", 2, id="HTML entities"),
        pytest.param(f"```\n{F.replace(chr(9), chr(0xA0) * 2)}```", 2, id="no-break spaces"),
        pytest.param(f"{F.replace(',', chr(0x200B) + ',')}", 1, id="blanks without width"),
        pytest.param(
            "```diff\n@@ -1,2 +1,3 @@\n-g:\n" + "".join(f"+{x}\n" for x in F.splitlines()) + "```", 4, id="diff"
        ),
        pytest.param(
            "```\n" + "".join(f"{n:3} | {x}\n" for n, x in enumerate(F.splitlines(), 1)) + "```", 2, id="bars"
        ),
        pytest.param(
            "```\n" + "".join(f"{n:3}  {x}\n" for n, x in enumerate(F.splitlines(), 7)) + "```", 2, id="numbers"
        ),
        pytest.param("```\n" + "".join(f"{n}: {x}\n" for n, x in enumerate(F.splitlines(), 1)) + "```", 2, id="colons"),
        pytest.param(JSON, 1, id="JSON"),
        pytest.param(f"```json\n{JSON}\n```", 1, id="JSON in a fence"),
        pytest.param(F.replace("\n", "\\n").replace("\t", "\\t"), 1, id="escapes for newlines"),
    ],
)
def test_shapes_of_answers(answer: str, first_line: int) -> None:
    text, line = extract(answer)
    assert [row.split() for row in text.split("\n")] == [row.split() for row in F.split("\n")]
    assert line == first_line


def test_bare_nasm_is_found() -> None:
    assert extract(f"Sure, here you go:\n\n{NASM}\nThis reads (see above) one number.\n") == (NASM, 3)


def test_a_string_keeps_its_characters() -> None:
    code = 'f:\n\tret\n.s:\t.string "a \u201cb\u201d \\" \u2212"\t# \u201cx\u201d\n'
    assert extract(f"```\n{code}```")[0] == code.replace("# \u201cx\u201d", '# "x"')


@pytest.mark.parametrize(
    "string", ["&lt;", "</pre>", "<code>", "</answer>", "</s>", "<|im_end|>", "<br>", "\u2013", "```"]
)
def test_strings_may_hold_what_surrounds_code(string: str) -> None:
    gnu = f'f:\n\tret\n.s:\t.string "{string}"\n\t.string "x"\n'
    nasm = f"f:\n\tret\ns: db '{string}'\n"
    assert extract(f"```\n{gnu}```") == (gnu, 2)
    if string not in ("</pre>", "<code>", "</answer>"):
        assert extract(f"```\n{nasm}```") == (nasm, 2)


def test_reasoning_that_the_token_limit_ended_is_no_answer() -> None:
    with pytest.raises(TruncatedError, match="before the end of the reasoning"):
        extract(f"<think>\n```asm\n{DRAFT}```\nBut", "length")


LISTINGS = [
    ("-O2", "objdump -d -r a.o"),
    ("-O1", "objdump -d -r -Mintel --no-show-raw-insn a.o"),
    ("-O0", "objdump -d a.so"),
    ("-O2", "objdump -d --disassemble=f -Mintel a.so"),
    ("-O1", "gdb -batch -ex disassemble\\ f a.so"),
]


@pytest.mark.parametrize(("level", "command"), LISTINGS)
def test_listings_of_disassemblers_pass(tmp_path: Path, level: str, command: str) -> None:
    if shutil.which("gcc") is None or shutil.which(command.split()[0]) is None:
        pytest.skip(f"no gcc or no {command.split()[0]}")
    (tmp_path / "a.c").write_text(SOURCE)
    flags = "-fno-inline -fno-ipa-ra -fno-ipa-stack-alignment -fcf-protection=none -fno-tree-vectorize"
    build = f"gcc {level} {flags} -c a.c -o a.o && gcc -shared -Wl,-Bsymbolic a.o -o a.so"
    subprocess.run(build, shell=True, check=True, cwd=tmp_path)
    listing = subprocess.run(command, shell=True, check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    bare, fenced = f"The listing:\n\n{listing}\nDone.\n", f"The listing:\n\n```\n{listing}```\n"
    code = extract_assembly(Answer(fenced), "f")
    assert extract(bare)[0].split() == code.text.split()
    assert "<f" not in code.text.replace("# ", "")
    verdict = check(SOURCE, "f", fenced, examples=20)
    assert verdict.kind == "pass", f"{verdict}\n{code.text}"


@pytest.mark.parametrize(
    ("listing", "code"),
    [
        (
            "   0x1139 <f>:\ttest   %edi,%edi\n=> 0x113b <f+2>:\tje     0x113e <f+5>\n   0x113d <f+4>:\tnop\n"
            "   0x113e <f+5>:\tret\n",
            "f: test   %edi,%edi\nje     .Lat_113e\nnop\n.Lat_113e: ret\n",
        ),
        (
            "     1                                  f:\n     2 00000000 89F8                    \tmov eax, edi\n"
            "     3 00000002 C3                      \tret\n",
            "f:\nmov eax, edi\nret\n",
        ),
        (
            "0000000000001139 <f>:\n    1139:  55  push %rbp\n    113a:  ff 25 00 00 00 00  jmp *0x0(%rip)  # 4010 <g+0x8>\n",
            "f:\npush %rbp\njmp *g+0x8(%rip)\n",
        ),
    ],
)
def test_other_listings(listing: str, code: str) -> None:
    text, line = extract(f"```\n{listing}```\n")
    assert ([row.strip() for row in text.splitlines()], line) == (code.splitlines(), 2)


def test_data_and_helpers_in_blocks_of_their_own() -> None:
    data, helper = "section .data\nk: dd 5\n", "g:\n    ret\n"
    code = "section .text\nf:\n    mov eax, [k]\n    call g\n    ret\n"
    other = "```c\nint k: 3;\n```\n```asm\nmain:\n    call f\n    ret\n```\n"
    answer = f"Data:\n```nasm\n{data}```\nCode:\n```nasm\n{code}```\nHelper:\n```nasm\n{helper}```\n{other}"
    text, first_line = extract(answer)
    assert (first_line, text.split()) == (3, (data + code + helper).split())
    assert all(row in ("", line) for row, line in zip(text.splitlines(), answer.splitlines()[2:], strict=False))


def test_names_with_parameters_are_names_of_c() -> None:
    code = "g(char const*):\n    ret\nf(int, int*):\n    call g(char const*)\n    mov eax, [rdi]\n    ret\n"
    assert extract(f"```asm\n{code}```\n")[0] == code.replace("(char const*)", "").replace("(int, int*)", "")


@pytest.mark.parametrize("code", ["f:\n1: dec %edi\n2: jne 1b\n ret\n", "f:\n0: nop\n jmp 0b\n", F, NASM])
def test_numeric_labels_are_no_listing(code: str) -> None:
    assert extract(f"```\n{code}```\n") == (code, 2)


@pytest.mark.parametrize(
    "piece",
    [
        "<think>", "</think>", "<answer>\n", "</answer>", "> ", "> f:\n", "+f:\n", "-\n", "@@\n", "1 ret\n", "&lt;", "&#10;",
        "&#8232;\n", "{", "[", '"', '\\"\u2212', '"\\"\u2212', "\\n", "\\nf:", "```a\n", "a```\n", "~~~\n", "\u201c", "0: 55 ",
        "  0:\t55 \tret\n", "<f>:\n", "0 <f>:\n 0: c3 ret\n", " #", "# 4 <f>", "<br>", "[code]\n", "R_X86_64_PLT32 f\n",
        "0: R_X86_64_32 f\n", "f: ; x\n", "0x0 <+0>: jmp 0x0 <f+0>\n", "section .text\n", "<|im_end|>", "<asm> ", "<asm>\n", "f():\n", "call f(", "f(a ", "```\nf:\n a\n```\n```\na:\n ret\n```\n", "0 <f>:\n 0: # 1 <f> #\t",
    ],
)  # fmt: skip
def test_the_time_for_hostile_shapes_is_linear(piece: str) -> None:
    """25,000 pieces take about a quarter of a second. A quadratic search would take minutes."""
    answer = Answer(piece * 25_000)
    started = time.process_time()
    with contextlib.suppress(NoCodeError, TruncatedError):
        extract_assembly(answer, "f")
    assert time.process_time() - started < 10
