"""Generating the inputs of a function: drawn, grown, fuzzed, and then chosen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from hypothesis import strategies as st

from pytest_llmcompiler.corpus.budget import Budget
from pytest_llmcompiler.corpus.fuzzer import Corpus
from pytest_llmcompiler.corpus.hints import Hints, find_hints
from pytest_llmcompiler.corpus.input_texts import InputTextGenerator
from pytest_llmcompiler.corpus.learned_relations import learn_ends, learn_relations
from pytest_llmcompiler.corpus.relations import ParameterRelations, RelationScope
from pytest_llmcompiler.corpus.shrink import weight
from pytest_llmcompiler.corpus.special_values import generate_specials
from pytest_llmcompiler.corpus.strategies import build_input_strategy
from pytest_llmcompiler.judge.adequacy import Adequacy, MutantRunner, choose_inputs, count_adequacy, start_texts
from pytest_llmcompiler.judge.coverage import Coverage, DroppedInput, measure_coverage
from pytest_llmcompiler.judge.engine_fuzzing import MAX_ROUNDS, EngineFuzzer
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.main_inputs import find_main_inputs
from pytest_llmcompiler.judge.oracle import Oracle, SuiteEntry
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.values.input import Input, set_standard_input

_GIVEN_TEXT_INPUTS = 3
"""Inputs with which each standard input of a directive is tried: one may not come to read it."""
_GROWN_SHARE = 0.3
"""Inputs whose standard input is grown, as a share of the generated ones, where the function reads it."""
_RESERVE_PER_EXAMPLE = 2
"""Inputs in the reserve for each generated one, where there are so many."""


class SuiteGenerator:
    """Generates the inputs of a function, on which an oracle finds it defined.

    `examples` is the number of inputs to generate, `seed` the random seed.
    """

    def __init__(self, under_test: FunctionUnderTest, oracle: Oracle, budget: Budget, examples: int, seed: int) -> None:
        self._under_test, self._oracle, self._budget = under_test, oracle, budget
        self._examples, self._seed = examples, seed
        self._rules = under_test.reference.argument_rules(under_test.function)
        self.learned: dict[RelationScope, ParameterRelations] = {}
        """The relations of parameters that the repairs of inputs taught."""
        self.coverage: Coverage | None = None
        """Which of the function's code the inputs reach; None where that is not known."""
        self.adequacy: Adequacy | None = None
        """How many seeded faults the inputs show; None where that is not known."""

    @functools.cached_property
    def from_main(self) -> list[Input]:
        """The inputs that the program's own `main` passes to the function, in the order of the calls."""
        return find_main_inputs(self._under_test)

    def generate(self) -> Corpus[SuiteEntry]:
        """A new corpus: inputs from `main`, from strategies, of special values, then fuzzed and lengthened.

        The first third of the examples teaches which parameter is the length of which buffer: the repairs of inputs
        show it. The strategy of the rest draws such lengths.
        """
        self._under_test.reference.start_block_counters()
        texts = start_texts(self._under_test, self._oracle.builds)
        possible = self._under_test.possible_values
        self._budget.limit_memory(sum(self._golden_sizes()))
        oracle, params = self._oracle, self._under_test.signature.params
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
        first = self._examples // 3
        corpus.explore(self._build_strategy({}), first, self._seed, "first drawing")
        self.learned = learn_relations(self._under_test.signature.params, corpus.fitted)
        learn_ends(self._under_test.signature.params, corpus.ended, self.learned)
        corpus.explore(self.strategy, self._examples - first, self._seed + 1)
        given = self._set_given_texts(corpus)
        corpus.offer_all("drawing", [*given, *self._grow_texts(corpus)])
        if corpus.entries:
            largest = max(corpus.entries, key=weight)
            specials = [
                *possible.generate_specials(largest, self._under_test.globals),
                *generate_specials(largest, self._hints, self._under_test.globals),
            ]
            corpus.offer_all("special values", specials)
        corpus.fuzz(self._examples, self._seed, self._hints.strings, self._hints.numbers)
        corpus.add_long_input()
        long = list(corpus.entries)[-1:]
        self.coverage = self._measure_coverage(corpus)
        reaching = self._reach_further(corpus)
        before = len(corpus.entries)
        corpus.vary(len(params), self._hints)
        if len(corpus.entries) > before:
            self.coverage = self._measure_coverage(corpus)
        self._choose(corpus, {*self.from_main, *given, *long, *reaching}, texts)
        corpus.close()
        return corpus

    @functools.cached_property
    def strategy(self) -> st.SearchStrategy[Input]:
        """The strategy that generates inputs, with the learned relations of parameters."""
        return self._build_strategy(self.learned)

    def _build_strategy(self, learned: dict[RelationScope, ParameterRelations]) -> st.SearchStrategy[Input]:
        under_test = self._under_test
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

    def _set_given_texts(self, corpus: Corpus[SuiteEntry]) -> list[Input]:
        """Inputs with the standard inputs that directives of the case give, where the function reads it."""
        reference, inputs = self._under_test.reference, list(corpus.entries)
        if not (inputs and reference.reads_standard_input(self._under_test.function)):
            return []
        texts = [given.data for given in reference.case.given_inputs]
        return [set_standard_input(input, text) for text in texts for input in inputs[:_GIVEN_TEXT_INPUTS]]

    def _grow_texts(self, corpus: Corpus[SuiteEntry]) -> Iterator[Input]:
        """Inputs with texts for standard input that are grown by what the function reads (see `input_texts`)."""
        reference, inputs = self._under_test.reference, list(corpus.entries)
        if not (inputs and reference.reads_standard_input(self._under_test.function)):
            return
        oracle = self._oracle
        texts = InputTextGenerator(oracle.look, lambda: oracle.calls, self._hints, self._seed)
        for number in range(int(_GROWN_SHARE * self._examples)):
            yield texts.grow(functools.partial(set_standard_input, inputs[number % len(inputs)]))

    def _choose(self, corpus: Corpus[SuiteEntry], required: set[Input], texts: Callable[[], dict[str, str]]) -> None:
        """Keep the inputs that seeded faults, edges and comparisons need (see `adequacy`)."""
        runs = MutantRunner(self._under_test, texts, self._seed).run(corpus.entries, self._examples)
        kept = choose_inputs(corpus.entries, runs, required, self._examples)
        corpus.keep(kept, _RESERVE_PER_EXAMPLE * self._examples)
        self.adequacy = count_adequacy(runs)

    def _reach_further(self, corpus: Corpus[SuiteEntry]) -> list[Input]:
        """Add inputs that reach what no input has reached so far. Returns the new ones."""
        fuzzer, first = EngineFuzzer(self._under_test, self._examples, self._seed), len(corpus.entries)
        for _ in range(MAX_ROUNDS):
            coverage, before = self.coverage, len(corpus.entries)
            if not (coverage and corpus.entries and coverage["edges"] < coverage["of"]):
                break
            corpus.offer_all("reaching", fuzzer.search(corpus.entries))
            if len(corpus.entries) == before:
                break
            self.coverage = self._measure_coverage(corpus)
        return list(corpus.entries)[first:]

    def _measure_coverage(self, corpus: Corpus[SuiteEntry]) -> Coverage | None:
        return measure_coverage(self._under_test, corpus.entries.values(), self._lay_out_missed(corpus))

    def _lay_out_missed(self, corpus: Corpus[SuiteEntry]) -> Iterator[DroppedInput]:
        for input, reason in corpus.list_missed():
            yield (*self._oracle.lay_out(input), reason)

    def _golden_sizes(self) -> Iterator[int]:
        """The sizes of the variables whose contents an observation has, in bytes."""
        golden = self._under_test.reference.golden
        return (golden.symbols[name].size for name in golden.globals)

    @functools.cached_property
    def _hints(self) -> Hints:
        """Constants and strings of the code that the function reaches."""
        reference = self._under_test.reference
        reached = reference.mentioned_globals(self._under_test.function) | {self._under_test.function}
        code = (print_ir(function) for function in reference.program_module.functions if function.name in reached)
        return find_hints("\n".join(code), reference.program_ir)
