"""The suite of a function: its inputs, each with the reference's observation, that all candidates are judged by."""

from __future__ import annotations

import copy
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from hypothesis import strategies as st

from pytest_llmcompiler.corpus.budget import Budget
from pytest_llmcompiler.corpus.from_main import MAX_INPUTS, record_main_inputs
from pytest_llmcompiler.corpus.fuzzer import Corpus
from pytest_llmcompiler.corpus.hints import Hints, find_hints
from pytest_llmcompiler.corpus.input_texts import InputTextGenerator
from pytest_llmcompiler.corpus.learned_relations import learn_ends, learn_relations
from pytest_llmcompiler.corpus.possible_values import PossibleValues
from pytest_llmcompiler.corpus.relations import ParameterRelations, RelationScope
from pytest_llmcompiler.corpus.shrink import weight
from pytest_llmcompiler.corpus.special_values import generate_specials
from pytest_llmcompiler.corpus.store import SavedCorpus
from pytest_llmcompiler.corpus.strategies import build_input_strategy
from pytest_llmcompiler.judge.adequacy import Adequacy, MutantRunner, choose_inputs, count_adequacy, start_texts
from pytest_llmcompiler.judge.code_cost import CostCounts
from pytest_llmcompiler.judge.compiler_bug import describe_compiler_bug
from pytest_llmcompiler.judge.coverage import Coverage, DroppedInput, measure_coverage
from pytest_llmcompiler.judge.engine_fuzzing import MAX_ROUNDS, EngineFuzzer
from pytest_llmcompiler.judge.function_under_test import REFERENCE_LEVELS, FunctionUnderTest
from pytest_llmcompiler.judge.oracle import Oracle, SuiteEntry
from pytest_llmcompiler.judge.published_tests import describe_unrunnable
from pytest_llmcompiler.judge.reference_builds import ReferenceBuilds
from pytest_llmcompiler.judge.reserve import build_reserve_entry
from pytest_llmcompiler.judge.suite_files import SuiteFiles
from pytest_llmcompiler.judge.suite_store import SavedBuilds, SavedSuite
from pytest_llmcompiler.judge.whole_program import WholeProgram
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssemblerName
from pytest_llmcompiler.values.input import Input, set_standard_input

