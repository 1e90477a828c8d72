"""verl's own reward managers, of both kinds, call the rewards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reward_rows import BROKEN_SOURCE, COLUMNS, NO_CODE, RIGHT, ROW, WRONG

pytest.importorskip("verl")
torch = pytest.importorskip("torch")

from omegaconf import OmegaConf  # noqa: E402
from verl import DataProto  # noqa: E402
from verl.experimental.reward_loop.reward_loop import RewardLoopManager  # noqa: E402
from verl.trainer.ppo.metric_utils import process_validation_metrics  # noqa: E402
from verl.trainer.ppo.reward import extract_reward, load_reward_manager  # noqa: E402
from verl.workers.reward_manager import get_reward_manager_cls  # noqa: E402

from pytest_llmcompiler.rewards.verl import VerlReward  # noqa: E402

pytestmark = pytest.mark.timeout(1800)  # torch and Ray on a busy machine

ANSWERS = [RIGHT, WRONG, NO_CODE, RIGHT]
ROWS = [ROW, ROW, ROW, {**ROW, "code": BROKEN_SOURCE}]
SCORES = [1.0, 0.0, 0.0, 0.0]
KINDS = ["pass", "mismatch", "no-answer", "inconclusive"]


def make_batch(tokenizer: Any) -> DataProto:
    """The answers as a rollout leaves them: prompts padded on the left, responses on the right."""
    tokenizer.padding_side = "left"
    prompts = tokenizer(["Compile next.", "Compile.", "next?", "Compile next."], padding=True, return_tensors="pt")
    tokenizer.padding_side = "right"
    responses = tokenizer([answer + "<eos>" for answer in ANSWERS], padding=True, return_tensors="pt")
    return DataProto.from_dict(
        tensors={
            "prompts": prompts["input_ids"],
            "responses": responses["input_ids"],
            "attention_mask": torch.cat([prompts["attention_mask"], responses["attention_mask"]], 1),
        },
        non_tensors={
            "data_source": np.array(["cases"] * len(ROWS), dtype=object),
            "reward_model": np.array([{"style": "rule", "ground_truth": ""}] * len(ROWS), dtype=object),
            "extra_info": np.array([dict(row) for row in ROWS], dtype=object),
        },
    )


def make_config(folder: Path, manager: str, function: str, **more: Any) -> Any:
    """The part of verl's configuration that reward managers read."""
    return OmegaConf.create(
        {
            "reward": {
                "num_workers": 2,
                "custom_reward_function": {"path": str(folder / "compile_reward.py"), "name": function},
                "reward_manager": {"source": "register", "name": manager},
                "reward_model": {"enable": False},
                "reward_kwargs": {"max_resp_len": 64, "overlong_buffer_cfg": None},
            },
            "trainer": {"experiment_name": "test"},
            **more,
        }
    )


@pytest.fixture
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=4, include_dashboard=False)  # and no cluster that runs here already
    yield ray
    ray.shutdown()


def run_each(manager: Any, batch: DataProto) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(manager.run_single(batch[i : i + 1]) for i in range(len(batch)))))

    return list(manager.loop.run_until_complete(run()))


@pytest.mark.parametrize("manager", ["naive", "dapo", "gdpo", "rate_limited"])
@pytest.mark.parametrize("function", ["compute_score", "acompute_score"])
def test_managers_of_the_reward_loop(
    write_examples: Callable[[str], Path], tokenizer: Any, manager: str, function: str
) -> None:
    loaded = load_reward_manager(make_config(write_examples("verl"), manager, function), tokenizer)
    results = run_each(loaded, make_batch(tokenizer))
    assert [result["reward_score"] for result in results] == SCORES
    assert [result["reward_extra_info"]["verdict"] for result in results] == KINDS


def test_the_remote_manager(write_examples: Callable[[str], Path], tokenizer: Any, ray: Any) -> None:
    loaded = load_reward_manager(make_config(write_examples("verl"), "remote", "compute_score"), tokenizer)
    assert [result["reward_score"] for result in run_each(loaded, make_batch(tokenizer))] == SCORES


def test_reward_workers_of_a_trainer(
    write_examples: Callable[[str], Path], tokenizer: Any, model_folder: Path, ray: Any
) -> None:
    model = {"model": {"path": str(model_folder), "tokenizer_path": None}}
    config = make_config(write_examples("verl"), "naive", "acompute_score", actor_rollout_ref=model)
    batch = make_batch(tokenizer)
    scored = batch.union(RewardLoopManager(config).compute_rm_score(batch))
    rewards, facts = extract_reward(scored)
    print(rewards.sum(1), facts)
    assert rewards.sum(1).tolist() == SCORES
    ends = batch.batch["attention_mask"][:, batch.batch["prompts"].shape[1] :].sum(1) - 1
    assert rewards[0].nonzero().flatten().tolist() == [ends[0].item()]  # the reward stands at the last token
    assert facts["verdict"].tolist() == KINDS
    metrics = process_validation_metrics(
        batch.non_tensor_batch["data_source"], ["prompt"] * 4, {name: list(values) for name, values in facts.items()}
    )
    assert metrics["cases"]["acc"]["mean@4"] == 0.25


@pytest.mark.parametrize(("name", "function"), [("naive", "compute_score"), ("batch", "compute_scores")])
def test_managers_that_are_called_with_a_batch(tokenizer: Any, name: str, function: str) -> None:
    manager = get_reward_manager_cls(name)(tokenizer, 1, getattr(VerlReward(COLUMNS), function))
    result = manager(make_batch(tokenizer), return_dict=True)
    assert result["reward_tensor"].sum(1).tolist() == SCORES
    assert result["reward_extra_info"]["verdict"] == KINDS


def test_an_example_with_few_processes(write_examples: Callable[[str], Path], tokenizer: Any) -> None:
    config = make_config(write_examples("verl"), "naive", "acompute_score")
    config.reward.custom_reward_function.path = "few_processes.py"
    assert run_each(load_reward_manager(config, tokenizer), make_batch(tokenizer))[0]["reward_score"] == 1.0
