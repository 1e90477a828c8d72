"""The inputs that a case gives for its whole program: directives, and the files `NAME.in` and `NAME.out` beside it.

Directives have C string literals, one behind the other as in C:

    LLMC: program                         the file is judged as a whole program
    LLMC: stdin "3\\n" "1 2 3\\n"           a standard input; each directive gives one
    LLMC: argv "-n" "5"                   the arguments of the program; each directive gives a list
    LLMC: file "words.txt" "one\\ntwo\\n"   a file that the program can read
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pytest_llmcompiler.errors import CaseError

_LITERAL = re.compile(r'\s*"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)")
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_PLAIN = "\\\"'?"
_MAX_BYTES = 1 << 20
"""Bytes of a standard input or of a file: every candidate runs on them."""


class GivenInput(NamedTuple):
    """A standard input that a case gives, with what the program has to write on it."""

    place: str
    """The file, with the line of a directive."""
    data: bytes
    output: bytes | None = None
    """The expected standard output; None where the case does not say."""


def parse_literals(text: str, where: str) -> list[bytes]:
    """The bytes of C string literals that follow each other. Raises CaseError for any other text."""
    literals, at = [], 0
    while match := _LITERAL.match(text, at):
        literals.append(_unescape(match[1], where))
        at = match.end()
    if text[at:].strip() or not literals:
        raise CaseError(f'{where}: expected texts in quotes, such as "3 4\\n", found `{text.strip()}`')
    return literals


def _unescape(text: str, where: str) -> bytes:
    def replace(match: re.Match[str]) -> str:
        code = match[1]
        if code in _CONTROL:
            return _CONTROL[code]
        if code[0] == "x" and len(code) > 1:
            return chr(int(code[1:], 16))
        if code[0] in "01234567":
            return chr(int(code, 8) & 0xFF)
        if code not in _PLAIN:
            raise CaseError(f"{where}: unknown escape `\\{code}` in a text")
        return code

    # A byte of an escape is a character of the same number until the end; the others are UTF-8.
    encoded = text.encode("utf-8").decode("latin-1")
    return _ESCAPE.sub(replace, encoded).encode("latin-1")


def find_input_files(case: Path) -> Iterator[GivenInput]:
    """The inputs in files beside a case: `NAME.in` and `NAME.*.in`, with the output in the file of the same name that
    ends with `.out`, where there is one. `a.1.in` is no input of `a.c` where a case `a.1.c` or `a.1.ll` is there too.
    Raises CaseError for a file that is too large or can't be read."""
    for path in sorted(case.parent.glob("*.in")):
        if path.name.startswith(f"{case.stem}.") and not _has_closer_case(path, case) and path.is_file():
            output = path.with_suffix(".out")
            yield GivenInput(str(path), read_input_file(path), read_input_file(output) if output.is_file() else None)


def _has_closer_case(path: Path, case: Path) -> bool:
    """Whether a file `NAME.*.in` beside a case `NAME` is of another case there, which has a longer part of its name."""
    name = path.stem
    while name != case.stem:
        if any(path.with_name(f"{name}{suffix}").is_file() for suffix in (".c", ".ll")):
            return True
        name = name.rpartition(".")[0]
    return False


def is_input_file(path: Path) -> bool:
    """Whether a file has a standard input or an output."""
    return path.suffix in (".in", ".out")


def read_input_file(path: Path) -> bytes:
    """The contents of a file of inputs."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaseError(f"{path}: can't be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise CaseError(f"{path}: {len(data)} bytes; an input has {_MAX_BYTES} at most")
    return data
