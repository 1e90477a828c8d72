"""Whole suites on disk: reading one runs nothing, and verdicts are the same with and without it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from caches import new_cache
from faces import Compile

from pytest_llmcompiler import cache_files
from pytest_llmcompiler.cache_files import CacheFile
from pytest_llmcompiler.emulator import engine_server
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.judge import suite_files, suite_store
from pytest_llmcompiler.judge.engine_suite import ImageKind, build_image
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.oracle import Oracle
from pytest_llmcompiler.judge.suite import Suite
from pytest_llmcompiler.judge.verdict import Verdict

SOURCE = r"""
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
struct pair { int first; struct pair *next; double weight; };
static int calls;
int measure(const char *text);
struct pair *prepend(struct pair *list, int first) {
    struct pair *new = malloc(sizeof *new);
    calls++;
    if (!new) return list;
    new->first = first, new->next = list, new->weight = 0.5;
    return new;
}
int words(const char *text, int (*accepts)(int)) {
    int count = 0;
    for (; *text; text++) count += isalpha((unsigned char)*text) ? accepts(*text) : measure(text);
    return count + calls;
}
struct pair summed(const struct pair *pairs, unsigned count) {
    struct pair sum = {0, 0, 0};
    for (unsigned i = 0; i < count; i++) sum.first += pairs[i].first, sum.weight += pairs[i].weight;
    return sum;
}
void cleared(char *buffer, int size) { memset(buffer, 0, size); }
"""
FUNCTIONS = ("prepend", "words", "summed", "cleared")
FAULTS = (("addl", "subl"), ("movl\t$1,", "movl\t$2,"), ("(%r", "4(%r"), ("memset", "memchr"))
SETTINGS = JudgeSettings(examples=15)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return new_cache(tmp_path, monkeypatch)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The machines that are opened, and the inputs that an oracle is asked about, in this process."""
    seen: list[str] = []

    def record(owner: type, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    record(Machine, "__init__")
    record(Oracle, "accept")
    return seen


def faulty(text: str) -> list[str]:
    """The text with faults, each in the first place where it fits."""
    return [text.replace(old, new, 1) for old, new in FAULTS if old in text]


def judge_all(harness: Harness, text: str) -> list[Verdict]:
    return [harness.judge(candidate) for candidate in (text, *faulty(text))]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_verdicts_are_the_same_without_a_run_from_the_cache(
    compiled: Compile, cache: Path, runs: list[str], function: str
) -> None:
    text = compiled(SOURCE).texts.assembly(function, "O1")
    cold = Harness(compiled(SOURCE), function, SETTINGS)
    fresh = judge_all(cold, text)
    assert fresh[0].passed
    assert not all(verdict.passed for verdict in fresh)
    runs.clear()
    cached = Harness(compiled(SOURCE), function, SETTINGS)
    assert cached.find_unjudgeable_reason() is None
    assert cached.judge(text) == fresh[0]
    assert not runs, "nothing runs in this process: the candidate runs in a child"
    assert judge_all(cached, text) == fresh
    assert [repr(entry) for entry in cached.corpus.entries] == [repr(entry) for entry in cold.corpus.entries]


def test_an_entry_is_the_same_from_the_cache(compiled: Compile, cache: Path) -> None:
    program = compiled(SOURCE)
    cold, cached = (Harness(program, "prepend", SETTINGS).corpus.entries for _ in range(2))
    assert list(cold) == list(cached)
    for input, entry in cold.items():
        other = cached[input]
        assert entry is not other
        assert (entry.expected, entry.call, entry.layout, entry.limit, entry.dont_care, entry.bug) == (
            *(other.expected, other.call, other.layout, other.limit, other.dont_care, other.bug),
        )


def test_the_image_of_the_engine_is_kept(compiled: Compile, cache: Path, runs: list[str]) -> None:
    suites = [Suite(FunctionUnderTest(compiled(SOURCE), "prepend"), 15, 1) for _ in range(3)]
    build = functools.partial(build_image, kind=ImageKind())
    first = suites[0].image(build)
    [path] = (cache / "images").iterdir()
    assert path.stat().st_size < len(first) / 4, "what the program has is not stored again"
    runs.clear()
    assert suites[1].image(build) == first
    assert not runs
    path.write_bytes(bytes(100))
    assert suites[2].image(build) == first
    assert path.stat().st_size < len(first) / 4
    few = suites[0].restrict(list(suites[0].corpus.entries)[:3])
    assert len(few.image(build)) < len(first)
    assert len(list((cache / "images").iterdir())) == 1


def test_a_function_that_is_never_defined_is_remembered(compiled: Compile, cache: Path, runs: list[str]) -> None:
    source = "int never(int x) { return *(volatile int *)0 + x; }"
    first = Harness(compiled(source), "never", SETTINGS).find_unjudgeable_reason()
    assert first
    runs.clear()
    assert Harness(compiled(source), "never", SETTINGS).find_unjudgeable_reason() == first
    assert not runs


CHANGES = {
    "a flag of the optimiser": {"cflags": ("-fno-strict-aliasing",)},
    "a comment": {"source": SOURCE + "// more\n"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_gives_another_suite_of_the_same_inputs(
    compiled: Compile, cache: Path, runs: list[str], tmp_path: Path, change: str
) -> None:
    first = Harness(compiled(SOURCE), "cleared", SETTINGS)
    inputs = list(first.corpus.entries)
    [before] = (cache / "suites").iterdir()
    runs.clear()
    source = CHANGES[change].get("source", SOURCE)
    flags = " ".join(CHANGES[change].get("cflags", ()))
    other = Harness(compiled(f"{source}\n// LLMC: cflags {flags}\n" if flags else str(source)), "cleared", SETTINGS)
    assert list(map(repr, other.corpus.entries)) == list(map(repr, inputs))
    assert "accept" in runs
    assert len(list((cache / "suites").iterdir())) == 2
    assert len(list((cache / "corpora").iterdir())) == 1
    assert before.exists()


def test_a_machine_without_the_engine_has_suites_of_its_own(
    compiled: Compile, cache: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = compiled(SOURCE).texts.assembly("summed", "O1")

    def find_none() -> Path:
        raise EngineError("no compiler")

    def count_files() -> list[int]:
        return [len(list((cache / kind).iterdir())) for kind in ("suites", "corpora")]

    first = Harness(compiled(SOURCE), "summed", SETTINGS).judge(text)
    assert "adequacy" in first.detail
    assert count_files() == [1, 1]
    with monkeypatch.context() as patched:
        patched.setattr(engine_server, "server_path", find_none)
        patched.setattr(engine_server, "_SERVER", engine_server._Server())
        without = Harness(compiled(SOURCE), "summed", SETTINGS).judge(text)
        assert without.passed
        assert "adequacy" not in without.detail, "faults are seeded with the engine, so the inputs are other ones"
    assert count_files() == [2, 2]
    runs.clear()
    assert Harness(compiled(SOURCE), "summed", SETTINGS).judge(text) == first
    assert "accept" not in runs


def test_another_text_of_the_package_has_other_suites(
    compiled: Compile, cache: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compiled(SOURCE)
    Harness(program, "cleared", SETTINGS).find_unjudgeable_reason()
    monkeypatch.setattr(suite_store, "describe_package", lambda: "another")
    suite_files._FORMATS.clear()
    runs.clear()
    Harness(program, "cleared", SETTINGS).find_unjudgeable_reason()
    suite_files._FORMATS.clear()
    assert "accept" in runs


def test_damaged_files_are_written_anew(compiled: Compile, cache: Path, runs: list[str]) -> None:
    program = compiled(SOURCE)
    first = list(Harness(program, "cleared", SETTINGS).corpus.entries)
    [path] = (cache / "suites").iterdir()
    good = path.read_bytes()
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    for data in (b"", good[:-1], flipped, bytes(len(good))):
        path.write_bytes(data)
        runs.clear()
        assert list(Harness(program, "cleared", SETTINGS).corpus.entries) == first
        assert runs
        assert path.read_bytes() == good


def test_a_folder_that_can_only_be_read(
    compiled: Compile, cache: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compiled(SOURCE)
    first = list(Harness(program, "cleared", SETTINGS).corpus.entries)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError

    monkeypatch.setattr(cache_files.os, "utime", refuse)
    monkeypatch.setattr(cache_files.tempfile, "NamedTemporaryFile", refuse)
    runs.clear()
    assert list(Harness(program, "cleared", SETTINGS).corpus.entries) == first
    assert not runs
    assert list(Harness(program, "cleared", JudgeSettings(examples=14)).corpus.entries)


def test_large_files_are_deleted_first_to_be_forgotten(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_files, "MAX_FOLDER_BYTES", 10_000)
    written = [CacheFile("some", [str(number)]) for number in range(4)]
    for number, file in enumerate(written):
        file.write(bytes(3_000))
        if file.path.exists():
            os.utime(file.path, (number, number))
    assert [file.read() is not None for file in written] == [False, False, False, True]
