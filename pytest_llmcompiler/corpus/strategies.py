"""hypothesis strategies for the inputs of a function, made from its types."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from hypothesis import strategies as st

from pytest_llmcompiler.corpus.relations import ParameterRelations, RelationScope, merge_relations, relations_by_name
from pytest_llmcompiler.program.case import ArgRule
from pytest_llmcompiler.values.c_types import UNTYPED, Array, Float, Function, Int, Param, Pointer, Struct, Type
from pytest_llmcompiler.values.input import Alias, Callback, Input, Links, Object, Target, Value
from pytest_llmcompiler.values.layout import MAX_OBJECT_BYTES

_DEPTH = 5
"""Pointers in structs are null below this depth."""
_EXTRA = 8
"""Integers that are passed after the named parameters of a variadic function."""
Made = tuple[bytes, Links]
Draw = Any
_ROUND = (0, 3, 7, 10, 31, 63, 100, 127, 255, 1000, 0xFFFF, 0x7FFF)
_NULLS = [st.sampled_from([False] * 11 + [True])] + [st.sampled_from([False] * often + [True]) for often in (3, 2, 1)]
"""Whether a pointer is null: more often the deeper it lies, so that lists and trees end."""


@dataclass(frozen=True)
class Hints:
    """What the program itself says of interesting values."""

    numbers: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    strings: tuple[bytes, ...] = ()


def find_hints(code_ir: str, module_ir: str) -> Hints:
    """The constants that the IR of functions compares with, and the strings of their module."""
    numbers: set[int] = set()
    for line in code_ir.splitlines():
        if re.search(r"\b(?:icmp|switch|select|sub|xor|and)\b|^\s+i\d+ -?\d+, label", line):
            numbers.update(int(number) for number in re.findall(r"(?<![\w%.])-?\d+(?![\w.])", line))
    strings = (_unescaped(text) for text in re.findall(r'constant \[\d+ x i8\] c"([^"]*)"', module_ir))
    words = (number.to_bytes(8, "little").rstrip(b"\0") for number in numbers if number > 0xFFFF and number < 1 << 64)
    texts = {text for text in (*strings, *words) if 0 < len(text) <= 256}
    return Hints(tuple(sorted(numbers)), _floats(code_ir), tuple(sorted(texts)))


def _floats(code_ir: str) -> tuple[float, ...]:
    """The floating-point constants of functions. LLVM writes floats too in the bits of a double."""
    found = {float(text) for text in re.findall(r"(?<![\w%.])-?\d+\.\d+e[+-]\d+", code_ir)}
    words = re.findall(r"\b0x([0-9A-F]{16})\b", code_ir)
    found |= {number for word in words for (number,) in struct.iter_unpack(">d", bytes.fromhex(word))}
    return tuple(sorted(number for number in found if math.isfinite(number)))[:_MOST_CONSTANTS]


def _unescaped(text: str) -> bytes:
    data = re.sub(r"\\([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text).encode("latin-1")
    return data.removesuffix(b"\0")


def build_input_strategy(
    function: Function,
    rules: Mapping[int, ArgRule],
    found: Hints,
    seeds: Sequence[Input] = (),
    *,
    globals: Mapping[str, Type] | None = None,
    environment_seeds: int = 8,
    learned: Mapping[RelationScope, ParameterRelations] | None = None,
) -> st.SearchStrategy[Input]:
    """Inputs of a function: made from its types, and variations of `seeds`.

    `globals` are the variables that are part of the input; half of the time one keeps its initial value.
    `environment_seeds` is more than 1 where the function calls what the harness answers for: then inputs differ in
    those answers too.
    `learned` is what runs taught about members that belong together.
    """
    params = function.params + (_extra_params() if function.variadic else ())
    maker = _StrategyBuilder(found, learned or {})
    named = relations_by_name([param.name for param in params], [param.type for param in params], rules)
    bound = merge_relations(named, (learned or {}).get(None), rules)
    variables = [Param(name, type) for name, type in (globals or {}).items()]
    around = relations_by_name([variable.name for variable in variables], [variable.type for variable in variables])

    @st.composite
    def draw_input(draw: Draw) -> Input:
        if seeds and draw(st.booleans()):
            return maker.varied(draw, seeds)
        maker.begin()
        made = maker.scope(draw, params, bound, rules)
        args = tuple(Value(param.type, *pair) for param, pair in zip(params, made, strict=True))
        kept = [index for index in range(len(variables)) if draw(_HALF)]
        drawn = maker.scope(draw, variables, around, {}, left_out=kept)
        values = tuple(
            (variable.name, Value(variable.type, *pair))
            for index, (variable, pair) in enumerate(zip(variables, drawn, strict=True))
            if index not in kept
        )
        low = bool(maker.drawn) and draw(_LOW)
        return Input(args, draw(st.integers(0, environment_seeds - 1)), values, low)

    return draw_input()


def _extra_params() -> tuple[Param, ...]:
    return tuple(Param(f"...[{index}]", Int(8, True, "long")) for index in range(_EXTRA))


_LOW = st.sampled_from((False, False, False, True))
_COUNTS = st.one_of(
    *(st.integers(0, 8), st.sampled_from((1, 1, 2, 3, 4, 5, 6, 7)), st.sampled_from((9, 16, 17, 33, 64, 65, 130, 200))),
    st.sampled_from((256, 257, 300)),  # more than a byte can count
)
_FREE_COUNTS = st.sampled_from((1, 1, 1, 2, 3, 4, 8, 9, 16, 32, 64, 128, 300))
_LONG = st.sampled_from([False] * 9 + [True])
_MOSTLY = st.sampled_from([True] * 7 + [False])
_HALF = st.booleans()
_STEPS = st.sampled_from((1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65))
"""How far apart two pointers into one object are: code for vectors takes another way from some distance on."""
_ALIASED = [st.sampled_from([True] * 7 + [False]), st.sampled_from([True] * 23 + [False])]
"""False where a pointer leads to an object that another one leads to: an argument's, and those deeper down."""
_FILLS = st.sampled_from(("again", "again", "zeros", "unset"))
_UNSET = b"\xa5"
"""What memory behind a text holds: a byte that is written there shows."""
_ROOM = st.sampled_from((0, 0, 16, 80))
_DIGITS = st.integers(0, 9)
_PLAIN_BYTES = b"aZ0 9\n\t-+,.:;/=\"'\\(){}[]<>#%&_\x7f\x80\xff\0"
_NO_RULE = ArgRule()
_WORD = 8
_MOST_DRAWN = 120


