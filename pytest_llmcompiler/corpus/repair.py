"""What faults teach about inputs: how long buffers must be, and which number counts which buffer's elements."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pytest_llmcompiler.corpus.relations import ParameterRelations, RelationScope, relations_by_name
from pytest_llmcompiler.values.c_types import Array, Int, Param, Pointer, Struct, Type
from pytest_llmcompiler.values.input import Alias, Input, Links, Object, list_objects, replace_object

_VOTES = 3
"""Repaired inputs that must agree on which number counts a buffer's elements."""


def resize_object(made: Input, number: int, count: int) -> Input:
    """The input with `count` elements in one of its objects; what it has is repeated."""

    def new(target: Object) -> Object:
        size = count * target.element.size
        data = target.data or bytes(max(target.element.size, 1))
        return replace(target, count=count, data=(data * (size // len(data) + 1))[:size])

    return replace_object(made, number, new)


def append_terminator(made: Input, number: int) -> Input | None:
    """The input with a zero byte behind the text in one of its objects; None where that holds no characters."""
    target = list_objects(made)[number]
    if target.element.size != 1 or target.links:
        return None
    return replace_object(made, number, lambda old: replace(old, count=old.count + 1, data=old.data + b"\0"))


def close_rings(made: Input) -> Input | None:
    """The input with its lists made circular: null pointers between structs of a type lead to the first of them, or, if
    they lead back by their name, to the one before (the first one's to the last). None where there are none."""
    found = list_objects(made)
    rings: dict[Struct, list[int]] = defaultdict(list)
    for number, target in enumerate(found):
        if isinstance(target.element, Struct) and target.count == 1:
            rings[target.element].append(number)
    changed = made
    for type, numbers in rings.items():
        for place, number in enumerate(numbers):
            ends = {False: numbers[0], True: numbers[place - 1]}
            links = tuple(_closing(type, found[number].links, ends))
            changed = replace_object(changed, number, lambda old, links=links: replace(old, links=(*old.links, *links)))  # type: ignore[misc]
    return None if changed == made else changed


def _closing(type: Struct, links: Links, ends: Mapping[bool, int]) -> Iterator[tuple[int, Alias]]:
    taken = {at for at, _ in links}
    back = relations_by_name([field.name for field in type.fields], [field.type for field in type.fields]).back
    for index, field in enumerate(type.fields):
        if isinstance(field.type, Pointer) and field.type.target is type and field.offset not in taken:
            yield field.offset, Alias(type, ends[index in back], 0)


# -- which number counts what


@dataclass(frozen=True)
class _Members:
    scope: RelationScope
    params: Sequence[Param]
    values: Sequence[tuple[bytes, Links]]


def learn_relations(
    params: Sequence[Param], repairs: Iterable[tuple[Input, int]]
) -> dict[RelationScope, ParameterRelations]:
    """Lengths and indices, found from inputs in which one object (by its number) is just as long as the function needs.

    A number of the same scope that equals the elements of the object, or the last index of it, in most of them, is tied
    to the pointer that leads there. Where it always has as many elements, so it is from now on.
    """
    votes: dict[tuple[RelationScope, int], list[_Ballot]] = defaultdict(list)
    for made, number in repairs:
        target = list_objects(made)[number]
        for members in _scopes(made, params):
            for index, (_, links) in enumerate(members.values):
                if any(to is target for at, to in links if at == 0) and target.count > 1:
                    numbers = {
                        other: int.from_bytes(data, "little")
                        for other, (data, _) in enumerate(members.values)
                        if isinstance(members.params[other].type, Int)
                    }
                    votes[members.scope, index].append(_Ballot(target.count, numbers))
    found: dict[RelationScope, ParameterRelations] = defaultdict(ParameterRelations)
    for (scope, pointer), ballots in votes.items():
        if len(ballots) >= _VOTES:
            _elect(found[scope], pointer, ballots)
    return dict(found)


class _Ballot(NamedTuple):
    """The elements of an object, and the numbers beside the pointer to it, by their positions."""

    elements: int
    numbers: dict[int, int]


def _elect(relations: ParameterRelations, pointer: int, ballots: Sequence[_Ballot]) -> None:
    counts = Counter(ballot.elements for ballot in ballots)
    if len(counts) == 1:
        relations.elements[pointer] = ballots[0].elements
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
            relations.index_into[member] = pointer
        else:
            relations.length_of[member] = (*relations.length_of.get(member, ()), pointer)


def _scopes(made: Input, params: Sequence[Param]) -> Iterator[_Members]:
    yield _Members(None, params, [(value.data, value.links) for value in made.args[: len(params)]])
    for value in made.values:
        yield from _structs(value.type, value.data, value.links)
    for target in list_objects(made):
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
