"""Hints: constants of the program that are interesting as input values."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass

MAX_CONSTANTS = 64
"""Numbers of a program that are tried one by one, integers and floating-point numbers each."""
_MAX_TEXT_BYTES = 256
"""Longest text that is a hint."""


@dataclass(frozen=True)
class Hints:
    """Constants of a program, and what its code calls."""

    numbers: tuple[int, ...] = ()
    """Integers that the code compares with."""
    divisors: tuple[int, ...] = ()
    """Integers that the code divides by."""
    floats: tuple[float, ...] = ()
    passes_pointers_on: bool = False
    """Whether the code calls functions of the C library, or others from outside, that take pointers. These may be null
    for few of them, also where there are no elements: C leaves `memcpy(0, 0, 0)` undefined, and gcc relies on that."""
    strings: tuple[bytes, ...] = ()
    """Texts, without terminators. A wide integer constant is a text too: compilers compare 8 characters at once."""


def find_hints(code_ir: str, module_ir: str) -> Hints:
    """The constants in the IR of some functions, and the strings of their module."""
    numbers: set[int] = set()
    divisors: set[int] = set()
    for line in code_ir.splitlines():
        divisors.update(int(number) for number in re.findall(r" = [us](?:div|rem) .*, (\d+)(?![\w.])", line))
        if re.search(r"\b(?:icmp|switch|select|sub|xor|and)\b|^\s+i\d+ -?\d+, label", line):
            numbers.update(int(number) for number in re.findall(r"(?<![\w%.])-?\d+(?![\w.])", line))
    strings = (_unescape(text) for text in re.findall(r'constant \[\d+ x i8\] c"([^"]*)"', module_ir))
    words = (number.to_bytes(8, "little").rstrip(b"\0") for number in numbers if number > 0xFFFF and number < 1 << 64)
    texts = {text for text in (*strings, *words) if 0 < len(text) <= _MAX_TEXT_BYTES}
    return Hints(
        tuple(sorted(numbers)),
        tuple(sorted(divisors)),
        _find_floats(code_ir),
        _calls_with_pointers(code_ir, module_ir),
        tuple(sorted(texts)),
    )


def _calls_with_pointers(code_ir: str, module_ir: str) -> bool:
    """Whether code calls a function with pointers that its module only declares."""
    declared = re.findall(r"^declare [^@\n]*@([\w.$]+)\([^\n]*\bptr\b", module_ir, re.M)
    called = set(re.findall(r"@([\w.$]+)\(", code_ir))
    return any(name in called and not name.startswith(("llvm.lifetime", "llvm.va_")) for name in declared)


def _find_floats(code_ir: str) -> tuple[float, ...]:
    """The floating-point constants of functions. LLVM writes a `float` constant as the bits of a `double`, too."""
    numbers = {float(text) for text in re.findall(r"(?<![\w%.])-?\d+\.\d+e[+-]\d+", code_ir)}
    words = re.findall(r"\b0x([0-9A-F]{16})\b", code_ir)
    numbers |= {number for word in words for (number,) in struct.iter_unpack(">d", bytes.fromhex(word))}
    return tuple(sorted(number for number in numbers if math.isfinite(number)))[:MAX_CONSTANTS]


def _unescape(text: str) -> bytes:
    data = re.sub(r"\\([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text).encode("latin-1")
    return data.removesuffix(b"\0")
