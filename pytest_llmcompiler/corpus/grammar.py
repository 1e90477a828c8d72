"""Texts from a grammar that seeds teach: phrases of texts that got far, spliced, and compared numbers as digits.

A mutation of single bytes seldom leaves a text valid once it is deep in a parser. So a text is taken for a sequence of
*phrases*: words, numbers, blanks, signs, and all between two brackets or quotes. A derivation replaces a phrase of a
seed's text by one of any seed, or continues the text with a sign and a phrase. Seeds are texts that reached something
new, so that what a parser refuses is seldom among them.

Example: `[1]` and `{"a":2}` are seeds. `[{"a":2}]`, `[1,1]` and `{"a":[1]}` are one derivation away, each twenty lucky
bytes for a mutation.

Digits are a phrase of their own kind. A parser computes a number from them and compares it later, so that no byte of
the text equals a compared value. They are replaced by a compared value, or by a neighbour, as decimal or hexadecimal
digits: where a run compares 0x41 with 0xD800, `\\u0041` becomes `\\uD800`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from pytest_llmcompiler.corpus.mutator import MAX_EDITED_BYTES, is_text, set_content
from pytest_llmcompiler.corpus.seed_pool import Seed
from pytest_llmcompiler.emulator.coverage import Comparisons
from pytest_llmcompiler.values.input import Input

_MAX_PHRASES, _MAX_PHRASE_BYTES = 1_000, 80
"""Phrases that are kept, and their longest length. One derivation uses one phrase: longer ones grow in several."""
_MAX_TEXT_BYTES = 512
"""Bytes at the start of a text that are looked at."""
_MAX_UNITS = 3
"""Neighbouring phrases that one derivation replaces together at most."""
_MAX_VALUE_BITS = 64
"""Bits of the widest number that is written as digits."""
_TOKEN = re.compile(rb"\w+|\s+|[^\w\s]", re.DOTALL)
_DIGITS = re.compile(rb"[0-9A-Fa-f]{2,}|[0-9]")
_CLOSING = {b"(": b")", b"[": b"]", b"{": b"}", b"<": b">", b'"': b'"', b"'": b"'"}
_Span = tuple[int, int]


class TextGrammar:
    """Derives texts. The same seed and the same calls give the same inputs.

    `constants` are the numbers that the program compares with.
    """

    def __init__(self, random_seed: int, constants: Sequence[int] = ()) -> None:
        self._random = random.Random(random_seed)
        self._constants = [number for number in constants if 0 < number < 1 << _MAX_VALUE_BITS]
        self._phrases: list[bytes] = []
        self._signs: list[bytes] = []
        """The single characters among the phrases that are neither words nor blanks: they join phrases."""
        self._known: set[bytes] = set()

    def learn(self, seed: Seed) -> None:
        """Keep the phrases of a seed's texts."""
        for _, text in _find_texts(seed):
            for start, end in find_phrases(text):
                phrase = text[start:end]
                if phrase not in self._known and len(phrase) <= _MAX_PHRASE_BYTES and len(self._known) < _MAX_PHRASES:
                    self._known.add(phrase)
                    self._phrases.append(phrase)
                    if len(phrase) == 1 and not phrase.isalnum():
                        self._signs.append(phrase)

    def derive(self, seed: Seed) -> Input | None:
        """A seed's input with another text; None where the seed has no text."""
        texts = _find_texts(seed)
        if not texts or not self._phrases:
            return None
        number, text = self._random.choice(texts)
        derived = self._replace_digits(text, seed.comparisons) if self._random.random() < 0.35 else None
        derived = derived or self._splice(text)
        data = seed.objects[number].data
        rest = data[len(text) :]
        most = max(MAX_EDITED_BYTES, len(data))
        return set_content(seed, number, derived[: most - len(rest)] + rest)

    def _splice(self, text: bytes) -> bytes:
        phrases = find_phrases(text)
        first = self._random.randrange(len(phrases))
        start, end = phrases[first]
        replacement = self._choose_phrase()
        choice = self._random.random()
        if choice < 0.2 and self._signs:  # the list goes on
            return text[:end] + self._random.choice(self._signs) + replacement + text[end:]
        if choice < 0.3:  # what stands here is repeated, with what separates it from the phrase before
            before = phrases[first - 1][0] if first else start
            return text[:end] + text[before:end] + text[end:]
        closing = _close_brackets(text[:end])
        if choice < 0.5 and closing:  # the text ends here, well-formed
            return text[:end] + closing
        for _ in range(self._random.randrange(_MAX_UNITS)):
            end = max((stop for at, stop in phrases if at == end), default=end)
        return text[:start] + replacement + text[end:]

    def _choose_phrase(self) -> bytes:
        """A phrase. Late ones, which are of seeds that got further, are more likely."""
        return self._phrases[max(self._random.randrange(len(self._phrases)) for _ in range(2))]

    def _replace_digits(self, text: bytes, comparisons: Comparisons) -> bytes | None:
        """The text with some digits replaced by a compared number; None where it has no digits, or none is compared.

        Numbers that no single byte equals come first: comparisons of bytes are most of those that a parser makes.
        """
        runs = [match.span() for match in _DIGITS.finditer(text)]
        values = [side for one in comparisons.comparisons for side in one[:2] if side < 1 << _MAX_VALUE_BITS]
        if not runs or not values:
            return None
        start, end = self._random.choice(runs)
        wide = [value for value in values if value > 255]
        if wide and self._random.random() < 0.6:
            values = wide
        source = self._constants if self._constants and self._random.random() < 0.3 else values
        value = max(0, self._random.choice(source) + self._random.choice((0, 0, 0, -1, 1)))
        width = end - start if self._random.random() < 0.7 else 0
        digits = f"{value:0{width}d}" if self._random.random() < 0.6 else f"{value:0{width}{self._random.choice('xX')}}"
        return text[:start] + digits.encode() + text[end:]


