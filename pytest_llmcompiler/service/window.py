"""The samples of a batch that are under way."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future
from typing import Generic, TypeVar

_SAMPLES = 4096
"""Samples for each process that are read before the first of them has a verdict. While a new function is prepared,
which may take a minute, the processes judge those that come after."""
_CHARACTERS = 64 << 20
"""Characters of their answers, which bounds the memory that a batch takes."""
T = TypeVar("T")
"""What the future of a sample has in the end."""


class Window(Generic[T]):
    """The samples that were read of a batch, and whose verdicts were not given out, in their order."""

    def __init__(self, workers: int) -> None:
        self.owner = os.getpid()
        """The process in which the samples are judged."""
        self._most = _SAMPLES * workers
        self._futures: deque[tuple[Future[T], int]] = deque()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._futures)

    @property
    def is_full(self) -> bool:
        """Whether no further sample is to be read before a verdict is given out."""
        return len(self._futures) >= self._most or self._characters >= _CHARACTERS

    @property
    def has_next(self) -> bool:
        """Whether the next verdict is there."""
        return bool(self._futures) and self._futures[0][0].done()

    @property
    def first(self) -> Future[T]:
        """The reply for the first sample."""
        return self._futures[0][0]

    def add(self, future: Future[T], characters: int) -> None:
        """Add a sample with an answer of so many characters."""
        self._futures.append((future, characters))
        self._characters += characters

    def remove_first(self) -> None:
        """Take out the first sample."""
        _, characters = self._futures.popleft()
        self._characters -= characters

    def take_all(self) -> list[Future[T]]:
        """Take out all samples."""
        futures = [future for future, _ in self._futures]
        self._futures.clear()
        self._characters = 0
        return futures
