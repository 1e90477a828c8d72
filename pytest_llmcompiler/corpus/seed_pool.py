"""Seeds: inputs that showed new coverage, from which the fuzzer makes further inputs."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence, Set
from dataclasses import dataclass

from pytest_llmcompiler.corpus.input_numbers import InputNumber, InputNumbers
from pytest_llmcompiler.emulator.coverage import Comparisons, Feature, Features
from pytest_llmcompiler.values.c_types import Int, Struct
from pytest_llmcompiler.values.input import Input, Object, list_objects

_MAX_SEEDS = 2_000
"""Above this many seeds, an input whose only novelty is a new combination of known edges is not added."""


@dataclass(frozen=True)
class Seed:
    """An input that showed new coverage, with the coverage of its run.

    A seed is mutated many times. So it keeps the parts of its input that mutations look for.
    """

    input: Input
    features: Features
    comparisons: Comparisons

    @functools.cached_property
    def objects(self) -> list[Object]:
        """The objects of the input, in the order of their numbers."""
        return list_objects(self.input)

    @functools.cached_property
    def plain_buffers(self) -> list[int]:
        """The objects of integers without pointers, by number."""
        return [n for n, target in enumerate(self.objects) if isinstance(target.element, Int) and not target.links]

    @functools.cached_property
    def numbers(self) -> InputNumbers:
        """The integers in the input."""
        return InputNumbers(self.input)

    @functools.cached_property
    def direct_numbers(self) -> Sequence[InputNumber]:
        """The integers in arguments and global variables; all, where there are none in these."""
        return self.numbers.list_direct() or self.numbers

    @functools.cached_property
    def counters(self) -> list[InputNumber]:
        """The numbers that may count elements: arguments, global variables, and members of structs."""
        others = {n for n, target in enumerate(self.objects) if not isinstance(target.element, Struct)}
        return self.numbers.list_outside(others)

    @property
    def most_rounds(self) -> int:
        """How often the run took the edge that it took most often, on the scale of the feature "edge"."""
        return max((count for kind, _, count in self.features if kind == "edge"), default=0)


def branch_features(features: Features) -> list[Feature]:
    """The edges that a run took, however often, and the outcomes of its comparisons; sorted.

    A corpus is balanced by these. The other features (loop counts, distances, paths) only guide the search.
    """
    edges = {(kind, at, 0) for kind, at, _ in features if kind == "edge"}
    return sorted(edges | {feature for feature in features if feature[0] in ("relation", "text", "letter")})


def find_edges(features: Set[Feature]) -> set[int]:
    """The edges among features, by number."""
    return {edge for kind, edge, _ in features if kind == "edge"}


class SeedPool:
    """The seeds, and all features that any of them showed."""

    def __init__(self) -> None:
        self.features: set[Feature] = set()
        """The features that are known. A run that shows another one is new."""
        self._seeds: list[Seed] = []
        self._seeds_by_branch: dict[Feature, list[Seed]] = {}

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: slice) -> Sequence[Seed]:
        return self._seeds[index]

    @property
    def latest(self) -> Seed:
        """The seed that was added last."""
        return self._seeds[-1]

    def add(self, input: Input, features: Features, comparisons: Comparisons) -> None:
        """Add an input as a seed. Its features are known from now on."""
        self.features |= features
        seed = Seed(input, features, comparisons)
        self._seeds.append(seed)
        for feature in branch_features(features):
            self._seeds_by_branch.setdefault(feature, []).append(seed)

    def is_worth_adding(self, features: Features) -> bool:
        """Whether a run with these features may become a seed, see `_MAX_SEEDS`."""
        new_kinds = {kind for kind, _, _ in features - self.features}
        return len(self._seeds) < _MAX_SEEDS or new_kinds != {"path"}

    def choose(self, rng: random.Random) -> Seed:
        """Choose a seed to mutate. Late seeds are more likely than early ones.

        Half of the time all seeds compete. Otherwise a branch feature is chosen first, and the seeds that show it
        compete: so a branch that few seeds take is tried as often as any other.
        """
        if not self._seeds_by_branch or rng.random() < 0.5:
            return _choose_late(self._seeds, rng)
        return _choose_late(self._seeds_by_branch[rng.choice(list(self._seeds_by_branch))], rng)

    def choose_any(self, rng: random.Random) -> Seed:
        """Choose a seed, each with the same probability."""
        return rng.choice(self._seeds)


def _choose_late(seeds: Sequence[Seed], rng: random.Random) -> Seed:
    """The later of two random seeds."""
    return seeds[max(rng.randrange(len(seeds)) for _ in range(2))]
