"""How the members of a scope (the parameters of a function, the fields of a struct) belong together: which integer is
the length of which buffer, and which is an index into it. Directives decide, then names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmcompiler.program.case import ArgRule
from pytest_llmcompiler.values.c_types import Array, Function, Int, Pointer, Struct, Type

RelationScope = Struct | None
"""Members that belong together: those of a struct, or (None) the parameters."""

_LENGTH = re.compile(
    r"(?:^|_)(?:n|len|length|size|sz|count|cnt|num|capacity|cap|limit|bytes|nmemb|rows|cols|max|width|total)$"
    r"|^n(?:bytes|mem|memb|elems?|el|items|chars|words|bits|points|pts|rows|cols|vals|values|args|entries|keys)$"
    r"|^(?:n|num)_|(?:Len|Length|Size|Count|Num)$|(?:len|size|count)$",
)
_INDEX = re.compile(
    r"(?:^|_)(?:i|j|k|idx|index|pos|position|off|offset|at|lo|hi|low|high|first|last|start|begin|end|left|right)$"
)
_END = re.compile(r"(?:^|_)(?:end|ends|limit|last|stop|finish|bound|eof|e|pe|top)$|(?:End|Limit|Last)$")
_BACK = re.compile(r"(?:^|_)(?:prev|previous|parent|up|back|owner|blink|pred)$")


@dataclass
class ParameterRelations:
    """Positions of members by what they mean to each other."""

    length_of: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """An integer -> the pointers whose number of elements it is."""
    index_into: dict[int, int] = field(default_factory=dict)
    """An integer, or a pointer to a single integer -> the pointer it indexes."""
    elements: dict[int, int] = field(default_factory=dict)
    """A pointer -> how many elements it always has."""
    within: dict[int, int] = field(default_factory=dict)
    """An integer beside an array -> the elements of that array, which it may count or index."""
    end_of: dict[int, int] = field(default_factory=dict)
    """A pointer -> the pointer before it whose buffer it is the end of."""
    back: frozenset[int] = frozenset()
    """Pointers that lead back to where their struct was reached from."""

    @property
    def measured(self) -> frozenset[int]:
        """The pointers that have a length."""
        return frozenset(buffer for buffers in self.length_of.values() for buffer in buffers)


def merge_relations(
    named: ParameterRelations, learned: ParameterRelations | None, ruled: Collection[int] = ()
) -> ParameterRelations:
    """What names say, where runs did not teach better. Of the members `ruled` directives speak, whose word is last."""
    if learned is None:
        return named
    lengths = {member: buffers for member, buffers in learned.length_of.items() if member not in ruled}
    indices = {member: buffer for member, buffer in learned.index_into.items() if member not in ruled}
    taken = {buffer for buffers in lengths.values() for buffer in buffers}
    for member, buffers in named.length_of.items():
        kept = tuple(buffer for buffer in buffers if buffer not in taken)
        if member in ruled:
            lengths[member] = buffers
        elif member not in lengths and member not in indices and kept:
            lengths[member] = kept
    others = {member: buffer for member, buffer in named.index_into.items() if member not in lengths}
    elements = {buffer: count for buffer, count in learned.elements.items() if buffer not in ruled}
    return replace(named, length_of=lengths, index_into=others | indices, elements=elements)


def relations_by_name(
    names: Sequence[str], types: Sequence[Type], rules: Mapping[int, ArgRule] | None = None
) -> ParameterRelations:
    """Find out how members belong together."""
    found = ParameterRelations()
    positions = {name: index for index, name in enumerate(names)} | {str(index): index for index in range(len(names))}
    for index, rule in (rules or {}).items():
        if rule.length_of:
            found.length_of[index] = tuple(positions[name] for name in rule.length_of)
    buffers = [index for index, type in enumerate(types) if _is_buffer(type)]
    for index, (name, type) in enumerate(zip(names, types, strict=True)):
        if not _is_count(type) or index in found.length_of or not _LENGTH.search(name):
            continue
        free = [buffer for buffer in buffers if buffer not in found.measured]
        before = [buffer for buffer in free if buffer < index]
        # `(dst, src, n)` measures both; `(n, values)` names the length first.
        chosen = before or free[:1]
        if chosen:
            found.length_of[index] = tuple(chosen)
    for index, (name, type) in enumerate(zip(names, types, strict=True)):
        inner = type.target if isinstance(type, Pointer) else type
        targets = [buffer for buffer in buffers if buffer != index]
        if index not in found.length_of and _is_count(inner) and _INDEX.search(name) and targets:
            found.index_into[index] = targets[0]
    for index, (name, type) in enumerate(zip(names, types, strict=True)):
        same = [buffer for buffer in buffers if buffer < index and _same_target(types[buffer], type)]
        if same and _END.search(name):
            found.end_of[index] = same[-1]
    found.within = _within(types)
    found.back = frozenset(index for index in buffers if _BACK.search(names[index]))
    return found


def _within(types: Sequence[Type]) -> dict[int, int]:
    sizes = [type.count for type in types if isinstance(type, Array) and type.count > 1]
    return {
        index: max(sizes)
        for index, type in enumerate(types)
        if sizes and isinstance(type, Int) and not type.boolean and not type.enumerators
    }


def _same_target(first: Type, second: Type) -> bool:
    return isinstance(first, Pointer) and isinstance(second, Pointer) and first.target == second.target


def _is_buffer(type: Type) -> bool:
    return isinstance(type, Pointer) and not isinstance(type.target, Function)


def _is_count(type: Type | None) -> bool:
    return isinstance(type, Int) and type.size >= 2 and not type.enumerators and type.size <= 8
