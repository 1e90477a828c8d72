"""What the importers make of one row: a case, its tests and inputs, and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.model.answer import Task
from pytest_llmcompiler.program.case import TestKind


class RowError(LLMCompilerError):
    """A row can't be imported; the message says why, in words that are the same for rows with the same fault."""


class Row(NamedTuple):
    """One row of a data set."""

    place: str
    """The file, relative to what is imported, and the line or the number of the row in it: `test.jsonl:12`."""
    number: int
    """The number of the row in its file, from 0."""
    data: Mapping[str, Any]
    """The columns. They are JSON's values, of any shape."""


@dataclass(frozen=True)
class ImportedAnswer:
    """An answer that a row holds."""

    text: str
    model: str
    """The name of whatever wrote the answer."""
    task: Task = "asm"
    passes: str = "O0"


@dataclass(frozen=True)
class ImportedTests:
    """The C text of published tests: a `main` of their own, with the declarations that it needs."""

    text: str
    kind: TestKind


@dataclass(frozen=True)
class ProgramTest:
    """A text of standard input for a program."""

    stdin: str
    stdout: str | None
    """What the program should print; None where the row does not say."""


@dataclass(frozen=True)
class ImportedCase:
    """A case, and what comes with it."""

    name: str
    """What the name of the file is made of."""
    text: str
    """C or IR, without directives."""
    suffix: Literal[".c", ".ll"] = ".c"
    functions: tuple[str, ...] = ()
    """The functions that are under test; empty for all."""
    passes: tuple[str, ...] = ()
    """The pass lists that the row is about; empty where it names none."""
    is_program: bool = False
    tests: ImportedTests | None = None
    program_tests: tuple[ProgramTest, ...] = ()
    answers: tuple[ImportedAnswer, ...] = ()
    notes: tuple[str, ...] = ()
    """What of the row was left out, and why."""
