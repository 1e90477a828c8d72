"""Code as people paste it, made plain assembly: typography, HTML, quotation, diffs, line numbers.

The number of lines stays the same, so that verdicts have the lines of the answer.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from pytest_llmcompiler.model.extract.listings import convert_listing

_TYPOGRAPHY = str.maketrans({
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f\u3000", " "), **dict.fromkeys("\u2212\u2010\u2011\u2013", "-"),
    **dict.fromkeys("\u201c\u201d", '"'), **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""), "\uff0c": ",", "\uff1a": ":", "\uff1b": ";",
})  # fmt: skip
"""Blanks, dashes, quotes and punctuation of text processors -> ASCII."""
_STRING = re.compile(r"""(\\.|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')""")
"""A string. An escape outside of strings is taken with it, so that its quote begins none."""
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,5}|#x[0-9a-fA-F]{1,4});")
_PARAMETERS = r"\([A-Za-z_][\w \t*&,:]{0,500}\)|\(\)"
_DEMANGLED_LABEL = re.compile(rf"^([A-Za-z_]\w*)(?:{_PARAMETERS}):", re.MULTILINE)
_DEMANGLED_CALL = re.compile(rf"((?:call|jmp)q?[ \t]+[A-Za-z_]\w*)(?:{_PARAMETERS})[ \t]*$", re.MULTILINE)
_MARKED = re.compile(r"\s*(?:[-+@>]|diff |index )|[^\n]*\n[-+]")
"""Beginnings of quotations and diffs."""
_NUMBERED = re.compile(r"[ \t]*(\d{1,6})(?:[ \t]*[|:.)\u2502](?:[ \t]|$)|[ \t]|$)(.*)")
_FEWEST_NUMBERED_LINES = 3
"""Fewer lines with consecutive numbers may be numeric labels."""
_BREAK = re.compile(r"<br[ \t]*/?>[ \t]*$", re.IGNORECASE | re.MULTILINE)


def clean_code(text: str) -> str:
    """The text of a code block as plain assembly."""
    text = clean_characters(text)
    if "):" in text:
        text = _strip_parameters(text)
    if _MARKED.match(text):
        text = "\n".join(_strip_diff(_strip_quotation(text.split("\n"))))
    # The listing of an assembler has line numbers of its own.
    code = convert_listing(text)
    if code == text and text.lstrip()[:1].isdigit():
        code = convert_listing("\n".join(_strip_line_numbers(text.split("\n"))))
    return code


def _strip_parameters(text: str) -> str:
    """The text with C++ names as C's, where labels have parameters: `f(int, int):`, as Compiler Explorer shows them."""
    code = _DEMANGLED_LABEL.sub(r"\1:", text)
    return code if code == text else _DEMANGLED_CALL.sub(r"\1", code)


def clean_characters(text: str) -> str:
    """The text with typography and HTML's entities as plain characters. Strings keep what they hold."""
    if "<" in text:
        text = _BREAK.sub("", text)
    if text.isascii() and not _ENTITY.search(text):
        return text
    return "\n".join(map(_clean_line, text.split("\n")))


def _decode_entity(match: re.Match[str]) -> str:
    character = html.unescape(match[0])
    return character if character.isprintable() else " "


def _clean_line(line: str) -> str:
    if line.isascii() and "&" not in line:
        return line
    parts = _STRING.split(line)
    return "".join(part if number % 2 else _clean_part(part) for number, part in enumerate(parts))


def _clean_part(text: str) -> str:
    return _ENTITY.sub(_decode_entity, text).translate(_TYPOGRAPHY)


def _strip_quotation(lines: Sequence[str]) -> list[str]:
    """Mail and Markdown quote with `>` in front of every line."""
    filled = [line for line in lines if line.strip()]
    if not filled or not all(line.lstrip().startswith(">") for line in filled):
        return list(lines)
    return [re.sub(r"^[ \t]*>[ \t]?", "", line) for line in lines]


def _strip_diff(lines: Sequence[str]) -> list[str]:
    """The new text of a diff: lines without mark and those with `+`; all others become empty."""
    filled = [line for line in lines if line.strip()]
    added = sum(line.startswith("+") for line in filled)
    if added < 2 or any(line[0] not in "+-@ \\" and not line.startswith(("diff ", "index ")) for line in filled):
        return list(lines)
    is_heading = re.compile(r"(?:\+\+\+|---|@@|diff |index |\\)")
    return ["" if is_heading.match(line) or line[:1] == "-" else line[1:] for line in lines]


def _strip_line_numbers(lines: Sequence[str]) -> list[str]:
    """Lines that are numbered one by one."""
    numbers = list[int]()
    for line in lines:
        if line.strip():
            match = _NUMBERED.match(line)
            if match is None or (numbers and int(match[1]) != numbers[-1] + 1):
                return list(lines)
            numbers.append(int(match[1]))
    if len(numbers) < _FEWEST_NUMBERED_LINES:
        return list(lines)
    return [match[2] if (match := _NUMBERED.match(line)) else line for line in lines]
