"""Finds the pass list in an answer: `opt -p 'module(default<Oz>)'`, or a list alone, with prose around it or not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.answer_text import blank_reasoning, normalise_answer
from pytest_llmcompiler.model.extract.blocks import (
    ExtractedCode,
    TextBlock,
    describe_missing_code,
    find_blocks,
    trim_code,
)

_OPENING = "'\"`\u2018\u201c"
_CLOSING = dict(zip(_OPENING, "'\"`\u2019\u201d"))
_FLAG = re.compile(rf"(?<![\w-])--?p(?:asses)?(?:=|[ \t]+)(?:([{_OPENING}])|(?=[a-zA-Z]))")
"""Matches the flag before the list in a command line of opt."""
_LEVEL = re.compile(r"(?<![\w-])-(O[0123sz])\b")
_LIST = re.compile(r"[a-zA-Z][\w<>;=,()\s.-]*")
_UNQUOTED = re.compile(r"[\w<>;=,().-]+")


def extract_passes(answer: Answer) -> ExtractedCode:
    """Find the pass list in the answer.

    It is the first of: a code block that is a list and nothing else; the argument of `-p` or `-passes=`; a quoted text
    that looks like a list; an optimisation level (`opt -Oz`); the whole answer.

    Raises NoCodeError or TruncatedError, with a message for the user.
    """
    text, _ = blank_reasoning(normalise_answer(answer.text))
    is_truncated = answer.stop == "length"
    block = next(_find_candidates(text, is_truncated), None)
    if block is None:
        raise NoCodeError(describe_missing_code(text, is_truncated, "pass list"))
    if is_truncated and not block.is_closed:
        raise TruncatedError("the token limit came before the end of the pass list")
    return trim_code(text, block.start, block.text)


def _find_candidates(text: str, is_truncated: bool) -> Iterator[TextBlock]:
    """Texts that may be the pass list, the most likely first.

    A level comes late: in prose it is mostly what the list is compared with.
    """
    yield from _select_lists(find_blocks(text))
    for flag in _FLAG.finditer(text):
        argument = _read_argument(text, flag.end(), flag[1])
        if argument.text.strip():
            yield argument
    yield from _select_lists(_find_quoted(text))
    for level in _LEVEL.finditer(text):
        yield TextBlock(level.start(1), level[1], is_closed=level.end() < len(text) or not is_truncated)
    yield from _select_lists([TextBlock(0, text, is_closed=False)])


def _select_lists(blocks: Iterable[TextBlock]) -> Iterator[TextBlock]:
    return (block for block in blocks if _is_like_list(block.text))


def _read_argument(text: str, start: int, quote: str | None) -> TextBlock:
    """The argument of a flag: up to the closing quote, or without a quote up to whitespace."""
    if quote is None:
        match = _UNQUOTED.match(text, start)
        end = match.end() if match else start
        return TextBlock(start, text[start:end], is_closed=end < len(text))
    end = text.find(_CLOSING[quote], start)
    return TextBlock(start, text[start : end if end >= 0 else len(text)], is_closed=end >= 0)


def _find_quoted(text: str) -> Iterator[TextBlock]:
    for opening, closing in _CLOSING.items():
        for match in re.finditer(rf"{opening}([^{opening}{closing}\n]+){closing}", text):
            yield TextBlock(match.start(1), match[1], is_closed=True)


def _is_like_list(text: str) -> bool:
    """Whether a text is names with commas and brackets between them. A single word must be a known pass."""
    text = text.strip()
    if not _LIST.fullmatch(text) or _PROSE.search(text):
        return False
    return bool(re.search(r"[,(<]", text) or _SINGLE_PASS.fullmatch(text))


_PROSE = re.compile(r"[\w.]\s+[\w(]|\)\s*\w|\.\s|\.$")
"""Matches words with only whitespace between them, and the ends of sentences."""
_SINGLE_PASS = re.compile(
    r"O[0123sz]|[a-z\d]+(?:-[a-z\d]+)+|[a-z]+\d[a-z\d]*|sroa|gvn|dce|adce|inline|instcombine|simplifycfg"
)
"""Matches a single word that is a pass or an optimisation level: hyphens or digits make other words unlikely."""
