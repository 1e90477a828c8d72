"""The table of flags and ini keys, and the settings that are read from them."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.judge.settings import NATIVE_MODES, NativeMode
from pytest_llmcompiler.model.answer import TASKS, Task, get_template_label
from pytest_llmcompiler.model.specs import get_default_template, has_owner_process
from pytest_llmcompiler.program.case import split_passes
from pytest_llmcompiler.program.compilation_database import FILE_NAME
from pytest_llmcompiler.program.compile_flags import FlagSources
from pytest_llmcompiler.program.flag_words import parse_flags
from pytest_llmcompiler.report.cost_ratios import MEASURES
from pytest_llmcompiler.report.export import ExportFile, parse_export
from pytest_llmcompiler.targets import list_target_names
from pytest_llmcompiler.targets.levels import ISA_LEVELS, IsaLevel
from pytest_llmcompiler.targets.target import DEFAULT


def _parse_passes(text: str) -> tuple[str, ...]:
    pass_lists = tuple(split_passes(text))
    if not all(pass_lists):
        raise ValueError("expected pass lists separated by commas")
    return pass_lists


def _parse_templates(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    labels = {get_template_label(name) for name in names}
    if not all(names) or len(labels) < len(names):
        raise ValueError("expected prompt templates of different names, separated by commas")
    return names


def _parse_tasks(text: str) -> tuple[Task, ...]:
    parse = _choice(*TASKS)
    return tuple(dict.fromkeys(cast(Task, parse(name.strip())) for name in text.split(",")))


def _parse_counts(text: str) -> tuple[int, ...]:
    return tuple(_parse_count(part) for part in text.split(","))


def _parse_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("expected a whole number") from None


def _parse_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("expected a number") from None


def _parse_count(text: str) -> int:
    value = _parse_integer(text)
    if value < 1:
        raise ValueError("expected a number of at least 1")
    return value


def _parse_temperature(text: str) -> float:
    value = _parse_float(text)
    if not 0 <= value < 100:
        raise ValueError("expected a number from 0 to 100")
    return value


def _parse_share(text: str) -> float:
    value = _parse_float(text)
    if not 0 < value <= 1:
        raise ValueError("expected a number above 0 and up to 1")
    return value


def _parse_coverage(text: str) -> float:
    value = _parse_float(text)
    if not 0 <= value <= 1:
        raise ValueError("expected a number from 0 to 1")
    return value


def _parse_effort(text: str) -> float:
    value = _parse_float(text)
    if not 0 <= value < math.inf:
        raise ValueError("expected a number of 0 or more")
    return value


def _parse_requirement(text: str) -> float | None:
    """The share of judged samples that must pass; 0 stands for `any`, None for `none`."""
    words = {"any": 0.0, "all": 1.0, "none": None}
    if text in words:
        return words[text]
    try:
        return _parse_share(text)
    except ValueError:
        raise ValueError("expected any, all, none, or a number above 0 and up to 1") from None


def _parse_thresholds(text: str) -> dict[str, float]:
    """The least pass@k, as a fraction of 1, and the least of measures of speed and size, by their names."""
    thresholds = {}
    for part in text.split(","):
        name, is_given, number = (word.strip() for word in part.partition("="))
        if is_given and name in MEASURES:
            thresholds[name] = _parse_ratio(number)
        elif is_given and re.fullmatch(r"pass@\d+", name):
            thresholds[f"pass@{_parse_count(name.removeprefix('pass@'))}"] = _parse_share(number)
        else:
            raise ValueError(
                "expected pass@K=SHARE, such as pass@1=0.8, or speed@LEVEL=RATIO, such as speed@O3=0.9 or size@Oz=0.9"
            )
    return thresholds


def _parse_ratio(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ValueError(f"expected a ratio above 0, found {text!r}")
    return value


_ON, _OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")
"""The spellings of a switch, some of those that pytest takes for its own booleans."""


def _parse_switch(text: str) -> bool:
    if text.lower() not in (*_ON, *_OFF):
        raise ValueError("expected on or off")
    return text.lower() in _ON


def _parse_cache(text: str) -> str:
    if text.lower() in (*_ON, *_OFF):
        return "on" if _parse_switch(text) else "off"
    return _choice("on", "off", "refresh")(text)


def _parse_exports(text: str) -> tuple[ExportFile, ...]:
    files = tuple(parse_export(part.strip()) for part in text.split(","))
    if len({file.path for file in files}) < len(files):
        raise ValueError("expected different files")
    return files


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected {', '.join(names[:-1])} or {names[-1]}")
        return text

    return parse


@dataclass(frozen=True)
class Option:
    """A setting: a flag (`--llmc-name`) and an ini key (`llmc_name`). The flag wins."""

    name: str
    help: str
    """Without the default, which `full_help` adds."""
    type: Callable[[str], Any] = str
    """Parses the text of a flag or ini key. Raises ValueError with a message for users."""
    default: Any = None
    metavar: str = ""
    """Empty for a switch, whose flag takes no value."""
    toml_type: Any = str
    """The type of a value in TOML that is no text: int, float or bool."""
    default_text: str = ""
    """For the help, if the default depends on other things than the table."""
    is_repeatable: bool = False
    """Whether the flag may be given several times, which is the same as once with commas between the values."""
    is_list: bool = False
    """Whether the value is a list: with commas between in a flag, a list of TOML in an ini file."""
    is_command_line: bool = False
    """Whether the value is words of a command line: one text, split as a shell does, or a list of TOML in an ini
    file."""

    @property
    def is_switch(self) -> bool:
        """Whether the ini key is a boolean."""
        return isinstance(self.default, bool)

    @property
    def flag(self) -> str:
        """The name of the flag, `--llmc-pass-k`."""
        return f"--llmc-{self.name.replace('_', '-')}"

    @property
    def negative_flag(self) -> str:
        """The name of the flag that turns a switch off, `--no-llmc-resume`."""
        return f"--no-{self.flag.removeprefix('--')}"

    @property
    def key(self) -> str:
        """The ini key, which is also the name in pytest's namespace of options."""
        return f"llmc_{self.name}"

    @property
    def full_help(self) -> str:
        """The help with the default, if there is one."""
        text = self.default_text or _format_default(self.default)
        return f"{self.help} (default: {text})" if text else self.help


