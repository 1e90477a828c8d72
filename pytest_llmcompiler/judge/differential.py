"""The differential run of one candidate: it runs on the inputs of the suite, and each run is compared with the
reference's."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pytest_llmcompiler.emulator.engine_server import EngineResult
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.native_misuse import find_native_misuse
from pytest_llmcompiler.emulator.observation import ENDINGS, Observation
from pytest_llmcompiler.emulator.tracing import TracedRun, find_misuse
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.compare import find_differences
from pytest_llmcompiler.judge.contraction import has_contractions
from pytest_llmcompiler.judge.difference import Difference
from pytest_llmcompiler.judge.failure import (
    Failure,
    FaultingMachine,
    abi_failure,
    in_whole_program,
    mismatch_failure,
    misuse_failure,
    unclear_rounding_failure,
    unfinished_failure,
)
from pytest_llmcompiler.judge.location import Location
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.rounding import Rounding, ShownText, compare_rounded
from pytest_llmcompiler.judge.suite import VARIED_FILLS, Suite
from pytest_llmcompiler.judge.verdict import Kind
from pytest_llmcompiler.judge.whole_program import compare_programs
from pytest_llmcompiler.targets.code import AssembledCode

_INSPECTION_LIMIT = 50_000
"""Instructions of one inspected run, which is slow: each access to the stack costs a call of a Python hook."""

_MAX_FAILING = 8
"""Inputs of a second look that are looked at closer."""

Stage = Literal["input", "program", "inspection"]
"""A run on an input; a run of the whole program; a run on an input again, with each instruction inspected."""


class DifferentialRun:
    """A candidate, its text, and the suite that it is judged by."""

    def __init__(self, suite: Suite, candidate: AssembledCode, assembly: str, *, natively: bool = False) -> None:
        """`natively`: the candidate runs on the processor itself even if the emulator can run it."""
        self.suite, self.candidate, self.assembly, self._natively = suite, candidate, assembly, natively

    @property
    def runs_natively(self) -> bool:
        """Whether the candidate runs on the processor itself."""
        return self._natively or self.suite.under_test.native.applies_to(self.candidate)

    @functools.cached_property
    def machine(self) -> Machine:
        """The machine that runs the candidate. Only a child of this process may build it: the candidate's code is
        hostile."""
        return self.suite.under_test.open_candidate_machine(self.candidate, natively=self.runs_natively)

    @property
    def _faulting_machine(self) -> FaultingMachine:
        """The machine of the last run."""
        return self.machine

    def first_failure(self, engine: EngineResult | None = None) -> tuple[Stage, int] | None:
        """The first failure: its stage, and the index of the input in the corpus.

        A failure of the kind `inconclusive` or `abi` is returned only where no input shows another kind: wrong results
        tell more. Only a candidate that passes all inputs is run as part of the whole program and then inspected. Of
        all this, only what the `engine` left is run.
        """
        entries = list(self.suite.corpus.entries.values())
        weaker: dict[Kind, int] = {}
        for index in engine.left if engine else range(len(entries)):
            if engine and index in engine.breaches:
                weaker.setdefault("abi", index)
                continue
            failure = self.failure(entries[index], self.suite.list_fills(index))
            if failure and failure.kind not in ("inconclusive", "abi"):
                return "input", index
            if failure:
                weaker.setdefault(failure.kind, index)
        if weaker:
            return "input", weaker["inconclusive"] if "inconclusive" in weaker else weaker["abi"]
        if (engine is None or engine.is_program_left) and self.whole_program_failure():
            return "program", 0
        if engine and not engine.is_inspection_left:
            return None
        suspects = (index for index in self.suite.inspected if self.inspection_failure(entries[index]))
        return next((("inspection", index) for index in suspects), None)

    def failure(self, entry: SuiteEntry, fills: Sequence[UninitialisedFill] = VARIED_FILLS) -> Failure | None:
        """The failure on an input; None where the candidate passes.

        A candidate that passes with the first uninitialised fill is run with further `fills`. Only a run that shows
        anything new is compared again.
        """
        run = self._run(entry, "garbage")
        failure = self._failure_of(run, entry)
        if failure:
            return failure
        for fill in fills:
            other = self._run(entry, fill)
            failure = None if other.has_same_effects(run) else self._failure_of(other, entry)
            if failure:
                return replace(failure, uninitialised=fill)
        return None

    def list_failing(self) -> list[int]:
        """The indices of the first inputs on which the candidate fails."""
        entries = enumerate(self.suite.corpus.entries.values())
        failing = (index for index, entry in entries if self.failure(entry, ()))
        return list(itertools.islice(failing, _MAX_FAILING))

    def list_passing(self) -> list[int]:
        """The indices of all inputs that the candidate passes."""
        return [index for index, entry in enumerate(self.suite.corpus.entries.values()) if not self.failure(entry)]

    def passes(self, entry: SuiteEntry, fill: UninitialisedFill) -> bool:
        """Whether the candidate passes on an input with an uninitialised fill."""
        return self._failure_of(self._run(entry, fill), entry) is None

    def whole_program_failure(self) -> Failure | None:
        """The failure when the whole program runs with the candidate in it."""
        whole_program = self.suite.whole_program
        if whole_program is None:
            return None
        run = self.machine.run_program(whole_program.limit)
        expected = whole_program.expected
        failure = unfinished_failure(self.machine, run, expected, whole_program.limit, None, self.assembly)
        if failure is None:
            differences = list(compare_programs(expected, run))
            failure = mismatch_failure(differences) if differences else None
        return in_whole_program(failure) if failure else None

    def inspection_failure(self, entry: SuiteEntry) -> Failure | None:
        """What each instruction of a run shows that the result does not (see `find_misuse`)."""
        traced = TracedRun(entry.layout, entry.call, min(entry.limit, _INSPECTION_LIMIT))
        find = find_native_misuse if self.runs_natively else find_misuse
        fault = find(self.machine, traced)
        return misuse_failure(self.machine, fault, self.assembly) if fault else None

    def _run(self, entry: SuiteEntry, fill: UninitialisedFill) -> Observation:
        return self.machine.run(entry.layout, entry.call, entry.limit, uninitialised=fill)

    @functools.cached_property
    def _glibc_machine(self) -> Machine | None:
        """The machine that runs the function as compiled against glibc; None where the candidate can't have been."""
        under_test = self.suite.under_test
        return under_test.open_glibc_machine() if under_test.has_glibc_results(self.candidate) else None

    @functools.cached_property
    def _contracted_machines(self) -> list[Machine]:
        """Machines that run the function as clang compiles it for FMA; none where the candidate has no FMA."""
        under_test = self.suite.under_test
        is_possible = has_contractions(self.candidate, under_test.native)
        return under_test.open_contracted_machines() if is_possible else []

    def _judge_differences(self, differences: list[Difference], entry: SuiteEntry) -> Failure | None:
        """The failure that differences are; None where C allows them all, of a candidate which adds products that are
        not rounded (see `rounding`)."""
        builds = self._contracted_results(entry)
        roundings: dict[Rounding, list[Difference]] = {"allowed": [], "unclear": [], "wrong": []}
        for item in differences:
            texts = [ShownText(item.expected), *builds.get(item.location, [])]
            roundings[compare_rounded(ShownText(item.observed), texts) if texts[1:] else "wrong"].append(item)
        if roundings["wrong"]:
            return mismatch_failure(roundings["wrong"])
        return unclear_rounding_failure(roundings["unclear"]) if roundings["unclear"] else None

    def _contracted_results(self, entry: SuiteEntry) -> dict[Location, list[ShownText]]:
        """What the function shows as clang compiles it for FMA, at the places at which it shows something else."""
        results: dict[Location, list[ShownText]] = {}
        for machine in self._contracted_machines:
            run = machine.run(entry.layout, entry.call, entry.limit)
            if run.outcome in ENDINGS:
                for item in find_differences(entry.context, entry.expected, run, entry.dont_care):
                    results.setdefault(item.location, []).append(ShownText(item.observed))
        return results

    def _has_glibc_results(self, run: Observation, entry: SuiteEntry) -> bool:
        """Whether a run shows what the function shows when it is compiled against glibc. isalpha and the like return
        any number but 0, and a program may return or print it."""
        if self._glibc_machine is None:
            return False
        expected = self._glibc_machine.run(entry.layout, entry.call, entry.limit)
        is_comparable = expected.outcome in ("return", "exit", "abort") and not expected.abi_breaches
        return is_comparable and not any(find_differences(entry.context, expected, run, entry.dont_care))

    def _failure_of(self, run: Observation, entry: SuiteEntry) -> Failure | None:
        # On an input with too little memory, malloc fails. A compiler may remove an allocation: then the candidate goes
        # on where the reference gives up, and both are right. So runs are compared only where malloc failed in both or
        # in neither. A candidate is still judged on the inputs with enough memory.
        if run.out_of_memory != entry.expected.out_of_memory:
            return None
        failure = unfinished_failure(
            self._faulting_machine, run, entry.expected, entry.limit, entry.layout, self.assembly
        )
        if failure:
            return failure
        differences = list(find_differences(entry.context, entry.expected, run, entry.dont_care))
        if differences and not self._has_glibc_results(run, entry):
            failure = self._judge_differences(differences, entry)
            if failure:
                return failure
        return abi_failure(run.abi_breaches) if run.abi_breaches else None
