"""The model's side: what is asked, who answers, and what code the answer holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmcompiler.model.answer import Model, ModelError, Sampling

FORMS = (
    "FILE.gguf (llama.cpp in process)",
    "http://HOST:PORT/v1 (an OpenAI-compatible server)",
    "replay:FILE.jsonl (recorded answers)",
    "reference (the reference compiler answers)",
)
"""What a model can be named by."""


@dataclass(frozen=True)
class ModelSettings:
    """How a model is opened and sampled."""

    sampling: Sampling = field(default_factory=Sampling)
    n_ctx: int | None = None
    """Context in tokens for llama.cpp in process; None: what the model was trained for, up to a limit."""
    gpu_layers: int | None = None
    """Layers to put on the GPU for llama.cpp in process; None: all, where the build can."""


def check_spec(spec: str) -> None:
    """Raise ModelError for a model that can't be had, as far as that is known without opening it."""
    kind, _, name = spec.partition(":")
    path = Path(name if kind == "replay" else spec).expanduser()
    if spec == "reference" or spec.startswith(("http://", "https://")):
        return
    if kind != "replay" and path.suffix.lower() != ".gguf":
        raise ModelError(f"unknown model {spec!r}; a model is one of: {'; '.join(FORMS)}")
    if not path.is_file():
        what = "can't read the records {}: No such file" if kind == "replay" else "no model file {}"
        raise ModelError(what.format(path))


def open_model(spec: str, settings: ModelSettings) -> Model:
    """Open the model that `spec` names. Raises ModelError where it can't be had."""
    check_spec(spec)
    if spec == "reference":
        from pytest_llmcompiler.model.reference import ReferenceModel

        return ReferenceModel()
    if spec.startswith("replay:"):
        from pytest_llmcompiler.model.replay import ReplayModel

        return ReplayModel(Path(spec.removeprefix("replay:")).expanduser())
    if spec.startswith(("http://", "https://")):
        from pytest_llmcompiler.model.server import ServerModel

        return ServerModel(spec, settings.sampling)
    from pytest_llmcompiler.model.llama import LlamaModel

    return LlamaModel(Path(spec).expanduser(), settings.sampling, settings.n_ctx, settings.gpu_layers)
