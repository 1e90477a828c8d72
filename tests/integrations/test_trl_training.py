"""A real training run of TRL on the CPU, with a tiny model, calls the rewards."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reward_rows import BROKEN_SOURCE, COLUMNS, RIGHT, SOURCE, WRONG

pytest.importorskip("trl")
torch = pytest.importorskip("torch")

from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, set_seed  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from pytest_llmcompiler.rewards.trl import TRLReward  # noqa: E402

pytestmark = pytest.mark.timeout(1800)  # torch on a busy machine

PROMPT = f"Compile: {SOURCE}\n"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("WANDB_MODE", "disabled")


def make_trainer(folder: Path, model: Path, reward: Any, rows: list[dict[str, Any]], **settings: Any) -> Any:
    set_seed(1)
    args = GRPOConfig(
        str(folder),
        num_generations=8,
        per_device_train_batch_size=8,
        max_completion_length=64,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        **settings,
    )
    return GRPOTrainer(model=str(model), reward_funcs=reward, train_dataset=Dataset.from_list(rows), args=args)


def test_the_example_trains(write_examples: Callable[[str], Path], model_folder: Path) -> None:
    folder = write_examples("trl")
    (folder / "model").symlink_to(model_folder)
    text = (folder / "train.py").read_text()
    assert "max_steps=3," in text
    (folder / "train.py").write_text(text.replace("max_steps=3,", "max_steps=3, use_cpu=True, bf16=False,"))
    set_seed(1)
    trainer = runpy.run_path("train.py")["trainer"]
    steps = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(steps) == trainer.state.global_step == 3
    print(
        *({name: step[name] for name in ("step", "reward", "reward_std", "loss", "grad_norm")} for step in steps),
        sep="\n",
    )
    # Either answer was sampled, so there was something to learn from.
    assert all(0 < step["rewards/compile_reward/mean"] < 1 and step["grad_norm"] > 0 for step in steps)
    before = AutoModelForCausalLM.from_pretrained(model_folder).state_dict()
    assert any(not torch.equal(weights, before[name]) for name, weights in trainer.model.state_dict().items())


def test_training_makes_right_answers_more_frequent(tmp_path: Path, model_folder: Path) -> None:
    rows = [{"prompt": PROMPT, "code": SOURCE, "name": "next"}]
    reward = TRLReward(COLUMNS).acompile_reward
    trainer = make_trainer(tmp_path, model_folder, reward, rows, max_steps=30, learning_rate=3e-4)
    before = probability(trainer, RIGHT) / (probability(trainer, RIGHT) + probability(trainer, WRONG))
    trainer.train()
    after = probability(trainer, RIGHT) / (probability(trainer, RIGHT) + probability(trainer, WRONG))
    print([round(entry["reward"], 3) for entry in trainer.state.log_history if "reward" in entry], before, after)
    assert 0.2 < before < 0.8 and after > before + 0.1


@pytest.mark.parametrize("name", ["compile_reward", "acompile_reward"])
def test_a_completion_that_cannot_be_judged_has_no_reward(tmp_path: Path, model_folder: Path, name: str) -> None:
    rows = [{"prompt": PROMPT, "code": BROKEN_SOURCE, "name": "next"}]
    trainer = make_trainer(tmp_path, model_folder, getattr(TRLReward(COLUMNS), name), rows, max_steps=1)
    calculate = trainer._calculate_rewards
    calculated: list[Any] = []

    def keep(*args: Any) -> Any:
        calculated.append(calculate(*args))
        return calculated[-1]

    trainer._calculate_rewards = keep
    trainer.train()
    [rewards] = calculated
    assert rewards.shape == (8, 1) and rewards.isnan().all()


def test_conversations(tmp_path: Path, model_folder: Path, tokenizer: Any) -> None:
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    trainer = make_trainer(
        tmp_path,
        model_folder,
        TRLReward(COLUMNS).compile_reward,
        [{"prompt": [{"role": "user", "content": PROMPT}], "code": SOURCE, "name": "next"}],
        max_steps=1,
        chat_template_kwargs={},
    )
    trainer.processing_class.chat_template = template
    trainer.train()
    [step] = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert 0 < step["reward"] < 1


def probability(trainer: Any, answer: str) -> float:
    """The probability that the model writes an answer to the prompt."""
    tokenizer = trainer.processing_class
    ids = tokenizer(PROMPT + answer + tokenizer.eos_token, return_tensors="pt")["input_ids"]
    start = len(tokenizer(PROMPT)["input_ids"])
    with torch.no_grad():
        logits = trainer.model(input_ids=ids).logits[0, start - 1 : -1]
    chosen = torch.log_softmax(logits, -1).gather(1, ids[0, start:, None])
    return float(chosen.sum().exp())
