"""What counts as the same behaviour: two runs on one input, compared."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.inputs.place import GARBAGE, Placed, path
from pytest_llmcompiler.judge.show import show_bytes, show_value
from pytest_llmcompiler.machine.run import Argument, CallOut, Constants, Run
from pytest_llmcompiler.program.types import Array, Float, Function, Pointer, Struct, Type, significant

Loose = frozenset[tuple[str, int]]
"""Bytes on which references disagree, so that no candidate can be blamed: (object, global or heap object; offset)."""


@dataclass(frozen=True)
class Difference:
    """The first thing in which two runs differ."""

    where: str
    expected: str
    observed: str


@dataclass(frozen=True)
class Frame:
    """What runs are compared by: the function's signature, an input, and the case's global variables."""

    signature: Function
    placed: Placed
    globals: Sequence[str]
    variables: Mapping[str, Type]
    """The types of globals, as far as they are known."""


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
    mask = int.from_bytes(significant(type), "little")
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


def differences(frame: Frame, expected: Run, actual: Run, loose: Loose = frozenset()) -> Iterator[Difference]:
    """All differences between the reference's run and another, made on the same garbage; most telling first."""
    if expected.outcome != actual.outcome or expected.code != actual.code:
        yield Difference("ends with", ending(expected), ending(actual))
        return
    yield from _result(frame, expected, actual)
    yield from _calls(expected.calls, actual.calls)
    for number in sorted({*expected.output, *actual.output}):
        first, second = expected.output.get(number, b""), actual.output.get(number, b"")
        if first != second:
            yield Difference({1: "stdout", 2: "stderr"}[number], show_bytes(first) or '""', show_bytes(second) or '""')
    sides = expected.constants, actual.constants
    for index, target in enumerate(frame.placed.objects):
        start = target.address - target.slot.address
        first, second = (run.slots[index][start : start + target.size] for run in (expected, actual))
        yield from _elements(target.label, target.element, first, second, sides, loose)
    for name, first, second in zip(frame.globals, expected.globals, actual.globals, strict=True):
        if first == second:
            continue
        type = frame.variables.get(name)
        if type is None or type.size != len(first):
            yield from _memory(f"global {name}", first, second, loose)
        else:
            at_pointer = isinstance(type, Array)
            element = type.element if isinstance(type, Array) else type
            yield from _elements(f"global {name}", element, first, second, sides, loose, at_pointer=at_pointer)
    yield from _heap(frame, expected, actual, loose)
    yield from _outside(frame.placed, actual)


def ending(run: Run) -> str:
    """How a run ended, in words."""
    return f"exit({run.code})" if run.outcome == "exit" else {"return": "return", "abort": "abort()"}[run.outcome]


def _result(frame: Frame, expected: Run, actual: Run) -> Iterator[Difference]:
    type = frame.signature.result
    if expected.outcome != "return" or type is None:
        return
    if frame.placed.result is not None:
        if expected.result[:8] != actual.result[:8]:
            yield Difference("result pointer in %rax", _hex(expected.result), _hex(actual.result))
    elif not same_value(type, expected.result, actual.result, (expected.constants, actual.constants)):
        values = (show_value(type, run.result) + _pointee(run, type) for run in (expected, actual))
        yield Difference("return value", *values)


def _pointee(run: Run, type: Type) -> str:
    """What a returned pointer to a constant points to."""
    found = run.constants.at(int.from_bytes(run.result, "little"), type.target) if isinstance(type, Pointer) else None
    return f" ({show_bytes(found)})" if found else ""


def _hex(data: bytes) -> str:
    return hex(int.from_bytes(data, "little"))


def _calls(first: tuple[CallOut, ...], second: tuple[CallOut, ...]) -> Iterator[Difference]:
    for index in range(max(len(first), len(second))):
        a, b = (calls[index] if index < len(calls) else None for calls in (first, second))
        if a != b:
            yield Difference(f"call {index + 1} out of the function", _call(a), _call(b))
            return


