"""TRL's call: prompts, completions, and the dataset's columns, as lists of one length."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from reward_rows import BROKEN_SOURCE, COLUMNS, NO_CODE, RIGHT, SOURCE, WRONG

from pytest_llmcompiler.errors import ColumnError
from pytest_llmcompiler.rewards.trl import TRLReward

REWARD = TRLReward(COLUMNS)
SOURCES = [SOURCE, SOURCE, BROKEN_SOURCE, SOURCE]


def call(completions: list[Any], **more: Any) -> dict[str, Any]:
    """The keyword arguments of `GRPOTrainer`."""
    return {
        "prompts": ["Compile."] * len(completions),
        "completions": completions,
        "completion_ids": [[1, 2]] * len(completions),
        "code": SOURCES[: len(completions)],
        "name": ["next"] * len(completions),
        "trainer_state": object(),
        "log_extra": lambda column, values: None,
        "log_metric": lambda name, value: None,
        **more,
    }


def test_completions_get_rewards_in_order_and_none_where_nothing_is_known() -> None:
    logged: dict[str, list[str]] = {}
    rewards = REWARD.compile_reward(**call([RIGHT, WRONG, RIGHT, NO_CODE], log_extra=logged.__setitem__))
    assert rewards == [1.0, 0.0, None, 0.0]
    assert logged == {"verdict": ["pass", "mismatch", "inconclusive", "no-answer"]}


def test_the_same_is_awaited() -> None:
    assert inspect.iscoroutinefunction(REWARD.acompile_reward)
    assert asyncio.run(REWARD.acompile_reward(**call([RIGHT, WRONG, RIGHT]))) == [1.0, 0.0, None]


def test_in_a_conversation_the_last_message_of_the_assistant_counts() -> None:
    text = {"role": "assistant", "content": RIGHT}
    parts = {"role": "assistant", "content": [{"type": "text", "text": RIGHT[:9]}, {"type": "text", "text": RIGHT[9:]}]}
    wrong = {"role": "assistant", "content": WRONG}
    completions = [[text], [wrong, {"role": "tool", "content": "Try again."}, parts], [], [{**text, "content": None}]]
    assert REWARD.compile_reward(**call(completions, code=[SOURCE] * 4)) == [1.0, 1.0, 0.0, 0.0]


def test_a_missing_column_is_an_error() -> None:
    with pytest.raises(ColumnError, match=r"no column 'source' \(there are: 'code', 'completion_ids', 'name'\)"):
        TRLReward().compile_reward(**call([RIGHT, WRONG]))
    with pytest.raises(ColumnError, match="expected text or a list of messages"):
        REWARD.compile_reward(**call([7]))
