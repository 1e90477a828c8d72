"""Text and bytes as C source."""

from __future__ import annotations

import re

from pytest_llmcompiler.errors import ReproSourceError

_BYTES_PER_LINE = 48
"""Bytes in one line of a string literal, so that a line of escapes stays below 200 characters."""
_SYMBOL = re.compile(r"[ !#-\[\]-~]+")
"""Symbols that can stand in a string literal as they are: no quotes, no backslashes, nothing but ASCII."""


def format_string(text: str) -> str:
    """A text as a string literal on one line."""
    return format_data(text.encode("utf-8", "replace")).replace("\n    ", " ")


def format_data(data: bytes) -> str:
    """Bytes as string literals, one a line. C appends a zero, which no size counts."""
    rows = (data[start : start + _BYTES_PER_LINE] for start in range(0, len(data), _BYTES_PER_LINE))
    return "\n    ".join(f'"{"".join(map(_format_character, row))}"' for row in rows) or '""'


def _format_character(byte: int) -> str:
    if byte == 10:
        return "\\n"
    is_plain = 32 <= byte < 127 and byte not in b'"\\?'  # two question marks could begin a trigraph
    return chr(byte) if is_plain else f"\\{byte:03o}"


def format_byte_array(data: bytes) -> str:
    """Bytes as the initialiser of an array."""
    return "{" + ", ".join(f"{byte:#x}" for byte in data) + "}"


def quote_symbol(name: str) -> str:
    """A symbol as a string literal for the assembler. Raises ReproSourceError for a name that can't be written so."""
    if not _SYMBOL.fullmatch(name):
        raise ReproSourceError(f"the name {name!r} can't be written in C")
    return f'"{name}"'


def format_comment(line: str) -> str:
    """A line of text for a `//` comment: nothing in it may continue the comment on the next line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line).rstrip("\\ ")
