"""Layout: the addresses of an input's objects. Each object ends at an unmapped page.

Every object gets a slot of its own, far from all others. So an access past the end of an object faults, instead of
hitting the next object. In an input that is 4 GiB aligned, each object starts where a slot starts instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmcompiler.errors import LayoutError
from pytest_llmcompiler.values.c_types import UNTYPED, Array, Field, Pointer, Struct, Type
from pytest_llmcompiler.values.input import (
    STANDARD_INPUT,
    Alias,
    Callback,
    Crossing,
    Input,
    Links,
    Object,
    PointerTarget,
    StandardStream,
    SymbolPointer,
    Value,
    find_standard_input,
)

PAGE = 4096
"""Bytes of a page, the smallest unit of mapped memory."""
SMALL_SLOTS, LARGE_SLOTS = 32, 2
"""Number of slots for objects of up to a page, and of slots for larger objects."""
MAX_OBJECT_BYTES = 17 * PAGE
"""Size of the largest object: more than 65,535 bytes, so that code which counts in 16 bits fails on it."""
_ALIGNED_SLOT_COUNT = 10
"""Number of slots for inputs that are 4 GiB aligned. Each mapped piece of memory slows the emulator down."""
_SLOT_ENDS, _SLOT_DISTANCE = 0x7F1A00000000, 1 << 32
"""The address at which the first slot ends, and the distance to the next end. Both are multiples of 4 GiB: there,
address arithmetic in 32 bits gives wrong results."""
_FIRST_ALIGNED_BIT = 37
"""The first aligned slot starts at 2 to this power, each other one at twice the address of the one before, all below
2^47, where addresses of user space end. So two of them have no bit in common: code that combines two pointers where it
should test one takes them for null."""
ARENA = SMALL_SLOTS * PAGE + LARGE_SLOTS * MAX_OBJECT_BYTES
"""Bytes of all slots together. They are adjacent in the host's memory and far apart in the guest's."""

STUBS = 0x0F000000
"""Address of the page of stubs. Each callback has a stub, and the last stub is the return address of a run."""
STUB_SIZE = 16
"""Bytes of a stub."""
RETURN = STUBS + PAGE - STUB_SIZE
"""The return address of the function under test."""

STREAMS = (0x7F0E5D3A9010, 0x7F0E5D3A9020, 0x7F0E5D3A9030)
"""What stands in a layout for the addresses of `stdin`, `stdout` and `stderr`, which each program has elsewhere. No
memory lies there, and no other value in a layout is likely to be one of them."""

_MAX_ALIGNMENT = 16
"""The largest alignment of a C type, in bytes (`alignof(max_align_t)`)."""
GARBAGE = (b"\xa5\x5a\x96\x69", b"\x5a\xa5\x69\x96")
"""Two patterns that fill uninitialised memory. The reference runs with both: a result that differs depends on
uninitialised memory. The patterns differ in every bit, so that a use of any bit shows."""


@dataclass(frozen=True)
class Slot:
    """A mapped piece of the guest's memory for one object."""

    address: int
    size: int
    host: int
    """Offset of the slot in the host's memory, in bytes."""


_SIZES = [MAX_OBJECT_BYTES] * LARGE_SLOTS + [PAGE] * SMALL_SLOTS
SLOTS = tuple(
    Slot(address=_SLOT_ENDS + index * _SLOT_DISTANCE - size, size=size, host=sum(_SIZES[:index]))
    for index, size in enumerate(_SIZES)
)
"""The slots of inputs that are not aligned. Each ends at a multiple of 4 GiB, with no memory behind it. The second page
of a large one begins at a multiple of 64 KiB."""
ALIGNED_SLOTS = tuple(
    Slot(address=1 << (_FIRST_ALIGNED_BIT + index), size=slot.size, host=slot.host)
    for index, slot in enumerate(SLOTS[:_ALIGNED_SLOT_COUNT])
)
"""The slots of inputs that are 4 GiB aligned. They share the host's memory with the first `SLOTS`."""


def is_in_slot(address: int) -> bool:
    """Whether an address lies among those of slots, or at the end of one. Between slots no memory lies."""
    return SLOTS[0].address <= address <= SLOTS[-1].address + SLOTS[-1].size or any(
        slot.address <= address <= slot.address + slot.size for slot in ALIGNED_SLOTS
    )


@dataclass(frozen=True)
class LaidOutObject:
    """An object at its address, with its name in C."""

    label: str
    """A C expression for the pointer to the object: `buf`, `list->next`."""
    address: int
    element: Type
    count: int
    size: int
    """Bytes of all elements together."""
    slot: Slot


