"""Names with letters that no name in C has, which no assembler here reads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_llmcompiler.errors import NoCodeError
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.letters import is_name

_ESCAPED = re.compile(r"\\[89A-Fa-f][0-9A-Fa-f]")
"""A byte beyond ASCII that is no part of a letter, as IR writes it."""


def find_foreign_name(names: Iterable[str]) -> str | None:
    """The first name that is not ASCII and has other letters than names in C may have, or bytes that are no UTF-8."""
    for name in names:
        if (not name.isascii() and not is_name(name)) or _ESCAPED.search(name):
            return name
    return None


def describe_foreign_name(name: str) -> str:
    """Why nothing can be said of code with such a name."""
    return f"the name {name} has letters that no name in C has, and no assembler here reads them"


def describe_missing_code(error: NoCodeError, function: str) -> Verdict:
    """The verdict on an answer in which no code of a function was found."""
    name = find_foreign_name([function])
    if name:  # the code may be there, under a label that was not read
        return Verdict("inconclusive", describe_foreign_name(name))
    return Verdict("no-answer", str(error))
