"""What comes after the named arguments of calls to functions that a module only declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pytest_llmcompiler.values.c_types import Float, Int, Pointer, Type

if TYPE_CHECKING:
    import llvmlite.binding as llvm

_CHAR = Int(1, True, "char", character=True)
_DIRECTIVE = re.compile(rb"%[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?(hh|h|ll|l|q|j|z|t|L)?(.)?", re.S)
_MOST = 64


def format_types(text: bytes) -> list[Type] | None:
    """The types of the arguments that a printf format asks for; None where that can't be said."""
    found: list[Type] = []
    for width, precision, length, letter in _DIRECTIVE.findall(text):
        if letter == b"%":
            continue
        found += [Int(4, True, "int") for part in (width, precision) if part == b"*"]
        type = _directive(letter, length, bounded=bool(precision))
        if type is None or len(found) > _MOST:
            return None
        found.append(type)
    return found


def _directive(letter: bytes, length: bytes, *, bounded: bool) -> Type | None:
    if letter in (b"d", b"i", b"u", b"x", b"X", b"o", b"c") and letter and length != b"L":
        return Int(8, True, "long") if length in (b"l", b"ll", b"q", b"j", b"z", b"t") else Int(4, True, "int")
    if letter in (b"f", b"F", b"e", b"E", b"g", b"G", b"a", b"A") and length != b"L":
        return Float(8, "double")
    if letter == b"s" and not length:
        return Pointer(None if bounded else _CHAR)  # with a precision there may be no end
    return Pointer(None) if letter == b"p" else None


def tail(
    module: llvm.ModuleRef, function: llvm.ValueRef, type_of: Callable[[llvm.TypeRef], Type]
) -> tuple[bool, list[Type]]:
    """What the calls of a variadic function in its module agree on.

    True where all of them pass what the last named argument, a printf format, asks for; else False, and the types that
    all of them pass.
    """
    calls = list(_calls(module, function.name))
    named = len(list(function.arguments))
    tails = [[type_of(operand.type) for operand in operands[named:]] for operands, plain in calls if plain]
    if not tails or len(tails) < len(calls):
        return False, []
    formats = [_constant(operands[named - 1]) for operands, _ in calls] if named else [None]
    if all(text is not None and _fits(text, types) for text, types in zip(formats, tails)):
        return True, []
    same = all(list(map(_kind, types)) == list(map(_kind, tails[0])) for types in tails)
    return False, tails[0] if same else []


def _calls(module: llvm.ModuleRef, name: str) -> Iterator[tuple[list[llvm.ValueRef], bool]]:
    """The arguments of each call of a function, and whether all of them are passed as they stand."""
    for caller in module.functions:
        for block in caller.blocks:
            for instruction in block.instructions:
                if instruction.opcode in ("call", "invoke"):
                    *operands, callee = instruction.operands
                    if callee.name == name:
                        yield operands, "byval(" not in str(instruction)


def _constant(operand: llvm.ValueRef) -> bytes | None:
    """The string that an argument points to the start of."""
    found = re.match(r'@[^"]*\bconstant \[\d+ x i8\] c"(.*?)"', str(operand))
    if not found:
        return None
    text = found[1].encode("latin-1")
    text = re.sub(rb"\\([0-9A-Fa-f]{2}|\\)", lambda m: b"\\" if m[1] == b"\\" else bytes([int(m[1], 16)]), text)
    return text.split(b"\0")[0]


def _fits(text: bytes, types: list[Type]) -> bool:
    asked = format_types(text)
    return asked is not None and list(map(_kind, asked)) == list(map(_kind, types))


def _kind(type: Type) -> tuple[object, int]:
    return type.__class__, type.size
