"""Where clang at -O0 and at -O2 differ: bugs of clang count, undefined behaviour drops the input."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from faces import CaseOf, Compile, Judged

from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.clang import Toolchain, header_folders
from pytest_llmcompiler.targets import get_target

WRONG_CLANG = "22.1.8"
"""The version of clang that compiles DRIFT wrongly from -O1 on: it takes the values of `drift` for unsigned."""
DRIFT = """
long level[24];
int settled, day;
long total;

int total_drift(signed char slope)
{
    static short drift[24];

    for (settled = 0; settled < 7; settled++)
        day = 0;
    for (; day < 21; day++)
        drift[day] = day * (long)slope >> 29;
    for (day = 0; day < 21; day++)
        level[day] = drift[day];
    for (day = 0; day < 21; day++)
        total = total + level[day];
    return total;
}
"""
MEMORY_DRIFT = re.sub(r"    return total;\n", "", DRIFT.replace("int total_drift", "void total_drift"))
FLAGS = ("-S", "-w", "-x", "c", "-fPIC", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-")


def compile_with(compiler: list[str], source: str, level: str) -> str:
    """A compiler's assembly of a whole file, with static locals named as clang names them."""
    command = [*compiler, f"-{level}", *FLAGS, "-o", "/dev/stdout"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return re.sub(r"\bdrift\.\d+\b", "total_drift.drift", text)


def other_compilers() -> list[list[str]]:
    headers = [f"-isystem{folder}" for folder in header_folders(get_target())]
    names = [name for name in ("gcc", "clang-19") if shutil.which(name)]
    return [[name, "-nostdinc", *headers] for name in names]


def own_code(compiled: Compile, source: str, function: str, level: str) -> str:
    return compiled(source).texts.assembly(function, level)


@pytest.mark.skipif(WRONG_CLANG not in Toolchain().version(), reason="another clang, without that bug")
@pytest.mark.parametrize("source", [DRIFT, MEMORY_DRIFT], ids=["result", "memory"])
def test_what_clang_miscompiles_counts_as_it_is_at_o0(
    judge: JudgeClient, judged: Judged, case_of: CaseOf, compiled: Compile, source: str
) -> None:
    for level in ("O2", "O3"):
        text = own_code(compiled, source, "total_drift", level)
        verdict = judge.judge(case_of(source), "total_drift", text, explain=False)
        assert verdict.kind == "mismatch", level
        assert "a bug of clang" in str(verdict)
    assert judged(source, "total_drift", own_code(compiled, source, "total_drift", "O1")).passed
    verdict = judged(source, "total_drift", own_code(compiled, source, "total_drift", "O0"))
    assert verdict.passed
    assert "clang -O2 computes total_drift wrongly" in verdict.detail["warning"]
    bug = verdict.detail["compiler_bug"]
    assert 0 < bug["inputs"] < verdict.detail["inputs"]
    assert "slope = -" in bug["input"][0]
    for compiler in other_compilers():
        assert judged(source, "total_drift", compile_with(compiler, source, "O2")).passed, compiler[0]


UNDEFINED = """
#include <string.h>
float cells[4];
int a, b;
char word[8];
int compare(void) { return memcmp("bbbbbb", word, 6); }
int alias(int i) { int *p = (int *)(cells + (i & 3)); cells[1] = 1.0f; *p = 7; return cells[1] > 0.5f; }
int past(int i) { int *p = &a; b = 3; p[i & 1] = 5; return b; }
int before(int i) { int *p = &b; a = 3; p[-(i & 1)] = 5; return a; }
int unset(int x) { int y; if (x > 3) y = 5; return y; }
"""


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("alias", "strict aliasing is violated"),
        ("past", "addresses, or the bits of a NaN, matter"),
        ("before", "addresses, or the bits of a NaN, matter"),
        ("unset", "an indeterminate value matters"),
        ("compare", "-O2 uses what C leaves open"),
    ],
)
def test_undefined_behaviour_that_the_probe_does_not_see_drops_the_input(
    judged: Judged, compiled: Compile, function: str, reason: str
) -> None:
    answers = [own_code(compiled, UNDEFINED, function, level) for level in ("O0", "O2")]
    answers += [compile_with(compiler, UNDEFINED, "O2") for compiler in other_compilers()]
    for answer in answers:
        verdict = judged(UNDEFINED, function, answer)
        assert verdict.passed, verdict
        assert verdict.detail["dropped"][reason]
        assert "compiler_bug" not in verdict.detail
    assert judged(UNDEFINED, function, f"{function}:\n\tmovl $77, %eax\n\tret\n").kind == "mismatch"


ON_THE_STACK = """
int order(int i)
{
    int a[2] = {i, 1}, b[2] = {2, 3};
    int *p = a + (i & 1), *q = b + (i >> 1 & 1);
    return p < q ? 1 + *p : 2 + *q;
}
int beside(int i)
{
    int x[2] = {1, 2}, y[2] = {3, 4}, *p = x, *q = y;
    q[-(i & 3)] = 9;
    p[i & 3] = 9;
    return x[0] + x[1] + 10 * y[0] + 100 * y[1];
}
"""


def test_what_depends_on_the_stack_s_layout_is_no_bug_of_clang(judged: Judged, compiled: Compile) -> None:
    verdict = judged(ON_THE_STACK, "beside", own_code(compiled, ON_THE_STACK, "beside", "O2"))
    assert verdict.passed
    assert "compiler_bug" not in verdict.detail
    # Whether -O0 and -O2 order the two arrays alike is up to clang.
    verdict = judged(ON_THE_STACK, "order", own_code(compiled, ON_THE_STACK, "order", "O2"))
    assert "compiler_bug" not in verdict.detail
    assert verdict.passed or "addresses, or the bits of a NaN, matter" in verdict.message


INDETERMINATE = """
#include <string.h>
struct pair { char c; int i; };
void label(char *out, int number)
{
    char text[8];
    text[0] = 'A' + (number & 7);
    text[1] = 0;
    memcpy(out, text, 8);
}
void pack(char *out, int x) { struct pair p; p.c = 1; p.i = x; memcpy(out, &p, sizeof p); }
"""


@pytest.mark.parametrize("function", ["label", "pack"])
def test_indeterminate_bytes_are_not_compared(judged: Judged, compiled: Compile, function: str) -> None:
    answers = [own_code(compiled, INDETERMINATE, function, level) for level in ("O0", "O2")]
    answers += [compile_with(compiler, INDETERMINATE, "O2") for compiler in other_compilers()]
    assert [judged(INDETERMINATE, function, answer).kind for answer in answers] == ["pass"] * len(answers)
    assert judged(INDETERMINATE, function, f"{function}:\n\tmovb $64, (%rdi)\n\tret\n").kind == "mismatch"


WRAPPING_IR = """
define i32 @grows(i32 %x) {
  %next = add nsw i32 %x, 1
  %larger = icmp sgt i32 %next, %x
  %result = zext i1 %larger to i32
  ret i32 %result
}
"""


def test_ir_whose_flags_are_violated_drops_the_input(compiled: Compile) -> None:
    harness = Harness(compiled(WRAPPING_IR, ".ll"), "grows", JudgeSettings(40, 1))
    assert harness.judge("grows:\n\tmovl $1, %eax\n\tret\n").passed
    assert harness.corpus.dropped == {"-O2 uses what C leaves open": 1}
