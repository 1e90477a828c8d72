"""Relations between the members of a scope: which integer is the length of which buffer, and which is an index into it.

A scope is the parameters of a function, or the fields of a struct. Directives decide first, then what repairs taught
(see `learned_relations`), then names: in `int sum(const int *values, size_t count)` the name `count` makes it a length.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmcompiler.program.case import ArgRule
from pytest_llmcompiler.values.c_types import FILE, Array, Function, Int, Pointer, Struct, Type
from pytest_llmcompiler.values.va_list import is_va_list

ObjectEnd = tuple[int, bytes]
"""What an object ends with: the distance of the bytes from the end of the object, in bytes, and the bytes."""
RelationScope = Struct | None
"""The owner of the members: a struct, or None for the parameters."""

# The names that C code usually gives to lengths, indices, ends of buffers, and links back.
_LENGTH_NAME = re.compile(
    r"(?:^|_)(?:n|len|length|size|sz|count|cnt|num|capacity|cap|limit|bytes|nmemb|rows|cols|max|width|total)$"
    r"|^n(?:bytes|mem|memb|elems?|el|items|chars|words|bits|points|pts|rows|cols|vals|values|args|entries|keys)$"
    r"|^(?:n|num)_|(?:Len|Length|Size|Count|Num)$|(?:len|size|count)$",
)
_INDEX_NAME = re.compile(
    r"(?:^|_)(?:i|j|k|idx|index|pos|position|off|offset|at|lo|hi|low|high|first|last|start|begin|end|left|right)$"
)
_END_NAME = re.compile(r"(?:^|_)(?:end|ends|limit|last|stop|finish|bound|eof|e|pe|top)$|(?:End|Limit|Last)$")
_BACK_NAME = re.compile(r"(?:^|_)(?:prev|previous|parent|up|back|owner|blink|pred)$")


@dataclass
class ParameterRelations:
    """The relations of the members of a scope. Members are named by their positions."""

    length_of: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """For an integer: the pointers whose number of elements it is."""
    index_into: dict[int, int] = field(default_factory=dict)
    """For an integer, or a pointer to a single integer: the pointer into whose buffer it is an index."""
    elements: dict[int, int] = field(default_factory=dict)
    """For a pointer: its fixed number of elements."""
    within: dict[int, int] = field(default_factory=dict)
    """For an integer beside an array: the number of elements of the array, which it may count or index."""
    end_of: dict[int, int] = field(default_factory=dict)
    """For a pointer: the pointer before it whose buffer it is the end of."""
    ends: dict[int, ObjectEnd] = field(default_factory=dict)
    """For a pointer: what its buffer ends with, without which a search runs past the buffer."""
    back: frozenset[int] = frozenset()
    """The pointers that lead back to the struct from which their own struct was reached."""

    @property
    def measured(self) -> frozenset[int]:
        """The pointers that have a length."""
        return frozenset(buffer for buffers in self.length_of.values() for buffer in buffers)


def merge_relations(
    named: ParameterRelations, learned: ParameterRelations | None, ruled: Collection[int] = ()
) -> ParameterRelations:
    """The relations by name, corrected by those that were learned.

    `ruled` are the members that directives speak of. For these `named` holds the directives, which are never corrected.
    """
    if learned is None:
        return named
    lengths = {member: buffers for member, buffers in learned.length_of.items() if member not in ruled}
    indices = {member: buffer for member, buffer in learned.index_into.items() if member not in ruled}
    measured = {buffer for buffers in lengths.values() for buffer in buffers}
    for member, buffers in named.length_of.items():
        unmeasured = tuple(buffer for buffer in buffers if buffer not in measured)
        if member in ruled:
            lengths[member] = buffers
        elif member not in lengths and member not in indices and unmeasured:
            lengths[member] = unmeasured
    named_indices = {member: buffer for member, buffer in named.index_into.items() if member not in lengths}
    elements = {buffer: count for buffer, count in learned.elements.items() if buffer not in ruled}
    return replace(named, length_of=lengths, index_into=named_indices | indices, elements=elements, ends=learned.ends)


def relations_by_name(
    names: Sequence[str], types: Sequence[Type], rules: Mapping[int, ArgRule] | None = None
) -> ParameterRelations:
    """The relations that directives state and that the names and types of members suggest."""
    relations = ParameterRelations()
    positions = {name: index for index, name in enumerate(names)} | {str(index): index for index in range(len(names))}
    for index, rule in (rules or {}).items():
        if rule.length_of:
            relations.length_of[index] = tuple(positions[name] for name in rule.length_of)
    buffers = [index for index, type in enumerate(types) if _is_buffer(type)]
    _add_named_lengths(relations, names, types, buffers)
    for index, (name, type) in enumerate(zip(names, types, strict=True)):
        inner = type.target if isinstance(type, Pointer) else type
        targets = [buffer for buffer in buffers if buffer != index]
        if index not in relations.length_of and _is_count(inner) and _INDEX_NAME.search(name) and targets:
            relations.index_into[index] = targets[0]
    for index, (name, type) in enumerate(zip(names, types, strict=True)):
        similar = [buffer for buffer in buffers if buffer < index and _have_same_target(types[buffer], type)]
        if similar and _END_NAME.search(name):
            relations.end_of[index] = similar[-1]
    relations.within = _find_within(types)
    relations.back = frozenset(index for index in buffers if _BACK_NAME.search(names[index]))
    return relations


def _add_named_lengths(
    relations: ParameterRelations, names: Sequence[str], types: Sequence[Type], buffers: Sequence[int]
) -> None:
    """Add the lengths that names suggest: n counts both buffers in `(dst, src, n)`, and `values` in `(n, values)`. In
    `(parser, text, n)` it does not count `parser`, a structure that has the text handed to it."""
    for index, (name, type) in enumerate(zip(names, types, strict=True)):
        if not _is_count(type) or index in relations.length_of or not _LENGTH_NAME.search(name):
            continue
        unmeasured = [buffer for buffer in buffers if buffer not in relations.measured]
        before = [buffer for buffer in unmeasured if buffer < index]
        if before and not _leads_to_struct(types[before[-1]]):
            before = [buffer for buffer in before if not _leads_to_struct(types[buffer])]
        measured = before or unmeasured[:1]
        if measured:
            relations.length_of[index] = tuple(measured)


def _leads_to_struct(type: Type) -> bool:
    return isinstance(type, Pointer) and isinstance(type.target, Struct)


def _find_within(types: Sequence[Type]) -> dict[int, int]:
    """The integers beside arrays, with the number of elements of the longest array."""
    counts = [type.count for type in types if isinstance(type, Array) and type.count > 1]
    return {
        index: max(counts)
        for index, type in enumerate(types)
        if counts and isinstance(type, Int) and not type.boolean and not type.enumerators
    }


def _have_same_target(first: Type, second: Type) -> bool:
    return isinstance(first, Pointer) and isinstance(second, Pointer) and first.target == second.target


def _is_buffer(type: Type) -> bool:
    is_opaque = is_va_list(type) or (isinstance(type, Pointer) and type.target is FILE)
    return isinstance(type, Pointer) and not isinstance(type.target, Function) and not is_opaque


def _is_count(type: Type | None) -> bool:
    """Whether a type can count elements: an integer of 2 to 8 bytes that is no enumeration."""
    return isinstance(type, Int) and type.size >= 2 and not type.enumerators and type.size <= 8


def holds_text(type: Type) -> bool:
    """Whether a type is a pointer to characters."""
    return isinstance(type, Pointer) and isinstance(type.target, Int) and type.target.character
