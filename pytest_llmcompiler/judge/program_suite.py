"""The suite of a whole program: its inputs, each with what the program does, that all candidates are judged by."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_llmcompiler.cache_files import CacheFile, describe_package
from pytest_llmcompiler.corpus.budget import Budget
from pytest_llmcompiler.corpus.fuzzer import Corpus
from pytest_llmcompiler.corpus.hints import Hints, find_hints
from pytest_llmcompiler.corpus.input_texts import InputTextGenerator
from pytest_llmcompiler.corpus.probing import TOO_LONG, ProbeResult, UndefinedInputError
from pytest_llmcompiler.corpus.program_inputs import ProgramInputGenerator
from pytest_llmcompiler.corpus.seed_pool import branch_features
from pytest_llmcompiler.corpus.selection import choose_covering
from pytest_llmcompiler.corpus.store import describe_generator
from pytest_llmcompiler.emulator.observation import GuestFault, Observation
from pytest_llmcompiler.judge.code_cost import CostCounts, CostFile, measure_once
from pytest_llmcompiler.judge.compare_output import split_lines
from pytest_llmcompiler.judge.program_coverage import measure_program_coverage
from pytest_llmcompiler.judge.program_oracle import ProgramEntry, ProgramOracle
from pytest_llmcompiler.judge.program_under_test import ProgramUnderTest
from pytest_llmcompiler.judge.published_tests import OutputTest, describe_output_runs
from pytest_llmcompiler.program.case_inputs import GivenInput
from pytest_llmcompiler.targets.code import AssemblerName
from pytest_llmcompiler.values.input import Input
from pytest_llmcompiler.values.pickled import PickleFormat
from pytest_llmcompiler.values.program_input import ProgramInput, to_corpus_input

_KEPT_SHARE = 0.6
"""The share of the generated inputs that the suite keeps: as few as cover what all cover, and at least so many."""
_MUTATED_SHARE = 0.4
"""How many inputs the fuzzer is to find, as a share of the generated ones; and the share of the budget of a function
that a program has. A run of a whole program takes ten times as long as most runs of functions."""
_VARIED = 8
"""Inputs that are run with further uninitialised contents of stack and registers."""
_TRIES_PER_EXAMPLE = 3
"""Inputs that are grown for each one that is wanted: many are equal, or undefined."""
_FEW = 5
"""The verdict warns where the program has fewer inputs than this."""
_SAVED = (ProgramEntry, ProgramInput, Observation, GuestFault, ProbeResult)


@dataclass(frozen=True)
class SavedProgramSuite:
    """A suite as it is stored."""

    entries: tuple[ProgramEntry, ...]
    counts: dict[str, Any]
    unjudgeable_reason: str | None

    @property
    def is_valid(self) -> bool:
        """Whether the parts have the types that they should have: a file can hold anything."""
        return isinstance(self.entries, tuple) and isinstance(self.counts, dict)


_FORMAT = PickleFormat((SavedProgramSuite, *_SAVED), ())


class ProgramSuite:
    """The inputs of a program, generated once for all candidates.

    `examples` is the number of inputs to generate, `seed` the random seed. They are read from the cache or computed
    when they are first needed.
    """

    def __init__(self, under_test: ProgramUnderTest, examples: int, seed: int) -> None:
        self.under_test, self._examples, self._seed = under_test, examples, seed
        self._budget = Budget(int(_MUTATED_SHARE * examples))
        self.oracle = ProgramOracle(under_test, self._budget)

    @property
    def entries(self) -> tuple[ProgramEntry, ...]:
        """The inputs, those that the case gives first, then by size. Raises CaseError."""
        return self._saved.entries

    @property
    def varied(self) -> int:
        """So many of the entries, from the first, are run with further uninitialised contents."""
        return _VARIED

    @property
    def counts(self) -> dict[str, Any]:
        """The number of inputs, of dropped inputs by reason, and a warning where there are few. It is JSON."""
        return dict(self._saved.counts)

    def list_output_tests(self) -> list[tuple[ProgramEntry, OutputTest]]:
        """The entries for which the case says what the program should write. Raises CaseError."""
        case = self.under_test.reference.case
        given = {one.data: one for one in case.list_given_inputs() if one.output is not None}
        return [
            (entry, OutputTest(Path(test.place).name, test.output or b"", entry.expected))
            for entry in self.entries
            if (test := given.get(entry.program.standard_input))
            and entry.program.arguments in (case.arguments or ((),))
        ]

    @property
    def unjudgeable_reason(self) -> str | None:
        """Why no candidate can be judged by the suite; None where any can. Raises CaseError."""
        return self._saved.unjudgeable_reason

    def reference_costs(
        self, assembler: AssemblerName, measure: Callable[[], Mapping[str, CostCounts | None]]
    ) -> Mapping[str, CostCounts]:
        """What clang's own code costs on the suite, by level, from the cache or as it is measured now."""
        return measure_once(CostFile((*self._key, assembler)), measure)

    @property
    def _key(self) -> tuple[str, ...]:
        """What the suite depends on."""
        case = self.under_test.reference.case
        given = case.list_given_inputs(), case.arguments, sorted(case.files.items())
        return (
            *(describe_package(), describe_generator(), *_FORMAT.describe(), self.under_test.reference.fingerprint),
            *(self.under_test.reference.target.name, repr((self._examples, self._seed)), repr(given)),
        )

    @functools.cached_property
    def _saved(self) -> SavedProgramSuite:
        file, format = CacheFile("programs-suites", self._key), _FORMAT
        data = file.read()
        try:
            saved = format.load(data) if data is not None else None
        except Exception:  # unpickling a broken file can raise any exception
            saved = None
        if not (isinstance(saved, SavedProgramSuite) and saved.is_valid):
            saved = self._build()
            file.write(format.dump(saved, zlib.Z_BEST_SPEED))
        return saved

    def _build(self) -> SavedProgramSuite:
        oracle = self.oracle
        corpus = Corpus(oracle.look, oracle.accept, oracle.effort, budget=self._budget, comparisons=oracle.comparisons)
        oracle.takes_long_runs = True
        warnings = list(self._offer_given(corpus))
        given = list(corpus.entries)
        # A program that reads nothing has no shorter run than this one.
        corpus.offer_all(
            "main", [to_corpus_input(b"", one) for one in self.under_test.reference.case.arguments or ((),)]
        )
        oracle.takes_long_runs = False
        if self.under_test.has_varying_inputs:
            self._generate(corpus)
        kept = self._choose(corpus, given)
        entries = tuple(replace(corpus.entries[input], probe_result=ProbeResult()) for input in kept)
        counts: dict[str, Any] = {"program": True, "inputs": len(entries), "dropped": dict(corpus.dropped)}
        coverage = measure_program_coverage(self.under_test, entries)
        if coverage:
            counts["coverage"] = coverage
        if self._budget.cut:
            counts["cut"] = self._budget.cut
        dropped = ", ".join(f"{count} × {reason}" for reason, count in corpus.dropped.most_common())
        if 0 < len(entries) < _FEW:
            others = dropped or "others are the same"
            warnings.append(f"the program is judged on {len(entries)} inputs alone ({others})")
        if warnings:
            counts["warning"] = "\n".join(warnings)
        self.oracle.release()
        reason = None if entries else f"no input found on which the program is defined ({dropped or 'none'})"
        return SavedProgramSuite(entries, counts, reason)

    def _offer_given(self, corpus: Corpus[ProgramEntry]) -> Iterator[str]:
        """Add the inputs that the case gives. Yields warnings for those that can't be used, and where the program does
        not write what the case says."""
        case = self.under_test.reference.case
        for given in case.list_given_inputs():
            for arguments in case.arguments or ((),):
                input = to_corpus_input(given.data, arguments)
                if corpus.offer(input):
                    yield from _check_output(given, corpus.entries[input])
                else:
                    yield f"{given.place}: this input is not used, since {self._find_refusal(input)}"

    def _find_refusal(self, input: Input) -> str:
        """Why the program can't be judged on an input that was refused."""
        try:
            self.oracle.accept(input)
        except UndefinedInputError as error:
            reason = str(error)
            return f"the program {reason} on it" if reason == TOO_LONG else f"it is not defined there: {reason}"
        return "it is too much for all of the suite"

    def _generate(self, corpus: Corpus[ProgramEntry]) -> None:
        case, oracle = self.under_test.reference.case, self.oracle
        given = [one.data for one in case.list_given_inputs()]

        texts = InputTextGenerator(oracle.look, lambda: oracle.calls, self._hints, self._seed, given)
        takes_arguments = self.under_test.takes_arguments
        generator = ProgramInputGenerator(texts, self._seed, given, case.arguments, takes_arguments=takes_arguments)
        wanted = len(corpus.entries) + self._examples
        inputs = generator.generate()
        for number in range(_TRIES_PER_EXAMPLE * self._examples):
            if len(corpus.entries) >= wanted:
                break
            if not self._budget.allows("drawing", len(corpus.entries)):
                self._budget.note_cut("drawing", number, self._examples)
                break
            corpus.offer(next(inputs))
        if corpus.entries:
            corpus.fuzz(int(_MUTATED_SHARE * self._examples), self._seed, self._hints.strings, self._hints.numbers)

    def _choose(self, corpus: Corpus[ProgramEntry], given: list[Input]) -> list[Input]:
        """The inputs that the suite keeps, by size: what the case gives, what covers everything, and of the others
        those on which the program writes most different lines: a wrong program has most to do wrongly there."""
        entries, limit = corpus.entries, int(_KEPT_SHARE * self._examples)
        shown = {input: branch_features(entry.probe_result.features) for input, entry in entries.items()}
        kept = choose_covering(shown, given, 0) if len(shown) > limit else list(shown)
        lines = {input: set(split_lines(b"".join(entry.expected.output.values()))) for input, entry in entries.items()}
        others = sorted((input for input in entries if input not in kept), key=lambda input: -len(lines[input]))
        kept += others[: max(0, limit - len(kept))]
        return sorted(kept, key=lambda input: (input not in given, entries[input].program.size))

    @functools.cached_property
    def _hints(self) -> Hints:
        """Constants and strings of the program."""
        ir = self.under_test.reference.program_ir
        return find_hints(ir, ir)


def _check_output(given: GivenInput, entry: ProgramEntry) -> Iterator[str]:
    """A warning where the program does not write what the case says. Data sets have wrong outputs, and what the program
    writes is expected all the same."""
    if given.output is None:
        return
    test = OutputTest(Path(given.place).name, given.output, entry.expected)
    result = describe_output_runs([test], [entry.expected])
    if result and not result["holds"]:
        yield f"the program itself does not write what the file of its output says: {result['message']}"
