"""Cases that are not UTF-8, in their text or in their names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from sessions import assert_no_traceback, records, replay, run, text_of

from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

SOURCE = (
    b'/* na\xefve */\n#include "h.h"\nstatic const char name[] = "caf\xe9";\n'
    b"int letter(int i) { return (unsigned char)name[i & 3]; } // \xff\n"
    b"int other(int x) { /* \xe4\xf6 */ return x + K; }\n"
)
OTHER = "other:\n\tleal\t3(%rdi), %eax\n\tretq\n"
WRONG = "other:\n\tleal\t4(%rdi), %eax\n\tretq\n"


def write_case(folder: Path, name: bytes, source: bytes = SOURCE) -> None:
    path = folder / "cases" / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(source)
    path.with_name("h.h").write_bytes(b"// \xe9\n#define K 3\n")


def test_latin_1_in_comments_and_strings(project: pytest.Pytester) -> None:
    (project.path / "cases/a.c").unlink()
    write_case(project.path, b"a.c")
    model = replay(project, ("other", WRONG), ("letter", "letter:\n\tmovl\t$0xe9, %eax\n\tretq\n"))
    flags = ("--llmc-record=out.jsonl", "--llmc-artifacts=kept", "--llmc-report=page.html")
    result = run(project, model, *flags)
    result.assert_outcomes(failed=2)
    assert_no_traceback(result)
    assert {line["function"]: line["verdict"] for line in records(project.path / "out.jsonl")} == {
        "other": "mismatch",
        "letter": "mismatch",
    }
    kept = [path for path in (project.path / "kept").rglob("*") if path.suffix == ".c"]
    assert kept
    shown = Reference(read_case(project.path / "cases/a.c"), Toolchain()).texts.c_source("letter")
    assert '"café"' in shown and "// ÿ" in shown and "int other(int x);" in shown


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are Unicode")
def test_names_of_files_that_are_not_utf_8(project: pytest.Pytester) -> None:
    (project.path / "cases/a.c").unlink()
    write_case(project.path, b"d\xe9 r/n \xe9 c.c")
    write_case(project.path, b"bad\xe9.c", b"int f(int x) { return y; }\n")
    result = run(project, "--llmc-model=reference", "-v", "--llmc-record=out.jsonl", "--junitxml=out.xml")
    result.assert_outcomes(passed=2, failed=1)
    assert_no_traceback(result)
    assert r"cases/d\xe9 r/n \xe9 c.c::other[asm-O0] PASSED" in text_of(result)
    result.stdout.fnmatch_lines(["1 file could not be compiled:"])
    assert {line["case"] for line in records(project.path / "out.jsonl")} == {r"d\xe9 r/n \xe9 c.c"}


def test_ir_with_bytes_beyond_ascii(project: pytest.Pytester) -> None:
    (project.path / "cases/a.c").unlink()
    source = (
        b'; caf\xe9\n@s = constant [4 x i8] c"a\xe9b\\00"\ndefine i8 @f(i64 %i) {\n  %j = and i64 %i, 3\n'
        b"  %p = getelementptr [4 x i8], ptr @s, i64 0, i64 %j\n  %v = load i8, ptr %p\n  ret i8 %v\n}\n"
    )
    write_case(project.path, b"a.ll", source)
    run(project, "--llmc-model=reference").assert_outcomes(passed=1)
