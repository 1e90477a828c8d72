"""From a row of a dataset to a sample, by the names that the dataset's owner gives the columns."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from pytest_llmcompiler.errors import ColumnError
from pytest_llmcompiler.model.answer import TASKS, Task
from pytest_llmcompiler.service.sample import Sample


@dataclass(frozen=True)
class Columns:
    """The names of a dataset's columns: `Columns(source="code", function="name")`.

    The text of the source and the name of the function are needed in every row. For the others None says that the
    dataset has no such column; then, and in rows where the column holds None, samples have the defaults of `Sample`.
    """

    source: str = "source"
    """Column of the C source text."""
    function: str = "function"
    """Column of the name of the function that the answer is for."""
    task: str | None = None
    """Column of the task: `asm`, `ir`, `tune` or `disassemble`."""
    passes: str | None = None
    """Column of the pass list of the question."""
    target: str | None = None
    """Column of the processor and system that the code is for."""
    cflags: str | None = None
    """Column of the flags of clang: a list of texts, or one text as on a command line."""
    program: str | None = None
    """Column that says whether the answer is a whole program: true or false."""

    def names(self) -> list[str]:
        """The names of all columns that a row needs."""
        return [name for field in fields(self) if (name := getattr(self, field.name)) is not None]

    def read_sample(self, row: Mapping[str, object], answer: str) -> Sample:
        """The sample of an answer to the question in a row.

        Raises ColumnError where a column is missing or holds something else than is expected.
        """
        given: dict[str, Any] = {"source": self._text(row, self.source), "function": self._text(row, self.function)}
        for field in ("task", "passes", "target"):
            name = getattr(self, field)
            if name is not None and self._value(row, name) is not None:
                given[field] = self._text(row, name)
        if self.cflags is not None and (flags := self._value(row, self.cflags)) is not None:
            given["cflags"] = _read_flags(flags, self.cflags)
        if self.program is not None and (value := self._value(row, self.program)) is not None:
            if value not in (True, False):  # 0 and 1 are equal to these, those of numpy too
                raise ColumnError(f"column {self.program!r}: expected true or false, found {value!r}")
            given["program"] = bool(value)
        if given.get("task", "asm") not in TASKS:
            raise ColumnError(f"column {self.task!r}: unknown task {given['task']!r}, expected {', '.join(TASKS)}")
        given["task"] = cast(Task, given.get("task", "asm"))
        return Sample(answer=answer, **given)

    def _text(self, row: Mapping[str, object], name: str) -> str:
        value = self._value(row, name)
        if not isinstance(value, str):
            raise ColumnError(f"column {name!r}: expected text, found {type(value).__name__}")
        return value

    def _value(self, row: Mapping[str, object], name: str) -> object:
        if name not in row:
            present = ", ".join(map(repr, sorted(map(str, row)))) or "none"
            raise ColumnError(f"no column {name!r} (there are: {present}); name the dataset's columns with Columns(…)")
        return row[name]


def gather_columns(*parts: object) -> dict[str, Any]:
    """The columns of one row, whose parts are mappings or texts with a JSON object.

    Any other part has no columns. Where two parts have the same column, the later one counts.
    """
    row: dict[str, Any] = {}
    for part in parts:
        columns = _parse_object(part) if isinstance(part, str) else part
        if isinstance(columns, Mapping):
            row.update(columns)
    return row


def _parse_object(text: str) -> object:
    if not text.lstrip().startswith("{"):
        return None  # C text, most of the time
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_flags(value: object, name: str) -> tuple[str, ...]:
    """Flags from one text or from a list, a tuple or an array of texts."""
    try:
        words = shlex.split(value) if isinstance(value, str) else list(cast(Iterable[object], value))
    except (TypeError, ValueError) as error:
        raise ColumnError(f"column {name!r}: expected flags of clang: {error}") from error
    if not all(isinstance(word, str) for word in words):
        raise ColumnError(f"column {name!r}: expected a list of texts")
    return tuple(map(str, words))
