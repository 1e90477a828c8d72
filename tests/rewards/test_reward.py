"""The judge of rewards: opened late, once in each process, and any that has a judge's face."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from reward_rows import COLUMNS, RIGHT, ROW, WRONG

from pytest_llmcompiler import Judge, Sample, Verdict
from pytest_llmcompiler.rewards.reward import Reward

RIGHT_SAMPLE, WRONG_SAMPLE = COLUMNS.read_sample(ROW, RIGHT), COLUMNS.read_sample(ROW, WRONG)


class CountedJudge:
    """A judge that counts how often one was opened."""

    opened = 0

    def __init__(self) -> None:
        CountedJudge.opened += 1
        self._judge = Judge(1, examples=5)

    def check_many(self, samples: Iterable[Sample]) -> Iterator[Verdict]:
        return self._judge.check_many(samples)

    def acheck_many(self, samples: Iterable[Sample]) -> AsyncIterator[Verdict]:
        return self._judge.acheck_many(samples)


def test_a_judge_is_opened_once_when_it_is_needed() -> None:
    reward = Reward(open_judge=CountedJudge)
    assert CountedJudge.opened == 0
    with ThreadPoolExecutor(4) as threads:
        verdicts = list(threads.map(reward.judge, [[RIGHT_SAMPLE], [WRONG_SAMPLE]] * 4))
    assert [verdict.kind for [verdict] in verdicts] == ["pass", "mismatch"] * 4
    assert CountedJudge.opened == 1


def test_inputs_that_agree_are_counted_where_the_table_asks_for_them() -> None:
    source = "int top(int a, int b) { return a > b ? a : b; }"
    always_b = Sample(source, "top", "top:\n\tmovl %esi, %eax\n\tret\n")
    staged, plain = Reward(table="staged"), Reward()
    [counted], [uncounted] = staged.judge([always_b]), plain.judge([always_b])
    share = counted.detail["agreeing"] / counted.detail["inputs"]
    assert 0 < share < 1 and "agreeing" not in uncounted.detail
    assert staged.reward_of(counted) == pytest.approx(0.3 + 0.3 * share)
    assert staged.reward_of(uncounted) == 0.3
    assert plain.reward_of(counted) == 0.0


def test_a_table_with_a_mistake_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no verdict 'passed'"):
        Reward(table={"passed": 1.0})


def test_importing_rewards_imports_no_heavy_library() -> None:
    modules = ("verl", "trl", "openrlhf", "skyrl", "nemo_gym")
    heavy = {
        "torch",
        "transformers",
        "trl",
        "verl",
        "ray",
        "skyrl_gym",
        "unicorn",
        "llvmlite",
        "hypothesis",
        "llama_cpp",
    }
    program = "; ".join(
        [
            "import sys",
            *(f"import pytest_llmcompiler.rewards.{module}" for module in modules),
            f"print(sorted({heavy} & set(sys.modules)))",
        ]
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"
