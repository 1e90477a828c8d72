"""What counts as the same behaviour: two runs on one input, compared."""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmcompiler.emulator.environment import initial_errno
from pytest_llmcompiler.emulator.memory import STACK_ADDRESS_END, find_words
from pytest_llmcompiler.emulator.observation import (
    ELSEWHERE,
    Argument,
    Constants,
    ExternalCall,
    Observation,
    PointerArgument,
)
from pytest_llmcompiler.judge.format_c import format_bytes, format_value
from pytest_llmcompiler.judge.heap_shape import canonical_heap
from pytest_llmcompiler.values.c_types import Array, Float, Function, Int, Pointer, Struct, Type, build_value_mask
from pytest_llmcompiler.values.layout import GARBAGE, PAGE, LaidOutObject, Layout, format_path

DontCareBytes = frozenset[tuple[str, int]]
"""Bytes on which references disagree, so that no candidate can be blamed: (object, global, heap object or argument of a
call out; offset)."""

_PIECE = 64


@dataclass(frozen=True)
class Difference:
    """The first thing in which two runs differ."""

    where: str
    expected: str
    observed: str


@dataclass(frozen=True)
class ComparisonContext:
    """What runs are compared by: the function's signature, an input, and the case's global variables."""

    signature: Function
    layout: Layout
    globals: Sequence[str]
    variables: Mapping[str, Type]
    """The types of globals, as far as they are known."""
    errno: bool = False
    """Whether the function minds the C library's error number."""


def same_value(
    type: Type | None, first: bytes, second: bytes, constants: tuple[Constants, Constants] | None = None
) -> bool:
    """Whether two values of a type are equal: padding aside, all NaNs alike, other floats bit for bit.

    With the read-only memory of both runs, pointers to equal constants are equal too: a candidate may have its own.
    """
    if type is None or first == second:
        return True
    if isinstance(type, Float):
        return _is_nan(first) and _is_nan(second)
    if isinstance(type, Pointer) and constants:
        pointees = [
            side.at(int.from_bytes(data, "little"), type.target) for side, data in zip(constants, (first, second))
        ]
        return pointees[0] is not None and pointees[0] == pointees[1]
    if isinstance(type, (Array, Struct)) and not (isinstance(type, Struct) and type.union):
        plain = all(
            same_value(part, first[at : at + part.size], second[at : at + part.size], constants)
            for at, part in _parts(type)
        )
        return plain and _bit_fields(type, first) == _bit_fields(type, second)
    mask = int.from_bytes(build_value_mask(type), "little")
    return not (int.from_bytes(first, "little") ^ int.from_bytes(second, "little")) & mask


def _is_nan(data: bytes) -> bool:
    return math.isnan(struct.unpack("<f" if len(data) == 4 else "<d", data)[0])


def _parts(type: Array | Struct) -> list[tuple[int, Type]]:
    if isinstance(type, Array):
        return [(index * type.element.size, type.element) for index in range(type.count)]
    return [(field.offset, field.type) for field in type.fields if not field.bits]


def _bit_fields(type: Type, data: bytes) -> list[int]:
    if not isinstance(type, Struct):
        return []
    word = int.from_bytes(data, "little")
    return [word >> field.bits[0] & (1 << field.bits[1]) - 1 for field in type.fields if field.bits]


def differences(
    frame: ComparisonContext, expected: Observation, actual: Observation, dont_care: DontCareBytes = frozenset()
) -> Iterator[Difference]:
    """All differences between the reference's run and another, made on the same garbage; most telling first."""
    if expected.outcome != actual.outcome or expected.exit_code != actual.exit_code:
        yield Difference("ends with", ending(expected), ending(actual))
        return
    expected, actual = canonical_heap(frame.layout, expected), canonical_heap(frame.layout, actual)
    yield from _result(frame, expected, actual)
    yield from _calls(frame, expected, actual, dont_care)
    for number in sorted({*expected.output, *actual.output}):
        first, second = expected.output.get(number, b""), actual.output.get(number, b"")
        if first != second:
            yield Difference(
                {1: "stdout", 2: "stderr"}[number], format_bytes(first) or '""', format_bytes(second) or '""'
            )
    sides = expected.constants, actual.constants
    yield from _freed(frame, expected, actual)
    for target, first, second in _kept(frame, expected, actual):
        yield from _elements(target.label, target.element, first, second, sides, dont_care)
    for name, first, second in zip(frame.globals, expected.globals, actual.globals, strict=True):
        if first == second:
            continue
        type = frame.variables.get(name)
        if type is None or type.size != len(first):
            yield from _memory(f"global {name}", first, second, dont_care)
        else:
            at_pointer = isinstance(type, Array)
            element = type.element if isinstance(type, Array) else type
            yield from _elements(f"global {name}", element, first, second, sides, dont_care, at_pointer=at_pointer)
    yield from _heap(frame, expected, actual, dont_care)
    yield from _errno(frame, expected, actual, dont_care)
    yield from _outside(frame.layout, actual)


