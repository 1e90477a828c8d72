"""The output of two runs of a program compared, line by line.

Lines are matched as `diff` matches them, so that one line more or less is one difference, and not one in each line
behind it. A line has its line feed: one that misses it differs.

    expected    observed    difference
    2           2
    3           3 3         line 2: expected "3\\n", observed "3 3\\n"
    5           5           line 3: expected "5\\n", observed "5"
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Sequence

from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.judge.compare_memory import first_difference
from pytest_llmcompiler.judge.difference import Difference
from pytest_llmcompiler.judge.location import OutputLine, RunEnding
from pytest_llmcompiler.judge.whole_program import COMPARED_OUTPUTS, format_program_ending

_MOST_MATCHED = 400
"""Lines from the first one that differs on that are matched: matching takes time with the square of their number."""
_BYTES_BEFORE, _BYTES_SHOWN = 16, 48
"""Bytes of a line that are shown before the first difference, and in all."""
_NO_LINE = "no line"
_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r"}


def compare_processes(expected: Observation, observed: Observation) -> Iterator[Difference]:
    """The differences of two runs of a program that came to their end: what they write, and how they end.

    The output comes first, since it says more than another exit code.
    """
    for descriptor in COMPARED_OUTPUTS:
        first, second = expected.output.get(descriptor, b""), observed.output.get(descriptor, b"")
        if first != second:
            yield from _compare_lines(descriptor, split_lines(first), split_lines(second))
    endings = format_program_ending(expected), format_program_ending(observed)
    if endings[0] != endings[1]:
        yield Difference(RunEnding(), *endings)


def split_lines(text: bytes) -> list[bytes]:
    """The lines of a text, each with its line feed; the last one may have none."""
    return [line for line in re.split(rb"(?<=\n)", text) if line]


def quote_text(text: bytes) -> str:
    """A text as a C string literal."""
    return '"' + "".join(_ESCAPES.get(byte) or _quote_byte(byte) for byte in text) + '"'


def _quote_byte(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"


def _compare_lines(descriptor: int, expected: Sequence[bytes], observed: Sequence[bytes]) -> Iterator[Difference]:
    pairs = enumerate(zip(expected, observed))
    start = next((at for at, (a, b) in pairs if a != b), min(len(expected), len(observed)))
    first, second = expected[start : start + _MOST_MATCHED], observed[start : start + _MOST_MATCHED]
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        if kind == "equal":
            continue
        # The number of a line is that of the expected output, where people look it up.
        for offset, (left, right) in enumerate(itertools.zip_longest(first[a:a_end], second[b:b_end])):
            shown = (_NO_LINE if line is None else _excerpt(line, left, right) for line in (left, right))
            yield Difference(OutputLine(descriptor, start + a + offset + 1), *shown)


def _excerpt(line: bytes, expected: bytes | None, observed: bytes | None) -> str:
    """The part of a line around the first byte that differs from the other line."""
    start = 0
    if expected is not None and observed is not None:
        start = max(0, first_difference(expected, observed) - _BYTES_BEFORE)
        start = 0 if len(line) <= _BYTES_SHOWN else start
    part = line[start : start + _BYTES_SHOWN]
    before, behind = "… " if start else "", " …" if len(line) > start + _BYTES_SHOWN else ""
    return before + quote_text(part) + behind
