"""The types of the fixtures in conftest.py."""

from __future__ import annotations

from typing import Protocol

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import Case
from pytest_llmcompiler.program.reference import Reference


class CaseOf(Protocol):
    def __call__(self, source: str, suffix: str = ".c") -> Case: ...


class Compile(Protocol):
    def __call__(
        self, source: str, suffix: str = ".c", clang: str | None = None, target: str = "x86_64-linux"
    ) -> Reference: ...


class Judged(Protocol):
    def __call__(self, source: str, function: str, assembly: str) -> Verdict: ...
