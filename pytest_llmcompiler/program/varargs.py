"""The arguments that follow the named ones in calls of variadic functions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.ir_queries import mentioned_globals
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
_READ_ARGUMENT = re.compile(
    r"^ +(%\S+) = phi ptr \[[^\n\]]*\], \[[^\n\]]*\]\n +%\S+ = load (\w+), ptr \1\b"
    r"|^ +(%\S+) = load ptr, ptr (%\S+), [^\n]*\n +(%\S+) = getelementptr inbounds i8, ptr \3, i64 8\n"
    r" +store ptr \5, ptr \4, [^\n]*\n +%\S+ = load (\w+), ptr \3\b"
    r"|= va_arg ptr %\S+, (\w+)",
    re.M,
)
"""What clang -O0 makes of `va_arg`: a read from where one of two ways has found the argument, among the saved registers
or on the stack; for Windows from the stack alone; and what IR has for it."""
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


def find_read_types(module: llvm.ModuleRef, name: str) -> tuple[Type, ...]:
    """The types that a variadic function reads with `va_arg`, or that functions do which it may give its `va_list`.

    Of structs and of `long double` nothing is found. What a pointer leads to is no part of IR: it is a text where every
    call passes a constant text, and where no call in the module tells it may be either, a text or anything.
    """
    functions = {function.name: print_ir(function) for function in module.functions if not function.is_declaration}
    own = [functions[name]] if name in functions else []
    reached = [functions[other] for other in sorted(mentioned_globals(module, name)) if other in functions]
    words = _find_read_words(own) or _find_read_words(reached)
    types = [_PASSED_TYPES[word] for word in words if word != "ptr"]
    return (*types, *_guess_pointers(module, name)) if "ptr" in words else tuple(types)


def _find_read_words(texts: Iterable[str]) -> list[str]:
    """The IR types that functions read with `va_arg`, in the order of the table, from the functions' texts."""
    found = {match[2] or match[6] or match[7] for text in texts for match in _READ_ARGUMENT.finditer(text)}
    return [word for word in _PASSED_TYPES if word in found]


def _guess_pointers(module: llvm.ModuleRef, name: str) -> tuple[Type, ...]:
    text, anything = Pointer(_CHAR), _PASSED_TYPES["ptr"]
    named = len(list(module.get_function(name).arguments))
    pointers = [
        operand
        for operands, _ in _find_calls(module, name)
        for operand in operands[named:]
        if str(operand.type) == "ptr" and not str(operand).endswith("ptr null")
    ]
    if not pointers:
        return text, anything
    return (text,) if all(_constant_string(pointer) is not None for pointer in pointers) else (text, anything)


def find_indirect_arguments(module: llvm.ModuleRef) -> dict[str, list[Type]]:
    """What all calls of functions without prototype through a pointer have in common: the types of their first
    arguments, by the IR type of the result.

    A call `f(1, 2)` of `int (*f)()` is `call i32 (i32, i32, ...) %3(i32 1, i32 2)` in clang's IR.
    """
    shared: dict[str, list[Type]] = {}
    for function in module.functions:
        for result, words in _INDIRECT_CALL.findall(print_ir(function)):
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
                        yield operands, "byval(" not in print_ir(instruction)


def _constant_string(operand: llvm.ValueRef) -> bytes | None:
    """The constant string that an argument points to, without its terminator; None for any other argument."""
    constant = re.match(r'@[^"]*\bconstant \[\d+ x i8\] c"(.*?)"', print_ir(operand))
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
