"""llama.cpp's code for matrix units is used only where it works as it was built."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest

from pytest_llmcompiler.model.llama import amx
from pytest_llmcompiler.model.llama.weights import Weights


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    amx.works.cache_clear()
    yield
    amx.works.cache_clear()


def extra_layouts(monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a model is loaded with them."""
    load, seen = llama_cpp.llama_model_load_from_file, []

    def noted(path: bytes, params: llama_cpp.llama_model_params) -> object:
        seen.append(params.use_extra_bufts)
        return load(path, params)

    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", noted)
    Weights(amx.QUANTISED, 0).close()
    return bool(seen[-1])


@pytest.mark.parametrize(
    ("says", "status", "used"),
    [
        (b"AMX_INT8 = 1 |", -signal.SIGILL, False),
        (b"AMX_INT8 = 1 |", 0, True),
        (b"AVX2 = 1 |", -signal.SIGILL, True),
    ],
    ids=["it crashes", "it works", "there is none"],
)
def test_what_a_trial_tells(monkeypatch: pytest.MonkeyPatch, says: bytes, status: int, used: bool) -> None:
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: says)
    monkeypatch.setattr(amx, "_trial", lambda: status)
    assert extra_layouts(monkeypatch) == used


def test_the_trial_reads_a_prompt_or_dies_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails for no other reason than the one that it is for, whatever the project's folder holds."""
    (tmp_path / "signal.py").write_text("raise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path)
    assert amx._differential() in (0, -signal.SIGILL)
