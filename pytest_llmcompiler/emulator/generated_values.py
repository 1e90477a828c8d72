"""Values of C types that are chosen by a number: what external calls return and write."""

from __future__ import annotations

import struct

from pytest_llmcompiler.values.c_types import Array, Float, Int, Pointer, Struct, Type

_UNTYPED_SIZE = 64
"""Bytes of an object of unknown type, and about as many of an array of numbers or characters: enough for any index
that a small loop uses."""
_MASK = (1 << 64) - 1


def mix(numbers: tuple[int, ...]) -> int:
    """Mix numbers into 64 bits, with the multiplication and the shift of splitmix64 (Steele, Lea and Flood, 2014)."""
    state = 0
    for number in numbers:
        state = (state ^ number) * 0xBF58476D1CE4E5B9 & _MASK
        state ^= state >> 29
    return state


def generate_value(type: Type, seed: int) -> bytes:
    """A value of a type. Pointers in it are null."""
    if isinstance(type, Int):
        return _generate_integer(type, seed)
    if isinstance(type, Float):
        return struct.pack("<f" if type.size == 4 else "<d", (seed % 64 - 16) / 4)
    if isinstance(type, Array):
        if is_character(type.element):
            return _generate_text(seed, type.count)
        return b"".join(generate_value(type.element, mix((seed, index))) for index in range(type.count))
    if isinstance(type, Struct):
        return _generate_struct(type, seed)
    return bytes(type.size)


def generate_object(element: Type | None, seed: int) -> bytes:
    """The contents of an object to which a pointer to `element` leads: one struct, or several numbers."""
    if element is None or not element.size:
        # Text, or a small number and zeros: whichever type a program reads it as, some of it is a plausible value.
        return _generate_text(seed, _UNTYPED_SIZE) if seed & 1 else (seed % 7).to_bytes(_UNTYPED_SIZE, "little")
    if is_character(element):
        return _generate_text(seed, _UNTYPED_SIZE)
    count = 1 if isinstance(element, (Struct, Array, Pointer)) else _UNTYPED_SIZE // element.size
    return generate_value(Array(element, count), seed)


def is_character(type: Type | None) -> bool:
    """Whether a type is `char` or another type of characters."""
    return isinstance(type, Int) and type.character


def _generate_integer(type: Int, seed: int) -> bytes:
    if type.enumerators:
        number = type.enumerators[seed % len(type.enumerators)][1]
    elif type.boolean:
        number = seed & 1
    else:
        number = seed % 7 - 2 if seed & 64 else seed  # half of them are small
    return (number % (1 << 8 * type.size)).to_bytes(type.size, "little")


def _generate_struct(type: Struct, seed: int) -> bytes:
    data = 0
    for index, member in enumerate(type.fields[:1] if type.union else type.fields):
        number = int.from_bytes(generate_value(member.type, mix((seed, index))), "little")
        first, width = member.bits or (8 * member.offset, 8 * member.type.size)
        data |= (number & (1 << width) - 1) << first
    return data.to_bytes(type.size, "little")


def _generate_text(seed: int, size: int) -> bytes:
    """A string of up to 15 characters, filled up with zeros."""
    alphabet = b"abcdefgxyzABC 0123456789_-.,/:=\n"
    letters = bytes(alphabet[mix((seed, index)) % len(alphabet)] for index in range(min(seed % 16, size - 1)))
    return letters.ljust(size, b"\0")
