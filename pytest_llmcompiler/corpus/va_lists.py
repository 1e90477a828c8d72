"""Drawing a `va_list` that `va_start` could have made, after any number of `va_arg`."""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmcompiler.corpus.drawing import Draw
from pytest_llmcompiler.values.c_types import Struct, Type
from pytest_llmcompiler.values.input import Alias, Links, PointerTarget
from pytest_llmcompiler.values.va_list import (
    ARGUMENT_AREA,
    GENERAL_BYTES,
    SAVE_AREA,
    SLOT,
    STACK_SLOTS,
    SYSTEM_V,
    VECTOR_BYTES,
)

_GENERAL_OFFSETS = range(0, GENERAL_BYTES + 1, 8)
"""Where the next integer is in the register save area; its end where all are used up."""
_VECTOR_OFFSETS = range(GENERAL_BYTES, GENERAL_BYTES + VECTOR_BYTES + 1, 16)
_GENERAL_REMAINING, _VECTOR_REMAINING = range(-64, 1, 8), range(-128, 1, 16)
"""The same on AArch64, in bytes from the end of each area."""
_STACK_COUNTS = (1, 2, 4, 6, 8, 12)
"""Arguments on the stack. Where a function reads more, the input is repaired."""


def draw_va_list(
    draw: Draw,
    draw_object: Callable[[Type, int], PointerTarget],
    type: Struct,
    number: int,
) -> tuple[bytes, Links]:
    """The bytes of a `va_list` struct, with the memory that its pointers lead to.

    `draw_object` draws an object of so many elements. `number` is that of the first object.
    """
    if type is SYSTEM_V:
        offsets = (draw(_GENERAL_OFFSETS), draw(_VECTOR_OFFSETS))
        stack = draw_object(SLOT, draw(_STACK_COUNTS))
        saved = draw_object(SAVE_AREA, 1)
        data = b"".join(offset.to_bytes(4, "little") for offset in offsets) + bytes(16)
        return data, ((8, stack), (16, saved))
    general_end = 8 * STACK_SLOTS + 64
    area = draw_object(ARGUMENT_AREA, 1)
    ends = [Alias(ARGUMENT_AREA, number, end) for end in (general_end, ARGUMENT_AREA.size)]
    offsets = (draw(_GENERAL_REMAINING), draw(_VECTOR_REMAINING))
    data = bytes(24) + b"".join(offset.to_bytes(4, "little", signed=True) for offset in offsets)
    return data, ((0, area), (8, ends[0]), (16, ends[1]))
