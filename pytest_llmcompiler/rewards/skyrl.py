"""SkyRL Gym 0.4: an environment of one step, whose reward is the verdict's.

The interface is that of skyrl-gym 0.4.0: `skyrl_gym/envs/base_text_env.py` (`BaseTextEnv`), made by
`skyrl_gym/envs/registration.py` (`make`) with `env_config` and `extras`, the columns of the dataset.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.rewards.columns import gather_columns
from pytest_llmcompiler.rewards.reward import Reward


class SkyRLReward(Reward):
    """Rewards for SkyRL: `skyrl_gym.register(id="compile", entry_point=SkyRLReward(…).make_env)`.

    The columns are those of the dataset, the members of `extra_info` and of `reward_spec`, and those of its
    `ground_truth` where that is an object or text with a JSON object. SkyRL needs a number for each answer: where a
    verdict is `inconclusive` and the table has no number for that, it is 0.
    """

    def make_env(self, env_config: object = None, extras: Mapping[str, Any] | None = None) -> Any:
        """An environment for one row of the dataset: a `skyrl_gym.envs.base_text_env.BaseTextEnv`.

        Its `step` takes the model's answer, and ends the episode.
        """
        return _env_class()(self, extras or {})

    def step(self, extras: Mapping[str, Any], action: str) -> tuple[float, Verdict]:
        """The reward and the verdict of an answer to the question in a row. Raises ColumnError."""
        spec = gather_columns(extras.get("reward_spec"))
        row = gather_columns(extras, extras.get("extra_info"), spec, spec.get("ground_truth"))
        [verdict] = self.judge([self.columns.read_sample(row, action)])
        return self.number_of(verdict), verdict


@functools.cache
def _env_class() -> type[Any]:
    """The class of the environments. It derives from a class of skyrl-gym, which is imported here."""
    from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

    class CompileEnv(BaseTextEnv):  # type: ignore[misc]
        """One question: the first answer ends the episode."""

        def __init__(self, reward: SkyRLReward, extras: Mapping[str, Any]) -> None:
            super().__init__()
            self._reward, self._extras = reward, extras
            self._metrics: dict[str, float] = {}

        def step(self, action: str) -> BaseTextEnvStepOutput:
            reward, verdict = self._reward.step(self._extras, action)
            self._metrics = {"pass": float(verdict.passed), "inconclusive": float(not verdict.conclusive)}
            metadata = {"verdict": verdict.kind, "message": verdict.message}
            return BaseTextEnvStepOutput(observations=[], reward=reward, done=True, metadata=metadata)

        def get_metrics(self) -> dict[str, float]:
            return self._metrics

    return CompileEnv
