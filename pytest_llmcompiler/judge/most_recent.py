"""The objects that were used last, of which only so many keep what takes memory."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class MostRecent(Generic[_Item]):
    """Remembers the objects that were used last, at most `most` of them, and keeps none of them alive."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._references: list[weakref.ref[_Item]] = []

    def use(self, item: _Item) -> list[_Item]:
        """Note that an object is used. Returns those that are too many now, which are forgotten."""
        others = [other for other in (reference() for reference in self._references) if other is not None]
        others = [other for other in others if other is not item]
        first_kept = max(0, len(others) + 1 - self._most)
        self._references = [weakref.ref(one) for one in (*others[first_kept:], item)]
        return others[:first_kept]
