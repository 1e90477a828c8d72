"""hypothesis strategies for the inputs of a function, made from its types."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from pytest_llmcompiler.inputs.scope import Ties, ties
from pytest_llmcompiler.inputs.value import Callback, Input, Object, Value
from pytest_llmcompiler.program.case import ArgRule
from pytest_llmcompiler.program.types import Array, Float, Function, Int, Param, Pointer, Struct, Type

_DEPTH = 5
"""Pointers in structs are null below this depth."""
_EXTRA = 8
"""Integers that are passed after the named parameters of a variadic function."""
Links = tuple[tuple[int, "Object | Callback"], ...]
Draw = Any


@dataclass(frozen=True)
class Hints:
    """What the program itself says of interesting values."""

    numbers: tuple[int, ...] = ()
    strings: tuple[bytes, ...] = ()


def hints(function_ir: str, module_ir: str) -> Hints:
    """The constants that a function's IR compares with, and the strings of its module."""
    numbers: set[int] = set()
    for line in function_ir.splitlines():
        if re.search(r"\b(?:icmp|switch|select|sub|xor|and)\b|^\s+i\d+ -?\d+, label", line):
            numbers.update(int(number) for number in re.findall(r"(?<![\w%.])-?\d+(?![\w.])", line))
    strings = (_unescaped(text) for text in re.findall(r'constant \[\d+ x i8\] c"([^"]*)"', module_ir))
    words = (number.to_bytes(8, "little").rstrip(b"\0") for number in numbers if number > 0xFFFF and number < 1 << 64)
    texts = {text for text in (*strings, *words) if 0 < len(text) <= 256}
    return Hints(tuple(sorted(numbers)), tuple(sorted(texts)))


