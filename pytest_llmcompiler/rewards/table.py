"""From a verdict to a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from pytest_llmcompiler.judge.verdict import KINDS, RUN_FAILURES, Verdict
from pytest_llmcompiler.report.cost_ratios import MEASURES, read_ratios

RewardTable = Mapping[str, float | None]
"""Rewards by the kind of the verdict. `agreeing` is what an answer that runs and fails gets on top of the reward of its
kind where it agrees with the reference on every input; on a part of them it gets that part of it. A measure such as
`speed@O3` is what an answer that passes gets on top where it is twice as good as clang -O3, and loses where it is half
as good (`_cost_bonus`)."""

STAGED: RewardTable = MappingProxyType(
    {
        "no-answer": 0.0,
        "truncated": 0.0,
        "assemble": 0.1,
        "link": 0.2,
        "crash": 0.3,
        "hang": 0.3,
        "mismatch": 0.3,
        "abi": 0.3,
        "agreeing": 0.3,
        "pass": 1.0,
        "inconclusive": None,
    }
)
"""The table `staged`. Code that fails gets 0.6 at most, so no wrong answer comes near a right one."""

PASS_OR_FAIL: RewardTable = MappingProxyType(dict.fromkeys(KINDS, 0.0) | {"pass": 1.0, "inconclusive": None})

_NAMED = {"staged": STAGED}
_KEYS = (*KINDS, "agreeing", *MEASURES)


def reward_of(verdict: Verdict, table: str | RewardTable | None = None) -> float | None:
    """The reward of a verdict; None for `inconclusive`, where nothing is known.

    Without a `table` it is 1 for `pass` and 0 for every other verdict that is conclusive. `"staged"` is the table
    `STAGED`; any other mapping from verdicts to rewards serves too, and may give `inconclusive` a number. Verdicts that
    a mapping does not name count as without a table.

    `agreeing` in a table needs the fact `agreeing` in the verdict, which a judge adds that counts agreeing inputs. A
    verdict without it gets the reward of its kind alone.

    A measure of speed or size in a table needs the fact `cost`, which verdicts on answers that pass have. The bonus is
    the binary logarithm of the ratio, times the number in the table: nothing for code as good as clang's, the number
    for twice as good, minus the number for half as good. Ratios beyond count as 2 and 1/2, so that no reward runs away.

    Raises ValueError for a table that is not known, and for a key that is no verdict.
    """
    rewards = read_table(table)
    reward = rewards[verdict.kind]
    if reward is not None and verdict.passed:
        return reward + _cost_bonus(verdict, rewards)
    if reward is None or verdict.kind not in RUN_FAILURES:
        return reward
    return reward + (rewards["agreeing"] or 0.0) * (_agreeing_share(verdict) or 0.0)


def read_table(table: str | RewardTable | None) -> RewardTable:
    """A whole table, with a reward for every verdict and for `agreeing`. Raises ValueError."""
    if isinstance(table, str) and table not in _NAMED:
        raise ValueError(f"unknown table of rewards {table!r}, expected one of: {', '.join(_NAMED)}")
    given = _NAMED[table] if isinstance(table, str) else table or {}
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise ValueError(f"no verdict {unknown[0]!r}: a table of rewards has the keys {', '.join(_KEYS)}")
    return {"agreeing": 0.0, **PASS_OR_FAIL, **given}


def _agreeing_share(verdict: Verdict) -> float | None:
    """The share of the inputs on which the answer agrees with the reference, from 0 to 1; None where it was not
    counted."""
    agreeing, inputs = verdict.detail.get("agreeing"), verdict.detail.get("inputs")
    if not isinstance(agreeing, int) or not isinstance(inputs, int) or not 0 <= agreeing <= inputs or not inputs:
        return None
    return agreeing / inputs


def _cost_bonus(verdict: Verdict, rewards: RewardTable) -> float:
    """What an answer that passes gets for its speed and size, or loses."""
    wanted = {name: weight for name in MEASURES if (weight := rewards.get(name))}
    ratios = read_ratios(verdict.detail.get("cost")) if wanted else {}
    return math.fsum(
        weight * max(-1.0, min(1.0, math.log2(ratios[name]))) for name, weight in wanted.items() if name in ratios
    )
