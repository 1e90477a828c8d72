"""Verdicts become numbers."""

from __future__ import annotations

import pytest

from pytest_llmcompiler import KINDS, Kind, Verdict
from pytest_llmcompiler.judge.verdict import RUN_FAILURES
from pytest_llmcompiler.rewards import STAGED, reward_of


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_table_only_a_pass_is_worth_anything(kind: Kind) -> None:
    assert reward_of(Verdict(kind)) == {"pass": 1.0, "inconclusive": None}.get(kind, 0.0)


def test_the_staged_table_rewards_each_step_further() -> None:
    steps: tuple[Kind, ...] = ("no-answer", "assemble", "link", "mismatch", "pass")
    rewards = [reward_of(Verdict(kind), "staged") for kind in steps]
    assert rewards == sorted(set(rewards)) and (rewards[0], rewards[-1]) == (0.0, 1.0)
    assert reward_of(Verdict("inconclusive"), "staged") is None


@pytest.mark.parametrize("kind", RUN_FAILURES)
def test_the_share_of_agreeing_inputs_is_added(kind: Kind) -> None:
    def reward(agreeing: int) -> float:
        value = reward_of(Verdict(kind, detail={"inputs": 80, "agreeing": agreeing}), "staged")
        assert value is not None
        return value

    assert reward(0) == STAGED[kind] == reward_of(Verdict(kind, detail={"inputs": 80}), "staged")
    assert reward(20) == pytest.approx(0.3 + 0.3 / 4)
    assert reward(80) == pytest.approx(0.6)


@pytest.mark.parametrize("detail", [{"agreeing": 3}, {"agreeing": 9, "inputs": 8}, {"agreeing": "3", "inputs": 8}])
def test_a_share_that_was_not_counted_is_not_made_up(detail: dict[str, object]) -> None:
    assert reward_of(Verdict("crash", detail=detail), "staged") == STAGED["crash"]


def test_a_table_of_ones_own_names_what_differs() -> None:
    table = {"pass": 2.0, "crash": -1.0, "inconclusive": 0.5}
    assert [reward_of(Verdict(kind), table) for kind in ("pass", "crash", "hang", "inconclusive")] == [2, -1, 0, 0.5]


def passing(instructions: int, size: int = 10) -> Verdict:
    references = {"O3": {"instructions": 1000, "bytes": 20}, "Oz": {"instructions": 2000, "bytes": 10}}
    return Verdict("pass", detail={"cost": {"instructions": instructions, "bytes": size, "references": references}})


def test_speed_and_size_change_what_a_pass_is_worth() -> None:
    table = {"speed@O3": 0.2, "size@Oz": 0.1}
    rewards = [reward_of(passing(count), table) for count in (100, 500, 1000, 2000, 9000)]
    assert rewards == pytest.approx([1.2, 1.2, 1.0, 0.8, 0.8])  # no more than for twice, no less than for half
    assert reward_of(passing(1000, size=20), table) == pytest.approx(0.9)
    assert reward_of(passing(500), "staged") == reward_of(passing(500)) == 1.0
    assert reward_of(Verdict("mismatch", detail=passing(500).detail), table) == 0.0
    assert reward_of(Verdict("pass"), table) == 1.0  # an answer without a cost gets nothing on top


def test_tables_with_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="no verdict 'no_answer'"):
        reward_of(Verdict("pass"), {"no_answer": 0.1})
    with pytest.raises(ValueError, match="unknown table of rewards 'steps'"):
        reward_of(Verdict("pass"), "steps")