def _unescaped(text: str) -> bytes:
    data = re.sub(r"\\([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text).encode("latin-1")
    return data.removesuffix(b"\0")


def inputs(
    function: Function, rules: Mapping[int, ArgRule], found: Hints, seeds: Sequence[Input] = ()
) -> st.SearchStrategy[Input]:
    """Inputs of a function: made from its types, and variations of `seeds`."""
    params = function.params + (_extra_params() if function.variadic else ())
    maker = _Maker(found)
    bound = ties([param.name for param in params], [param.type for param in params], rules)
    fresh = maker.scope(params, bound, rules)
    made = st.builds(Input, fresh.map(lambda pairs: tuple(_value(*pair) for pair in zip(params, pairs))), _SALTS)
    return st.one_of(made, maker.varied(tuple(seeds), bound)) if seeds else made


def _value(param: Param, made: tuple[bytes, Links]) -> Value:
    return Value(param.type, *made)


def _extra_params() -> tuple[Param, ...]:
    return tuple(Param(f"...[{index}]", Int(8, True, "long")) for index in range(_EXTRA))


_SALTS = st.integers(0, 7)
_COUNTS = st.one_of(st.integers(0, 8), st.sampled_from((1, 1, 2, 3, 4, 9, 16, 17, 33, 64, 65, 130, 200)))


class _Maker:
    """Strategies for (bytes, links) of every type."""

    def __init__(self, found: Hints) -> None:
        self._hints = found

    # -- scopes

    def scope(
        self, members: Sequence[Param], bound: Ties, rules: Mapping[int, ArgRule], depth: int = 0
    ) -> st.SearchStrategy[list[tuple[bytes, Links]]]:
        """The members of a scope, lengths and indices in accordance with their buffers."""

        @st.composite
        def draw_scope(draw: Draw) -> list[tuple[bytes, Links]]:
            counts: dict[int, int] = {}
            for length, buffers in bound.length_of.items():
                kind = members[length].type
                limit = kind.bounds[1] if isinstance(kind, Int) else 0
                low, high = rules.get(length, ArgRule()).range or (0, limit)
                count = min(max(draw(_COUNTS), low), high)
                counts.update(dict.fromkeys((*buffers, length), count))
            return [
                self._member(draw, index, member, bound, counts, rules.get(index, ArgRule()), depth)
                for index, member in enumerate(members)
            ]

        return draw_scope()

    def _member(
        self,
        draw: Draw,
        index: int,
        member: Param,
        bound: Ties,
        counts: dict[int, int],
        rule: ArgRule,
        depth: int,
    ) -> tuple[bytes, Links]:
        type = member.type
        if isinstance(type, Int):
            return self._number(draw, type, index, bound, counts, rule).to_bytes(type.size, "little"), ()
        if isinstance(type, Pointer):
            near = counts.get(bound.index_into[index], 8) if index in bound.index_into else None
            return self._pointer(draw, type, counts.get(index), rule, depth, near)
        return draw(self.of(type, depth))

    def _number(
        self, draw: Draw, type: Int, index: int, bound: Ties, counts: dict[int, int], rule: ArgRule
    ) -> int:
        """An integer, as the unsigned number that its bytes hold."""
        if index in bound.length_of:
            count = counts[index]
            number = draw(st.integers(0, 9))
            value = count if number or not count else draw(st.integers(0, count))
        elif rule.range:
            value = draw(st.integers(*rule.range))
        elif index in bound.index_into and draw(st.integers(0, 7)):
            value = draw(st.integers(0, counts.get(bound.index_into[index], 8)))
        else:
            value = draw(self._integer(type))
        return int(value) % (1 << 8 * type.size)

    # -- types

    def of(self, type: Type, depth: int = 0) -> st.SearchStrategy[tuple[bytes, Links]]:
        """The bytes of a value of a type, and where its pointers lead."""
        if isinstance(type, Int):
            size = type.size
            return self._integer(type).map(lambda value: ((value % (1 << 8 * size)).to_bytes(size, "little"), ()))
        if isinstance(type, Float):
            return self._float(type)
        if isinstance(type, Pointer):
            return st.composite(lambda draw: self._pointer(draw, type, None, ArgRule(), depth))()
        if isinstance(type, Array):
            return self._elements(type.element, type.count, depth)
        if isinstance(type, Struct):
            return self._struct(type, depth)
        raise TypeError(f"no strategy for {type.name}")

    def _integer(self, type: Int) -> st.SearchStrategy[int]:
        low, high = type.bounds
        if type.boolean:
            return st.integers(0, 1)
        if type.enumerators:
            return st.sampled_from([value for _, value in type.enumerators])
        special = {low, high, low + 1, high - 1, high // 2, 0, 1, 2, 7, 10, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256}
        special |= {number + step for number in self._hints.numbers for step in (-1, 0, 1)}
        fitting = sorted((value for value in special if low <= value <= high), key=abs)
        return st.one_of(
            st.integers(max(low, -10), min(high, 10)), st.sampled_from(fitting), st.integers(low, high)
        )

    def _float(self, type: Float) -> st.SearchStrategy[tuple[bytes, Links]]:
        code = "<f" if type.size == 4 else "<d"
        plain = st.integers(-64, 64).map(lambda value: value / 4)
        return st.one_of(plain, st.floats(width=8 * type.size)).map(  # type: ignore[arg-type]
            lambda value: (struct.pack(code, value), ())
        )

    def _struct(self, type: Struct, depth: int) -> st.SearchStrategy[tuple[bytes, Links]]:
        if not type.fields:
            return st.just((bytes(type.size), ()))
        if type.union:
            return st.one_of([self.of(field.type, depth) for field in type.fields]).map(
                lambda made: (made[0].ljust(type.size, b"\0"), made[1])
            )
        members = [Param(field.name, field.type) for field in type.fields]
        bound = ties([member.name for member in members], [member.type for member in members])
        return self.scope(members, bound, {}, depth).map(lambda made: _assembled(type, made))

    def _pointer(
        self, draw: Draw, type: Pointer, count: int | None, rule: ArgRule, depth: int, near: int | None = None
    ) -> tuple[bytes, Links]:
        null = bytes(8)
        target = type.target
        if isinstance(target, Function):
            return null, ((0, Callback(target, draw(st.integers(0, 1)) if depth else 0)),)
        if depth >= _DEPTH or (not rule.non_null and count is None and draw(st.integers(0, 11)) == 11):
            return null, ()
        element: Type = Int(1, False, "unsigned char") if target is None else target
        if near is not None and isinstance(element, Int):
            value = draw(st.integers(0, near)) % (1 << 8 * element.size)
            return null, ((0, Object(element, 1, value.to_bytes(element.size, "little"))),)
        if rule.elements:
            count = draw(st.integers(*rule.elements))
        string = rule.cstring or (count is None and isinstance(element, Int) and element.character)
        if string and not rule.elements:
            text = draw(self._text(200)).replace(b"\0", b"\1") + b"\0"
            if not type.const:  # room to write in
                text += bytes(draw(st.sampled_from((0, 0, 16, 80))))
            return null, ((0, Object(element, len(text), text)),)
        if count is None:
            count = draw(self._free_count(element))
        data, links = draw(self._elements(element, count, depth + 1))
        return null, ((0, Object(element, count, data, links)),)

    def _free_count(self, element: Type) -> st.SearchStrategy[int]:
        """How many elements a pointer leads to of which nothing is known: those that are too few, the reference tells."""
        if isinstance(element, Struct):
            return st.just(1)
        return st.sampled_from((1, 1, 1, 2, 3, 4, 8, 9, 16, 32, 64, 128))

    def _elements(self, element: Type, count: int, depth: int) -> st.SearchStrategy[tuple[bytes, Links]]:
        if isinstance(element, Int) and element.size == 1 and not element.boolean and not element.enumerators:
            return self._text(count).map(lambda data: (data.ljust(count, b"\0"), ()))
        if isinstance(element, Struct) and count > 12:
            count_drawn = 12  # the rest repeats: hypothesis refuses examples that are too large
        else:
            count_drawn = min(count, 40)
        drawn = st.lists(self.of(element, depth), min_size=count_drawn, max_size=count_drawn)
        return drawn.map(lambda made: _array(made, element.size, count))

    def _text(self, size: int) -> st.SearchStrategy[bytes]:
        """Up to `size` bytes of the kind that parsers meet: the program's own strings, runs, digits, anything."""
        pieces: list[st.SearchStrategy[bytes]] = [
            st.binary(max_size=12),
            st.sampled_from(b"aZ0 9\n\t-+,.:;/=\"'\\(){}[]<>#%&_\x7f\x80\xff\0").map(lambda byte: bytes([byte])),
            st.text("0123456789abcdef", max_size=16).map(str.encode),
            st.text("abcXYZ _\n", max_size=10).map(str.encode),
            st.tuples(st.sampled_from(b"a0 \n"), st.integers(0, 70)).map(lambda run: bytes([run[0]]) * run[1]),
        ]
        if self._hints.strings:
            pieces.append(st.sampled_from(self._hints.strings))
        return st.lists(st.one_of(pieces), max_size=min(size, 8)).map(lambda parts: b"".join(parts)[:size])

    # -- variations

    def varied(self, seeds: tuple[Input, ...], bound: Ties) -> st.SearchStrategy[Input]:
        """Seeds with up to three small changes."""

        @st.composite
        def draw_varied(draw: Draw) -> Input:
            made = draw(st.sampled_from(seeds))
            for _ in range(draw(st.integers(0, 3))):
                made = self._changed(draw, made, bound)
            return made

        return draw_varied()

    def _changed(self, draw: Draw, made: Input, bound: Ties) -> Input:
        if not made.args:
            return made
        index = draw(st.integers(0, len(made.args) - 1))
        args = list(made.args)
        value = args[index]
        buffers = [target for _, target in value.links if isinstance(target, Object)]
        if buffers and buffers[0].data:
            target = buffers[0]
            place = draw(st.integers(0, len(target.data) - 1))
            patch = draw(self._text(8)) or b"\0"
            data = (target.data[:place] + patch + target.data[place + len(patch) :])[: len(target.data)]
            kept = tuple((at, link) for at, link in target.links if not at - len(patch) < place < at + 8)
            changed = replace(target, data=data, links=kept)
            args = [_relinked(arg, target, changed) for arg in args]
        elif not value.links and not isinstance(value.type, Pointer):
            near = isinstance(value.type, Int) and draw(st.booleans())
            args[index] = _stepped(value, draw(st.integers(-2, 2))) if near else Value(value.type, *draw(self.of(value.type)))
        return replace(made, args=tuple(args))


def _relinked(value: Value, old: Object, new: Object) -> Value:
    links = tuple((at, new if target is old else target) for at, target in value.links)
    return replace(value, links=links)


def _stepped(value: Value, step: int) -> Value:
    number = int.from_bytes(value.data, "little") + step
    return replace(value, data=(number % (1 << 8 * len(value.data))).to_bytes(len(value.data), "little"))


def _array(made: Sequence[tuple[bytes, Links]], size: int, count: int) -> tuple[bytes, Links]:
    data = b"".join(item for item, _ in made)
    links = tuple((index * size + at, target) for index, (_, inner) in enumerate(made) for at, target in inner)
    if count > len(made) and made:
        data = (data * (count // len(made) + 1))[: count * size]
    return data, links


def _assembled(type: Struct, made: Sequence[tuple[bytes, Links]]) -> tuple[bytes, Links]:
    data = bytearray(type.size)
    links: list[tuple[int, Object | Callback]] = []
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
