"""Special values: extremes, zeros and constants of the program, which each number of an input takes in turn."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pytest_llmcompiler.corpus.hints import MAX_CONSTANTS, Hints
from pytest_llmcompiler.values.c_types import Float, Int, Type
from pytest_llmcompiler.values.input import Input, Value

_SPECIAL_FLOATS = {
    4: (0.0, -0.0, 1.0, -1.0, 2.0**-149, 2.0**-126, 3.4028234663852886e38, math.inf, -math.inf, math.nan),
    8: (0.0, -0.0, 1.0, -1.0, 2.0**-1074, 2.0**-1022, 1.7976931348623157e308, math.inf, -math.inf, math.nan),
}
"""By size in bytes: zeros, ones, the least denormal and normal number, the greatest number, the infinities, NaN."""


def generate_specials(input: Input, hints: Hints, globals: Mapping[str, Type]) -> Iterator[Input]:
    """The input with one number, argument or global variable, replaced by a special value; for all of them in turn."""
    for index, value in enumerate(input.args):
        for data in _special_values(value.type, hints):
            args = (*input.args[:index], replace(value, data=data), *input.args[index + 1 :])
            yield replace(input, args=args)
    for name, type in globals.items():
        for data in _special_values(type, hints):
            others = tuple(pair for pair in input.globals if pair[0] != name)
            yield replace(input, globals=(*others, (name, Value(type, data))))


def _special_values(type: Type, hints: Hints) -> Iterator[bytes]:
    if isinstance(type, Float):
        near = (neighbour for number in hints.floats for neighbour in near_floats(number, type.size))
        yield from (pack_float(number, type.size) for number in (*_SPECIAL_FLOATS[type.size], *near))
    elif isinstance(type, Int):
        low, high = type.bounds
        sign_bit = 1 << 8 * type.size - 1  # code may take an unsigned number for a signed one
        numbers = {low, -1, 0, 1, sign_bit - 1, sign_bit, high, *hints.numbers[:MAX_CONSTANTS]}
        if type.enumerators:  # strategies draw few values of an enumeration besides its named ones
            numbers |= {255, 256, 65536, high // 2}
        fitting = sorted(number for number in numbers if low <= number <= high)
        yield from ((number % (1 << 8 * type.size)).to_bytes(type.size, "little") for number in fitting)


def near_floats(number: float, size: int) -> tuple[float, ...]:
    """A number of `size` bytes, its negative, and the representable numbers next to it on both sides."""
    number = float(struct.unpack("<f", pack_float(number, 4))[0]) if size == 4 else number
    step = abs(number) * 2.0 ** (-23 if size == 4 else -52)
    return number, -number, number - step, number + step


def pack_float(number: float, size: int) -> bytes:
    """The bytes of a float (4) or double (8). A number that is too large for a float becomes an infinity."""
    try:
        return struct.pack("<f" if size == 4 else "<d", number)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, number))