_VARIED_PER_EDGE = 4
"""Inputs for each edge of the control flow that are run with two further uninitialised fills. One input is not enough,
since a value that is read before it is set shows only on some inputs."""
_MAX_INSPECTED, _MAX_INSPECTED_BYTES = 8, 20_000
"""How many inputs are inspected, and the most bytes of code that the reference executes on one: inspecting is slow."""
_GIVEN_TEXT_INPUTS = 3
"""Inputs with which each standard input of a directive is tried: one may not come to read it."""
_GROWN_SHARE = 0.3
"""Inputs whose standard input is grown, as a share of the generated ones, where the function reads it."""
_RESERVE_PER_EXAMPLE = 2
"""Inputs in the reserve for each generated one, where there are so many."""
_MAX_FROM_TESTS = 32
"""Different inputs of a function that are recorded where published tests call it."""
_FEW = 10
"""The verdict warns where the function is defined on less than one in so many generated inputs."""
_VERY_FEW = 3
"""The verdict warns where the function runs so long that it has no more inputs than this."""


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
        self._rules = under_test.reference.argument_rules(under_test.function)
        self._learned: dict[RelationScope, ParameterRelations] = {}
        """The relations of parameters that the repairs of inputs taught."""
        self._coverage: Coverage | None = None
        """Which of the function's code the inputs reach; None where that is not known."""
        self._adequacy: Adequacy | None = None
        """How many seeded faults the inputs show; None where that is not known."""
        self._builds = frozenset[str]()
        """The builds of the reference that only some inputs needed, by name."""
        self._corpus: Corpus[SuiteEntry] | None = None
        self._saved: SavedSuite | None = None
        self.is_restricted, self._is_explainable = False, False
        """Whether the inputs are chosen ones alone, and whether what explaining failures needs is there."""
        self._files = SuiteFiles(under_test, self._rules, (examples, seed))

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
            self.from_main = saved.from_main
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
            self._learned = self._saved.learned
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
        corpus = Corpus(self.oracle.look, self.oracle.accept)
        stored = self._files.corpus.load()
        if stored and corpus.restore(stored.inputs, stored.dropped):
            self._learned, self._budget.cut, self._coverage = stored.learned, stored.cut, stored.coverage
            self._adequacy, self._builds = stored.adequacy, stored.builds
            corpus.reserve = list(stored.reserve)
        else:
            corpus = self._generate()
            self._builds = self.oracle.builds.further
            self._files.corpus.save(self._to_saved_corpus(corpus))
        corpus.entries = dict(
            sorted(corpus.entries.items(), key=lambda item: (item[0].is_4gib_aligned, weight(item[0])))
        )
        return corpus

    def _to_saved_corpus(self, corpus: Corpus[SuiteEntry]) -> SavedCorpus:
        inputs, budget = tuple(corpus.entries), self._budget
        learned, cut = self._learned, budget.cut
        facts = self._coverage, self._builds, self._adequacy
        return SavedCorpus(inputs, corpus.dropped, learned, cut, *facts, tuple(corpus.reserve))

    @property
    def whole_program(self) -> WholeProgram | None:
        """The run of the whole program; None where it shows nothing of the function."""
        return self._summary.whole_program

    @functools.cached_property
    def from_main(self) -> list[Input]:
        """The inputs that the program's own `main` passes to the function, in the order of the calls."""
        return _record_main_inputs(self.under_test.reference, natively=self.under_test.needs_processor).get(
            self.under_test.function, []
        )

    @functools.cached_property
    def strategy(self) -> st.SearchStrategy[Input]:
        """The strategy that generates inputs, with the learned relations of parameters."""
        return self._build_strategy(self._learned)

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
        self, assembler: AssemblerName, measure: Callable[[], Mapping[str, CostCounts]]
    ) -> Mapping[str, CostCounts]:
        """What clang's own code costs on the suite, by level, from the cache or as it is measured now."""
        file = self._files.costs(assembler)
        costs: Mapping[str, CostCounts] | None = file.load()
        if costs is None:
            costs = measure()
            file.save(costs)
        return costs

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

    # -- what is said of a corpus

    def _summarise(self, corpus: Corpus[SuiteEntry], whole_program: WholeProgram | None) -> SavedSuite:
        entries = list(corpus.entries.values())
        covering = _list_covering(entries, 1)
        short = (index for index in covering if entries[index].expected.executed_bytes <= _MAX_INSPECTED_BYTES)
        return SavedSuite(
            dropped=corpus.dropped,
            learned=self._learned,
            counts=self._count(corpus, whole_program),
            unjudgeable_reason=None if entries else self._describe_emptiness(corpus),
            whole_program=whole_program,
            varied=frozenset(_list_covering(entries, _VARIED_PER_EDGE)),
            inspected=tuple(itertools.islice(short, _MAX_INSPECTED)),
            builds=self._builds,
        )

    def _describe_emptiness(self, corpus: Corpus[SuiteEntry]) -> str:
        reasons = _format_dropped(corpus) or "none was generated"
        return f"no input found on which {self.under_test.function} is defined ({reasons})"

    def _count(self, corpus: Corpus[SuiteEntry], whole_program: WholeProgram | None) -> dict[str, Any]:
        function, used, dropped = self.under_test.function, len(corpus.entries), corpus.dropped
        counts: dict[str, Any] = {"inputs": used, "dropped": dict(dropped)}
        if self._coverage:
            counts["coverage"] = self._coverage
        if self._adequacy:
            counts["adequacy"] = self._adequacy
        if self._budget.cut:
            counts["cut"] = self._budget.cut
        warnings = []
        if used * _FEW < used + dropped.total():
            warnings.append(
                f"{function} is defined on only {used} of {used + dropped.total()} inputs "
                f"({_format_dropped(corpus)}): `LLMC: arg` directives can say which inputs are meant"
            )
        if used <= _VERY_FEW and self._budget.cut:
            warnings.append(f"{function} is judged on {used} input{'s'[: used != 1]} alone: it runs too long for more")
        fixed = self.under_test.reference.fixed_globals(function)
        if fixed:
            warnings.append(
                "what is too large for inputs, or of a type that inputs can't have, always has its initial value: "
                f"{', '.join(fixed)}"
            )
        case = self.under_test.reference.case
        if case.tests and whole_program is None and not self.is_restricted:
            warnings.append(describe_unrunnable(case, function))
        bug = describe_compiler_bug(corpus.entries, function, self.under_test.signature)
        if bug:
            warning, counts["compiler_bug"] = bug
            warnings.append(warning)
        return counts | ({"warning": "\n".join(warnings)} if warnings else {})

    # -- generating

    def _generate(self) -> Corpus[SuiteEntry]:
        """A new corpus: inputs from `main`, from strategies, of special values, then fuzzed and lengthened.

        The first third of the examples teaches which parameter is the length of which buffer: the repairs of inputs
        show it. The strategy of the rest draws such lengths.
        """
        self.under_test.reference.start_block_counters()
        texts = start_texts(self.under_test, self.oracle.builds)
        possible = self.under_test.possible_values
        self._budget.limit_memory(sum(self._golden_sizes()))
        oracle, params = self.oracle, self.under_test.signature.params
        corpus = Corpus(
            oracle.look,
            oracle.accept,
            oracle.effort,
            possible.restrict,
            self._budget,
            oracle.comparisons,
            [position for position, param in enumerate(params) if param.restrict],
        )
        corpus.offer_all("main", self.from_main)
        first = self.examples // 3
        corpus.explore(self._build_strategy({}), first, self.seed, "first drawing")
        self._learned = learn_relations(self.under_test.signature.params, corpus.fitted)
        learn_ends(self.under_test.signature.params, corpus.ended, self._learned)
        corpus.explore(self.strategy, self.examples - first, self.seed + 1)
        given = self._set_given_texts(corpus)
        corpus.offer_all("drawing", [*given, *self._grow_texts(corpus)])
        if corpus.entries:
            largest = max(corpus.entries, key=weight)
            specials = [
                *possible.generate_specials(largest, self.under_test.globals),
                *generate_specials(largest, self._hints, self.under_test.globals),
            ]
            corpus.offer_all("special values", specials)
        corpus.fuzz(self.examples, self.seed, self._hints.strings, self._hints.numbers)
        corpus.add_long_input()
        long = list(corpus.entries)[-1:]
        self._coverage = self._measure_coverage(corpus)
        reaching = self._reach_further(corpus)
        corpus.vary(len(params), self._hints.numbers)
        self._choose(corpus, {*self.from_main, *given, *long, *reaching}, texts)
        corpus.close()
        return corpus

    def _set_given_texts(self, corpus: Corpus[SuiteEntry]) -> list[Input]:
        """Inputs with the standard inputs that directives of the case give, where the function reads it."""
        reference, inputs = self.under_test.reference, list(corpus.entries)
        if not (inputs and reference.reads_standard_input(self.under_test.function)):
            return []
        texts = [given.data for given in reference.case.given_inputs]
        return [set_standard_input(input, text) for text in texts for input in inputs[:_GIVEN_TEXT_INPUTS]]

    def _grow_texts(self, corpus: Corpus[SuiteEntry]) -> Iterator[Input]:
        """Inputs with texts for standard input that are grown by what the function reads (see `input_texts`)."""
        reference, inputs = self.under_test.reference, list(corpus.entries)
        if not (inputs and reference.reads_standard_input(self.under_test.function)):
            return
        oracle = self.oracle
        texts = InputTextGenerator(oracle.look, lambda: oracle.calls, self._hints, self.seed)
        for number in range(int(_GROWN_SHARE * self.examples)):
            yield texts.grow(functools.partial(set_standard_input, inputs[number % len(inputs)]))

    def _choose(self, corpus: Corpus[SuiteEntry], required: set[Input], texts: Callable[[], dict[str, str]]) -> None:
        """Keep the inputs that seeded faults, edges and comparisons need (see `adequacy`)."""
        runs = MutantRunner(self.under_test, texts, self.seed).run(corpus.entries, self.examples)
        kept = choose_inputs(corpus.entries, runs, required, self.examples)
        corpus.keep(kept, _RESERVE_PER_EXAMPLE * self.examples)
        self._adequacy = count_adequacy(runs)

    def _reach_further(self, corpus: Corpus[SuiteEntry]) -> list[Input]:
        """Add inputs that reach what no input has reached so far. Returns the new ones."""
        fuzzer, first = EngineFuzzer(self.under_test, self.examples, self.seed), len(corpus.entries)
        for _ in range(MAX_ROUNDS):
            coverage, before = self._coverage, len(corpus.entries)
            if not (coverage and corpus.entries and coverage["edges"] < coverage["of"]):
                break
            corpus.offer_all("reaching", fuzzer.search(corpus.entries))
            if len(corpus.entries) == before:
                break
            self._coverage = self._measure_coverage(corpus)
        return list(corpus.entries)[first:]

    def _measure_coverage(self, corpus: Corpus[SuiteEntry]) -> Coverage | None:
        return measure_coverage(self.under_test, corpus.entries.values(), self._lay_out_missed(corpus))

    def _lay_out_missed(self, corpus: Corpus[SuiteEntry]) -> Iterator[DroppedInput]:
        for input, reason in corpus.list_missed():
            yield (*self.oracle.lay_out(input), reason)

    def _golden_sizes(self) -> Iterator[int]:
        """The sizes of the variables whose contents an observation has, in bytes."""
        golden = self.under_test.reference.golden
        return (golden.symbols[name].size for name in golden.globals)

    def _build_strategy(self, learned: dict[RelationScope, ParameterRelations]) -> st.SearchStrategy[Input]:
        under_test = self.under_test
        return build_input_strategy(
            under_test.signature,
            self._rules,
            self._hints,
            self.from_main,
            globals=under_test.globals,
            environment_seeds=under_test.reference.environment_seeds(under_test.function),
            learned=learned,
            possible=under_test.possible_values,
            reads_input=under_test.reference.reads_standard_input(under_test.function),
        )

    @functools.cached_property
    def _hints(self) -> Hints:
        """Constants and strings of the code that the function reaches."""
        reference = self.under_test.reference
        reached = reference.mentioned_globals(self.under_test.function) | {self.under_test.function}
        code = (str(function) for function in reference.program_module.functions if function.name in reached)
        return find_hints("\n".join(code), reference.program_ir)


