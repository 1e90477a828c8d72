"""The trial of one candidate: it is run on the inputs of the standard, and what it does wrong is found."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Literal

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.emulator.tracing import TracedRun, find_misuse
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.compare import differences
from pytest_llmcompiler.judge.failure import Failure, mismatch, quoted, stopped
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.suite import Suite
from pytest_llmcompiler.judge.verdict import Kind
from pytest_llmcompiler.judge.whole_program import compare_programs
from pytest_llmcompiler.targets.code import AssembledCode

_INSPECTED_LIMIT = 50_000
"""Instructions of a candidate that get a closer look."""

_VARIATIONS: tuple[UninitialisedFill, ...] = ("zeros", "inverse")

Stage = Literal["input", "program", "inspection"]
"""A run on an input, of the whole program, or on an input again for a closer look."""


class DifferentialRun:
    """A candidate, its text, and the standard that it is held to."""

    def __init__(self, suite: Suite, candidate: AssembledCode, assembly: str) -> None:
        self.suite, self.candidate, self.assembly = suite, candidate, assembly

    @functools.cached_property
    def machine(self) -> Machine:
        """The machine that runs the candidate. Only a child of this process may make it: what runs in it is hostile."""
        under_test = self.suite.under_test
        return under_test.machine(under_test.reference.golden, self.candidate)

    def first_failure(self) -> tuple[Stage, int] | None:
        """Where the candidate fails first: the stage, and the number of the input.

        What can't be judged on one input does not excuse what fails on another; a breach of the convention alone
        comes last. Only a candidate that passes is looked at more closely.
        """
        entries = list(self.suite.corpus.entries.values())
        lesser: dict[Kind, int] = {}
        for index, entry in enumerate(entries):
            failure = self.failure(entry, varied=index in self.suite.varied)
            if failure and failure.kind not in ("inconclusive", "abi"):
                return "input", index
            if failure:
                lesser.setdefault(failure.kind, index)
        if lesser:
            return "input", lesser["inconclusive"] if "inconclusive" in lesser else lesser["abi"]
        if self.as_program():
            return "program", 0
        suspects = (index for index in self.suite.inspected if self.inspection(entries[index]))
        return next((("inspection", index) for index in suspects), None)

    def failure(self, entry: SuiteEntry, *, varied: bool = True) -> Failure | None:
        """What goes wrong on an input; if `varied`, whatever the unused stack and registers hold."""
        run = self.machine.run(entry.layout, entry.call, entry.limit)
        failure = self._fault_of(run, entry)
        if failure or not varied:
            return failure
        for uninitialised in _VARIATIONS:
            other = self.machine.run(entry.layout, entry.call, entry.limit, uninitialised=uninitialised)
            failure = None if other.has_same_effects(run) else self._fault_of(other, entry)
            if failure:
                return replace(failure, uninitialised=uninitialised)
        return None

    def passes(self, entry: SuiteEntry, uninitialised: UninitialisedFill) -> bool:
        """Whether nothing goes wrong on an input, with these values in the unused stack and registers."""
        return (
            self._fault_of(self.machine.run(entry.layout, entry.call, entry.limit, uninitialised=uninitialised), entry)
            is None
        )

    def as_program(self) -> Failure | None:
        """What goes wrong when the whole program is run."""
        whole_program = self.suite.whole_program
        if whole_program is None:
            return None
        run = self.machine.run_main(whole_program.limit)
        failure = stopped(self.machine, run, whole_program.expected, whole_program.limit, None, self.assembly)
        if failure is None:
            found = list(compare_programs(whole_program.expected, run))
            failure = mismatch(found) if found else None
        return failure and replace(failure, message=f"the whole program: {failure.message}")

    def inspection(self, entry: SuiteEntry) -> Failure | None:
        """What a closer look finds fault with."""
        look = TracedRun(entry.layout, entry.call, min(entry.limit, _INSPECTED_LIMIT))
        fault = find_misuse(self.machine, look)
        if fault is None:
            return None
        line = self.machine.line_of(fault)
        evidence = tuple(quoted(self.assembly, line or 0))
        if fault.address is None:
            return Failure(
                "inconclusive", f"{fault.description} in line {line}, which the emulator can't judge", evidence
            )
        words = f"{fault.description}, where a signal handler may write at any time: {fault.size} bytes in line {line}"
        return Failure("abi", words, evidence, line=line)

    def _fault_of(self, run: Observation, entry: SuiteEntry) -> Failure | None:
        if run.out_of_memory != entry.expected.out_of_memory:
            return None  # a compiler may do without memory: then it goes on where the reference has given up
        failure = stopped(self.machine, run, entry.expected, entry.limit, entry.layout, self.assembly)
        if failure:
            return failure
        found = list(differences(entry.frame, entry.expected, run, entry.dont_care))
        if found:
            return mismatch(found)
        if run.abi_breaches:
            return Failure(
                "abi",
                run.abi_breaches[0].message,
                tuple(f"  breach    {breach.message}" for breach in run.abi_breaches),
            )
        return None
