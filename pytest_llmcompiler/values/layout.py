"""Giving an input its addresses: each object ends at a page that is not mapped."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmcompiler.errors import LayoutError
from pytest_llmcompiler.values.c_types import UNTYPED, Array, Field, Pointer, Struct, Type
from pytest_llmcompiler.values.input import Alias, Callback, Input, Links, Object, Target, Value

PAGE = 4096
SMALL_SLOTS, LARGE_SLOTS, MAX_OBJECT_BYTES = 32, 2, 17 * PAGE
# Slots end, or begin, at multiples of 4 GiB, where arithmetic in 32 bits goes wrong.
_FEW = 10
_ENDS, _BEGINNINGS, _STRIDE = 0x7F1A00000000, 0x7F5A00000000, 1 << 32
ARENA = SMALL_SLOTS * PAGE + LARGE_SLOTS * MAX_OBJECT_BYTES
"""Bytes of all slots together, which lie one after another in the host's memory and far apart in the guest's."""

STUBS = 0x0F000000
"""Address of the page of stubs: 16 bytes for each callback, the last of them where a run returns to."""
STUB_SIZE = 16
RETURN = STUBS + PAGE - STUB_SIZE

_STRICTEST = 16
"""The alignment of anything in C."""
GARBAGE = (b"\xa5\x5a\x96\x69", b"\x5a\xa5\x69\x96")
"""What fills memory that nobody initialised. References run with both; a result that differs depends on garbage. Every
bit differs, so that whichever one is looked at makes a difference."""


@dataclass(frozen=True)
class Slot:
    """A mapped piece of the guest's memory for one object."""

    address: int
    size: int
    host: int
    """Its offset in the host's memory."""


_SIZES = [MAX_OBJECT_BYTES] * LARGE_SLOTS + [PAGE] * SMALL_SLOTS
SLOTS = tuple(Slot(_ENDS + index * _STRIDE - size, size, sum(_SIZES[:index])) for index, size in enumerate(_SIZES))
ALIGNED_SLOTS = tuple(
    Slot(_BEGINNINGS + index * _STRIDE, slot.size, slot.host) for index, slot in enumerate(SLOTS[:_FEW])
)
"""For inputs whose objects begin at multiples of 4 GiB. They share the host's memory with the others. They are few,
because the emulator is the slower the more pieces of memory there are."""


@dataclass(frozen=True)
class LaidOutObject:
    """An object at its address, and how C names it."""

    label: str
    """An expression for the pointer to it: `buf`, `list->next`."""
    address: int
    element: Type
    count: int
    size: int
    slot: Slot


