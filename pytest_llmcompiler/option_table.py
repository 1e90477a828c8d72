"""The table of flags and ini keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmcompiler.judge.settings import NATIVE_MODES
from pytest_llmcompiler.model.answer import TASKS
from pytest_llmcompiler.option_values import (
    parse_cache,
    parse_choice,
    parse_count,
    parse_counts,
    parse_coverage,
    parse_effort,
    parse_exports,
    parse_integer,
    parse_passes,
    parse_requirement,
    parse_share,
    parse_switch,
    parse_tasks,
    parse_temperature,
    parse_templates,
    parse_thresholds,
)
from pytest_llmcompiler.targets import list_target_names
from pytest_llmcompiler.targets.levels import ISA_LEVELS
from pytest_llmcompiler.targets.target import DEFAULT


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
    Option(name="samples", toml_type=int, type=parse_count, default=1, metavar="N", help="answers for each item"),
    Option(
        name="pass_k",
        type=parse_counts,
        default=(1,),
        metavar="K,K",
        help="report pass@k for these k",
        is_list=True,
    ),
    Option(
        name="require",
        toml_type=float,
        type=parse_requirement,
        default=0.0,
        default_text="any",
        metavar="any|all|RATE|none",
        help="samples of an item that must pass for it to pass; none: no item fails",
    ),
    Option(
        name="min_coverage",
        toml_type=float,
        type=parse_coverage,
        default=0.0,
        metavar="SHARE",
        help="a sample that passes is inconclusive where the inputs reach less of the function's edges",
    ),
    Option(
        name="fail_under",
        type=parse_thresholds,
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
        type=parse_switch,
        default=False,
        help="write the results to the file of --llmc-baseline; no item fails",
    ),
    Option(
        name="seed",
        toml_type=int,
        type=parse_integer,
        default=1,
        default_text="--hypothesis-seed, else 1",
        metavar="N",
        help="seed of samples and of inputs, those of the second look too",
    ),
    Option(
        name="temperature",
        toml_type=float,
        type=parse_temperature,
        default_text="0 for one sample, 0.8 for more",
        metavar="T",
        help="sampling temperature; 0 is greedy",
    ),
    Option(name="top_p", toml_type=float, type=parse_share, default=0.95, metavar="P", help="nucleus sampling"),
    Option(
        name="max_tokens",
        toml_type=int,
        type=parse_count,
        default_text="what the context leaves",
        metavar="N",
        help="tokens of one answer",
    ),
    Option(
        name="n_ctx",
        toml_type=int,
        type=parse_count,
        default_text="what the model was trained for, at most 16384",
        metavar="N",
        help="context in tokens",
    ),
    Option(
        name="gpu_layers",
        toml_type=int,
        type=parse_integer,
        default_text="all, if llama.cpp is built for a GPU",
        metavar="N",
        help="layers on the GPU",
    ),
    Option(
        name="streams",
        toml_type=int,
        type=parse_count,
        default_text="64 on a GPU, 2 to 16 otherwise",
        metavar="N",
        help="answers that llama.cpp writes at once",
    ),
    Option(
        name="drafts",
        type=parse_switch,
        default=True,
        metavar="on|off",
        help="propose the reference's answer to llama.cpp: faster, and answers change by rounding only",
    ),
    Option(
        name="cache",
        toml_type=bool,
        type=parse_cache,
        default="on",
        metavar="on|off|refresh",
        help="keep answers in pytest's cache and take them from there; refresh: ask again, and replace what it holds",
    ),
    Option(name="model_log", type=Path, metavar="FILE", help="write llama.cpp's own log to a file"),
    Option(
        name="task",
        type=parse_tasks,
        default=("asm",),
        metavar=",".join(TASKS),
        help="what the model is asked for, an item for each: assembly, optimised IR, a pass list, the IR of assembly",
        is_list=True,
    ),
    Option(
        name="passes",
        type=parse_passes,
        default=("O0",),
        metavar="O0,O2",
        help="pass lists in the prompt, an item for each",
        is_list=True,
    ),
    Option(
        name="prompt",
        type=parse_templates,
        default=(),
        default_text="meta; for tiny its own",
        metavar="NAME|FILE,…",
        help="prompt templates, an item for each; the session ends with a comparison of them",
        is_list=True,
    ),
    Option(
        name="syntax",
        type=parse_choice("att", "intel"),
        default="att",
        metavar="att|intel",
        help="syntax of assembly in prompts and in the reference's answers; a model's answers may have either",
    ),
    Option(
        name="assembler",
        type=parse_choice("keystone", "llvm"),
        default="keystone",
        metavar="keystone|llvm",
        help="the assembler that is tried first",
    ),
    Option(
        name="target",
        type=parse_choice(*list_target_names()),
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
        type=parse_choice("directives", "database"),
        default="directives",
        metavar="directives|database",
        help="the other files of a case's program: those that its directives name, or also those of its compilation "
        "database that define what the program only declares",
    ),
    Option(
        name="programs",
        type=parse_switch,
        default=False,
        help="every case with a main is one item: the answer is the whole program, which runs as a process",
    ),
    Option(
        name="examples",
        toml_type=int,
        type=parse_count,
        default=100,
        default_text="max_examples of a hypothesis profile that sets it, else 100",
        metavar="N",
        help="inputs generated for each function",
    ),
    Option(
        name="effort",
        toml_type=float,
        type=parse_effort,
        default=1.0,
        default_text="1",
        metavar="FACTOR",
        help="samples that pass all inputs are looked at once more, on inputs made for each: 1 takes at most as long "
        "again, 10 ten times that, 0 leaves it out",
    ),
    Option(
        name="prove",
        type=parse_switch,
        default=False,
        help="try to prove that samples which pass are equal to the reference on every input; needs "
        "pytest-llmcompiler[prove]",
    ),
    Option(
        name="native",
        type=parse_choice(*NATIVE_MODES),
        default="auto",
        metavar="|".join(NATIVE_MODES),
        help="run code on this machine's processor, in a confined process; auto: where the emulator can't run it and "
        "--llmc-isa allows it; always: all code too, and a difference from the emulator is an error",
    ),
    Option(
        name="isa",
        type=parse_choice(*ISA_LEVELS),
        default=ISA_LEVELS[0],
        metavar="LEVEL",
        help=f"the instructions that samples may use: {', '.join(ISA_LEVELS[:-1])} or {ISA_LEVELS[-1]}; from "
        "x86-64-v3 on, code with AVX runs natively",
    ),
    Option(
        name="jobs",
        toml_type=int,
        type=parse_count,
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
        type=parse_switch,
        default=False,
        help="take the samples that the file of --llmc-record holds, and ask only for the others",
    ),
    Option(
        name="export",
        type=parse_exports,
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
