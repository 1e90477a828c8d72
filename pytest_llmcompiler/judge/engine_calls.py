"""The external calls of a reference's run as the engine replays them (see `emulator/engine/external.c`).

The engine computes no answers. A candidate gets those of the reference, call by call, as long as its own calls are such
that they would get the same answers. So each argument is written with all that its description depends on, and all that
the answer does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pytest_llmcompiler.emulator.call_arguments import (
    MAX_POINTEE_SIZE,
    SEED_SIZE,
    Pointee,
    build_seed_mask,
    promote_argument,
)
from pytest_llmcompiler.emulator.engine_image import NO_REGISTER, ImageWriter
from pytest_llmcompiler.emulator.external_calls import CallRecord
from pytest_llmcompiler.emulator.generated_values import is_character
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import ELSEWHERE, Observation, PointerArgument
from pytest_llmcompiler.judge.compare_calls import build_pointee_mask, is_string_argument
from pytest_llmcompiler.judge.difference import ComparisonContext
from pytest_llmcompiler.judge.dont_care import NO_DONT_CARE_BYTES, DontCareBytes
from pytest_llmcompiler.judge.location import CallArgument
from pytest_llmcompiler.judge.value_equality import is_nan
from pytest_llmcompiler.targets.abi import ArgumentLocation
from pytest_llmcompiler.values.c_types import Float, Pointer, Type, build_value_mask

_KINDS = ("unknown", "value", "nan", "code", "fixed", "stack", "constant")
"""The kinds of arguments, in the order of `ArgumentKind` in `external.c`."""
_WORD = 8
_NO_ARGUMENT = 0xFFFFFFFF
"""Stands for the number of an argument that there is not."""


class _Contents(NamedTuple):
    """Bytes that must lie where an argument points."""

    data: bytes
    mask: bytes = b""
    """1 bits where they count; empty where all do."""
    hides_stack: bool = False
    """Whether addresses of the stack in memory are taken for `ELSEWHERE`, as descriptions have them."""


class _Place(NamedTuple):
    """What is known of where a pointer leads."""

    kind: str
    contents: tuple[_Contents, ...] = ()
    room: int = 0
    """Bytes to the end of the heap object that holds the address; 0 where none does."""


_UNKNOWN = _Place("unknown")


def write_calls(
    machine: Machine,
    records: Sequence[CallRecord],
    context: ComparisonContext,
    expected: Observation,
    dont_care: DontCareBytes,
) -> bytes:
    """The calls of a run as a part of an image. `machine` made the run `expected`, and `records` are its calls."""
    calls = _CallsWriter()
    places = _PlaceReader(context, expected, dont_care)
    for number, record in enumerate(records):
        _CallWriter(calls, machine, record).write(list(places.read(number, record)))
    writer = ImageWriter()
    writer.u32(len(calls.shared))
    for data in calls.shared:
        writer.span(data)
    writer.u32(len(records))
    writer.raw(calls.getvalue())
    return writer.getvalue()


class _CallsWriter(ImageWriter):
    """Writes calls. Many of a run point to the same memory, so that equal bytes are kept once."""

    def __init__(self) -> None:
        super().__init__()
        self.shared: dict[bytes, int] = {}
        """The bytes of the spans, with their numbers."""

    def span(self, data: bytes) -> None:
        """Bytes, by their number."""
        self.u32(self.shared.setdefault(data, len(self.shared)))


class _PlaceReader:
    """Tells what must be equal of the memory to which arguments point, so that descriptions and answers are equal."""

    def __init__(self, context: ComparisonContext, expected: Observation, dont_care: DontCareBytes) -> None:
        self._context, self._expected = context, expected
        # With objects on the heap, runs are compared after a walk along all pointers, don't-care bytes included.
        self._has_heap = bool(expected.heap or expected.freed_blocks)
        self._dont_care = NO_DONT_CARE_BYTES if self._has_heap else dont_care

    def read(self, number: int, record: CallRecord) -> Iterator[_Place | None]:
        """What is known of each argument of the `number`th call; None for one that is no pointer to data."""
        format_index = len(record.type.params) - 1 if record.type.format else -1
        columns = zip(record.arguments, record.pointees, self._expected.calls[number].args, strict=True)
        for index, (argument, pointee, description) in enumerate(columns):
            if self._context.compares_pointees and not isinstance(description, int) and description.pointees:
                yield _UNKNOWN  # Python compares what a struct leads to
                continue
            if pointee is None or not isinstance(argument.type, Pointer) or isinstance(description, int):
                yield None
                continue
            region = CallArgument(number, index)
            place = self._locate(argument.type, pointee, description, region)
            if index == format_index:
                place = _with_format(place, description, pointee)
            yield place

    def _locate(self, type: Pointer, pointee: Pointee, description: PointerArgument, region: CallArgument) -> _Place:
        if pointee.region == "stack":
            return self._locate_on_stack(type, description, region)
        seen = _Contents(pointee.data, build_seed_mask(type), hides_stack=not _is_text(type))
        if type.target is not None and pointee.room and not _is_whole(type, seen.data, pointee.room):
            return _UNKNOWN  # a part is not mapped
        if description.address == ELSEWHERE and pointee.region == "constant":
            return _locate_constant(pointee, description, seen)
        room = pointee.room if pointee.region == "heap" else 0
        if not description.data:
            is_object = pointee.room and pointee.region in ("object", "heap")
            return _UNKNOWN if is_object else _Place("fixed", (seen,), room)
        if len(description.data) != min(pointee.room, MAX_POINTEE_SIZE):
            return _UNKNOWN
        offsets = self._dont_care.of(region)
        mask = b"" if self._has_heap else build_pointee_mask(self._context, self._expected, description, offsets)
        return _Place("fixed", (seen, _Contents(description.data, mask, hides_stack=True)), room)

    def _locate_on_stack(self, type: Pointer, description: PointerArgument, region: CallArgument) -> _Place:
        """What must lie behind a pointer to the stack: of a string what is known of it, or else the element."""
        data, offsets = description.data, self._dont_care.of(region)
        if is_string_argument(description):
            return _Place("stack", (_Contents(data[: min(offsets, default=len(data))]),))
        element = description.element
        if element is None or len(data) != element.size:
            return _UNKNOWN
        mask = bytes(0 if at in offsets else byte for at, byte in enumerate(build_value_mask(element)))
        return _Place("stack", (_Contents(data, mask, hides_stack=True),))


def _locate_constant(pointee: Pointee, description: PointerArgument, seen: _Contents) -> _Place:
    """A pointer to a constant. A candidate may have the same constant elsewhere, where a string or an element is known
    as a whole."""
    data, element = description.data, description.element
    is_movable, known = data.endswith(b"\0"), _Contents(data)
    if not is_string_argument(description):
        is_movable = element is not None and len(data) == element.size
        known = _Contents(data, build_value_mask(element) if element and is_movable else b"", hides_stack=True)
    return _Place("constant" if is_movable and pointee.room else "fixed", (known, seen))


def _is_text(type: Pointer) -> bool:
    """Whether only a string is read where a pointer leads."""
    return is_character(type.target) or type.target is None or not type.target.size


def _is_whole(type: Pointer, data: bytes, room: int) -> bool:
    """Whether all that an answer may depend on was mapped, in an object that ends after `room` bytes."""
    target = type.target
    if target is None or not target.size:
        return True
    size = min(room, SEED_SIZE) if is_character(target) else min(room, target.size, SEED_SIZE)
    return len(data) == size or (is_character(target) and data.endswith(b"\0"))


def _with_format(place: _Place, description: PointerArgument, pointee: Pointee) -> _Place:
    """A format, which says what other arguments there are: all of it counts."""
    for data in (description.data, pointee.data):
        text, zero, _ = data.partition(b"\0")
        if zero:
            return place._replace(contents=(*place.contents, _Contents(text + zero)))
    return _UNKNOWN


class _CallWriter:
    """Writes one call."""

    def __init__(self, writer: _CallsWriter, machine: Machine, record: CallRecord) -> None:
        self._writer, self._record, self._type = writer, record, record.type
        self._convention, self._numbers = machine.convention, machine.guest.numbers
        self._stubs = machine.program.stubs
        self._result = self._convention.locate_result(record.type)

    def write(self, places: Sequence[_Place | None]) -> None:
        """Write the call, where `places` has what is known of its pointers."""
        writer, callee = self._writer, self._record.reply.callee
        is_external = isinstance(callee, str)
        writer.u32(is_external, self._stubs.index(callee) if isinstance(callee, str) else callee)
        arguments = self._record.arguments
        types = [promote_argument(argument.type, self._convention) for argument in arguments]
        locations = self._convention.locate_call_arguments(types, self._result.is_in_memory)
        writer.u32(len(arguments))
        for argument, type, location, place in zip(arguments, types, locations, places, strict=True):
            self._write_argument(argument.value, type, location, place)
        self._write_reply()

    def _write_argument(self, value: int, type: Type, location: ArgumentLocation, place: _Place | None) -> None:
        writer, size = self._writer, type.size
        kind = place.kind if place else "code" if isinstance(type, Pointer) else "value"
        kind = "nan" if isinstance(type, Float) and is_nan(value.to_bytes(size, "little")) else kind
        writer.u32(_KINDS.index(kind), location.is_indirect)
        passed = _WORD if location.is_indirect else size
        step = location.register_bytes
        writer.u32(len(location.registers))
        for number, register in enumerate(location.registers):
            writer.u32(self._numbers[register], max(0, min(step, passed - number * step)))
        writer.u64(location.offset)
        writer.span(value.to_bytes(size, "little"))
        writer.span(build_value_mask(type))
        writer.u64(place.room if place else 0)
        contents = [part for part in place.contents if part.data] if place else []
        writer.u32(len(contents))
        for part in contents:
            writer.u32(part.hides_stack)
            writer.span(part.data)
            mask = part.mask[: len(part.data)]
            writer.span(mask if mask.count(0xFF) != len(mask) else b"")

    def _write_reply(self) -> None:
        """The writes through arguments; the buffer of a result in memory; a new object; the registers."""
        writer, reply, origin = self._writer, self._record.reply, self._record.origin
        writes = [effect for effect in reply.effects if effect.argument is not None]
        rest = next((effect for effect in reply.effects if effect.argument is None), None)
        writer.u32(len(writes))
        for effect in writes:
            writer.u32(effect.argument or 0)
            writer.span(effect.data)
        buffer = self._numbers[self._convention.result_pointer_register]
        writer.u32(buffer if self._result.is_in_memory else NO_REGISTER)
        writer.u32(_NO_ARGUMENT if origin.argument is None else origin.argument)
        writer.u64(0 if origin.allocated is None else origin.allocated)
        writer.span(rest.data if rest else b"")
        writer.u32(len(reply.result))
        for register, data in reply.result.items():
            writer.u32(self._numbers[register])
            writer.span(data)
