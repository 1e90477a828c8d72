"""`va_list` as the targets define it, and the memory that its pointers lead to.

System V, x86-64 (psABI, "The va_list Type"): a struct with the offsets of the next integer and the next floating-point
register in the register save area, where a variadic function has stored its argument registers, and a pointer to the
arguments on the stack. AArch64 (AAPCS64, "Variable argument lists"): pointers to the ends of two such areas, with
negative offsets. Windows: a pointer to the arguments, 8 bytes each.

C says nothing of the members. After a call, those of the caller's `va_list` are indeterminate. But a function that gets
the address of a `va_list` leaves it as it must be for the next `va_arg`.
"""

from __future__ import annotations

from pytest_llmcompiler.values.c_types import Array, Field, Float, Int, Pointer, Struct, Type

_INT, _LONG, _UNSIGNED = Int(4, True, "int"), Int(8, True, "long"), Int(4, False, "unsigned int")
_DOUBLE, _CHAR = Float(8, "double"), Int(1, True, "char", character=True)

SLOT = Struct(
    "argument", 8, 8, union=True, fields=[Field("number", 0, _LONG), Field("text", 0, Pointer(_CHAR, const=True))]
)
"""An argument in 8 bytes. It is a number or a text: the function alone knows what it asks for."""
GENERAL_BYTES, VECTOR_BYTES = 48, 128
"""Bytes that a variadic function of System V saves: six integer registers, and eight of 16 bytes."""
SAVE_AREA = Struct(
    "register save area",
    GENERAL_BYTES + VECTOR_BYTES,
    16,
    fields=[Field("general", 0, Array(SLOT, 6)), Field("vector", GENERAL_BYTES, Array(_DOUBLE, 16))],
)
SYSTEM_V = Struct(
    "struct __va_list_tag",
    24,
    8,
    opaque=True,
    fields=[
        Field("gp_offset", 0, _UNSIGNED),
        Field("fp_offset", 4, _UNSIGNED),
        Field("overflow_arg_area", 8, Pointer(SLOT)),
        Field("reg_save_area", 16, Pointer(SAVE_AREA)),
    ],
)

STACK_SLOTS = 12
"""Arguments on the stack of an input for AArch64."""
ARGUMENT_AREA = Struct(
    "argument area",
    8 * STACK_SLOTS + 64 + 128,
    16,
    fields=[
        Field("stack", 0, Array(SLOT, STACK_SLOTS)),
        Field("general", 8 * STACK_SLOTS, Array(SLOT, 8)),
        Field("vector", 8 * STACK_SLOTS + 64, Array(_DOUBLE, 16)),
    ],
)
"""All memory of one `va_list` for AArch64 in one object, since two of its pointers lead to the ends of areas."""
AAPCS = Struct(
    "struct __va_list",
    32,
    8,
    opaque=True,
    fields=[
        Field("__stack", 0, Pointer(ARGUMENT_AREA)),
        Field("__gr_top", 8, Pointer(ARGUMENT_AREA)),
        Field("__vr_top", 16, Pointer(ARGUMENT_AREA)),
        Field("__gr_offs", 24, _INT),
        Field("__vr_offs", 28, _INT),
    ],
)

WINDOWS = Pointer(SLOT)

STRUCTS = {"struct __va_list_tag": SYSTEM_V, "struct __va_list": AAPCS}
"""By the name of the struct in debug information."""


def is_va_list(type: Type | None) -> bool:
    """Whether a type is a `va_list`, a pointer to one, or for Windows the pointer that it is."""
    if isinstance(type, Array):
        return is_va_list(type.element)
    return type in (SYSTEM_V, AAPCS, WINDOWS) or (isinstance(type, Pointer) and is_va_list(type.target))


def is_va_list_object(type: Type | None) -> bool:
    """Whether an object is a whole `va_list`, as the address of one leads to. An array that is passed by itself, as
    System V's is, leads to its element."""
    return type == AAPCS or (isinstance(type, Array) and type.element == SYSTEM_V)
