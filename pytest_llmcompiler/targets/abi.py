"""Calling conventions: where arguments and results are, and which registers a function must preserve.

This file has what the conventions have in common. The registers, and the rules by which arguments are distributed over
them, are the target's. The *argument area* is the part of the stack that holds arguments: it begins behind the return
address, or at the stack pointer where calls push none.
"""

from __future__ import annotations

import functools
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from pytest_llmcompiler.values.c_types import Function, Int, Pointer, Type

_WORD = 8
"""Bytes of a general register and of a stack slot, on all targets."""
_VECTOR_BYTES = 64
"""Bytes of the widest vector register that a processor has."""
_EMULATED_BYTES = 16
"""Bytes of the widest vector register that the emulator has."""
_VECTOR_MASK = (1 << 8 * _VECTOR_BYTES) - 1
_AREA_ALIGNMENT = 16
"""The size of the argument area is a multiple of this, in bytes, since the stack pointer is at a call."""
_UNDEFINED = b"\xb7\x8d\xa1\xc9\x95\xe3\xd5"
"""The contents of bits that the convention leaves undefined. Neither zeros nor ones nor one repeated byte, so that a
function that uses such bits computes something wrong."""
_INVERTED = bytes(byte ^ 0xFF for byte in _UNDEFINED)
"""The second contents of the same bits: a function whose behaviour differs between the two has used them."""
SMALL_NUMBERS = 16
"""Registers without a value hold 1 to this number in some runs. Code that takes such a register for a counter or a flag
may go wrong near the right value alone, and garbage is far from it."""
_SMALL_STEP = 5
"""How far the small numbers of two registers lie apart."""
_RESULT_POINTER = Pointer(None)
"""The type of the address of a result in memory."""
_MAX_LOCATED = 1024
"""Lists of argument types whose locations are kept: a function is called many times with the same types."""


@dataclass(frozen=True)
class ArgumentCopy:
    """An argument that is passed as the address of a copy."""

    pointer: str | int
    """The register that holds the address, or the offset of a stack slot in the argument area."""
    offset: int
    """The offset of the copy in the argument area, in bytes."""


@dataclass(frozen=True)
class CallSetup:
    """Registers and stack of one call."""

    registers: dict[str, int]
    stack: bytes
    """The argument area, with copies of arguments at its end; a multiple of 16 bytes."""
    with_inverted_bits: CallSetup | None = None
    """The same call with every bit inverted that the convention leaves undefined; None where there are no such bits."""
    copies: tuple[ArgumentCopy, ...] = ()
    """The addresses to fill in once the address of the argument area is known."""
    wide: tuple[tuple[str, int], ...] = ()
    """The registers of which more than 16 bytes are set, each with how many."""
    alignment: int = _AREA_ALIGNMENT
    """The alignment in bytes that the start of the argument area needs."""

    @property
    def inverse(self) -> CallSetup:
        """The same call, with the undefined bits inverted if there are any."""
        return self.with_inverted_bits or self

    def choose_small_numbers(self, names: Sequence[str]) -> dict[str, int]:
        """A number from 1 to 16 for each of the registers that has no argument. Calls with other arguments give others:
        code that uses such a register may go wrong for one number only."""
        start = zlib.crc32(repr(sorted(self.registers.items())).encode() + self.stack)
        free = (name for name in names if name not in self.registers)
        return {name: 1 + (start + _SMALL_STEP * index) % SMALL_NUMBERS for index, name in enumerate(free)}


@dataclass(frozen=True)
class ResultLocation:
    """Where a function leaves its result."""

    registers: tuple[str, ...]
    """One register for each part. For a result in memory: the register with its address at the return, if there is."""
    is_in_memory: bool
    """Whether the function writes the result to a buffer of its caller."""
    register_bytes: int = _WORD
    """Bytes of the result in each register; the last register may hold fewer."""


@dataclass(frozen=True)
class ArgumentLocation:
    """Where one argument is passed: in registers, one for each part, or at an offset in the argument area."""

    registers: tuple[str, ...] = ()
    offset: int = 0
    """In bytes; without meaning where there are registers."""
    register_bytes: int = _WORD
    """Bytes of the argument in each register; the last register may hold fewer."""
    is_indirect: bool = False
    """Whether the address of a copy is passed instead of the argument."""


