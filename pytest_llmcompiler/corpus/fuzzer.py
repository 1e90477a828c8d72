"""The corpus of a function: inputs on which it is defined, generated once and used to judge every candidate.

The generation is guided by coverage, like AFL or libFuzzer. A probe run of an input shows *features*: edges between
basic blocks and how often each was taken, outcomes of comparisons, how near the two sides came. An input with a new
feature becomes a *seed*. The fuzzer mutates seeds, and takes the values to insert from the comparisons of their runs.

Example: `int parse(const char *s) { return s[0] == 'Q' && s[1] == '~'; }`. A random text "ab" is the first seed; its
run compared `a` with `Q`. The mutation "Qb" takes a new edge, becomes a seed, and shows a comparison of `b` with `~`.
So "Q~" is found after two such mutations. Chance alone would need 65,536 trials.

The energy of the search, the share of mutations that a seed gets, follows two rules (`SeedPool.choose`). Late seeds are
preferred, since they got furthest. And half of the time a branch is chosen first, then a seed that takes it, so that
rare branches get as many mutations as frequent ones.

The work is bounded by an effort budget, and by the budget of the whole corpus (see `budget`). Effort is counted in
steps of the probe, never in seconds: the same function and random seed give the same corpus on every machine, however
loaded it is.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from hypothesis import Phase as SearchPhase
from hypothesis import assume
from hypothesis import strategies as st

from pytest_llmcompiler.corpus.budget import RESTORED_EDGES, Budget, Phase, RunLimit
from pytest_llmcompiler.corpus.drawing import Source
from pytest_llmcompiler.corpus.grammar import TextGrammar
from pytest_llmcompiler.corpus.hints import Hints
from pytest_llmcompiler.corpus.lengthening import LONG_BYTES, list_lengths
from pytest_llmcompiler.corpus.mending import Mender
from pytest_llmcompiler.corpus.mutator import Mutator, lengthen
from pytest_llmcompiler.corpus.probing import MAX_STEPS, TOO_LONG, CorpusEntry, ProbeResult, UndefinedInputError
from pytest_llmcompiler.corpus.relations import ObjectEnd
from pytest_llmcompiler.corpus.repair import Repairer
from pytest_llmcompiler.corpus.search import Exploration, SearchDoneError, run_search
from pytest_llmcompiler.corpus.seed_pool import Seed, SeedPool, branch_features, find_edges
from pytest_llmcompiler.corpus.selection import choose_balanced
from pytest_llmcompiler.corpus.systematic import generate_systematically
from pytest_llmcompiler.corpus.systematic_texts import replace_characters
from pytest_llmcompiler.corpus.turns import take_in_turn
from pytest_llmcompiler.emulator.coverage import Comparisons, Feature, Features
from pytest_llmcompiler.values.input import Input, list_objects

_MEASURING_ENTRIES = 8
"""The first entries of a corpus. They set the scale for the cost of the later ones."""
_MUTATIONS_PER_EXAMPLE, _MUTATION_EFFORT = 25, 100
"""Mutations that are tried for each generated example, and the fixed effort of one mutation in steps. The effort of its
run is added. The budget suffices for 25 mutations that take 100 steps each, and for half as many that take 300."""
_MOST_REFILLS = 10
"""How often the effort may be spent, where mutations take new edges: a check that is passed has others behind it."""
_DERIVED_SHARE = 0.45
"""The share of mutations that a grammar derives, where a seed has a text."""
_LONG_ATTEMPTS = 6
"""Seeds that are lengthened, one after the other, until the function is defined on one."""
_EXPENSIVE_EFFORT = 2_000
"""Effort of a run beyond its own steps, in steps, from which on it is expensive. Calls out of the function cause such
effort, and every candidate pays for it again."""
_MAX_MISSED = 64
"""Dropped inputs that tell why some code is not reached."""
_RESERVE_STEPS, _RESERVE_BYTES = 1_000, 2_048
"""Most steps of a run on an input of the reserve, and most bytes of its objects: every passing candidate runs on it."""
_LONG_STEPS, _MAX_LONG = 4_000, 12
"""Steps of a few variations that may take more, and their number: a loop over 257 elements may take ten a round."""
_VARIED_BYTES = 8_192
"""Most bytes of the objects of a variation: it has up to 513 elements."""
_MAX_EXPENSIVE = 8
"""Expensive inputs that a corpus takes."""

EntryT = TypeVar("EntryT", bound=CorpusEntry)


class _CostLimit:
    """Keeps expensive inputs few. The cost of an input is the effort of its run beyond its own steps."""

    def __init__(self) -> None:
        self._first_costs: list[int] = []
        self._expensive = 0

    def is_expensive(self, cost: int) -> bool:
        """Whether a cost is high, absolutely and compared to the cheapest of the first entries."""
        return cost >= max(_EXPENSIVE_EFFORT, 2 * min(self._first_costs, default=0))

    def admit(self, cost: int) -> None:
        """Count an input. Raises UndefinedInputError where it is expensive and there are enough of these."""
        if len(self._first_costs) < _MEASURING_ENTRIES:
            self._first_costs.append(cost)
        if self.is_expensive(cost):
            if self._expensive >= _MAX_EXPENSIVE:
                raise UndefinedInputError(TOO_LONG)
            self._expensive += 1


class Corpus(Generic[EntryT]):
    """Inputs, each with the entry that `accept` returned for it.

    `probe` and `accept` get an input, the known features, and a limit of steps. Both raise UndefinedInputError for an
    input that is of no use. `probe` is the faster check, `accept` the complete one. `effort` returns the effort of the
    last run, in steps, and `comparisons` its comparisons. Both charge what they cost to `budget`. `restrict` replaces
    the values of an input that can't happen. `restricted` are the positions of the `restrict` parameters.
    """

    def __init__(
        self,
        probe: Callable[[Input, set[Feature], int], ProbeResult],
        accept: Callable[[Input, set[Feature], int], EntryT],
        effort: Callable[[], int] = lambda: 0,
        restrict: Callable[[Input], Input] = lambda input: input,
        budget: Budget | None = None,
        comparisons: Callable[[], Comparisons] = Comparisons,
        restricted: Collection[int] = (),
    ) -> None:
        self.entries: dict[Input, EntryT] = {}
        self.dropped: Counter[str] = Counter()
        """The number of different inputs that were of no use, by reason."""
        self._probe, self._accept, self._effort = probe, accept, effort
        self._restrict, self._restricted = restrict, restricted
        self._pool = SeedPool()
        self._cost_limit = _CostLimit()
        self.budget, self._run_limit = budget or Budget(0), RunLimit()
        self._repairer = Repairer(self._probe_once, self._add_if_defined)
        self._mender = Mender(self._probe_once, self._add_if_defined, effort, comparisons, self.budget, restricted)
        self._seen: set[Input] = set()
        """All inputs that were run."""
        self._dropped_by_edge: dict[int, tuple[Input, str]] = {}
        """For each edge the first dropped input that took it, and the reason."""
        self.reserve: list[Input] = []
        """Inputs on which the function is defined, beside the entries: see `judge/reserve.py`."""
        self._plain: dict[Input, Features] = {}
        """The mutations that showed nothing new, as far as the function is defined on them, in few steps."""
        self._varied: list[Input] = []
        """Variations that the reserve has in any case."""
        self._long_left = _MAX_LONG
        self._replaced: list[Input] = []
        """The same with a character of a text replaced."""
        self._considered_seeds: set[Input] = set()
        """Seeds that were offered to the entries, with or without success."""

    @property
    def fitted(self) -> list[tuple[Input, int]]:
        """Inputs in which an object, by its number, has the least number of elements that the function needs."""
        return self._repairer.fitted + self._mender.fitted

    @property
    def ended(self) -> list[tuple[Input, int, ObjectEnd]]:
        """Inputs in which an object, by its number, ends with what ends a search that would run past it."""
        return self._mender.ends

    def offer(self, input: Input) -> bool:
        """Add an input if the function is defined on it, else try to repair it. Returns whether it is in now."""
        input = self._restrict(input)
        if input not in self._seen:
            self._seen.add(input)
            try:
                self._add(input)
            except UndefinedInputError as error:
                self.dropped[str(error)] += 1
                before = len(self.entries)
                self._repairer.repair(input, error)
                # Where every run is too long, the run limit has to rise first.
                dropped = self.dropped.total() - (0 if before else self.dropped[TOO_LONG])
                if len(self.entries) == before and self._mender.is_needed(before, dropped):
                    self._mender.mend(input)
        return input in self.entries

    def offer_all(self, phase: Phase, inputs: Sequence[Input]) -> None:
        """Offer inputs, as many as the budget allows."""
        for number, input in enumerate(inputs):
            if not self._may_go_on(phase):
                self.budget.note_cut(phase, number, len(inputs))
                return
            self.offer(input)

    def restore(self, inputs: Iterable[Input], dropped: Counter[str]) -> bool:
        """Add the inputs of a saved corpus. Returns False if the function is not defined on one of them any more."""
        self.dropped = dropped
        try:
            for input in inputs:
                self.entries[input] = self._accept(input, self._pool.features, RESTORED_EDGES)
        except Exception:  # a fault of the harness shows again when new inputs are generated
            return False
        return True

    def explore(
        self, strategy: st.SearchStrategy[Input], examples: int, random_seed: int, phase: Phase = "drawing"
    ) -> None:
        """Draw inputs from a strategy until up to `examples` are added."""
        exploration = Exploration(self._unaided_count, examples)

        def offer_next(draw_input: Callable[[], Input]) -> bool:
            """Draw an input and offer it. Returns whether it was a new one."""
            if not self._may_go_on(phase):
                self.budget.note_cut(phase, self._unaided_count - exploration.first, examples)
                raise SearchDoneError
            input, before = self._restrict(draw_input()), len(self.entries)
            is_new = input not in self._seen
            try:
                self.offer(input)
            except Exception as fault:
                raise SearchDoneError from fault
            if exploration.is_done(self._unaided_count, input in self.entries or len(self.entries) > before, is_new):
                raise SearchDoneError
            return is_new

        def step(draw_input: Callable[[], Input]) -> None:
            before = len(self.entries)
            # Behind a repeated input there are mostly further ones: hypothesis tries the simplest values first.
            while offer_next(draw_input):
                pass
            assume(len(self.entries) > before)

        if examples:
            run_search(Source(strategy), step, 2 * examples, random_seed, (SearchPhase.generate,))

    def fuzz(self, examples: int, random_seed: int, words: Iterable[bytes], constants: Sequence[int] = ()) -> None:
        """Mutate seeds until the effort budget is spent, then add up to `examples` of the new seeds.

        The budget is filled up again where a mutation takes an edge that no seed takes, up to a limit.
        `words` are texts that occur in the program, `constants` the numbers that it compares with.
        """
        mutator, grammar = Mutator(random_seed, words), TextGrammar(random_seed, constants)
        for seed in self._pool[:]:
            mutator.learn(seed.comparisons)
            grammar.learn(seed)
        rng = random.Random(random_seed)
        known_seeds, known = len(self._pool), self._known_edges()
        planned = budget = _MUTATIONS_PER_EXAMPLE * examples * 2 * _MUTATION_EFFORT if known_seeds else 0
        most = _MOST_REFILLS * planned
        while budget > 0 and most > 0:
            if not self._may_go_on("mutation"):
                self.budget.note_cut("mutation", planned - budget, planned)
                break
            seed, donor = self._pool.choose(rng), self._pool.choose_any(rng)
            derived = grammar.derive(seed) if rng.random() < _DERIVED_SHARE else None
            input = self._restrict(derived or mutator.mutate(seed, donor.input))
            if input not in self._seen and self._try_as_seed(input):
                mutator.learn(self._pool.latest.comparisons)
                grammar.learn(self._pool.latest)
                if not find_edges(self._pool.latest.features) <= known:
                    known, budget = self._known_edges(), planned
            budget, most = (left - _MUTATION_EFFORT - self._effort() for left in (budget, most))
        self._add_best(self._pool[known_seeds:], len(self.entries) + examples)

    def add_long_input(self) -> None:
        """Add one input with a text of more than 65,535 bytes, made from a seed whose loops run often.

        Where a run on so long a text would take too long, the text is as long as fits.
        """
        for seed in sorted(self._pool[:], key=lambda seed: seed.most_rounds, reverse=True)[:_LONG_ATTEMPTS]:
            if lengthen(seed, LONG_BYTES) is None:
                continue
            if not self._may_go_on("lengthening"):
                self.budget.note_cut("lengthening", 0, LONG_BYTES)
                return
            for length in list_lengths(functools.partial(self._measure_length, seed), MAX_STEPS):
                input = lengthen(seed, length)
                if input is not None and self._is_cheap(input) and self._add_if_defined(input, MAX_STEPS):
                    if length < LONG_BYTES:
                        self.budget.note_cut("lengthening", length, LONG_BYTES)
                    return

    def keep(self, inputs: Iterable[Input], reserve_count: int) -> None:
        """Keep only some of the entries, and choose the reserve among what is then left."""
        rest = self._plain
        rest |= {seed.input: seed.features for seed in self._pool[:] if seed.input not in self._considered_seeds}
        rest |= {input: entry.probe_result.features for input, entry in self.entries.items()}
        self.entries = {input: self.entries[input] for input in inputs}
        rest = {input: features for input, features in rest.items() if input not in self.entries}
        chosen = choose_balanced(
            {input: rest[input] for input in rest if _count_bytes(input) <= _RESERVE_BYTES}, reserve_count
        )
        # A second look at expensive code does not get to the end of the reserve, so that all kinds have turns.
        varied = iter(self._varied)
        self.reserve = list(dict.fromkeys(take_in_turn(iter(self._replaced), varied, varied, iter(chosen))))

    def vary(self, named: int, hints: Hints) -> None:
        """Find variations of the seeds for the reserve: see `systematic`. `named` is the number of named parameters.

        Those that take an edge which no seed takes are added to the entries.
        """
        known = self._known_edges()
        seeds, shown = self._pool[:], set[Features]()
        has_null = not hints.passes_pointers_on
        for input in generate_systematically(
            seeds, named, self._restricted, hints.numbers, hints.divisors, has_null=has_null
        ):
            if not self._may_go_on("varying"):
                return
            if self._probe_variation(input, known):
                self._varied.append(self._restrict(input))
        for input in replace_characters(seeds):
            if not self._may_go_on("varying"):
                return
            result = self._probe_variation(input, known)
            if result and result.features not in shown:
                shown.add(result.features)
                self._replaced.append(self._restrict(input))

    def _probe_variation(self, input: Input, known: set[int]) -> ProbeResult | None:
        """What a variation shows; None where it is of no use for the reserve. One that takes another edge than the
        `known` ones is added to the entries."""
        input = self._restrict(input)
        if input in self._seen:
            return None
        self._seen.add(input)
        with contextlib.suppress(UndefinedInputError):
            if _count_bytes(input) > _VARIED_BYTES:
                return None
            result = self._probe_once(input)
            edges = find_edges(result.features)
            if edges - known:
                self._add(input)
                known |= edges
            elif result.steps <= (_LONG_STEPS if self._long_left else _RESERVE_STEPS):
                self._long_left -= result.steps > _RESERVE_STEPS
                return result
        return None

    def list_missed(self) -> list[tuple[Input, str]]:
        """Dropped inputs that reached what no entry does, with the reasons; a few, which cover all edges."""
        reached = {edge for entry in self.entries.values() for edge in find_edges(entry.probe_result.features)}
        missed = (found for edge, found in self._dropped_by_edge.items() if edge not in reached)
        return list(dict.fromkeys(missed))[:_MAX_MISSED]

    def close(self) -> None:
        """Release the memory that only generating needs."""
        self._seen, self._considered_seeds, self._plain = set(), set(), {}
        self._varied, self._replaced = [], []
        self._pool = SeedPool()
        self._dropped_by_edge = {}

    def _known_edges(self) -> set[int]:
        """The edges that a seed takes."""
        return find_edges(self._pool.features)

    @property
    def _unaided_count(self) -> int:
        """The entries but for mended ones: these come in addition to as many as are asked for."""
        return len(self.entries) - self._mender.mended

    def _may_go_on(self, phase: Phase) -> bool:
        return self.budget.allows(phase, len(self.entries)) and not self._run_limit.is_hopeless

    # -- running inputs

    def _probe_once(self, input: Input) -> ProbeResult:
        limit = self._run_limit.edges
        with self._noting_failures(input, limit):
            return self._probe(input, self._pool.features, limit)

    def _measure_length(self, seed: Seed, length: int) -> int | None:
        """The edges of a run on an input with a text of some length; None where the function is not defined on it, or
        takes too long."""
        input = lengthen(seed, length)
        with contextlib.suppress(UndefinedInputError):
            return self._probe(input, self._pool.features, MAX_STEPS).steps if input is not None else None
        return None

    def _accept_affordable(self, input: Input, steps: int) -> EntryT:
        """The entry of an input. Raises UndefinedInputError for an expensive input if there are enough of these."""
        with self._noting_failures(input, steps):
            entry = self._accept(input, self._pool.features, steps)
            self._cost_limit.admit(self._effort() - entry.probe_result.steps)
        self._run_limit.note_entry(entry.probe_result.steps)
        return entry

    @contextlib.contextmanager
    def _noting_failures(self, input: Input, limit: int) -> Iterator[None]:
        """Tell the run limit of a run that fails, and what it has cost; keep the input where it reached something."""
        spent = self.budget.spent
        try:
            yield
        except UndefinedInputError as error:
            for edge in error.edges - self._dropped_by_edge.keys():
                self._dropped_by_edge[edge] = input, str(error)
            self._run_limit.note_failure(limit, self.budget.spent - spent, is_too_long=str(error) == TOO_LONG)
            raise

    def _is_cheap(self, input: Input) -> bool:
        with contextlib.suppress(UndefinedInputError):
            result = self._probe(input, self._pool.features, MAX_STEPS)
            return not self._cost_limit.is_expensive(self._effort() - result.steps)
        return False

    def _try_as_seed(self, input: Input) -> bool:
        """Run an input, and make it a seed if it shows something new. Returns whether it does."""
        self._seen.add(input)
        with contextlib.suppress(UndefinedInputError):
            result = self._probe_once(input)
            if result.comparisons and self._pool.is_worth_adding(result.features):
                self._pool.add(input, result.features, result.comparisons)
                return True
            if result.steps <= _RESERVE_STEPS:
                self._plain[input] = result.features
        return False

    # -- adding inputs

    def _add(self, input: Input, steps: int | None = None) -> None:
        entry = self.entries[input] = self._accept_affordable(input, steps or self._run_limit.edges)
        if entry.probe_result.comparisons:
            self._pool.add(input, entry.probe_result.features, entry.probe_result.comparisons)

    def _add_if_defined(self, input: Input, steps: int | None = None) -> bool:
        """Add an input that was not run yet. Returns whether the function is defined on it."""
        if input in self._seen:
            return False
        self._seen.add(input)
        try:
            self._add(input, steps)
        except UndefinedInputError:
            return False
        return True

    def _add_best(self, seeds: Sequence[Seed], target_count: int) -> None:
        """Add seeds until there are `target_count` entries.

        First come seeds with a branch feature that no entry has. Then the rarest branch feature among the entries is
        found again and again, and the latest seed that shows it is added.
        """
        counts: Counter[Feature] = Counter()
        for entry in self.entries.values():
            counts.update(branch_features(entry.probe_result.features))
        remaining: dict[Feature, list[Seed]] = {}
        for number, seed in enumerate(seeds):
            if not self._may_go_on("seeds"):
                self.budget.note_cut("seeds", number, len(seeds))
                return
            if any(not counts[feature] for feature in branch_features(seed.features)):
                self._add_seed(seed, counts)
            else:
                for feature in branch_features(seed.features):
                    remaining.setdefault(feature, []).append(seed)
            if len(self.entries) >= target_count:
                return
        while remaining and len(self.entries) < target_count and self._may_go_on("seeds"):
            rarest = min(remaining, key=lambda feature: (counts[feature], feature))
            seed = remaining[rarest].pop()
            if not remaining[rarest]:
                del remaining[rarest]
            self._add_seed(seed, counts)

    def _add_seed(self, seed: Seed, counts: Counter[Feature]) -> None:
        """Add a seed to the entries, and its branch features to `counts`."""
        if seed.input in self.entries or seed.input in self._considered_seeds:
            return
        self._considered_seeds.add(seed.input)
        with contextlib.suppress(UndefinedInputError):
            steps = max(MAX_STEPS, self._run_limit.edges)
            self.entries[seed.input] = self._accept_affordable(seed.input, steps)
            counts.update(branch_features(seed.features))


def _count_bytes(input: Input) -> int:
    return sum(len(target.data) for target in list_objects(input))
