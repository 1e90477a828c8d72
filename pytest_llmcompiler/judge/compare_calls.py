"""Comparing the external calls of two runs: callbacks, and functions that the case only declares."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import replace

from pytest_llmcompiler.emulator.observation import (
    ELSEWHERE,
    Argument,
    ExternalCall,
    Observation,
    PointerArgument,
)
from pytest_llmcompiler.judge.difference import ComparisonContext, Difference
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.format_c import format_bytes, format_value
from pytest_llmcompiler.judge.location import CallArgument, CallNumber
from pytest_llmcompiler.judge.value_equality import same_value
from pytest_llmcompiler.values.c_types import Array, Int, Struct, Type, build_value_mask, has_pointers
from pytest_llmcompiler.values.input import STREAM_NAMES
from pytest_llmcompiler.values.layout import GARBAGE, STREAMS


def compare_calls(
    context: ComparisonContext, expected: Observation, actual: Observation, dont_care: DontCareBytes
) -> Iterator[Difference]:
    """The first external call that differs. Later calls follow from its answer, so they say nothing more."""
    for index in range(max(len(expected.calls), len(actual.calls))):
        first, second = (run.calls[index] if index < len(run.calls) else None for run in (expected, actual))
        if first == second:
            continue
        if (
            first is None
            or second is None
            or not same_signature(first, second)
            or not _same_pointees(context, expected, actual, index, dont_care)
        ):
            yield Difference(CallNumber(index), _format_call(context, first), _format_call(context, second))
            return


def same_signature(first: ExternalCall, second: ExternalCall) -> bool:
    """Whether two calls are equal in all but the memory that their pointer arguments point to."""
    addresses = [
        [argument.address if isinstance(argument, PointerArgument) else argument for argument in call.args]
        for call in (first, second)
    ]
    return first.name == second.name and addresses[0] == addresses[1]


def is_string_argument(argument: PointerArgument) -> bool:
    """Whether all that is known of the pointee is the string that begins there."""
    is_character = isinstance(argument.element, Int) and argument.element.character
    return argument.address == ELSEWHERE and (argument.element is None or is_character)


def _same_pointees(
    context: ComparisonContext, expected: Observation, actual: Observation, index: int, dont_care: DontCareBytes
) -> bool:
    """Whether the pointer arguments of a call point to equal values in both runs."""
    arguments = zip(expected.calls[index].args, actual.calls[index].args, strict=True)
    for number, (first, second) in enumerate(arguments):
        if not isinstance(first, PointerArgument) or not isinstance(second, PointerArgument):
            continue
        region = CallArgument(index, number)
        if context.compares_pointees and not _same_stack_pointees(first, second, region, dont_care):
            return False
        if first.data == second.data:
            continue
        if is_string_argument(first):
            if not _same_string(first.data, second.data, region, dont_care):
                return False
            continue
        cleared = replace(first, data=dont_care.cleared(first.data, region))
        observed = dont_care.cleared(second.data, region)[: len(first.data)]
        if not _same_pointee(context, expected, actual, cleared, observed):
            return False
    return True


def _same_stack_pointees(
    first: PointerArgument, second: PointerArgument, argument: CallArgument, dont_care: DontCareBytes
) -> bool:
    """Whether the members of a struct that is passed by value lead to equal values on the stack, where both runs have
    as many of them there."""
    if len(first.pointees) != len(second.pointees):
        return True  # the members themselves differ, and are compared as such
    for number, (one, other) in enumerate(zip(first.pointees, second.pointees, strict=True)):
        region = replace(argument, pointee=number)
        expected, observed = (dont_care.cleared(pointee.data, region) for pointee in (one, other))
        is_whole = one.element is not None and len(expected) == one.element.size
        if is_whole and not (len(observed) == len(expected) and same_value(one.element, expected, observed)):
            return False
    return True


def _same_string(expected: bytes, observed: bytes, region: CallArgument, dont_care: DontCareBytes) -> bool:
    """Whether a string is the expected one. A string without an end is only known up to the end of its object: what
    follows there belongs to other objects, and the references disagree on it."""
    known = expected[: min(dont_care.of(region), default=len(expected))]
    return known == observed if known.endswith(b"\0") else observed.startswith(known)


def _same_pointee(
    context: ComparisonContext,
    expected: Observation,
    actual: Observation,
    argument: PointerArgument,
    observed: bytes,
) -> bool:
    data, element = argument.data, _element_of(context, argument)
    if len(data) != len(observed):
        return False
    if element is not None and element.size and not argument.offset % element.size:
        count = len(data) // element.size
        end = count * element.size
        constants = expected.constants, actual.constants
        return same_value(Array(element, count), data[:end], observed[:end], constants) and data[end:] == observed[end:]
    if argument.address == ELSEWHERE:
        return data == observed
    # Without a type, a byte that still holds the reference's uninitialised fill is taken for one that nobody set.
    garbage = GARBAGE[expected.garbage_pattern]
    columns = enumerate(zip(data, observed), argument.address)
    return all(a == b or a == garbage[at % 4] for at, (a, b) in columns)


def build_pointee_mask(
    context: ComparisonContext, expected: Observation, argument: PointerArgument, dont_care: Collection[int]
) -> bytes:
    """1 bits in the bytes of what an argument points to that are compared. `dont_care` are offsets of bytes that are
    not. The argument leads to an object, of the heap or the input, or to a variable."""
    data, element = argument.data, _element_of(context, argument)
    if element is not None and element.size and not argument.offset % element.size:
        mask = bytearray(build_value_mask(element) * (len(data) // element.size)).ljust(len(data), b"\xff")
    else:
        garbage = GARBAGE[expected.garbage_pattern]
        columns = enumerate(data, argument.address)
        mask = bytearray(0 if byte == garbage[at % 4] else 0xFF for at, byte in columns)
    for offset in dont_care:
        if offset < len(mask):
            mask[offset] = 0
    return bytes(mask)


def _element_of(context: ComparisonContext, argument: PointerArgument) -> Type | None:
    """The type of the elements that an argument points to; that of a global variable is known best."""
    if argument.name and argument.name in context.variables:
        type = context.variables[argument.name]
        return type.element if isinstance(type, Array) else type
    return argument.element


def _format_call(context: ComparisonContext, call: ExternalCall | None) -> str:
    if call is None:
        return "no call"
    arguments = map(functools.partial(_format_argument, context), call.types, call.args)
    return f"{call.name}({', '.join(arguments)})"


def _format_argument(context: ComparisonContext, type: Type, argument: Argument) -> str:
    if isinstance(argument, int):
        bits = 8 * type.size
        return format_value(type, (argument & (1 << bits) - 1).to_bytes(type.size, "little"))
    contents = _format_pointee(context, argument) if argument.data else ""
    if argument.is_value:
        pointees = argument.pointees if context.compares_pointees else ()
        return contents + "".join(f" -> [{format_bytes(pointee.data)}]" for pointee in pointees)
    stream = STREAM_NAMES[STREAMS.index(argument.address)] if argument.address in STREAMS else None
    pointer = {0: "NULL", ELSEWHERE: "&"}.get(argument.address, stream or hex(argument.address))
    return contents if pointer == "&" and contents.startswith('"') else f"{pointer}{contents}"


def _format_pointee(context: ComparisonContext, argument: PointerArgument) -> str:
    """What an argument points to: as values where these are of a known type and hold no pointers, else as bytes."""
    element, data = _element_of(context, argument), argument.data
    if element is None or has_pointers(element) or len(data) % max(1, element.size) or argument.offset % element.size:
        return f"[{format_bytes(data)}]"
    is_aggregate = isinstance(element, (Array, Struct)) and len(data) == element.size
    return format_value(element if is_aggregate else Array(element, len(data) // element.size), data)
