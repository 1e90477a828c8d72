"""Names with other letters than ASCII's, which no assembler here reads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_llmcompiler.errors import NoCodeError
from pytest_llmcompiler.judge.verdict import Verdict

_ESCAPED = re.compile(rb"\\([0-9A-Fa-f]{2})")


def find_foreign_name(names: Iterable[str]) -> str | None:
    """The first name that is not ASCII, in plain letters. IR writes each byte of such letters as two digits: `\\C3\\A9`
    is é."""
    for name in names:
        data = _ESCAPED.sub(lambda byte: bytes.fromhex(byte[1].decode()), name.encode("utf-8", "surrogatepass"))
        decoded = data.decode("utf-8", "replace")
        if not decoded.isascii():
            return decoded
    return None


def describe_foreign_name(name: str) -> str:
    """Why nothing can be said of code with such a name."""
    return f"the name {name} has other letters than ASCII's, which no assembler here reads"


def describe_missing_code(error: NoCodeError, function: str) -> Verdict:
    """The verdict on an answer in which no code of a function was found."""
    name = find_foreign_name([function])
    if name:  # the code may be there, under a label that was not read
        return Verdict("inconclusive", describe_foreign_name(name))
    return Verdict("no-answer", str(error))
