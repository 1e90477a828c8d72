"""hypothesis strategies for integers, floating-point numbers and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hypothesis import strategies as st

from pytest_llmcompiler.corpus.drawing import Choice
from pytest_llmcompiler.corpus.hints import Hints
from pytest_llmcompiler.corpus.special_values import near_floats
from pytest_llmcompiler.values.c_types import Int

_ROUND_NUMBERS = (0, 3, 7, 10, 31, 63, 100, 127, 255, 1000, 0xFFFF, 0x7FFF)
"""Numbers that C code often treats specially, beside the powers of two up to 256."""
_CHARACTERS = b"aZ0 9\n\t-+,.:;/=\"'\\(){}[]<>#%&_\x7f\x80\xff\0"
"""Characters that parsers treat differently from each other."""


class ScalarStrategies:
    """Strategies with the constants of a program. They are built once: that takes hypothesis longer than drawing."""

    def __init__(self, hints: Hints) -> None:
        self._numbers = hints.numbers
        self._integers: dict[Int, Choice] = {}
        self.floats = {size: _float_strategy(size, hints.floats) for size in (4, 8)}
        """By size in bytes. An integer that is drawn counts quarters."""
        self.text_pieces = _piece_strategy(hints.strings)
        """Lists of texts of different kinds, to be joined."""
        self.parser_texts = _parser_text_strategy(hints.numbers)
        """Texts of the characters that the program looks for: these get through parsers."""

    def integers(self, type: Int) -> Choice:
        """The values of an integer type: small numbers, extremes, constants of the program, round numbers, any."""
        if type not in self._integers:
            self._integers[type] = (
                _enumeration_strategy(type) if type.enumerators else _integer_strategy(type, self._numbers)
            )
        return self._integers[type]


def _integer_strategy(type: Int, numbers: Sequence[int]) -> Choice:
    low, high = type.bounds
    extremes = {low, low + 1, -1, 0, 1, high // 2, high - 1, high}
    constants = {number + step for number in numbers for step in (-1, 0, 1)}
    round_numbers = {*_ROUND_NUMBERS, *(1 << bit for bit in range(9))}
    groups = [
        sorted((value for value in group if low <= value <= high), key=abs)
        for group in (extremes, constants, round_numbers)
    ]
    small, special = range(max(low, -10), min(high, 10) + 1), [tuple(group) for group in groups if group]
    return [small, *special, range(low, high + 1)]


def _enumeration_strategy(type: Int) -> Choice:
    """The named values of an enumeration, and some values beside them that have no name."""
    low, high = type.bounds
    named = [value for _, value in type.enumerators]
    neighbours = {min(named) - 1, max(named) + 1, max(named) + 100, 0}
    unnamed = sorted(value for value in neighbours if low <= value <= high and value not in named)
    return (*named, *(unnamed or named))


def _float_strategy(size: Literal[4, 8], constants: Sequence[float]) -> Choice:
    """Quarters near zero (as integers), any number, and the program's constants with their neighbours."""
    groups: list[Choice] = [
        range(-64, 65),
        st.floats(width=32) if size == 4 else st.floats(width=64),
    ]
    if constants:
        groups.append(tuple(near for number in constants for near in near_floats(number, size)))
    return groups


def _piece_strategy(strings: Sequence[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Up to 8 pieces: bytes, special characters, digits, letters, runs of a character, strings of the program."""
    pieces: list[st.SearchStrategy[bytes]] = [
        st.binary(max_size=12),
        st.sampled_from([bytes([byte]) for byte in _CHARACTERS]),
        st.text("0123456789abcdef", max_size=16).map(str.encode),
        st.text("abcXYZ _\n", max_size=10).map(str.encode),
        st.sampled_from([bytes([byte]) * count for byte in b"a0 \n" for count in (2, 15, 33, 70)]),
    ]
    if strings:
        pieces.append(st.sampled_from(strings))
    return st.lists(st.one_of(pieces), max_size=8)


def _parser_text_strategy(numbers: Sequence[int]) -> st.SearchStrategy[str]:
    characters = "".join(chr(number) for number in numbers if 0 < number < 256)
    return st.text(characters + "a0", max_size=24) if characters else st.text("aZ0 ,.", max_size=24)


def close_brackets(text: str) -> str:
    """A text with its open brackets and quotes closed. A closing bracket that closes nothing is left out."""
    closed, still_open = "", ""
    for letter in text:
        if letter in "([{<":
            still_open += ")]}>"["([{<".index(letter)]
        elif letter in "\"'":
            still_open = still_open[:-1] if still_open.endswith(letter) else still_open + letter
        elif letter in ")]}>":
            if not still_open.endswith(letter):
                continue
            still_open = still_open[:-1]
        closed += letter
    return closed + still_open[::-1]
