"""Choosing the inputs of a suite: as few as show, several times, all that the whole corpus shows."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

from pytest_llmcompiler.emulator.coverage import Feature, Features

DEMAND = 4
"""How many of the kept inputs show each thing, where as many do. One is not enough: what a candidate does wrongly on
the way to an edge may show in the result of some inputs alone."""

_Item = TypeVar("_Item", bound=Hashable)


def choose_covering(
    shown: Mapping[_Item, Collection[Hashable]], required: Collection[_Item], limit: int
) -> list[_Item]:
    """Items that together show each thing `DEMAND` times, or as often as all do; in the order of `shown`.

    The `required` items are kept in any case. Then that which shows most that is still wanted comes next, until nothing
    is. Where these are fewer than `limit`, the first of the others follow. All items are kept where they are no more
    than `limit`.
    """
    if len(shown) <= limit:
        return list(shown)
    counts: Counter[Hashable] = Counter()
    kept = dict.fromkeys(item for item in shown if item in required)
    for item in kept:
        counts.update(shown[item])

    def count_wanted(item: _Item) -> int:
        return sum(counts[thing] < DEMAND for thing in shown[item])

    order = list(shown)
    # What an item adds never grows, so its old value is an upper bound, and most need not be counted again.
    queue = [(-count_wanted(item), at) for at, item in enumerate(order) if item not in kept]
    heapq.heapify(queue)
    while queue and queue[0][0]:
        at = queue[0][1]
        wanted = -count_wanted(order[at])
        if wanted != queue[0][0]:
            heapq.heapreplace(queue, (wanted, at))
            continue
        heapq.heappop(queue)
        kept[order[at]] = None
        counts.update(shown[order[at]])
    return _fill(order, kept, limit)


def _fill(order: Sequence[_Item], kept: Mapping[_Item, None], limit: int) -> list[_Item]:
    others = [item for item in order if item not in kept][: max(0, limit - len(kept))]
    chosen = {*kept, *others}
    return [item for item in order if item in chosen]


def choose_balanced(shown: Mapping[_Item, Features], count: int) -> list[_Item]:
    """Up to `count` items of which each feature is shown by about as many: what the fewest chosen ones show comes next.

    How near comparisons came does not count. Of items that show the same, later ones are preferred.
    """
    remaining: dict[Feature, list[_Item]] = {}
    for item, features in shown.items():
        for feature in features:
            if feature[0] != "near":
                remaining.setdefault(feature, []).append(item)
    queue = [(0, feature) for feature in remaining]
    heapq.heapify(queue)
    counts: Counter[Feature] = Counter()
    chosen: dict[_Item, None] = {}
    while queue and len(chosen) < count:
        known, feature = queue[0]
        if known != counts[feature]:
            heapq.heapreplace(queue, (counts[feature], feature))
        elif not remaining[feature]:
            heapq.heappop(queue)
        else:
            item = remaining[feature].pop()
            if item not in chosen:
                chosen[item] = None
                counts.update(shown[item])
    return list(chosen)
