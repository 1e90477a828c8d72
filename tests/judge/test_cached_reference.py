"""Compiled cases on disk: a function that was prepared once is judged again without a call of any tool."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from caches import new_cache

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program import cached_reference
from pytest_llmcompiler.program.cached_reference import CachedReference
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import FlagSources
from pytest_llmcompiler.program.flag_words import parse_flags
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.values.c_types import Struct
from pytest_llmcompiler.values.pickled import PickleFormat

CASE = r"""
#include <stdlib.h>
#include <string.h>
#include "pair.h"
// LLMC: link "helper.c"
extern int helper(int);
static struct pair *spare;
static int mode;
void start(int fast) { mode = fast ? 1 : 0; }
int taken(struct pair *pair, const char *text, int (*map)(int)) {
    if (!pair) return mode;
    spare = pair->next;
    return pair->value + (int)strlen(text) + map(pair->value) + helper(mode);
}
struct pair *made(int value) {
    struct pair *pair = malloc(sizeof *pair);
    if (pair) pair->value = value + BONUS, pair->next = spare;
    return pair;
}
"""
HEADER = "struct pair { struct pair *next; int value; };\n#ifndef BONUS\n#define BONUS 1\n#endif\n"
HELPER = "static int calls; int helper(int x) { return x + ++calls; }\n"
SETTINGS = JudgeSettings(examples=12)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cached_reference, "_CLOCK_TICK", 0)  # the files of these tests are just written
    return new_cache(tmp_path, monkeypatch)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "pair.h").write_text(HEADER)
    (folder / "helper.c").write_text(HELPER)
    (folder / "case.c").write_text(CASE)
    return folder / "case.c"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that this process runs."""
    seen: list[str] = []
    original: Callable[..., Any] = subprocess.Popen.__init__

    def start(process: Any, command: Any, *args: Any, **kwargs: Any) -> None:
        if "engine" not in str(command):  # the engine's server is no tool
            seen.append(str(command))
        original(process, command, *args, **kwargs)

    monkeypatch.setattr(subprocess.Popen, "__init__", start)
    return seen


def flags(case: Path, text: str = "") -> FlagSources:
    return FlagSources((parse_flags(f"-I{case.parent / 'include'} {text}", case.parent, "test"),))


def open_reference(case: Path, text: str = "") -> CachedReference:
    return CachedReference(read_case(case, flag_sources=flags(case, text)), Toolchain())


def prepare(case: Path, text: str = "", function: str = "made") -> Harness:
    harness = Harness(open_reference(case, text), function, SETTINGS)
    assert harness.find_unjudgeable_reason() is None
    return harness


def faulty(text: str) -> list[str]:
    faults = ("addl", "subl"), ("movq", "movl"), ("$1,", "$2,"), ("ret", "hlt"), ("movl", "movq")
    return [text.replace(old, new, 1) for old, new in faults if old in text]


@pytest.mark.parametrize("function", ["taken", "made"])
def test_verdicts_are_the_same_and_no_tool_is_called(case: Path, cache: Path, tools: list[str], function: str) -> None:
    plain = Reference(read_case(case, flag_sources=flags(case)), Toolchain())
    text = plain.texts.assembly(function, "O1")
    fresh = [Harness(plain, function, SETTINGS).judge(candidate) for candidate in (text, *faulty(text))]
    assert fresh[0].passed
    assert len({verdict.kind for verdict in fresh}) > 1
    prepare(case, function=function)
    tools.clear()
    cached = prepare(case, function=function)
    assert cached.judge(text) == fresh[0]
    assert not tools
    assert [cached.judge(candidate) for candidate in (text, *faulty(text))] == fresh
    tools.clear()
    again = prepare(case, function=function)
    assert [again.judge(candidate) for candidate in (text, *faulty(text))] == fresh
    assert not tools, "what explanations need is stored by the first process that explains"


def test_a_case_with_vectors_is_read_from_the_cache(cache: Path, tools: list[str], tmp_path: Path) -> None:
    path = tmp_path / "vectors.c"
    path.write_text(
        "typedef int four __attribute__((vector_size(16)));\nint first(const four *v, int n) { return (*v)[n & 3]; }\n"
    )
    for is_cached in (False, True):
        tools.clear()
        harness = Harness(CachedReference(read_case(path), Toolchain()), "first", SETTINGS)
        assert harness.find_unjudgeable_reason() is None
        assert bool(tools) == (not is_cached)