def generate_specials(made: Input, found: Hints, globals: Mapping[str, Type]) -> Iterator[Input]:
    """An input, with each of its numbers, arguments and globals, replaced in turn by every special value."""
    for index, value in enumerate(made.args):
        for data in _special_values(value.type, found):
            args = (*made.args[:index], replace(value, data=data), *made.args[index + 1 :])
            yield replace(made, args=args)
    for name, type in globals.items():
        for data in _special_values(type, found):
            others = tuple(pair for pair in made.globals if pair[0] != name)
            yield replace(made, globals=(*others, (name, Value(type, data))))


def _special_values(type: Type, found: Hints) -> Iterator[bytes]:
    if isinstance(type, Float):
        near = (other for number in found.floats for other in _near(number, type.size))
        yield from (_packed(number, type.size) for number in (*_FLOATS[type.size], *near))
    elif isinstance(type, Int):
        low, high = type.bounds
        numbers = {low, -1, 0, 1, high, *found.numbers[:_MOST_CONSTANTS]}
        if type.enumerators:  # few values are drawn of those
            numbers |= {255, 256, 65536, high // 2}
        fitting = sorted(number for number in numbers if low <= number <= high)
        yield from ((number % (1 << 8 * type.size)).to_bytes(type.size, "little") for number in fitting)


_MOST_CONSTANTS = 64
_FLOATS = {
    4: (0.0, -0.0, 1.0, -1.0, 2.0**-149, 2.0**-126, 3.4028234663852886e38, math.inf, -math.inf, math.nan),
    8: (0.0, -0.0, 1.0, -1.0, 2.0**-1074, 2.0**-1022, 1.7976931348623157e308, math.inf, -math.inf, math.nan),
}
"""Zeros, ones, the least denormal and normal number, the greatest, the infinities."""


class _StrategyBuilder:
    """Draws (bytes, links) of every type. Objects are drawn in the order in which `Alias` counts them.

    It draws step by step and keeps its strategies: hypothesis takes longer to make a strategy than to draw from it.
    """

    def __init__(self, found: Hints, learned: Mapping[RelationScope, ParameterRelations]) -> None:
        self._numbers = found.numbers
        self._learned = learned
        self._ties: dict[RelationScope, ParameterRelations] = {}
        self.drawn: list[tuple[Type, int]] = []
        """The objects of this input so far: the type of the elements, and their number."""
        self._own: set[int] = set()
        """The objects among them that nothing else may point to, since a pointer to them is `restrict`."""
        self._left = _MOST_DRAWN
        """Elements that may still be drawn for this input, before the rest repeats."""
        self._inside: list[int] = []
        """The objects that are being drawn, each within the one before it."""
        self._integers: dict[Int, st.SearchStrategy[int]] = {}
        pieces: list[st.SearchStrategy[bytes]] = [
            st.binary(max_size=12),
            st.sampled_from([bytes([byte]) for byte in _PLAIN_BYTES]),
            st.text("0123456789abcdef", max_size=16).map(str.encode),
            st.text("abcXYZ _\n", max_size=10).map(str.encode),
            st.sampled_from([bytes([byte]) * count for byte in b"a0 \n" for count in (2, 15, 33, 70)]),
        ]
        if found.strings:
            pieces.append(st.sampled_from(found.strings))
        self._pieces = st.lists(st.one_of(pieces), max_size=8)
        letters = "".join(chr(number) for number in found.numbers if 0 < number < 256)
        self._words = st.text(letters + "a0", max_size=24) if letters else st.text("aZ0 ,.", max_size=24)
        """Texts of the very characters that the program looks for: those get through parsers."""
        self._floats = {size: _float_strategy(size, found.floats) for size in (4, 8)}

    def begin(self) -> None:
        """Begin a new input."""
        self.drawn.clear()
        self._own.clear()
        self._inside.clear()
        self._left = _MOST_DRAWN

    def scope(
        self,
        draw: Draw,
        members: Sequence[Param],
        bound: ParameterRelations,
        rules: Mapping[int, ArgRule],
        depth: int = 0,
        left_out: Collection[int] = (),
    ) -> list[Made]:
        """The members of a scope, lengths and indices in accordance with their buffers. What is left out is empty."""
        counts = dict(bound.elements)
        texts: dict[int, bytes] = {}
        for length, buffers in bound.length_of.items():
            kind = members[length].type
            limit = kind.bounds[1] if isinstance(kind, Int) else 0
            low, high = rules.get(length, _NO_RULE).range or (0, limit)
            text = self._text(draw, 256) if _holds_text(members[buffers[0]].type) and draw(_HALF) else None
            count = min(max(draw(_COUNTS) if text is None else len(text), low), high)
            counts.update(dict.fromkeys((*buffers, length), count))
            if text is not None:
                texts[buffers[0]] = text[:count].ljust(count, b"\0")
        first: list[int] = []
        made: list[Made] = []
        for index, member in enumerate(members):
            first.append(len(self.drawn))
            if member.restrict:
                self._own.add(len(self.drawn))
            if index in left_out:
                made.append((b"", ()))
                continue
            rule = rules.get(index, _NO_RULE)
            related = self._related(draw, index, member, bound, first)
            made.append(related or self._member(draw, index, member, bound, counts, rule, depth, texts.get(index)))
        return made

    def _member(
        self,
        draw: Draw,
        index: int,
        member: Param,
        bound: ParameterRelations,
        counts: dict[int, int],
        rule: ArgRule,
        depth: int,
        text: bytes | None,
    ) -> Made:
        type = member.type
        if isinstance(type, Int):
            return self._number(draw, type, index, bound, counts, rule).to_bytes(type.size, "little"), ()
        if isinstance(type, Pointer):
            near = counts.get(bound.index_into[index], 8) if index in bound.index_into else None
            if text is not None and isinstance(type.target, Int) and draw(_MOSTLY):
                return self._object(type.target, len(text), text)
            return self._pointer(draw, type, counts.get(index), rule, depth, near, distinct=member.restrict)
        return self.value(draw, type, depth)

    def _related(
        self, draw: Draw, index: int, member: Param, bound: ParameterRelations, first: Sequence[int]
    ) -> Made | None:
        """A pointer to the end of a member's buffer, or back to the object that this one was reached from."""
        if not isinstance(member.type, Pointer) or not draw(_MOSTLY):
            return None
        if index in bound.end_of and bound.end_of[index] < index:
            number = first[bound.end_of[index]]
            if number < first[index]:
                element, count = self.drawn[number]
                return bytes(8), ((0, Alias(element, number, element.size * count)),)
        if index in bound.back:
            owners = [number for number in self._inside[:-1] if self.drawn[number][0] == member.type.target]
            return bytes(8), tuple((0, Alias(self.drawn[number][0], number, 0)) for number in owners[-1:])
        return None

    def _number(
        self, draw: Draw, type: Int, index: int, bound: ParameterRelations, counts: dict[int, int], rule: ArgRule
    ) -> int:
        """An integer, as the unsigned number that its bytes hold."""
        if index in bound.length_of:
            count = counts[index]
            value = count if draw(_DIGITS) or not count else draw(st.integers(0, count))
        elif rule.range:
            value = draw(st.integers(*rule.range))
        elif index in bound.index_into and draw(_DIGITS):
            value = draw(st.integers(0, counts.get(bound.index_into[index], 8)))
        elif index in bound.within and draw(_MOSTLY):
            value = draw(st.integers(0, bound.within[index]))
        else:
            value = draw(self._integer(type))
        return int(value) % (1 << 8 * type.size)

    # -- types

    def value(self, draw: Draw, type: Type, depth: int = 0) -> Made:
        """The bytes of a value of a type, and where its pointers lead."""
        if isinstance(type, Int):
            return (draw(self._integer(type)) % (1 << 8 * type.size)).to_bytes(type.size, "little"), ()
        if isinstance(type, Float):
            number = draw(self._floats[type.size])
            return _packed(number / 4 if isinstance(number, int) else number, type.size), ()
        if isinstance(type, Pointer):
            return self._pointer(draw, type, None, _NO_RULE, depth)
        if isinstance(type, Array):
            return self._elements(draw, type.element, type.count, depth)
        if isinstance(type, Struct):
            return self._struct(draw, type, depth)
        raise TypeError(f"no values of {type.name}")

    def _integer(self, type: Int) -> st.SearchStrategy[int]:
        if type not in self._integers:
            low, high = type.bounds
            edges = {low, low + 1, -1, 0, 1, high // 2, high - 1, high}
            constants = {number + step for number in self._numbers for step in (-1, 0, 1)}
            round_ = {*_ROUND, *(1 << bit for bit in range(9))}
            groups = [sorted((v for v in group if low <= v <= high), key=abs) for group in (edges, constants, round_)]
            small = st.integers(max(low, -10), min(high, 10))
            special = [st.sampled_from(group) for group in groups if group]
            self._integers[type] = st.one_of(small, *special, st.integers(low, high))
            if type.enumerators:
                named = [value for _, value in type.enumerators]
                others = {min(named) - 1, max(named) + 1, max(named) + 100, 0}
                unnamed = sorted(value for value in others if low <= value <= high and value not in named)
                self._integers[type] = st.sampled_from([*named, *(unnamed or named)])
        return self._integers[type]

    def _struct(self, draw: Draw, type: Struct, depth: int) -> Made:
        if not type.fields:
            return bytes(type.size), ()
        if type.union:
            field = type.fields[draw(st.integers(0, len(type.fields) - 1))]
            data, links = self.value(draw, field.type, depth)
            return data.ljust(type.size, b"\0"), links
        members = [Param(field.name, field.type) for field in type.fields]
        if type not in self._ties:
            named = relations_by_name([member.name for member in members], [member.type for member in members])
            self._ties[type] = merge_relations(named, self._learned.get(type))
        return _assembled(type, self.scope(draw, members, self._ties[type], {}, depth))

    def _pointer(
        self,
        draw: Draw,
        type: Pointer,
        count: int | None,
        rule: ArgRule,
        depth: int,
        near: int | None = None,
        *,
        distinct: bool = False,
    ) -> Made:
        null = bytes(8)
        target = type.target
        if isinstance(target, Function):
            if not rule.non_null and draw(_NULLS[0]):
                return null, ()
            return null, ((0, Callback(target, draw(st.integers(0, 1)) if depth else 0)),)
        often = _NULLS[min(depth, 3) if count is None else 0]
        too_large = target is not None and target.size > MAX_OBJECT_BYTES
        if depth >= _DEPTH or too_large or (not rule.non_null and draw(often)):
            return null, ()
        element: Type = UNTYPED if target is None else target
        shared = [] if distinct else self._shared(element)
        if shared and not draw(_ALIASED[min(depth, 1)]):
            return null, ((0, self._alias(draw, draw(st.sampled_from(shared)))),)
        if near is not None and isinstance(element, Int):
            value = draw(st.integers(0, near)) % (1 << 8 * element.size)
            return self._object(element, 1, value.to_bytes(element.size, "little"))
        is_text = isinstance(element, Int) and element.character and count is None
        if rule.elements:
            count = draw(st.integers(*rule.elements))
        elif rule.cstring or is_text:
            text = self._text(draw, 200).replace(b"\0", b"\1")
            text = (text * 300)[:300] if text and draw(_LONG) else text
            text += b"\0"
            text += b"" if type.const else _UNSET * draw(_ROOM)
            return self._object(element, len(text), text)
        if count is None:  # elements that are too few, the reference tells
            count = 1 if isinstance(element, (Struct, Pointer)) else draw(_FREE_COUNTS)
            count *= _WORD if element == UNTYPED else 1
        self._inside.append(len(self.drawn))
        self.drawn.append((element, count))
        data, links = self._elements(draw, element, count, depth + 1)
        self._inside.pop()
        return null, ((0, Object(element, count, data, links)),)

    def _object(self, element: Type, count: int, data: bytes) -> Made:
        self.drawn.append((element, count))
        return bytes(8), ((0, Object(element, count, data)),)

    def _shared(self, element: Type) -> list[int]:
        """The objects that a pointer may lead to again. Ways back are left to names and repairs: few survive them."""
        return [
            number
            for number, (other, _) in enumerate(self.drawn)
            if other == element and number not in self._inside and number not in self._own
        ]

    def _alias(self, draw: Draw, number: int) -> Alias:
        """A pointer to the same object as another: mostly to its start, else to any of its elements."""
        element, count = self.drawn[number]
        step = min(draw(_STEPS), count - 1) if count > 1 and draw(_HALF) else 0
        return Alias(element, number, step * element.size)

    def _elements(self, draw: Draw, element: Type, count: int, depth: int) -> Made:
        if isinstance(element, Int) and element.size == 1 and not element.boolean and not element.enumerators:
            text = self._text(draw, count)
            filled = draw(_FILLS)
            if filled == "again":
                rest = text or b"\0"
                return (text + rest * (count // len(rest)))[:count], ()
            return (text.ljust(count, b"\0") if filled == "zeros" else (text + b"\0").ljust(count, _UNSET))[:count], ()
        # The rest repeats: hypothesis gives up on examples that are too large.
        most = 6 if isinstance(element, Array) else 12 if isinstance(element, (Struct, Pointer)) else 40
        drawn = min(count, max(1, min(most, self._left)))
        self._left -= drawn
        return _array([self.value(draw, element, depth) for _ in range(drawn)], element.size, count)

    def _text(self, draw: Draw, size: int) -> bytes:
        """Up to `size` bytes of the kind that parsers meet: the program's own strings, runs, digits, anything."""
        if not size:
            return b""
        if not draw(_HALF):
            return b"".join(draw(self._pieces))[:size]
        text = draw(self._words)
        return (_closed(text) if draw(_HALF) else text).encode("latin-1")[:size]

    # -- variations

    def varied(self, draw: Draw, seeds: Sequence[Input]) -> Input:
        """A seed with up to three small changes."""
        made: Input = draw(st.sampled_from(seeds))
        for _ in range(draw(st.integers(0, 3))):
            if made.args:
                made = self._changed(draw, made)
        return made

    def _changed(self, draw: Draw, made: Input) -> Input:
        index = draw(st.integers(0, len(made.args) - 1))
        args = list(made.args)
        value = args[index]
        buffers = [target for _, target in value.links if isinstance(target, Object)]
        if buffers and buffers[0].data:
            target = buffers[0]
            place = draw(st.integers(0, len(target.data) - 1))
            changed = replace(target, data=_patched(target, place, self._text(draw, 8) or b"\0"))
            args = [_relinked(arg, target, changed) for arg in args]
        elif not value.links and not isinstance(value.type, Pointer):
            if isinstance(value.type, Int) and draw(st.booleans()):
                args[index] = _stepped(value, draw(st.integers(-2, 2)))
            else:
                args[index] = Value(value.type, *self.value(draw, value.type))
        return replace(made, args=tuple(args))


def _holds_text(type: Type) -> bool:
    return isinstance(type, Pointer) and isinstance(type.target, Int) and type.target.character


def _closed(text: str) -> str:
    """A text with its brackets and quotes closed, and those left out that close nothing."""
    found, still_open = "", ""
    for letter in text:
        if letter in "([{<":
            still_open += ")]}>"["([{<".index(letter)]
        elif letter in "\"'":
            still_open = still_open[:-1] if still_open.endswith(letter) else still_open + letter
        elif letter in ")]}>":
            if not still_open.endswith(letter):
                continue
            still_open = still_open[:-1]
        found += letter
    return found + still_open[::-1]


def _patched(target: Object, place: int, patch: bytes) -> bytes:
    """The bytes of an object with some of them replaced, but for its pointers."""
    data = bytearray((target.data[:place] + patch + target.data[place + len(patch) :])[: len(target.data)])
    size = max(target.element.size, 1)
    if isinstance(target.element, Int) and target.element.character and not target.data[-1]:
        data[-1] = 0  # a string stays one
    for start in range(place // size * size, place + len(patch), size):
        for at in _pointers(target.element, start):
            data[at : at + 8] = target.data[at : at + 8]
    return bytes(data)


def _pointers(type: Type, start: int) -> Iterator[int]:
    """Where the pointers of a value lie."""
    if isinstance(type, Pointer):
        yield start
    elif isinstance(type, Array):
        for index in range(type.count):
            yield from _pointers(type.element, start + index * type.element.size)
    elif isinstance(type, Struct):
        for field in type.fields:
            yield from _pointers(field.type, start + field.offset)


def _float_strategy(size: Literal[4, 8], constants: Sequence[float]) -> st.SearchStrategy[int | float]:
    """Quarters near zero, any number, and the program's constants with their neighbours."""
    groups: list[st.SearchStrategy[int | float]] = [
        st.integers(-64, 64),
        st.floats(width=32) if size == 4 else st.floats(width=64),
    ]
    if constants:
        groups.append(st.sampled_from([near for number in constants for near in _near(number, size)]))
    return st.one_of(groups)


def _near(number: float, size: int) -> tuple[float, ...]:
    """A number, its negative, and the representable ones on both sides of it."""
    number = float(struct.unpack("<f", _packed(number, 4))[0]) if size == 4 else number
    step = abs(number) * 2.0 ** (-23 if size == 4 else -52)
    return number, -number, number - step, number + step


def _packed(number: float, size: int) -> bytes:
    try:
        return struct.pack("<f" if size == 4 else "<d", number)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, number))


def _relinked(value: Value, old: Object, new: Object) -> Value:
    links = tuple((at, new if target is old else target) for at, target in value.links)
    return replace(value, links=links)


def _stepped(value: Value, step: int) -> Value:
    number = int.from_bytes(value.data, "little") + step
    if isinstance(value.type, Int) and value.type.boolean:
        number &= 1
    return replace(value, data=(number % (1 << 8 * len(value.data))).to_bytes(len(value.data), "little"))


def _array(made: Sequence[Made], size: int, count: int) -> Made:
    data = b"".join(item for item, _ in made)
    links = tuple((index * size + at, target) for index, (_, inner) in enumerate(made) for at, target in inner)
    if count > len(made) and made:
        data = (data * (count // len(made) + 1))[: count * size]
    return data, links


def _assembled(type: Struct, made: Sequence[Made]) -> Made:
    data = bytearray(type.size)
    links: list[tuple[int, Target]] = []
    for field, (item, inner) in zip(type.fields, made, strict=True):
        if field.bits:
            first, width = field.bits
            word = int.from_bytes(data, "little") & ~(((1 << width) - 1) << first)
            number = int.from_bytes(item, "little") & (1 << width) - 1
            data[:] = (word | number << first).to_bytes(type.size, "little")
        else:
            data[field.offset : field.offset + len(item)] = item
            links += [(field.offset + at, target) for at, target in inner]
    return bytes(data), tuple(links)
