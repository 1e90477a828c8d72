"""Lowering of IR to assembly, and the map from lines of assembly to lines of IR."""

from __future__ import annotations

import re

import pytest
from sources import TWICE_IR

from pytest_llmcompiler.errors import (
    LoweringError,
)
from pytest_llmcompiler.lowering.canonical import strip_ir
from pytest_llmcompiler.lowering.line_map import map_assembly_lines
from pytest_llmcompiler.lowering.lower import lower_module
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("define i32 @f() {\n  ret i64 0\n}\n", "value doesn't match function result type 'i32'", 2),
        ("define void @f() {\n  %a = add i32 1, 1\n  store i32 %a, ptr null\n", "found end of file when expecting", 4),
        ("define i32 @f() {\n  br label %b\n\nb:\n  %a = phi i32 [ 1, %b ]\n  ret i32 %a\n}\n", "PHI node entries do not match", 5),
        ("module asm \".incbin \\22/etc/passwd\\22\"\n", "Could not find incbin file", 0),
        ("target triple = \"x86_64-pc-windows-msvc\"\n", "its target triple is 'x86_64-pc-windows-msvc'", 0),
        ("%t = type { %t }\n@g = global %t zeroinitializer\n", "identified structure type 't' is recursive", 2),
        ("@a = global " + "[" * 50_000, "expected", 1),
    ],
)  # fmt: skip
def test_ir_that_llvm_refuses(text: str, message: str, line: int) -> None:
    with pytest.raises(LoweringError, match=re.escape(message)) as refused:
        lower_module(text, None, get_target())
    assert refused.value.line == line


@pytest.mark.parametrize("passes", ["O0", "Oz"])
def test_most_lines_of_assembly_have_an_origin(lfs: Reference, passes: str) -> None:
    for function in lfs.functions:
        text, assembly = lfs.texts.optimised_ir(function, passes), lfs.texts.lowered_assembly(function, passes)
        origins = map_assembly_lines(text, passes, assembly, get_target())
        lines, written = text.split("\n"), assembly.split("\n")
        assert len(origins) > 0.7 * len(re.findall(r"^\t[a-z]", assembly, re.M))
        returns = [origin for number, origin in origins.items() if written[number - 1].startswith("\tretq")]
        assert returns and all(lines[origin - 1].startswith("  ret ") for origin in returns)


def test_ir_with_debug_information_has_no_origins() -> None:
    assembly = lower_module(TWICE_IR, None, get_target()).assembly
    assert set(map_assembly_lines(TWICE_IR, None, assembly, get_target()).values()) == {2, 3}
    assert map_assembly_lines(TWICE_IR.replace(", 1", ", 1, !dbg !1"), None, assembly, get_target()) == {}
    assert map_assembly_lines(TWICE_IR.replace("shl", "lshr"), None, assembly, get_target()) == {}


def test_an_answer_with_many_faults_or_blanks_takes_no_long_time() -> None:
    assert strip_ir(" " * 300_000 + "x") == " " * 300_000 + "x"
    faults = "".join(f"  %a{n} = add i32 %b{n}, 1\n  %b{n} = add i32 %a{n}, 1\n" for n in range(5_000))
    with pytest.raises(LoweringError):
        lower_module(f"define void @f() {{\n{faults}  ret void\n}}\n", None, get_target())
