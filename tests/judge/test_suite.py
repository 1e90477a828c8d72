"""The cases of this repository, with answers that are known to be right: every verdict must be `pass`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from faces import Compile
from suite_runs import CASES, ROOT

from pytest_llmcompiler import check_file
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

LEVELS = ("O0", "O2")


def test_the_cases_are_as_many_as_documented() -> None:
    command = [sys.executable, "-m", "pytest", "cases", "--collect-only", "-q", "--llmc-model=reference"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    items = set(re.findall(r"^cases/(\S+?)::(\w+)\[", listed, re.MULTILINE))
    files = {case for case, _ in items}
    assert {("git_lfs.c", name) for name in ("consume_line", "copy_64_hex", "validate", "parse_diff")} <= items
    assert len([case for case, _ in items if case != "git_lfs.c"]) >= 25
    assert len(files) >= 11 and len([name for name in files if name.endswith(".ll")]) >= 2
    assert files == {path.relative_to(CASES).as_posix() for path in CASES.rglob("*.*") if path.suffix in (".c", ".ll")}


RING_POP_ALWAYS_EMPTY = "ring_pop:\n\tmovl $-1, %eax\n\tretq\n"
RING_POP_WITHOUT_WRAP = """\
ring_pop:
    movl ring_used(%rip), %ecx
    movl $-1, %eax
    testl %ecx, %ecx
    je 1f
    movl ring_start(%rip), %edx
    movl %edx, %esi
    andl $15, %esi
    movzbl ring(%rsi), %eax
    incl %edx
    movl %edx, ring_start(%rip)
    decl %ecx
    movl %ecx, ring_used(%rip)
1:  retq
"""
RING_PUSH_WITHOUT_WRAP = """\
ring_push:
    movl ring_used(%rip), %ecx
    xorl %eax, %eax
    cmpl $15, %ecx
    ja 1f
    movl ring_start(%rip), %edx
    addl %ecx, %edx
    movb %dil, ring(%rdx)
    incl %ecx
    movl %ecx, ring_used(%rip)
    movl $1, %eax
1:  retq
"""
RING_PUSH_TOO_FULL = RING_PUSH_WITHOUT_WRAP.replace("cmpl $15", "cmpl $16").replace(
    "    movb", "    andl $15, %edx\n    movb"
)
NEXT_ID_WITHOUT_SKIP = """\
next_id:
    movl next_id.last(%rip), %eax
    incl %eax
    movl %eax, next_id.last(%rip)
    retq
