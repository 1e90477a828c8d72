"""Comparing the heaps of two runs, both in canonical form (see `canonical_heap`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from pytest_llmcompiler.emulator.observation import HeapBlock, Observation
from pytest_llmcompiler.judge.compare_memory import compare_bytes, compare_elements, first_difference
from pytest_llmcompiler.judge.difference import ComparisonContext, Difference
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.format_c import format_bytes
from pytest_llmcompiler.judge.location import (
    HeapObject,
    LeakedHeapObjects,
    LiveHeapObjects,
    MemoryAround,
    TypedExpression,
)
from pytest_llmcompiler.values.c_types import Array, Function, Pointer, Struct, Type, list_members
from pytest_llmcompiler.values.layout import PAGE, format_path

_EXCERPT = 16
"""Bytes that are shown of memory around an object."""


def compare_heap(
    context: ComparisonContext, expected: Observation, actual: Observation, dont_care: DontCareBytes
) -> Iterator[Difference]:
    """How the live objects differ: first their number and sizes, then the contents of each one."""
    is_leak_ignored = LeakedHeapObjects() in dont_care
    first, second = (run.heap[: run.reachable_blocks] if is_leak_ignored else run.heap for run in (expected, actual))
    if addresses_and_sizes(first) != addresses_and_sizes(second):
        yield Difference(LiveHeapObjects(), _format_sizes(first), _format_sizes(second))
        return
    if first == second:
        return
    expressions = find_expressions(context, expected)
    constants = expected.constants, actual.constants
    for index, (block, other) in enumerate(zip(first, second, strict=True)):
        region, start = HeapObject(index, block.size), block.address % PAGE
        end = start + block.size
        expression = expressions.get(block.address)
        if expression is None:
            yield from compare_bytes(region, block.pages, other.pages, dont_care, start)
            continue
        yield from compare_elements(region, expression, block.data, other.data, constants, dont_care)
        yield from _compare_around(region, expression.text, -start, block.pages[:start], other.pages[:start])
        yield from _compare_around(region, expression.text, 1, block.pages[end:], other.pages[end:])


def addresses_and_sizes(heap: Sequence[HeapBlock]) -> list[tuple[int, int]]:
    """What two heaps must have in common for their objects to be compared one by one."""
    return [(block.address, block.size) for block in heap]


def _compare_around(
    region: HeapObject, label: str, distance: int, expected: bytes, observed: bytes
) -> Iterator[Difference]:
    """The first difference in the memory before or behind an object, which begins at a distance from the object."""
    if expected != observed:
        at = first_difference(expected, observed)
        location = MemoryAround(region, distance + at, label)
        end = at + _EXCERPT
        yield Difference(location, format_bytes(expected[at:end]), format_bytes(observed[at:end]))


def _format_sizes(heap: Sequence[HeapBlock]) -> str:
    return str([block.size for block in heap])


def find_expressions(context: ComparisonContext, run: Observation) -> dict[int, TypedExpression]:
    """A C expression for each heap object to which typed pointers lead, by the address of the object.

    The search is breadth-first, so that the expression is a shortest one. It starts from the result, the objects of
    the input and the global variables.
    """
    blocks = {block.address: block.data for block in run.heap}
    queue = deque(_roots(context, run))
    expressions: dict[int, TypedExpression] = {}
    while queue:
        expression, data = queue.popleft()
        type = expression.type
        is_array = expression.is_pointer and type.size
        value_type = Array(type, len(data) // type.size) if is_array else type
        for at, target, address in _pointers(value_type, data):
            if address in blocks and address not in expressions and target.size:
                text = format_path(type, expression.text, at, at_pointer=expression.is_pointer)
                expressions[address] = TypedExpression(text, target, True)
                queue.append((expressions[address], blocks[address]))
    return expressions


def _roots(context: ComparisonContext, run: Observation) -> Iterator[tuple[TypedExpression, bytes]]:
    """Where pointers into the heap may be found first, with the bytes that are there."""
    if context.signature.result is not None and context.layout.result is None:
        yield TypedExpression("result", context.signature.result, False), run.result
    for target, slot in zip(context.layout.objects, run.slots, strict=True):
        start = target.address - target.slot.address
        yield TypedExpression(target.label, target.element, True), slot[start : start + target.size]
    for name, data in zip(context.globals, run.globals):
        if name in context.variables:
            yield TypedExpression(name, context.variables[name], False), data


def _pointers(type: Type, data: bytes, start: int = 0) -> Iterator[tuple[int, Type, int]]:
    """The pointers to objects in a value: the offset of each one, the type that it points to, and the address."""
    if isinstance(type, Pointer):
        if type.target is not None and not isinstance(type.target, Function):
            yield start, type.target, int.from_bytes(data, "little")
    elif isinstance(type, (Array, Struct)) and not (isinstance(type, Struct) and type.union):
        if isinstance(type, Array) and not isinstance(type.element, (Pointer, Array, Struct)):
            return  # a megabyte of numbers has as many members
        for at, member in list_members(type):
            if isinstance(member, (Pointer, Array, Struct)):
                yield from _pointers(member, data[at : at + member.size], start + at)
