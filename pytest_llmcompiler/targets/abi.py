"""Calling conventions: where arguments and results are, and what a function must leave as it finds it.

Which registers these are is a target's to say; what conventions have in common is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmcompiler.values.c_types import Function, Int, Pointer, Type


@dataclass(frozen=True)
class ArgumentCopy:
    """An argument that is passed as the address of a copy."""

    pointer: str | int
    """The register that holds the address, or the offset of that in the argument area."""
    offset: int
    """The copy's own offset in the argument area."""


@dataclass(frozen=True)
class CallSetup:
    """Where the arguments of one call go."""

    registers: dict[str, int]
    stack: bytes
    """The argument area, copies of arguments included; a multiple of 16 bytes."""
    with_inverted_bits: CallSetup | None = None
    """The same with every bit inverted that the convention leaves undefined, where there are such."""
    copies: tuple[ArgumentCopy, ...] = ()
    """What is to be filled in once it is known where the argument area lies."""

    @property
    def inverse(self) -> CallSetup:
        """The same call, and where it has undefined bits, the other values of these."""
        return self.with_inverted_bits or self


@dataclass(frozen=True)
class ResultLocation:
    """Where a result is found."""

    registers: tuple[str, ...]
    """One register for each part; for a result in memory, the one with the address of the caller's buffer, if any."""
    in_memory: bool
    width: int = 8
    """Bytes of the result in each register; the last may have fewer."""


@dataclass(frozen=True)
class ArgumentLocation:
    """Where one argument goes: registers, one for each part of it, or an offset in the argument area."""

    registers: tuple[str, ...] = ()
    offset: int = 0
    width: int = 8
    """Bytes of the argument in each register."""
    indirect: bool = False
    """What goes there is the address of a copy."""


