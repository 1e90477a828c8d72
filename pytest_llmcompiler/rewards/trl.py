"""TRL 1.16: functions for `reward_funcs` of `GRPOTrainer` and the trainers that call rewards as it does.

The call is that of TRL 1.16.0, `trl/trainer/grpo_trainer.py` (`_calculate_rewards`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from pytest_llmcompiler.errors import ColumnError
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.rewards.reward import Reward
from pytest_llmcompiler.service.sample import Sample


class TRLReward(Reward):
    """Rewards for TRL: `GRPOTrainer(reward_funcs=TRLReward(…).compile_reward, …)`.

    A completion is text or, in a conversation, a list of messages, of which the last one of the assistant counts. The
    columns are those of the dataset. A reward is None where nothing is known, and TRL leaves the completion out. In the
    table of completions that TRL logs, the column `verdict` has the kind of each verdict.
    """

    def compile_reward(self, prompts: Sequence[Any], completions: Sequence[Any], **kwargs: Any) -> list[float | None]:
        """The rewards of a batch of completions. Raises ColumnError."""
        return self._reward(self.judge(self._read(completions, kwargs)), kwargs)

    async def acompile_reward(
        self, prompts: Sequence[Any], completions: Sequence[Any], **kwargs: Any
    ) -> list[float | None]:
        """As `compile_reward`, for TRL to await together with its other async rewards."""
        return self._reward(await self.ajudge(self._read(completions, kwargs)), kwargs)

    def _read(self, completions: Sequence[Any], columns: Mapping[str, Any]) -> Iterator[Sample]:
        own = {name: values for name, values in columns.items() if _is_column(values, len(completions))}
        for index, completion in enumerate(completions):
            row = {name: values[index] for name, values in own.items()}
            yield self.columns.read_sample(row, _find_text(completion))

    def _reward(self, verdicts: Sequence[Verdict], columns: Mapping[str, Any]) -> list[float | None]:
        log = columns.get("log_extra")
        if callable(log):
            cast(Callable[[str, list[str]], object], log)("verdict", [verdict.kind for verdict in verdicts])
        return [self.reward_of(verdict) for verdict in verdicts]


def _is_column(values: object, count: int) -> bool:
    """Whether a keyword argument has a value for each completion. Others are the trainer's state and its loggers."""
    return isinstance(values, Sequence) and not isinstance(values, str) and len(values) == count


def _find_text(completion: object) -> str:
    """The text of a completion. Raises ColumnError for what is neither text nor a conversation."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Sequence):
        messages = [item for item in completion if isinstance(item, Mapping) and item.get("role") == "assistant"]
        return _join_content(messages[-1].get("content")) if messages else ""
    raise ColumnError(f"expected text or a list of messages as a completion, found {type(completion).__name__}")


def _join_content(content: object) -> str:
    """The text of a message: its content, or the texts of the content's parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else []
    return "".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and part.get("type") == "text")
