"""How fast and how small answers are beside clang's code, function by function."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pytest_llmcompiler.report.columns import REFERENCE_LEVELS
from pytest_llmcompiler.report.records import CodeCost, Record, RecordCost


class CostPoint(NamedTuple):
    """Speed and size as ratios: those of clang's code at a level, divided by those of other code. Above 1 is better."""

    speed: float
    size: float


def function_points(records: Iterable[Record], speed: str, size: str) -> list[CostPoint]:
    """A point for each function: the geometric mean over its samples that pass. `speed` and `size` are levels of
    clang."""
    functions: dict[tuple[str, str], list[CostPoint]] = defaultdict(list)
    for record, cost in _with_cost(records):
        point = _divide(cost, cost, speed, size)
        if point:
            functions[record["case"], record["function"]].append(point)
    return [_geometric_mean(points) for points in functions.values()]


def clang_points(records: Iterable[Record], speed: str, size: str) -> dict[str, CostPoint]:
    """The same for clang's own code at each level: the geometric mean over functions."""
    costs = {(record["case"], record["function"]): cost for record, cost in _with_cost(records)}
    result = {}
    for level in REFERENCE_LEVELS:
        pairs = ((cost, cost["references"].get(level)) for cost in costs.values())
        points = [point for cost, own in pairs if own and (point := _divide(cost, own, speed, size))]
        if points:
            result[level] = _geometric_mean(points)
    return result


def _with_cost(records: Iterable[Record]) -> Iterator[tuple[Record, RecordCost]]:
    for record in records:
        cost = record.get("detail", {}).get("cost")
        if cost:
            yield record, cost


def _divide(cost: RecordCost, own: CodeCost, speed: str, size: str) -> CostPoint | None:
    """The point of code that costs `own`; None where a count is missing or 0."""
    references = cost["references"]
    if speed not in references or size not in references:
        return None
    counts = references[speed]["instructions"], own["instructions"], references[size]["bytes"], own["bytes"]
    return CostPoint(counts[0] / counts[1], counts[2] / counts[3]) if all(counts) else None


def _geometric_mean(points: Sequence[CostPoint]) -> CostPoint:
    return CostPoint(*(math.exp(math.fsum(map(math.log, values)) / len(points)) for values in zip(*points)))