class CallingConvention(ABC):
    """A calling convention."""

    integer_registers: tuple[str, ...]
    """The registers for integer arguments, in their order."""
    return_register: str
    """The register in which an integer or a pointer is returned."""
    separate_result_register: str | None = None
    """The register for the address of a result in memory; None where that is a first argument of its own."""
    callee_saved: tuple[str, ...]
    caller_saved: tuple[str, ...]
    """Those that a call may change, but for vectors."""
    vector_registers: tuple[str, ...]
    """Registers of 16 bytes that a call may change."""
    half_preserved_vectors: Mapping[str, str] = {}
    """Registers of 16 bytes of which a call may change the upper half -> the name of the lower half."""
    caller_extends: bool
    """Whether who calls extends integers to 32 bits, rather than who is called."""
    red_zone: int
    """Bytes below the stack pointer that a function may use as it likes: nobody else does."""
    shadow_space: int = 0
    """Bytes at the start of the argument area that hold no arguments, and that who is called may use as it likes."""
    exempt_functions: frozenset[str] = frozenset()
    """Functions of the compiler that are called in a way of their own."""
    copy_alignment: int = 8
    """The least alignment of the copy of an argument."""

    @abstractmethod
    def locate_result(self, function: Function) -> ResultLocation:
        """Where the result of a function is found."""

    @abstractmethod
    def locate_arguments(self, types: Sequence[Type]) -> list[ArgumentLocation]:
        """Where arguments of these types go."""

    def convert_variadic_type(self, type: Type) -> Type:
        """What an argument is passed as for which a variadic function has no parameter."""
        return type

    def find_variadic_registers(self, registers: Mapping[str, int]) -> dict[str, int]:
        """The registers in which a call of a variadic function tells of those that hold arguments."""
        return {}

    @property
    def wide_registers(self) -> tuple[str, ...]:
        """The registers of 16 bytes, of those that a call may change or must restore."""
        return (*self.vector_registers, *(name for name in self.callee_saved if name.startswith("xmm")))

    @property
    def result_pointer_register(self) -> str:
        """The register that has the address of a result in memory where a function is entered."""
        return self.separate_result_register or self.integer_registers[0]

    def locate_call_arguments(self, types: Sequence[Type], in_memory: bool = False) -> list[ArgumentLocation]:
        """Where arguments of these types go in a call whose result may be `in_memory`."""
        first = self._first(in_memory)
        return self.locate_arguments([*first, *types])[len(first) :]

    def set_up_call(
        self, types: Sequence[Type], images: Sequence[bytes], *, variadic: bool = False, buffer: int | None = None
    ) -> CallSetup:
        """Distribute arguments over registers and stack. `images` are the bytes of each argument as it lies in memory,
        `buffer` is the address for a result in memory."""
        if buffer is not None and self.separate_result_register is None:
            types, images = [Pointer(None), *types], [buffer.to_bytes(8, "little"), *images]
        made, other = (self._call(types, images, variadic, garbage) for garbage in (_UNDEFINED, _INVERTED))
        if buffer is not None and self.separate_result_register is not None:
            for one in (made, other):
                one.registers[self.separate_result_register] = buffer
        return made if made == other else replace(made, with_inverted_bits=other)

    def _call(self, types: Sequence[Type], images: Sequence[bytes], variadic: bool, garbage: bytes) -> CallSetup:
        registers: dict[str, int] = {}
        stack = bytearray((garbage * self.shadow_space)[: self.shadow_space])
        copies: list[tuple[str | int, Type, bytes]] = []
        for type, image, place in zip(types, images, self.locate_arguments(types), strict=True):
            if place.indirect:
                copies.append((place.registers[0] if place.registers else place.offset, type, image))
                image = bytes(8)
            elif self.caller_extends and isinstance(type, Int) and type.size < 4:
                image = (int.from_bytes(image, "little", signed=type.signed) & 0xFFFFFFFF).to_bytes(4, "little")
            if place.registers:
                registers.update(zip(place.registers, _words(image, place.width, garbage), strict=True))
            else:
                stack.extend(bytes(place.offset - len(stack)))
                stack += image + garbage[: -len(image) % 8]
        found = []
        for where, type, image in copies:
            stack.extend(bytes(-len(stack) % max(self.copy_alignment, type.align)))
            found.append(ArgumentCopy(where, len(stack)))
            stack += image
        if variadic:
            registers.update(self.find_variadic_registers(registers))
        return CallSetup(registers, bytes(stack) + bytes(-len(stack) % 16), None, tuple(found))

    def read_arguments(
        self,
        types: Sequence[Type],
        register: Callable[[str], int],
        stack: Callable[[int, int], bytes],
        memory: Callable[[int, int], bytes],
        *,
        in_memory: bool = False,
    ) -> list[bytes]:
        """The bytes of each argument at a function's entry: the inverse of `call`.

        `register` reads a register, `stack` a number of bytes at an offset in the argument area, `memory` at an
        address.
        """
        images = []
        for type, place in zip(types, self.locate_call_arguments(types, in_memory), strict=True):
            size = 8 if place.indirect else type.size
            parts = ((register(name) & (1 << 64) - 1).to_bytes(8, "little")[: place.width] for name in place.registers)
            image = b"".join(parts)[:size] if place.registers else stack(place.offset, size)
            images.append(memory(int.from_bytes(image, "little"), type.size) if place.indirect else image)
        return images

    def read_result(self, function: Function, registers: Mapping[str, int]) -> bytes:
        """The bytes of a result that was returned in registers (a value for each register that `result` names)."""
        if function.result is None:
            return b""
        where = self.locate_result(function)
        words = ((registers[name] & (1 << 128) - 1).to_bytes(16, "little") for name in where.registers)
        size = where.width if where.in_memory else function.result.size
        return b"".join(word[: where.width] for word in words)[:size]

    def _first(self, in_memory: bool) -> list[Type]:
        return [Pointer(None)] if in_memory and self.separate_result_register is None else []


_UNDEFINED = b"\xb7\x8d\xa1\xc9\x95\xe3\xd5"
"""What fills the bits that the convention leaves undefined: a callee that looks at them goes wrong."""
_INVERTED = bytes(byte ^ 0xFF for byte in _UNDEFINED)


def _words(image: bytes, width: int, garbage: bytes) -> list[int]:
    """The values of registers that have so many bytes of an argument each."""
    parts = (image[start : start + width] for start in range(0, len(image), width))
    return [int.from_bytes(part + garbage[: 8 - len(part)], "little") for part in parts]
