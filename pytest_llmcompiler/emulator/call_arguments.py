"""The arguments of external calls: read from registers and memory, and described so that two runs can be compared.

A correct candidate may keep its variables elsewhere on the stack, and may have constants of its own. So addresses of
such memory are never part of a description, and neither is anything behind the end of an object.
"""

from __future__ import annotations

import functools
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmcompiler.emulator.addresses import AddressMap, Region
from pytest_llmcompiler.emulator.generated_values import is_character
from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.heap import HEAP_START, Heap, is_heap
from pytest_llmcompiler.emulator.kernel import GuestTrapError
from pytest_llmcompiler.emulator.memory import STACK_ADDRESS_END, find_words
from pytest_llmcompiler.emulator.observation import ELSEWHERE, Argument, PointerArgument
from pytest_llmcompiler.program.varargs import format_types
from pytest_llmcompiler.targets.abi import CallingConvention
from pytest_llmcompiler.values.c_types import (
    Function,
    Int,
    Pointer,
    Struct,
    Type,
    build_value_mask,
    find_floats,
    find_unsupported,
    has_pointers,
)
from pytest_llmcompiler.values.layout import Layout

MAX_POINTEE_SIZE = 4096
"""Bytes of what an argument points to that are compared, and above which a number is no length of a buffer."""
SEED_SIZE = 64
"""Bytes of what an argument points to that a result may depend on."""
_MAX_KNOWN_TYPES = 1_024
"""Types of which facts are kept: a run makes many calls with the same few."""


@dataclass(frozen=True)
class PassedArgument:
    """An argument as a call passes it."""

    type: Type
    value: int
    """Without the bits that the caller may leave undefined."""
    siblings: tuple[int, ...] = ()
    """The other arguments that point to the same type in the same kind of memory. For a function that takes ranges,
    this argument may be the end of the range that begins at one of them; at an end, nothing is compared or written."""


class Pointee(NamedTuple):
    """What the result of a call may depend on of what an argument points to."""

    region: Region
    room: int = 0
    """Bytes to the end of the object; 0 where that is not known."""
    data: bytes = b""
    """The string, or else the element, up to `SEED_SIZE` bytes."""