class CallingConvention(ABC):
    """A calling convention."""

    integer_registers: tuple[str, ...]
    """The registers for integer arguments, in their order."""
    return_register: str
    """The register in which an integer or a pointer is returned."""
    result_registers: tuple[str, ...]
    """All registers in which a result, or a part of one, may be returned."""
    float_result_register: str
    """The register in which a float or a double is returned."""
    vector_count_register: str | None = None
    """The register whose lowest byte is an upper bound of how many vector registers hold arguments of a variadic
    function; None where the convention has no such rule."""
    separate_result_register: str | None = None
    """The register for the address of a result in memory; None where that address is passed as the first argument."""
    callee_saved: tuple[str, ...]
    """The registers that a function must preserve."""
    caller_saved: tuple[str, ...]
    """The general registers that a call may change."""
    vector_registers: tuple[str, ...]
    """The registers of 16 bytes that a call may change."""
    half_preserved_vectors: Mapping[str, str] = {}
    """Registers of 16 bytes of which a function must preserve the lower half -> the name of that half."""
    caller_extends: bool
    """Whether the caller extends integers below 32 bits to 32 bits. If not, the callee does where it needs them."""
    red_zone: int
    """Bytes below the stack pointer that a function may use: no signal handler or callee overwrites them."""
    shadow_space: int = 0
    """Bytes at the start of the argument area that hold no arguments and that the callee may use."""
    exempt_functions: frozenset[str] = frozenset()
    """Functions of the compiler's library that are called by rules of their own."""
    copy_alignment: int = _WORD
    """The least alignment of the copy of an argument, in bytes."""
    vector_sizes: frozenset[int]
    """The sizes in bytes of the vectors of GCC and clang that can be passed and returned: those that compilers agree
    on."""
    wide_vector_features: Mapping[int, str] = MappingProxyType({})
    """Further sizes -> LLVM's feature of the processors on which vectors of that size are passed in registers."""

    @abstractmethod
    def locate_result(self, function: Function) -> ResultLocation:
        """Where a function leaves its result."""

    @abstractmethod
    def locate_arguments(self, types: Sequence[Type]) -> list[ArgumentLocation]:
        """Where arguments of these types are passed."""

    def convert_variadic_type(self, type: Type) -> Type:
        """The type as which an argument is passed that stands in the place of `...`."""
        return type

    def find_variadic_registers(self, registers: Mapping[str, int], undefined: bytes) -> dict[str, int]:
        """The registers that a call of a variadic function sets in addition, given those that hold its arguments.

        What the convention leaves open in them depends on `undefined`, the contents of undefined bits.
        """
        return {}

    @property
    def wide_registers(self) -> tuple[str, ...]:
        """The registers of 16 bytes among those that a call may change or must preserve."""
        return (*self.vector_registers, *(name for name in self.callee_saved if name.startswith("xmm")))

    @property
    def result_pointer_register(self) -> str:
        """The register that holds the address of a result in memory when a function is entered."""
        return self.separate_result_register or self.integer_registers[0]

    def locate_call_arguments(self, types: Sequence[Type], in_memory: bool = False) -> list[ArgumentLocation]:
        """Where arguments of these types are passed in a call whose result is returned in memory or not."""
        passes_pointer_first = in_memory and self.separate_result_register is None
        first = (_RESULT_POINTER,) if passes_pointer_first else ()
        return list(_locate(self, (*first, *types))[len(first) :])

    def set_up_call(
        self, types: Sequence[Type], images: Sequence[bytes], *, variadic: bool = False, buffer: int | None = None
    ) -> CallSetup:
        """Distribute arguments over registers and stack.

        `images` are the bytes of each argument as they lie in memory. `buffer` is the address for a result in memory.
        """
        if buffer is not None and self.separate_result_register is None:
            types, images = [_RESULT_POINTER, *types], [buffer.to_bytes(_WORD, "little"), *images]
        plain = None if variadic or self.shadow_space else _find_plain_arguments(self, tuple(types))
        if plain is not None:
            setup = CallSetup(plain.place(images, _UNDEFINED), b"")
            inverse = CallSetup(plain.place(images, _INVERTED), b"") if plain.has_undefined_bits else setup
            return self._finish(setup, inverse, buffer)
        setup = self._distribute(types, images, variadic=variadic, undefined=_UNDEFINED)
        is_open = variadic and self.vector_count_register is not None
        if not (self.shadow_space or is_open) and all(type.size % _WORD == 0 for type in types):
            inverse = setup  # nothing leaves a part of a word undefined
        else:
            inverse = self._distribute(types, images, variadic=variadic, undefined=_INVERTED)
        return self._finish(setup, inverse, buffer)

    def _finish(self, setup: CallSetup, inverse: CallSetup, buffer: int | None) -> CallSetup:
        """A call with its inverse, and with the address of a result in memory."""
        if buffer is not None and self.separate_result_register is not None:
            setup.registers[self.separate_result_register] = buffer
            inverse.registers[self.separate_result_register] = buffer
        return setup if inverse is setup or setup == inverse else replace(setup, with_inverted_bits=inverse)

    def _distribute(
        self, types: Sequence[Type], images: Sequence[bytes], *, variadic: bool, undefined: bytes
    ) -> CallSetup:
        """Distribute arguments, with `undefined` in the bits that the convention leaves undefined."""
        registers: dict[str, int] = {}
        stack = bytearray((undefined * self.shadow_space)[: self.shadow_space])
        copied: list[tuple[str | int, Type, bytes]] = []
        locations = _locate(self, tuple(types))
        for type, image, location in zip(types, images, locations, strict=True):
            if location.is_indirect:
                pointer = location.registers[0] if location.registers else location.offset
                copied.append((pointer, type, image))
                image = bytes(_WORD)
            elif self.caller_extends and isinstance(type, Int) and type.size < 4:
                image = (int.from_bytes(image, "little", signed=type.signed) & 0xFFFFFFFF).to_bytes(4, "little")
            if location.registers:
                values = _split_into_registers(image, location.register_bytes, undefined)
                registers.update(zip(location.registers, values, strict=True))
            else:
                stack.extend(bytes(location.offset - len(stack)))
                stack += image + undefined[: -len(image) % _WORD]
        copies = []
        for pointer, type, image in copied:
            stack.extend(bytes(-len(stack) % max(self.copy_alignment, type.align)))
            copies.append(ArgumentCopy(pointer, len(stack)))
            stack += image
        if variadic:
            registers.update(self.find_variadic_registers(registers, undefined))
        wide = tuple(
            (name, location.register_bytes)
            for location in locations
            for name in location.registers
            if location.register_bytes > _EMULATED_BYTES
        )
        on_stack = (
            type.align
            for type, location in zip(types, locations, strict=True)
            if not (location.registers or location.is_indirect)
        )
        area = bytes(stack) + bytes(-len(stack) % _AREA_ALIGNMENT)
        return CallSetup(registers, area, None, tuple(copies), wide, max((_AREA_ALIGNMENT, *on_stack)))

    def read_arguments(
        self,
        types: Sequence[Type],
        register: Callable[[str], int],
        stack: Callable[[int, int], bytes],
        memory: Callable[[int, int], bytes],
        *,
        in_memory: bool = False,
    ) -> list[bytes]:
        """The bytes of each argument where a function is entered: the inverse of `set_up_call`.

        `register` reads a register by name. `stack` reads bytes of the argument area, `memory` bytes at an address;
        both take the offset or address, and the count. `in_memory` says whether the result is returned in memory.
        """
        images = []
        for type, location in zip(types, self.locate_call_arguments(types, in_memory), strict=True):
            size = _WORD if location.is_indirect else type.size
            if location.registers:
                values = (register(name) & _VECTOR_MASK for name in location.registers)
                parts = (value.to_bytes(_VECTOR_BYTES, "little")[: location.register_bytes] for value in values)
                image = b"".join(parts)[:size]
            else:
                image = stack(location.offset, size)
            images.append(memory(int.from_bytes(image, "little"), type.size) if location.is_indirect else image)
        return images

    def read_result(self, function: Function, registers: Mapping[str, int]) -> bytes:
        """The bytes of a result in registers; for a result in memory, the bytes of its address.

        `registers` has a value for each register that `locate_result` names.
        """
        if function.result is None:
            return b""
        location = self.locate_result(function)
        values = (registers[name] & _VECTOR_MASK for name in location.registers)
        parts = (value.to_bytes(_VECTOR_BYTES, "little")[: location.register_bytes] for value in values)
        size = location.register_bytes if location.is_in_memory else function.result.size
        return b"".join(parts)[:size]