@dataclass(frozen=True)
class Layout:
    """An input in memory."""

    images: tuple[bytes, ...]
    """The bytes of each argument."""
    objects: tuple[LaidOutObject, ...]
    callbacks: tuple[Callback, ...]
    """By the number of their stub."""
    contents: tuple[tuple[LaidOutObject, bytes], ...]
    environment_seed: int
    result: LaidOutObject | None
    """The buffer for a result that is returned in memory."""
    globals: tuple[tuple[str, bytes], ...] = ()
    """Global variables to set, by name."""
    is_4gib_aligned: bool = False
    """Whether objects begin where there is no memory before, rather than end where there is none behind."""

    def initial(self, layout: LaidOutObject, fill: int) -> bytes:
        """The bytes of an object's slot before a run; what belongs to no object is garbage."""
        memory = bytearray(GARBAGE[fill] * (layout.slot.size // 4))
        data = next((data for other, data in self.contents if other is layout), b"")
        start = layout.address - layout.slot.address
        memory[start : start + len(data)] = data
        return bytes(memory)


def lay_out(input: Input, names: Sequence[str], result: Type | None = None) -> Layout:
    """Place an input whose parameters have the given names.

    `result` is the type of a result that the function returns in memory, for which a buffer is added.
    Raises DoesNotFit.
    """
    if input.is_4gib_aligned:
        with contextlib.suppress(LayoutError):
            return _layout(input, names, result, is_4gib_aligned=True)
    return _layout(input, names, result, is_4gib_aligned=False)


def _layout(input: Input, names: Sequence[str], result: Type | None, *, is_4gib_aligned: bool) -> Layout:
    placer = _LayoutBuilder(is_4gib_aligned)
    buffer = None
    if result is not None:
        buffer = placer.reserve("result", result, 1, result.size)
    images = tuple(placer.value(value, name) for value, name in zip(input.args, names, strict=True))
    globals = tuple((name, placer.value(value, name)) for name, value in input.globals)
    objects = tuple(layout for layout, _ in placer.contents) + ((buffer,) if buffer else ())
    callbacks, contents = tuple(placer.callbacks), tuple(placer.contents)
    return Layout(images, objects, callbacks, contents, input.environment_seed, buffer, globals, is_4gib_aligned)


def label_objects(input: Input, names: Sequence[str]) -> list[str]:
    """How C names each object of an input, in the order of `objects`. Raises DoesNotFit."""
    placer = _LayoutBuilder()
    for name, value in (*zip(names, input.args, strict=True), *input.globals):
        placer.value(value, name)
    return [layout.label for layout, _ in placer.contents]


class _LayoutBuilder:
    def __init__(self, is_4gib_aligned: bool = False) -> None:
        self._low = is_4gib_aligned
        self.contents: list[tuple[LaidOutObject, bytes]] = []
        self.callbacks: list[Callback] = []
        slots = ALIGNED_SLOTS if is_4gib_aligned else SLOTS
        self._large, self._small = list(slots[:LARGE_SLOTS]), list(slots[LARGE_SLOTS:])

    def value(self, value: Value, label: str) -> bytes:
        at_pointer = isinstance(value.type, Array)
        type = value.type.element if isinstance(value.type, Array) else value.type
        return self._linked(value.data, value.links, label, type, at_pointer=at_pointer)

    def reserve(self, label: str, element: Type, count: int, size: int) -> LaidOutObject:
        free = self._small if size <= PAGE else self._large
        if not free or size > MAX_OBJECT_BYTES:
            raise LayoutError(label)
        slot = free.pop(0)
        address = slot.address
        if not self._low:
            address += slot.size - size
            address -= address % _alignment(element, size)
        return LaidOutObject(label, address, element, count, size, slot)

    def _object(self, target: Object, label: str) -> int:
        layout = self.reserve(label, target.element, target.count, len(target.data))
        index = len(self.contents)
        self.contents.append((layout, b""))
        data = self._linked(target.data, target.links, label, target.element, at_pointer=True)
        self.contents[index] = (layout, data)
        return layout.address

    def _linked(
        self,
        data: bytes,
        links: Links,
        label: str,
        type: Type,
        *,
        at_pointer: bool,
    ) -> bytes:
        linked = bytearray(data)
        for offset, target in links:
            address = self._target(target, format_path(type, label, offset, at_pointer=at_pointer))
            linked[offset : offset + 8] = address.to_bytes(8, "little")
        return bytes(linked)

    def _target(self, target: Target, label: str) -> int:
        if isinstance(target, Callback):
            return self._callback(target)
        return self._alias(target) if isinstance(target, Alias) else self._object(target, label)

    def _alias(self, alias: Alias) -> int:
        if alias.index >= len(self.contents):
            return 0
        layout, _ = self.contents[alias.index]
        fits = layout.element == alias.element and 0 <= alias.offset <= layout.size
        return layout.address + alias.offset if fits else 0

    def _callback(self, target: Callback) -> int:
        if len(self.callbacks) >= PAGE // STUB_SIZE - 1:
            raise LayoutError("callbacks")
        self.callbacks.append(target)
        return STUBS + STUB_SIZE * (len(self.callbacks) - 1)


def _alignment(element: Type, size: int) -> int:
    if element == UNTYPED:
        return size & -size & _STRICTEST - 1 or _STRICTEST
    return element.align if size else 1


def format_path(type: Type, label: str, offset: int, *, at_pointer: bool) -> str:
    """The C expression for what lies `offset` bytes into an object (or into a value).

    `label` is a pointer to elements of `type` where `at_pointer`, else a value of `type`.
    """
    if not at_pointer:
        return _inside(type, label, offset)
    size = max(type.size, 1)
    index, rest = divmod(offset, size)
    if isinstance(type, Struct) and index == 0:
        member = _member(type, rest)
        return _inside(member.type, f"{label}->{member.name}", rest - member.offset) if member else f"*{label}"
    return _inside(type, f"{label}[{index}]" if index or not isinstance(type, Pointer) else f"*{label}", rest)


def _inside(type: Type, label: str, offset: int) -> str:
    if isinstance(type, Struct):
        member = _member(type, offset)
        return _inside(member.type, f"{label}.{member.name}", offset - member.offset) if member else label
    if isinstance(type, Array) and type.element.size:
        index, rest = divmod(offset, type.element.size)
        return _inside(type.element, f"{label}[{index}]", rest)
    return label


def _member(type: Struct, offset: int) -> Field | None:
    inside = (field for field in type.fields if field.offset <= offset < field.offset + max(field.type.size, 1))
    return next(inside, None)