class ArgumentReader:
    """Reads the arguments of the external call that was just made."""

    def __init__(self, guest: Guest, addresses: AddressMap, heap: Heap) -> None:
        self._guest, self._addresses, self._heap = guest, addresses, heap
        self._convention = guest.convention
        self._returns_in_memory = functools.cache(lambda type: guest.convention.locate_result(type).is_in_memory)
        symbols = guest.program.symbols
        self._globals = [(symbols[name].address, symbols[name].size, name) for name in guest.program.globals]
        self._strings = guest.program.string_literals

    # -- values

    def read(self, type: Function, passed: Mapping[str, int]) -> list[PassedArgument]:
        """The arguments of a call; none for a function with parameters that can't be judged.

        `passed` are the integer argument registers. Raises GuestTrapError where an argument lies in unmapped memory.
        """
        types, values = self._read_values(type, passed)
        if not type.ends:
            return [PassedArgument(type, value) for type, value in zip(types, values)]
        return [
            PassedArgument(type, value, self._siblings(types, values, index))
            for index, (type, value) in enumerate(zip(types, values))
        ]

    def _read_values(self, type: Function, passed: Mapping[str, int]) -> tuple[list[Type], list[int]]:
        unnamed = self._convention.convert_variadic_type
        types = [unnamed(param.type) if param.name.startswith("...[") else param.type for param in type.params]
        if any(map(_find_unsupported, types)):
            return [], []
        in_memory = self._returns_in_memory(type)
        values = self._values_of(types, in_memory, passed)
        if type.format and isinstance(types[-1], Pointer):
            variadic = format_types(self._read_text(values[-1], MAX_POINTEE_SIZE))
            if variadic:
                types += map(unnamed, variadic)
                values = self._values_of(types, in_memory, passed)
        return types, values

    def _values_of(self, types: list[Type], in_memory: bool, passed: Mapping[str, int]) -> list[int]:
        types = [promote_argument(type, self._convention) for type in types]
        images = self._guest.read_arguments(types, in_memory=in_memory, known=passed)
        if any(len(image) < type.size for type, image in zip(types, images, strict=True)):
            raise GuestTrapError("a call whose arguments lie in unmapped memory")
        return [_significant_value(type, image) for type, image in zip(types, images, strict=True)]

    def _siblings(self, types: list[Type], values: list[int], index: int) -> tuple[int, ...]:
        region_of, name = self._addresses.region_of, _pointee_name(types[index])
        return tuple(
            value
            for other, (type, value) in enumerate(zip(types, values))
            if other != index and name and _pointee_name(type) == name and region_of(value) == region_of(values[index])
        )

    # -- descriptions

    def describe(self, arguments: list[PassedArgument], layout: Layout) -> tuple[Argument, ...]:
        """What of each argument is compared with another run."""
        return tuple(self._describe(arguments, index, layout) for index in range(len(arguments)))

    def _describe(self, arguments: list[PassedArgument], index: int, layout: Layout) -> Argument:
        argument = arguments[index]
        type, value = argument.type, argument.value
        if not isinstance(type, Pointer):
            return self._describe_value(type, value)
        if isinstance(type.target, Function):
            return self._addresses.shared_address(value)
        in_object = self._describe_object(type, value, layout)
        if in_object:
            return in_object
        region = self._addresses.region_of(value)
        if region == "stack":
            data = self._read_element(type, value, value + _buffer_size(arguments, index))
            is_possible_end = any(sibling < value for sibling in argument.siblings)
            return PointerArgument(ELSEWHERE, data, _sized(type.target), is_possible_end=is_possible_end)
        if region in ("constant", "candidate"):
            end = self._addresses.end_of_object(value) or value + MAX_POINTEE_SIZE
            return PointerArgument(ELSEWHERE, self._read_element(type, value, end), _sized(type.target))
        return PointerArgument(self._addresses.shared_address(value))

    def _describe_value(self, type: Type, value: int) -> Argument:
        """What of an argument is compared that is no pointer.

        A struct of pointers may lead to the stack and to constants of a candidate: it is compared as memory is.
        """
        if not isinstance(type, Struct) or not _has_pointers(type):
            return value
        data = value.to_bytes(type.size, "little")
        pointees = () if type.union else tuple(self._read_stack_pointees(type, data))
        return PointerArgument(ELSEWHERE, _hide_stack(data, 0), type, is_value=True, pointees=pointees)

    def _read_stack_pointees(self, type: Struct, data: bytes) -> Iterator[PointerArgument]:
        """The first element behind each member that leads to the stack. Of a text that is one character: nobody knows
        where its array ends. An element with pointers in it is left out: their values differ between correct runs."""
        for field in type.fields:
            target = _sized(field.type.target) if isinstance(field.type, Pointer) else None
            address = int.from_bytes(data[field.offset : field.offset + 8], "little")
            if target is None or _has_pointers(target):
                continue
            if self._addresses.region_of(address) == "stack":
                yield PointerArgument(ELSEWHERE, self._guest.read(address, target.size), target)

    def _describe_object(self, type: Pointer, value: int, layout: Layout) -> PointerArgument | None:
        """A pointer into an object of the input, a heap object or a global variable, with all of it from there on."""
        for placed in layout.objects:
            if placed.address <= value < placed.address + placed.size:
                is_at_element = placed.element.size and not (value - placed.address) % placed.element.size
                data = self._read_range(value, placed.address + placed.size)
                return PointerArgument(value, data, placed.element if is_at_element else None)
        size = self._heap.bytes_to_end(value)
        if size:
            return PointerArgument(value, self._read_range(value, value + size), _sized(type.target))
        for address, size, name in self._globals:
            if address <= value < address + size:
                data = self._read_range(value, address + size)
                return PointerArgument(value, data, _sized(type.target), name, value - address)
        return None

    def _read_range(self, address: int, end: int) -> bytes:
        """Read from one address to another, at most 4096 bytes, with `ELSEWHERE` for addresses of the stack."""
        return _hide_stack(self._guest.read(address, min(end - address, MAX_POINTEE_SIZE)), address)

    def _read_element(self, type: Pointer, address: int, end: int) -> bytes:
        """Read the string, or else the element, at an address; of an unknown type only a constant string.

        A string without a zero ends at `end`.
        """
        element = _sized(type.target)
        if is_character(element) or (element is None and self._is_string(address)):
            return self._read_text(address, end - address)
        if element is None:
            return b""
        on_stack = self._addresses.region_of(address) == "stack"
        data = self._read_range(address, address + element.size if on_stack else min(end, address + element.size))
        if len(data) < element.size:
            return data
        return _significant_value(element, data).to_bytes(len(data), "little")

    def _is_string(self, address: int) -> bool:
        """Whether an address is in a string literal: of the program, or, in a candidate, in any constant."""
        region = self._addresses.region_of(address)
        is_own = region == "constant" and not self._addresses.is_in_program(address)
        return is_own or any(address in string for string in self._strings)

    def _read_text(self, address: int, size: int) -> bytes:
        text = self._guest.read(address, min(size, MAX_POINTEE_SIZE))
        return text[: text.find(b"\0") + 1] or text

    # -- seeds

    def read_pointee(self, argument: PassedArgument) -> Pointee | None:
        """What a pointer to data leads to; None for any other argument."""
        type, address = argument.type, argument.value
        if not isinstance(type, Pointer) or isinstance(type.target, Function):
            return None
        region = self._addresses.region_of(address)
        end = None if region == "stack" else self._addresses.end_of_object(address)
        if end is None:
            return Pointee(region)
        data = b"" if type.target is None else self._read_element(type, address, end)
        return Pointee(region, end - address, data[:SEED_SIZE])

    def seeds(self, argument: PassedArgument, pointee: Pointee | None, number: int) -> Iterator[int]:
        """The numbers by which an argument chooses the result of the call, which is the `number`th of the run.

        They must be the same in every run of a correct candidate, and in the probe, so none of them is an address of
        the stack, of the heap or of a constant, nor depends on what lies behind the end of an object.
        """
        type, value = argument.type, argument.value
        if not isinstance(type, Pointer):
            yield _clear_heap_addresses(value & _value_mask(type, pointers=False))
        elif pointee is None:
            yield self._addresses.identity(self._addresses.shared_address(value))
        else:
            yield self._addresses.identity(value) if pointee.region in ("data", "object") else min(value, 1)
            yield number if pointee.region == "stack" else _contents_seed(type, pointee.data)


