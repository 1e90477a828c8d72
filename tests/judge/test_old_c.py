"""C before prototypes, and other C that gcc 12 accepts with a warning."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_llmcompiler import Verdict, check_file
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")

SOURCE = """
extern double scaled();
low(c) char c; { return c + 1; }
float blend(x, y, k) float x; double y; char k; { return k ? x : y; }
int with_prototype(char c, float x);
int with_prototype(c, x) char c; float x; { return c + (x > 1); }
int nested(n) int n; { int later(); return later(n) + 1; }
later(n) { return n ^ 5; }
outside(x, n) float x; short n; { return undeclared(n, 2) + (int) scaled(x, n); }
call(f, n) int (*f)(); int n; { return f(n, 3) + f(n, 2); }
int (*hook)();
hooked(n) { return hook ? hook(n, 1) : 0; }
set(p) int *p; { if (*p) return; *p = 4; }
char *after(p) int *p; { char *next = p + 1; return next; }
"""
CHANGES = {
    "low": ("c + 1", "c + 2"),
    "blend": ("k ? x : y", "k ? y : x"),
    "with_prototype": ("(x > 1)", "(x > 2)"),
    "nested": ("later(n) + 1", "later(n + 1)"),
    "outside": ("undeclared(n, 2)", "undeclared(n, 3)"),
    "call": ("f(n, 2)", "f(n, 4)"),
    "hooked": ("hook(n, 1)", "hook(n, 2)"),
    "set": ("*p = 4", "*p = 5"),
    "after": ("p + 1", "p + 2"),
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("old") / "old.c"
    path.write_text(f"// LLMC: cflags -std=gnu89{SOURCE}")
    return path


@functools.cache
def compile_natively(source: str, *flags: str) -> str:
    command = ["gcc", "-w", "-std=gnu89", "-S", *flags, "-xc", "-", "-o", "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def judge(case: Path, function: str, source: str, *flags: str) -> Verdict:
    return check_file(case, function, compile_natively(source, *flags), examples=30)


@pytest.mark.parametrize("function", CHANGES)
def test_definitions_without_prototypes(case: Path, function: str) -> None:
    for flags in (("-O0",), ("-O2", "-fPIC")):
        assert judge(case, function, SOURCE, *flags).passed
    assert judge(case, function, SOURCE.replace(*CHANGES[function]), "-O2").kind == "mismatch"


def test_a_narrow_argument_is_passed_as_int_without_a_prototype(case: Path) -> None:
    """The callee converts it: code that leaves that out is wrong."""
    unconverted = "low:\n\tleal\t1(%rdi), %eax\n\tretq\n"
    assert check_file(case, "low", unconverted, examples=30).kind == "mismatch"
    signatures = Reference(read_case(case), Toolchain()).signatures
    types = {name: [param.type.name for param in signatures[name].params] for name in ("blend", "with_prototype")}
    assert types == {"blend": ["double", "double", "int"], "with_prototype": ["char", "float"]}


def test_a_function_that_never_returns_a_value_returns_nothing(case: Path) -> None:
    store = "set:\n\tcmpl\t$0, (%rdi)\n\tjne\t1f\n\tmovl\t$4, (%rdi)\n1:\tmovl\t$77, %eax\n\tretq\n"
    assert check_file(case, "set", store, examples=30).passed


@pytest.mark.parametrize("function", ["low", "nested", "set", "after"])
def test_the_same_without_flags(tmp_path: Path, function: str) -> None:
    case = tmp_path / "old.c"
    case.write_text(SOURCE)
    assert judge(case, function, SOURCE, "-O2").passed
