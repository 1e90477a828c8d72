"""Questions to a model, its answers, and the protocol of a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

from pytest_llmcompiler import errors

StopReason = Literal["eos", "stop", "length"]
"""Why generation ended: the end-of-sequence token, a stop string, the token limit."""

Task = Literal["asm", "ir", "tune", "disassemble"]
"""A task: compile to assembly, optimise IR, choose a pass list, lift assembly to IR."""
TASKS: tuple[Task, ...] = get_args(Task)


def has_pass_list(task: str) -> bool:
    """Whether the questions of a task name a pass list. Those of `tune` do not: they ask for one."""
    return task != "tune"


class QuestionKey(NamedTuple):
    """The identity of a question in the records of a session."""

    case: str
    """The case file, relative to its cases folder, with forward slashes."""
    function: str
    task: str
    passes: str
    """The pass list; empty for `tune`."""
    label: str = ""
    """The label of the prompt template, where the session asks with several; else empty."""

    @property
    def variant(self) -> str:
        """The part that differs between questions about the same function: `asm-O0`, `tune`."""
        return "-".join(filter(None, self[2:]))

    def __str__(self) -> str:
        """The name of the question in reports: `git_lfs.c::validate[asm-O0]`."""
        return f"{self.case}::{self.function}[{self.variant}]"


def read_question_key(record: Mapping[str, Any]) -> QuestionKey:
    """The key of a record's question, equal to the `key` of its prompt."""
    prompt, settings = record.get("prompt"), record.get("settings")
    has_several = isinstance(settings, dict) and isinstance(prompt, str) and "," in str(settings.get("prompt"))
    return QuestionKey(
        case=record["case"],
        function=record["function"],
        task=record["task"],
        passes=record["passes"],
        label=get_template_label(prompt) if has_several and prompt else "",
    )


def get_template_label(template: str) -> str:
    """The label of a prompt template in item ids, from its name or path."""
    return Path(template).stem


class PromptSource(NamedTuple):
    """What a compiler needs to answer in the place of a model."""

    path: Path
    """The case file."""
    cflags: tuple[str, ...]
    """The flags that the case is compiled with. Their paths are absolute."""
    ir: Callable[[], str]
    """Returns the IR of the function alone, as prompts show it."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One question as the session asks it: a function, a task, a pass list, and the text of the prompt."""

    case: str
    """The case file, relative to its cases folder, with forward slashes."""
    function: str
    task: Task
    passes: str
    """The pass list; empty for `tune`."""
    template: str
    """The name or path of the template of `text`."""
    text: str
    """The text that the model reads."""
    reference: Callable[[], str] = field(repr=False, compare=False)
    """Returns the reference compiler's answer: what the model `reference` answers, and the draft of speculative
    decoding."""
    source: PromptSource | None = field(default=None, repr=False, compare=False)
    digest: str = field(default="", compare=False)
    """The hash, in hexadecimal, of all that a verdict depends on beside answer and settings: the text and the case."""
    instructions: int | None = field(default=None, compare=False)
    """The number of IR instructions of the function."""
    label: str = ""
    """The label of the prompt template, where the session asks with several; else empty."""
    task_label: str = ""
    """The name of the task in records, where it is another one: `asm@aarch64-linux`; else empty."""
    symbol_names: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """For each symbol that `text` renames: its name in `text` and its name in the case. The model answers in the names
    of `text`; the owner's client puts the case's names into the answer."""

    @property
    def key(self) -> QuestionKey:
        """The identity of the question in records."""
        return QuestionKey(
            case=self.case,
            function=self.function,
            task=self.task_label or self.task,
            passes=self.passes,
            label=self.label,
        )

    @property
    def asked(self) -> str:
        """Deprecated: `task_label`."""
        warnings.warn("Prompt.asked is now Prompt.task_label", DeprecationWarning, stacklevel=2)
        return self.task_label

    @property
    def names(self) -> Mapping[str, str]:
        """Deprecated: `symbol_names`."""
        warnings.warn("Prompt.names is now Prompt.symbol_names", DeprecationWarning, stacklevel=2)
        return self.symbol_names


@dataclass(frozen=True, kw_only=True)
class Question:
    """The part of a prompt that a backend needs. It can be sent to another process."""

    case: str
    function: str
    task: str
    """The name of the task in records."""
    passes: str
    text: str
    """The text that the model reads."""
    draft: str = field(default="", repr=False, compare=False)
    """A text that answers are expected to resemble. It speeds them up and does not change them
    (`llama/speculative.py`)."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What seeds are computed from. It does not depend on the prompt's text, so that prompts are compared on the
        same seeds."""
        return self.case, self.function, self.task, self.passes


@dataclass(frozen=True)
class Answer:
    """The raw text of one sample."""

    text: str
    sample: int = 0
    """The 0-based number of the sample."""
    stop: StopReason = "eos"
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    seconds: float | None = None
    """From the start of the sample, or of its request, to its end."""
    seed: int | None = None

    def __post_init__(self) -> None:
        # A lone surrogate can't be encoded, neither for a file nor for another process.
        object.__setattr__(self, "text", self.text.encode("utf-8", "replace").decode("utf-8"))


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen."""

    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 0.95
    max_tokens: int | None = None
    """The largest number of tokens of an answer; None: as many as the context leaves."""
    seed: int = 1
    """Each sample has a seed of its own, computed from this one (`sampling.sample_seed`)."""


@dataclass(frozen=True)
class ModelSettings:
    """How a model is opened, and its answers sampled."""

    sampling: Sampling = field(default_factory=Sampling)
    n_ctx: int | None = None
    """The context of llama.cpp in tokens; None: what the model was trained for, at most 16,384."""
    gpu_layers: int | None = None
    """The number of layers that llama.cpp puts on the GPU; None: all, where this build can."""
    streams: int | None = None
    """The number of answers that llama.cpp generates at once; None: what suits the model and the machine."""
    drafts: bool = True
    """Whether the reference's assembly is the draft of speculative decoding."""
    store: Path | None = None
    """The path of the answer cache; None: no cache."""
    refresh: bool = False
    """Whether answers of earlier sessions are generated anew."""
    log: Path | None = None
    """The path of llama.cpp's log; None: a temporary file."""


class Model(Protocol):
    """A model: an object that answers prompts for a whole session."""

    def describe(self) -> dict[str, Any]:
        """JSON-serialisable facts for the report header and the records: at least `backend` and `name`."""

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield answers number 0 to `samples` - 1, each as soon as it is complete, in any order.

        Raises PromptTooLongError before the first answer, ModelError where the model fails.
        """

    def close(self) -> None:
        """Free what the model holds. It is not asked afterwards."""


_MOVED_ERRORS = {"ModelError": "ModelError", "PromptTooLong": "PromptTooLongError"}
"""Errors that models of users may raise, by their names in this module up to version 0.1: their names in `errors`."""


def __getattr__(name: str) -> Any:
    """Deprecated names of errors."""
    if name not in _MOVED_ERRORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    moved = f"pytest_llmcompiler.errors.{_MOVED_ERRORS[name]}"
    warnings.warn(f"{__name__}.{name} is now {moved}", DeprecationWarning, stacklevel=2)
    return getattr(errors, _MOVED_ERRORS[name])
