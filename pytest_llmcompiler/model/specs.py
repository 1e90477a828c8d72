"""The models that `--llmc-model` names, and how each is opened."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Model, ModelSettings

if TYPE_CHECKING:
    from pytest_llmcompiler.model.owner.client import OwnerProcess

SPEC_FORMS = (
    "FILE.gguf (llama.cpp)",
    "http://HOST:PORT/v1 (an OpenAI-compatible server; #MODEL at the end names one of several models)",
    "replay:FILE.jsonl (recorded answers)",
    "reference (the reference compiler answers)",
    "cc:COMMAND (a compiler answers, such as cc:gcc -O2; cc-ir:COMMAND compiles the function's IR)",
    "tiny (the small model that comes with the plugin)",
)
"""The forms of `--llmc-model`, as messages list them."""

_SHIPPED = {"tiny": Path(__file__).parent / "tiny" / "tiny.gguf"}
"""The models that come with the package. Each has a prompt template of its own name."""


_COMPILERS = ("cc:", "cc-ir:")
"""How the specs begin that name a compiler."""


def get_default_template(spec: str | None) -> str:
    """The name of the prompt template for a model, where the user names none."""
    return spec if spec in _SHIPPED else "meta"


def check_spec(spec: str) -> None:
    """Raise ModelError for an unknown form, a missing file, or a GGUF file without llama.cpp. The model is not
    opened."""
    if spec in _SHIPPED:
        _check_llama(spec)
        return
    if spec.startswith(_COMPILERS):
        from pytest_llmcompiler.model.compiler import split_command

        split_command(spec)
        return
    kind, _, name = spec.partition(":")
    path = Path(name if kind == "replay" else spec).expanduser()
    if spec == "reference" or spec.startswith(("http://", "https://")):
        return
    if kind != "replay" and path.suffix.lower() != ".gguf":
        raise ModelError(f"unknown model {spec!r}; a model is one of: {'; '.join(SPEC_FORMS)}")
    if not path.is_file():
        message = "can't read the records {}: No such file" if kind == "replay" else "no model file {}"
        raise ModelError(message.format(path))
    if kind != "replay":
        _check_llama(spec)


def _check_llama(spec: str) -> None:
    if find_spec("llama_cpp") is None:
        raise ModelError(
            f"{spec} needs llama.cpp: pip install 'pytest-llmcompiler[gguf]', which compiles it in some minutes"
        )


def open_model(spec: str, settings: ModelSettings) -> Model:
    """Open the model that `spec` names. Raises ModelError where that fails."""
    check_spec(spec)
    if spec == "reference":
        from pytest_llmcompiler.model.reference import ReferenceModel

        return ReferenceModel()
    if spec.startswith(_COMPILERS):
        from pytest_llmcompiler.model.compiler import CompilerModel

        return CompilerModel(spec)
    if spec.startswith("replay:"):
        from pytest_llmcompiler.model.replay import ReplayModel

        return ReplayModel(Path(spec.removeprefix("replay:")).expanduser())
    owner = start_owner(spec, settings)
    from pytest_llmcompiler.model.owner.client import OwnedModel

    model = OwnedModel(owner.address, owner)
    try:
        model.describe()
    except ModelError:
        model.close()
        raise
    return model


def has_owner_process(spec: str) -> bool:
    """Whether a model has an owner process: a GGUF file, shipped or not, or a server."""
    return spec != "reference" and not spec.startswith(("replay:", *_COMPILERS))


def start_owner(spec: str, settings: ModelSettings) -> OwnerProcess:
    """Start the owner process of a model. It opens the model when the model is first needed. Raises ModelError."""
    from pytest_llmcompiler.model.owner.client import OwnerProcess

    check_spec(spec)
    is_server = spec.startswith(("http://", "https://"))
    return OwnerProcess(spec if is_server else str(_SHIPPED.get(spec) or Path(spec).expanduser()), settings)
