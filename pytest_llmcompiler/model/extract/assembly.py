"""From an answer's text to the assembly in it.

Models put code into `<code>` tags or Markdown fences, or answer with nothing else than code.
"""

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
"""Labels that compilers number (`.LJTI0_0`, `.LCPI0_1`, `.L4`): only the text itself can define them."""


def extract_assembly(answer: Answer, function: str) -> ExtractedCode:
    """Find the assembly of `function` in the answer.

    Of several code blocks the first that defines the function counts. A block without an end is whole unless
    the token limit ended it; even then it is whole if the function and all that it refers to stand in it.
    Raises NoCode or Truncated, with a message for people.
    """
    text = answer.text.replace("\r\n", "\n")
    label = _label_of(function)
    block = _choose(text, label)
    limit = answer.stop == "length"
    if block is None:
        raise NoCodeError(describe_missing_code(text, limit))
    code = block.text
    if limit and not block.closed:
        code = _whole_part(code, function, label)
    return trim_code(text, block.start, code)


def find_judged_assembly(answer: Answer, prompt: Prompt, detail: Mapping[str, Any]) -> str:
    """The assembly that was judged for an answer, on the lines that its verdict means: what is in the answer, or what
    LLVM made of that, which the verdict's `detail` has. Raises NoCode or Truncated.
    """
    if prompt.task == "asm":
        return extract_assembly(answer, prompt.function).aligned_text
    lowered = detail.get("lowered")
    if not isinstance(lowered, str):
        raise NoCodeError("LLVM made no assembly of the answer")
    return lowered


def _label_of(function: str) -> re.Pattern[str]:
    name = re.escape(function)
    return re.compile(rf'^[ \t]*(?:(?:{name}|"{name}")[ \t]*:|{name}[ \t]+PROC\b)', re.MULTILINE)


def _choose(text: str, label: re.Pattern[str]) -> TextBlock | None:
    marked = find_blocks(text)
    for block in marked:
        if label.search(block.text):
            return block
    bare = _bare(text, label)
    if bare is not None and label.search(bare.text):
        return bare
    like_assembly = (block for block in marked if any(map(_is_assembly, block.text.splitlines())))
    return next(like_assembly, marked[0] if marked else bare)


def _bare(text: str, label: re.Pattern[str]) -> TextBlock | None:
    """What is left of untagged text when the prose before and after it is taken away."""
    lines = text.splitlines(keepends=True)
    if not any(label.match(line) or _is_instruction(line) for line in lines):
        return None
    # A label alone may be a heading ("Assembly:"): it counts only beside something surer.
    marks = [bool(label.match(line)) or (_is_assembly(line) and not _is_lone_label(line)) for line in lines]
    first = marks.index(True)
    while first > 0 and _is_lone_label(lines[first - 1]):
        first -= 1
    last = len(marks) - marks[::-1].index(True)
    while last < len(lines) and _is_lone_label(lines[last]):
        last += 1
    prose_follows = any(line.strip() and line.endswith("\n") for line in lines[last:])
    return TextBlock(sum(map(len, lines[:first])), "".join(lines[first:last]), closed=prose_follows)


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
    """Whether a line is an instruction of any target: what is code for another one is no prose."""
    return any(target.is_instruction(line) for target in list_targets())


def _whole_part(code: str, function: str, label: re.Pattern[str]) -> str:
    """The part of a text cut by the token limit that can be relied on. Raises Truncated where that's not all."""
    start = label.search(code)
    end = _end_of(function).search(code, start.end()) if start else None
    if not start or not end:
        missing = f"the end of {function!r}" if start else f"the label {function!r}"
        raise TruncatedError(f"the token limit came before {missing}, after {code.count(chr(10))} lines of code")
    body = code[: end.end()] + _finished_blocks(code[end.end() :])
    procedure = body[start.end() :]
    if ".cfi_startproc" in procedure and ".cfi_endproc" not in procedure:
        raise TruncatedError(f"the token limit came before the .cfi_endproc of {function!r}")
    missing_labels = _undefined(body, procedure)
    if missing_labels:
        raise TruncatedError(f"the token limit came before {missing_labels[0]}, which {function!r} needs")
    return body


def _end_of(function: str) -> re.Pattern[str]:
    """The lines that compilers write after a function, each up to its newline."""
    name = re.escape(function)
    return re.compile(
        rf'^[ \t]*(?:\.Lfunc_end\d+[ \t]*:|\.size[ \t]+"?{name}"?[ \t]*,|\.cfi_endproc\b|{name}[ \t]+ENDP\b)[^\n]*\n',
        re.MULTILINE,
    )


def _finished_blocks(rest: str) -> str:
    """`rest` without the last function or datum and what follows it, which the limit may have cut short."""
    lines = rest.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    labels = [number for number, line in enumerate(lines) if _LABEL.match(line)]
    named = [number for number in labels if not lines[number].lstrip().startswith((".L", *"0123456789"))]
    # Local labels may be inside the named one before them, so that one is cut too.
    cut = named or labels
    return "".join(lines[: cut[-1]] if cut else lines)


def _undefined(body: str, procedure: str) -> list[str]:
    """The compiler's own labels that the function names and the text doesn't define."""
    defined = {line.split(":")[0].strip() for line in body.splitlines() if _LABEL.match(line)}
    return [name for name in _COMPILER_LABEL.findall(procedure) if name not in defined]
