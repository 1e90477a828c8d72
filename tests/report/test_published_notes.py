"""The lines about published tests below the table."""

from __future__ import annotations

from typing import Any

from pytest_llmcompiler.report.published_notes import published_lines
from pytest_llmcompiler.report.records import Record


def record(verdict: str, holds: bool | None, sample: int = 0, **detail: Any) -> Record:
    """A record of an answer to one question; `holds` is None where the answer did not run in the tests."""
    published = {} if holds is None else {"published": {"tests": "asserts", "holds": holds}}
    return {
        "case": "a.c",
        "function": "f",
        "task": "asm",
        "passes": "O0",
        "sample": sample,
        "answer": "",
        "verdict": verdict,  # type: ignore[typeddict-item]
        "detail": {"message": "wrong", **published, **detail},  # type: ignore[typeddict-item]
    }


def test_nothing_is_said_without_tests() -> None:
    assert published_lines([record("pass", None), record("assemble", None)]) == []


def test_what_tests_miss_is_shown_with_its_input() -> None:
    records = [
        record("pass", True),
        record("mismatch", True, 1, input=["a = 1,", "   b = {2,", "3}"]),
        record("mismatch", False),
        record("inconclusive", True),
        record("assemble", None),
    ]
    assert published_lines(records) == [
        "published tests: 3 of 4 answers that ran pass them; 1 of these fail here:",
        "  a.c::f[asm-O0] sample 1: mismatch: wrong on a = 1, b = {2, 3}",
    ]


def test_only_some_are_shown() -> None:
    lines = published_lines([record("crash", True, number) for number in range(8)])
    assert lines[0] == "published tests: 8 of 8 answers that ran pass them; 8 of these fail here:"
    assert [line.split()[2] for line in lines[1:6]] == ["0:", "1:", "2:", "3:", "4:"]
    assert lines[6:] == ["  and 3 more"]


def test_tests_that_the_reference_fails() -> None:
    assert published_lines([record("pass", False), record("pass", False, 1), record("mismatch", False)]) == [
        "published tests: 0 of 3 answers that ran pass them; 0 of these fail here",
        "  2 that pass here fail the published tests, as the reference itself does, in 1 function: a.c::f",
    ]
