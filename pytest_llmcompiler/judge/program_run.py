"""The runs of one candidate for a whole program on the inputs of the suite, up to the first failure, and what is said
of that failure."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pytest_llmcompiler.corpus.probing import UndefinedInputError
from pytest_llmcompiler.corpus.text_shrink import shrink_program_input
from pytest_llmcompiler.emulator.instruction_counter import InstructionCounter
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import ENDINGS, Observation
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.compare_output import compare_processes, quote_text, split_lines
from pytest_llmcompiler.judge.contraction import has_contractions
from pytest_llmcompiler.judge.explain import Explanation
from pytest_llmcompiler.judge.failure import (
    Failure,
    abi_failure,
    evidence_line,
    mismatch_failure,
    unclear_rounding_failure,
    unfinished_failure,
    unstable_failure,
)
from pytest_llmcompiler.judge.program_oracle import ProgramEntry
from pytest_llmcompiler.judge.program_suite import ProgramSuite
from pytest_llmcompiler.judge.rounding import Rounding, ShownText, compare_rounded
from pytest_llmcompiler.judge.verdict import Kind
from pytest_llmcompiler.judge.whole_program import COMPARED_OUTPUTS, format_program_ending
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.program_input import ProgramInput, to_corpus_input

_VARIED_FILLS: tuple[UninitialisedFill, ...] = ("zeros", "inverse")
"""The fills of further runs on some inputs, as in `differential`."""
_SHRINKING_INSTRUCTIONS = 100_000_000
"""Instructions that the candidate may execute in all while a smaller input is searched. The limit bounds the time."""
_MAX_FAILING = 8
"""Inputs of a second look that are looked at closer."""
_PROCESS_INSTRUCTIONS = 20_000
"""Instructions in which the start of a process is counted: about as many as take as long."""
_MOST_LINES, _MOST_BYTES = 12, 100
"""Lines of standard input, and bytes of each, that are shown."""


class ProgramDifferentialRun:
    """A candidate, its text, and the suite that it is judged by."""

    def __init__(
        self,
        suite: ProgramSuite,
        candidate: AssembledCode,
        assembly: str,
        looked: tuple[ProgramEntry, ...] = (),
    ) -> None:
        """`looked` are inputs that were made for the candidate: with these it is judged by them alone."""
        self._suite, self._candidate, self._assembly, self._looked = suite, candidate, assembly, looked
        self.runs_natively = suite.under_test.native.applies_to(candidate)
        """Whether the candidate runs on the processor itself, where nothing counts its instructions."""
        self._instructions = 0
        """Instructions of the runs with the first fill."""

    @functools.cached_property
    def _counter(self) -> InstructionCounter | None:
        return None if self.runs_natively else InstructionCounter(self._machine)

    @property
    def _entries(self) -> tuple[ProgramEntry, ...]:
        return self._looked or self._suite.entries

    @functools.cached_property
    def _machine(self) -> Machine:
        """The machine that runs the candidate. Only a child of this process may build it: the candidate's code is
        hostile."""
        return self._suite.under_test.open_candidate_machine(self._candidate)

    def count_if_passing(self) -> tuple[int | None, int]:
        """The first failure, and the instructions that a candidate without one executes on the suite: 0 where nothing
        counts them."""
        return self.first_failure(), self._instructions

    def first_failure(self) -> int | None:
        """The index of the entry with the first failure; None where there is none.

        A failure of the kind `inconclusive` or `abi` is returned only where no input shows another kind.
        """
        weaker: dict[Kind, int] = {}
        for index, entry in enumerate(self._entries):
            failure = self._failure(entry, varied=index < self._suite.varied)
            if failure and failure.kind not in ("inconclusive", "abi"):
                return index
            if failure:
                weaker.setdefault(failure.kind, index)
        return weaker.get("inconclusive", weaker.get("abi"))

    def list_failing(self) -> list[int]:
        """The indices of the first entries on which the candidate fails."""
        failing = (index for index, entry in enumerate(self._entries) if self._failure(entry, varied=False))
        return list(itertools.islice(failing, _MAX_FAILING))

    def run_on(self, entries: Iterable[ProgramEntry]) -> Iterator[Observation]:
        """The candidate's runs on entries, one by one."""
        return (self._machine.run_process(entry.program, entry.limit) for entry in entries)

    def count_agreeing(self) -> int:
        """The number of inputs on which the candidate does what the reference does."""
        return sum(self._failure(entry, varied=False) is None for entry in self._suite.entries)

    def explain(self, index: int, *, shrinks: bool) -> Explanation:
        """Explain the failure on an entry; with `shrinks`, on the smallest input that shows one of the same kind."""
        entry = self._entries[index]
        failure = self._failure(entry, varied=True) or unstable_failure()
        if shrinks and failure.kind != "inconclusive":
            entry, failure = self._shrink(entry, failure)
        shown = list(format_program_input(entry.program))
        labels = ["input", *("" for _ in shown[1:])]
        facts = {
            "input": shown,
            "expected": failure.expected,
            "observed": failure.observed,
            "line": failure.line,
            "differences": [[item.place, item.expected, item.observed] for item in failure.differences],
            "program_input": {
                "stdin": entry.program.standard_input.hex(),
                "argv": [argument.hex() for argument in entry.program.arguments],
            },
        }
        return {
            "kind": failure.kind,
            "message": failure.message,
            "evidence": [*map(evidence_line, labels, shown), *failure.evidence, *self._note_look()],
            "facts": {name: fact for name, fact in facts.items() if fact},
            "reproducer": None,
        }

    def _note_look(self) -> Iterator[str]:
        if self._looked:
            what = "the input was made for this code, which passes the inputs that all answers get"
            yield evidence_line("look", what)

    def explain_first(self, *, shrinks: bool) -> tuple[Explanation | None, int]:
        """Find and explain the first failure. Where the candidate passes there is none, and the instructions are those
        that it executes on the suite."""
        index, instructions = self.count_if_passing()
        return (None if index is None else self.explain(index, shrinks=shrinks)), instructions

    def _failure(self, entry: ProgramEntry, *, varied: bool) -> Failure | None:
        counter = self._counter
        before = counter.total if counter else 0
        run = self._machine.run_process(entry.program, entry.limit)
        self._instructions += counter.total - before if counter else 0
        failure = self._failure_of(run, entry)
        if failure or not varied:
            return failure
        for fill in _VARIED_FILLS:
            failure = self._failure_of(self._machine.run_process(entry.program, entry.limit, fill), entry)
            if failure:
                return replace(failure, uninitialised=fill)
        return None

    @functools.cached_property
    def _contracted_machines(self) -> list[Machine]:
        """Machines that run the reference as it may be compiled for FMA."""
        under_test = self._suite.under_test
        is_possible = has_contractions(self._candidate, under_test.native)
        return under_test.open_contracted_machines() if is_possible else []

    def _judge_rounding(self, run: Observation, entry: ProgramEntry) -> Rounding:
        """Whether products that are added without being rounded explain what a run shows (see `rounding`)."""
        runs = [machine.run_process(entry.program, entry.limit) for machine in self._contracted_machines]
        builds = [entry.expected, *(build for build in runs if build.outcome in ENDINGS)]
        if len(builds) == 1:
            return "wrong"  # no build rounds otherwise, so any other text is wrong, also one with numbers like these
        return compare_rounded(_show_process(run), [_show_process(build) for build in builds])

    def _failure_of(self, run: Observation, entry: ProgramEntry) -> Failure | None:
        expected = entry.expected
        failure = unfinished_failure(self._machine, run, expected, entry.limit, None, self._assembly)
        if failure:
            return failure
        differences = list(compare_processes(expected, run))
        rounding = self._judge_rounding(run, entry) if differences else "allowed"
        if rounding != "allowed":
            failure = mismatch_failure(differences) if rounding == "wrong" else unclear_rounding_failure(differences)
            return replace(failure, evidence=(*failure.evidence, *_note_blanks(expected, run)))
        return abi_failure(run.abi_breaches) if run.abi_breaches else None

    def _shrink(self, first: ProgramEntry, failure: Failure) -> tuple[ProgramEntry, Failure]:
        found = {first.program: (first, failure)}
        # Instructions are counted, and no time is measured, so that the result does not depend on the host's speed.
        instructions_left = _SHRINKING_INSTRUCTIONS

        def fails(program: ProgramInput) -> bool:
            nonlocal instructions_left
            if instructions_left < 0:
                return False
            try:
                entry = self._suite.oracle.accept(to_corpus_input(program.standard_input, program.arguments))
            except UndefinedInputError:
                instructions_left -= _PROCESS_INSTRUCTIONS
                return False
            used = entry.limit if failure.kind == "hang" else entry.expected.executed_bytes
            instructions_left -= _PROCESS_INSTRUCTIONS + used
            smaller = self._failure(entry, varied=failure.uninitialised != "garbage")
            if smaller is None or smaller.kind != failure.kind:
                return False
            found[program] = entry, smaller
            return True

        return found[shrink_program_input(first.program, fails)]


