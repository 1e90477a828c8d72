"""How the corpus asks the reference about an input: a probe result, or the reason why the input is of no use."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from pytest_llmcompiler.emulator.coverage import Comparisons, Features
from pytest_llmcompiler.errors import LLMCompilerError

MAX_STEPS = 300_000
"""Limit of a probe run, in steps. A step is an edge between basic blocks that the run takes. The limit is raised for a
function whose shortest run takes longer (see `budget`)."""
TOO_LONG = "runs too long"
"""The reason for which an input is dropped whose run ends at a limit."""


class ProbeResult(NamedTuple):
    """The coverage of a probe run on one input."""

    features: Features = frozenset()
    """The coverage features of the run."""
    comparisons: Comparisons | None = None
    """The compared values and texts. None where the run shows no new feature."""
    steps: int = 0
    """The length of the run."""


class CorpusEntry(Protocol):
    """The data that a corpus keeps for an input on which the function is defined."""

    @property
    def probe_result(self) -> ProbeResult:
        """The coverage of the input."""


class Overrun(NamedTuple):
    """An access past the end of an object."""

    object_number: int
    """The object, in the order of `list_objects`."""
    needed_bytes: int
    """The size that the object would need for the access to be valid."""


class UndefinedInputError(LLMCompilerError):
    """The function is not defined on an input, or the input is of no use for another reason.

    The message is the reason. It has few different values, so that inputs can be counted by it.
    """

    def __init__(self, reason: str, overrun: Overrun | None = None, *, may_use_null: bool = False) -> None:
        super().__init__(reason)
        self.overrun = overrun
        """The access past the end of an object that the reason is, if it is one."""
        self.may_use_null = may_use_null
        """Whether the function may have dereferenced a null pointer."""
        self.edges: frozenset[int] = frozenset()
        """The edges that the probe run took, as `Feature` numbers them; empty where there was no such run."""
