"""The suite of a function: its inputs, each with the reference's observation, that all candidates are judged by."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from pytest_llmcompiler.corpus.budget import Budget
from pytest_llmcompiler.corpus.fuzzer import Corpus
from pytest_llmcompiler.corpus.shrink import weight
from pytest_llmcompiler.corpus.store import SavedCorpus
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.code_cost import CostCounts, measure_once
from pytest_llmcompiler.judge.function_under_test import REFERENCE_LEVELS, FunctionUnderTest
from pytest_llmcompiler.judge.oracle import Oracle, SuiteEntry
from pytest_llmcompiler.judge.reference_builds import ReferenceBuilds
from pytest_llmcompiler.judge.reserve import build_reserve_entry
from pytest_llmcompiler.judge.suite_counts import describe_emptiness, list_warnings, note_compiler_bug
from pytest_llmcompiler.judge.suite_files import SuiteFiles
from pytest_llmcompiler.judge.suite_generation import SuiteGenerator
from pytest_llmcompiler.judge.suite_store import SavedBuilds, SavedSuite
from pytest_llmcompiler.judge.whole_program import WholeProgram
from pytest_llmcompiler.targets.code import AssemblerName
from pytest_llmcompiler.values.input import Input

VARIED_FILLS: tuple[UninitialisedFill, ...] = ("zeros", "inverse", "small")
"""The uninitialised fills of further runs on some inputs. With `garbage`, the fill of the first run, each bit of the
unused stack and registers has been both 0 and 1. Zeros are what a process finds in memory that it never used, and small
numbers what most functions leave in registers."""
_VARIED_PER_EDGE = 4
"""Inputs for each edge of the control flow that are run with these fills. One input is not enough, since a value that
is read before it is set shows only on some inputs."""
_NUMBERED = 32
"""Further inputs that are run with small numbers in registers. Each has others, so that each of the sixteen numbers is
in each register about twice."""
_MAX_INSPECTED, _MAX_INSPECTED_BYTES = 8, 20_000
"""How many inputs are inspected, and the most bytes of code that the reference executes on one: inspecting is slow."""


class Suite:
    """The inputs of a function, generated once for all candidates.

    `examples` is the number of inputs to generate, `seed` the random seed. Inputs and observations are read from the
    cache or computed when they are first needed; `prepare` does that for all at once.
    """

    def __init__(
        self, under_test: FunctionUnderTest, examples: int, seed: int, builds: ReferenceBuilds | None = None
    ) -> None:
        self.under_test, self.examples, self.seed = under_test, examples, seed
        self._budget = Budget(examples)
        self.oracle = Oracle(under_test, builds, self._budget)
        self._generator = SuiteGenerator(under_test, self.oracle, self._budget, examples, seed)
        self._builds = frozenset[str]()
        """The builds of the reference that only some inputs needed, by name."""
        self._corpus: Corpus[SuiteEntry] | None = None
        self._saved: SavedSuite | None = None
        self.is_restricted, self._is_explainable = False, False
        """Whether the inputs are chosen ones alone, and whether what explaining failures needs is there."""
        self._files = SuiteFiles(under_test, under_test.reference.argument_rules(under_test.function), (examples, seed))

    def restrict(self, inputs: Collection[Input]) -> Suite:
        """A suite of only these inputs of the corpus, without the whole program."""
        limited = Suite(self.under_test, self.examples, self.seed, self.oracle.builds)
        corpus = Corpus(limited.oracle.look, limited.oracle.accept)
        corpus.entries = {input: entry for input, entry in self.corpus.entries.items() if input in inputs}
        limited.is_restricted = True
        limited._builds, limited._corpus = self._summary.builds, corpus
        limited._saved = limited._summarise(corpus, None)
        return limited

    def with_inputs(self, entries: dict[Input, SuiteEntry]) -> Suite:
        """A suite of other inputs alone, which the oracle of this one has accepted, without the whole program."""
        other = copy.copy(self)
        other._corpus = Corpus(self.oracle.look, self.oracle.accept)
        other._corpus.entries = entries
        other.is_restricted = True
        varied = frozenset(range(len(entries)))
        other._saved = replace(self._summary, whole_program=None, varied=varied, inspected=())
        return other

    def prepare(self) -> None:
        """Compute all that judging a candidate needs. Each candidate is judged in a child process, which would compute
        it again. Where the suite is in the cache, its entries are left there: a candidate that the engine shows to pass
        needs none."""
        _ = self._summary

    def prepare_to_run(self) -> None:
        """Have the entries in memory: a child process that runs a candidate needs them."""
        _ = self.corpus

    def prepare_to_explain(self) -> None:
        """Have what only the explanation of a failure needs. A child process explains, and can't compile."""
        if not self._is_explainable:
            self._prepare_builds()
            self._is_explainable = True
        self.oracle.open()
        _ = self.strategy

    @property
    def is_ready_to_explain(self) -> bool:
        """Whether all is there that `prepare_to_explain` prepares."""
        return self._is_explainable and self.oracle.is_open

    def _prepare_builds(self) -> None:
        oracle, under_test = self.oracle, self.under_test
        saved = self._files.builds.load() if oracle.builds.is_empty else None
        if saved:
            oracle.builds.restore(saved.optimised)
            oracle.whole_file.restore(saved.whole_file)
            under_test.assembled_references.update(saved.texts)
            under_test.reference.known[under_test.function] = saved.known
            self._generator.from_main = saved.from_main
        oracle.close(self._summary.builds)
        texts = {level: under_test.assemble_reference(level) for level in REFERENCE_LEVELS}
        if not saved and not self.is_restricted:
            codes = tuple(builds.codes for builds in oracle.builds.optimised)
            known = under_test.reference.known_variables(under_test.function)
            self._files.builds.save(SavedBuilds(codes, oracle.whole_file.codes, texts, self.from_main, known))

    @property
    def corpus(self) -> Corpus[SuiteEntry]:
        """The inputs, each with the reference's observation.

        Inputs whose objects end at an unmapped page come first, since a wrong access faults there, then smaller ones.
        """
        saved = self._summary  # may compute the corpus too
        if self._corpus is None:
            loaded = self._files.suite.load_entries()
            if loaded is None:  # the file was written by something else
                self._saved = self._build()
                return self.corpus
            self._corpus = Corpus(self.oracle.look, self.oracle.accept)
            self._corpus.entries, self._corpus.reserve = loaded
            self._corpus.dropped = saved.dropped
        return self._corpus

    @property
    def _summary(self) -> SavedSuite:
        """The suite without its entries, from the cache if it is there."""
        if self._saved is None:
            self._saved = self._files.suite.load() or self._build()
            self._generator.learned = self._saved.learned
        return self._saved

    def _build(self) -> SavedSuite:
        """Compute the whole suite, and put it into the cache."""
        self.under_test.reference.start_probe()
        self._corpus = corpus = self._load_or_generate()
        summary = self._summarise(corpus, self.oracle.whole_program())
        self._files.suite.save(summary, corpus.entries, corpus.reserve)
        self.oracle.release()  # only the explanation of a failure needs the machines again
        return summary

    def _load_or_generate(self) -> Corpus[SuiteEntry]:
        corpus, generator = Corpus(self.oracle.look, self.oracle.accept), self._generator
        stored = self._files.corpus.load()
        if stored and corpus.restore(stored.inputs, stored.dropped):
            generator.learned, generator.coverage, generator.adequacy = stored.learned, stored.coverage, stored.adequacy
            self._budget.cut, self._builds = stored.cut, stored.builds
            corpus.reserve = list(stored.reserve)
        else:
            corpus = generator.generate()
            self._builds = self.oracle.builds.further
            self._files.corpus.save(self._to_saved_corpus(corpus))
        corpus.entries = dict(
            sorted(corpus.entries.items(), key=lambda item: (item[0].is_4gib_aligned, weight(item[0])))
        )
        return corpus

    def _to_saved_corpus(self, corpus: Corpus[SuiteEntry]) -> SavedCorpus:
        inputs, cut, generator = tuple(corpus.entries), self._budget.cut, self._generator
        facts = generator.coverage, self._builds, generator.adequacy
        return SavedCorpus(inputs, corpus.dropped, generator.learned, cut, *facts, tuple(corpus.reserve))

    @property
    def whole_program(self) -> WholeProgram | None:
        """The run of the whole program; None where it shows nothing of the function."""
        return self._summary.whole_program

    @property
    def from_main(self) -> list[Input]:
        """The inputs that the program's own `main` passes to the function, in the order of the calls."""
        return self._generator.from_main

    @property
    def strategy(self) -> st.SearchStrategy[Input]:
        """The strategy that generates inputs, with the learned relations of parameters."""
        return self._generator.strategy

    # -- which inputs are run more than once

    def image(self, build: Callable[[Suite], bytes]) -> bytes:
        """The engine's image of the suite, from the cache or as it is built now."""
        image = None if self.is_restricted else self._files.image.load()
        if image is None:
            image = build(self)
            if not self.is_restricted:
                self._files.image.save(image)
        return image

    def reference_costs(
        self, assembler: AssemblerName, measure: Callable[[], Mapping[str, CostCounts | None]]
    ) -> Mapping[str, CostCounts]:
        """What clang's own code costs on the suite, by level, from the cache or as it is measured now."""
        return measure_once(self._files.costs(assembler), measure)

    def build_reserve(self) -> dict[Input, SuiteEntry]:
        """The inputs of the reserve, of which nothing is expected. None where the function calls what is not there: the
        answers of such calls are known for inputs of the suite alone."""
        entries = self.corpus.entries.values()
        if any(entry.expected.calls for entry in entries):
            return {}
        limit = max((entry.limit for entry in entries), default=0)
        return {input: build_reserve_entry(*self.oracle.set_up(input), limit) for input in self.corpus.reserve}

    @property
    def varied(self) -> frozenset[int]:
        """The inputs that are run with further uninitialised fills, by number. They cover each edge."""
        return self._summary.varied

    def list_fills(self, index: int) -> tuple[UninitialisedFill, ...]:
        """The fills beside the first one with which candidates are run on an input, which is given by its number."""
        if index in self.varied:
            return VARIED_FILLS
        step = max(1, len(self.corpus.entries) // _NUMBERED)
        return ("small",) if index % step == 0 else ()

    @property
    def inspected(self) -> tuple[int, ...]:
        """The inputs on which each instruction of a passing candidate is inspected, by number. They cover the edges."""
        return self._summary.inspected

    # -- reporting

    def find_unjudgeable_reason(self) -> str | None:
        """Why no candidate can be judged by the suite; None where any can."""
        return self._summary.unjudgeable_reason

    def counts(self) -> dict[str, Any]:
        """The number of inputs, of dropped inputs by reason, what the budget cut, what clang -O2 does wrongly on them,
        and a warning about that or where few inputs are left. It is JSON."""
        return dict(self._summary.counts)

    def _summarise(self, corpus: Corpus[SuiteEntry], whole_program: WholeProgram | None) -> SavedSuite:
        entries = list(corpus.entries.values())
        covering = _list_covering(entries, 1)
        short = (index for index in covering if entries[index].expected.executed_bytes <= _MAX_INSPECTED_BYTES)
        return SavedSuite(
            dropped=corpus.dropped,
            learned=self._generator.learned,
            counts=self._count(corpus, whole_program),
            unjudgeable_reason=None if entries else describe_emptiness(self.under_test.function, corpus.dropped),
            whole_program=whole_program,
            varied=frozenset(_list_covering(entries, _VARIED_PER_EDGE)),
            inspected=tuple(itertools.islice(short, _MAX_INSPECTED)),
            builds=self._builds,
        )

    def _count(self, corpus: Corpus[SuiteEntry], whole_program: WholeProgram | None) -> dict[str, Any]:
        used, dropped, cut = len(corpus.entries), corpus.dropped, self._budget.cut
        counts: dict[str, Any] = {"inputs": used, "dropped": dict(dropped)}
        facts = {"coverage": self._generator.coverage, "adequacy": self._generator.adequacy, "cut": cut}
        counts |= {name: fact for name, fact in facts.items() if fact}
        lacks_program = whole_program is None and not self.is_restricted
        warnings = list_warnings(self.under_test, used, dropped, is_cut=bool(cut), lacks_program=lacks_program)
        note_compiler_bug(counts, warnings, self.under_test, corpus.entries)
        return counts | ({"warning": "\n".join(warnings)} if warnings else {})


def _list_covering(entries: Sequence[SuiteEntry], times: int) -> list[int]:
    """Inputs, by number, that cover each edge of the reference's code so many times, or as often as all do."""
    covered: Counter[tuple[int, int]] = Counter()
    chosen = []
    for index, entry in enumerate(entries):
        if any(covered[edge] < times for edge in entry.expected.edges):
            covered.update(entry.expected.edges)
            chosen.append(index)
    return chosen
