"""The settings of a session, from flags and ini keys."""

from __future__ import annotations

import argparse
import shlex
import sys
import zlib
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.judge.settings import NativeMode
from pytest_llmcompiler.model.answer import Task
from pytest_llmcompiler.model.specs import get_default_template, has_owner_process
from pytest_llmcompiler.option_table import COMPARE_HELP, OPTIONS, Option
from pytest_llmcompiler.program.compilation_database import FILE_NAME
from pytest_llmcompiler.program.compile_flags import FlagSources
from pytest_llmcompiler.program.flag_words import parse_flags
from pytest_llmcompiler.report.export import ExportFile
from pytest_llmcompiler.targets.levels import IsaLevel


@dataclass(frozen=True)
class SessionSettings:
    """All settings of a session."""

    model: str | None
    samples: int
    pass_k: tuple[int, ...]
    require: float | None
    """The share of an item's judged samples that must pass, and at least one; None: no item fails."""
    fail_under: dict[str, float]
    baseline: Path | None
    update_baseline: bool
    seed: int
    temperature: float | None
    top_p: float
    max_tokens: int | None
    n_ctx: int | None
    gpu_layers: int | None
    streams: int | None
    drafts: bool
    cache: Literal["on", "off", "refresh"]
    model_log: Path | None
    task: tuple[Task, ...]
    passes: tuple[str, ...]
    prompt: tuple[str, ...]
    syntax: Literal["att", "intel"]
    assembler: Literal["keystone", "llvm"]
    target: str
    clang: str | None
    cflags: str | None
    """The text of a command line."""
    compile_commands: Path | None
    link: Literal["directives", "database"]
    programs: bool
    examples: int
    min_coverage: float
    effort: float
    prove: bool
    native: NativeMode
    isa: IsaLevel
    jobs: int | None
    """The number of judge processes; None: as many as there are cores."""
    artifacts: Path | None
    record: Path | None
    resume: bool
    export: tuple[ExportFile, ...]
    report: Path | None
    cases: tuple[Path, ...]
    """The folders whose C and IR files are cases."""
    flag_sources: FlagSources
    """Where the flags of C files come from, and what is linked with them: `cflags`, `compile_commands`, `link`."""
    cache_folder: Path | None
    """The folder for answers inside pytest's cache; None if that cache is off."""


def add_options(parser: pytest.Parser) -> None:
    """Register every flag and ini key with pytest."""
    group = parser.getgroup("llmc", "machine code from language models")
    for option in OPTIONS:
        _add_flag(group, option)
        parser.addini(option.key, option.full_help, _ini_type(option), default=None)
    group.addoption("--llmc-compare", nargs=2, metavar=("A.jsonl", "B.jsonl"), help=COMPARE_HELP)
    parser.addini("llmc_cases", "folders whose .c and .ll files are cases", type="paths", default=[])


def _ini_type(option: Option) -> Any:
    """The type that pytest checks an ini key for.

    The table `[tool.pytest]` of pytest 9 has typed values, and pytest rejects a number for a key of type string. From
    pytest 9.2 on a key may have several types. The first that fits is taken, so values from other files stay text.
    """
    if option.is_list:
        return "linelist"
    if option.is_command_line:
        return "args"
    if pytest.version_tuple >= (9, 2):
        return str | (bool if option.is_switch else option.toml_type)
    return "bool" if option.is_switch and pytest.version_tuple >= (9, 0) else "string"


def _add_flag(group: pytest.OptionGroup, option: Option) -> None:
    attributes: dict[str, Any] = {"dest": option.key, "default": None, "help": option.full_help}
    if not option.is_switch:
        action = "append" if option.is_repeatable else "store"
        group.addoption(option.flag, metavar=option.metavar, action=action, **attributes)
    elif not option.metavar:
        group.addoption(option.flag, action=argparse.BooleanOptionalAction, **attributes)
    else:  # a switch that had a value in earlier versions still takes one
        group.addoption(option.flag, metavar=option.metavar, nargs="?", const="on", **attributes)
        group.addoption(
            option.negative_flag,
            dest=option.key,
            default=None,
            action="store_const",
            const="off",
            help=f"the same as {option.flag} off",
        )


def read_settings(config: pytest.Config) -> SessionSettings:
    """Read the settings of a session. Raises pytest.UsageError naming a flag or ini key with an unusable value."""
    inherited = {"seed": _hypothesis_seed(config), "examples": _hypothesis_examples()}
    values = {option.name: _read(config, option, inherited.get(option.name)) for option in OPTIONS}
    _check_together(values)
    values["prompt"] = values["prompt"] or (get_default_template(values["model"]),)
    return SessionSettings(
        **values,
        cases=tuple(path.resolve() for path in config.getini("llmc_cases")),
        flag_sources=replace(
            _read_flag_sources(config, values["cflags"], values["compile_commands"]),
            links_database=values["link"] == "database",
        ),
        cache_folder=_cache_folder(config) if values["model"] and has_owner_process(values["model"]) else None,
    )


