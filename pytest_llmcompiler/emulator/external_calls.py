"""The functions outside of the program: callbacks, and what the case only declares. Calls of them are recorded, and
answered with results that the input and the arguments choose."""

from __future__ import annotations

import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_llmcompiler.emulator.heap import HEAP, Heap, is_heap
from pytest_llmcompiler.emulator.kernel import GuestTrapError
from pytest_llmcompiler.emulator.memory import STACK_ADDRESS_END, find_words
from pytest_llmcompiler.emulator.observation import ELSEWHERE, Argument, Effect, ExternalCall, PointerArgument
from pytest_llmcompiler.program.varargs import format_types
from pytest_llmcompiler.values.c_types import (
    Array,
    Float,
    Function,
    Int,
    Pointer,
    Struct,
    Type,
    build_value_mask,
    find_unsupported,
)
from pytest_llmcompiler.values.layout import Layout

if TYPE_CHECKING:
    from pytest_llmcompiler.emulator.machine import Machine
    from pytest_llmcompiler.targets.abi import CallingConvention

_MOST = 4096
"""Bytes of what an argument points to that are compared."""
_ROOM = 64
"""Bytes of an object of unknown type that a call returns."""


class ExternalCalls:
    """Answers for the functions that are not there."""

    def __init__(self, machine: Machine, heap: Heap) -> None:
        self._machine, self._heap, self._convention = machine, heap, machine.program.target.convention
        self.effects: list[Effect] = []
        """What the last call did to memory."""
        symbols = machine.program.symbols
        self._globals = [(symbols[name].address, symbols[name].size, name) for name in machine.program.globals]
        self._strings = [
            range(symbol.address, symbol.address + symbol.size)
            for name, symbol in symbols.items()
            if name.startswith(".str")
        ]
        ends: dict[int, tuple[int, str]] = {}
        for name, symbol in symbols.items():
            if symbol.size:
                ends[symbol.address] = max(ends.get(symbol.address, (0, "")), (symbol.address + symbol.size, name))
        self._ends = sorted((start, *end) for start, end in ends.items())

    def called(self, name: str, type: Function, layout: Layout, number: int) -> tuple[ExternalCall, dict[str, bytes]]:
        """What a call that has just been made passes, and the registers that hold its result.

        `number` counts the calls of the run before this one.
        """
        self.effects = []
        kinds, values = self._arguments(type)
        rivals = [self._rivals(kinds, values, index) if type.ends else [] for index in range(len(values))]
        args = [self._argument(kinds, values, index, rivals[index], layout) for index in range(len(values))]
        numbers = (seed for kind, value in zip(kinds, values) for seed in self._seeds(kind, value, layout, number))
        seed = mix((layout.environment_seed, *numbers))
        self._write(kinds, values, rivals, seed, layout)
        return ExternalCall(name, tuple(args)), self._result(type, kinds, values, seed)

    # -- arguments

    def _arguments(self, type: Function) -> tuple[list[Type], list[int]]:
        """The types of a call's arguments and their values, without the bits that the caller may leave undefined."""
        unnamed = self._convention.convert_variadic_type
        named = [unnamed(param.type) if param.name.startswith("...[") else param.type for param in type.params]
        if any(map(find_unsupported, named)):
            return [], []
        in_memory = self._convention.locate_result(type).in_memory
        values = self._values(named, in_memory)
        if type.format and isinstance(named[-1], Pointer):
            asked = format_types(self._text(values[-1], _MOST))
            if asked:
                named += map(unnamed, asked)
                values = self._values(named, in_memory)
        return named, values

    def _values(self, types: list[Type], in_memory: bool) -> list[int]:
        types = [promote_argument(type, self._convention) for type in types]
        images = self._machine.arguments(types, in_memory=in_memory)
        if any(len(image) < kind.size for kind, image in zip(types, images, strict=True)):
            raise GuestTrapError("a call whose arguments lie in no memory")
        return [_defined(kind, image) for kind, image in zip(types, images, strict=True)]

    def _argument(
        self, kinds: list[Type], values: list[int], index: int, rivals: list[int], layout: Layout
    ) -> Argument:
        """What there is to compare of an argument."""
        kind, value = kinds[index], values[index]
        if not isinstance(kind, Pointer):
            return value
        if isinstance(kind.target, Function):
            return self._machine.shared_address(value)
        for target in layout.objects:
            if target.address <= value < target.address + target.size:
                fits = target.element.size and not (value - target.address) % target.element.size
                end = target.address + target.size
                return PointerArgument(value, self._until(value, end), target.element if fits else None)
        size = self._heap.extent(value)
        if size:
            return PointerArgument(value, self._until(value, value + size), _sized(kind.target))
        for address, size, name in self._globals:
            if address <= value < address + size:
                data = self._until(value, address + size)
                return PointerArgument(value, data, _sized(kind.target), name, value - address)
        region = self._machine.region_of(value)
        if region == "stack":
            data = self._first(kind, value, value + _length(kinds, values, index))
            return PointerArgument(
                ELSEWHERE, data, _sized(kind.target), is_possible_end=any(rival < value for rival in rivals)
            )
        if region in ("constant", "own"):
            data = self._first(kind, value, self._end(value, layout) or value + _MOST)
            return PointerArgument(ELSEWHERE, data, _sized(kind.target))
        return PointerArgument(self._machine.shared_address(value))

    def _rivals(self, kinds: list[Type], values: list[int], index: int) -> list[int]:
        """The other arguments that point to the same type, in memory of the same kind: this may be the end of one."""
        region, name = self._machine.region_of, _pointee(kinds[index])
        return [
            value
            for other, (kind, value) in enumerate(zip(kinds, values))
            if other != index and name and _pointee(kind) == name and region(value) == region(values[index])
        ]

    def _holder(self, address: int) -> tuple[int, int, str] | None:
        """The symbol of the program that holds an address: where it starts and ends, and its name."""
        index = bisect_right(self._ends, (address, 1 << 64)) - 1
        return self._ends[index] if index >= 0 and address < self._ends[index][1] else None

    def _end(self, address: int, layout: Layout) -> int | None:
        """Where the object ends that holds an address; None where that is not known, as on the stack."""
        held = (target for target in layout.objects if target.address <= address < target.address + target.size)
        ends = (target.address + target.size for target in held)
        size, symbol = self._heap.extent(address), self._holder(address)
        return next(ends, None) or (address + size if size else symbol[1] if symbol else self._own_end(address))

    def _own_end(self, address: int) -> int | None:
        """Where a candidate's own object ends: at the latest at the next name that is no compiler's label."""
        own = self._machine.candidate
        for part in own.segments if own else ():
            end = part.address + len(part.data)
            if own and part.address <= address < end:
                starts = (at for name, at in own.symbols.items() if not name.startswith(".L"))
                return min((at for at in starts if address < at < end), default=end)
        return None

    def _until(self, address: int, end: int) -> bytes:
        """What lies from one address to another, up to 4096 bytes. Where the stack is tells nothing."""
        data = bytearray(self._machine.read(address, min(end - address, _MOST)))
        for at, _ in find_words(bytes(data), address, STACK_ADDRESS_END):
            data[at : at + 8] = ELSEWHERE.to_bytes(8, "little")
        return bytes(data)

    def _first(self, kind: Pointer, address: int, end: int) -> bytes:
        """The string at an address, or the first element there; of an unknown type only a constant string.

        A string that is not ended before `end` is as long as that.
        """
        element = _sized(kind.target)
        if _is_text(element) or (element is None and self._is_string(address)):
            return self._text(address, end - address)
        if element is None:
            return b""
        on_stack = self._machine.region_of(address) == "stack"
        data = self._until(address, address + element.size if on_stack else min(end, address + element.size))
        return _defined(element, data).to_bytes(len(data), "little") if len(data) == element.size else data

    def _is_string(self, address: int) -> bool:
        own = self._machine.region_of(address) == "constant" and not self._machine.in_program(address)
        return own or any(address in string for string in self._strings)

    def _text(self, address: int, size: int) -> bytes:
        text = self._machine.read(address, min(size, _MOST))
        return text[: text.find(b"\0") + 1] or text

    def _seeds(self, kind: Type, value: int, layout: Layout, number: int) -> Iterator[int]:
        """The numbers that a result depends on: never the address of what may lie elsewhere in another run, or in the
        probe, and nothing that may lie past the end of an object."""
        if not isinstance(kind, Pointer):
            yield _without_heap(value & int.from_bytes(build_value_mask(kind, pointers=False), "little"))
        elif isinstance(kind.target, Function):
            yield self._identity(self._machine.shared_address(value), layout)
        else:
            region = self._machine.region_of(value)
            yield self._identity(value, layout) if region in ("data", "object") else min(value, 1)
            yield number if region == "stack" else self._contents(kind, value, layout)

    def _identity(self, address: int, layout: Layout) -> int:
        """A number for an address that is the same in every build of the program, and wherever the objects lie."""
        for number, target in enumerate(layout.objects):
            if target.address <= address <= target.address + target.size:
                return mix((number, address - target.address))
        symbol = self._holder(address)
        return mix((zlib.crc32(symbol[2].encode()), address - symbol[0])) if symbol else address

    def _contents(self, kind: Pointer, address: int, layout: Layout) -> int:
        """What a pointer points to, as far as that surely is an object's, and without pointers."""
        end = self._end(address, layout)
        if end is None or kind.target is None:
            return 0
        data = self._first(kind, address, end)
        number, element = int.from_bytes(data[:64], "little"), _sized(kind.target)
        if element is not None and not _is_text(element):
            number &= int.from_bytes(build_value_mask(element, pointers=False)[:64], "little")
        return _without_heap(number)

    # -- effects

    def _write(self, kinds: list[Type], values: list[int], rivals: list[list[int]], seed: int, layout: Layout) -> None:
        """Half of the calls write numbers through pointers that allow it, as real ones do."""
        for index, (kind, address) in enumerate(zip(kinds, values)):
            target = kind.target if isinstance(kind, Pointer) and not kind.const else None
            own = mix((seed, index))
            if target is None or not _is_number(target) or not own & 128:
                continue
            if self._is_writable(address, target.size, rivals[index], layout):
                self._put(address, generate_value(target, own))

    def _put(self, address: int, data: bytes) -> None:
        self.effects.append(Effect(address, data))
        self._machine.write(address, data)

    def _is_writable(self, address: int, size: int, rivals: list[int], layout: Layout) -> bool:
        """Whether an object surely lies at an address, rather than the end of one to which another argument points."""
        region = self._machine.region_of(address)
        if region == "stack":  # which of two lies lower tells nothing: the next compiler lays them out otherwise
            return not rivals and len(self._machine.read(address, size)) == size
        end = self._end(address, layout)
        known = end is not None and address + size <= end and region in ("data", "own", "object", "heap")
        return known and all(self._end(rival, layout) != address for rival in rivals)

    def _result(self, type: Function, kinds: list[Type], values: list[int], seed: int) -> dict[str, bytes]:
        result = type.result
        where = self._convention.locate_result(type)
        if where.in_memory and result is not None:
            address = self._machine.register(self._convention.result_pointer_register)
            self._put(address, generate_value(result, seed))
            return {name: address.to_bytes(8, "little") for name in where.registers}
        if isinstance(result, Pointer):
            return {self._convention.return_register: self._pointer(result, kinds, values, seed).to_bytes(8, "little")}
        data = generate_value(result, seed) if result is not None else b""
        parts = (data[start : start + where.width] for start in range(0, len(data), where.width))
        return dict(zip(where.registers, parts))

    def _pointer(self, type: Pointer, kinds: list[Type], values: list[int], seed: int) -> int:
        """Null, one of the arguments, or an object that now belongs to the caller, as if malloc had made it."""
        choice, seed = seed % 4, mix((seed, 1))
        target = type.target
        if choice == 0 or isinstance(target, Function) or find_unsupported(target):
            return 0
        fitting = [
            value
            for kind, value in zip(kinds, values)
            if isinstance(kind, Pointer) and target is not None and kind.target is target and type.const >= kind.const
        ]
        if choice == 1 and fitting:
            return fitting[seed % len(fitting)]
        data = _object(target, seed)
        address = self._heap.allocate(len(data))
        if address:
            self.effects.append(Effect(address, data, is_allocation=True))
            self._machine.write(address, data)
        return address


