"""What the integration tests share: a tokenizer and a model that are made here, and the examples of the pages.

Run them with `tox -e integrations`. Without the libraries they are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reward_rows import RIGHT, SOURCE, WRONG

PAGES = Path(__file__).parents[2] / "docs" / "pages" / "rewards"
_BLOCK = re.compile(r'^```python title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_LESSONS = 120
"""Steps after which the model writes either of two answers, about as often."""


@pytest.fixture
def write_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes the examples of a page into an empty folder, which becomes the current one."""

    def write(page: str) -> Path:
        for title, text in _BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8")):
            (tmp_path / title).write_text(text, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return write


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A tokenizer of transformers with a token for each byte."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    tokens = ["<pad>", "<eos>", *sorted(byte_level.alphabet())]
    made = tokenizers.Tokenizer(tokenizers.models.BPE({token: number for number, token in enumerate(tokens)}, []))
    made.pre_tokenizer = byte_level(add_prefix_space=False, use_regex=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>")


@pytest.fixture(scope="session")
def model_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights that has then learned one prompt, with a right and a wrong answer to it."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = transformers.LlamaForCausalLM(config)
    _teach(model, tokenizer, f"Compile: {SOURCE}\n", (RIGHT, WRONG))
    folder = tmp_path_factory.mktemp("tiny") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _teach(model: Any, tokenizer: Any, prompt: str, answers: tuple[str, ...]) -> None:
    import torch

    texts = [tokenizer(prompt + answer + tokenizer.eos_token, return_tensors="pt") for answer in answers]
    ids = torch.cat([text["input_ids"] for text in texts])  # the answers have one length
    labels = ids.clone()
    labels[:, : len(tokenizer(prompt)["input_ids"])] = -100  # the prompt is not learned
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(_LESSONS):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
