"""`RayDataJudge`: verdicts as columns of a dataset of Ray."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from pytest_llmcompiler.errors import ColumnError
from pytest_llmcompiler.rewards.columns import Columns
from pytest_llmcompiler.rewards.reward import Reward
from pytest_llmcompiler.rewards.table import RewardTable
from pytest_llmcompiler.service.judge import Judge


class RayDataJudge:
    """A callable class for `ray.data.Dataset.map_batches` and for `map_groups` of a grouped dataset (Ray 2.60).

    Each actor of the dataset has an object of this class, and that a judge with `workers` processes: give the actors as
    many CPUs (`num_cpus=`, 1 by default). `columns` has the names of the columns that make a sample, `answer` that of
    the column with the answers, `table` what verdicts are worth (see `reward_of`). `settings` are those of `Judge`.

    Raises ValueError for a table that is not known.
    """

    def __init__(
        self,
        columns: Columns | None = None,
        *,
        answer: str = "answer",
        table: str | RewardTable | None = None,
        workers: int = 1,
        **settings: Any,
    ) -> None:
        self._answer = answer
        self._reward = Reward(columns, table=table, open_judge=functools.partial(Judge, workers, **settings))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch with three more columns: `verdict`, its `message`, and `reward`, which is NaN where nothing is known.

        `batch` is of the format `numpy`, Ray's default: an array of n values for each column. Raises ColumnError where
        a column is missing or holds something else than is expected.
        """
        import numpy

        names = list(batch)
        rows = (dict(zip(names, values)) for values in zip(*(batch[name].tolist() for name in names)))
        verdicts = self._reward.judge([self._reward.columns.read_sample(row, self._find_answer(row)) for row in rows])
        rewards = map(self._reward.reward_of, verdicts)
        return {
            **batch,
            "verdict": numpy.array([verdict.kind for verdict in verdicts], dtype=object),
            "message": numpy.array([verdict.message for verdict in verdicts], dtype=object),
            "reward": numpy.array([math.nan if reward is None else reward for reward in rewards], dtype=float),
        }

    def _find_answer(self, row: Mapping[str, object]) -> str:
        answer = row.get(self._answer)
        if not isinstance(answer, str):
            raise ColumnError(f"column {self._answer!r}: expected the text of an answer, found {type(answer).__name__}")
        return answer
