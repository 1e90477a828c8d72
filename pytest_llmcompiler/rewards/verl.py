"""verl 0.9: `compute_score` of its reward managers, for one answer and for a batch, plain and async.

The calls are those of verl 0.9.1: `verl/experimental/reward_loop/reward_manager/` (`naive`, `dapo`, `limited`, `gdpo`,
`remote`) and the older `verl/workers/reward_manager/` (`naive`, `batch`, `dapo`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.rewards.columns import gather_columns
from pytest_llmcompiler.rewards.reward import Reward
from pytest_llmcompiler.service.sample import Sample


class VerlReward(Reward):
    """Rewards for verl: a file with `compute_score = VerlReward(…).compute_score` is what
    `reward.custom_reward_function.path` names.

    The columns are the members of `extra_info`, those of `ground_truth` where it is an object or text with a JSON
    object, and `data_source` and `ground_truth` themselves. Whatever else verl passes is not used.

    A score is a dict: `score`, the reward; `acc`, 1 for a pass and 0 otherwise; `verdict`, its kind. verl needs a
    number for each answer: where a verdict is `inconclusive` and the table has no number for that, it is 0.
    """

    def compute_score(
        self,
        data_source: object,
        solution_str: str,
        ground_truth: object,
        extra_info: object = None,
        **kwargs: object,
    ) -> dict[str, Any]:
        """The score of one answer. Raises ColumnError."""
        [verdict] = self.judge([self._read(data_source, solution_str, ground_truth, extra_info)])
        return self._score(verdict)

    async def acompute_score(
        self,
        data_source: object,
        solution_str: str,
        ground_truth: object,
        extra_info: object = None,
        **kwargs: object,
    ) -> dict[str, Any]:
        """As `compute_score`, for the managers that await it: without holding up the event loop."""
        [verdict] = await self.ajudge([self._read(data_source, solution_str, ground_truth, extra_info)])
        return self._score(verdict)

    def compute_scores(
        self,
        data_sources: Sequence[object],
        solution_strs: Sequence[str],
        ground_truths: Sequence[object],
        extra_infos: Sequence[object],
        **kwargs: object,
    ) -> list[dict[str, Any]]:
        """The scores of a batch, for the manager `batch`. Raises ColumnError."""

        def read() -> Iterator[Sample]:
            for row in zip(data_sources, solution_strs, ground_truths, extra_infos, strict=True):
                yield self._read(*row)

        return [self._score(verdict) for verdict in self.judge(read())]

    def _read(self, data_source: object, answer: str, ground_truth: object, extra_info: object) -> Sample:
        own = {"data_source": data_source, "ground_truth": ground_truth}
        return self.columns.read_sample(gather_columns(extra_info, ground_truth, own), answer)

    def _score(self, verdict: Verdict) -> dict[str, Any]:
        return {"score": self.number_of(verdict), "acc": float(verdict.passed), "verdict": verdict.kind}
