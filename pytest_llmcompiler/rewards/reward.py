"""What the rewards of all libraries have in common: columns, a table, and a judge that is opened when it is needed."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Protocol

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.rewards.columns import Columns
from pytest_llmcompiler.rewards.table import RewardTable, read_table, reward_of
from pytest_llmcompiler.service.judge import Judge
from pytest_llmcompiler.service.sample import Sample


class BatchJudge(Protocol):
    """The part of a `Judge` that rewards use. A `RayJudge` has it too."""

    def check_many(self, samples: Iterable[Sample]) -> Iterator[Verdict]: ...

    def acheck_many(self, samples: Iterable[Sample]) -> AsyncIterator[Verdict]: ...


class Reward:
    """Judges samples and gives each a reward.

    `columns` has the names of the dataset's columns, `table` what verdicts are worth (see `reward_of`). `open_judge`
    returns the judge: `functools.partial(Judge, 4, timeout=60)` for other settings. It is called in the process that
    needs a verdict, and not before: the object may be pickled, and sent to workers. Without it, all rewards in a
    process share one judge, which counts agreeing inputs if the table asks for them.

    Raises ValueError for a table that is not known.
    """

    def __init__(
        self,
        columns: Columns | None = None,
        *,
        table: str | RewardTable | None = None,
        open_judge: Callable[[], BatchJudge] | None = None,
    ) -> None:
        self.columns = columns or Columns()
        self.table = read_table(table)
        self._open_judge = open_judge
        self._judge: BatchJudge | None = None

    def judge(self, samples: Iterable[Sample]) -> list[Verdict]:
        """The verdicts on samples, in their order. What goes wrong with one of them is an `inconclusive` verdict."""
        return list(self._opened().check_many(samples))

    async def ajudge(self, samples: Iterable[Sample]) -> list[Verdict]:
        """As `judge`, without holding up the event loop."""
        return [verdict async for verdict in self._opened().acheck_many(samples)]

    def reward_of(self, verdict: Verdict) -> float | None:
        """The reward of a verdict by the table; None where nothing is known."""
        return reward_of(verdict, self.table)

    def number_of(self, verdict: Verdict) -> float:
        """The reward of a verdict for a library that needs a number: 0 where nothing is known."""
        return self.reward_of(verdict) or 0.0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_judge": None}

    def _opened(self) -> BatchJudge:
        if self._open_judge is None:
            return _open_shared_judge(counts_agreeing=bool(self.table["agreeing"]))
        with _LOCK:
            if self._judge is None:
                self._judge = self._open_judge()
            return self._judge


_LOCK = threading.Lock()
"""Guards the opening of judges, which is done once by many threads."""


def _open_shared_judge(*, counts_agreeing: bool) -> Judge:
    with _LOCK:
        return _shared_judge(counts_agreeing)


@functools.cache
def _shared_judge(counts_agreeing: bool) -> Judge:
    return Judge(count_agreeing=counts_agreeing)
