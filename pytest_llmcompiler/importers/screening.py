"""Texts of rows that must not be written as a case: directives of their own, and reaching for files of the host.

A case is trusted: its directives name files and flags, and clang reads what it includes. So a text of a data set gets
no directives but those that the importers write.
"""

from __future__ import annotations

import re
from pathlib import Path

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.importers.imported import RowError
from pytest_llmcompiler.program.directive_comments import find_directives
from pytest_llmcompiler.service.http.sources import find_file_access_in_text

_IR_ASM = re.compile(r"\basm\b(?P<words>[a-z ]*)(?P<text>\"[^\"]*\")?")
_REACHING = re.compile(r"[.\\]")
"""What an assembler's text needs for a directive: a dot, or an escape that may be one."""


def screen_c(text: str) -> None:
    """Raise RowError where C of a row must not be written."""
    _refuse_directives(text)
    reason = find_file_access_in_text(text)
    if reason:
        raise RowError(_without_line(reason))


def screen_ir(text: str) -> None:
    """Raise RowError where IR of a row must not be written."""
    _refuse_directives(text)
    if "\0" in text:
        raise RowError("a control character stands in the text")
    if re.search(r"^\s*module\s+asm\b", text, re.M):
        raise RowError("the IR has assembly of a whole module, which can read files")
    for match in _IR_ASM.finditer(text):
        if match["text"] and _REACHING.search(match["text"]):
            raise RowError("inline assembly may have no directive: no dot and no escape")


def _refuse_directives(text: str) -> None:
    try:
        found = next(find_directives(Path("row"), text), None)
    except CaseError:
        found = 0, ""
    if found:
        raise RowError("its text has an `LLMC:` directive of its own")


def _without_line(reason: str) -> str:
    """A reason without the number of the line, so that rows with the same fault are counted together."""
    return re.sub(r"^line \d+: ", "", reason)
