"""Small changes of inputs: towards what comparisons wait for, and at random."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from pytest_llmcompiler.emulator.coverage import Comparisons, Features
from pytest_llmcompiler.values.c_types import Array, Int, Struct, Type
from pytest_llmcompiler.values.input import Input, Object, graft_argument, list_objects, replace_object

_MOST_LEAVES = 256
"""Numbers of an input that are looked at."""
_LONGEST = 512
"""Bytes that an object may grow to, if it is not longer already."""
_MANY = 255
"""Numbers up to this are small enough to be told, and often count something that would have to go with them."""
_FACTORS = (1, -1, *range(2, 13), 16, 24, 31, 32, 60, 64, 100, 256, 1000)
"""What numbers are multiplied with, before they are compared, more often than with anything else."""
_HIGHER = (1 << 8, 1 << 16, 1 << 32)
"""Numbers that differ by these are equal to code that compares them in fewer bits."""
_LETTERS = tuple(bytes([byte]) for byte in b"aZ09 \n\t-+,.:;/=\"'\\(){}[]<>#%&_\x7f\x80\xff\0")


class _Leaf(NamedTuple):
    """A number in an input."""

    kind: Literal["arg", "global", "object"]
    number: int
    offset: int
    type: Int
    value: int
    """As the unsigned number that its bytes hold."""


@dataclass(frozen=True)
class Seed:
    """An input that showed something new, where it went, what it was compared with, and the numbers in it."""

    made: Input
    features: Features
    compared: Comparisons
    leaves: tuple[_Leaf, ...]


def make_seed(made: Input, features: Features, compared: Comparisons) -> Seed:
    """An input as something to start from."""
    leaves = tuple(leaf for leaf, _ in zip(_leaves(made), range(_MOST_LEAVES)))
    return Seed(made, features, compared, leaves)


class Mutator:
    """Makes changes, the same for the same seed and calls. `words` are texts that the program knows."""

    def __init__(self, seed: int, words: Iterable[bytes]) -> None:
        self._random = random.Random(seed)
        self._words = list(dict.fromkeys((*_LETTERS, *words)))
        self._learned: dict[bytes, None] = {}

    def learn(self, compared: Comparisons) -> None:
        """Keep what was compared with, to put it into texts."""
        sides = (side for comparison in compared.comparisons for side in comparison[:2])
        self._learned |= dict.fromkeys(bytes([side]) for side in sides if 0 < side < 256)
        self._learned |= dict.fromkeys(text for pair in compared.texts for text in pair if text)

    def changed(self, start: Seed, other: Input) -> Input:
        """A change of an input; `other` is one that parts may be taken from."""
        choice = self._random.random()
        both = min(len(start.made.args), len(other.args))  # calls of a variadic function differ in number
        if choice > 0.96 and both > 1:
            return graft_argument(start.made, other, self._random.randrange(both))
        if start.compared.comparisons and choice < 0.45:
            return self._answered(start)
        if start.compared.texts and choice < 0.65:
            return self._retold(start)
        if start.leaves and choice > 0.92:
            leaf = self._random.choice(start.leaves)
            return _with(
                start.made, leaf, leaf.value + self._random.choice((-2, -1, 1, 2, 1 << 7, 1 << 15, 1 << 31, *_HIGHER))
            )
        return self._edited(start, other)

    def _answered(self, start: Seed) -> Input:
        """Let a number that was compared be equal to the other side, or next to it."""
        comparison = self._random.choice(start.compared.comparisons)
        mine, other = self._random.sample(comparison[:2], 2)
        matching = [
            leaf
            for leaf in start.leaves
            if not (leaf.value ^ mine) & (1 << 8 * min(leaf.type.size, comparison.size)) - 1
        ]
        if matching and self._random.random() < 0.8:
            leaf = self._random.choice(matching)
            turned = 1 << 8 * leaf.type.size - 1  # the same but for the sign
            return _with(start.made, leaf, other + self._random.choice((0, 0, 0, 1, -1, turned, *_HIGHER)))
        if not start.leaves:
            return start.made
        # A side may be a multiple of a number, and something else.
        half = 1 << 8 * comparison.size - 1
        distance = (other - mine + half) % (2 * half) - half
        factors = [factor for factor in _FACTORS if distance % factor == 0]
        leaf = self._random.choice([leaf for leaf in start.leaves if leaf.kind != "object"] or start.leaves)
        return _with(start.made, leaf, leaf.value + distance // self._random.choice((1, self._random.choice(factors))))

    def _retold(self, start: Seed) -> Input:
        """Put the text that another was compared with in its place, or one right beside that."""
        found, wanted = self._random.sample(self._random.choice(start.compared.texts), 2)
        if wanted and self._random.random() < 0.4:
            index = self._random.choice((0, len(wanted) - 1))
            step = self._random.choice((-1, 1))
            wanted = wanted[:index] + bytes([(wanted[index] + step) % 256]) + wanted[index + 1 :]
        places = [
            (number, match.start())
            for number, target in enumerate(list_objects(start.made))
            if _is_text(target)
            for match in re.finditer(re.escape(found), target.data)
        ]
        if not places:
            return start.made
        number, at = self._random.choice(places)
        data = list_objects(start.made)[number].data
        end = at + (len(found) if self._random.random() < 0.6 else len(wanted))
        return _resized(start, number, data[:at] + wanted + data[end:])

    def _edited(self, start: Seed, other: Input) -> Input:
        """Insert, overwrite, repeat or take out a part of a buffer, or go on as another input does."""
        found = list_objects(start.made)
        plain = [number for number, target in enumerate(found) if isinstance(target.element, Int) and not target.links]
        if not plain:
            return start.made
        number = self._random.choice(plain)
        target = found[number]
        size = target.element.size
        ends = _is_text(target) and target.data.endswith(b"\0")
        body, tail = (target.data[:-1], b"\0") if ends else (target.data, b"")
        first, last = sorted(self._random.randint(0, len(body) // size) * size for _ in range(2))
        part = self._word(size)
        match self._random.randrange(6):
            case 0:
                body = body[:first] + part + body[first:]
            case 1:
                body = body[:first] + part + body[first + len(part) :]
            case 2:
                body = body[:last] + body[first:last] + body[last:]
            case 3:
                body = body[:first] + body[last:]
            case 4:
                body += part
            case _:
                same = [o for o in list_objects(other) if o.element == target.element] or [target]
                body = body[:first] + self._random.choice(same).data[first:].rstrip(b"\0" if ends else b"")
        most = max(_LONGEST, len(target.data)) // size * size
        return _resized(start, number, body[: most - len(tail)] + tail)

    def _word(self, size: int) -> bytes:
        if size > 1:
            return self._random.choice((0, 1, 2, 7, (1 << 8 * size) - 1, 1 << 8 * size - 1)).to_bytes(size, "little")
        learned = list(self._learned)
        return self._random.choice(learned if learned and self._random.random() < 0.6 else self._words)


def _is_text(target: Object) -> bool:
    return isinstance(target.element, Int) and target.element.size == 1 and not target.links


def _resized(start: Seed, number: int, data: bytes) -> Input:
    """Another content of an object, with numbers that counted its elements counting them still."""
    found = list_objects(start.made)
    old, size = found[number], found[number].element.size
    count = len(data) // size
    made = replace_object(start.made, number, lambda target: replace(target, count=count, data=data[: count * size]))
    if count != old.count and old.count > 1:
        for leaf in _counting(start):
            if leaf.value == old.count:
                made = _with(made, leaf, count)
    return made


def _counting(start: Seed) -> list[_Leaf]:
    """The numbers that may count something."""
    found = list_objects(start.made)
    return [leaf for leaf in start.leaves if leaf.kind != "object" or isinstance(found[leaf.number].element, Struct)]


def lengthen_text(start: Seed, count: int) -> Input | None:
    """The input with so many bytes in a text, or in all buffers that a number counts, which counts them still; None
    where it has no such thing."""
    found = list_objects(start.made)
    counting = _counting(start)
    counts = {leaf.value for leaf in counting if count >> 8 * leaf.type.size == 0}
    texts = {number: target for number, target in enumerate(found) if _is_text(target) and target.count > 1}
    counted = [target.count for target in texts.values() if target.count in counts]
    ended = {number: target for number, target in texts.items() if target.data.find(b"\0") > 0}
    if counted:
        chosen = {number: target.data for number, target in texts.items() if target.count == counted[0]}
    else:
        chosen = {number: target.data.partition(b"\0")[0] for number, target in list(ended.items())[:1]}
    made = replace(start.made, is_4gib_aligned=False)
    for number, data in chosen.items():
        long = (data * (count // len(data) + 1))[:count] + (b"" if counted else b"\0")
        made = replace_object(made, number, lambda old, long=long: replace(old, count=len(long), data=long))  # type: ignore[misc]
    for leaf in counting:
        if counted and leaf.value == counted[0]:
            made = _with(made, leaf, count)
    return made if chosen else None


def generate_simpler(made: Input) -> Iterator[Input]:
    """Inputs that there is less to say of: without one of the globals, or with one large number nearer to zero, the
    nearest first."""
    for number, (_, held) in enumerate(made.globals):
        if not held.links:  # other pointers may lead to what those lead to
            yield replace(made, globals=made.globals[:number] + made.globals[number + 1 :])
    for leaf, _ in zip(_leaves(made), range(_MOST_LEAVES)):
        bits = 8 * leaf.type.size
        value = leaf.value - (1 << bits if leaf.type.signed and leaf.value >> (bits - 1) else 0)
        size, sign = abs(value), 1 if value > 0 else -1
        if size > _MANY:
            for shift in range(size.bit_length()):
                yield _with(made, leaf, sign * (size - (size >> shift)))


def _leaves(made: Input) -> Iterator[_Leaf]:
    for number, value in enumerate(made.args):
        yield from _inside("arg", number, value.type, value.data)
    for number, (_, value) in enumerate(made.globals):
        yield from _inside("global", number, value.type, value.data)
    for number, target in enumerate(list_objects(made)):
        yield from _inside("object", number, Array(target.element, target.count), target.data)


def _inside(kind: Literal["arg", "global", "object"], number: int, type: Type, data: bytes) -> Iterator[_Leaf]:
    for offset, inner in _numbers(type, 0):
        yield _Leaf(kind, number, offset, inner, int.from_bytes(data[offset : offset + inner.size], "little"))


def _numbers(type: Type, start: int) -> Iterator[tuple[int, Int]]:
    if isinstance(type, Int):
        yield start, type
    elif isinstance(type, Array):
        for index in range(type.count):
            yield from _numbers(type.element, start + index * type.element.size)
    elif isinstance(type, Struct):
        for field in type.fields[:1] if type.union else type.fields:
            if not field.bits:
                yield from _numbers(field.type, start + field.offset)


def _with(made: Input, leaf: _Leaf, value: int) -> Input:
    """The input with another value of a number."""
    data = (value % (1 << 8 * leaf.type.size)).to_bytes(leaf.type.size, "little")
    if leaf.type.boolean:
        data = bytes([value & 1])

    def patched(old: bytes) -> bytes:
        return old[: leaf.offset] + data + old[leaf.offset + len(data) :]

    if leaf.kind == "object":
        return replace_object(made, leaf.number, lambda target: replace(target, data=patched(target.data)))
    if leaf.kind == "arg":
        args = list(made.args)
        args[leaf.number] = replace(args[leaf.number], data=patched(args[leaf.number].data))
        return replace(made, args=tuple(args))
    globals = list(made.globals)
    name, old = globals[leaf.number]
    globals[leaf.number] = name, replace(old, data=patched(old.data))
    return replace(made, globals=tuple(globals))
