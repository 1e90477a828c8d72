"""Tables in Markdown, and the figures in them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence


def format_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table, line by line."""
    for row in (heading, ["---"] * len(heading), *rows):
        yield f"| {' | '.join(row)} |"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def format_spread(values: Sequence[float], unit: float = 1.0, digits: int = 1) -> list[str]:
    """Median and 95th percentile, in multiples of a unit."""
    if not values:
        return ["–", "–"]
    return [f"{value / unit:,.{digits}f}" for value in (statistics.median(values), percentile(values, 0.95))]
