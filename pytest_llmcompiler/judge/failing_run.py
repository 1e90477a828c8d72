"""A failure together with the input that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmcompiler.judge.differential import Stage
from pytest_llmcompiler.judge.divergence import Divergence
from pytest_llmcompiler.judge.failure import Failure
from pytest_llmcompiler.judge.format_c import format_input
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.values.c_types import Param
from pytest_llmcompiler.values.input import Input


@dataclass(frozen=True, kw_only=True)
class FailingRun:
    """A run that fails: the stage that found it, what it started from, the failure, and where the code diverges."""

    stage: Stage
    failure: Failure
    input: Input | None = None
    """None for a run of the whole program, which starts as a process does."""
    entry: SuiteEntry | None = None
    """The input in memory, with what the reference shows on it; None for a run of the whole program."""
    divergence: Divergence | None = None

    def format_input(self, params: Sequence[Param]) -> list[str]:
        """The input in C terms, wrapped into lines."""
        if self.input is None:
            return ["the whole program, from main on"]
        return format_input(self.input, params)