def _read_flag_sources(config: pytest.Config, cflags: str | None, database: Path | None) -> FlagSources:
    """Where the flags of C files come from. Raises pytest.UsageError for what can't be read."""
    try:
        common = (parse_flags(cflags, *_origin(config, "cflags")),) if cflags else ()
    except CaseError as error:
        raise pytest.UsageError(str(error)) from None
    if database is not None:
        folder, origin = _origin(config, "compile_commands")
        database = folder / database
        if not (database / FILE_NAME if database.is_dir() else database).is_file():
            raise pytest.UsageError(f"{origin}: there is no {FILE_NAME} at {database}")
    return FlagSources(common, database)


def _origin(config: pytest.Config, name: str) -> tuple[Path, str]:
    """The folder at which relative paths in an option start, and what names the option: the flag or the ini key."""
    if config.getoption(f"llmc_{name}") is not None:
        return config.invocation_params.dir, f"--llmc-{name.replace('_', '-')}"
    return config.inipath.parent if config.inipath else config.rootpath, f"ini key llmc_{name}"


def _check_together(values: dict[str, Any]) -> None:
    """Raise pytest.UsageError for settings that contradict each other."""
    samples = values["samples"]
    required = [int(name.removeprefix("pass@")) for name in values["fail_under"] if name.startswith("pass@")]
    for flag, k in (("pass-k", max(values["pass_k"])), ("fail-under", max(required, default=0))):
        if k > samples:
            name = f"--llmc-{flag} {'pass@' if flag == 'fail-under' else ''}{k}"
            raise pytest.UsageError(f"{name} needs at least as many samples, and --llmc-samples is {samples}")
    for flag, needed in (("update_baseline", "baseline"), ("resume", "record")):
        if values[flag] and not values[needed]:
            raise pytest.UsageError(f"--llmc-{flag.replace('_', '-')} needs --llmc-{needed} FILE")
    missing = ("z3", "capstone") if values["prove"] else ()
    for module in missing:
        if find_spec(module) is None:
            raise pytest.UsageError(f"--llmc-prove needs {module}: pip install 'pytest-llmcompiler[prove]'")


def _cache_folder(config: pytest.Config) -> Path | None:
    cache = getattr(config, "cache", None)
    if not cache:
        return None
    try:
        # Beside pytest's own folders: with --cache-clear, every worker of pytest-xdist removes those, even if a file in
        # them is open.
        folder: Path = cache.mkdir("llmc").parents[1] / "llmc"
        folder.mkdir(exist_ok=True)
        if config.option.cacheclear and not hasattr(config, "workerinput"):
            for file in folder.iterdir():
                file.unlink()
        return folder
    except OSError:  # the project is read-only: pytest itself works without its cache then
        return None


_HYPOTHESIS_EXAMPLES = 100
"""The max_examples of hypothesis itself, if no profile sets it."""


def _hypothesis_seed(config: pytest.Config) -> int | None:
    """The value of --hypothesis-seed: a number, or a checksum of any other text."""
    text = config.getoption("hypothesis_seed", None)
    try:
        return None if text is None else int(text)
    except ValueError:
        return zlib.crc32(text.encode("utf-8", "surrogateescape"))


def _hypothesis_examples() -> int | None:
    """The max_examples of the loaded profile; None if it sets none. A profile is loaded only if hypothesis is
    imported."""
    hypothesis = sys.modules.get("hypothesis")
    examples: int | None = hypothesis.settings.default.max_examples if hypothesis else None
    return None if examples == _HYPOTHESIS_EXAMPLES else examples


def _read(config: pytest.Config, option: Option, inherited: Any) -> Any:
    """The value of an option: of the flag, else of the ini key, else `inherited`, else the default."""
    value, source = config.getoption(option.key), option.flag
    if value is None:
        value, source = _read_ini(config, option), f"ini key {option.key}"
    if value in (None, "") and source != option.flag:
        return option.default if inherited is None else inherited
    if isinstance(value, bool) and option.is_switch:
        return value
    if isinstance(value, list):
        text = shlex.join(map(str, value)) if option.is_command_line else ",".join(map(str, value))
    else:
        text = str(value)
    try:
        return option.type(text)
    except ValueError as error:
        raise pytest.UsageError(f"{source}: can't use {text!r}: {error}") from None


def _read_ini(config: pytest.Config, option: Option) -> Any:
    """The value of an ini key; None if it is not set. An empty list counts as not set."""
    try:
        value = config.getini(option.key)
    except (pytest.UsageError, TypeError, ValueError) as error:  # pytest's own messages may lack the key
        raise pytest.UsageError(f"ini key {option.key}: {error}") from error
    return None if value == [] else value
