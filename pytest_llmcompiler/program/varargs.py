"""The arguments that follow the named ones in calls of variadic functions that a module only declares."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pytest_llmcompiler.values.c_types import Float, Int, Pointer, Type

if TYPE_CHECKING:
    import llvmlite.binding as llvm

_CHAR = Int(1, True, "char", character=True)
_CONVERSION = re.compile(rb"%[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?(hh|h|ll|l|q|j|z|t|L)?(.)?", re.S)
"""A conversion specification: width, precision, length modifier, specifier (C17 7.21.6.1)."""
_INDIRECT_CALL = re.compile(r"\bcall (?:[a-z]+ )*(\w+) \(([^()]*\.\.\.)\) %")
"""A call of a function with unnamed arguments through a pointer: the types of its result and of all arguments."""
_PASSED_TYPES: dict[str, Type] = {
    "i32": Int(4, True, "int"),
    "i64": Int(8, True, "long"),
    "double": Float(8, "double"),
    "ptr": Pointer(None),
}
"""The types of promoted arguments."""
_MAX_ARGUMENTS = 64
"""Arguments of the longest format that is understood."""


def format_types(text: bytes) -> list[Type] | None:
    """The types of the arguments that a printf format takes; None where a conversion is unknown."""
    types: list[Type] = []
    for width, precision, length, letter in _CONVERSION.findall(text):
        if letter == b"%":
            continue
        types += [Int(4, True, "int") for part in (width, precision) if part == b"*"]
        type = _conversion_type(letter, length, is_bounded=bool(precision))
        if type is None or len(types) > _MAX_ARGUMENTS:
            return None
        types.append(type)
    return types


def _conversion_type(letter: bytes, length: bytes, *, is_bounded: bool) -> Type | None:
    if letter in (b"d", b"i", b"u", b"x", b"X", b"o", b"c") and letter and length != b"L":
        return Int(8, True, "long") if length in (b"l", b"ll", b"q", b"j", b"z", b"t") else Int(4, True, "int")
    if letter in (b"f", b"F", b"e", b"E", b"g", b"G", b"a", b"A") and length != b"L":
        return Float(8, "double")
    if letter == b"s" and not length:
        return Pointer(None if is_bounded else _CHAR)  # with a precision the text needs no terminator
    return Pointer(None) if letter == b"p" else None


def find_common_tail(
    module: llvm.ModuleRef, function: llvm.ValueRef, type_of: Callable[[llvm.TypeRef], Type]
) -> tuple[bool, list[Type]]:
    """The unnamed arguments on which all calls of a variadic function in its module agree.

    Returns True and an empty list where the last named argument is a printf format in every call, and every call passes
    what its format takes. Otherwise returns False and the types of the unnamed arguments that all calls have in common:
    all of them if the calls agree, none if they differ.
    """
    calls = list(_find_calls(module, function.name))
    named = len(list(function.arguments))
    tails = [[type_of(operand.type) for operand in operands[named:]] for operands, is_plain in calls if is_plain]
    if not tails or len(tails) < len(calls):
        return False, []
    formats = [_constant_string(operands[named - 1]) for operands, _ in calls] if named else [None]
    if all(text is not None and _matches_format(text, types) for text, types in zip(formats, tails)):
        return True, []
    agree = all(list(map(_kind, types)) == list(map(_kind, tails[0])) for types in tails)
    return False, tails[0] if agree else []


def find_indirect_arguments(module: llvm.ModuleRef) -> dict[str, list[Type]]:
    """What all calls of functions without prototype through a pointer have in common: the types of their first
    arguments, by the IR type of the result.

    A call `f(1, 2)` of `int (*f)()` is `call i32 (i32, i32, ...) %3(i32 1, i32 2)` in clang's IR.
    """
    shared: dict[str, list[Type]] = {}
    for function in module.functions:
        for result, words in _INDIRECT_CALL.findall(str(function)):
            types = [_PASSED_TYPES.get(word) for word in words.split(", ") if word != "..."]
            known = [type for type in itertools.takewhile(lambda type: type is not None, types) if type]
            before = shared.setdefault(result, known)
            same = itertools.takewhile(lambda pair: _kind(pair[0]) == _kind(pair[1]), zip(before, known))
            shared[result] = [type for type, _ in same]
    return shared


def _find_calls(module: llvm.ModuleRef, name: str) -> Iterator[tuple[list[llvm.ValueRef], bool]]:
    """The arguments of each call of a function, and whether none of them is passed as a copy in memory (`byval`)."""
    for caller in module.functions:
        for block in caller.blocks:
            for instruction in block.instructions:
                if instruction.opcode in ("call", "invoke"):
                    *operands, callee = instruction.operands
                    if callee.name == name:
                        yield operands, "byval(" not in str(instruction)


def _constant_string(operand: llvm.ValueRef) -> bytes | None:
    """The constant string that an argument points to, without its terminator; None for any other argument."""
    constant = re.match(r'@[^"]*\bconstant \[\d+ x i8\] c"(.*?)"', str(operand))
    if not constant:
        return None
    text = constant[1].encode("latin-1")
    text = re.sub(rb"\\([0-9A-Fa-f]{2}|\\)", lambda m: b"\\" if m[1] == b"\\" else bytes([int(m[1], 16)]), text)
    return text.split(b"\0")[0]


def _matches_format(text: bytes, types: list[Type]) -> bool:
    expected = format_types(text)
    return expected is not None and list(map(_kind, expected)) == list(map(_kind, types))


def _kind(type: Type) -> tuple[object, int]:
    return type.__class__, type.size