@dataclass(frozen=True)
class Layout:
    """An input in memory."""

    images: tuple[bytes, ...]
    """The bytes of each argument."""
    objects: tuple[LaidOutObject, ...]
    """The objects in the order of their numbers, then the buffer for the result, if there is one."""
    callbacks: tuple[Callback, ...]
    """The callbacks by the number of their stub."""
    contents: tuple[tuple[LaidOutObject, bytes], ...]
    """The objects of the input, in the order of their numbers, with their bytes."""
    environment_seed: int
    result: LaidOutObject | None
    """The buffer for a result that is returned in memory."""
    globals: tuple[tuple[str, bytes], ...] = ()
    """The names and bytes of the global variables to set."""
    symbol_pointers: tuple[tuple[str, int, SymbolPointer], ...] = ()
    """The pointers to symbols in these variables: variable, offset in bytes, and target. Their bytes are zero, since
    each program has its symbols elsewhere."""
    is_4gib_aligned: bool = False
    """Whether objects start at multiples of 4 GiB, instead of ending at an unmapped page."""
    crossing: Crossing | None = None
    """Where the objects in the large slots lie across a multiple of 64 KiB."""
    standard_input: bytes | None = None
    """What the run can read from standard input; None where the environment seed chooses it."""
    has_streams: bool = False
    """Whether a pointer leads to a standard stream. Its bytes are those of one of `STREAMS`."""

    def initial_bytes(self, target: LaidOutObject, fill: int) -> bytes:
        """The bytes of an object's slot before a run. Bytes outside the object have the pattern `GARBAGE[fill]`."""
        memory = bytearray(GARBAGE[fill] * (target.slot.size // 4))
        data = next((data for candidate, data in self.contents if candidate is target), b"")
        start = target.address - target.slot.address
        memory[start : start + len(data)] = data
        return bytes(memory)


def lay_out(input: Input, names: Sequence[str], result: Type | None = None) -> Layout:
    """Give the objects of an input their addresses. `names` are the names of the parameters.

    `result` is the type of a result that the function returns in memory, for which a buffer is added. An input that is
    4 GiB aligned and has more objects than there are aligned slots is laid out like any other. Raises LayoutError.
    """
    if input.is_4gib_aligned:
        with contextlib.suppress(LayoutError):
            return _lay_out(input, names, result, is_aligned=True)
    return _lay_out(input, names, result, is_aligned=False)


def _lay_out(input: Input, names: Sequence[str], result: Type | None, *, is_aligned: bool) -> Layout:
    builder = _LayoutBuilder(is_aligned, input.crossing)
    buffer = builder.reserve("result", result, 1, result.size) if result is not None else None
    images = tuple(builder.encode(value, name) for value, name in zip(input.args, names, strict=True))
    encoded = [(name, builder.encode(value, name)) for name, value in input.globals]
    globals = tuple(pair for pair in encoded if pair[0] != STANDARD_INPUT)
    return Layout(
        images=images,
        objects=tuple(target for target, _ in builder.contents) + ((buffer,) if buffer else ()),
        callbacks=tuple(builder.callbacks),
        contents=tuple(builder.contents),
        environment_seed=input.environment_seed,
        result=buffer,
        globals=globals,
        symbol_pointers=tuple(
            (name, at, target)
            for name, value in input.globals
            for at, target in value.links
            if isinstance(target, SymbolPointer)
        ),
        is_4gib_aligned=is_aligned,
        crossing=input.crossing,
        standard_input=find_standard_input(input),
        has_streams=builder.has_streams,
    )


def label_objects(input: Input, names: Sequence[str]) -> list[str]:
    """The C names of the objects of an input, in the order of their numbers. Raises LayoutError."""
    builder = _LayoutBuilder()
    for name, value in (*zip(names, input.args, strict=True), *input.globals):
        builder.encode(value, name)
    return [target.label for target, _ in builder.contents]


class _LayoutBuilder:
    """Assigns slots to objects and stubs to callbacks, in the order of the input."""

    def __init__(self, is_aligned: bool = False, crossing: Crossing | None = None) -> None:
        self._is_aligned, self._crossing = is_aligned, crossing
        self.contents: list[tuple[LaidOutObject, bytes]] = []
        self.callbacks: list[Callback] = []
        self.has_streams = False
        slots = ALIGNED_SLOTS if is_aligned else SLOTS
        self._large_slots, self._small_slots = iter(slots[:LARGE_SLOTS]), iter(slots[LARGE_SLOTS:])

    def encode(self, value: Value, label: str) -> bytes:
        """The bytes of a value with its pointers filled in. Lays out the objects that it leads to."""
        is_array = isinstance(value.type, Array)
        type = value.type.element if isinstance(value.type, Array) else value.type
        return self._fill_pointers(value.data, value.links, label, type, at_pointer=is_array)

    def reserve(self, label: str, element: Type, count: int, size: int) -> LaidOutObject:
        """Give an object a slot of its own. Raises LayoutError where no slot is free or large enough."""
        crossed = self._find_crossing(element, size) if self._crossing and size <= PAGE else 0
        slot = next(self._large_slots, None) if crossed else None
        if slot is not None:
            return LaidOutObject(label, slot.address + PAGE - crossed, element, count, size, slot)
        slots = self._small_slots if size <= PAGE else self._large_slots
        slot = next(slots, None) if size <= MAX_OBJECT_BYTES else None
        if slot is None:
            raise LayoutError(label)
        address = slot.address
        if not self._is_aligned:
            address += slot.size - size
            address -= address % _alignment(element, size)
        return LaidOutObject(label, address, element, count, size, slot)

    def _find_crossing(self, element: Type, size: int) -> int:
        """The bytes of an object that lie before the multiple of 64 KiB; 0 for one that is too small."""
        align = max(_alignment(element, size), 1)
        before = max(element.size, align) if self._crossing == "first" else max(size // 2 // align * align, align)
        return before if before < size and before % align == 0 else 0

    def _lay_out_object(self, target: Object, label: str) -> int:
        laid_out = self.reserve(label, target.element, target.count, len(target.data))
        index = len(self.contents)
        self.contents.append((laid_out, b""))  # reserves the object's number before those of the objects it leads to
        data = self._fill_pointers(target.data, target.links, label, target.element, at_pointer=True)
        self.contents[index] = (laid_out, data)
        return laid_out.address

    def _fill_pointers(self, data: bytes, links: Links, label: str, type: Type, *, at_pointer: bool) -> bytes:
        if not links:
            return data
        filled = bytearray(data)
        for offset, target in links:
            address = self._locate(target, format_path(type, label, offset, at_pointer=at_pointer))
            filled[offset : offset + 8] = address.to_bytes(8, "little")
        return bytes(filled)

    def _locate(self, target: PointerTarget, label: str) -> int:
        if isinstance(target, Callback):
            return self._add_callback(target)
        if isinstance(target, SymbolPointer):
            return 0  # see `Layout.symbol_pointers`
        if isinstance(target, StandardStream):
            self.has_streams = True
            return STREAMS[target.number]
        return self._locate_alias(target) if isinstance(target, Alias) else self._lay_out_object(target, label)

    def _locate_alias(self, alias: Alias) -> int:
        if alias.index >= len(self.contents):
            return 0
        target, _ = self.contents[alias.index]
        is_valid = target.element == alias.element and 0 <= alias.offset <= target.size
        return target.address + alias.offset if is_valid else 0

    def _add_callback(self, target: Callback) -> int:
        if len(self.callbacks) >= PAGE // STUB_SIZE - 1:
            raise LayoutError("callbacks")
        self.callbacks.append(target)
        return STUBS + STUB_SIZE * (len(self.callbacks) - 1)


def _alignment(element: Type, size: int) -> int:
    """The alignment of an object in bytes. An object behind a `void *` can be of any type that its size allows."""
    if element == UNTYPED:
        largest_power_of_two = size & -size
        return largest_power_of_two & _MAX_ALIGNMENT - 1 or _MAX_ALIGNMENT
    return element.align if size else 1


def format_path(type: Type, label: str, offset: int, *, at_pointer: bool) -> str:
    """The C expression for the part of an object or value that lies `offset` bytes from its start.

    If `at_pointer`, `label` is a pointer to elements of `type`, else it is a value of `type`.
    """
    if not at_pointer:
        return _format_inside(type, label, offset)
    size = max(type.size, 1)
    index, rest = divmod(offset, size)
    if isinstance(type, Struct) and index == 0:
        member = _find_member(type, rest)
        return _format_inside(member.type, f"{label}->{member.name}", rest - member.offset) if member else f"*{label}"
    return _format_inside(type, f"{label}[{index}]" if index or not isinstance(type, Pointer) else f"*{label}", rest)


def _format_inside(type: Type, label: str, offset: int) -> str:
    if isinstance(type, Struct):
        member = _find_member(type, offset)
        return _format_inside(member.type, f"{label}.{member.name}", offset - member.offset) if member else label
    if isinstance(type, Array) and type.element.size:
        index, rest = divmod(offset, type.element.size)
        return _format_inside(type.element, f"{label}[{index}]", rest)
    return label


def _find_member(type: Struct, offset: int) -> Field | None:
    members = (field for field in type.fields if field.offset <= offset < field.offset + max(field.type.size, 1))
    return next(members, None)
