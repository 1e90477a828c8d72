"""From an answer's text to the LLVM IR in it, wherever prose stands around it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.blocks import (
    ExtractedCode,
    TextBlock,
    describe_missing_code,
    find_blocks,
    trim_code,
)

_NAME = r'(?:"(?:[^"\n])*"|[-\w$.]+)'
_TOP = re.compile(
    rf"(?:; ModuleID = |; Function Attrs:|source_filename = |target (?:datalayout|triple) = |module asm |"
    rf"define\s.*@{_NAME}\s*\(|declare\s.*@{_NAME}\s*\(|attributes #\d+ = |[@%]{_NAME} = |\${_NAME} = comdat|"
    r"![-\w$.\\]+ = |uselistorder )"
)
"""How a line at the top level of a module begins."""
_STRING = re.compile(r'c?"[^"\n]*"|;[^\n]*')
"""What is no name: strings, and comments."""


def extract_ir(answer: Answer, function: str) -> ExtractedCode:
    """Find the IR of `function` in the answer.

    Of several code blocks the first that defines the function counts. IR that the token limit ended is whole where the
    function and all that it refers to stand in it. Raises NoCode or Truncated, with a message for people.
    """
    text = answer.text.replace("\r\n", "\n")
    head = _head_of(function)
    limit = answer.stop == "length"
    block = _choose(text, head)
    if block is None:
        raise NoCodeError(describe_missing_code(text, limit, "LLVM IR"))
    code = _whole_part(block.text, function, head) if limit and not block.closed else block.text
    return trim_code(text, block.start, code)


def _head_of(function: str) -> re.Pattern[str]:
    name = re.escape(function)
    return re.compile(rf'^[ \t]*define\s[^\n]*@(?:{name}|"{name}")\s*\(', re.MULTILINE)


def _choose(text: str, head: re.Pattern[str]) -> TextBlock | None:
    marked = find_blocks(text)
    bare = _bare(text)
    for block in [*marked, bare] if bare else marked:
        if head.search(block.text):
            return block
    like_ir = [block for block in marked if any(map(_TOP.match, block.text.splitlines()))]
    chosen = like_ir or marked
    return chosen[0] if chosen else bare


def _bare(text: str) -> TextBlock | None:
    """What is left of untagged text when the prose before and after it is taken away."""
    lines = text.splitlines(keepends=True)
    marks = list(_marked(lines))
    if True not in marks:
        return None
    first, last = marks.index(True), len(marks) - marks[::-1].index(True)
    prose_follows = any(line.strip() and line.endswith("\n") for line in lines[last:])
    return TextBlock(sum(map(len, lines[:first])), "".join(lines[first:last]), closed=prose_follows)


def _marked(lines: list[str]) -> Iterator[bool]:
    """Which lines are a module's: at its top level, or in the body of a function."""
    inside = False
    for line in lines:
        inside = inside or line.lstrip().startswith("define ")
        yield inside or bool(_TOP.match(line.lstrip()))
        inside = inside and not line.startswith("}")


def _whole_part(code: str, function: str, head: re.Pattern[str]) -> str:
    """The part of a text cut by the token limit that can be relied on. Raises Truncated where that's not all."""
    start = head.search(code)
    end = re.compile(r"^\}[^\n]*(?:\n|\Z)", re.MULTILINE).search(code, start.end()) if start else None
    if not start or not end:
        missing = f"the end of {function!r}" if start else f"the definition of {function!r}"
        raise TruncatedError(f"the token limit came before {missing}, after {code.count(chr(10))} lines of code")
    kept = code[: end.end()] + _finished_lines(code[end.end() :])
    missing_names = _undefined(kept, code[start.start() : end.end()])
    if missing_names:
        raise TruncatedError(f"the token limit came before {missing_names[0]}, which {function!r} needs")
    return kept


def _finished_lines(rest: str) -> str:
    """`rest` up to its last whole line at the top level, and no further than the last function that ends."""
    lines = rest.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    last_head = max((n for n, line in enumerate(lines) if line.startswith("define ")), default=None)
    if last_head is not None and not any(line.startswith("}") for line in lines[last_head:]):
        lines = lines[:last_head]
    return "".join(lines)


def _undefined(code: str, body: str) -> list[str]:
    """The global names, groups of attributes and metadata that a function names and the text does not define."""
    used = re.findall(r"@[-\w$.]+|(?<![-\w$.])#\d+|!\d+\b", _STRING.sub("", body))
    defined = {name for groups in _DEFINED.findall(code) for name in groups}
    return [name for name in dict.fromkeys(used) if name not in defined]


_DEFINED = re.compile(
    r"^(@[-\w$.]+|!\d+) = |^attributes (#\d+) = |^(?:define|declare)\s[^@\n]*(@[-\w$.]+)", re.MULTILINE
)
