"""The types of the fixtures in conftest.py, and where the bundled compiler keeps what it builds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import Case
from pytest_llmcompiler.program.reference import Reference

ZIG_CACHE = os.environ.get("ZIG_GLOBAL_CACHE_DIR") or str(
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zig"
)
"""pytester gives each test a home of its own, and there zig would build musl once more."""


class CaseOf(Protocol):
    def __call__(self, source: str, suffix: str = ".c") -> Case: ...


class Compile(Protocol):
    def __call__(
        self, source: str, suffix: str = ".c", clang: str | None = None, target: str = "x86_64-linux"
    ) -> Reference: ...


class Judged(Protocol):
    def __call__(self, source: str, function: str, assembly: str) -> Verdict: ...
