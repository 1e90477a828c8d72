"""From an answer's text to the pass list in it: `opt -p 'module(default<Oz>)'`, or a list alone, in prose or not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.blocks import (
    ExtractedCode,
    TextBlock,
    describe_missing_code,
    find_blocks,
    trim_code,
)

_OPEN = "'\"`\u2018\u201c"
_CLOSE = dict(zip(_OPEN, "'\"`\u2019\u201d"))
_FLAG = re.compile(rf"(?<![\w-])--?p(?:asses)?(?:=|[ \t]+)(?:([{_OPEN}])|(?=[a-zA-Z]))")
"""What stands before the list in a command of opt."""
_LEVEL = re.compile(r"(?<![\w-])-(O[0123sz])\b")
_LIST = re.compile(r"[a-zA-Z][\w<>;=,()\s.-]*")
_UNQUOTED = re.compile(r"[\w<>;=,().-]+")


def extract_passes(answer: Answer) -> ExtractedCode:
    """Find the pass list in the answer: what in tags or fences is a list and nothing else, else what opt is given
    as `-p` or `-passes=`, else what is quoted and looks like a list, else a level (`opt -Oz`), or the whole answer.

    Raises NoCode or Truncated, with a message for people.
    """
    text = answer.text.replace("\r\n", "\n")
    limit = answer.stop == "length"
    found = next(_candidates(text, limit), None)
    if found is None:
        raise NoCodeError(describe_missing_code(text, limit, "pass list"))
    if limit and not found.closed:
        raise TruncatedError("the token limit came before the end of the pass list")
    return trim_code(text, found.start, found.text)


def _candidates(text: str, limit: bool) -> Iterator[TextBlock]:
    yield from _lists(find_blocks(text))  # a level in prose is what the list is held against
    for flag in _FLAG.finditer(text):
        yield _given(text, flag.end(), flag[1])
    yield from _lists(_quoted(text))
    for level in _LEVEL.finditer(text):
        yield TextBlock(level.start(1), level[1], closed=level.end() < len(text) or not limit)
    yield from _lists([TextBlock(0, text, closed=False)])


def _lists(parts: Iterable[TextBlock]) -> Iterator[TextBlock]:
    return (part for part in parts if _looks_like_a_list(part.text))


def _given(text: str, start: int, quote: str | None) -> TextBlock:
    """The argument of a flag, which ends with its quote or at a blank."""
    if quote is None:
        match = _UNQUOTED.match(text, start)
        end = match.end() if match else start
        return TextBlock(start, text[start:end], closed=end < len(text))
    end = text.find(_CLOSE[quote], start)
    return TextBlock(start, text[start : end if end >= 0 else len(text)], closed=end >= 0)


def _quoted(text: str) -> Iterator[TextBlock]:
    for opening, closing in _CLOSE.items():
        for match in re.finditer(rf"{opening}([^{opening}{closing}\n]+){closing}", text):
            yield TextBlock(match.start(1), match[1], closed=True)


def _looks_like_a_list(text: str) -> bool:
    """Names with commas and brackets between them; a single word only where it is known to be a pass."""
    text = text.strip()
    if not _LIST.fullmatch(text) or _PROSE.search(text):
        return False
    return bool(re.search(r"[,(<]", text) or _ALONE.fullmatch(text))


_PROSE = re.compile(r"[\w.]\s+[\w(]|\)\s*\w|\.\s|\.$")
"""Words that blanks alone part, and the ends of sentences."""
_ALONE = re.compile(
    r"O[0123sz]|[a-z\d]+(?:-[a-z\d]+)+|[a-z]+\d[a-z\d]*|sroa|gvn|dce|adce|inline|instcombine|simplifycfg"
)
"""Passes that are known without anything beside them."""
