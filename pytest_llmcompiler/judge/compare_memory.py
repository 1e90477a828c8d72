"""Comparing the bytes of one region of memory after two runs."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmcompiler.judge.difference import Difference
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.format_c import format_bytes, format_value
from pytest_llmcompiler.judge.location import ByteRange, MemoryRegion, TypedExpression
from pytest_llmcompiler.judge.value_equality import ConstantsOfBoth, same_value
from pytest_llmcompiler.values.c_types import build_value_mask
from pytest_llmcompiler.values.va_list import is_va_list_object

_EXCERPT = 24
"""Bytes of a text that are shown, from the first one that differs."""
_WORD = 8
"""Untyped memory is shown from a multiple of this many bytes on, the size of a pointer."""


def first_difference(first: bytes, second: bytes) -> int:
    """The offset of the first byte that differs; the shorter length where there is none."""
    pairs = enumerate(zip(first, second))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))


def compare_elements(
    region: MemoryRegion,
    expression: TypedExpression,
    expected: bytes,
    observed: bytes,
    constants: ConstantsOfBoth,
    dont_care: DontCareBytes,
) -> Iterator[Difference]:
    """The first element that differs in a region whose type is known."""
    if expected == observed:
        return
    element = expression.type
    size = max(element.size, 1)
    first, second = dont_care.cleared(expected, region), dont_care.cleared(observed, region)
    for at in range(0, len(first), size):
        left, right = first[at : at + size], second[at : at + size]
        is_partial = len(left) < size  # the rest of a buffer after its last whole element
        has_value = not is_partial and not is_va_list_object(element)
        if left == right or (has_value and same_value(element, left, right, constants)):
            continue
        masked = enumerate(zip(left, right, build_value_mask(element) or b"\xff" * size))
        inside = next((index for index, (a, b, mask) in masked if (a ^ b) & mask), 0)
        if size == 1:
            left, right = expected[at : at + _EXCERPT], observed[at : at + _EXCERPT]
        location = ByteRange(region, at + inside, len(left), expression)
        if is_partial or size == 1:
            yield Difference(location, format_bytes(left), format_bytes(right))
        else:
            yield Difference(location, format_value(element, left), format_value(element, right))
        return


def compare_bytes(
    region: MemoryRegion, expected: bytes, observed: bytes, dont_care: DontCareBytes, start: int = 0
) -> Iterator[Difference]:
    """The first word that differs in memory whose type is not known; the region begins at `start` in the data."""
    if expected == observed:
        return
    first, second = (dont_care.cleared(data, region, -start) for data in (expected, observed))
    if first != second:
        begin = first_difference(first, second) // _WORD * _WORD
        end = min(begin + 2 * _WORD, len(first))
        location = ByteRange(region, begin - start, end - begin) if len(first) > _WORD else region
        yield Difference(location, format_bytes(first[begin:end]), format_bytes(second[begin:end]))
