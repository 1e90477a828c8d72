"""llama.cpp's code for Intel's matrix units (AMX) is used only where it works in this build."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest

from pytest_llmcompiler.model.llama import amx
from pytest_llmcompiler.model.llama.weights import Weights


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    amx.is_amx_usable.cache_clear()
    yield
    amx.is_amx_usable.cache_clear()


def uses_extra_layouts(monkeypatch: pytest.MonkeyPatch, gpu_layers: int = 0) -> bool:
    """Whether a model is loaded with the layouts that the matrix units need."""
    load, recorded = llama_cpp.llama_model_load_from_file, []

    def record_and_load(path: bytes, params: llama_cpp.llama_model_params) -> object:
        recorded.append(params.use_extra_bufts)
        return load(path, params)

    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", record_and_load)
    Weights(amx.PROBE_MODEL, gpu_layers).close()
    return bool(recorded[-1])


@pytest.mark.parametrize(
    ("system_info", "status", "is_used"),
    [
        (b"AMX_INT8 = 1 |", -signal.SIGILL, False),
        (b"AMX_INT8 = 1 |", 0, True),
        (b"AVX2 = 1 |", -signal.SIGILL, True),
    ],
    ids=["AMX crashes", "AMX works", "no AMX"],
)
def test_amx_is_used_unless_the_probe_crashes(
    monkeypatch: pytest.MonkeyPatch, system_info: bytes, status: int, is_used: bool
) -> None:
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: system_info)
    monkeypatch.setattr(amx, "run_probe", lambda: status)
    assert uses_extra_layouts(monkeypatch) == is_used


@pytest.mark.parametrize(("gpu_layers", "trials"), [(-1, 0), (1, 1)])
def test_there_is_no_trial_where_all_layers_go_to_a_gpu(
    monkeypatch: pytest.MonkeyPatch, gpu_layers: int, trials: int
) -> None:
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: b"AMX_INT8 = 1 |")
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: True)
    made: list[int] = []
    monkeypatch.setattr(amx, "run_probe", lambda: made.append(0) or 0)
    assert uses_extra_layouts(monkeypatch, gpu_layers) == bool(trials)
    assert len(made) == trials


def test_the_probe_evaluates_a_prompt_whatever_the_working_folder_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signal.py").write_text("raise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path)
    has_amx = b"AMX_INT8 = 1" in llama_cpp.llama_print_system_info()
    assert amx.run_probe() in ((0, -signal.SIGILL) if has_amx else (0,))


def test_a_probe_without_a_model_is_no_success_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    assert amx.run_probe(tmp_path / "empty.gguf") == 1
