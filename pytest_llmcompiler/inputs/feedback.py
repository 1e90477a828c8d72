"""What runs teach about inputs: values that comparisons wait for, and which number counts which buffer's elements."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from pytest_llmcompiler.inputs.scope import Scope, Ties, ties
from pytest_llmcompiler.inputs.value import Alias, Input, Links, Object, objects, replaced
from pytest_llmcompiler.machine.run import Compared, Comparison
from pytest_llmcompiler.program.types import Array, Int, Param, Pointer, Struct, Type

_MOST_LEAVES, _MOST_MATCHES = 256, 12
"""Numbers of an input that are looked at, and those that one comparison may have looked at."""
_LONGEST = 2048
"""Bytes of an object that is made twice as long."""
_FACTORS = (*range(2, 13), 16, 24, 31, 32, 60, 64, 100, 256, 1000)
"""What numbers are multiplied with, before they are compared, more often than with anything else."""
_VOTES = 3
"""Repaired inputs that must agree on which number counts a buffer's elements."""


class _Leaf(NamedTuple):
    """A number in an input."""

    kind: Literal["arg", "global", "object"]
    number: int
    offset: int
    type: Int
    value: int
    """As the unsigned number that its bytes hold."""


def grown(made: Input, number: int, count: int) -> Input:
    """The input with `count` elements in one of its objects; what it has is repeated."""

    def new(target: Object) -> Object:
        size = count * target.element.size
        data = target.data or bytes(max(target.element.size, 1))
        return replace(target, count=count, data=(data * (size // len(data) + 1))[:size])

    return replaced(made, number, new)


def terminated(made: Input, number: int) -> Input | None:
    """The input with a zero byte behind the text in one of its objects; None where that holds no characters."""
    target = objects(made)[number]
    if target.element.size != 1 or target.links:
        return None
    return replaced(made, number, lambda old: replace(old, count=old.count + 1, data=old.data + b"\0"))


def closed(made: Input) -> Input | None:
    """The input with its lists made circular: null pointers between structs of a type lead to the first of them, or, if
    they lead back by their name, to the one before (the first one's to the last). None where there are none."""
    found = objects(made)
    rings: dict[Struct, list[int]] = defaultdict(list)
    for number, target in enumerate(found):
        if isinstance(target.element, Struct) and target.count == 1:
            rings[target.element].append(number)
    changed = made
    for type, numbers in rings.items():
        for place, number in enumerate(numbers):
            ends = {False: numbers[0], True: numbers[place - 1]}
            links = tuple(_closing(type, found[number].links, ends))
            changed = replaced(changed, number, lambda old, links=links: replace(old, links=(*old.links, *links)))  # type: ignore[misc]
    return None if changed == made else changed


def _closing(type: Struct, links: Links, ends: Mapping[bool, int]) -> Iterator[tuple[int, Alias]]:
    taken = {at for at, _ in links}
    back = ties([field.name for field in type.fields], [field.type for field in type.fields]).back
    for index, field in enumerate(type.fields):
        if isinstance(field.type, Pointer) and field.type.target is type and field.offset not in taken:
            yield field.offset, Alias(type, ends[index in back], 0)


def suggested(made: Input, compared: Compared) -> Iterator[Input]:
    """Inputs that differ from one in what a comparison looked at: equal to the other side, or next to it."""
    leaves = list(_leaves(made))
    free = [leaf for leaf in leaves if leaf.kind != "object"]
    for comparison in compared.comparisons:
        for mine, other in ((comparison.first, comparison.second), (comparison.second, comparison.first)):
            for leaf in _matching(leaves, mine, comparison):
                for value in (other, other + 1, other - 1):
                    yield _with(made, leaf, value)
        distance = _distance(comparison)
        for leaf in free:  # a side may be a sum of a number and something else
            yield from (_with(made, leaf, leaf.value + step) for step in (distance, -distance))
    for first, second in compared.texts:
        for given, goal in ((first, second), (second, first)):
            for wanted in (goal, *_beside(goal)):
                yield from _with_text(made, given, wanted)
    for number in range(len(objects(made))):
        yield from _doubled(made, number)
    for distance in dict.fromkeys(map(_distance, compared.comparisons)):
        for factor in _FACTORS:  # a side may be a multiple of a number, and something else
            if distance % factor == 0:
                steps = distance // factor, -distance // factor
                yield from (_with(made, leaf, leaf.value + step) for leaf in free for step in steps)


def _distance(comparison: Comparison) -> int:
    """How far the second side lies from the first, the shorter way round."""
    half = 1 << 8 * comparison.size - 1
    return (comparison.second - comparison.first + half) % (2 * half) - half


def _matching(leaves: Sequence[_Leaf], side: int, comparison: Comparison) -> list[_Leaf]:
    found = []
    for leaf in leaves:
        bits = 8 * min(leaf.type.size, comparison.size)
        if not (leaf.value ^ side) & (1 << bits) - 1:
            found.append(leaf)
    return found[:_MOST_MATCHES]


def _leaves(made: Input) -> Iterator[_Leaf]:
    found = _all_leaves(made)
    yield from (leaf for leaf, _ in zip(found, range(_MOST_LEAVES)))


def _all_leaves(made: Input) -> Iterator[_Leaf]:
    for number, value in enumerate(made.args):
        yield from _inside("arg", number, value.type, value.data)
    for number, (_, value) in enumerate(made.globals):
        yield from _inside("global", number, value.type, value.data)
    for number, target in enumerate(objects(made)):
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
        return replaced(made, leaf.number, lambda target: replace(target, data=patched(target.data)))
    if leaf.kind == "arg":
        args = list(made.args)
        args[leaf.number] = replace(args[leaf.number], data=patched(args[leaf.number].data))
        return replace(made, args=tuple(args))
    globals = list(made.globals)
    name, old = globals[leaf.number]
    globals[leaf.number] = name, replace(old, data=patched(old.data))
    return replace(made, globals=tuple(globals))


def _beside(text: bytes) -> Iterator[bytes]:
    """Texts that come right before and behind one, by their first and by their last character."""
    for index in sorted({0, len(text) - 1}) if text else ():
        for step in (-1, 1):
            yield text[:index] + bytes([(text[index] + step) % 256]) + text[index + 1 :]


def _doubled(made: Input, number: int) -> Iterator[Input]:
    """The input with twice as much in one of its objects, and numbers that counted its elements counting them still."""
    old = objects(made)[number]
    if not isinstance(old.element, Int) or old.links or not 1 < old.count * old.element.size <= _LONGEST:
        return
    size = old.element.size
    body = old.data if any(old.data[-size:]) else old.data[:-size]
    count = old.count + len(body) // size
    longer = replaced(made, number, lambda to: replace(to, count=count, data=body + to.data))
    for leaf in _leaves(made):
        if leaf.value == old.count and leaf.kind != "object":
            longer = _with(longer, leaf, count)
    yield longer


def _with_text(made: Input, found: bytes, wanted: bytes) -> Iterator[Input]:
    """The input with one text put where another was; a string becomes as long as it has to be."""
    for number, target in enumerate(objects(made)):
        at = target.data.find(found) if target.element.size == 1 and not target.links else -1
        if at >= 0:
            exact = target.data[:at] + wanted + target.data[at + len(found) :]
            over = (target.data[:at] + wanted + target.data[at + len(wanted) :])[: len(target.data)]
            for data in (exact, over):
                yield replaced(made, number, lambda old, data=data: replace(old, count=len(data), data=data))  # type: ignore[misc]


# -- which number counts what


@dataclass(frozen=True)
class _Members:
    scope: Scope
    params: Sequence[Param]
    values: Sequence[tuple[bytes, Links]]


def learned(params: Sequence[Param], repairs: Iterable[tuple[Input, int]]) -> dict[Scope, Ties]:
    """Lengths and indices, found from inputs in which one object (by its number) is just as long as the function needs.

    A number of the same scope that equals the elements of the object, or the last index of it, in most of them, is tied
    to the pointer that leads there. Where it always has as many elements, so it is from now on.
    """
    votes: dict[tuple[Scope, int], list[_Ballot]] = defaultdict(list)
    for made, number in repairs:
        target = objects(made)[number]
        for members in _scopes(made, params):
            for index, (_, links) in enumerate(members.values):
                if any(to is target for at, to in links if at == 0) and target.count > 1:
                    numbers = {
                        other: int.from_bytes(data, "little")
                        for other, (data, _) in enumerate(members.values)
                        if isinstance(members.params[other].type, Int)
                    }
                    votes[members.scope, index].append(_Ballot(target.count, numbers))
    found: dict[Scope, Ties] = defaultdict(Ties)
    for (scope, pointer), ballots in votes.items():
        if len(ballots) >= _VOTES:
            _elect(found[scope], pointer, ballots)
    return dict(found)


class _Ballot(NamedTuple):
    """The elements of an object, and the numbers beside the pointer to it, by their positions."""

    elements: int
    numbers: dict[int, int]


def _elect(ties: Ties, pointer: int, ballots: Sequence[_Ballot]) -> None:
    counts = Counter(ballot.elements for ballot in ballots)
    if len(counts) == 1:
        ties.elements[pointer] = ballots[0].elements
        return
    near = Counter(
        (member, ballot.elements - value)
        for ballot in ballots
        for member, value in ballot.numbers.items()
        if ballot.elements - value in (0, 1)
    )
    (member, distance), votes = near.most_common(1)[0] if near else ((0, 0), 0)
    if votes >= _VOTES and 2 * votes > len(ballots):
        if distance:
            ties.index_into[member] = pointer
        else:
            ties.length_of[member] = (*ties.length_of.get(member, ()), pointer)


def _scopes(made: Input, params: Sequence[Param]) -> Iterator[_Members]:
    yield _Members(None, params, [(value.data, value.links) for value in made.args[: len(params)]])
    for value in made.values:
        yield from _structs(value.type, value.data, value.links)
    for target in objects(made):
        yield from _structs(Array(target.element, target.count), target.data, target.links)


def _structs(type: Type, data: bytes, links: Links) -> Iterator[_Members]:
    if isinstance(type, Array) and isinstance(type.element, (Array, Struct)):
        size = type.element.size
        for at in range(0, size * min(type.count, 16), max(size, 1)):
            yield from _structs(type.element, data[at : at + size], _links(links, at, size))
    elif isinstance(type, Struct) and not type.union:
        plain = [field for field in type.fields if not field.bits]
        parts = [
            (data[field.offset :][: field.type.size], _links(links, field.offset, field.type.size)) for field in plain
        ]
        if len(plain) == len(type.fields):
            yield _Members(type, [Param(field.name, field.type) for field in plain], parts)
        for field, part in zip(plain, parts, strict=True):
            yield from _structs(field.type, *part)


def _links(links: Links, start: int, size: int) -> Links:
    return tuple((at - start, to) for at, to in links if start <= at < start + size)
