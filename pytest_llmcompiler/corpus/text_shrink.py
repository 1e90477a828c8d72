"""Shrinking texts for standard input: fewer lines, fewer words, smaller numbers, as long as a candidate still fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from pytest_llmcompiler.values.program_input import ProgramInput

_MOST_CALLS = 400
"""Runs of one search. The limit is no time, so that the result does not depend on the machine."""
_UNITS = (re.compile(rb"[^\n]*\n|[^\n]+"), re.compile(rb"\s*\S+|\s+$"), re.compile(rb".", re.DOTALL))
"""What is left out: lines, words with the blanks before them, characters."""
_MOST_UNITS = 256
"""Units up to which single ones are left out: of longer texts only parts are."""
_NUMBER = re.compile(rb"\d+")


def shrink_program_input(first: ProgramInput, fails: Callable[[ProgramInput], bool]) -> ProgramInput:
    """The smallest input found on which `fails` is true; `first` if there is no smaller one."""
    best, calls_left = first, _MOST_CALLS
    tried: set[ProgramInput] = {first}
    while True:
        for simpler in _generate_simpler(best):
            if simpler in tried:
                continue
            if not calls_left:
                return best
            tried.add(simpler)
            calls_left -= 1
            if fails(simpler):
                best = simpler
                break
        else:
            return best


def _generate_simpler(input: ProgramInput) -> Iterator[ProgramInput]:
    for at in range(len(input.arguments)):
        yield replace(input, arguments=input.arguments[:at] + input.arguments[at + 1 :])
    for text in generate_simpler_texts(input.standard_input):
        yield replace(input, standard_input=text)


def generate_simpler_texts(text: bytes) -> Iterator[bytes]:
    """Texts with something left out, the largest parts first, then texts with one smaller number."""
    for unit in _UNITS:
        parts = [match[0] for match in unit.finditer(text)]
        for size in _list_sizes(len(parts)):
            for at in range(0, len(parts), size):
                yield b"".join(parts[:at] + parts[at + size :])
    for match in _NUMBER.finditer(text):
        for smaller in _list_smaller(int(match[0])):
            yield text[: match.start()] + b"%d" % smaller + text[match.end() :]


def _list_sizes(count: int) -> Iterator[int]:
    """How many units are left out together: halves, quarters, and so on."""
    size = count
    while size > 0:
        if count // size <= _MOST_UNITS:
            yield size
        size //= 2


def _list_smaller(number: int) -> Iterator[int]:
    if number > 1:
        yield from dict.fromkeys((0, 1, number // 2, number - 1))
    elif number == 1:
        yield 0