def _errno(
    frame: ComparisonContext, expected: Observation, actual: Observation, dont_care: DontCareBytes
) -> Iterator[Difference]:
    is_set = (
        frame.errno and expected.outcome == "return" and expected.errno != initial_errno(frame.layout.environment_seed)
    )
    if is_set and expected.errno != actual.errno and ("errno", 0) not in dont_care:
        yield Difference("errno", str(expected.errno), str(actual.errno))


def _freed(frame: ComparisonContext, expected: Observation, actual: Observation) -> Iterator[Difference]:
    if expected.freed_objects != actual.freed_objects:
        labels = ([frame.layout.objects[number].label for number in run.freed_objects] for run in (expected, actual))
        yield Difference("freed objects", *(", ".join(names) or "none" for names in labels))


def _kept(
    frame: ComparisonContext, first: Observation, second: Observation
) -> Iterator[tuple[LaidOutObject, bytes, bytes]]:
    """The input's objects that no run freed, with their bytes in both."""
    for number, target in enumerate(frame.layout.objects):
        if number not in first.freed_objects and number not in second.freed_objects:
            start = target.address - target.slot.address
            one, two = (run.slots[number][start : start + target.size] for run in (first, second))
            yield target, one, two


def ending(run: Observation) -> str:
    """How a run ended, in words."""
    return f"exit({run.exit_code})" if run.outcome == "exit" else {"return": "return", "abort": "abort()"}[run.outcome]


def _result(frame: ComparisonContext, expected: Observation, actual: Observation) -> Iterator[Difference]:
    type = frame.signature.result
    if expected.outcome != "return" or type is None:
        return
    if frame.layout.result is not None:
        if expected.result[:8] != actual.result[:8]:
            yield Difference("result pointer", _hex(expected.result), _hex(actual.result))
    elif not same_value(type, expected.result, actual.result, (expected.constants, actual.constants)):
        values = (format_value(type, run.result) + _pointee(run, type) for run in (expected, actual))
        yield Difference("return value", *values)


def _pointee(run: Observation, type: Type) -> str:
    """What a returned pointer to a constant points to."""
    found = run.constants.at(int.from_bytes(run.result, "little"), type.target) if isinstance(type, Pointer) else None
    return f" ({format_bytes(found)})" if found else ""


def _hex(data: bytes) -> str:
    return hex(int.from_bytes(data, "little"))


def _calls(
    frame: ComparisonContext, expected: Observation, actual: Observation, dont_care: DontCareBytes
) -> Iterator[Difference]:
    """The first call out that differs."""
    first, second = expected.calls, actual.calls
    for index in range(max(len(first), len(second))):
        a, b = (calls[index] if index < len(calls) else None for calls in (first, second))
        if a == b:
            continue
        if not a or not b or not _alike(a, b) or not _same_pointees(frame, expected, actual, index, dont_care):
            yield Difference(f"call {index + 1} out of the function", _call(a), _call(b))
            return


def _alike(a: ExternalCall, b: ExternalCall) -> bool:
    """Whether two calls are equal in all but what their pointers point to."""
    values = ([arg.address if isinstance(arg, PointerArgument) else arg for arg in call.args] for call in (a, b))
    return a.name == b.name and next(values) == next(values)


