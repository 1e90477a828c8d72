"""Texts of rows that must not be written as a case: directives of their own, and reaching for files of the host.

A case is trusted: its directives name files and flags, and clang reads what it includes. So a text of a data set gets
no directives but those that the importers write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.importers.imported import RowError
from pytest_llmcompiler.program.directive_comments import find_directives
from pytest_llmcompiler.service.http.sources import find_file_access_in_text, join_lines

_PASTE = re.compile(r"(?:#|\?\?=){2}|%:%:")
_IR_TOKEN = re.compile(
    r"""(?P<comment>;[^\r\n]*|/\*.*?(?:\*/|\Z))
    |(?P<name>[@%$!](?:"[^"]*(?:"|\Z)|[-a-zA-Z$._\\][-a-zA-Z$._0-9\\]*|[0-9]+))
    |(?P<text>"[^"]*(?:"|\Z))
    |(?P<word>[a-zA-Z_]+)""",
    re.S | re.X,
)
"""What LLVM's lexer tells apart, numbers and signs left out: `i32asm` is a type and a keyword, a carriage return ends a
comment, and a quote ends a text whatever stands before it."""
_ASM_WORDS = frozenset(("sideeffect", "alignstack", "inteldialect", "unwind"))
_BACKSLASH = re.compile(r"\\(?:5[Cc]|(?![0-9A-Fa-f]{2}))")
"""A backslash in a name. LLVM prints it as it is, so that it can end the quotes around the name in assembly."""
_REACHING = re.compile(r"[.\\]")
"""What an assembler's text needs for a directive: a dot, or an escape that may be one."""
_REACHING_NAME = re.compile(r'@(?:\.(?!str\b)|"(?!(?:\\01)?[^".\\]*"))')
"""A name that inline assembly can print as a directive: it begins with a dot, or has quotes and a dot or an escape."""
_LIBRARY_NAMES = ("!llvm.dependent-libraries", "!llvm.linker.options")


def screen_c(text: str) -> None:
    """Raise RowError where C of a row must not be written."""
    _refuse_directives(text)
    reason = find_file_access_in_text(text)
    if reason:
        raise RowError(_without_line(reason))
    joined = join_lines(text)
    if "define" in joined and _PASTE.search(joined):
        raise RowError("macros may put no words together with `##`: it could be the keyword of inline assembly")


def screen_ir(text: str) -> None:
    """Raise RowError where IR of a row must not be written."""
    _refuse_directives(text)
    if "\0" in text:
        raise RowError("a control character stands in the text")
    has_asm, has_name = False, False
    for kind, token in _list_asm_and_names(text):
        has_asm |= kind == "asm"
        has_name |= kind == "name" and _REACHING_NAME.match(token) is not None
        if kind == "asm" and _REACHING.search(token):
            raise RowError("inline assembly may have no directive: no dot and no escape")
        if kind == "name":
            _refuse_name(token)
    if has_asm and has_name:
        raise RowError("inline assembly can print the name of a global as a directive")


def _refuse_name(name: str) -> None:
    if name in _LIBRARY_NAMES:
        raise RowError("the IR names libraries for the linker")
    if not name.startswith('!"') and (_BACKSLASH.search(name) or (name.startswith("!") and "\\" in name)):
        raise RowError("a name in the IR has a backslash, which can hide what it is or leave its quotes in assembly")


def _list_asm_and_names(text: str) -> Iterator[tuple[str, str]]:
    """The texts of inline assembly in IR, and all names with their signs. Raises RowError for other assembly."""
    previous, is_asm = "", False
    for match in _IR_TOKEN.finditer(text):
        kind, token = match.lastgroup or "", match[0]
        if kind == "comment":
            continue
        if is_asm and kind == "text":
            yield "asm", token
        elif is_asm and token not in _ASM_WORDS:
            raise RowError("`asm` is taken only with its text behind it")
        if kind == "name":
            yield kind, token
        if token == "asm" and previous == "module":
            raise RowError("the IR has assembly of a whole module, which can read files")
        is_asm = token == "asm" or (is_asm and kind == "word")
        previous = token


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