def _format_default(value: object) -> str:
    """A default as it would be typed; empty for None, an empty list, and a switch that is off."""
    if isinstance(value, bool):
        return "on" if value else ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value in (None, {}) else str(value)


OPTIONS = (
    Option(
        name="model",
        metavar="SPEC",
        help="the model that answers: FILE.gguf, http://HOST:PORT/v1[#MODEL], replay:FILE.jsonl, reference (clang "
        "itself), cc:COMMAND (any compiler), cc-ir:COMMAND (on the function's IR), or tiny",
    ),
    Option(name="samples", toml_type=int, type=_parse_count, default=1, metavar="N", help="answers for each item"),
    Option(
        name="pass_k",
        type=_parse_counts,
        default=(1,),
        metavar="K,K",
        help="report pass@k for these k",
        is_list=True,
    ),
    Option(
        name="require",
        toml_type=float,
        type=_parse_requirement,
        default=0.0,
        default_text="any",
        metavar="any|all|RATE|none",
        help="samples of an item that must pass for it to pass; none: no item fails",
    ),
    Option(
        name="min_coverage",
        toml_type=float,
        type=_parse_coverage,
        default=0.0,
        metavar="SHARE",
        help="a sample that passes is inconclusive where the inputs reach less of the function's edges",
    ),
    Option(
        name="fail_under",
        type=_parse_thresholds,
        default={},
        metavar="pass@K=SHARE",
        help="fail the session if pass@k over all items is lower, or speed@O3, size@Oz and their like; several with "
        "commas, or the flag again",
        is_repeatable=True,
        is_list=True,
    ),
    Option(name="baseline", type=Path, metavar="FILE", help="fail only what is worse than in this baseline"),
    Option(
        name="update_baseline",
        type=_parse_switch,
        default=False,
        help="write the results to the file of --llmc-baseline; no item fails",
    ),
    Option(
        name="seed",
        toml_type=int,
        type=_parse_integer,
        default=1,
        default_text="--hypothesis-seed, else 1",
        metavar="N",
        help="seed of samples and of inputs, those of the second look too",
    ),
    Option(
        name="temperature",
        toml_type=float,
        type=_parse_temperature,
        default_text="0 for one sample, 0.8 for more",
        metavar="T",
        help="sampling temperature; 0 is greedy",
    ),
    Option(name="top_p", toml_type=float, type=_parse_share, default=0.95, metavar="P", help="nucleus sampling"),
    Option(
        name="max_tokens",
        toml_type=int,
        type=_parse_count,
        default_text="what the context leaves",
        metavar="N",
        help="tokens of one answer",
    ),
    Option(
        name="n_ctx",
        toml_type=int,
        type=_parse_count,
        default_text="what the model was trained for, at most 16384",
        metavar="N",
        help="context in tokens",
    ),
    Option(
        name="gpu_layers",
        toml_type=int,
        type=_parse_integer,
        default_text="all, if llama.cpp is built for a GPU",
        metavar="N",
        help="layers on the GPU",
    ),
    Option(
        name="streams",
        toml_type=int,
        type=_parse_count,
        default_text="64 on a GPU, 2 to 16 otherwise",
        metavar="N",
        help="answers that llama.cpp writes at once",
    ),
    Option(
        name="drafts",
        type=_parse_switch,
        default=True,
        metavar="on|off",
        help="propose the reference's answer to llama.cpp: faster, and answers change by rounding only",
    ),
    Option(
        name="cache",
        toml_type=bool,
        type=_parse_cache,
        default="on",
        metavar="on|off|refresh",
        help="keep answers in pytest's cache and take them from there; refresh: ask again, and replace what it holds",
    ),
    Option(name="model_log", type=Path, metavar="FILE", help="write llama.cpp's own log to a file"),
    Option(
        name="task",
        type=_parse_tasks,
        default=("asm",),
        metavar=",".join(TASKS),
        help="what the model is asked for, an item for each: assembly, optimised IR, a pass list, the IR of assembly",
        is_list=True,
    ),
    Option(
        name="passes",
        type=_parse_passes,
        default=("O0",),
        metavar="O0,O2",
        help="pass lists in the prompt, an item for each",
        is_list=True,
    ),
    Option(
        name="prompt",
        type=_parse_templates,
        default=(),
        default_text="meta; for tiny its own",
        metavar="NAME|FILE,…",
        help="prompt templates, an item for each; the session ends with a comparison of them",
        is_list=True,
    ),
    Option(
        name="syntax",
        type=_choice("att", "intel"),
        default="att",
        metavar="att|intel",
        help="syntax of assembly in prompts and in the reference's answers; a model's answers may have either",
    ),
    Option(
        name="assembler",
        type=_choice("keystone", "llvm"),
        default="keystone",
        metavar="keystone|llvm",
        help="the assembler that is tried first",
    ),
    Option(
        name="target",
        type=_choice(*list_target_names()),
        default=DEFAULT,
        metavar="NAME",
        help=f"processor and system that code is judged for: {' or '.join(list_target_names())}",
    ),
    Option(
        name="clang",
        metavar="PATH",
        help="a system clang that compiles C to IR; the bundled clang still compiles IR to machine code",
    ),
    Option(
        name="cflags",
        metavar="FLAGS",
        help="flags of clang for every C file, such as '-std=gnu89 -Iinclude'; paths start at the folder of the ini "
        "file, or for the flag at the current folder",
        is_command_line=True,
    ),
    Option(
        name="compile_commands",
        type=Path,
        default_text="the nearest one above a case that has an entry for it",
        metavar="FILE|DIR",
        help="the compilation database that has the flags of C files: compile_commands.json, or its folder",
    ),
    Option(
        name="link",
        type=_choice("directives", "database"),
        default="directives",
        metavar="directives|database",
        help="the other files of a case's program: those that its directives name, or also those of its compilation "
        "database that define what the program only declares",
    ),
    Option(
        name="programs",
        type=_parse_switch,
        default=False,
        help="every case with a main is one item: the answer is the whole program, which runs as a process",
    ),
    Option(
        name="examples",
        toml_type=int,
        type=_parse_count,
        default=100,
        default_text="max_examples of a hypothesis profile that sets it, else 100",
        metavar="N",
        help="inputs generated for each function",
    ),
    Option(
        name="effort",
        toml_type=float,
        type=_parse_effort,
        default=1.0,
        default_text="1",
        metavar="FACTOR",
        help="samples that pass all inputs are looked at once more, on inputs made for each: 1 takes at most as long "
        "again, 10 ten times that, 0 leaves it out",
    ),
    Option(
        name="prove",
        type=_parse_switch,
        default=False,
        help="try to prove that samples which pass are equal to the reference on every input; needs "
        "pytest-llmcompiler[prove]",
    ),
    Option(
        name="native",
        type=_choice(*NATIVE_MODES),
        default="auto",
        metavar="|".join(NATIVE_MODES),
        help="run code on this machine's processor, in a confined process; auto: where the emulator can't run it and "
        "--llmc-isa allows it; always: all code too, and a difference from the emulator is an error",
    ),
    Option(
        name="isa",
        type=_choice(*ISA_LEVELS),
        default=ISA_LEVELS[0],
        metavar="LEVEL",
        help=f"the instructions that samples may use: {', '.join(ISA_LEVELS[:-1])} or {ISA_LEVELS[-1]}; from "
        "x86-64-v3 on, code with AVX runs natively",
    ),
    Option(
        name="jobs",
        toml_type=int,
        type=_parse_count,
        default_text="the number of cores",
        metavar="N",
        help="processes that judge, side by side; the workers of pytest-xdist share them, and each has at least one",
    ),
    Option(
        name="artifacts",
        type=Path,
        metavar="DIR",
        help="write a folder for each failing sample: its files, and a native program that shows the failure",
    ),
    Option(
        name="record",
        type=Path,
        metavar="FILE.jsonl",
        help="append a line for each sample; replay:FILE.jsonl reads it",
    ),
    Option(
        name="resume",
        type=_parse_switch,
        default=False,
        help="take the samples that the file of --llmc-record holds, and ask only for the others",
    ),
    Option(
        name="export",
        type=_parse_exports,
        default=(),
        metavar="[FORMAT:]FILE",
        help="write a table with a row for each sample (FILE.csv, FILE.parquet), or the results as EvalPlus or "
        "lm-evaluation-harness write theirs (evalplus:FILE, lm-eval:FILE); several with commas, or the flag again",
        is_repeatable=True,
        is_list=True,
    ),
    Option(
        name="report",
        type=Path,
        metavar="FILE.html",
        help="write a page that shows every sample, for a browser",
    ),
)

COMPARE_HELP = "compare two records and end: pass@1 over the same items, its difference, and a paired test"
"""The help of `--llmc-compare`. It is no setting of a session, so it has no ini key."""


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
