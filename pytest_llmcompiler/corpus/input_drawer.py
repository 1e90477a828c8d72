"""Drawing the values of an input with hypothesis, type by type and with the relations between members.

A value is drawn as its bytes and its links. Objects are drawn in the order of their numbers (see `values.input.Alias`),
so that a pointer can alias any object that was drawn before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmcompiler.corpus.drawing import Choice, Draw
from pytest_llmcompiler.corpus.relations import (
    ObjectEnd,
    ParameterRelations,
    RelationScope,
    holds_text,
    merge_relations,
    relations_by_name,
)
from pytest_llmcompiler.corpus.scalar_strategies import ScalarStrategies, close_brackets
from pytest_llmcompiler.corpus.special_values import pack_float
from pytest_llmcompiler.corpus.va_lists import draw_va_list
from pytest_llmcompiler.program.case import ArgRule
from pytest_llmcompiler.values.c_types import FILE, UNTYPED, Array, Float, Function, Int, Param, Pointer, Struct, Type
from pytest_llmcompiler.values.input import Alias, Callback, Links, Object, PointerTarget, StandardStream
from pytest_llmcompiler.values.layout import ALIGNED_SLOTS, LARGE_SLOTS, MAX_OBJECT_BYTES, PAGE, SMALL_SLOTS
from pytest_llmcompiler.values.va_list import SLOT, is_va_list

Encoded = tuple[bytes, Links]
"""The bytes of a value, and the targets of the pointers in it."""

NO_RULE = ArgRule()
"""The rule of an argument without a directive."""
_MAX_DEPTH = 5
"""Pointers in structs that are reached by this many pointers are null."""
_MAX_DRAWN_ELEMENTS = 120
"""Elements that are drawn for one input, in all arrays together. Further elements repeat them: hypothesis gives up on
examples that are too large."""
_MAX_ARRAYS, _MAX_STRUCTS, _MAX_SCALARS = 6, 12, 40
"""Elements of one array that are drawn, by their kind: arrays, structs and pointers, anything else."""
_MAX_OBJECTS = (SMALL_SLOTS - 1, SMALL_SLOTS - 8)
"""Objects of an input above which pointers are null: those that are arguments or variables, and those in objects, which
leave some for the others. One is left for a result in memory."""
_WORD_BYTES = 8
"""An object behind a `void *` is drawn in units of so many bytes."""
_MAX_COUNTED_TEXT, _MAX_TERMINATED_TEXT = 256, 200
"""Bytes of a text whose length another member counts, and of a terminated text."""
_LONG_TEXT_BYTES = 300
"""Bytes of a long text: more than a byte can count."""
_DEFAULT_INDEX = 8
"""The greatest index into a buffer whose number of elements is unknown."""
_FILLER = b"\xa5"
"""The byte that fills the memory after a text. Code that writes there or reads from there shows."""

_LARGE_ARRAY_BYTES, _LARGE_ARRAY_DRAWN = 4096, (1, 2, 3, 8)
"""Bytes above which half of the arrays have zeros after a few drawn elements, and how many these are: code that sorts
an array in the square of its length would take too long on any other."""

_IS_NULL = [(*[False] * often, True) for often in (11, 3, 2, 1)]
"""Whether a pointer is null, by its depth: more often the deeper it is, so that lists and trees end."""
_IS_NEW = [(*[True] * often, False) for often in (7, 23)]
"""Whether a pointer leads to an object of its own: for an argument, and for a pointer in an object. False is rarer
there, because such aliases often make structures on which code is undefined."""
_COUNTS: Choice = [
    range(9),
    (1, 1, 2, 3, 4, 5, 6, 7),
    (9, 16, 17, 33, 64, 65, 130, 200),
    (256, 257, 300),  # more than a byte can count
]
"""Elements of a buffer whose length another member counts."""
_FREE_COUNTS = (1, 1, 1, 2, 3, 4, 8, 9, 16, 32, 64, 128, 300)
"""Elements of any other buffer."""
_ENDED_COUNTS = (1, 2, 3, 4, 5, 8)
"""Structs or pointers in an array that is searched for its last one."""
_ALIAS_DISTANCES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
"""Elements between two pointers into one object. Vectorised code takes another path from some distance on."""
_ROOM = (0, 0, 16, 80)
"""Bytes after the terminator of a text that the function may write to."""
_FILLS = ("repeat", "repeat", "zeros", "filler")
"""How the rest of a byte array is filled, after a text that is shorter."""
_IS_LONG = (*[False] * 9, True)
"""Whether a terminated text has `_LONG_TEXT_BYTES` bytes: one of ten, since long texts make runs long."""
_STREAMS = [(1, 0, 1, 0, 2), (None, None, 1, None, 0, 2)]
"""The file descriptor of a `FILE *`: of an argument, and in an object, where it is mostly null (None)."""
_MOSTLY = (*[True] * 7, False)
"""True seven times of eight: for choices that keep an input sensible."""
_DIGITS = range(10)
"""Nonzero nine times of ten: for lengths and indices that fit their buffers."""


@dataclass
class _Scope:
    """The members of one struct, or the parameters, while they are drawn."""

    members: Sequence[Param]
    relations: ParameterRelations
    rules: Mapping[int, ArgRule]
    depth: int
    counts: dict[int, int] = field(default_factory=dict)
    """Numbers of elements, by the position of the buffer and of the number that counts them."""
    texts: dict[int, bytes] = field(default_factory=dict)
    """The contents of buffers whose count was chosen by their text."""
    first_objects: list[int] = field(default_factory=list)
    """The number of the next object when each member was reached."""

    def rule(self, index: int) -> ArgRule:
        """The rule of a member."""
        return self.rules.get(index, NO_RULE)

    def index_limit(self, index: int) -> int:
        """The greatest value of a member that is an index."""
        return self.counts.get(self.relations.index_into[index], _DEFAULT_INDEX)


class InputDrawer:
    """Draws values of all types for one input after the other."""

    def __init__(self, strategies: ScalarStrategies, learned: Mapping[RelationScope, ParameterRelations]) -> None:
        self._strategies = strategies
        self._learned = learned
        self._struct_relations: dict[RelationScope, ParameterRelations] = {}
        self._objects: list[tuple[Type, int]] = []
        """The objects of this input so far: type and number of the elements."""
        self._restricted: set[int] = set()
        """The numbers of the objects behind `restrict` pointers. No other pointer may lead to these."""
        self._elements_left = _MAX_DRAWN_ELEMENTS
        self._open_objects: list[int] = []
        """The numbers of the objects that are being drawn, each inside the one before it."""

    def begin(self) -> None:
        """Begin a new input."""
        self._objects.clear()
        self._restricted.clear()
        self._open_objects.clear()
        self._elements_left = _MAX_DRAWN_ELEMENTS

    @property
    def can_be_aligned(self) -> bool:
        """Whether this input has objects, and no more than there is room for at 4 GiB aligned addresses."""
        large = self._count_large()
        return bool(self._objects) and len(self._objects) - large < len(ALIGNED_SLOTS) - LARGE_SLOTS

    def _count_large(self) -> int:
        """The objects of this input that are larger than a page. There is room for few."""
        return sum(element.size * count > PAGE for element, count in self._objects)

    # -- members

    def draw_members(
        self,
        draw: Draw,
        members: Sequence[Param],
        relations: ParameterRelations,
        rules: Mapping[int, ArgRule],
        depth: int = 0,
        left_out: Collection[int] = (),
    ) -> list[Encoded]:
        """Draw the members of a scope, with lengths and indices that fit their buffers.

        The result has no bytes for members that are left out.
        """
        scope = _Scope(members, relations, rules, depth, counts=dict(relations.elements))
        self._draw_counts(draw, scope)
        values: list[Encoded] = []
        for index, member in enumerate(members):
            scope.first_objects.append(len(self._objects))
            if member.restrict:
                self._restricted.add(len(self._objects))
            if index in left_out:
                values.append((b"", ()))
            else:
                value = self._draw_related(draw, scope, index) or self._draw_member(draw, scope, index)
                tail = relations.ends.get(index)
                values.append(_end_with(value, tail) if tail and draw(_MOSTLY) else value)
        return values

    def _draw_counts(self, draw: Draw, scope: _Scope) -> None:
        """Choose the number of elements of each buffer with a length. Half of the texts choose their own."""
        for length, buffers in scope.relations.length_of.items():
            type = scope.members[length].type
            limit = type.bounds[1] if isinstance(type, Int) else 0
            low, high = scope.rule(length).range or (0, limit)
            text = None
            if holds_text(scope.members[buffers[0]].type) and draw.boolean():
                text = self.draw_text(draw, _MAX_COUNTED_TEXT)
            count = min(max(draw(_COUNTS) if text is None else len(text), low), high)
            scope.counts.update(dict.fromkeys((*buffers, length), count))
            if text is not None:
                scope.texts[buffers[0]] = text[:count].ljust(count, b"\0")

    def _draw_member(self, draw: Draw, scope: _Scope, index: int) -> Encoded:
        member = scope.members[index]
        type = member.type
        if isinstance(type, Int):
            return self._draw_integer(draw, scope, index, type).to_bytes(type.size, "little"), ()
        if not isinstance(type, Pointer):
            return self.draw_value(draw, type, scope.depth)
        text = scope.texts.get(index)
        index_limit = scope.index_limit(index) if index in scope.relations.index_into else None
        count = scope.counts.get(index)
        if count is None and index in scope.relations.ends and isinstance(type.target, (Struct, Pointer)):
            count = draw(_ENDED_COUNTS)
        if text is not None and isinstance(type.target, Int) and draw(_MOSTLY):
            return self._add_object(type.target, len(text), text)
        return self._draw_pointer(
            draw,
            type,
            count=count,
            rule=scope.rule(index),
            depth=scope.depth,
            index_limit=index_limit,
            is_restrict=member.restrict,
        )

    def _draw_related(self, draw: Draw, scope: _Scope, index: int) -> Encoded | None:
        """A pointer to the end of another member's buffer, or back to the object that led here; None for any other."""
        type, relations = scope.members[index].type, scope.relations
        if not isinstance(type, Pointer) or not draw(_MOSTLY):
            return None
        if index in relations.end_of and relations.end_of[index] < index:
            number = scope.first_objects[relations.end_of[index]]
            if number < scope.first_objects[index]:
                element, count = self._objects[number]
                return bytes(8), ((0, Alias(element, number, element.size * count)),)
        if index in relations.back:
            owners = [number for number in self._open_objects[:-1] if self._objects[number][0] == type.target]
            return bytes(8), tuple((0, Alias(self._objects[number][0], number, 0)) for number in owners[-1:])
        return None

    def _draw_integer(self, draw: Draw, scope: _Scope, index: int, type: Int) -> int:
        """A member that is an integer, as the unsigned number that its bytes hold."""
        relations, rule = scope.relations, scope.rule(index)
        if index in relations.length_of:
            count = scope.counts[index]
            value = count if draw(_DIGITS) or not count else draw.integer(0, count)
        elif rule.range:
            value = draw.integer(*rule.range)
        elif index in relations.index_into and draw(_DIGITS):
            value = draw.integer(0, scope.index_limit(index))
        elif index in relations.within and draw(_MOSTLY):
            value = draw.integer(0, relations.within[index])
        else:
            value = draw(self._strategies.integers(type))
        return int(value) % (1 << 8 * type.size)

    # -- types

    def draw_value(self, draw: Draw, type: Type, depth: int = 0) -> Encoded:
        """A value of a type."""
        if isinstance(type, Int):
            number = draw(self._strategies.integers(type)) % (1 << 8 * type.size)
            return number.to_bytes(type.size, "little"), ()
        if isinstance(type, Float):
            number = draw(self._strategies.floats[type.size])
            return pack_float(number / 4 if isinstance(number, int) else number, type.size), ()
        if isinstance(type, Pointer):
            return self._draw_pointer(draw, type, count=None, rule=NO_RULE, depth=depth)
        if isinstance(type, Array):
            return self._draw_elements(draw, type.element, type.count, depth)
        if isinstance(type, Struct):
            return self._draw_struct(draw, type, depth)
        raise TypeError(f"no values of {type.name}")

    def _draw_struct(self, draw: Draw, type: Struct, depth: int) -> Encoded:
        if type.opaque:
            return draw_va_list(
                draw,
                lambda element, count: self.draw_object(draw, element, count, depth)[1][0][1],
                type,
                len(self._objects),
            )
        if not type.fields:
            return bytes(type.size), ()
        if type.union:
            member = type.fields[draw.integer(0, len(type.fields) - 1)]
            data, links = self.draw_value(draw, member.type, depth)
            return data.ljust(type.size, b"\0"), links
        members = [Param(member.name, member.type) for member in type.fields]
        if type not in self._struct_relations:
            named = relations_by_name([member.name for member in members], [member.type for member in members])
            self._struct_relations[type] = merge_relations(named, self._learned.get(type))
        return _assemble_struct(type, self.draw_members(draw, members, self._struct_relations[type], {}, depth))

    def _draw_elements(self, draw: Draw, element: Type, count: int, depth: int) -> Encoded:
        """`count` elements of an array or a buffer."""
        if isinstance(element, Int) and element.size == 1 and not element.boolean and not element.enumerators:
            return self._draw_bytes(draw, count), ()
        most = _MAX_SCALARS
        if isinstance(element, (Array, Struct, Pointer)):
            most = _MAX_ARRAYS if isinstance(element, Array) else _MAX_STRUCTS
        drawn = min(count, max(1, min(most, self._elements_left)))
        self._elements_left -= drawn
        if count * element.size > _LARGE_ARRAY_BYTES and draw.boolean():
            drawn = min(drawn, draw(_LARGE_ARRAY_DRAWN))
            data, links = _assemble_array(
                [self.draw_value(draw, element, depth) for _ in range(drawn)], element.size, drawn
            )
            return data.ljust(count * element.size, b"\0"), links
        return _assemble_array([self.draw_value(draw, element, depth) for _ in range(drawn)], element.size, count)

    def _draw_bytes(self, draw: Draw, count: int) -> bytes:
        text = self.draw_text(draw, count)
        match draw(_FILLS):
            case "repeat":
                rest = text or b"\0"
                return (text + rest * (count // len(rest)))[:count]
            case "zeros":
                return text.ljust(count, b"\0")[:count]
            case _:
                return (text + b"\0").ljust(count, _FILLER)[:count]

    def draw_text(self, draw: Draw, size: int) -> bytes:
        """Up to `size` bytes of the kinds that parsers meet: strings of the program, runs, digits, anything."""
        if not size:
            return b""
        if not draw.boolean():
            return b"".join(draw(self._strategies.text_pieces))[:size]
        text = draw(self._strategies.parser_texts)
        text = close_brackets(text) if draw.boolean() else text
        return bytes(text.encode("latin-1")[:size])

    # -- pointers

    def _draw_pointer(
        self,
        draw: Draw,
        type: Pointer,
        *,
        count: int | None,
        rule: ArgRule,
        depth: int,
        index_limit: int | None = None,
        is_restrict: bool = False,
    ) -> Encoded:
        """A pointer: null, a callback, an alias, or to an object of its own.

        `count` is the number of elements, where something determines it. With `index_limit`, the object is one integer
        that is an index.
        """
        target = type.target
        if isinstance(target, Function):
            return self._draw_callback(draw, target, rule, depth)
        if target is FILE:
            return _draw_stream(draw, rule, depth)
        null: Encoded = bytes(8), ()
        # There is no room for more objects: the input could not be laid out.
        is_full = len(self._objects) >= _MAX_OBJECTS[min(depth, 1)]
        if (
            (is_full and not rule.non_null)
            or depth >= _MAX_DEPTH
            or (target is not None and target.size > MAX_OBJECT_BYTES)
        ):
            return null
        if not rule.non_null and not is_va_list(type) and draw(_IS_NULL[min(depth, 3) if count is None else 0]):
            return null
        element: Type = UNTYPED if target is None else target
        shared = [] if is_restrict or is_va_list(type) else self._find_shareable(element)
        if shared and not draw(_IS_NEW[min(depth, 1)]):
            return bytes(8), ((0, self._draw_alias(draw, draw(tuple(shared)))),)
        if index_limit is not None and isinstance(element, Int):
            value = draw.integer(0, index_limit) % (1 << 8 * element.size)
            return self._add_object(element, 1, value.to_bytes(element.size, "little"))
        is_text = isinstance(element, Int) and element.character and count is None
        if rule.elements:
            count = draw.integer(*rule.elements)
        elif rule.cstring or is_text:
            return self._draw_terminated_text(draw, type, element)
        return self.draw_object(draw, element, count, depth)

    def _draw_callback(self, draw: Draw, target: Function, rule: ArgRule, depth: int) -> Encoded:
        if not rule.non_null and draw(_IS_NULL[0]):
            return bytes(8), ()
        return bytes(8), ((0, Callback(target, draw.integer(0, 1) if depth else 0)),)

    def _draw_terminated_text(self, draw: Draw, type: Pointer, element: Type) -> Encoded:
        text = self.draw_text(draw, _MAX_TERMINATED_TEXT).replace(b"\0", b"\1")
        text = (text * _LONG_TEXT_BYTES)[:_LONG_TEXT_BYTES] if text and draw(_IS_LONG) else text
        text += b"\0"
        text += b"" if type.const else _FILLER * draw(_ROOM)
        return self._add_object(element, len(text), text)

    def draw_object(self, draw: Draw, element: Type, count: int | None, depth: int) -> Encoded:
        """A pointer to a new object of so many elements."""
        if count is None:  # where these are too few elements, the reference faults and the input is repaired
            count = 1 if isinstance(element, (Struct, Pointer)) and element is not SLOT else draw(_FREE_COUNTS)
            count *= _WORD_BYTES if element == UNTYPED else 1
        if count * element.size > PAGE and depth and self._count_large() >= LARGE_SLOTS:
            return bytes(8), ()
        self._open_objects.append(len(self._objects))
        self._objects.append((element, count))
        data, links = self._draw_elements(draw, element, count, depth + 1)
        self._open_objects.pop()
        return bytes(8), ((0, Object(element, count, data, links)),)

    def _add_object(self, element: Type, count: int, data: bytes) -> Encoded:
        self._objects.append((element, count))
        return bytes(8), ((0, Object(element, count, data)),)

    def _find_shareable(self, element: Type) -> list[int]:
        """The objects that another pointer may lead to.

        Objects that are still being drawn are left out. A pointer back to one of these comes from the names of members
        and from repairs alone: few random ones give structures on which code is defined.
        """
        return [
            number
            for number, (known, _) in enumerate(self._objects)
            if known == element and number not in self._open_objects and number not in self._restricted
        ]

    def _draw_alias(self, draw: Draw, number: int) -> Alias:
        """A pointer to an object that another pointer leads to: to its start or to one of its elements."""
        element, count = self._objects[number]
        distance = min(draw(_ALIAS_DISTANCES), count - 1) if count > 1 and draw.boolean() else 0
        return Alias(element, number, distance * element.size)


def _end_with(value: Encoded, tail: ObjectEnd) -> Encoded:
    """A pointer with other bytes near the end of the object that it leads to, if that has no pointers there."""
    data, links = value
    return data, tuple((at, _set_tail(target, tail)) for at, target in links)


def _set_tail(target: PointerTarget, tail: ObjectEnd) -> PointerTarget:
    distance, data = tail
    if not isinstance(target, Object) or len(target.data) < distance:
        return target
    start = len(target.data) - distance
    if any(start - 8 < at < start + len(data) for at, _ in target.links):
        return target
    return replace(target, data=target.data[:start] + data + target.data[start + len(data) :])


def _draw_stream(draw: Draw, rule: ArgRule, depth: int) -> Encoded:
    if not depth and not rule.non_null and draw(_IS_NULL[0]):
        return bytes(8), ()
    number = draw(_STREAMS[0 if rule.non_null else min(depth, 1)])
    return bytes(8), () if number is None else ((0, StandardStream(number)),)


def _assemble_array(elements: Sequence[Encoded], size: int, count: int) -> Encoded:
    """An array of `count` elements of `size` bytes. If there are fewer, their bytes repeat, with null pointers."""
    data = b"".join(element for element, _ in elements)
    links = tuple((index * size + at, target) for index, (_, inner) in enumerate(elements) for at, target in inner)
    if count > len(elements) and elements:
        data = (data * (count // len(elements) + 1))[: count * size]
    return data, links


def _assemble_struct(type: Struct, members: Sequence[Encoded]) -> Encoded:
    data = bytearray(type.size)
    links: list[tuple[int, PointerTarget]] = []
    for member, (value, inner) in zip(type.fields, members, strict=True):
        if member.bits:
            first, width = member.bits
            word = int.from_bytes(data, "little") & ~(((1 << width) - 1) << first)
            number = int.from_bytes(value, "little") & (1 << width) - 1
            data[:] = (word | number << first).to_bytes(type.size, "little")
        else:
            data[member.offset : member.offset + len(value)] = value
            links += [(member.offset + at, target) for at, target in inner]
    return bytes(data), tuple(links)
