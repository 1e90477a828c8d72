"""Finds the assembly in an answer: in `<code>` tags, in Markdown fences, or without either."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.letters import name_part, name_start
from pytest_llmcompiler.model.answer import Answer, Prompt
from pytest_llmcompiler.model.extract.answer_text import (
    blank_reasoning,
    normalise_answer,
    unescape_newlines,
    unwrap_json,
)
from pytest_llmcompiler.model.extract.blocks import (
    ExtractedCode,
    TextBlock,
    describe_missing_code,
    find_blocks,
    trim_code,
)
from pytest_llmcompiler.model.extract.code_text import clean_characters, clean_code
from pytest_llmcompiler.model.extract.listings import convert_listing
from pytest_llmcompiler.targets import list_targets

_END = re.compile(r"\s*(?:#|//|/\*|;|\Z)")
"""Nothing but a comment, up to the end of a line."""
_LABEL = re.compile(rf'\s*(?:{name_part(".$@")}+|"[^"\n]+"):')
_KEPT_CHARACTERS = 100
"""Longest line whose kind is kept."""
_DIRECTIVE = re.compile(
    rf"^\s*(?:\.[a-z_]\w*(?:\s|$)|{name_part('$?@')}+[ \t]+(?:PROC|ENDP|SEGMENT|ENDS)\b"
    r"|(?i:(?:section|segment)[ \t]+\.\w|(?:global|extern)[ \t]+[\w.$]+[ \t]*$|default[ \t]+(?:rel|abs)[ \t]*$"
    r"|\[?bits[ \t]+64|%(?:define|assign)[ \t]|(?:[\w.$]+[ \t]+)?(?:d[bwdq]|res[bwdq]|times|equ)[ \t]+[-\d\"'($]))"
)
"""Directives of GNU assembly, of Microsoft's listings, and of NASM's language."""
_NASM_SIZE = re.compile(r"\b(byte|[dqto]?word)[ \t]*(?=\[)|(?<=\[)[ \t]*rel[ \t]|\bshort[ \t]", re.IGNORECASE)
_REVISION = re.compile(
    r"\b(?:correct(?:ed|ion)|fixed|final(?:ly)?|revised|revision|mistakes?|wrong|incorrect|oops|updated)\b",
    re.IGNORECASE,
)
"""Words between two versions of a function that make the later one the answer."""
_WORD = re.compile(rf"{name_start('.')}{name_part('.$')}*")
_DEFINED_NAME = re.compile(
    rf"\s*(?:\"?({name_start('.')}{name_part('.$')}*)\"?:"
    r"|([A-Za-z_.][\w.$]*)[ \t]+(?i:d[bwdq]|res[bwdq]|equ|times)[ \t])"
)
"""A label, or the name in front of NASM's data."""
_LONGEST_REMARK = 2000
"""Characters in front of a version in which such a word counts."""
_COMPILER_LABEL = re.compile(r"\.L[A-Z]*\d+(?:_\d+)?\b")
"""Numbered labels of compilers (`.LJTI0_0`, `.LCPI0_1`, `.L4`): no other file can define them."""


def extract_assembly(answer: Answer, function: str) -> ExtractedCode:
    """Find the assembly of `function` in the answer.

    Of several code blocks that define the function the first counts, unless the text calls a later one corrected or
    final. Code in a model's reasoning counts only where there is none behind it. Listings, quoted and numbered code
    become plain assembly with the same lines. A block without an end is complete, unless the token limit ended it. Even
    then it is complete if it holds the function and all labels that the function refers to.

    Raises NoCodeError or TruncatedError, with a message for the user.
    """
    text = normalise_answer(answer.text)
    label = _build_label_pattern(function)
    text = unwrap_json(text, label) or unescape_newlines(text) or text
    is_truncated = answer.stop == "length"
    block = _choose_block_outside_reasoning(text, label, is_truncated)
    if block is None:
        raise NoCodeError(describe_missing_code(text, is_truncated))
    code = block.text
    if is_truncated and not block.is_closed:
        code = _cut_to_complete_part(code, function, label)
    return trim_code(text, block.start, code)


def _choose_block_outside_reasoning(text: str, label: re.Pattern[str], is_truncated: bool) -> TextBlock | None:
    answer, is_open = blank_reasoning(text)
    block = _choose_block(answer, label)
    if block is not None and label.search(block.text):
        # Offsets count in the text with its reasoning blanked, in which lines are the same.
        return _move_to(text, answer, block)
    if answer != text:
        if is_open and is_truncated:
            raise TruncatedError("the token limit came before the end of the reasoning")
        inner = _choose_block(text, label)
        if inner is not None and label.search(inner.text):
            return inner
    return block and _move_to(text, answer, block)


def _move_to(text: str, blanked: str, block: TextBlock) -> TextBlock:
    """The block at the start of its line in `text`, which has the lines of `blanked`."""
    if text == blanked:
        return block
    lines = blanked.count("\n", 0, block.start)
    start = 0
    for _ in range(lines):
        start = text.index("\n", start) + 1
    return TextBlock(start, block.text, block.is_closed)


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
    blocks = [TextBlock(block.start, clean_code(block.text), block.is_closed) for block in find_blocks(text)]
    versions = [block for block in blocks if label.search(block.text)]
    if versions:
        return _add_definitions(text, blocks, _choose_version(text, versions, label), label)
    bare = _find_bare_code(text, label)
    if bare is not None and label.search(bare.text):
        return bare
    like_assembly = (block for block in blocks if any(map(_is_assembly, block.text.splitlines())))
    return next(like_assembly, blocks[0] if blocks else bare)


