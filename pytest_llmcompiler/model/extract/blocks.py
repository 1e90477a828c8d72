"""The code blocks of an answer: the text between `<code>` tags, or in Markdown fences.

The closing tag may be missing, since it is the stop string. At the token limit an answer may end anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_WRAPPERS = "asm|assembly|answer|output|solution|result|final|final_answer|pre"
_TAG = re.compile(
    rf"<(?:/?code(?:[ \t][^<>\n]{{0,80}})?|/?(?:{_WRAPPERS}))>(?!:)|\[/?(?:code|answer|asm)\]", re.IGNORECASE
)
"""Tags around code. Of the opening ones only `<code>` may stand within a line: disassemblers write symbols like the
others."""
_LONGEST_LOOK_BACK = 200
"""Characters in front of a tag, on its line, that say whether it stands in a string."""
_HEAD_LENGTH = 60
"""Characters of the first line of an answer that a message shows."""
_FENCE = re.compile(r"(?P<mark>`{3,})(?P<info>[^\n`~]*)$", re.MULTILINE)
_FENCE_WITH_TILDES = re.compile(r"(?P<mark>`{3,}|^[ \t>]*~{3,})(?P<info>[^\n`~]*)$", re.MULTILINE)
"""The marks of a fence, with nothing but its info string behind them on the line."""


@dataclass(frozen=True)
class ExtractedCode:
    """The code of an answer, as the model wrote it."""

    text: str
    """Begins with a line that is not blank, and ends with a newline."""
    first_line: int
    """The 1-based line of the answer on which `text` begins."""

    @property
    def aligned_text(self) -> str:
        """The text behind so many empty lines that its line numbers are those of the answer."""
        return "\n" * (self.first_line - 1) + self.text


@dataclass(frozen=True)
class TextBlock:
    """A part of an answer that may be code."""

    start: int
    """The offset in the answer, in characters."""
    text: str
    is_closed: bool
    """False where the answer ends before the closing tag or fence."""


def find_blocks(text: str) -> list[TextBlock]:
    """The blocks that are marked as code and are not blank: those in tags, then those in fences."""
    return [block for block in (*_find_tagged(text), *_find_fenced(text)) if block.text.strip()]


def trim_code(text: str, start: int, code: str) -> ExtractedCode:
    """The code at the offset `start` of an answer, without the blank lines around it."""
    body = code.lstrip("\n")
    first_line = text.count("\n", 0, start) + len(code) - len(body) + 1
    return ExtractedCode(body.rstrip() + "\n", first_line)


def describe_missing_code(text: str, is_truncated: bool, kind: str = "code") -> str:
    """The message for an answer without code. `is_truncated`: whether the token limit ended the answer."""
    if not text.strip():
        return "the answer is empty"
    first_line = next(line.strip() for line in text.splitlines() if line.strip())
    head = first_line if len(first_line) <= _HEAD_LENGTH else first_line[: _HEAD_LENGTH - 3] + "..."
    return f"the answer {'reached the token limit with' if is_truncated else 'has'} no {kind} in it; it begins {head!r}"


def _find_tagged(text: str) -> Iterator[TextBlock]:
    """The contents of `<code>…</code>`. Of `…</code>` too: the prompt may have opened the tag."""
    if "<" not in text and "[" not in text:
        return
    tags = [(tag, "/" in tag[0][:2]) for tag in _TAG.finditer(text) if _is_tag(text, tag)]
    if tags and tags[0][1]:
        yield from _find_fenced_parts(TextBlock(0, text[: tags[0][0].start()], is_closed=True))
    for (tag, is_closing), following in zip(tags, [*tags[1:], None]):
        if not is_closing:
            end = following[0].start() if following else len(text)
            yield from _find_fenced_parts(TextBlock(tag.end(), text[tag.end() : end], is_closed=following is not None))


def _is_tag(text: str, tag: re.Match[str]) -> bool:
    """Whether a tag stands where it is one: not in a string, and at the beginning of a line if it has to."""
    start = tag.start()
    before = text[max(0, start - _LONGEST_LOOK_BACK) : start].rpartition("\n")[2]
    if before.count('"') % 2:
        return False
    return tag[0][1] == "/" or tag[0][:5].lower() == "<code" or not before.strip()


def _find_fenced_parts(block: TextBlock) -> Iterator[TextBlock]:
    """The fenced blocks of a tagged block; the block itself where it has none."""
    fenced = list(_find_fenced(block.text))
    if not fenced:
        yield block
    for part in fenced:
        yield TextBlock(block.start + part.start, part.text, part.is_closed or block.is_closed)


def _find_fenced(text: str) -> Iterator[TextBlock]:
    """The contents of Markdown fences. A fence with an info string begins a block, even where the last one has no end.

    The opening fence may stand behind text on its line (`Here it is:```asm`), the closing one too (`ret```).
    """
    if "```" not in text and "~~~" not in text:
        return
    start, mark = -1, ""
    for fence in (_FENCE_WITH_TILDES if "~~~" in text else _FENCE).finditer(text):
        line_start = text.rfind("\n", 0, fence.start()) + 1
        before, info = text[line_start : fence.start()], fence["info"].strip()
        if "`" in before:
            continue
        if start < 0:
            start, mark = min(fence.end() + 1, len(text)), fence["mark"].lstrip(" \t>")
            continue
        is_same = fence["mark"].lstrip(" \t>").startswith(mark)
        end = line_start if not before.strip(" \t>") else fence.start()
        if is_same and not info:
            yield TextBlock(start, text[start : max(start, end)], is_closed=True)
            start = -1
        elif is_same and not before.strip(" \t>") and " " not in info:
            yield TextBlock(start, text[start : max(start, end)], is_closed=True)
            start = min(fence.end() + 1, len(text))
    if start >= 0:
        yield TextBlock(start, text[start:], is_closed=False)
