"""Sources and flags that name files of the server are refused.

The text is searched as a whole, comments and strings included, since what is a comment depends on the language mode.
So a harmless comment can be refused, and no directive escapes by looking like one. What macros put together (`as ##
m`) can't be seen in a text: for that there is `confinement.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.directive_comments import find_directives
from pytest_llmcompiler.program.flag_table import is_without_files, pair_values
from pytest_llmcompiler.service.sample import Sample

_SPLICE = re.compile(r"(?:\\|\?\?/)[ \t\v\f]*(?:\r\n?|\n\r?)")
"""The end of a line that goes on. clang takes blanks behind the backslash, a trigraph for it, and both orders of
carriage return and line feed for one end."""
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f]")
"""Characters that clang takes for blanks, and that no source has."""
_HASH = r"(?:#|%:|\?\?=)[\s\u180e]*"
"""The start of a directive, as itself, as a digraph and as a trigraph. clang takes Unicode's blanks for blanks."""
_HEADER = r"""[ \t]*(?:<(?!/)(?:(?!\.\.)[\w./+-])+>|"(?!/)(?:(?!\.\.)[\w./+-])+")"""
"""The name of a header below a folder of headers."""
_INCLUDE = re.compile(rf"{_HASH}(?:include|import|include_next|__include_macros)\b(?!{_HEADER})")
_EMBED = re.compile(rf"{_HASH}embed\b")
_HIDDEN = re.compile(rf"{_HASH}(?:/\*|\w*\\[uUN])")
"""A comment or an escape between the start of a directive and its name."""
_HAS_FILE = re.compile(
    r"(?<!defined)(?<!defined )(?<!defined\()(?<!ifdef )(?<!ifndef )\b__has_(?:include|include_next|embed)\b"
)
_HAS_HEADER = re.compile(rf"__has_include(?:_next)?[ \t]*\({_HEADER}[ \t]*\)")
_DEPENDENCY = re.compile(r"\b(?:GCC|clang)[\s\u180e]+dependency\b")
_ASM = re.compile(r"\b_{0,2}asm(?:__)?\b")
_QUALIFIERS = re.compile(r"\s*(?:(?:volatile|__volatile__|__volatile|goto|inline|__inline__|__inline)\b\s*)*\(")
_STRING = re.compile(r'\s*"((?:[^"\\\n]|\\.)*)"')
_REACHING = re.compile(r"\.|\\[^nt]")
"""What an assembler's text needs for a directive: a dot. An escape could be one."""


def find_file_access(sample: Sample) -> Iterator[tuple[str, str]]:
    """The attributes of a sample that reach for files of the server, with what is wrong with each."""
    if not isinstance(sample.source, str):
        yield "source", "the text of a source is expected, not the path of a file"
        return
    reason = _find_in_source(sample.source)
    if reason:
        yield "source", reason
    for flag in sample.cflags:
        if find_file_access_in_text(flag):
            yield "cflags", f"the flag {flag!r} could name a file of the server"
            return
    refused = _find_flag(sample.cflags)
    if refused:
        yield "cflags", f"{refused} is not taken here: only flags that say what the C means and name no file"


def _find_in_source(source: str) -> str | None:
    """Why a source is refused; None where it is not."""
    try:
        words = {text.partition(" ")[0] for _, text in find_directives(Path("source.c"), source)}
    except CaseError:  # the judge says it better
        words = set()
    named = words & {"cflags", "link", "tests"}
    if named:
        return f"the directive `LLMC: {min(named)}` names files or flags; flags go into the field cflags"
    return find_file_access_in_text(source)


def find_file_access_in_text(text: str) -> str | None:
    """Why a C text is refused; None where it is not."""
    text = join_lines(text)
    if _CONTROL.search(text):
        return "a control character stands in the text"
    if _HIDDEN.search(text):
        return "a comment or an escape stands between `#` and the name of a directive"
    include = _INCLUDE.search(text)
    if include:
        return f"line {_line_of(text, include)}: only headers may be included, by their names: `#include <stdio.h>`"
    embed = _EMBED.search(text)
    if embed:
        return f"line {_line_of(text, embed)}: `#embed` reads a file"
    dependency = _DEPENDENCY.search(text)
    if dependency:
        return f"line {_line_of(text, dependency)}: the pragma `{dependency[0]}` asks for a file"
    for match in _HAS_FILE.finditer(text):
        if not _HAS_HEADER.match(text, match.start()):
            return f"line {_line_of(text, match)}: `{match[0]}` may ask for headers alone, by their names"
    for match in _ASM.finditer(text):
        reason = _find_in_assembly(text, match.end())
        if reason:
            return f"line {_line_of(text, match)}: {reason}"
    return None


def join_lines(text: str) -> str:
    """A C text in which a line that goes on is one with the next."""
    return _SPLICE.sub("", text)


def _find_in_assembly(text: str, position: int) -> str | None:
    """Why the inline assembly behind the keyword is refused; None where it is not."""
    start = _QUALIFIERS.match(text, position)
    string = _STRING.match(text, start.end()) if start else None
    if string is None:
        return '`asm` is taken only with its text behind it: asm("…")'
    while string:
        if _REACHING.search(string[1]):
            return "inline assembly may have no directive: no dot, and no escape but \\n and \\t"
        position = string.end()
        string = _STRING.match(text, position)
    if not re.match(r"\s*[:)]", text[position : position + 1000]):
        return "the text of `asm` is strings alone"
    return None


def _find_flag(flags: tuple[str, ...]) -> str | None:
    """The first flag that is not taken."""
    try:
        pairs = list(pair_values(flags))
    except ValueError as error:
        return str(error)
    return next((f"the flag `{flag}`" for flag in pairs if not is_without_files(flag)), None)


def _line_of(text: str, match: re.Match[str]) -> int:
    """The line of a match, counted from 1; lines that go on are one."""
    return text.count("\n", 0, match.start()) + 1