class _PlainArgument(NamedTuple):
    """An argument of up to a word that is passed in one register."""

    register: str
    size: int
    """Bytes that are defined: of the type, or 4 where the caller extends the argument to these."""
    is_signed: bool


class _PlainArguments:
    """Arguments that are all plain. Most functions have no others, and their calls are set up many times."""

    def __init__(self, arguments: Sequence[_PlainArgument]) -> None:
        self._arguments = arguments
        self.has_undefined_bits = any(argument.size < _WORD for argument in arguments)

    def place(self, images: Sequence[bytes], undefined: bytes) -> dict[str, int]:
        """The registers, with `undefined` in the bits that the convention leaves undefined."""
        registers = {}
        for (register, size, is_signed), image in zip(self._arguments, images, strict=True):
            value = int.from_bytes(image, "little", signed=is_signed)
            if size < _WORD:
                bits = 8 * size
                value = value & (1 << bits) - 1 | int.from_bytes(undefined[: _WORD - size], "little") << bits
            registers[register] = value
        return registers


@functools.lru_cache(maxsize=_MAX_LOCATED)
def _find_plain_arguments(convention: CallingConvention, types: tuple[Type, ...]) -> _PlainArguments | None:
    """The arguments, if all of them are plain."""
    arguments = []
    for type, location in zip(types, _locate(convention, types), strict=True):
        if location.is_indirect or len(location.registers) != 1 or not 0 < type.size <= _WORD:
            return None
        is_extended = convention.caller_extends and isinstance(type, Int) and type.size < 4
        is_signed = is_extended and isinstance(type, Int) and type.signed
        arguments.append(_PlainArgument(location.registers[0], 4 if is_extended else type.size, is_signed))
    return _PlainArguments(arguments)


@functools.lru_cache(maxsize=_MAX_LOCATED)
def _locate(convention: CallingConvention, types: tuple[Type, ...]) -> tuple[ArgumentLocation, ...]:
    return tuple(convention.locate_arguments(types))


def _split_into_registers(image: bytes, count: int, undefined: bytes) -> list[int]:
    """The values of registers that hold `count` bytes of an argument each, with undefined bits behind its end."""
    parts = (image[start : start + count] for start in range(0, len(image), count))
    return [int.from_bytes(part + undefined[: max(0, _WORD - len(part))], "little") for part in parts]
