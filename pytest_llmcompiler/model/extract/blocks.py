"""The parts of an answer that are code: what is between `<code>` tags or in Markdown fences.

The generation may have swallowed the closing tag (it is the stop string) or have ended anywhere (at the token limit).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TAG = re.compile(r"</?code>", re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]{0,3}(?:`{3,}(?!`)|~{3,}(?!~))[^\n`]*$", re.MULTILINE)


@dataclass(frozen=True)
class ExtractedCode:
    """Code as the model wrote it."""

    text: str
    """Ends with a newline; begins with a line that isn't blank."""
    first_line: int
    """The 1-based line of the answer on which `text` begins."""

    @property
    def aligned_text(self) -> str:
        """The text, on the lines of the answer on which it stands."""
        return "\n" * (self.first_line - 1) + self.text


@dataclass(frozen=True)
class TextBlock:
    """A part of an answer."""

    start: int
    """Offset in the answer."""
    text: str
    closed: bool
    """False where the answer ended before the closing tag or fence."""


def find_blocks(text: str) -> list[TextBlock]:
    """The parts that are marked as code and hold anything: those in tags, then those in fences."""
    return [block for block in (*_tagged(text), *_fenced(text)) if block.text.strip()]


def trim_code(text: str, start: int, code: str) -> ExtractedCode:
    """The code that stands at an offset of an answer, without the blank lines around it."""
    body = code.lstrip("\n")
    skipped = len(code) - len(body)
    return ExtractedCode(body.rstrip() + "\n", text.count("\n", 0, start + skipped) + 1)


def describe_missing_code(text: str, limit: bool, what: str = "code") -> str:
    """Why an answer without code has none, in words."""
    if not text.strip():
        return "the answer is empty"
    first = next(line.strip() for line in text.splitlines() if line.strip())
    head = first if len(first) <= 60 else first[:57] + "..."
    return f"the answer {'reached the token limit with' if limit else 'has'} no {what} in it; it begins {head!r}"


def _tagged(text: str) -> Iterator[TextBlock]:
    """The contents of `<code>…</code>`; of `…</code>` too, where the prompt itself opened the tag."""
    tags = list(_TAG.finditer(text))
    if tags and tags[0][0].startswith("</"):
        yield from _unfence(TextBlock(0, text[: tags[0].start()], closed=True))
    for tag, following in zip(tags, [*tags[1:], None]):
        if not tag[0].startswith("</"):
            end = following.start() if following else len(text)
            yield from _unfence(TextBlock(tag.end(), text[tag.end() : end], closed=following is not None))


def _unfence(block: TextBlock) -> Iterator[TextBlock]:
    """The fenced parts of a tagged block, or else the block."""
    fenced = list(_fenced(block.text))
    if not fenced:
        yield block
    for part in fenced:
        yield TextBlock(block.start + part.start, part.text, part.closed or block.closed)


def _fenced(text: str) -> Iterator[TextBlock]:
    """The contents of Markdown fences; every second fence closes."""
    fences = list(_FENCE.finditer(text))
    for opening, closing in zip(fences[::2], [*fences[1::2], None]):
        end = closing.start() if closing else len(text)
        start = min(opening.end() + 1, end)
        yield TextBlock(start, text[start:end], closed=closing is not None)