def format_program_input(program: ProgramInput) -> Iterator[str]:
    """What a run of a program starts from, as lines of C: the arguments, standard input, the names of files."""
    if program.arguments:
        yield f"argv = {', '.join(map(_quote, program.arguments))}"
    lines = split_lines(program.standard_input)
    yield f"stdin = {_quote(lines[0])}" if lines else "stdin is empty"
    for line in lines[1:_MOST_LINES]:
        yield f"        {_quote(line)}"
    if len(lines) > _MOST_LINES:
        yield f"        … and {len(lines) - _MOST_LINES} more lines"
    for name, data in program.files:
        yield f"file {name} ({len(data)} bytes)"


def _show_process(run: Observation) -> ShownText:
    texts = (run.output.get(descriptor, b"").decode("latin-1") for descriptor in COMPARED_OUTPUTS)
    return ShownText("\0".join(texts), format_program_ending(run))


def _quote(text: bytes) -> str:
    return quote_text(text[:_MOST_BYTES]) + (" …" if len(text) > _MOST_BYTES else "")


def _note_blanks(expected: Observation, observed: Observation) -> Iterator[str]:
    """A line of evidence where outputs differ in nothing but white space."""
    for descriptor in COMPARED_OUTPUTS:
        first, second = expected.output.get(descriptor, b""), observed.output.get(descriptor, b"")
        if first != second and first.split() == second.split():
            yield evidence_line("note", "the outputs differ in white space alone")