def _choose_version(text: str, versions: list[TextBlock], label: re.Pattern[str]) -> TextBlock:
    """The first block with code behind the label; a later one where the text in front of it says so."""
    complete = [block for block in versions if _has_body(block.text, label)] or versions
    chosen = previous = complete[0]
    for block in complete[1:]:
        remark = text[max(previous.start + len(previous.text), block.start - _LONGEST_REMARK) : block.start]
        if block.start > chosen.start and _REVISION.search(remark):
            chosen = block
        previous = block
    return chosen


def _add_definitions(text: str, blocks: list[TextBlock], chosen: TextBlock, label: re.Pattern[str]) -> TextBlock:
    """The chosen block with the blocks that define what it refers to: models show data and helpers on their own.

    Between the blocks there are as many empty lines as the answer has lines there.
    """
    missing = set(_WORD.findall(chosen.text)) - _find_labels(chosen.text)
    added = [
        block
        for block in blocks
        if block is not chosen and not label.search(block.text) and not missing.isdisjoint(_find_labels(block.text))
    ]
    if not added or not chosen.is_closed:
        return chosen
    ordered = sorted((chosen, *added), key=lambda block: block.start)
    parts, position, line, written = list[str](), ordered[0].start, 0, 0
    for block in ordered:
        line += text.count("\n", position, block.start)
        position = block.start
        if line < written:
            continue  # the same lines, in a tag and in a fence
        parts += ("\n" * (line - written), block.text)
        written = line + block.text.count("\n")
    return TextBlock(ordered[0].start, "".join(parts), is_closed=True)


def _find_labels(code: str) -> set[str]:
    """The names that the labels of a block define. Blocks that are no assembly define none."""
    lines = code.splitlines()
    names = {match[1] or match[2] for line in lines if (match := _DEFINED_NAME.match(line))}
    return names if any(map(_is_assembly, lines)) else set()


def _has_body(code: str, label: re.Pattern[str]) -> bool:
    """Whether an instruction follows the label."""
    match = label.search(code)
    return match is not None and any(map(_is_instruction, code[match.end() :].splitlines()))


def _find_bare_code(text: str, label: re.Pattern[str]) -> TextBlock | None:
    """The code in a text without tags and fences: from the first to the last line of assembly."""
    # A listing has the same lines as the assembly that it shows.
    lines = convert_listing(clean_characters(text)).splitlines(keepends=True)
    original = text.splitlines(keepends=True)
    # Most lines are code. Only those at both ends of the code are looked at closely.
    labels = {number for number, line in enumerate(lines) if (":" in line or "PROC" in line) and label.match(line)}
    if not labels and not any(map(_is_instruction, lines)):
        return None
    # A label alone may be a heading ("Assembly:"), so it counts only next to other code.
    code = (number for number, line in enumerate(lines) if number in labels or _is_clear_code(line))
    first = next(code, len(lines))
    while first > 0 and _classify_line(lines[first - 1]).is_lone_label:
        first -= 1
    last = len(lines)
    while last > first and not (last - 1 in labels or _is_clear_code(lines[last - 1])):
        last -= 1
    while last < len(lines) and _classify_line(lines[last]).is_lone_label:
        last += 1
    has_prose_behind = any(line.strip() and line.endswith("\n") for line in lines[last:])
    return TextBlock(sum(map(len, original[:first])), "".join(lines[first:last]), is_closed=has_prose_behind)


class _LineKind(NamedTuple):
    """What a line looks like."""

    is_instruction: bool
    """Whether it is an instruction of any target: one of another target is no prose either."""
    is_assembly: bool
    """Whether it is an instruction, a directive, or a label that stands alone or in front of one."""
    is_lone_label: bool


def _classify_line(line: str) -> _LineKind:
    return _classify_once(line) if len(line) <= _KEPT_CHARACTERS else _classify(line)


def _classify(line: str) -> _LineKind:
    first = label = _LABEL.match(line)
    position = 0
    while label and not _END.match(line, label.end()):
        position = label.end()
        label = _LABEL.match(line, position)
    is_instruction = _find_instruction(line)
    is_code = is_instruction if position == 0 else _find_instruction(line[position:])
    return _LineKind(
        is_instruction,
        is_assembly=label is not None or is_code or _DIRECTIVE.match(line[position:]) is not None,
        is_lone_label=first is not None and label is first,
    )


_classify_once = functools.lru_cache(maxsize=1 << 16)(_classify)
"""The same, computed once for equal lines: the answers to one question share most of theirs."""


def _is_clear_code(line: str) -> bool:
    """Whether it is assembly, and not only a label."""
    kind = _classify_line(line)
    return kind.is_assembly and not kind.is_lone_label


def _is_assembly(line: str) -> bool:
    return _classify_line(line).is_assembly


def _is_instruction(line: str) -> bool:
    return _classify_line(line).is_instruction


@functools.lru_cache(maxsize=1)
def _list_recognisers() -> tuple[Callable[[str], bool], ...]:
    """What tells the instructions of targets, each once."""
    return tuple(dict.fromkeys(target.is_instruction for target in list_targets()))


def _find_instruction(line: str) -> bool:
    first = line.lstrip()[:1]
    if not (first.isascii() and first.isalpha()):  # a mnemonic begins with a letter
        return False
    if ";" in line:
        line = line.split(";")[0]
    if "[" in line or "short" in line:
        line = _NASM_SIZE.sub("", line)
    return any(is_instruction(line) for is_instruction in _list_recognisers())


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
