"""Verdicts of processes that prepare functions, that find them in the cache, and that have no cache: all the same."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from caches import new_cache

from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target

CASES = Path(__file__).parents[2] / "cases"
FAULTS = ("addl", "subl"), ("jne", "je"), ("$1,", "$3,"), ("add\t", "sub\t"), ("b.ne", "b.eq"), ("#1", "#3")
FUNCTIONS = {
    "list.c": ("list_merge", "list_remove"),
    "state.c": ("ring_push", "next_id"),
    "text.c": ("repeat", "print_bar"),
    "sort.c": ("quicksort", "filter"),
    "variadic.c": ("sum_of",),
    "scalars.ll": ("median", "step"),
}


def list_candidates(target: str, files: list[str]) -> list[tuple[Path, str, str]]:
    """Right and wrong candidates: the case, the function, the text."""
    candidates = []
    for name in files:
        reference = Reference(read_case(CASES / name), Toolchain(None, get_target(target)))
        for function in FUNCTIONS[name]:
            text = reference.texts.assembly(function, "O1")
            wrong = [text.replace(old, new, 1) for old, new in FAULTS if old in text][:2]
            candidates += [(CASES / name, function, candidate) for candidate in (text, *wrong)]
    return candidates


def judge_all(candidates: list[tuple[Path, str, str]], target: str) -> list[tuple[dict[str, Any], Any]]:
    """Verdicts and reproducers, by a process that has prepared nothing."""
    judge = JudgeClient(JudgeSettings(examples=15, target=target))
    try:
        judged = [judge.judge_with_reproducer(read_case(path), name, text) for path, name, text in candidates]
    finally:
        judge.close()
    return [(one.verdict.to_json(), one.reproducer) for one in judged]


@pytest.mark.parametrize(("target", "files"), [("x86_64-linux", 6), ("aarch64-linux", 2), ("x86_64-windows", 2)])
def test_verdicts_with_and_without_the_cache(
    target: str, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = list_candidates(target, list(FUNCTIONS)[:files])
    cache = new_cache(tmp_path, monkeypatch)
    first = judge_all(candidates, target)
    assert Counter(verdict["verdict"] for verdict, _ in first).keys() >= {"pass", "mismatch"}
    stored = {path: path.stat().st_mtime_ns for path in (cache / "suites").iterdir()}
    assert len(stored) == len({(path, name) for path, name, _ in candidates})
    assert judge_all(candidates, target) == first
    assert {path.name for path in stored} == {path.name for path in (cache / "suites").iterdir()}
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMC_CACHE", os.fspath(tmp_path / "file" / "cache"))
    assert judge_all(candidates, target) == first
