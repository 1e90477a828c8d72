"""What a model is asked, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

StopReason = Literal["eos", "stop", "length"]
"""Why generation ended: end of sequence, a stop string, the token limit."""


Task = Literal["asm", "ir", "tune", "disassemble"]
"""What a model is asked for: assembly, optimised IR, a pass list, the IR of assembly."""
TASKS: tuple[Task, ...] = get_args(Task)


def has_pass_list(task: str) -> bool:
    """Whether a question of a task is about a pass list: `tune` asks for one."""
    return task != "tune"


class QuestionKey(NamedTuple):
    """What identifies a question in the records of a session."""

    case: str
    """The case file, relative to its cases folder, with forward slashes."""
    function: str
    task: str
    passes: str
    label: str = ""
    """Which prompt it is, where the session asks with several."""

    @property
    def variant(self) -> str:
        """What tells the questions about a function apart: `asm-O0`, `tune`."""
        return "-".join(filter(None, self[2:]))

    def __str__(self) -> str:
        """What reports call it: `git_lfs.c::validate[asm-O0]`."""
        return f"{self.case}::{self.function}[{self.variant}]"


def read_question_key(record: Mapping[str, Any]) -> QuestionKey:
    """The question of a record, as the `key` of a prompt."""
    prompt, settings = record.get("prompt"), record.get("settings")
    several = isinstance(settings, dict) and isinstance(prompt, str) and "," in str(settings.get("prompt"))
    label = get_template_label(prompt) if several and prompt else ""
    return QuestionKey(record["case"], record["function"], record["task"], record["passes"], label)


def get_template_label(template: str) -> str:
    """What items call the prompt template of this name or path."""
    return Path(template).stem


@dataclass(frozen=True)
class Prompt:
    """One question: a function, a task, a pass list, and the text that asks."""

    case: str
    """The case file, relative to its cases folder, with forward slashes."""
    function: str
    task: Task
    passes: str
    """Empty where the task has none."""
    template: str
    """Name (or path) of the template that made `text`."""
    text: str
    reference: Callable[[], str] = field(repr=False, compare=False)
    """The reference compiler's own answer to this question: what the `reference` model answers, and a draft."""
    digest: str = field(default="", compare=False)
    """In hexadecimal, of all that a verdict on the answer depends on beside the settings: the text and the case."""
    instructions: int | None = field(default=None, compare=False)
    """The size of the function, in instructions of its IR."""
    label: str = ""
    """Which prompt it is, where the session asks with several."""
    task_label: str = ""
    """What records call the task, where that is another name: `asm@aarch64-linux`."""
    symbol_names: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where `text` has other names for symbols than the case: those names, and what they stand for. Answers of models
    that read `text` are in these names, and are given back in the case's."""

    @property
    def key(self) -> QuestionKey:
        """What identifies the question in records."""
        return QuestionKey(self.case, self.function, self.task_label or self.task, self.passes, self.label)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What of a prompt goes to whoever makes answers, which may be another process."""

    case: str
    function: str
    task: str
    passes: str
    text: str
    """The prompt itself."""
    draft: str = field(default="", repr=False, compare=False)
    """A text that answers are expected to resemble: it makes them faster to get, and changes nothing in them."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same under whatever prompt: a sample is drawn alike, so that prompts can be compared."""
        return self.case, self.function, self.task, self.passes


@dataclass(frozen=True)
class Answer:
    """The raw text of one sample."""

    text: str
    sample: int = 0
    stop: StopReason = "eos"
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    seconds: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        # A lone surrogate is no text: it can't be written to a file nor sent to another process.
        object.__setattr__(self, "text", self.text.encode("utf-8", "replace").decode("utf-8"))


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. `temperature` 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 0.95
    max_tokens: int | None = None
    """Limit of one answer in tokens; None: all that the context leaves."""
    seed: int = 1


@dataclass(frozen=True)
class ModelSettings:
    """How a model is opened and sampled."""

    sampling: Sampling = field(default_factory=Sampling)
    n_ctx: int | None = None
    """Context in tokens for llama.cpp; None: what the model was trained for, up to a limit."""
    gpu_layers: int | None = None
    """Layers to put on the GPU for llama.cpp; None: all, where the build can."""
    streams: int | None = None
    """Answers that llama.cpp writes at once; None: what suits the hardware."""
    drafts: bool = True
    """Whether the reference's own assembly is proposed to llama.cpp, which makes answers like it faster."""
    store: Path | None = None
    """The database of finished answers, if any."""
    refresh: bool = False
    """Whether answers of earlier sessions are made anew."""
    log: Path | None = None
    """Where llama.cpp's own log goes."""


class Model(Protocol):
    """Anything that answers prompts. One object serves a whole session."""

    def describe(self) -> dict[str, Any]:
        """JSON-serialisable facts for the report header and the records: at least `backend` and `name`."""

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield answers number 0 to `samples` - 1, each as soon as it is whole, in any order.

        Raises PromptTooLong before the first answer, ModelError where the model fails.
        """

    def close(self) -> None:
        """Free what the model holds. It answers nothing afterwards."""
