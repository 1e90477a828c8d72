"""Texts with an answer's own numbers and words in them, for code that reads standard input or its arguments.

`if (n == 31337)` behind `scanf("%d", &n)` is wrong for one text among all, and only the answer says for which. So the
constants of its code, as far as the reference's code does not have them, take the place of numbers in texts that the
program accepts: as decimal digits, as characters where they are some, and as the words that its data has.

    accepted: "3\\n10 20 30\\n"      the answer's code has `cmpl $31337`      tried: "3\\n31337 31336 31338\\n", …
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_llmcompiler.judge.code_constants import list_constants
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Processor

_MAX_FUNCTION_BYTES, _MAX_CODE_BYTES = 4_096, 65_536
"""Code of one function, and of all, that is looked at. Decoding takes about a microsecond an instruction."""
_MAX_NUMBERS, _MAX_WORDS = 48, 24
"""Numbers with their neighbours, and words, of one answer."""
_MAX_WORD_BYTES = 64
_MAX_BASES, _MAX_TEXT_BYTES = 4, 2_000
"""Texts that are changed, and the length up to which a text is."""
_MAX_PLACES = 3
"""Tokens of a text that are replaced one by one: the first ones. They choose what a program does."""
_NUMBER, _TOKEN = re.compile(rb"(?<![\w.])[-+]?\d+(?![\w.])"), re.compile(rb"[^\s,;=:]+")
_STRING = re.compile(rb"[\x21-\x7e]{2,64}(?=\0)")
_CHARACTERS = range(0x21, 0x7F)


Variation = TypeVar("Variation")


@dataclass(frozen=True)
class OwnTokens:
    """What an answer's code and data have and the reference's have not."""

    numbers: tuple[int, ...]
    """Each followed by its neighbours; those of comparisons come first."""
    words: tuple[bytes, ...]

    def __bool__(self) -> bool:
        return bool(self.numbers or self.words)


def find_own_tokens(code: AssembledCode, golden: ProgramImage, functions: Collection[str]) -> OwnTokens:
    """The tokens of a candidate. `functions` are those of the program whose constants are known."""
    processor = golden.target.processor
    known = {
        number
        for name in functions
        if name in golden.symbols
        for number in list_constants(golden.read_initial(golden.symbols[name]), golden.symbols[name].address, processor)
    }
    # Numbers of the machine's own: sizes, alignments, widths of shifts.
    known |= {1 << shift for shift in range(7)} | {0, -1, 0xFFFFFFFF, (1 << 64) - 1}
    found = dict.fromkeys(number for number in _list_numbers(code, processor) if number not in known)
    near = dict.fromkeys(one for number in map(_as_signed, found) for one in (number, number - 1, number + 1))
    return OwnTokens(tuple(near)[:_MAX_NUMBERS], tuple(_list_words(code, golden, list(found)))[:_MAX_WORDS])


def _list_numbers(code: AssembledCode, processor: Processor) -> Iterator[int]:
    """The constants of all functions of a candidate."""
    starts = sorted({at for name, at in code.symbols.items() if not name.startswith(".L")})
    left = _MAX_CODE_BYTES
    for segment in code.segments:
        if not segment.is_executable:
            continue
        end = segment.address + len(segment.data)
        for start in dict.fromkeys([segment.address, *starts]):
            if segment.address <= start < end and left > 0:
                index = bisect_right(starts, start)
                size = min((starts[index] if index < len(starts) else end) - start, end - start, _MAX_FUNCTION_BYTES)
                left -= size
                yield from list_constants(segment.data[start - segment.address :][:size], start, processor)


def _as_signed(number: int) -> int:
    """A number of 32 or 64 bits as the signed one that a program would read."""
    if number >= 1 << 63:
        return number - (1 << 64)
    return number - (1 << 32) if 1 << 31 <= number < 1 << 32 else number


def _list_words(code: AssembledCode, golden: ProgramImage, numbers: Sequence[int]) -> Iterator[bytes]:
    """The words in a candidate's data, and those that compilers compare as numbers."""
    data = b"\0".join(segment.data for segment in golden.segments)
    words = [word for segment in code.segments for word in _STRING.findall(segment.data) if not segment.is_executable]
    for number in numbers:
        text = number.to_bytes(8, "little", signed=number < 0).rstrip(b"\0") if -(1 << 63) <= number < 1 << 64 else b""
        if text and all(byte in _CHARACTERS for byte in text):
            words.append(text)
    for word in dict.fromkeys(words):
        if len(word) == 1 or word + b"\0" not in data:
            yield word[:_MAX_WORD_BYTES]


def choose_bases(texts: Sequence[bytes]) -> list[bytes]:
    """Of the texts that a program accepts those that are changed: some with few numbers and some with many."""
    usable = [text for text in dict.fromkeys(texts) if text.strip() and len(text) <= _MAX_TEXT_BYTES]
    usable.sort(key=lambda text: (len(_NUMBER.findall(text)), len(text), text))
    if len(usable) <= _MAX_BASES:
        return usable
    return [usable[(len(usable) - 1) * number // (_MAX_BASES - 1)] for number in range(_MAX_BASES)]


def vary_texts(bases: Sequence[bytes], tokens: OwnTokens) -> Iterator[tuple[bytes, bytes]]:
    """Texts with the tokens in them, each with the base that it is made of, one of each base in turn."""
    yield from interleave(*(zip(itertools.repeat(text), vary_text(text, tokens), strict=False) for text in bases))


def vary_text(text: bytes, tokens: OwnTokens) -> Iterator[bytes]:
    """A text with the tokens in it: many at once in all places but the first, which may count the others; alone, with
    a count before them; then each in one of the first places."""
    numbers = [b"%d" % number for number in tokens.numbers]
    places = [match.span() for match in _NUMBER.finditer(text)] or [match.span() for match in _TOKEN.finditer(text)]
    words = [match.span() for match in _TOKEN.finditer(text)]
    if len(places) > 1:
        for start in range(0, len(numbers), len(places) - 1):
            yield _replace(text, places[1:], numbers[start : start + len(places) - 1])
    if len(words) > 1 and tokens.words:
        yield _replace(text, words[1:], tokens.words * len(words))
    for all in (numbers, list(tokens.words)) if places else ():
        if all:
            yield b"%d\n%s\n" % (len(all), b" ".join(all))
    for number in range(_MAX_PLACES):
        chosen = [(places, one) for one in numbers] + [(words, one) for one in tokens.words]
        for spans, one in chosen:
            if number < len(spans):
                yield _replace(text, [spans[number]], [one])


def interleave(*series: Iterator[Variation]) -> Iterator[Variation]:
    """One of each series in turn, until all end."""
    left = list(series)
    while left:
        for one in list(left):
            try:
                yield next(one)
            except StopIteration:
                left.remove(one)


def _replace(text: bytes, places: Sequence[tuple[int, int]], tokens: Sequence[bytes]) -> bytes:
    """The text with tokens in some places; the later places stay where there are fewer tokens."""
    for (start, end), token in reversed(list(zip(places, tokens, strict=False))):
        text = text[:start] + token + text[end:]
    return text
