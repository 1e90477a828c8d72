"""What counts as the same behaviour: two runs on one input, compared."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmcompiler.emulator.environment import initial_errno
from pytest_llmcompiler.emulator.kernel import SIGNAL_CODE
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.judge.canonical_heap import canonical_heap
from pytest_llmcompiler.judge.compare_calls import compare_calls
from pytest_llmcompiler.judge.compare_heap import compare_heap
from pytest_llmcompiler.judge.compare_memory import compare_bytes, compare_elements
from pytest_llmcompiler.judge.difference import ComparisonContext, Difference
from pytest_llmcompiler.judge.dont_care import NO_DONT_CARE_BYTES, DontCareBytes
from pytest_llmcompiler.judge.format_c import format_bytes, format_value
from pytest_llmcompiler.judge.location import (
    Errno,
    FreedObjects,
    GlobalVariable,
    InputObject,
    MemoryAround,
    OutputStream,
    ResultPointer,
    ReturnValue,
    RunEnding,
    TypedExpression,
    UnusedMemory,
)
from pytest_llmcompiler.judge.value_equality import same_value
from pytest_llmcompiler.values.c_types import Array, Pointer, Type
from pytest_llmcompiler.values.layout import LaidOutObject, Layout


def find_differences(
    context: ComparisonContext,
    expected: Observation,
    actual: Observation,
    dont_care: DontCareBytes = NO_DONT_CARE_BYTES,
) -> Iterator[Difference]:
    """All differences between the reference's run and a candidate's on the same uninitialised fill.

    The order is from the most telling difference to the least telling one, since the first becomes the verdict's
    message. Runs that end differently are not compared any further.
    """
    if format_ending(expected) != format_ending(actual):
        yield Difference(RunEnding(), format_ending(expected), format_ending(actual))
        return
    expected, actual = canonical_heap(context.layout, expected), canonical_heap(context.layout, actual)
    yield from compare_results(context, expected, actual)
    yield from compare_calls(context, expected, actual, dont_care)
    yield from _compare_output(expected, actual)
    yield from _compare_freed(context, expected, actual)
    yield from _compare_objects(context, expected, actual, dont_care)
    yield from _compare_globals(context, expected, actual, dont_care)
    yield from compare_heap(context, expected, actual, dont_care)
    yield from _compare_errno(context, expected, actual, dont_care)
    yield from _writes_around_objects(context.layout, actual)


def format_ending(run: Observation) -> str:
    """How a run ended, in words."""
    if run.assertion is not None:
        return f"abort() by assert({run.assertion})"
    if run.outcome == "exit":
        is_signal = run.exit_code >= SIGNAL_CODE
        return f"signal {run.exit_code - SIGNAL_CODE}" if is_signal else f"exit({run.exit_code})"
    return {"return": "return", "abort": "abort()"}[run.outcome]


def compare_results(context: ComparisonContext, expected: Observation, actual: Observation) -> Iterator[Difference]:
    """The difference of the results in registers; nothing where the runs end in another way than by a return."""
    type = context.signature.result
    if expected.outcome != "return" or type is None:
        return
    if context.layout.result is not None:
        if expected.result[:8] != actual.result[:8]:
            yield Difference(ResultPointer(), _format_address(expected.result), _format_address(actual.result))
    elif not same_value(type, expected.result, actual.result, (expected.constants, actual.constants)):
        yield Difference(ReturnValue(), _format_result(type, expected), _format_result(type, actual))


def _format_result(type: Type, run: Observation) -> str:
    """The value that a run returns; behind a pointer to a constant, that constant in parentheses."""
    value = format_value(type, run.result)
    if not isinstance(type, Pointer):
        return value
    data = run.constants.at(int.from_bytes(run.result, "little"), type.target)
    return f"{value} ({format_bytes(data)})" if data else value


def _format_address(data: bytes) -> str:
    return hex(int.from_bytes(data, "little"))


def _compare_output(expected: Observation, actual: Observation) -> Iterator[Difference]:
    for descriptor in sorted({*expected.output, *actual.output}):
        first, second = expected.output.get(descriptor, b""), actual.output.get(descriptor, b"")
        if first != second:
            yield Difference(OutputStream(descriptor), format_bytes(first) or '""', format_bytes(second) or '""')


def _compare_freed(context: ComparisonContext, expected: Observation, actual: Observation) -> Iterator[Difference]:
    if expected.freed_objects != actual.freed_objects:
        layout = context.layout
        yield Difference(FreedObjects(), _format_freed(layout, expected), _format_freed(layout, actual))


def _format_freed(layout: Layout, run: Observation) -> str:
    return ", ".join(layout.objects[number].label for number in run.freed_objects) or "none"


def _compare_objects(
    context: ComparisonContext, expected: Observation, actual: Observation, dont_care: DontCareBytes
) -> Iterator[Difference]:
    constants = expected.constants, actual.constants
    for number, target, first, second in remaining_objects(context, expected, actual):
        region = InputObject(number, target.label)
        expression = TypedExpression(target.label, target.element, True)
        yield from compare_elements(region, expression, first, second, constants, dont_care)


def remaining_objects(
    context: ComparisonContext, first: Observation, second: Observation
) -> Iterator[tuple[int, LaidOutObject, bytes, bytes]]:
    """The objects of the input that neither run freed: number, object, its bytes after each run."""
    for number, target in enumerate(context.layout.objects):
        if number not in first.freed_objects and number not in second.freed_objects:
            start = target.address - target.slot.address
            end = start + target.size
            yield number, target, first.slots[number][start:end], second.slots[number][start:end]


def _compare_globals(
    context: ComparisonContext, expected: Observation, actual: Observation, dont_care: DontCareBytes
) -> Iterator[Difference]:
    constants = expected.constants, actual.constants
    for name, first, second in zip(context.globals, expected.globals, actual.globals, strict=True):
        if first == second:
            continue
        region, type = GlobalVariable(name), context.variables.get(name)
        if type is None or type.size != len(first):
            yield from compare_bytes(region, first, second, dont_care)
        else:
            is_array = isinstance(type, Array)
            expression = TypedExpression(name, type.element if isinstance(type, Array) else type, is_array)
            yield from compare_elements(region, expression, first, second, constants, dont_care)


def _compare_errno(
    context: ComparisonContext, expected: Observation, actual: Observation, dont_care: DontCareBytes
) -> Iterator[Difference]:
    """The difference of the error numbers, where the reference changes its own: C lets any library function set it."""
    is_set = (
        context.compares_errno
        and expected.outcome == "return"
        and expected.errno != initial_errno(context.layout.environment_seed)
    )
    if is_set and expected.errno != actual.errno and Errno() not in dont_care:
        yield Difference(Errno(), str(expected.errno), str(actual.errno))


def _writes_around_objects(layout: Layout, run: Observation) -> Iterator[Difference]:
    """Writes into the mapped memory around the objects of the input: the byte nearest to the first such object."""
    if run.has_stray_write:
        yield Difference(UnusedMemory(), "untouched", "written")
    for number, (target, after) in enumerate(zip(layout.objects, run.slots, strict=True)):
        before = layout.initial_bytes(target, run.garbage_pattern)
        start = target.address - target.slot.address
        end = start + target.size
        if before[:start] == after[:start] and before[end:] == after[end:]:
            continue
        around = [*range(start - 1, -1, -1), *range(end, len(after))]
        at = next(index for index in around if before[index] != after[index])
        distance = at - start if at < start else at - end + 1
        location = MemoryAround(InputObject(number, target.label), distance)
        yield Difference(location, "untouched", f"written: {format_bytes(after[at : at + 1])}")
        return


def writes_around_objects(layout: Layout, run: Observation) -> bool:
    """Whether a run wrote into the mapped memory around the objects of the input."""
    return next(_writes_around_objects(layout, run), None) is not None
