"""The comments of a C or IR file in which directives stand: `// LLMC: …`, `/* LLMC: … */` or `; LLMC: …`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.ir_names import spell_plainly

_DIRECTIVE = re.compile(r"(?://|;|/\*|^\s*\*)\s*(LLMC\b:?|llmc:)")
"""The start of a directive. It ends with the line or the comment."""


def read_source(path: Path) -> str:
    """The text of a C or IR file. Raises CaseError for a file that can't be read."""
    try:
        return decode_source(path.read_bytes())
    except OSError as error:
        raise CaseError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:  # a name with a character that no path has
        raise CaseError(f"{path}: can't be read: {error}") from error


def decode_source(data: bytes) -> str:
    """The text of a C or IR file: UTF-8, and Latin-1 where the bytes are no UTF-8.

    clang reads bytes and takes any encoding in comments and strings. Latin-1 has a character for every byte.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_ir(path: Path) -> str:
    """The text of an IR file. Where it is no UTF-8, bytes beyond ASCII are escaped as IR does in strings and names."""
    data = path.read_bytes()
    try:
        return spell_plainly(data.decode())
    except UnicodeDecodeError:
        return re.sub(r"[\x80-\xff]", lambda match: f"\\{ord(match[0]):02X}", data.decode("latin-1"))


def find_directives(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """The directives in a file's text: 1-based lines, and what follows `LLMC:`. Raises CaseError for one that is
    spelt otherwise."""
    if "LLMC" not in source and "llmc:" not in source:  # most files have none, and are read for every answer
        return
    for number, line in enumerate(source.split("\n"), 1):
        has_word = "LLMC" in line or "llmc:" in line
        match = _DIRECTIVE.search(line.rstrip("\r")) if has_word else None
        if match and match[1] == "LLMC:":
            yield number, line[match.end() :].partition("*/")[0].strip()
        elif match:
            raise CaseError(f"{path}:{number}: a directive begins with `LLMC:`, found `{match[1]}`")
