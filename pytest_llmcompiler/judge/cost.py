"""How good a right answer is: what it costs, beside what clang's own code of the same function costs.

Nothing is timed. The engine counts the instructions of the runs that show that a candidate passes; inputs that it
leaves are run again in a child process with a counter. What clang's code costs is found when the first candidate for a
function passes, and kept with its suite.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, get_args

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.emulator.engine_server import EngineResult
from pytest_llmcompiler.emulator.instruction_counter import InstructionCounter
from pytest_llmcompiler.errors import CaseError, ChildDiedError, ChildLostError, ChildTimeoutError, ClangError, IRError
from pytest_llmcompiler.judge.code_cost import CostCounts, measure_bytes
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.suite import Suite
from pytest_llmcompiler.program.clang import OptimisationLevel
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.program.tool_run import Background
from pytest_llmcompiler.targets.code import AssemblerName

LEVELS: tuple[OptimisationLevel, ...] = get_args(OptimisationLevel)
_NO_CODE = ClangError, CaseError, IRError
"""What is raised where clang does not compile a function at a level: a user's IR may have what it can't optimise."""
_SECONDS, _MEGABYTES = 120, 16_384
"""Limits of the child that counts: those of one that runs a candidate."""


def compile_levels(reference: Reference, function: str) -> Iterator[tuple[OptimisationLevel, str]]:
    """clang's own assembly of a function at each level at which it compiles. All levels are compiled side by side."""
    works: dict[OptimisationLevel, Background[str]] = {}
    for level in LEVELS:
        with suppress(*_NO_CODE):
            works[level] = Background(functools.partial(reference.texts.start_level, function, level))
    for level, work in works.items():
        with suppress(*_NO_CODE):
            text = work.result()
            yield level, text


def describe_costs(own: CostCounts, references: Mapping[str, CostCounts]) -> dict[str, Any]:
    """The fact `cost` of a verdict."""
    return {"cost": own.to_json() | {"references": {level: cost.to_json() for level, cost in references.items()}}}


class PassingRun(NamedTuple):
    """The runs of a candidate that passes the suite, with what the engine says of it; None where it can't run it."""

    differential: DifferentialRun
    engine: EngineResult | None


class CostMeter:
    """Measures the candidates for one function that pass. `run` runs a text; it returns None where that does not
    pass, and raises ChildLostError."""

    def __init__(self, suite: Suite, assembler: AssemblerName, run: Callable[[str], PassingRun | None]) -> None:
        self._suite, self._assembler, self._run = suite, assembler, run

    def describe(self, passing: PassingRun) -> dict[str, Any]:
        """The fact `cost` of the verdict on a candidate; empty where its instructions can't be counted, and for a suite
        of chosen inputs alone."""
        if self._suite.is_restricted:
            return {}
        own = None
        with suppress(ChildLostError):
            own = self._measure(passing)
        return describe_costs(own, self._references) if own else {}

    @functools.cached_property
    def _references(self) -> Mapping[str, CostCounts]:
        return self._suite.reference_costs(self._assembler, self._measure_references)

    def _measure_references(self) -> dict[str, CostCounts | None]:
        """What clang's own code costs at each level; None for code that does not pass, or whose instructions can't be
        counted. Missing are levels at which it does not compile, and what the machine kept from being measured."""
        costs: dict[str, CostCounts | None] = {}
        for level, text in compile_levels(self._suite.under_test.reference, self._suite.under_test.function):
            with suppress(ChildLostError):
                passing = self._run(text)
                costs[level] = self._measure(passing) if passing else None
        return costs

    def _measure(self, passing: PassingRun) -> CostCounts | None:
        """What a candidate costs; None where its instructions can't be counted. Raises ChildLostError."""
        under_test, candidate = self._suite.under_test, passing.differential.candidate
        instructions = None
        if not under_test.native.applies_to(candidate):
            instructions = self._count(passing)
            if instructions is None:
                return None
        others = under_test.reference.signatures.keys() - {under_test.function}
        return CostCounts(instructions, measure_bytes(candidate, others, under_test.reference.target.processor))

    def _count(self, passing: PassingRun) -> int | None:
        """The instructions that a candidate executes on the suite, as the emulator counts them; None where it gives up
        on the candidate. Raises ChildLostError."""
        differential, engine = passing
        entries = range(len(self._suite.corpus.entries)) if engine is None else engine.uncounted
        counted = engine.instructions if engine else 0
        if not entries:
            return counted
        self._suite.under_test.prepare_machine()
        self._suite.prepare_to_run()
        with suppress(ChildDiedError, ChildTimeoutError):
            rest = sandbox.call(_count_runs, differential, entries, seconds=_SECONDS, megabytes=_MEGABYTES)
            return counted + int(rest)
        return None


def _count_runs(differential: DifferentialRun, numbers: Sequence[int]) -> int:
    """The instructions of the runs on some inputs of the suite. The candidate's code is hostile: only a child process
    may call this."""
    entries = list(differential.suite.corpus.entries.values())
    counter = InstructionCounter(differential.machine)
    for entry in (entries[number] for number in numbers):
        differential.machine.run(entry.layout, entry.call, entry.limit, outcome_only=True)
    return counter.total
