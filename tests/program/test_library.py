"""The C library beside a program, and the list of glibc's names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.glibc import load_names
from pytest_llmcompiler.program.library import may_define
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target

LIBRARIES = [path for name in ("libc.so.6", "libm.so.6") for path in Path("/lib/x86_64-linux-gnu").glob(name)]


@pytest.mark.parametrize("target", ["x86_64-linux", "aarch64-linux"])
def test_the_library_has_what_the_list_says(tmp_path: Path, target: str) -> None:
    path = tmp_path / "case.c"
    path.write_text("int f(int x) { return x; }\n", encoding="utf-8")
    reference = Reference(read_case(path), Toolchain(target=get_target(target)))
    program, golden = reference.golden_with_library, reference.golden
    names = load_names()
    assert (names.available | names.aliases.keys()) - program.addresses.keys() == set()
    assert all(may_define(name, program.target) for name in program.addresses.keys() - golden.addresses.keys())
    assert not may_define("no_such_function", program.target)
    # The program's own part is the golden program, unchanged.
    assert program.segments[: len(golden.segments)] == golden.segments
    assert {name: program.addresses[name] for name in golden.addresses} == golden.addresses
    assert program.library["stdout"] == golden.library["stdout"]


@pytest.mark.skipif(not LIBRARIES or not shutil.which("nm"), reason="no glibc or no nm here")
def test_the_list_is_complete() -> None:
    output = subprocess.run(["nm", "-D", "--defined-only", *LIBRARIES], capture_output=True, text=True, check=True)
    symbols = (line.split() for line in output.stdout.splitlines() if "GLIBC_PRIVATE" not in line)
    exported = {fields[2].partition("@")[0] for fields in symbols if len(fields) == 3 and fields[1] != "A"}
    names = load_names()
    assert len(exported) > 2000
    assert exported - names.available - names.aliases.keys() - names.lacking == set()


def test_the_kinds_that_headers_and_compilers_name_are_covered() -> None:
    names = load_names()
    lacking = {
        name
        for name in names.lacking
        if name.endswith("_chk") or name.startswith(("__ctype_", "__isoc", "__assert", "__stack_chk", "_setjmp"))
    }
    # Functions on types that the bundled C library does not have, and variables of a glibc before 2002.
    assert lacking == {
        "__obstack_printf_chk",
        "__obstack_vprintf_chk",
        "__wcslcat_chk",
        "__wcslcpy_chk",
        "__ctype_b",
        "__ctype_tolower",
        "__ctype_toupper",
    }
    assert names.aliases["__isoc23_strtol"] == "strtol" and names.aliases["__exp_finite"] == "exp"