def _object(element: Type | None, seed: int) -> bytes:
    """The contents of an object that a call returns."""
    if element is None or not element.size:
        # Text, or a number and zeros: whatever it is taken for, something of it makes sense.
        return _letters(seed, _ROOM) if seed & 1 else (seed % 7).to_bytes(_ROOM, "little")
    if _is_text(element):
        return _letters(seed, _ROOM)
    count = 1 if isinstance(element, (Struct, Array, Pointer)) else _ROOM // element.size
    return generate_value(Array(element, count), seed)


def generate_value(type: Type, seed: int) -> bytes:
    """A value of a type, chosen by a number. Pointers in it are null."""
    if isinstance(type, Int):
        return _integer(type, seed)
    if isinstance(type, Float):
        return struct.pack("<f" if type.size == 4 else "<d", (seed % 64 - 16) / 4)
    if isinstance(type, Array):
        if _is_text(type.element):
            return _letters(seed, type.count)
        return b"".join(generate_value(type.element, mix((seed, index))) for index in range(type.count))
    if isinstance(type, Struct):
        return _struct(type, seed)
    return bytes(type.size)


def _integer(type: Int, seed: int) -> bytes:
    if type.enumerators:
        number = type.enumerators[seed % len(type.enumerators)][1]
    elif type.boolean:
        number = seed & 1
    else:
        number = seed % 7 - 2 if seed & 64 else seed
    return (number % (1 << 8 * type.size)).to_bytes(type.size, "little")


