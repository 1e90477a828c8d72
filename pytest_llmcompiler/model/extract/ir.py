"""Finds the LLVM IR in an answer: in `<code>` tags, in Markdown fences, or without either."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
from pytest_llmcompiler.program.ir_names import spell_plainly

_NAME = r'(?:"(?:[^"\n])*"|[-\w$.]+)'
_TOP_LEVEL = re.compile(
    rf"(?:; ModuleID = |; Function Attrs:|source_filename = |target (?:datalayout|triple) = |module asm |"
    rf"define\s.*@{_NAME}\s*\(|declare\s.*@{_NAME}\s*\(|attributes #\d+ = |[@%]{_NAME} = |\${_NAME} = comdat|"
    r"![-\w$.\\]+ = |uselistorder )"
)
"""Matches the beginning of a line at the top level of a module."""
_NO_NAMES = re.compile(r'c?"[^"\n]*"|;[^\n]*')
"""Matches strings and comments, which hold no names."""


def extract_ir(answer: Answer, function: str) -> ExtractedCode:
    """Find the IR of `function` in the answer.

    Of several code blocks the first that defines the function counts. IR that the token limit cut off is complete if it
    holds the function and all global names, attributes and metadata that the function refers to.

    Raises NoCodeError or TruncatedError, with a message for the user.
    """
    text, _ = blank_reasoning(spell_plainly(normalise_answer(answer.text)))
    head = _build_head_pattern(function)
    is_truncated = answer.stop == "length"
    block = _choose_block(text, head)
    if block is None:
        raise NoCodeError(describe_missing_code(text, is_truncated, "LLVM IR"))
    code = block.text
    if is_truncated and not block.is_closed:
        code = _cut_to_complete_part(code, function, head)
    return trim_code(text, block.start, code)


def _build_head_pattern(function: str) -> re.Pattern[str]:
    """Matches the beginning of the definition of a function."""
    name = re.escape(function)
    return re.compile(rf'^[ \t]*define\s[^\n]*@(?:{name}|"{name}")\s*\(', re.MULTILINE)


def _choose_block(text: str, head: re.Pattern[str]) -> TextBlock | None:
    blocks = find_blocks(text)
    bare = _find_bare_code(text)
    for block in [*blocks, bare] if bare else blocks:
        if head.search(block.text):
            return block
    like_ir = [block for block in blocks if any(map(_TOP_LEVEL.match, block.text.splitlines()))]
    candidates = like_ir or blocks
    return candidates[0] if candidates else bare


def _find_bare_code(text: str) -> TextBlock | None:
    """The code in a text without tags and fences: from the first to the last line of IR."""
    lines = text.splitlines(keepends=True)
    is_code = list(_classify_lines(lines))
    if True not in is_code:
        return None
    first, last = is_code.index(True), len(is_code) - is_code[::-1].index(True)
    has_prose_behind = any(line.strip() and line.endswith("\n") for line in lines[last:])
    return TextBlock(sum(map(len, lines[:first])), "".join(lines[first:last]), is_closed=has_prose_behind)


def _classify_lines(lines: list[str]) -> Iterator[bool]:
    """Whether each line is IR: at the top level of a module, or in the body of a function."""
    is_inside = False
    for line in lines:
        is_inside = is_inside or line.lstrip().startswith("define ")
        yield is_inside or bool(_TOP_LEVEL.match(line.lstrip()))
        is_inside = is_inside and not line.startswith("}")


def _cut_to_complete_part(code: str, function: str, head: re.Pattern[str]) -> str:
    """The complete part of IR that the token limit cut off.

    Raises TruncatedError where the function, or a name that it refers to, is not complete.
    """
    start = head.search(code)
    end = re.compile(r"^\}[^\n]*(?:\n|\Z)", re.MULTILINE).search(code, start.end()) if start else None
    if not start or not end:
        missing = f"the end of {function!r}" if start else f"the definition of {function!r}"
        raise TruncatedError(f"the token limit came before {missing}, after {code.count(chr(10))} lines of code")
    complete = code[: end.end()] + _drop_incomplete_lines(code[end.end() :])
    missing_names = _find_undefined(complete, code[start.start() : end.end()])
    if missing_names:
        raise TruncatedError(f"the token limit came before {missing_names[0]}, which {function!r} needs")
    return complete


def _drop_incomplete_lines(rest: str) -> str:
    """`rest` without an incomplete last line, and without a last function that does not end."""
    lines = rest.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    last_head = max((n for n, line in enumerate(lines) if line.startswith("define ")), default=None)
    if last_head is not None and not any(line.startswith("}") for line in lines[last_head:]):
        lines = lines[:last_head]
    return "".join(lines)


def _find_undefined(code: str, body: str) -> list[str]:
    """The global names, attribute groups and metadata that a function refers to and the text does not define."""
    used = re.findall(r"@[-\w$.]+|(?<![-\w$.])#\d+|!\d+\b", _NO_NAMES.sub("", body))
    defined = {name for groups in _DEFINED.findall(code) for name in groups}
    return [name for name in dict.fromkeys(used) if name not in defined]


_DEFINED = re.compile(
    r"^(@[-\w$.]+|!\d+) = |^attributes (#\d+) = |^(?:define|declare)\s[^@\n]*(@[-\w$.]+)", re.MULTILINE
)