def _same_pointees(
    frame: ComparisonContext, expected: Observation, actual: Observation, index: int, dont_care: DontCareBytes
) -> bool:
    calls = expected.calls[index], actual.calls[index]
    for number, (one, two) in enumerate(zip(*(call.args for call in calls), strict=True)):
        if isinstance(one, PointerArgument) and isinstance(two, PointerArgument) and one.data != two.data:
            key = _argument_key(index, number)
            if _is_text(one):
                if not _same_text(one.data, two.data, key, dont_care):
                    return False
                continue
            first, second = (_without(arg.data, key, 0, dont_care) for arg in (one, two))
            if not _same_pointee(frame, expected, actual, replace(one, data=first), second[: len(first)]):
                return False
    return True


def _is_text(argument: PointerArgument) -> bool:
    """Whether a string is all that is known of what lies there."""
    character = isinstance(argument.element, Int) and argument.element.character
    return argument.address == ELSEWHERE and (argument.element is None or character)


def _same_text(first: bytes, second: bytes, key: str, dont_care: DontCareBytes) -> bool:
    """Whether a text is the expected one, as far as that goes: past its object, whatever follows is no part of it."""
    known = next((index for index in range(len(first)) if (key, index) in dont_care), len(first))
    first = first[:known]
    return first == second if first.endswith(b"\0") else second.startswith(first)


def _same_pointee(
    frame: ComparisonContext, expected: Observation, actual: Observation, one: PointerArgument, second: bytes
) -> bool:
    first, element = one.data, one.element
    if len(first) != len(second):
        return False
    if one.name and one.name in frame.variables:
        type = frame.variables[one.name]
        element = type.element if isinstance(type, Array) else type
    if element is not None and element.size and not one.offset % element.size:
        whole = len(first) // element.size
        sides, end = (expected.constants, actual.constants), whole * element.size
        return same_value(Array(element, whole), first[:end], second[:end], sides) and first[end:] == second[end:]
    if one.address == ELSEWHERE:
        return first == second
    garbage = GARBAGE[expected.garbage_pattern]
    columns = enumerate(zip(first, second), one.address)
    return all(a == b or a == garbage[at % 4] for at, (a, b) in columns)


def _argument_key(call: int, number: int) -> str:
    return f"argument {number} of call {call}"


def _call(call: ExternalCall | None) -> str:
    return "no call" if call is None else f"{call.name}({', '.join(map(_show_argument, call.args))})"


def _show_argument(argument: Argument) -> str:
    if isinstance(argument, int):
        return hex(argument) if argument > 0xFFFF else str(argument)
    contents = f"[{format_bytes(argument.data)}]" if argument.data else ""
    place = {0: "NULL", ELSEWHERE: "&"}.get(argument.address, hex(argument.address))
    return f"{place}{contents}"


def _elements(
    label: str,
    element: Type,
    before: bytes,
    after: bytes,
    sides: tuple[Constants, Constants],
    dont_care: DontCareBytes,
    *,
    at_pointer: bool = True,
    key: str | None = None,
) -> Iterator[Difference]:
    """The first element that differs of a buffer that `label` points to (or, if not `at_pointer`, is).

    `key` is the buffer's name in `dont_care`, where that is another.
    """
    if before == after:
        return
    size = max(element.size, 1)
    for at in range(0, len(before), size):
        one, two = (_without(data[at : at + size], key or label, at, dont_care) for data in (before, after))
        if one != two and (len(one) < size or not same_value(element, one, two, sides)):
            columns = enumerate(zip(one, two, build_value_mask(element) or b"\xff" * size))
            step = next((index for index, (a, b, mask) in columns if (a ^ b) & mask), 0)
            name = format_path(element, label, at + step, at_pointer=at_pointer)
            if len(one) < size:
                yield Difference(name, format_bytes(one), format_bytes(two))
            elif size == 1:
                one, two = before[at : at + 24], after[at : at + 24]
                yield Difference(f"{name} and on", format_bytes(one), format_bytes(two))
            else:
                yield Difference(name, format_value(element, one), format_value(element, two))
            return


def _without(data: bytes, name: str, start: int, dont_care: DontCareBytes) -> bytes:
    if not dont_care:
        return data
    return bytes(0 if (name, start + index) in dont_care else byte for index, byte in enumerate(data))