def find_phrases(text: bytes) -> list[_Span]:
    """The phrases of a text, as start and end. A bracket is two phrases: itself, and all up to the one that closes it.

    Example: `f(1)` has `f`, `(1)`, `(`, `1`, `)`.
    """
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    phrases: list[_Span] = []
    for at, (start, end) in enumerate(tokens):
        closing = _CLOSING.get(text[start:end])
        if closing:
            stop = _find_closing(text, tokens[at + 1 :], text[start:end], closing)
            phrases += [(start, stop)] if stop else []
        phrases.append((start, end))
    return phrases


def nest(text: bytes, depth: int) -> bytes:
    """A text whose first brackets are nested so deep. Example: `f(1)` with a depth of 3 is `f(((1)))`."""
    pairs = ((start, end) for start, end in find_phrases(text) if end - start > 1 and text[start] in b"([{<")
    start, end = next(pairs, (0, 0))
    if not end:
        return text
    opening, closing = text[start : start + 1], text[end - 1 : end]
    return text[:start] + opening * depth + text[start + 1 : end - 1] + closing * depth + text[end:]


def _find_closing(text: bytes, tokens: Sequence[_Span], opening: bytes, closing: bytes) -> int | None:
    """The end of the sign that closes a bracket or quote, in the tokens behind it."""
    depth = 1
    for start, end in tokens:
        token = text[start:end]
        if token == closing:
            depth -= 1
            if not depth:
                return end
        elif token == opening:
            depth += 1
    return None


def _close_brackets(text: bytes) -> bytes:
    """The brackets that close all those which are open at the end of a text."""
    closing: list[bytes] = []
    for start, end in (match.span() for match in _TOKEN.finditer(text)):
        token = text[start:end]
        if closing and token == closing[-1]:
            closing.pop()
        elif token in _CLOSING:
            closing.append(_CLOSING[token])
    return b"".join(reversed(closing))


def _find_texts(seed: Seed) -> list[tuple[int, bytes]]:
    """The texts of a seed: objects of characters most of which are printed, by number, each up to its end."""
    texts = []
    for number, target in enumerate(seed.objects):
        if is_text(target):
            text = target.data.partition(b"\0")[0][:_MAX_TEXT_BYTES]
            if text and 2 * sum(32 <= byte < 127 or byte in b"\t\n\r" for byte in text) > len(text):
                texts.append((number, text))
    return texts
