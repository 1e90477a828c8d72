"""Speed and size of right answers over functions: means with their intervals, and what is said of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.report.cost_ratios import MEASURES, SIZE, SPEED
from pytest_llmcompiler.report.passk import SampleCounts, t_quantile

_MOST_LISTED = 3
"""Functions that are named as the slowest, and as the largest."""


@dataclass(frozen=True)
class CostEstimate:
    """A geometric mean of ratios over functions, with its 95 % confidence interval."""

    value: float
    low: float
    high: float
    """Infinite, with `low` 0, where there is one function only: it says nothing of others."""
    functions: int

    def __str__(self) -> str:
        value, low, high = (f"{x:.2f}" if x < 100 else f"{x:,.0f}" for x in (self.value, self.low, self.high))
        return value if self.functions == 1 else f"{value} ({low}-{high})"


def mean_by_function(counts_by_item: Iterable[SampleCounts], measure: str) -> dict[tuple[str, str], float]:
    """The logarithm of a measure for each function, by file and name: the mean over the questions about it that have a
    right answer."""
    logarithms: dict[tuple[str, str], list[float]] = defaultdict(list)
    for counts in counts_by_item:
        if measure in counts.costs:
            logarithms[counts.key.case, counts.key.function].append(math.log(counts.costs[measure]))
    return {function: math.fsum(values) / len(values) for function, values in logarithms.items()}


def estimate_cost(counts_by_item: Iterable[SampleCounts], measure: str) -> CostEstimate | None:
    """The geometric mean of a measure over the functions that have a right answer; None where none has.

    Each function counts once. The interval is about functions like these: Student's t on the logarithms.
    """
    return estimate_geometric_mean(list(mean_by_function(counts_by_item, measure).values()))


def estimate_geometric_mean(logarithms: Sequence[float]) -> CostEstimate | None:
    """The geometric mean of ratios that are given as logarithms, one for each function; None without any."""
    count = len(logarithms)
    if not count:
        return None
    mean = math.fsum(logarithms) / count
    if count == 1:
        return CostEstimate(math.exp(mean), 0.0, math.inf, 1)
    variance = math.fsum((value - mean) ** 2 for value in logarithms) / (count - 1)
    half = t_quantile(count - 1) * math.sqrt(variance / count)
    return CostEstimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half), count)


def cost_notes(counts_by_item: Sequence[SampleCounts]) -> list[str]:
    """Speed and size against all levels of clang, in lines; none where no answer has costs."""
    estimates = {name: estimate_cost(counts_by_item, name) for name in MEASURES}
    functions = max((mean.functions for mean in estimates.values() if mean), default=0)
    if not functions:
        return []
    lines = [
        "speed and size of passing samples: instructions and bytes of clang's code for each one of theirs, the "
        f"geometric mean over {functions} function{'s'[: functions != 1]} and its 95 % interval; above 1 is better"
    ]
    for kind in dict.fromkeys(name.partition("@")[0] for name in MEASURES):
        parts = [f"{name.partition('@')[2]} {mean}" for name, mean in estimates.items() if mean and kind in name]
        lines.append(f"  {kind:5}  against " + ", ".join(parts))
    for noun, measure in (("slowest", SPEED), ("largest", SIZE)):
        worst = list_worst(counts_by_item, measure)
        if worst:
            lines.append(f"  {noun}, by {measure}: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in worst))
    return lines


def list_worst(counts_by_item: Iterable[SampleCounts], measure: str) -> list[tuple[str, float]]:
    """The functions whose right answers are furthest behind clang by a measure, the worst first; none that are not
    behind."""
    means = mean_by_function(counts_by_item, measure)
    behind = sorted((mean, f"{file}::{name}") for (file, name), mean in means.items() if mean < 0)
    return [(name, math.exp(mean)) for mean, name in behind[:_MOST_LISTED]]