def _struct(type: Struct, seed: int) -> bytes:
    data = 0
    for index, member in enumerate(type.fields[:1] if type.union else type.fields):
        number = int.from_bytes(generate_value(member.type, mix((seed, index))), "little")
        first, width = member.bits or (8 * member.offset, 8 * member.type.size)
        data |= (number & (1 << width) - 1) << first
    return data.to_bytes(type.size, "little")


def _letters(seed: int, size: int) -> bytes:
    """Text of up to 15 letters and digits, ended by zeros."""
    alphabet = b"abcdefgxyzABC 0123456789_-.,/:=\n"
    letters = bytes(alphabet[mix((seed, index)) % len(alphabet)] for index in range(min(seed % 16, size - 1)))
    return letters.ljust(size, b"\0")


def _defined(type: Type, image: bytes) -> int:
    """The significant bits of a value. All NaNs are one."""
    if isinstance(type, Float):
        number = struct.unpack("<f" if type.size == 4 else "<d", image)[0]
        image = image if number == number else struct.pack("<f" if type.size == 4 else "<d", float("nan"))
    return int.from_bytes(image, "little") & int.from_bytes(build_value_mask(type), "little")


def promote_argument(type: Type, convention: CallingConvention) -> Type:
    """What an argument is passed as: where callers extend narrow integers, both gcc and clang extend them to 32 bits,
    and clang's callees rely on that. IR does not always say that they are."""
    if convention.caller_extends and isinstance(type, Int) and type.size < 4 and not re.fullmatch(r"i\d+", type.name):
        return Int(4, type.signed, type.name)
    return type