def test_parts_are_the_same_as_without_the_cache(case: Path, cache: Path, tools: list[str]) -> None:
    plain = Reference(read_case(case, flag_sources=flags(case)), Toolchain())
    prepare(case)
    tools.clear()
    cached = open_reference(case)
    assert cached.golden == plain.golden
    assert cached.ir == plain.ir
    assert cached.program_ir == plain.program_ir
    assert cached.source_files == plain.source_files
    assert cached.fingerprint == plain.fingerprint
    assert cached.functions == plain.functions
    assert cached.symbol_facts == plain.symbol_facts
    described = [list(PickleFormat((), one.signatures.values()).describe()) for one in (cached, plain)]
    assert described[0] == described[1]
    assert list(cached.variables) == list(plain.variables)
    pointee = cached.signatures["made"].result.target  # type: ignore[union-attr]
    assert isinstance(pointee, Struct)
    assert pointee.fields[0].type.target is pointee  # type: ignore[union-attr]


def change_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


CHANGES: dict[str, Callable[[Path], object]] = {
    "the case": lambda case: change_text(case, "value + BONUS", "value - BONUS"),
    "a comment": lambda case: change_text(case, "static int mode;", "static int mode; // x"),
    "a header": lambda case: change_text(case.parent / "include" / "pair.h", "BONUS 1", "BONUS 2"),
    "a linked file": lambda case: change_text(case.parent / "helper.c", "++calls", "--calls"),
    "a header that hides another": lambda case: (case.parent / "pair.h").write_text(HEADER.replace("S 1", "S 7")),
    "a header that is gone": lambda case: (case.parent / "include" / "pair.h").rename(case.parent / "pair.h"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(case: Path, cache: Path, tools: list[str], change: str) -> None:
    prepare(case)
    CHANGES[change](case)
    tools.clear()
    cached = prepare(case)
    assert tools
    plain = Reference(read_case(case, flag_sources=flags(case)), Toolchain())
    assert cached.reference.program_ir == plain.program_ir


def test_a_flag_and_a_folder_are_noticed(case: Path, cache: Path, tools: list[str], tmp_path: Path) -> None:
    prepare(case)
    tools.clear()
    assert prepare(case, "-DBONUS=3").judge(verdict_text(case)).kind == "mismatch"
    assert tools
    case.parent.rename(tmp_path / "elsewhere")
    tools.clear()
    prepare(tmp_path / "elsewhere" / "case.c")
    assert tools


def verdict_text(case: Path) -> str:
    return Reference(read_case(case, flag_sources=flags(case)), Toolchain()).texts.assembly("made", "O1")


def test_a_case_without_headers_of_its_own_can_lie_anywhere(tmp_path: Path, cache: Path, tools: list[str]) -> None:
    """The source text of `check` is a file in a new folder in each process."""
    source = "#include <assert.h>\nint half(int x) { assert(x > -9); return x / 2; }\n"
    for folder in "one", "two":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "case.c").write_text(source)
        tools.clear()
        harness = Harness(CachedReference(read_case(tmp_path / folder / "case.c"), Toolchain()), "half", SETTINGS)
        assert harness.find_unjudgeable_reason() is None
        assert bool(tools) is (folder == "one")
        assert harness.reference.source_files == (tmp_path / folder / "case.c",)


@pytest.mark.parametrize("text", ["__TIME__[0]", "__has_include(<x.h>)"])
def test_what_the_text_alone_does_not_say_is_not_stored(tmp_path: Path, cache: Path, text: str) -> None:
    path = tmp_path / "case.c"
    path.write_text(f"#define X {text}\nint half(int x) {{ return x / 2; }}\n")
    reference = CachedReference(read_case(path), Toolchain())
    assert Harness(reference, "half", SETTINGS).find_unjudgeable_reason() is None
    assert not (cache / "cases").exists()


def test_a_file_that_changes_while_it_is_compiled_is_not_stored(case: Path, cache: Path) -> None:
    reference = open_reference(case)
    assert reference.ir
    (case.parent / "include" / "pair.h").write_text(HEADER + "\n")
    assert Harness(reference, "made", SETTINGS).find_unjudgeable_reason() is None
    assert not (cache / "cases").exists()


def test_damaged_files_are_written_anew(case: Path, cache: Path, tools: list[str]) -> None:
    first: Verdict = prepare(case).judge("made:\n ret\n")
    [path] = (cache / "cases").iterdir()
    good = path.read_bytes()
    middle = len(good) // 2
    for data in (b"", good[:-1], good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]):
        path.write_bytes(data)
        tools.clear()
        assert prepare(case).judge("made:\n ret\n") == first
        assert tools
        assert len(path.read_bytes()) == len(good)