def _memory(name: str, first: bytes, second: bytes, dont_care: DontCareBytes, start: int = 0) -> Iterator[Difference]:
    if first == second:
        return
    first, second = _without(first, name, 0, dont_care), _without(second, name, 0, dont_care)
    if first != second:
        at = next(index for index, pair in enumerate(zip(first, second)) if pair[0] != pair[1])
        begin = at // 8 * 8
        text = f"{name} from byte {begin - start}" if len(first) > 8 else name
        yield Difference(text, format_bytes(first[begin : begin + 16]), format_bytes(second[begin : begin + 16]))


def _heap(
    frame: ComparisonContext, expected: Observation, actual: Observation, dont_care: DontCareBytes
) -> Iterator[Difference]:
    first, second = (
        run.heap[: run.reachable_blocks] if ("leaks", 0) in dont_care else run.heap for run in (expected, actual)
    )
    shapes = [[(block.address, block.size) for block in heap] for heap in (first, second)]
    if shapes[0] != shapes[1]:
        sizes = (str([size for _, size in shape]) for shape in shapes)
        yield Difference("live heap objects (sizes)", *sizes)
        return
    if first == second:
        return
    types = _heap_types(frame, expected)
    for index, (block, other) in enumerate(zip(first, second, strict=True)):
        address, size, one, two = block.address, block.size, block.pages, other.pages
        name, start = _heap_name(index, size), address % PAGE
        end = start + size
        if address not in types:
            yield from _memory(name, one, two, dont_care, start)
            continue
        element, label = types[address]
        sides = expected.constants, actual.constants
        yield from _elements(label, element, one[start:end], two[start:end], sides, dont_care, key=name)
        yield from _memory(f"memory before {label}", one[:start], two[:start], frozenset())
        yield from _memory(f"memory behind {label}", one[end:], two[end:], frozenset())


def _heap_name(index: int, size: int) -> str:
    return f"heap object {index} ({size} bytes)"