def _hide_stack(data: bytes, address: int) -> bytes:
    """The data at an address, with `ELSEWHERE` for addresses of the stack."""
    hidden = bytearray(data)
    for at, _ in find_words(data, address, STACK_ADDRESS_END):
        hidden[at : at + 8] = ELSEWHERE.to_bytes(8, "little")
    return bytes(hidden)


@functools.lru_cache(maxsize=_MAX_KNOWN_TYPES)
def promote_argument(type: Type, convention: CallingConvention) -> Type:
    """The type as which an argument is passed.

    Where callers extend narrow integers, both gcc and clang extend them to 32 bits, and clang's callees rely on it. The
    types of LLVM IR (`i8`) stay as they are: there an attribute says whether the argument is extended.
    """
    if convention.caller_extends and isinstance(type, Int) and type.size < 4 and not re.fullmatch(r"i\d+", type.name):
        return Int(4, type.signed, type.name)
    return type


def build_seed_mask(type: Pointer) -> bytes:
    """1 bits in the bytes of an element on which a result may depend; nothing where all bytes count."""
    element = _sized(type.target)
    if element is None or is_character(element):
        return b""
    return build_value_mask(element, pointers=False)[:SEED_SIZE]


def _contents_seed(type: Pointer, data: bytes) -> int:
    """What a pointer leads to, as far as the end of that is known, without pointers in it."""
    number, mask = int.from_bytes(data, "little"), build_seed_mask(type)
    return _clear_heap_addresses(number & int.from_bytes(mask, "little") if mask else number)


def _significant_value(type: Type, image: bytes) -> int:
    """A value as a number, without the bits that mean nothing. All NaNs are one."""
    for offset, part in find_floats(type):
        code = "<f" if part.size == 4 else "<d"
        if math.isnan(struct.unpack_from(code, image, offset)[0]):
            image = image[:offset] + struct.pack(code, math.nan) + image[offset + part.size :]
    return int.from_bytes(image, "little") & _value_mask(type)


@functools.lru_cache(maxsize=_MAX_KNOWN_TYPES)
def _find_unsupported(type: Type) -> str | None:
    return find_unsupported(type)


@functools.lru_cache(maxsize=_MAX_KNOWN_TYPES)
def _value_mask(type: Type, *, pointers: bool = True) -> int:
    return int.from_bytes(build_value_mask(type, pointers=pointers), "little")


_has_pointers = functools.lru_cache(maxsize=_MAX_KNOWN_TYPES)(has_pointers)


def _clear_heap_addresses(number: int) -> int:
    """Replace each 8-byte word of a number that is an address of the heap by zero."""
    if number < HEAP_START:
        return number
    size = -(-number.bit_length() // 64) * 8
    data = number.to_bytes(size, "little")
    words = (int.from_bytes(data[start : start + 8], "little") for start in range(0, size, 8))
    return int.from_bytes(b"".join((0 if is_heap(word) else word).to_bytes(8, "little") for word in words), "little")


def _buffer_size(arguments: list[PassedArgument], index: int) -> int:
    """Bytes that a buffer may have: the next argument, where that can be a length."""
    if index + 1 < len(arguments):
        type, value = arguments[index + 1].type, arguments[index + 1].value
        if isinstance(type, Int) and type.size > 1 and not type.enumerators and 0 < value < MAX_POINTEE_SIZE:
            return value
    return MAX_POINTEE_SIZE


@functools.lru_cache(maxsize=_MAX_KNOWN_TYPES)
def _pointee_name(type: Type) -> str:
    return type.target.name if isinstance(type, Pointer) and type.target is not None else ""


def is_text(type: Type) -> bool:
    """Whether an argument of this type leads to a text."""
    return isinstance(type, Pointer) and is_character(_sized(type.target))


def _sized(type: Type | None) -> Type | None:
    """A type whose values have a size; None for any other."""
    return type if type is not None and type.size and not isinstance(type, Function) else None
