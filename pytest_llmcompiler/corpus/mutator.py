"""Mutations: small changes of inputs, towards the values of comparisons and at random."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pytest_llmcompiler.corpus.input_numbers import set_number
from pytest_llmcompiler.corpus.seed_pool import Seed
from pytest_llmcompiler.emulator.coverage import Comparisons
from pytest_llmcompiler.values.c_types import Int
from pytest_llmcompiler.values.input import Input, Object, graft_argument, list_objects, replace_object

MAX_EDITED_BYTES = 512
"""Bytes up to which an edit may lengthen an object. An object that is longer already keeps its length at most."""
_FACTORS = (1, -1, *range(2, 13), 16, 24, 31, 32, 60, 64, 100, 256, 1000)
"""Common factors in C code: small numbers, powers of two, units of time. Where code compares `x * FACTOR + ...`, `x`
has to change by the distance divided by the factor."""
_MASKED_SHARE = 0.1
"""How often a side of a comparison that no number equals is taken for some bits of a number."""
_WIDTH_STEPS = (1 << 8, 1 << 16, 1 << 32)
"""Numbers that differ by one of these are equal to code that wrongly compares in 8, 16 or 32 bits."""
_NUMBER_STEPS = (-2, -1, 1, 2, 1 << 7, 1 << 15, 1 << 31, *_WIDTH_STEPS)
"""Random changes of a number: to a neighbour, across a sign bit, or by a width."""
_CHARACTERS = tuple(bytes([byte]) for byte in b"aZ09 \n\t-+,.:;/=\"'\\(){}[]<>#%&_\x7f\x80\xff\0")
"""Characters that parsers treat differently from each other."""


class Mutator:
    """Mutates inputs. The same seed and the same calls give the same inputs.

    `words` are texts that occur in the program.
    """

    def __init__(self, random_seed: int, words: Iterable[bytes]) -> None:
        self._random = random.Random(random_seed)
        self._words = list(dict.fromkeys((*_CHARACTERS, *words)))
        self._learned_words: list[bytes] = []
        self._known_words: set[bytes] = set()
        """The learned words, to find one quickly."""

    def learn(self, comparisons: Comparisons) -> None:
        """Keep the compared characters and texts, to insert them into texts."""
        sides = (side for comparison in comparisons.comparisons for side in comparison[:2])
        words = [bytes([side]) for side in sides if 0 < side < 256]
        words += [text for pair in comparisons.texts for text in pair if text]
        for word in words:
            if word not in self._known_words:
                self._known_words.add(word)
                self._learned_words.append(word)

    def mutate(self, seed: Seed, donor: Input) -> Input:
        """A mutation of a seed. Some mutations copy a part of `donor`."""
        choice = self._random.random()
        # Calls of a variadic function differ in their number of arguments.
        common_args = min(len(seed.input.args), len(donor.args))
        if choice > 0.96 and common_args > 1:
            return graft_argument(seed.input, donor, self._random.randrange(common_args))
        if seed.comparisons.comparisons and choice < 0.45:
            return self._satisfy_comparison(seed)
        if seed.comparisons.texts and choice < 0.65:
            return self._replace_text(seed)
        if seed.numbers and choice > 0.92:
            number = self._random.choice(seed.numbers)
            return set_number(seed.input, number, number.value + self._random.choice(_NUMBER_STEPS))
        return self._edit_buffer(seed, donor)

    def _satisfy_comparison(self, seed: Seed) -> Input:
        """Make one side of a comparison equal to the other side, or adjacent to it."""
        comparison = self._random.choice(seed.comparisons.comparisons)
        side, other_side = self._random.sample(comparison[:2], 2)
        matching = seed.numbers.find_equal(side, comparison.size)
        if matching and self._random.random() < 0.8:
            number = seed.numbers[self._random.choice(matching)]
            sign_bit = 1 << 8 * number.type.size - 1
            step = self._random.choice((0, 0, 0, 1, -1, sign_bit, *_WIDTH_STEPS))
            return set_number(seed.input, number, other_side + step)
        if not seed.numbers:
            return seed.input
        masked = () if matching else [number for number in seed.numbers if number.value & side == side]
        if masked and self._random.random() < _MASKED_SHARE:
            # It may be some bits of a number: where `p[1] & 0xC0` is 0x40 and is to be 0x80, 0x61 becomes 0xA1.
            number = self._random.choice(masked)
            return set_number(seed.input, number, number.value ^ side ^ other_side)
        # No number of the input is the side itself: it may be computed from one, such as `number * factor + rest`.
        half = 1 << 8 * comparison.size - 1
        distance = (other_side - side + half) % (2 * half) - half
        factors = [factor for factor in _FACTORS if distance % factor == 0]
        number = self._random.choice(seed.direct_numbers)
        factor = self._random.choice((1, self._random.choice(factors)))
        return set_number(seed.input, number, number.value + distance // factor)

    def _replace_text(self, seed: Seed) -> Input:
        """Replace a text that was compared by the text that it was compared with, or by one next to that."""
        present, replacement = self._random.sample(self._random.choice(seed.comparisons.texts), 2)
        if replacement and self._random.random() < 0.4:
            index = self._random.choice((0, len(replacement) - 1))
            step = self._random.choice((-1, 1))
            replacement = replacement[:index] + bytes([(replacement[index] + step) % 256]) + replacement[index + 1 :]
        occurrences = [
            (number, at)
            for number, target in enumerate(seed.objects)
            if is_text(target)
            for at in _find_occurrences(present, target.data)
        ]
        if not occurrences:
            return seed.input
        number, at = self._random.choice(occurrences)
        data = seed.objects[number].data
        end = at + (len(present) if self._random.random() < 0.6 else len(replacement))
        return set_content(seed, number, data[:at] + replacement + data[end:])

    def _edit_buffer(self, seed: Seed, donor: Input) -> Input:
        """Edit a random part of a buffer of integers: see `_edit`."""
        if not seed.plain_buffers:
            return seed.input
        number = self._random.choice(seed.plain_buffers)
        target = seed.objects[number]
        size = target.element.size
        is_terminated = is_text(target) and target.data.endswith(b"\0")
        body, terminator = (target.data[:-1], b"\0") if is_terminated else (target.data, b"")
        first, last = sorted(self._random.randint(0, len(body) // size) * size for _ in range(2))
        word = self._choose_word(size)
        operation = self._random.randrange(6)
        if operation == 5:
            similar = [other for other in list_objects(donor) if other.element == target.element] or [target]
            word = self._random.choice(similar).data[first:].rstrip(terminator)
        body = _edit(body, operation, first, last, word)
        most = max(MAX_EDITED_BYTES, len(target.data)) // size * size
        return set_content(seed, number, body[: most - len(terminator)] + terminator)

    def _choose_word(self, size: int) -> bytes:
        """An element of `size` bytes, or a word where elements are characters."""
        if size > 1:
            extremes = (0, 1, 2, 7, (1 << 8 * size) - 1, 1 << 8 * size - 1)
            return self._random.choice(extremes).to_bytes(size, "little")
        learned = self._learned_words
        return self._random.choice(learned if learned and self._random.random() < 0.6 else self._words)


def _edit(body: bytes, operation: int, first: int, last: int, word: bytes) -> bytes:
    """One of six edits: insert a word, overwrite with it, repeat a part, remove a part, append a word, or continue with
    `word` from `first` on."""
    match operation:
        case 0:
            return body[:first] + word + body[first:]
        case 1:
            return body[:first] + word + body[first + len(word) :]
        case 2:
            return body[:last] + body[first:last] + body[last:]
        case 3:
            return body[:first] + body[last:]
        case 4:
            return body + word
        case _:
            return body[:first] + word


def is_text(target: Object) -> bool:
    return isinstance(target.element, Int) and target.element.size == 1 and not target.links


def _find_occurrences(part: bytes, text: bytes) -> Iterator[int]:
    """Where a text has a part, one behind the other. An empty part is everywhere."""
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + max(len(part), 1))


def set_content(seed: Seed, number: int, data: bytes) -> Input:
    """The seed's input with other bytes in an object. Numbers that equal the old count of elements get the new one."""
    target = seed.objects[number]
    size = target.element.size
    count = len(data) // size
    changed = Object(target.element, count, data[: count * size], target.links)
    input = replace_object(seed.input, number, lambda _: changed)
    if count != target.count and target.count > 1:
        for counter in seed.counters:
            if counter.value == target.count:
                input = set_number(input, counter, count)
    return input


def lengthen(seed: Seed, count: int) -> Input | None:
    """The seed's input with texts of `count` bytes.

    If a number counts the bytes of a text, all texts of that size are lengthened, and so is the number. Otherwise the
    first terminated text is lengthened. None where the input has neither.
    """
    counters = seed.counters
    counts = {counter.value for counter in counters if count >> 8 * counter.type.size == 0}
    texts = {number: target for number, target in enumerate(seed.objects) if is_text(target) and target.count > 1}
    counted = [target.count for target in texts.values() if target.count in counts]
    terminated = [number for number, target in texts.items() if target.data.find(b"\0") > 0]
    if counted:
        contents = {number: target.data for number, target in texts.items() if target.count == counted[0]}
    else:
        contents = {number: texts[number].data.partition(b"\0")[0] for number in terminated[:1]}
    input = replace(seed.input, is_4gib_aligned=False)
    for number, content in contents.items():
        long = (content * (count // len(content) + 1))[:count] + (b"" if counted else b"\0")
        input = replace_object(input, number, lambda old, long=long: replace(old, count=len(long), data=long))  # type: ignore[misc]
    for counter in counters:
        if counted and counter.value == counted[0]:
            input = set_number(input, counter, count)
    return input if contents else None
