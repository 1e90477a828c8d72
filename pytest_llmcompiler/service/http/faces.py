"""What a route of the server takes and answers: the same samples in the shapes of different tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.service.sample import Sample


@dataclass(frozen=True)
class Batch:
    """The samples of one request."""

    samples: Sequence[Sample]
    build_answer: Callable[[Sequence[Verdict]], Any]
    """From the verdicts, in the order of the samples, to the JSON of the answer."""
    name_field: Callable[[int, str], str]
    """From the index of a sample and an attribute of `Sample` to the field of the body that it comes from."""
    is_streamed: bool = False
    """Whether the body asks for verdicts as JSON lines."""


@dataclass(frozen=True)
class Face:
    """One route: `POST path`."""

    path: str
    read: Callable[[bytes], Batch]
    """From the body to its samples. Raises RefusalError."""
    can_stream: bool = False
    """Whether the verdicts can be had as JSON lines."""