def _call(call: CallOut | None) -> str:
    return "no call" if call is None else f"{call.name}({', '.join(map(_argument, call.args))})"


def _argument(argument: Argument) -> str:
    if isinstance(argument, int):
        return hex(argument) if argument > 0xFFFF else str(argument)
    address, data = argument
    contents = f"[{show_bytes(data)}]" if data else ""
    return f"{hex(address) if address else '&'}{contents}"


def _elements(
    label: str,
    element: Type,
    before: bytes,
    after: bytes,
    sides: tuple[Constants, Constants],
    loose: Loose,
    *,
    at_pointer: bool = True,
) -> Iterator[Difference]:
    """The first element that differs of a buffer that `label` points to (or, if not `at_pointer`, is)."""
    if before == after:
        return
    size = max(element.size, 1)
    for at in range(0, len(before), size):
        one, two = (_without(data[at : at + size], label, at, loose) for data in (before, after))
        if one != two and not same_value(element, one, two, sides):
            columns = enumerate(zip(one, two, significant(element) or b"\xff" * size))
            step = next((index for index, (a, b, mask) in columns if (a ^ b) & mask), 0)
            name = path(element, label, at + step, at_pointer=at_pointer)
            if size == 1:
                one, two = before[at : at + 24], after[at : at + 24]
                yield Difference(f"{name} and on", show_bytes(one), show_bytes(two))
            else:
                yield Difference(name, show_value(element, one), show_value(element, two))
            return


def _without(data: bytes, name: str, start: int, loose: Loose) -> bytes:
    if not loose:
        return data
    return bytes(0 if (name, start + index) in loose else byte for index, byte in enumerate(data))


def _memory(name: str, first: bytes, second: bytes, loose: Loose, start: int = 0) -> Iterator[Difference]:
    if first == second:
        return
    first, second = _without(first, name, 0, loose), _without(second, name, 0, loose)
    if first != second:
        at = next(index for index, pair in enumerate(zip(first, second)) if pair[0] != pair[1])
        begin = at // 8 * 8
        words = f"{name} from byte {begin - start}" if len(first) > 8 else name
        yield Difference(words, show_bytes(first[begin : begin + 16]), show_bytes(second[begin : begin + 16]))


def _heap(frame: Frame, expected: Run, actual: Run, loose: Loose) -> Iterator[Difference]:
    shapes = [[item[:2] for item in run.heap] for run in (expected, actual)]
    if shapes[0] != shapes[1]:
        sizes = (str([size for _, size in shape]) for shape in shapes)
        yield Difference("live heap objects (sizes)", *sizes)
        return
    if expected.heap == actual.heap:
        return
    types = _heap_types(frame, expected)
    for index, ((address, size, one), (_, _, two)) in enumerate(zip(expected.heap, actual.heap, strict=True)):
        name, start = _heap_name(index, size), _heap_start(one, size)
        element, end = types.get(address), start + size
        if element is None:
            yield from _memory(name, one, two, loose, start)
            continue
        sides = expected.constants, actual.constants
        yield from _elements(name, element, one[start:end], two[start:end], sides, loose)
        yield from _memory(f"memory before {name}", one[:start], two[:start], frozenset())
        yield from _memory(f"memory behind {name}", one[end:], two[end:], frozenset())


def _heap_name(index: int, size: int) -> str:
    return f"heap object {index} ({size} bytes)"


def _heap_start(pages: bytes, size: int) -> int:
    return len(pages) - max(size, 1) & ~15


