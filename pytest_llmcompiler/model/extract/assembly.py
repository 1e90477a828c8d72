"""Finds the assembly in an answer: in `<code>` tags, in Markdown fences, or without either."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.model.answer import Answer, Prompt
from pytest_llmcompiler.model.extract.blocks import (
    ExtractedCode,
    TextBlock,
    describe_missing_code,
    find_blocks,
    trim_code,
)
from pytest_llmcompiler.targets import list_targets

_COMMENT = re.compile(r"(?:#|//|/\*).*$")
_LABEL = re.compile(r'^\s*(?:[\w.$@]+|"[^"\n]+"):')
_DIRECTIVE = re.compile(r"^\s*(?:\.[a-z_]\w*(?:\s|$)|[\w$?@]+[ \t]+(?:PROC|ENDP|SEGMENT|ENDS)\b)")
_COMPILER_LABEL = re.compile(r"\.L[A-Z]*\d+(?:_\d+)?\b")
"""Numbered labels of compilers (`.LJTI0_0`, `.LCPI0_1`, `.L4`): no other file can define them."""


def extract_assembly(answer: Answer, function: str) -> ExtractedCode:
    """Find the assembly of `function` in the answer.

    Of several code blocks the first that defines the function counts. A block without an end is complete, unless the
    token limit ended it. Even then it is complete if it holds the function and all labels that the function refers to.

    Raises NoCodeError or TruncatedError, with a message for the user.
    """
    text = answer.text.replace("\r\n", "\n")
    label = _build_label_pattern(function)
    block = _choose_block(text, label)
    is_truncated = answer.stop == "length"
    if block is None:
        raise NoCodeError(describe_missing_code(text, is_truncated))
    code = block.text
    if is_truncated and not block.is_closed:
        code = _cut_to_complete_part(code, function, label)
    return trim_code(text, block.start, code)


def find_judged_assembly(answer: Answer, prompt: Prompt, detail: Mapping[str, Any]) -> str:
    """The assembly that was judged for an answer, with the line numbers of its verdict.

    For the task `asm` it is the assembly in the answer, else LLVM's output for the answer, which the `detail` of the
    verdict holds. Raises NoCodeError or TruncatedError.
    """
    if prompt.task == "asm":
        return extract_assembly(answer, prompt.function).aligned_text
    lowered = detail.get("lowered")
    if not isinstance(lowered, str):
        raise NoCodeError("LLVM could not compile the answer to assembly")
    return lowered


def _build_label_pattern(function: str) -> re.Pattern[str]:
    name = re.escape(function)
    return re.compile(rf'^[ \t]*(?:(?:{name}|"{name}")[ \t]*:|{name}[ \t]+PROC\b)', re.MULTILINE)


def _choose_block(text: str, label: re.Pattern[str]) -> TextBlock | None:
    blocks = find_blocks(text)
    for block in blocks:
        if label.search(block.text):
            return block
    bare = _find_bare_code(text, label)
    if bare is not None and label.search(bare.text):
        return bare
    like_assembly = (block for block in blocks if any(map(_is_assembly, block.text.splitlines())))
    return next(like_assembly, blocks[0] if blocks else bare)


def _find_bare_code(text: str, label: re.Pattern[str]) -> TextBlock | None:
    """The code in a text without tags and fences: from the first to the last line of assembly."""
    lines = text.splitlines(keepends=True)
    if not any(label.match(line) or _is_instruction(line) for line in lines):
        return None
    # A label alone may be a heading ("Assembly:"), so it counts only next to other code.
    is_code = [bool(label.match(line)) or (_is_assembly(line) and not _is_lone_label(line)) for line in lines]
    first = is_code.index(True)
    while first > 0 and _is_lone_label(lines[first - 1]):
        first -= 1
    last = len(is_code) - is_code[::-1].index(True)
    while last < len(lines) and _is_lone_label(lines[last]):
        last += 1
    has_prose_behind = any(line.strip() and line.endswith("\n") for line in lines[last:])
    return TextBlock(sum(map(len, lines[:first])), "".join(lines[first:last]), is_closed=has_prose_behind)


def _is_assembly(line: str) -> bool:
    label = _LABEL.match(line)
    if label:
        rest = line[label.end() :]
        return _is_lone_label(line) or _is_assembly(rest)
    return bool(_DIRECTIVE.match(line)) or _is_instruction(line)


def _is_lone_label(line: str) -> bool:
    label = _LABEL.match(line)
    return label is not None and not _COMMENT.sub("", line[label.end() :]).strip()


def _is_instruction(line: str) -> bool:
    """Whether a line is an instruction of any target: an instruction of another target is no prose either."""
    return any(target.is_instruction(line) for target in list_targets())


def _cut_to_complete_part(code: str, function: str, label: re.Pattern[str]) -> str:
    """The complete part of code that the token limit cut off.

    Raises TruncatedError where the function, or a label that it refers to, is not complete.
    """
    start = label.search(code)
    end = _build_end_pattern(function).search(code, start.end()) if start else None
    if not start or not end:
        missing = f"the end of {function!r}" if start else f"the label {function!r}"
        raise TruncatedError(f"the token limit came before {missing}, after {code.count(chr(10))} lines of code")
    body = code[: end.end()] + _drop_last_definition(code[end.end() :])
    procedure = body[start.end() :]
    if ".cfi_startproc" in procedure and ".cfi_endproc" not in procedure:
        raise TruncatedError(f"the token limit came before the .cfi_endproc of {function!r}")
    missing_labels = _find_undefined(body, procedure)
    if missing_labels:
        raise TruncatedError(f"the token limit came before {missing_labels[0]}, which {function!r} needs")
    return body


def _build_end_pattern(function: str) -> re.Pattern[str]:
    """Matches the lines that compilers write at the end of a function, each with its newline."""
    name = re.escape(function)
    return re.compile(
        rf'^[ \t]*(?:\.Lfunc_end\d+[ \t]*:|\.size[ \t]+"?{name}"?[ \t]*,|\.cfi_endproc\b|{name}[ \t]+ENDP\b)[^\n]*\n',
        re.MULTILINE,
    )


def _drop_last_definition(rest: str) -> str:
    """`rest` without its last function or datum, which the token limit may have cut off."""
    lines = rest.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    labels = [number for number, line in enumerate(lines) if _LABEL.match(line)]
    named = [number for number in labels if not lines[number].lstrip().startswith((".L", *"0123456789"))]
    # A local label may be inside the definition before it, so the last named label counts, if there is one.
    starts = named or labels
    return "".join(lines[: starts[-1]] if starts else lines)


def _find_undefined(body: str, procedure: str) -> list[str]:
    """The compiler's labels that the function refers to and the text does not define."""
    defined = {line.split(":")[0].strip() for line in body.splitlines() if _LABEL.match(line)}
    return [name for name in _COMPILER_LABEL.findall(procedure) if name not in defined]
