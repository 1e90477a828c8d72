"""Speed against size of right answers: the plot of the report page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmcompiler.report.cost_estimate import (
    CostEstimate,
    estimate_cost,
    estimate_geometric_mean,
    mean_by_function,
)
from pytest_llmcompiler.report.cost_ratios import MEASURES, SIZE, SPEED
from pytest_llmcompiler.report.passk import SampleCounts
from pytest_llmcompiler.report.svg import Axis, PlotArea


class PlottedCost(NamedTuple):
    """A function, or a level of clang over all functions."""

    name: str
    speed: float
    size: float


@dataclass(frozen=True)
class CostPlot:
    """A point for each function with a right answer, one for each level of clang, and the means of all functions."""

    area: PlotArea
    functions: tuple[PlottedCost, ...]
    levels: tuple[PlottedCost, ...]
    estimates: tuple[tuple[str, CostEstimate], ...]
    """All measures over functions."""

    @property
    def main(self) -> list[tuple[str, CostEstimate]]:
        """The two measures that stand beside pass@k."""
        return [(name, mean) for name, mean in self.estimates if name in (SPEED, SIZE)]

    @property
    def mean(self) -> PlottedCost:
        """The mean over functions."""
        values = dict(self.estimates)
        return PlottedCost("mean", values[SPEED].value, values[SIZE].value)


def plot_costs(counts_by_item: Sequence[SampleCounts]) -> CostPlot | None:
    """The plot; None where no answer passes that has its cost."""
    speeds, sizes = mean_by_function(counts_by_item, SPEED), mean_by_function(counts_by_item, SIZE)
    functions = tuple(
        PlottedCost(f"{file}::{name}", math.exp(speed), math.exp(sizes[file, name]))
        for (file, name), speed in speeds.items()
        if (file, name) in sizes
    )
    if not functions:
        return None
    levels = tuple(_list_levels(counts_by_item))
    points = [*functions, *levels]
    sizes_axis = Axis.logarithmic("size", [point.size for point in points])
    area = PlotArea(sizes_axis, Axis.logarithmic("speed", [point.speed for point in points]))
    estimates = ((name, estimate_cost(counts_by_item, name)) for name in MEASURES)
    return CostPlot(area, functions, levels, tuple((name, mean) for name, mean in estimates if mean))


def _list_levels(counts_by_item: Sequence[SampleCounts]) -> Iterator[PlottedCost]:
    """clang's own code at each level. Its ratios are those of answers to O3 and Oz, divided by those to the level."""
    for level in dict.fromkeys(name.partition("@")[2] for name in MEASURES):
        speed = _divide_means(counts_by_item, SPEED, f"speed@{level}")
        size = _divide_means(counts_by_item, SIZE, f"size@{level}")
        if speed and size:
            yield PlottedCost(f"-{level}", speed.value, size.value)


def _divide_means(counts_by_item: Sequence[SampleCounts], first: str, second: str) -> CostEstimate | None:
    ones, others = mean_by_function(counts_by_item, first), mean_by_function(counts_by_item, second)
    return estimate_geometric_mean([ones[function] - others[function] for function in ones if function in others])
