"""Every flag and ini key, in one table, and the settings they make."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from pytest_llmcompiler.model.answer import TASKS, Task, get_template_label
from pytest_llmcompiler.model.specs import get_default_template, has_owner_process
from pytest_llmcompiler.program.case import split_passes
from pytest_llmcompiler.report.export import EXPORT_SUFFIXES
from pytest_llmcompiler.targets import list_target_names
from pytest_llmcompiler.targets.target import DEFAULT


@dataclass(frozen=True)
class Option:
    """A setting that is a flag (`--llmc-name`) and an ini key (`llmc_name`); the flag wins."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    metavar: str
    """Empty for a switch: the flag takes no value, and the ini key takes `on` or `off`."""
    help: str
    repeatable: bool = False
    """The flag may be given several times; that is the same as once, with commas between."""
    listed: bool = False
    """The value may be several with commas between, and that of the ini key a list."""


def _names(text: str) -> tuple[str, ...]:
    names = tuple(split_passes(text))
    if not all(names):
        raise ValueError("expected pass lists parted by commas")
    return names


def _templates(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    labels = {get_template_label(name) for name in names}
    if not all(names) or len(labels) < len(names):
        raise ValueError("expected prompt templates of different names, parted by commas")
    return names


def _tasks(text: str) -> tuple[Task, ...]:
    known = _one_of(*TASKS)
    return tuple(dict.fromkeys(cast(Task, known(name.strip())) for name in text.split(",")))


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


def _require(text: str) -> float | None:
    """The share of conclusive samples that must pass; 0 stands for `any`, None for `none`."""
    words = {"any": 0.0, "all": 1.0, "none": None}
    return words[text] if text in words else _share(text)


def _thresholds(text: str) -> dict[int, float]:
    """The least pass@k, as a fraction of 1, by k."""
    matches = [re.fullmatch(r"\s*pass@(\d+)\s*=(.*)", part) for part in text.split(",")]
    found = [(match[1], match[2]) for match in matches if match]
    if len(found) < len(matches):
        raise ValueError("expected pass@K=SHARE, such as pass@1=0.8")
    return {_positive(k): _share(share) for k, share in found}


def _switch(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _table(text: str) -> Path:
    path = Path(text)
    if path.suffix not in EXPORT_SUFFIXES:
        raise ValueError(f"expected a file that ends in {' or '.join(EXPORT_SUFFIXES)}")
    return path


def _one_of(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected {', '.join(names[:-1])} or {names[-1]}")
        return text

    return parse


OPTIONS = (
    Option(
        *("model", str, None, "SPEC"),
        "who answers: FILE.gguf, http://HOST:PORT/v1[#MODEL], replay:FILE.jsonl, reference (clang itself), or tiny",
    ),
    Option("samples", _positive, 1, "N", "answers for each item (default 1)"),
    Option("pass_k", _counts, (1,), "K,K", "report pass@k for these k (default 1)", listed=True),
    Option(
        *("require", _require, 0.0, "any|all|RATE|none"),
        "samples of an item that must pass for it to pass; none: no item fails (default any)",
    ),
    Option(
        *("fail_under", _thresholds, {}, "pass@K=SHARE"),
        *("fail the session where pass@k over all items is lower; several with commas, or the flag again", True, True),
    ),
    Option("baseline", Path, None, "FILE", "fail only what got worse than FILE says"),
    Option("update_baseline", _switch, False, "", "write how items do to the file of --llmc-baseline; no item fails"),
    Option("seed", int, 1, "N", "seed of samples and of inputs (default: --hypothesis-seed, else 1)"),
    Option("temperature", _temperature, None, "T", "0 is greedy (default: 0 for one sample, 0.8 for more)"),
    Option("top_p", _share, 0.95, "P", "nucleus sampling (default 0.95)"),
    Option("max_tokens", _positive, None, "N", "tokens of one answer (default: what the context leaves)"),
    Option("n_ctx", _positive, None, "N", "context in tokens (default: what the model was trained for, at most 16384)"),
    Option("gpu_layers", int, None, "N", "layers on the GPU (default: all, where the build can)"),
    Option(
        "streams", _positive, None, "N", "answers that llama.cpp writes at once (default: 64 on a GPU, 2 to 16 else)"
    ),
    Option(
        *("drafts", _one_of("on", "off"), "on", "on|off"),
        "propose the reference's answer to llama.cpp: faster, and answers change by rounding alone (default on)",
    ),
    Option(
        *("cache", _one_of("on", "off", "refresh"), "on", "on|off|refresh"),
        "keep answers in pytest's cache and find them there again (default on)",
    ),
    Option("model_log", Path, None, "FILE", "write llama.cpp's own log to a file"),
    Option(
        *("task", _tasks, ("asm",), ",".join(TASKS)),
        "what is asked for: assembly, optimised IR, a pass list, the IR of assembly; an item for each (default asm)",
        listed=True,
    ),
    Option("passes", _names, ("O0",), "O0,O2", "pass lists in the prompt, an item for each (default O0)", listed=True),
    Option(
        *("prompt", _templates, (), "NAME|FILE,…"),
        "prompt templates, an item for each; they are compared in the end (default: meta, for tiny its own)",
        listed=True,
    ),
    Option(
        *("syntax", _one_of("att", "intel"), "att", "att|intel"),
        "how assembly is written in prompts and by the reference; answers may have either (default att)",
    ),
    Option(
        *("assembler", _one_of("keystone", "llvm"), "keystone", "keystone|llvm"),
        "who assembles first (default keystone)",
    ),
    Option(
        *("target", _one_of(*list_target_names()), DEFAULT, "NAME"),
        f"what code is judged for: {' or '.join(list_target_names())} (default {DEFAULT})",
    ),
    Option("clang", str, None, "PATH", "a system clang that makes IR of C; code is still made by the bundled one"),
    Option(
        *("examples", _positive, 100, "N"),
        "inputs drawn for each function (default: max_examples of a hypothesis profile that sets it, else 100)",
    ),
    Option("artifacts", Path, None, "DIR", "write a folder for each failing sample: its files, and a native program"),
    Option("record", Path, None, "FILE.jsonl", "append a line for each sample; replay:FILE.jsonl reads it"),
    Option("resume", _switch, False, "", "take the samples that the file of --llmc-record holds, and make the rest"),
    Option("export", _table, None, "FILE.csv|.parquet", "write a table with a row for each sample"),
    Option("report", Path, None, "FILE.html", "write a page that shows every sample, for a browser"),
)


COMPARE = "compare two records and end: pass@1 over the same items, its difference, and a paired test"
"""What `--llmc-compare` does: no setting, so that it has no ini key."""


@dataclass(frozen=True)
class SessionSettings:
    """All settings of a session."""

    model: str | None
    samples: int
    pass_k: tuple[int, ...]
    require: float | None
    """The share of an item's judged samples that must pass, and at least one; None: no item fails."""
    fail_under: dict[int, float]
    baseline: Path | None
    update_baseline: bool
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
    task: tuple[Task, ...]
    passes: tuple[str, ...]
    prompt: tuple[str, ...]
    syntax: Literal["att", "intel"]
    assembler: Literal["keystone", "llvm"]
    target: str
    clang: str | None
    examples: int
    artifacts: Path | None
    record: Path | None
    resume: bool
    export: Path | None
    report: Path | None
    cases: tuple[Path, ...]
    """The folders whose C and IR files are cases."""
    cache_folder: Path | None
    """Where pytest lets plugins keep files; None where its cache is off."""


def add_options(parser: pytest.Parser) -> None:
    """Register every flag and ini key with pytest."""
    group = parser.getgroup("llmc", "machine code from language models")
    for option in OPTIONS:
        flag = f"--llmc-{option.name.replace('_', '-')}"
        form: dict[str, Any] = {"metavar": option.metavar, "action": "append" if option.repeatable else "store"}
        if not option.metavar:
            form = {"action": "store_const", "const": "on"}
        group.addoption(flag, dest=f"llmc_{option.name}", default=None, help=option.help, **form)
        kind: Literal["linelist", "string"] = "linelist" if option.listed else "string"
        parser.addini(f"llmc_{option.name}", option.help, kind, default="")
    group.addoption("--llmc-compare", nargs=2, metavar=("A.jsonl", "B.jsonl"), help=COMPARE)
    parser.addini("llmc_cases", "folders whose .c and .ll files are cases", type="paths", default=[])


def read_settings(config: pytest.Config) -> SessionSettings:
    """The settings of a session. Raises pytest.UsageError naming the flag that can't be read."""
    inherited = {"seed": _hypothesis_seed(config), "examples": _hypothesis_examples()}
    values = {option.name: _read(config, option, inherited.get(option.name)) for option in OPTIONS}
    _check_together(values)
    values["prompt"] = values["prompt"] or (get_default_template(values["model"]),)
    return SessionSettings(
        **values,
        cases=tuple(path.resolve() for path in config.getini("llmc_cases")),
        cache_folder=_cache_folder(config) if values["model"] and has_owner_process(values["model"]) else None,
    )


def _check_together(values: dict[str, Any]) -> None:
    """Raise pytest.UsageError for settings that make no sense beside each other."""
    samples = values["samples"]
    for flag, k in (("pass-k", max(values["pass_k"])), ("fail-under", max(values["fail_under"], default=0))):
        if k > samples:
            asked = f"--llmc-{flag} {'pass@' if flag == 'fail-under' else ''}{k}"
            raise pytest.UsageError(f"{asked} needs at least as many samples, and --llmc-samples is {samples}")
    for flag, other in (("update_baseline", "baseline"), ("resume", "record")):
        if values[flag] and not values[other]:
            raise pytest.UsageError(f"--llmc-{flag.replace('_', '-')} needs --llmc-{other} FILE")


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


def _ini(config: pytest.Config, name: str) -> str:
    """The text of an ini key; a list is the same as its values with commas between."""
    value = config.getini(name)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(config: pytest.Config, option: Option, inherited: Any) -> Any:
    name = f"llmc_{option.name}"
    text = config.getoption(name)
    if option.repeatable and text is not None:
        text = ",".join(text)
    source = f"--{name.replace('_', '-')}"
    if text is None:
        text, source = _ini(config, name), f"ini key {name}"
        if not text:
            return option.default if inherited is None else inherited
    try:
        return option.parse(text)
    except ValueError as error:
        raise pytest.UsageError(f"{source}: can't use {text!r}: {error}") from None
