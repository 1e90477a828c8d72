"""What counts as the same behaviour: two runs on one input, compared."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.inputs.place import GARBAGE, Placed, PlacedObject, path
from pytest_llmcompiler.judge.show import show_bytes, show_value
from pytest_llmcompiler.machine.run import CallOut, Run
from pytest_llmcompiler.program.types import Array, Float, Function, Struct, Type


@dataclass(frozen=True)
class Difference:
    """The first thing in which two runs differ."""

    where: str
    expected: str
    observed: str


def significant(type: Type) -> bytes:
    """A mask with a one for every bit of a type that holds a value: padding is zero."""
    if isinstance(type, Array):
        return significant(type.element) * type.count
    if not isinstance(type, Struct):
        return b"\xff" * type.size
    mask = 0
    for field in type.fields:
        if field.bits:
            mask |= ((1 << field.bits[1]) - 1) << field.bits[0]
        else:
            mask |= int.from_bytes(significant(field.type), "little") << 8 * field.offset
    return mask.to_bytes(type.size, "little")


def same_value(type: Type | None, first: bytes, second: bytes) -> bool:
    """Whether two values of a type are equal: padding aside, all NaNs alike, other floats bit for bit."""
    if type is None or first == second:
        return True
    if isinstance(type, Float):
        return _is_nan(first) and _is_nan(second)
    if isinstance(type, (Array, Struct)) and not (isinstance(type, Struct) and type.union):
        parts = _parts(type)
        plain = all(same_value(part, first[at : at + part.size], second[at : at + part.size]) for at, part in parts)
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


@dataclass(frozen=True)
class Expected:
    """What the reference shows on one input, and which of it is fixed."""

    run: Run
    loose: frozenset[tuple[str, int]]
    """Bytes on which references disagree, so that no candidate can be blamed: (object, globals or heap; offset)."""


def differences(
    signature: Function, placed: Placed, names: Sequence[str], expected: Expected, actual: Run, fill: int
) -> Iterator[Difference]:
    """All differences between the reference's run and another, most telling first.

    `names` are the program's globals; `fill` is the garbage that the other run was made with.
    """
    run = expected.run
    if run.outcome != actual.outcome or run.code != actual.code:
        yield Difference("ends with", ending(run), ending(actual))
        return
    yield from _result(signature, placed, run, actual)
    yield from _calls(run.calls, actual.calls)
    for number in sorted({*run.output, *actual.output}):
        first, second = run.output.get(number, b""), actual.output.get(number, b"")
        if first != second:
            yield Difference({1: "stdout", 2: "stderr"}[number], show_bytes(first) or '""', show_bytes(second) or '""')
    for index, target in enumerate(placed.objects):
        yield from _object(target, run.slots[index], actual.slots[index], expected.loose)
    for name, first, second in zip(names, run.globals, actual.globals, strict=True):
        yield from _memory(f"global {name}", first, second, expected.loose)
    yield from _heap(expected, actual)
    yield from _outside(placed, actual, fill)


def ending(run: Run) -> str:
    """How a run ended, in words."""
    return f"exit({run.code})" if run.outcome == "exit" else {"return": "return", "abort": "abort()"}[run.outcome]


def _result(signature: Function, placed: Placed, run: Run, actual: Run) -> Iterator[Difference]:
    if run.outcome != "return" or signature.result is None:
        return
    if placed.result is not None:
        if run.result[:8] != actual.result[:8]:
            yield Difference("result pointer in %rax", _hex(run.result), _hex(actual.result))
    elif run.pointee and run.pointee == actual.pointee:
        return  # a candidate may return its own copy of a constant
    elif not same_value(signature.result, run.result, actual.result):
        type = signature.result
        yield Difference("return value", show_value(type, run.result), show_value(type, actual.result))


def _hex(data: bytes) -> str:
    return hex(int.from_bytes(data, "little"))


def _calls(first: tuple[CallOut, ...], second: tuple[CallOut, ...]) -> Iterator[Difference]:
    for index in range(max(len(first), len(second))):
        a, b = (calls[index] if index < len(calls) else None for calls in (first, second))
        if a != b:
            yield Difference(f"call {index + 1} out of the function", _call(a), _call(b))
            return


def _call(call: CallOut | None) -> str:
    if call is None:
        return "no call"
    return f"{call.name}({', '.join(hex(arg) if arg > 0xFFFF else str(arg) for arg in call.args)})"


def _object(
    target: PlacedObject, before: bytes, after: bytes, loose: frozenset[tuple[str, int]]
) -> Iterator[Difference]:
    start = target.address - target.slot.address
    first, second = before[start : start + target.size], after[start : start + target.size]
    if first == second:
        return
    size = max(target.element.size, 1)
    for at in range(0, target.size, size):
        one, two = (_without(data[at : at + size], target.label, at, loose) for data in (first, second))
        if one != two and not same_value(target.element, one, two):
            step = next(index for index, pair in enumerate(zip(one, two)) if pair[0] != pair[1])
            name = path(target.element, target.label, at + step, at_pointer=True)
            if size == 1:
                one, two = first[at : at + 24], second[at : at + 24]
                yield Difference(f"{name} and on", show_bytes(one), show_bytes(two))
            else:
                yield Difference(name, show_value(target.element, one), show_value(target.element, two))
            return


def _without(data: bytes, name: str, start: int, loose: frozenset[tuple[str, int]]) -> bytes:
    if not loose:
        return data
    return bytes(0 if (name, start + index) in loose else byte for index, byte in enumerate(data))


def _memory(
    name: str, first: bytes, second: bytes, loose: frozenset[tuple[str, int]], start: int = 0
) -> Iterator[Difference]:
    if first == second:
        return
    first, second = _without(first, name, 0, loose), _without(second, name, 0, loose)
    if first != second:
        at = next(index for index, pair in enumerate(zip(first, second)) if pair[0] != pair[1])
        begin = at // 8 * 8
        words = f"{name} from byte {begin - start}" if len(first) > 8 else name
        yield Difference(words, show_bytes(first[begin : begin + 16]), show_bytes(second[begin : begin + 16]))


def _heap(expected: Expected, actual: Run) -> Iterator[Difference]:
    first, second = expected.run.heap, actual.heap
    shapes = [[size for _, size, _ in heap] for heap in (first, second)]
    if [item[:2] for item in first] != [item[:2] for item in second]:
        yield Difference("live heap objects (sizes)", str(shapes[0]), str(shapes[1]))
        return
    for index, ((_, size, one), (_, _, two)) in enumerate(zip(first, second, strict=True)):
        start = len(one) - max(size, 1) & ~15
        yield from _memory(f"heap object {index} ({size} bytes)", one, two, expected.loose, start)


def _outside(placed: Placed, actual: Run, fill: int) -> Iterator[Difference]:
    """Writes into the mapped memory around the objects."""
    if actual.stray:
        yield Difference("memory that belongs to no object", "untouched", "written")
    for target, after in zip(placed.objects, actual.slots, strict=True):
        before = placed.initial(target, fill)
        start = target.address - target.slot.address
        end = start + target.size
        if before[:start] != after[:start] or before[end:] != after[end:]:
            outside = [*range(start - 1, -1, -1), *range(end, len(after))]
            at = next(index for index in outside if before[index] != after[index])
            where = f"{start - at} bytes before" if at < start else f"{at - end + 1} bytes past the end of"
            written = f"written: {show_bytes(after[at : at + 1])}"
            yield Difference(f"memory {where} {target.label}", "untouched", written)
            return


def loose_bytes(placed: Placed, names: Sequence[str], first: Run, second: Run) -> frozenset[tuple[str, int]]:
    """The bytes of objects, globals and heap on which two reference runs disagree."""
    found: set[tuple[str, int]] = set()
    for target, before, after in zip(placed.objects, first.slots, second.slots, strict=True):
        start = target.address - target.slot.address
        if before[start : start + target.size] != after[start : start + target.size]:
            pairs = zip(before[start : start + target.size], after[start : start + target.size])
            found.update((target.label, index) for index, (one, two) in enumerate(pairs) if one != two)
    for name, one, two in zip(names, first.globals, second.globals, strict=True):
        found.update((f"global {name}", index) for index, pair in enumerate(zip(one, two)) if pair[0] != pair[1])
    for index, ((_, size, one), (_, _, two)) in enumerate(zip(first.heap, second.heap)):
        name = f"heap object {index} ({size} bytes)"
        untouched = GARBAGE[0] * (len(one) // 4), GARBAGE[1] * (len(two) // 4)
        columns = zip(one, two, *untouched)
        found.update((name, at) for at, (a, b, c, d) in enumerate(columns) if a != b and (a, b) != (c, d))
    return frozenset(found)


def wild_write(placed: Placed, run: Run, fill: int) -> bool:
    """Whether a run wrote into the memory around the objects."""
    return next(_outside(placed, run, fill), None) is not None
