"""The axes of the plots in the report page, and shapes in their coordinates.

A plot fills whatever width the page has. So positions are percents of an axis, and nothing is computed in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A label of an axis; `position` in percent of its length, from its origin."""

    label: str
    position: float


@dataclass(frozen=True)
class Axis:
    """An axis of a plot: from a value to a position, and the labels."""

    title: str
    low: float
    """The value at the origin."""
    high: float
    """The value at the end, above `low`."""
    ticks: tuple[Tick, ...]
    is_logarithmic: bool = False

    @classmethod
    def linear(cls, title: str, low: float, high: float, labelled: Iterable[float]) -> Axis:
        """An axis with labels at the values `labelled`."""
        axis = cls(title, low, max(high, low + 1e-9), ())
        return axis._with_labels(labelled)

    @classmethod
    def logarithmic(cls, title: str, values: Iterable[float]) -> Axis:
        """A logarithmic axis for all `values` (above 0), and for 1 in any case. Powers of 2 bound and label it."""
        exponents = [0.0, *(math.log2(value) for value in values)]
        first, last = math.floor(min(exponents)), math.ceil(max(exponents))
        if first == last:
            first, last = first - 1, last + 1
        step = max(1, math.ceil((last - first) / _MAX_TICKS))
        # Every label is a multiple of the step, so that there is one at 1.
        labelled = [2.0**exponent for exponent in range(first, last + 1) if exponent % step == 0]
        return cls(title, 2.0**first, 2.0**last, (), is_logarithmic=True)._with_labels(labelled)

    @classmethod
    def categories(cls, title: str, names: Sequence[str]) -> Axis:
        """An axis of as many equal steps as there are names, each labelled in its middle; a name's value is its
        index plus 1/2."""
        count = max(1, len(names))
        ticks = (Tick(name, 100 * (number + 0.5) / count) for number, name in enumerate(names))
        return cls(title, 0, count, tuple(ticks))

    def position(self, value: float) -> float:
        """The position of a value in percent; what lies outside is put at the nearer end."""
        if self.is_logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return 100 * min(1.0, max(0.0, share))

    def _with_labels(self, values: Iterable[float]) -> Axis:
        ticks = tuple(Tick(format_number(value), self.position(value)) for value in values)
        return Axis(self.title, self.low, self.high, ticks, self.is_logarithmic)


_MAX_TICKS = 8
"""Labels of a logarithmic axis, about: more touch each other on a narrow screen."""


@dataclass(frozen=True)
class PlotArea:
    """The rectangle between two axes."""

    x: Axis
    y: Axis

    def points(self, values: Iterable[tuple[float, float]]) -> str:
        """The attribute `points` of a polyline or polygon in a view box of 100 by 100, origin at the upper left."""
        return " ".join(f"{self.x.position(x):.2f},{100 - self.y.position(y):.2f}" for x, y in values)


def format_number(value: float) -> str:
    """A value as a label: at most four digits, thousands apart, and fractions of powers of 2 as fractions."""
    inverse = 1 / value if value else 0
    if 1 < inverse < 1_000_000 and inverse == int(inverse):
        return f"1/{inverse:.0f}"
    return f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}"
