"""Several series as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


def take_in_turn(*series: Iterator[_Item]) -> Iterator[_Item]:
    """One item of each series in turn, until all end. A series that is given twice has two turns."""
    left = list(series)
    while left:
        for one in list(left):
            try:
                yield next(one)
            except StopIteration:
                left.remove(one)
