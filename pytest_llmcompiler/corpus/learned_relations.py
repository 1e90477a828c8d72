"""Learning from repaired inputs which number counts the elements of which buffer.

In `int xored(const int *a, int m)` no name says that `m` counts `a`. But in each input whose buffer was fitted (see
`repair`), `a` has just as many elements as `m` says. Each fitted input is a vote; with enough votes the relation holds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmcompiler.corpus.relations import ObjectEnd, ParameterRelations, RelationScope
from pytest_llmcompiler.values.c_types import Array, Int, Param, Struct, Type
from pytest_llmcompiler.values.input import Input, Links, list_objects

_MIN_VOTES = 3
"""Fitted inputs that must agree on a relation. Two can agree by chance, since small counts are frequent."""
_MAX_STRUCTS = 16
"""Elements of an array of structs that are searched."""


@dataclass(frozen=True)
class _ScopeValues:
    """The members of one struct, or the parameters, with their bytes and links in one input."""

    scope: RelationScope
    members: Sequence[Param]
    values: Sequence[tuple[bytes, Links]]


class _Vote(NamedTuple):
    """The number of elements of a fitted object, and the numbers beside the pointer to it, by their positions."""

    elements: int
    numbers: dict[int, int]


def learn_relations(
    params: Sequence[Param], fitted: Iterable[tuple[Input, int]]
) -> dict[RelationScope, ParameterRelations]:
    """Lengths, indices and fixed sizes, learned from inputs in which one object (by its number) is just large enough.

    A number beside the pointer to the object is its length if it equals the number of elements in most inputs, and an
    index into it if it equals the last index. If the object has the same number of elements in all inputs, its size is
    fixed.
    """
    votes: dict[tuple[RelationScope, int], list[_Vote]] = defaultdict(list)
    for input, number in fitted:
        target = list_objects(input)[number]
        for scope_values in _find_scopes(input, params):
            for index, (_, links) in enumerate(scope_values.values):
                if any(to is target for at, to in links if at == 0) and target.count > 1:
                    votes[scope_values.scope, index].append(_Vote(target.count, _read_numbers(scope_values)))
    relations: dict[RelationScope, ParameterRelations] = defaultdict(ParameterRelations)
    for (scope, pointer), ballots in votes.items():
        if len(ballots) >= _MIN_VOTES:
            _count_votes(relations[scope], pointer, ballots)
    return dict(relations)


def learn_ends(
    params: Sequence[Param],
    ended: Iterable[tuple[Input, int, ObjectEnd]],
    relations: dict[RelationScope, ParameterRelations],
) -> None:
    """Add to the relations what a buffer must end with: that with which most of its inputs were mended."""
    votes: dict[tuple[RelationScope, int], Counter[ObjectEnd]] = defaultdict(Counter)
    for input, number, tail in ended:
        target = list_objects(input)[number]
        for scope_values in _find_scopes(input, params):
            for index, (_, links) in enumerate(scope_values.values):
                if any(to is target for at, to in links if at == 0):
                    votes[scope_values.scope, index][tail] += 1
    for (scope, pointer), ballots in votes.items():
        tail, count = ballots.most_common(1)[0]
        if count >= _MIN_VOTES and 2 * count > ballots.total():
            relations.setdefault(scope, ParameterRelations()).ends[pointer] = tail


def _read_numbers(scope_values: _ScopeValues) -> dict[int, int]:
    return {
        position: int.from_bytes(data, "little")
        for position, (data, _) in enumerate(scope_values.values)
        if isinstance(scope_values.members[position].type, Int)
    }


def _count_votes(relations: ParameterRelations, pointer: int, votes: Sequence[_Vote]) -> None:
    """Add the relation of a pointer that the votes agree on, if there is one."""
    if len({vote.elements for vote in votes}) == 1:
        relations.elements[pointer] = votes[0].elements
        return
    candidates = Counter(
        (member, vote.elements - value)
        for vote in votes
        for member, value in vote.numbers.items()
        if vote.elements - value in (0, 1)  # 0 for a length, 1 for the last index
    )
    (member, distance), agreeing = candidates.most_common(1)[0] if candidates else ((0, 0), 0)
    if agreeing >= _MIN_VOTES and 2 * agreeing > len(votes):
        if distance:
            relations.index_into[member] = pointer
        else:
            relations.length_of[member] = (*relations.length_of.get(member, ()), pointer)


def _find_scopes(input: Input, params: Sequence[Param]) -> Iterator[_ScopeValues]:
    """The parameters, and all structs in arguments, global variables and objects."""
    yield _ScopeValues(None, params, [(value.data, value.links) for value in input.args[: len(params)]])
    for value in input.values:
        yield from _find_structs(value.type, value.data, value.links)
    for target in list_objects(input):
        yield from _find_structs(Array(target.element, target.count), target.data, target.links)


def _find_structs(type: Type, data: bytes, links: Links) -> Iterator[_ScopeValues]:
    if isinstance(type, Array) and isinstance(type.element, (Array, Struct)):
        size = type.element.size
        for at in range(0, size * min(type.count, _MAX_STRUCTS), max(size, 1)):
            yield from _find_structs(type.element, data[at : at + size], _links_within(links, at, size))
    elif isinstance(type, Struct) and not type.union:
        plain = [field for field in type.fields if not field.bits]
        parts = [
            (data[field.offset :][: field.type.size], _links_within(links, field.offset, field.type.size))
            for field in plain
        ]
        if len(plain) == len(type.fields):
            yield _ScopeValues(type, [Param(field.name, field.type) for field in plain], parts)
        for field, part in zip(plain, parts, strict=True):
            yield from _find_structs(field.type, *part)


def _links_within(links: Links, start: int, size: int) -> Links:
    return tuple((at - start, to) for at, to in links if start <= at < start + size)