def _heap_types(frame: ComparisonContext, run: Observation) -> dict[int, tuple[Type, str]]:
    """The types of the elements of heap objects, and a way that leads there, as far as typed pointers do."""
    blocks = {block.address: block.data for block in run.heap}
    todo: deque[tuple[Type, bytes, str, bool]] = deque()
    if frame.signature.result is not None and frame.layout.result is None:
        todo.append((frame.signature.result, run.result, "result", False))
    for target, slot in zip(frame.layout.objects, run.slots, strict=True):
        start = target.address - target.slot.address
        todo.append((target.element, slot[start : start + target.size], target.label, True))
    for name, data in zip(frame.globals, run.globals):
        if name in frame.variables:
            todo.append((frame.variables[name], data, name, False))
    found: dict[int, tuple[Type, str]] = {}
    while todo:
        type, data, label, at_pointer = todo.popleft()
        whole = Array(type, len(data) // type.size) if at_pointer and type.size else type
        for at, target_type, address in _pointers(whole, data):
            if address in blocks and address not in found and target_type.size:
                name = format_path(type, label, at, at_pointer=at_pointer)
                found[address] = (target_type, name)
                todo.append((target_type, blocks[address], name, True))
    return found


def _pointers(type: Type, data: bytes, start: int = 0) -> Iterator[tuple[int, Type, int]]:
    """The pointers to objects in a value: where they are, the type that each points to, and the address."""
    if isinstance(type, Pointer):
        if type.target is not None and not isinstance(type.target, Function):
            yield start, type.target, int.from_bytes(data, "little")
    elif isinstance(type, (Array, Struct)) and not (isinstance(type, Struct) and type.union):
        for at, part in _parts(type):
            if isinstance(part, (Pointer, Array, Struct)):
                yield from _pointers(part, data[at : at + part.size], start + at)


def _outside(layout: Layout, actual: Observation) -> Iterator[Difference]:
    """Writes into the mapped memory around the objects."""
    if actual.has_stray_write:
        yield Difference("memory that belongs to no object", "untouched", "written")
    for target, after in zip(layout.objects, actual.slots, strict=True):
        before = layout.initial(target, actual.garbage_pattern)
        start = target.address - target.slot.address
        end = start + target.size
        if before[:start] != after[:start] or before[end:] != after[end:]:
            outside = [*range(start - 1, -1, -1), *range(end, len(after))]
            at = next(index for index in outside if before[index] != after[index])
            where = f"{start - at} bytes before" if at < start else f"{at - end + 1} bytes past the end of"
            written = f"written: {format_bytes(after[at : at + 1])}"
            yield Difference(f"memory {where} {target.label}", "untouched", written)
            return


def agree(frame: ComparisonContext, first: Observation, second: Observation) -> bool:
    """Whether two runs of references, on different garbage, behave alike in all but bytes that may be loose."""
    ends = [(run.outcome, run.exit_code, run.freed_objects, run.out_of_memory) for run in (first, second)]
    if ends[0] != ends[1]:
        return False
    first, second = canonical_heap(frame.layout, first), canonical_heap(frame.layout, second)
    shapes = [[(block.address, block.size) for block in run.heap[: run.reachable_blocks]] for run in (first, second)]
    calls = len(first.calls) == len(second.calls) and all(map(_alike, first.calls, second.calls))
    result = next(_result(frame, first, second), None)
    return calls and not result and first.output == second.output and shapes[0] == shapes[1]


def find_dont_care_bytes(frame: ComparisonContext, first: Observation, second: Observation) -> DontCareBytes:
    """The bytes of objects, globals, heap and calls out on which two reference runs, on different garbage, disagree."""
    first, second = canonical_heap(frame.layout, first), canonical_heap(frame.layout, second)
    found: set[tuple[str, int]] = {("errno", 0)} if first.errno != second.errno else set()
    layouts = [[(block.address, block.size) for block in run.heap] for run in (first, second)]
    if layouts[0] != layouts[1]:
        found.add(("leaks", 0))
    for target, before, after in _kept(frame, first, second):
        found |= _unequal(target.label, before, after)
    for name, one, two in zip(frame.globals, first.globals, second.globals, strict=True):
        found |= _unequal(f"global {name}", one, two)
    for index, calls in enumerate(zip(first.calls, second.calls, strict=True)):
        for number, (a, b) in enumerate(zip(*(call.args for call in calls), strict=True)):
            if isinstance(a, PointerArgument) and isinstance(b, PointerArgument):
                found |= _unequal_pointees(_argument_key(index, number), a, b)
    types = _heap_types(frame, first) if first.heap else {}
    for index, (block, other) in enumerate(zip(first.heap, second.heap)):
        address, size, one, two = block.address, block.size, block.pages, other.pages
        start = address % PAGE if address in types else 0
        found.update((_heap_name(index, size), at - start) for at in _touched(one, two) if at >= start)
    return frozenset(found)


def _touched(first: bytes, second: bytes) -> Iterator[int]:
    """Where two pieces of memory differ, but not as garbage does."""
    garbage = GARBAGE[0] * (_PIECE // 4), GARBAGE[1] * (_PIECE // 4)
    for start in range(0, len(first), _PIECE):
        one, two = first[start : start + _PIECE], second[start : start + _PIECE]
        if one != two and (one, two) != garbage:
            columns = enumerate(zip(one, two, *garbage), start)
            yield from (at for at, (a, b, c, d) in columns if a != b and (a, b) != (c, d))


def _unequal_pointees(name: str, first: PointerArgument, second: PointerArgument) -> set[tuple[str, int]]:
    if not first.is_possible_end and not _is_text(first):
        return _unequal(name, first.data, second.data)
    pairs = enumerate(zip(first.data, second.data))
    shorter = min(len(first.data), len(second.data))
    same = next((index for index, (a, b) in pairs if a != b), shorter)
    return {(name, index) for index in range(0 if first.is_possible_end else same, len(first.data))}


def _unequal(name: str, first: bytes, second: bytes) -> set[tuple[str, int]]:
    if first == second:
        return set()
    found = {index for index, pair in enumerate(zip(first, second)) if pair[0] != pair[1]}
    on_stack = [{at for at, _ in find_words(data, 0, STACK_ADDRESS_END)} for data in (first, second)]
    for word in set.intersection(*on_stack, {index // 8 * 8 for index in found}):
        found.update(range(word, word + 8))  # frames of another size differ in more bytes than these two
    return {(name, index) for index in found}


def wild_write(layout: Layout, run: Observation) -> bool:
    """Whether a run wrote into the memory around the objects."""
    return next(_outside(layout, run), None) is not None
