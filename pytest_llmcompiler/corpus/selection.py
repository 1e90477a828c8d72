"""Choosing the inputs of a suite: as few as show, several times, all that the whole corpus shows."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

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
