"""Edits of inputs: objects for null pointers, other elements at the end of an object, other integers everywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from pytest_llmcompiler.corpus.input_numbers import InputNumber, InputNumbers, OwnerKind
from pytest_llmcompiler.values.c_types import FILE, UNTYPED, Array, Function, Int, Pointer, Struct, Type
from pytest_llmcompiler.values.input import (
    Alias,
    Callback,
    Input,
    Links,
    Object,
    PointerTarget,
    Value,
    list_objects,
    replace_object,
)
from pytest_llmcompiler.values.layout import MAX_OBJECT_BYTES, SMALL_SLOTS
from pytest_llmcompiler.values.va_list import is_va_list

_NEW_ELEMENTS = 4
"""Elements of an object behind a pointer that was null, where no other object of its type says how many there are."""
_NEW_TEXT = b"ab\0"
_MAX_NEW = 8
"""New objects of one type that fill the pointers of one object. The pointers after them lead to the same ones."""
_MAX_OBJECTS = SMALL_SLOTS - 8
"""Objects that an input has at most after its null pointers are filled."""


def fill_null_pointers(input: Input) -> Input | None:
    """The input with an object behind each null pointer, as far as there is room; None where nothing is null.

    The objects' own pointers are null. In an array with many pointers the later ones lead to the objects of the first.
    """
    filler = _NullFiller(input)
    filled = filler.fill()
    return filled if filler.has_changed else None


class _NullFiller:
    """Fills the null pointers of one input."""

    def __init__(self, input: Input) -> None:
        self._input = input
        self._old = list_objects(input)
        self._samples = {target.element: target for target in reversed(self._old) if target.count}
        self._room = _MAX_OBJECTS - len(self._old)
        self._numbers: dict[int, int] = {}
        """The new number of each old object, by its old number."""
        self._seen = self._next = 0
        self.has_changed = False

    def fill(self) -> Input:
        """The filled input. Aliases are renumbered at the end, since new objects lie between the old ones."""
        args = [self._fill_value(value) for value in self._input.args]
        globals = [(name, self._fill_value(value)) for name, value in self._input.globals]
        input = replace(self._input, args=tuple(args), globals=tuple(globals))
        return _map_aliases(input, self._numbers)

    def _fill_value(self, value: Value) -> Value:
        return replace(value, links=self._fill_links(value.type, value.links))

    def _fill_links(self, type: Type, links: Links) -> Links:
        filled: list[tuple[int, PointerTarget]] = []
        for at, target in links:
            if isinstance(target, Object):
                self._numbers[self._seen] = self._next
                self._seen, self._next = self._seen + 1, self._next + 1
                target = replace(target, links=self._fill_links(Array(target.element, target.count), target.links))
            filled.append((at, target))
        linked = {at for at, _ in links}
        added: dict[Pointer, list[int]] = defaultdict(list)
        for at, pointer in list_pointers(type):
            if at not in linked:
                new = self._choose_target(pointer, added[pointer])
                filled += [(at, new)] if new else []
        return tuple(filled)

    def _choose_target(self, pointer: Pointer, added: list[int]) -> PointerTarget | None:
        """What a null pointer shall lead to. `added` are the numbers of the new objects beside it, as negative ones:
        they have no old number."""
        target = pointer.target
        if isinstance(target, Function):
            self.has_changed = True
            return Callback(target, 0)
        if target is FILE or is_va_list(pointer) or (target is not None and not 0 < target.size <= MAX_OBJECT_BYTES):
            return None
        element: Type = UNTYPED if target is None else target
        if len(added) >= _MAX_NEW or (added and self._room <= 0):
            self.has_changed = True
            return Alias(element, added[len(added) % _MAX_NEW % len(added)], 0)
        if self._room <= 0:
            return None
        self._room -= 1
        self.has_changed = True
        added.append(-1 - self._next)
        self._next += 1
        return self._build_object(element)

    def _build_object(self, element: Type) -> Object:
        sample = self._samples.get(element)
        if sample is not None and not isinstance(element, Struct):
            return Object(element, sample.count, sample.data)
        if isinstance(element, Int) and element.character:
            return Object(element, len(_NEW_TEXT), _NEW_TEXT)
        count = 1 if isinstance(element, Struct) else _NEW_ELEMENTS * (8 if element == UNTYPED else 1)
        unit = b"\1".ljust(element.size, b"\0") if isinstance(element, Int) else bytes(element.size)
        return Object(element, count, unit * count)


def _map_aliases(input: Input, numbers: Mapping[int, int]) -> Input:
    """The input with new numbers in its aliases. A negative number -1 - N is the new number N."""

    def map_links(links: Links) -> Links:
        return tuple([(at, map_target(target)) for at, target in links])

    def map_target(target: PointerTarget) -> PointerTarget:
        if isinstance(target, Alias):
            return replace(target, index=-1 - target.index if target.index < 0 else numbers.get(target.index, 0))
        return replace(target, links=map_links(target.links)) if isinstance(target, Object) else target

    args = [replace(value, links=map_links(value.links)) for value in input.args]
    globals = [(name, replace(value, links=map_links(value.links))) for name, value in input.globals]
    return replace(input, args=tuple(args), globals=tuple(globals))


def list_pointers(type: Type, start: int = 0) -> Iterator[tuple[int, Pointer]]:
    """The pointers in a value of a type, with their offsets in bytes. Of a union only the first member counts."""
    if isinstance(type, Pointer):
        yield start, type
    elif isinstance(type, Array) and not isinstance(type.element, Int):
        for index in range(type.count):
            yield from list_pointers(type.element, start + index * type.element.size)
    elif isinstance(type, Struct) and not type.opaque:
        for member in type.fields[:1] if type.union else type.fields:
            yield from list_pointers(member.type, start + member.offset)


def set_last_element(input: Input, number: int, offset: int, data: bytes) -> Input:
    """The input with other bytes at an offset of the last element of an object."""

    def change(old: Object) -> Object:
        at = (old.count - 1) * old.element.size + offset
        return replace(old, data=old.data[:at] + data + old.data[at + len(data) :])

    return replace_object(input, number, change)


def append_element(input: Input, number: int, data: bytes) -> Input:
    """The input with one more element at the end of an object. The element's pointers are null."""
    return replace_object(input, number, lambda old: replace(old, count=old.count + 1, data=old.data + data))


NumberChange = Callable[[InputNumber, int], int]
"""The new value of an integer, by the integer and by its position among those of its object."""


def change_numbers(input: Input, change: NumberChange) -> Input:
    """The input with each integer in its objects changed, but for characters and bytes."""
    edits: dict[int, dict[int, bytes]] = defaultdict(dict)
    positions: dict[tuple[OwnerKind, int], int] = defaultdict(int)
    for number in InputNumbers(input):
        if number.kind != "object" or number.type.size < 2 or number.type.enumerators:
            continue
        position = positions[number.kind, number.owner]
        positions[number.kind, number.owner] += 1
        value = change(number, position) % (1 << 8 * number.type.size)
        edits[number.owner][number.offset] = value.to_bytes(number.type.size, "little")
    for owner, patches in edits.items():
        input = replace_object(input, owner, lambda old, patches=patches: _patch(old, patches))  # type: ignore[misc]
    return input


def _patch(old: Object, patches: Mapping[int, bytes]) -> Object:
    data = bytearray(old.data)
    for at, piece in patches.items():
        data[at : at + len(piece)] = piece
    return replace(old, data=bytes(data))
