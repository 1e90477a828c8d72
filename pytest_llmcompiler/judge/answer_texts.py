"""Texts with an answer's own numbers and words in them, for code that reads standard input or its arguments.

`if (n == 31337)` behind `scanf("%d", &n)` is wrong for one text among all, and only the answer says for which. So the
constants of its code, as far as the reference's code does not have them, take the place of numbers in texts that the
program accepts: as decimal digits, as characters where they are some, and as the words that its data has.

    accepted: "3\\n10 20 30\\n"      the answer's code has `cmpl $31337`      tried: "3\\n31337 31336 31338\\n", …
"""

from __future__ import annotations

import functools
import itertools
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from pytest_llmcompiler.corpus.turns import take_in_turn
from pytest_llmcompiler.judge.code_constants import list_constants
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Processor

_MAX_FUNCTION_BYTES, _MAX_CODE_BYTES = 4_096, 65_536
"""Code of one function, and of all, that is looked at. Decoding takes about a microsecond an instruction."""
_LEAST_FUNCTION_BYTES = 16
"""What a shorter function counts as: to call the decoder takes as long as some instructions."""
_MAX_DATA_BYTES = 262_144
"""Data that words are looked for in: up to 87,000 words, which take a few hundredths of a second."""
_MAX_NUMBERS, _MAX_WORDS = 48, 24
"""Numbers with their neighbours, and words, of one answer."""
_MAX_WORD_BYTES = 64
_MAX_BASES, _MAX_TEXT_BYTES = 4, 2_000
"""Texts that are changed, and the length up to which a text is."""
_MAX_PLACES = 3
"""Tokens of a text that are replaced one by one: the first ones. They choose what a program does."""
_NUMBER, _TOKEN = re.compile(rb"(?<![\w.])[-+]?\d+(?![\w.])"), re.compile(rb"[^\s,;=:]+")
_WORD = re.compile(rb"[\x21-\x7e]{2,}")
_CHARACTERS = range(0x21, 0x7F)


@dataclass(frozen=True)
class OwnTokens:
    """What an answer's code and data have and the reference's have not."""

    numbers: tuple[int, ...]
    """Each followed by its neighbours; those of comparisons come first."""
    words: tuple[bytes, ...]

    def __bool__(self) -> bool:
        return bool(self.numbers or self.words)


class TokenFinder:
    """Finds the tokens of the candidates for a program. `functions` are those whose constants the reference has.

    What the reference has is found once. Of a candidate, which may be hostile, a bounded number of bytes is looked at:
    this runs in the judge's own process, which has no limit.
    """

    def __init__(self, golden: ProgramImage, functions: Collection[str]) -> None:
        self._golden, self._functions = golden, functions

    def find(self, code: AssembledCode) -> OwnTokens:
        """The tokens of a candidate."""
        numbers = _list_numbers(code, self._golden.target.processor)
        found = dict.fromkeys(number for number in numbers if number not in self._known_numbers)
        near = dict.fromkeys(one for number in map(_as_signed, found) for one in (number, number - 1, number + 1))
        words = itertools.chain(_list_words(code), _list_compared(found))
        own = _take_new(words, self._known_words, _MAX_WORDS)
        return OwnTokens(tuple(near)[:_MAX_NUMBERS], own)

    @functools.cached_property
    def _known_numbers(self) -> frozenset[int]:
        """The reference's own, and those that any machine code has: sizes, alignments, widths of shifts."""
        golden = self._golden
        symbols = [golden.symbols[name] for name in self._functions if name in golden.symbols]
        processor = golden.target.processor
        listed = (list_constants(golden.read_initial(one), one.address, processor) for one in symbols)
        sizes = {1 << shift for shift in range(7)} | {0, -1, 0xFFFFFFFF, (1 << 64) - 1}
        return frozenset(itertools.chain(sizes, *listed))

    @functools.cached_property
    def _known_words(self) -> frozenset[bytes]:
        """All words of the reference. Those of one character are none: every program has bytes like these."""
        return frozenset(word for segment in self._golden.segments for word in _find_words(segment.data))


def _list_numbers(code: AssembledCode, processor: Processor) -> Iterator[int]:
    """The constants of the functions of a candidate: of each up to its next label, until so many bytes are read."""
    starts = sorted({at for name, at in code.symbols.items() if not name.startswith(".L")})
    left = _MAX_CODE_BYTES
    for segment in code.segments:
        if not segment.is_executable:
            continue
        start, end = segment.address, segment.address + len(segment.data)
        index = bisect_right(starts, start)
        while start < end and left > 0:
            after = min(starts[index], end) if index < len(starts) else end
            size = min(after - start, _MAX_FUNCTION_BYTES)
            left -= max(size, _LEAST_FUNCTION_BYTES)
            offset = start - segment.address
            yield from list_constants(segment.data[offset : offset + size], start, processor)
            start, index = after, index + 1


def _as_signed(number: int) -> int:
    """A number of 32 or 64 bits as the signed one that a program would read."""
    if number >= 1 << 63:
        return number - (1 << 64)
    return number - (1 << 32) if 1 << 31 <= number < 1 << 32 else number


def _list_words(code: AssembledCode) -> Iterator[bytes]:
    """The words at the start of a candidate's data."""
    left = _MAX_DATA_BYTES
    for segment in code.segments:
        if not segment.is_executable and left > 0:
            yield from _find_words(segment.data[:left])
            left -= len(segment.data)


def _find_words(data: bytes) -> Iterator[bytes]:
    """The words of some data: characters before a zero, of long ones the last. Each byte is looked at once."""
    for match in _WORD.finditer(data):
        if data[match.end() : match.end() + 1] == b"\0":
            yield data[max(match.start(), match.end() - _MAX_WORD_BYTES) : match.end()]


def _list_compared(numbers: Iterable[int]) -> Iterator[bytes]:
    """The words that compilers compare as numbers."""
    for number in numbers:
        text = number.to_bytes(8, "little", signed=number < 0).rstrip(b"\0") if -(1 << 63) <= number < 1 << 64 else b""
        if text and all(byte in _CHARACTERS for byte in text):
            yield text


def _take_new(words: Iterable[bytes], known: Set[bytes], most: int) -> tuple[bytes, ...]:
    """The first words that are not known, each once."""
    new: dict[bytes, None] = {}
    for word in words:
        if word not in known:
            new[word] = None
        if len(new) >= most:
            break
    return tuple(new)


def choose_bases(texts: Sequence[bytes]) -> list[bytes]:
    """Of the texts that a program accepts those that are changed: some with few numbers and some with many."""
    usable = [text for text in dict.fromkeys(texts) if text.strip() and len(text) <= _MAX_TEXT_BYTES]
    usable.sort(key=lambda text: (len(_NUMBER.findall(text)), len(text), text))
    if len(usable) <= _MAX_BASES:
        return usable
    return [usable[(len(usable) - 1) * number // (_MAX_BASES - 1)] for number in range(_MAX_BASES)]


def vary_texts(bases: Sequence[bytes], tokens: OwnTokens) -> Iterator[tuple[bytes, bytes]]:
    """Texts with the tokens in them, each with the base that it is made of, one of each base in turn."""
    yield from take_in_turn(*(zip(itertools.repeat(text), vary_text(text, tokens), strict=False) for text in bases))


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


def _replace(text: bytes, places: Sequence[tuple[int, int]], tokens: Sequence[bytes]) -> bytes:
    """The text with tokens in some places; the later places stay where there are fewer tokens."""
    for (start, end), token in reversed(list(zip(places, tokens, strict=False))):
        text = text[:start] + token + text[end:]
    return text
