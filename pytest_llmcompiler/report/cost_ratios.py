"""Speed and size of one right answer, beside clang's own code: what `detail.cost` of a record tells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import get_args

from pytest_llmcompiler.program.clang import OptimisationLevel

SPEED, SIZE = "speed@O3", "size@Oz"
"""The measures that tables and baselines have: against the levels of clang that aim for speed and for size."""
_FACTS = {"speed": "instructions", "size": "bytes"}
"""What a measure compares."""
MEASURES = tuple(f"{kind}@{level}" for kind in _FACTS for level in get_args(OptimisationLevel))
"""The names of all measures: `speed@O3` is the instructions of clang -O3 over those of the answer, `size@Oz` the same
with bytes. Above 1 the answer is better."""


def read_ratios(cost: object) -> dict[str, float]:
    """The measures of one answer by name, from its fact `cost`. It may come from a file that somebody edited: what is
    not right is left out."""
    ratios = ((name, read_ratio(cost, name)) for name in MEASURES)
    return {name: ratio for name, ratio in ratios if ratio is not None}


def read_ratio(cost: object, measure: str) -> float | None:
    """One measure of an answer, from its fact `cost`; None where that is missing or not right."""
    references = cost.get("references") if isinstance(cost, Mapping) else None
    if not isinstance(references, Mapping):
        return None
    kind, _, level = measure.partition("@")
    own, other = _read_count(cost, _FACTS[kind]), _read_count(references.get(level), _FACTS[kind])
    return other / own if own and other else None


def _read_count(cost: object, fact: str) -> int:
    """A count of a cost; 0 where it is missing, or no count."""
    value = cost.get(fact) if isinstance(cost, Mapping) else None
    return value if isinstance(value, int) and value > 0 else 0


def average_ratios(costs: Iterable[object]) -> dict[str, float]:
    """The geometric mean of each measure over the answers that have it."""
    logarithms: dict[str, list[float]] = {}
    for cost in costs:
        for name, ratio in read_ratios(cost).items():
            logarithms.setdefault(name, []).append(math.log(ratio))
    return {name: math.exp(math.fsum(values) / len(values)) for name, values in logarithms.items()}


def describe_cost(cost: object) -> str:
    """One line about what an answer costs, beside clang's code; empty for what is no cost."""
    parts = []
    for measure, noun in ((SPEED, "instructions executed"), (SIZE, "bytes of code")):
        kind, _, level = measure.partition("@")
        own, references = _read_count(cost, _FACTS[kind]), cost.get("references") if isinstance(cost, Mapping) else None
        other = _read_count(references.get(level), _FACTS[kind]) if isinstance(references, Mapping) else 0
        beside = f" (clang -{level}: {other:,})" if other else ""
        parts += [f"{own:,} {noun}{beside}"] if own else []
    return ", ".join(parts)
