"""On how many inputs of its suite a candidate that fails agrees with the reference."""

from __future__ import annotations

from pytest_llmcompiler.emulator.engine_server import EngineResult
from pytest_llmcompiler.judge.differential import DifferentialRun

_BUDGET = 30_000_000
"""Most bytes of code that the runs may execute, about a second of them. A candidate that hangs runs up to the limit of
each input."""


def count_agreeing(differential: DifferentialRun, engine: EngineResult | None) -> int | None:
    """The number of inputs on which a candidate agrees; None where counting them takes too long.

    The `engine` has shown it for all but those that it left, so only these are run. Only a child process may call this
    where that is done by a machine: the candidate's code is hostile.
    """
    entries = list(differential.suite.corpus.entries.values())
    left = engine.left if engine else range(len(entries))
    agreeing, budget = len(entries) - len(left), _BUDGET
    for index in left:
        if engine and index in engine.breaches:
            continue
        failure = differential.failure(entries[index], differential.suite.list_fills(index))
        is_hang = failure is not None and failure.kind == "hang"
        budget -= entries[index].limit if is_hang else entries[index].expected.executed_bytes
        if budget < 0:
            return None
        agreeing += failure is None
    return agreeing