def _heap_types(frame: Frame, run: Run) -> dict[int, Type]:
    """The types of the elements of heap objects, as far as a typed pointer leads there."""
    blocks = {address: pages[_heap_start(pages, size) :][:size] for address, size, pages in run.heap}
    todo: list[tuple[Type, bytes]] = []
    if frame.signature.result is not None and frame.placed.result is None:
        todo.append((frame.signature.result, run.result))
    for target, slot in zip(frame.placed.objects, run.slots, strict=True):
        start = target.address - target.slot.address
        todo.append((Array(target.element, target.count), slot[start : start + target.size]))
    todo += [(frame.variables[name], data) for name, data in zip(frame.globals, run.globals) if name in frame.variables]
    found: dict[int, Type] = {}
    while todo:
        for type, address in _pointers(*todo.pop()):
            if address in blocks and address not in found and type.size:
                found[address] = type
                todo.append((Array(type, len(blocks[address]) // type.size), blocks[address]))
    return found


def _pointers(type: Type, data: bytes) -> Iterator[tuple[Type, int]]:
    """The pointers to objects in a value: the type that each points to, and the address."""
    if isinstance(type, Pointer):
        if type.target is not None and not isinstance(type.target, Function):
            yield type.target, int.from_bytes(data, "little")
    elif isinstance(type, (Array, Struct)) and not (isinstance(type, Struct) and type.union):
        for at, part in _parts(type):
            if isinstance(part, (Pointer, Array, Struct)):
                yield from _pointers(part, data[at : at + part.size])


def _outside(placed: Placed, actual: Run) -> Iterator[Difference]:
    """Writes into the mapped memory around the objects."""
    if actual.stray:
        yield Difference("memory that belongs to no object", "untouched", "written")
    for target, after in zip(placed.objects, actual.slots, strict=True):
        before = placed.initial(target, actual.fill)
        start = target.address - target.slot.address
        end = start + target.size
        if before[:start] != after[:start] or before[end:] != after[end:]:
            outside = [*range(start - 1, -1, -1), *range(end, len(after))]
            at = next(index for index in outside if before[index] != after[index])
            where = f"{start - at} bytes before" if at < start else f"{at - end + 1} bytes past the end of"
            written = f"written: {show_bytes(after[at : at + 1])}"
            yield Difference(f"memory {where} {target.label}", "untouched", written)
            return


def agree(frame: Frame, first: Run, second: Run) -> bool:
    """Whether two runs of references, on different garbage, behave alike in all but bytes that may be loose."""
    if (first.outcome, first.code) != (second.outcome, second.code):
        return False
    shapes = [[item[:2] for item in run.heap] for run in (first, second)]
    calls = next(_calls(first.calls, second.calls), None)
    result = next(_result(frame, first, second), None)
    return not calls and not result and first.output == second.output and shapes[0] == shapes[1]


def loose_bytes(frame: Frame, first: Run, second: Run) -> Loose:
    """The bytes of objects, globals and heap on which two reference runs, on different garbage, disagree."""
    found: set[tuple[str, int]] = set()
    for target, before, after in zip(frame.placed.objects, first.slots, second.slots, strict=True):
        start = target.address - target.slot.address
        found |= _unequal(target.label, before[start : start + target.size], after[start : start + target.size])
    for name, one, two in zip(frame.globals, first.globals, second.globals, strict=True):
        found |= _unequal(f"global {name}", one, two)
    types = _heap_types(frame, first) if first.heap else {}
    for index, ((address, size, one), (_, _, two)) in enumerate(zip(first.heap, second.heap)):
        start = _heap_start(one, size) if address in types else 0
        untouched = GARBAGE[0] * (len(one) // 4), GARBAGE[1] * (len(two) // 4)
        columns = enumerate(zip(one, two, *untouched))
        found.update(
            (_heap_name(index, size), at - start)
            for at, (a, b, c, d) in columns
            if a != b and (a, b) != (c, d) and at >= start
        )
    return frozenset(found)


def _unequal(name: str, first: bytes, second: bytes) -> set[tuple[str, int]]:
    if first == second:
        return set()
    return {(name, index) for index, pair in enumerate(zip(first, second)) if pair[0] != pair[1]}


def wild_write(placed: Placed, run: Run) -> bool:
    """Whether a run wrote into the memory around the objects."""
    return next(_outside(placed, run), None) is not None
