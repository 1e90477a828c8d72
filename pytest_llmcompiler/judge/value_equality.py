"""Whether two values of a C type are equal for every program that may look at them."""

from __future__ import annotations

import math
import struct

from pytest_llmcompiler.emulator.observation import Constants
from pytest_llmcompiler.values.c_types import (
    Array,
    Float,
    Int,
    Pointer,
    Struct,
    Type,
    build_value_mask,
    find_floats,
    list_members,
)

ConstantsOfBoth = tuple[Constants, Constants]
"""The read-only memory of the reference's run and of the candidate's, with a candidate's own data."""
_MOST_POINTERS = 4
"""Pointers that are followed one after the other, from constant to constant: a table of names has two."""
_QUIET_NAN_BITS = {4: bytes.fromhex("0000c07f"), 8: bytes.fromhex("000000000000f87f")}
"""The bits that are set in every quiet NaN, by its size: a float with these bits set is one."""


def same_value(
    type: Type | None,
    first: bytes,
    second: bytes,
    constants: ConstantsOfBoth | None = None,
    pointers: int = _MOST_POINTERS,
) -> bool:
    """Whether two values of a type are equal.

    Padding is ignored, all NaNs are equal, other floats are compared bit for bit. With the `constants` of both runs,
    pointers to equal constants are equal too: a candidate may bring constants of its own. At most so many `pointers`
    are followed one after the other.
    """
    if type is None or first == second or (isinstance(type, Struct) and type.opaque):
        return True
    if isinstance(type, Float):
        return is_nan(first) and is_nan(second)
    if isinstance(type, Pointer) and constants and pointers:
        return _same_constant(type, first, second, constants, pointers - 1)
    if isinstance(type, (Array, Struct)) and not (isinstance(type, Struct) and type.union):
        are_members_equal = all(
            same_value(member, first[at : at + member.size], second[at : at + member.size], constants, pointers)
            for at, member in list_members(type)
        )
        return are_members_equal and _bit_fields(type, first) == _bit_fields(type, second)
    mask = int.from_bytes(build_value_mask(type), "little")
    return not (int.from_bytes(first, "little") ^ int.from_bytes(second, "little")) & mask


def build_equality_mask(type: Type, value: bytes) -> bytes:
    """A mask of `type.size` bytes, with 1 bits where values have to agree with this one so that they are equal to it.

    Bits of padding are 0. In the place of a quiet NaN, only those bits are 1 that all quiet NaNs have set.
    """
    mask = bytearray(build_value_mask(type))
    for at, part in find_floats(type):
        clear_nan_bits(mask, value, at, part.size)
    return bytes(mask)


def clear_nan_bits(mask: bytearray, value: bytes, at: int, size: int) -> None:
    """Clear the bits of a mask in which the float at an offset of the value may differ: those of a quiet NaN."""
    bits = _QUIET_NAN_BITS[size]
    if all(byte & wanted == wanted for byte, wanted in zip(value[at : at + size], bits, strict=True)):
        mask[at : at + size] = bits


def is_nan(data: bytes) -> bool:
    """Whether the bytes of a float are no number."""
    return math.isnan(struct.unpack("<f" if len(data) == 4 else "<d", data)[0])


def _same_constant(type: Pointer, first: bytes, second: bytes, constants: ConstantsOfBoth, pointers: int) -> bool:
    expected, observed = (
        memory.at(int.from_bytes(data, "little"), type.target) for memory, data in zip(constants, (first, second))
    )
    if expected is None or observed is None or len(expected) != len(observed):
        return False
    is_string = isinstance(type.target, Int) and type.target.character
    return expected == observed or (not is_string and same_value(type.target, expected, observed, constants, pointers))


def _bit_fields(type: Type, data: bytes) -> list[int]:
    if not isinstance(type, Struct):
        return []
    word = int.from_bytes(data, "little")
    return [word >> field.bits[0] & (1 << field.bits[1]) - 1 for field in type.fields if field.bits]
