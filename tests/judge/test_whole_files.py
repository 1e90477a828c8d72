"""Answers that are whole files: local functions and variables of their own, under names that compilers choose."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.judge.service import Judge
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import read_case

COMPILERS = ("gcc", "clang-16", "clang-19")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")

HELPERS = r"""
static __attribute__((noinline)) int blend(int a, int b, int c) { return (a ^ b) * 31 + c; }
int blended(int a, int b) { return blend(a, b, 7) + blend(b, a, 7); }
static __attribute__((noinline)) int deep(const int *values, int n, int bias)
{
    int sum = bias;
    for (int i = 0; i < n; i++)
        sum += values[i] / (i + 1);
    return sum;
}
int deeply(const int values[4]) { return deep(values, 4, 1) * deep(values + 1, 3, 1); }
"""
LOCALS = r"""
int count_calls(void)
{
    static int calls;
    return ++calls;
}
char *shouted(const char *word)
{
    static char text[32];
    int n = 0;
    for (; word[n] && n < 31; n++)
        text[n] = word[n] >= 'a' && word[n] <= 'z' ? word[n] - 32 : word[n];
    text[n] = 0;
    return text;
}
"""

WholeFile = Callable[..., Verdict]


@pytest.fixture(scope="module")
def few() -> Iterator[Judge]:
    """A judge with few inputs."""
    judge = Judge(JudgeSettings(examples=20))
    yield judge
    judge.close()


@pytest.fixture
def verdict_on(few: Judge, tmp_path: Path) -> WholeFile:
    """The verdict on a text for a function of a C source."""

    def judge(source: str, function: str, text: str) -> Verdict:
        path = tmp_path / "case.c"
        path.write_text(source)
        return few.judge(read_case(path), function, text)

    return judge


def compile_file(source: str, *command: str) -> str:
    """A compiler's assembly of a C file."""
    done = subprocess.run(
        [*command, "-S", "-w", "-x", "c", "-", "-o", "-"], input=source, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    return done.stdout


def function_of(text: str, function: str) -> str:
    """The part of a compiler's text with one function."""
    match = re.search(rf"^{function}:.*?^\t\.size\t{function}, .*?$", text, re.MULTILINE | re.DOTALL)
    assert match
    return match[0]


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(
    "flags", [("-O0", "-fPIC"), ("-O1", "-masm=intel"), ("-O2", "-fno-pie"), ("-O3", "-fPIC"), ("-Os",)]
)
def test_helpers_and_static_locals_of_whole_files(compiler: str, flags: tuple[str, ...], verdict_on: WholeFile) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    for source, functions in ((HELPERS, ("blended", "deeply")), (LOCALS, ("count_calls", "shouted"))):
        text = compile_file(source, compiler, *flags)
        verdicts = {function: str(verdict_on(source, function, text)) for function in functions}
        assert {function: verdict for function, verdict in verdicts.items() if verdict[:4] != "pass"} == {}


@needs_gcc
def test_wrong_helpers_and_static_locals_are_caught(verdict_on: WholeFile) -> None:
    text = compile_file(HELPERS, "gcc", "-O2")
    assert verdict_on(HELPERS, "blended", text.replace("addl\t$7, %eax", "addl\t$6, %eax")).kind == "mismatch"
    text = compile_file(LOCALS, "gcc", "-O1")
    assert verdict_on(LOCALS, "count_calls", re.sub(r"movl\t%eax, calls\.\d+\(%rip\)", "nop", text)).kind == "mismatch"
    assert verdict_on(LOCALS, "shouted", re.sub(r"movb\t\$0, .*", "nop", text)).kind == "mismatch"


@needs_gcc
@pytest.mark.parametrize("syntax", ["att", "intel"])
def test_single_functions_that_use_static_locals(syntax: str, verdict_on: WholeFile) -> None:
    """The variables are not defined in the text."""
    text = compile_file(LOCALS, "gcc", "-O2", f"-masm={syntax}")
    start = ".intel_syntax noprefix\n" if syntax == "intel" else ""
    for function in ("count_calls", "shouted"):
        assert verdict_on(LOCALS, function, start + function_of(text, function)).kind == "pass"