"""


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        ("ring_pop", RING_POP_ALWAYS_EMPTY),
        ("ring_pop", RING_POP_WITHOUT_WRAP),
        ("ring_push", RING_PUSH_WITHOUT_WRAP),
        ("ring_push", RING_PUSH_TOO_FULL),
        ("next_id", NEXT_ID_WITHOUT_SKIP),
    ],
    ids=["pop-always-empty", "pop-without-wrap", "push-without-wrap", "push-too-full", "id-without-skip"],
)
def test_globals_are_part_of_the_input(function: str, wrong: str) -> None:
    verdict = check_file(CASES / "state.c", function, wrong)
    assert verdict.kind in ("mismatch", "crash"), verdict


LOCAL_TO_EXTERN = "void fill(int *);\nint f(int x) { int y = x; fill(&y); return y; }\n"
LOCAL_TO_CALLBACK = "int f(int (*ask)(const int *), int x) { int y = x ^ 5; return ask(&y) + y; }\n"
STRUCT_FROM_EXTERN = "struct s { long a, b, c; };\nstruct s make(int);\nlong f(int x) { return make(x).b ^ 1; }\n"
STRING_TO_EXTERN = 'void note(const char *);\nint f(int x) { note("hello"); return x; }\n'
STRING_TO_CALLBACK = 'int f(int (*ask)(const char *)) { return ask("hello"); }\n'
OWN_STRING = '.Lmine: .asciz "hello"\n'
OWN_TABLE = """\
int f(const unsigned char *code, int n)
{
    static void *const table[] = {&&up, &&down, &&stay};
    int at = 0;
    for (int i = 0; i < n; i++) {
        goto *table[code[i] % 3];
    up:
        at++;
        continue;
    down:
        at--;
    stay:;
    }
    return at;
}
"""


RELATIVE_TABLE = """
int f(unsigned x)
{
    static const int table[] = {&&a - &&a, &&b - &&a, &&c - &&a};
    void *own[2] = {&&a, &&b};
    if (x > 2) goto *own[x & 1];
    goto *(&&a + table[x]);
a: return 10;
b: return 20;
c: return 30;
}
"""


@pytest.mark.parametrize("target", ["x86_64-linux", "aarch64-linux", "x86_64-windows"])
@pytest.mark.parametrize("source", [OWN_TABLE, RELATIVE_TABLE], ids=["addresses", "distances"])
def test_tables_of_labels_are_the_codes_own(compiled: Compile, source: str, target: str) -> None:
    """Code jumps to its own labels by a table of its own, which the functions around it do not mind."""
    source += "int beside(int x) { return 3 * x - 1; }\n"
    reference = compiled(source, target=target)
    harness = Harness(reference, "f", JudgeSettings(examples=15, target=target))
    for level in ("O0", "O2"):
        text = reference.texts.assembly("f", level)
        assert harness.judge(text).kind == "pass", level
    wrong = text.replace("$20,", "$21,").replace("#20", "#21").replace("incl", "decl").replace("#1\n", "#2\n")
    assert wrong != text
    assert harness.judge(wrong).kind == "mismatch"
    beside = reference.texts.assembly("beside", "O2")
    assert Harness(reference, "beside", JudgeSettings(examples=5, target=target)).judge(beside).kind == "pass"


@pytest.mark.parametrize(
    ("source", "right"),
    [
        (LOCAL_TO_EXTERN, None),
        (LOCAL_TO_CALLBACK, None),
        (
            STRING_TO_EXTERN,
            f"{OWN_STRING}f:\n\tpushq %rbx\n\tmovl %edi, %ebx\n\tleaq .Lmine(%rip), %rdi\n\tcall note\n"
            "\tmovl %ebx, %eax\n\tpopq %rbx\n\tretq\n",
        ),
        (STRING_TO_CALLBACK, f"{OWN_STRING}f:\n\tmovq %rdi, %rax\n\tleaq .Lmine(%rip), %rdi\n\tjmp *%rax\n"),
    ],
    ids=[
        "local-to-extern",
        "local-to-callback",
        "string-to-extern",
        "string-to-callback",
    ],
)
def test_pointers_that_are_passed_to_other_code_may_differ(tmp_path: Path, source: str, right: str | None) -> None:
    """The addresses of local variables, and of the code's own copies of constants, are up to the compiler."""
    path = tmp_path / "a.c"
    path.write_text(source)
    answers = (
        [right] if right else [Reference(read_case(path), Toolchain()).texts.assembly("f", level) for level in LEVELS]
    )
    assert [str(check_file(path, "f", answer)) for answer in answers] == ["pass"] * len(answers)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("float f(_Complex float x) { return __real__ x; }\n", "complex"),
        (
            "int f(int x) { static void *at; if (!at) at = &&one; goto *at; one: at = &&two; return x; two: return -x; }\n",
            "the address of a label",
        ),
        ("void g(void *); void f(int x) { void *p = x ? &&a : &&b; g(p); goto *p; a: b: return; }\n", "of a label"),
        (
            "void *f(int x) { void *p = x ? &&a : &&b; if (x > 5) goto *p; a: return &&b; b: return &&a; }\n",
            "of a label",
        ),
    ],
    ids=["complex", "kept label", "passed label", "returned label"],
)
def test_cases_that_can_t_be_judged_are_inconclusive(tmp_path: Path, source: str, words: str) -> None:
    """Right code that the judge can't run is neither passed nor failed."""
    path = tmp_path / "a.c"
    path.write_text(source)
    for level in LEVELS:
        verdict = check_file(path, "f", Reference(read_case(path), Toolchain()).texts.assembly("f", level))
        assert verdict.kind == "inconclusive"
        assert words in verdict.message
