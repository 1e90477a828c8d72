"""Every flag and ini key, in one table, and the settings they make."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_llmcompiler.model import is_owned
from pytest_llmcompiler.program.case import split_passes


@dataclass(frozen=True)
class Option:
    """A setting that is a flag (`--llmc-name`) and an ini key (`llmc_name`); the flag wins."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    metavar: str
    help: str


def _names(text: str) -> tuple[str, ...]:
    names = tuple(split_passes(text))
    if not all(names):
        raise ValueError("expected pass lists parted by commas")
    return names


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("expected a number of at least 1")
    return value


def _temperature(text: str) -> float:
    value = float(text)
    if not 0 <= value < 100:
        raise ValueError("expected a number from 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError("expected a number above 0 and up to 1")
    return value


def _require(text: str) -> float:
    """The share of conclusive samples that must pass; 0 stands for `any`."""
    return {"any": 0.0, "all": 1.0}[text] if text in ("any", "all") else _share(text)


def _one_of(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected {', '.join(names[:-1])} or {names[-1]}")
        return text

    return parse


OPTIONS = (
    Option(
        *("model", str, None, "SPEC"),
        "who answers: FILE.gguf, http://HOST:PORT/v1, replay:FILE.jsonl, reference (clang as the model), or tiny",
    ),
    Option("samples", _positive, 1, "N", "answers for each item (default 1)"),
    Option("pass_k", _counts, (1,), "K,K", "report pass@k for these k (default 1)"),
    Option("require", _require, 0.0, "any|all|RATE", "samples of an item that must pass for it to pass (default any)"),
    Option("seed", int, 1, "N", "seed of samples and of inputs (default: --hypothesis-seed, else 1)"),
    Option("temperature", _temperature, None, "T", "0 is greedy (default: 0 for one sample, 0.8 for more)"),
    Option("top_p", _share, 0.95, "P", "nucleus sampling (default 0.95)"),
    Option("max_tokens", _positive, None, "N", "tokens of one answer (default: what the context leaves)"),
    Option("n_ctx", _positive, None, "N", "context in tokens (default: what the model was trained for)"),
    Option("gpu_layers", int, None, "N", "layers on the GPU (default: all, where the build can)"),
    Option("streams", _positive, None, "N", "answers that llama.cpp writes at once (default: 64 on a GPU, 16 else)"),
    Option(
        *("drafts", _one_of("on", "off"), "on", "on|off"),
        "propose the reference's assembly to llama.cpp, which is faster and changes no answer (default on)",
    ),
    Option(
        *("cache", _one_of("on", "off", "refresh"), "on", "on|off|refresh"),
        "keep answers in pytest's cache and find them there again (default on)",
    ),
    Option("model_log", Path, None, "FILE", "write llama.cpp's own log to a file"),
    Option("passes", _names, ("O0",), "O0,O2", "pass lists in the prompt, an item for each (default O0)"),
    Option("prompt", str, None, "NAME|FILE", "prompt template (default: meta, and tiny for the model of this name)"),
    Option(
        *("assembler", _one_of("keystone", "llvm"), "keystone", "keystone|llvm"),
        "who assembles first (default keystone)",
    ),
    Option("clang", str, None, "PATH", "a system clang instead of the bundled one"),
    Option(
        *("examples", _positive, 100, "N"),
        "inputs for each function (default: max_examples of a hypothesis profile that sets it, else 100)",
    ),
    Option("record", Path, None, "FILE.jsonl", "append a line for each sample; replay:FILE.jsonl reads it"),
)


@dataclass(frozen=True)
class Settings:
    """All settings of a session."""

    model: str | None
    samples: int
    pass_k: tuple[int, ...]
    require: float
    seed: int
    temperature: float | None
    top_p: float
    max_tokens: int | None
    n_ctx: int | None
    gpu_layers: int | None
    streams: int | None
    drafts: Literal["on", "off"]
    cache: Literal["on", "off", "refresh"]
    model_log: Path | None
    passes: tuple[str, ...]
    prompt: str | None
    assembler: Literal["keystone", "llvm"]
    clang: str | None
    examples: int
    record: Path | None
    cases: tuple[Path, ...]
    """The folders whose C and IR files are cases."""
    cache_folder: Path | None
    """Where pytest lets plugins keep files; None where its cache is off."""


def add_options(parser: pytest.Parser) -> None:
    """Register every flag and ini key with pytest."""
    group = parser.getgroup("llmc", "machine code from language models")
    for option in OPTIONS:
        flag = f"--llmc-{option.name.replace('_', '-')}"
        group.addoption(flag, dest=f"llmc_{option.name}", default=None, metavar=option.metavar, help=option.help)
        parser.addini(f"llmc_{option.name}", option.help, default="")
    parser.addini("llmc_cases", "folders whose .c and .ll files are cases", type="paths", default=[])


def read_settings(config: pytest.Config) -> Settings:
    """The settings of a session. Raises pytest.UsageError naming the flag that can't be read."""
    inherited = {"seed": _hypothesis_seed(config), "examples": _hypothesis_examples()}
    values = {option.name: _read(config, option, inherited.get(option.name)) for option in OPTIONS}
    if max(values["pass_k"]) > values["samples"]:
        k, samples = max(values["pass_k"]), values["samples"]
        raise pytest.UsageError(f"--llmc-pass-k {k} needs at least as many samples, and --llmc-samples is {samples}")
    return Settings(
        **values,
        cases=tuple(path.resolve() for path in config.getini("llmc_cases")),
        cache_folder=_cache_folder(config) if values["model"] and is_owned(values["model"]) else None,
    )


def _cache_folder(config: pytest.Config) -> Path | None:
    cache = getattr(config, "cache", None)
    if not cache:
        return None
    try:
        # Beside pytest's own folders, which --cache-clear has every worker of xdist remove, whatever is open there.
        folder: Path = cache.mkdir("llmc").parents[1] / "llmc"
        folder.mkdir(exist_ok=True)
        if config.option.cacheclear and not hasattr(config, "workerinput"):
            for file in folder.iterdir():
                file.unlink()
        return folder
    except OSError:  # a project that can't be written to: pytest itself goes on without its cache
        return None


_HYPOTHESIS_EXAMPLES = 100
"""max_examples of hypothesis itself, where no profile says otherwise."""


def _hypothesis_seed(config: pytest.Config) -> int | None:
    """The number, or the number made of any other text, that --hypothesis-seed gives."""
    text = config.getoption("hypothesis_seed", None)
    try:
        return None if text is None else int(text)
    except ValueError:
        return zlib.crc32(text.encode("utf-8", "surrogateescape"))


def _hypothesis_examples() -> int | None:
    """What the loaded profile says. Where hypothesis is not imported, none was loaded."""
    hypothesis = sys.modules.get("hypothesis")
    examples: int | None = hypothesis.settings.default.max_examples if hypothesis else None
    return None if examples == _HYPOTHESIS_EXAMPLES else examples


def _read(config: pytest.Config, option: Option, inherited: Any) -> Any:
    name = f"llmc_{option.name}"
    text = config.getoption(name)
    source = f"--{name.replace('_', '-')}"
    if text is None:
        text, source = config.getini(name), f"ini key {name}"
        if not text:
            return option.default if inherited is None else inherited
    try:
        return option.parse(text)
    except ValueError as error:
        raise pytest.UsageError(f"{source}: can't use {text!r}: {error}") from None
