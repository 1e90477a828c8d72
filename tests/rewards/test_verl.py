"""verl's calls: one answer, one answer with await, a batch."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
from functools import partial
from typing import Any

import pytest
from reward_rows import BROKEN_SOURCE, COLUMNS, NO_CODE, RIGHT, ROW, SOURCE, UNASSEMBLED, WRONG

from pytest_llmcompiler import Judge
from pytest_llmcompiler.errors import ColumnError
from pytest_llmcompiler.rewards import Columns
from pytest_llmcompiler.rewards.verl import VerlReward

REWARD = VerlReward(COLUMNS)


def call(answer: str, **changes: Any) -> dict[str, Any]:
    """The keyword arguments of the reward loop's managers."""
    given = {"data_source": "cases", "ground_truth": "", "extra_info": {**ROW, "num_turns": None}, **changes}
    return {"solution_str": answer, **given}


@pytest.mark.parametrize(("answer", "score", "kind"), [(RIGHT, 1.0, "pass"), (WRONG, 0.0, "mismatch")])
def test_one_answer(answer: str, score: float, kind: str) -> None:
    expected = {"score": score, "acc": score, "verdict": kind}
    assert REWARD.compute_score(**call(answer)) == expected
    assert REWARD.compute_score("cases", answer, "", ROW) == expected
    assert REWARD.compute_score(**call(answer), reward_router_address="host:1", reward_model_tokenizer=None) == expected


def test_answers_are_judged_while_an_event_loop_runs() -> None:
    assert inspect.iscoroutinefunction(REWARD.acompute_score) and not inspect.iscoroutinefunction(REWARD.compute_score)

    async def score() -> list[float]:
        results = await asyncio.gather(*(REWARD.acompute_score(**call(answer)) for answer in (WRONG, RIGHT, NO_CODE)))
        return [result["score"] for result in results]

    assert asyncio.run(score()) == [0.0, 1.0, 0.0]


def test_a_batch() -> None:
    scores = VerlReward(COLUMNS, table="staged").compute_scores(
        data_sources=["cases"] * 4,
        solution_strs=[RIGHT, UNASSEMBLED, NO_CODE, RIGHT],
        ground_truths=[""] * 4,
        extra_infos=[ROW, ROW, ROW, {**ROW, "code": BROKEN_SOURCE}],
    )
    assert [score["score"] for score in scores] == [1.0, 0.1, 0.0, 0.0]
    assert [score["verdict"] for score in scores] == ["pass", "assemble", "no-answer", "inconclusive"]


@pytest.mark.parametrize(
    ("columns", "changes"),
    [
        (COLUMNS, {"ground_truth": json.dumps(ROW), "extra_info": {}}),
        (COLUMNS, {"ground_truth": ROW, "extra_info": None}),
        (Columns(source="ground_truth", function="name"), {"ground_truth": SOURCE}),
    ],
)
def test_columns_may_be_in_the_ground_truth(columns: Columns, changes: dict[str, Any]) -> None:
    assert VerlReward(columns).compute_score(**call(RIGHT, **changes))["score"] == 1.0


def test_a_missing_column_is_an_error() -> None:
    with pytest.raises(ColumnError, match="no column 'source'"):
        VerlReward().compute_score(**call(RIGHT))


def test_the_function_can_be_sent_to_other_processes() -> None:
    reward = VerlReward(COLUMNS, open_judge=partial(Judge, 1, examples=5))
    assert reward.compute_score(**call(RIGHT))["score"] == 1.0  # the judge that this opens stays here
    assert pickle.loads(pickle.dumps(reward.compute_score))(**call(WRONG))["score"] == 0.0
