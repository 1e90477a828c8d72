"""One answer to judge, with the question that it was given for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_llmcompiler.model.answer import TASKS, StopReason, Task
from pytest_llmcompiler.targets.target import DEFAULT


@dataclass(frozen=True)
class Sample:
    """One answer to judge.

    It is data alone, so it may be pickled and sent to other processes and machines.
    """

    source: str | Path
    """C source text, or the `Path` of a .c or .ll file."""
    function: str
    """The name of the function of the source that the answer is for."""
    answer: str
    """Bare assembly, or a model's answer with code in it."""
    task: Task = "asm"
    """What the model was asked for."""
    passes: str = "O0"
    """The pass list of the question. No verdict depends on it."""
    target: str = DEFAULT
    """The processor and system that the code is for, see `--llmc-target`."""
    cflags: tuple[str, ...] = ()
    """Flags of clang for the source. Their paths start at the current folder."""
    stop: StopReason = "eos"
    """Why the model ended the answer. One that the token limit cut off, `length`, is `truncated` where code is
    missing."""
    program: bool = False
    """Whether the answer is for the whole program: all of its functions and data. The function is `main` then. A
    directive of the source, `LLMC: program`, says the same."""

    def __post_init__(self) -> None:
        """Raises TypeError for a field that is no text, ValueError for an unknown task. In a batch, they would show
        where other samples are under way, or not at all."""
        object.__setattr__(self, "cflags", tuple(self.cflags))  # a list is no part of a key
        texts = (self.function, self.answer, self.task, self.passes, self.target, self.stop, *self.cflags)
        for value in texts if isinstance(self.source, (str, Path)) else (self.source,):
            if not isinstance(value, str):
                raise TypeError(f"a sample has texts, and the path or text of a source; found {type(value).__name__}")
        if self.task not in TASKS:
            raise ValueError(f"unknown task {self.task!r}: expected one of {', '.join(TASKS)}")