def _without_heap(number: int) -> int:
    """A number, without the heap addresses in it."""
    if number < HEAP:
        return number
    size = -(-number.bit_length() // 64) * 8
    data = number.to_bytes(size, "little")
    words = (int.from_bytes(data[start : start + 8], "little") for start in range(0, size, 8))
    return int.from_bytes(b"".join((0 if is_heap(word) else word).to_bytes(8, "little") for word in words), "little")


def _length(kinds: list[Type], values: list[int], index: int) -> int:
    """How many bytes a buffer may have, where a number that follows it can be its length."""
    for kind, value in list(zip(kinds, values))[index + 1 : index + 2]:
        if isinstance(kind, Int) and kind.size > 1 and not kind.enumerators and 0 < value < _MOST:
            return value
    return _MOST


def _pointee(type: Type) -> str:
    """The name of the type that a pointer points to."""
    return type.target.name if isinstance(type, Pointer) and type.target is not None else ""


def _sized(type: Type | None) -> Type | None:
    return type if type is not None and type.size and not isinstance(type, Function) else None


def _is_text(type: Type | None) -> bool:
    return isinstance(type, Int) and type.character


def _is_number(type: Type | None) -> bool:
    """Whether any bytes are a value of a type that a program may find in its place."""
    return isinstance(type, Float) or (
        isinstance(type, Int) and type.size > 1 and not type.boolean and not type.enumerators and not type.character
    )


def mix(numbers: tuple[int, ...]) -> int:
    """Mix numbers into 64 bits (the multiplication and shift of splitmix64)."""
    state = 0
    for number in numbers:
        state = (state ^ number) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
        state ^= state >> 29
    return state
