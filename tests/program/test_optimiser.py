"""The optimiser: pass lists, and the IR that it returns."""

from __future__ import annotations

import re

import pytest
from faces import Compile
from sources import TWICE_IR

from pytest_llmcompiler.errors import (
    CaseError,
    OptimiserError,
    PassListError,
)
from pytest_llmcompiler.lowering.canonical import strip_assembly
from pytest_llmcompiler.program.optimiser import optimise, print_optimised
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target


def test_the_optimiser_is_clang_s(lfs: Reference) -> None:
    for function in lfs.functions:
        assert lfs.texts.optimised_ir(function, "O0") == lfs.texts.ir(function)
        ours, clangs = (
            strip_assembly(text, get_target().dialect)
            for text in (lfs.texts.lowered_assembly(function, "O2"), lfs.texts.assembly(function, "O2"))
        )
        assert ours == clangs


def test_pass_lists_have_several_spellings(lfs: Reference) -> None:
    texts = {lfs.texts.optimised_ir("consume_line", passes) for passes in ("Oz", "default<Oz>", "module(default<Oz>)")}
    assert len(texts) == 1 and texts != {lfs.texts.optimised_ir("consume_line", "O2")}
    assert "alloca" not in lfs.texts.optimised_ir("consume_line", "mem2reg")


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("instcombin", "unknown pass name 'instcombin'"),
        ("function(sroa,gvnn)", "unknown function pass 'gvnn'"),
        ("function(sroa", "invalid pipeline 'function(sroa'"),
        ("loop(function(sroa))", "invalid use of 'function' pass as loop pipeline"),
        ("default<O2", "unknown pass name 'default<O2'"),
        ("default<O9>", "invalid optimization level 'O9'"),
        ("sroa, gvn", "unknown function pass ' gvn'"),
        (" ", "an empty pass list"),
        ("x" * 20_000, "at most 16384 characters"),
        ("function(dot-cfg)", "reaches out of the compiler"),
        ("memprof-use<profile-filename=/etc/passwd>", "reads or writes a file"),
    ],
)
def test_pass_lists_that_llvm_does_not_know(passes: str, message: str) -> None:
    with pytest.raises(PassListError, match=re.escape(message)):
        optimise(TWICE_IR, passes)


def test_passes_that_do_not_end(lfs: Reference) -> None:
    with pytest.raises(OptimiserError, match="not finished after 1 s"):
        optimise(lfs.texts.ir("parse_diff"), "default<O3>," * 1000 + "default<O3>", seconds=1)
    with pytest.raises(OptimiserError, match="LLVM does not get through the passes"):
        optimise(TWICE_IR, "default<O3>", megabytes=64)


def test_what_opt_prints_keeps_its_order(compiled: Compile) -> None:
    reference = compiled(
        "#include <string.h>\nextern int last, first;\nint f(char *s) { return last + strlen(s) + first; }"
    )
    before = reference.texts.ir("f")
    after = print_optimised(optimise(before, "O2"), before, get_target())
    names = [re.findall(r"^(?:@|define .*@|declare .*@)(\w+)", text, re.M) for text in (before, after)]
    assert names[0] == names[1] == ["last", "first", "f", "strlen"]
    assert "\nsource_filename = " in f"\n{after}"


def test_a_pass_list_of_the_user_s_that_llvm_does_not_know(lfs: Reference) -> None:
    with pytest.raises(CaseError, match=r"git_lfs\.c: pass list 'instcombin': unknown pass name 'instcombin'"):
        lfs.texts.optimised_ir("validate", "instcombin")