def _list_covering(entries: Sequence[SuiteEntry], times: int) -> list[int]:
    """Inputs, by number, that cover each edge of the reference's code so many times, or as often as all do."""
    covered: Counter[tuple[int, int]] = Counter()
    chosen = []
    for index, entry in enumerate(entries):
        if any(covered[edge] < times for edge in entry.expected.edges):
            covered.update(entry.expected.edges)
            chosen.append(index)
    return chosen


def _format_dropped(corpus: Corpus[SuiteEntry]) -> str:
    return ", ".join(f"{count} × {reason}" for reason, count in corpus.dropped.most_common())


_MAIN_INPUTS: WeakKeyDictionary[Reference, dict[str, list[Input]]] = WeakKeyDictionary()


def _record_main_inputs(reference: Reference, *, natively: bool) -> dict[str, list[Input]]:
    """The inputs that `main` passes, by function. One run of the program records those of all functions."""
    if reference in _MAIN_INPUTS:
        return _MAIN_INPUTS[reference]
    functions = {name: reference.signatures[name] for name in reference.functions}
    globals = {name: reference.input_globals(name) for name in functions}
    possible = {name: PossibleValues(reference.known_variables(name)) for name in functions}
    limit = _MAX_FROM_TESTS if reference.case.tests else MAX_INPUTS
    inputs = record_main_inputs(
        reference.golden, functions, globals, reference.external_functions, limit, possible=possible, natively=natively
    )
    return _MAIN_INPUTS.setdefault(reference, inputs)
