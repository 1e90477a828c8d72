"""SkyRL Gym makes the environment, and its step judges."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from reward_rows import BROKEN_SOURCE, COLUMNS, RIGHT, ROW, WRONG

skyrl_gym = pytest.importorskip("skyrl_gym")

from skyrl_gym.envs.registration import deregister  # noqa: E402

from pytest_llmcompiler.rewards.skyrl import SkyRLReward  # noqa: E402


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    yield
    deregister("compile")


def test_the_example(write_examples: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    text = (write_examples("skyrl") / "environment.py").read_text()
    runpy.run_path("environment.py")
    assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.+\)  # (.+)$", text, re.MULTILINE)


def test_environments_of_many_rollouts() -> None:
    skyrl_gym.register(id="compile", entry_point=SkyRLReward(COLUMNS).make_env)
    rows = [{"reward_spec": {"ground_truth": ROW}}, ROW, {**ROW, "code": BROKEN_SOURCE}]
    envs = [skyrl_gym.make("compile", env_config={}, extras={"max_turns": 1, **row}) for row in rows]
    with ThreadPoolExecutor(3) as threads:
        steps = list(threads.map(lambda env, answer: env.step(answer), envs, [RIGHT, WRONG, RIGHT]))
    assert [(step["reward"], step["metadata"]["verdict"]) for step in steps] == [
        (1.0, "pass"),
        (0.0, "mismatch"),
        (0.0, "inconclusive"),
    ]
    assert all(step["done"] and step["observations"] == [] for step in steps)
    metrics = [env.get_metrics() for env in envs]
    assert metrics[0] == {"pass": 1.0, "inconclusive": 0.0}
    assert type(envs[0]).aggregate_metrics(metrics)["pass"] == pytest.approx(1 / 3)
