"""The columns of a row, which may hold anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmcompiler.importers.imported import RowError

MAX_TEXT_BYTES = 1 << 20
"""The longest text of one column that is taken: C, IR, assembly, tests."""


def find_value(data: Mapping[str, Any], *names: str) -> Any:
    """The value of the first of these columns that the row has, and that is not null; None where there is none.

    A dot leads into an object: `extra_info.inputs`.
    """
    for name in names:
        value: Any = data
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def find_text(data: Mapping[str, Any], *names: str) -> str:
    """The text of the first of these columns that the row has; empty where it has none. Raises RowError."""
    value = find_value(data, *names)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"{' or '.join(names)} is no text")
    return check_text(value, " or ".join(names))


def require_text(data: Mapping[str, Any], *names: str) -> str:
    """The same for a column that a row needs. Raises RowError where it is missing, empty, or no text."""
    text = find_text(data, *names)
    if not text.strip():
        raise RowError(f"{' or '.join(names)} is missing or empty")
    return text


def check_text(text: str, name: str) -> str:
    """A text that can be written to a file, with the line ends of Unix. Raises RowError for any other."""
    if len(text) > MAX_TEXT_BYTES:
        raise RowError(f"{name} is longer than {MAX_TEXT_BYTES >> 20} MiB")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RowError(f"{name} has characters that are no Unicode") from None
    return text.replace("\r\n", "\n")


def find_list(data: Mapping[str, Any], *names: str) -> Sequence[Any]:
    """The list of the first of these columns that the row has; empty where it has none. Raises RowError."""
    value = find_value(data, *names)
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RowError(f"{' or '.join(names)} is no list")
    return value
