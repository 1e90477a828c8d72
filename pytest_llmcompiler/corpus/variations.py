"""Variations of given inputs, such as those that `main` passes: up to three small changes of arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pytest_llmcompiler.corpus.drawing import Draw
from pytest_llmcompiler.corpus.input_drawer import InputDrawer
from pytest_llmcompiler.values.c_types import Array, Int, Pointer, Struct, Type
from pytest_llmcompiler.values.input import Input, Object, Value
from pytest_llmcompiler.values.va_list import is_va_list

_MAX_CHANGES = 3
"""Changes of one variation: few, so that it stays like the input that it varies."""
_MAX_PATCH_BYTES = 8
"""Bytes of a buffer that one change overwrites."""


def draw_variation(draw: Draw, drawer: InputDrawer, inputs: Sequence[Input]) -> Input:
    """One of the inputs, with up to three small changes."""
    input: Input = draw(tuple(inputs))
    for _ in range(draw.integer(0, _MAX_CHANGES)):
        if input.args:
            input = _change_argument(draw, drawer, input)
    return input


def _change_argument(draw: Draw, drawer: InputDrawer, input: Input) -> Input:
    """Overwrite a part of the first buffer that an argument leads to, or draw another value of a plain argument."""
    index = draw.integer(0, len(input.args) - 1)
    args = list(input.args)
    value = args[index]
    buffers = [target for _, target in value.links if isinstance(target, Object) and not is_va_list(target.element)]
    if buffers and buffers[0].data:
        buffer = buffers[0]
        start = draw.integer(0, len(buffer.data) - 1)
        changed = replace(buffer, data=_patch(buffer, start, drawer.draw_text(draw, _MAX_PATCH_BYTES) or b"\0"))
        args = [_relink(arg, buffer, changed) for arg in args]
    elif not value.links and not isinstance(value.type, Pointer):
        if isinstance(value.type, Int) and draw.boolean():
            args[index] = _add(value, draw.integer(-2, 2))
        else:
            args[index] = Value(value.type, *drawer.draw_value(draw, value.type))
    return replace(input, args=tuple(args))


def _patch(buffer: Object, start: int, patch: bytes) -> bytes:
    """The bytes of a buffer with `patch` written from `start` on. Pointers and the terminator of a text stay."""
    data = bytearray((buffer.data[:start] + patch + buffer.data[start + len(patch) :])[: len(buffer.data)])
    size = max(buffer.element.size, 1)
    if isinstance(buffer.element, Int) and buffer.element.character and not buffer.data[-1]:
        data[-1] = 0
    for element in range(start // size * size, start + len(patch), size):
        for at in _find_pointers(buffer.element, element):
            data[at : at + 8] = buffer.data[at : at + 8]
    return bytes(data)


def _find_pointers(type: Type, start: int) -> Iterator[int]:
    """The offsets of the pointers in a value that lies at `start`."""
    if isinstance(type, Pointer):
        yield start
    elif isinstance(type, Array):
        for index in range(type.count):
            yield from _find_pointers(type.element, start + index * type.element.size)
    elif isinstance(type, Struct):
        for field in type.fields:
            yield from _find_pointers(field.type, start + field.offset)


def _relink(value: Value, old: Object, new: Object) -> Value:
    links = tuple((at, new if target is old else target) for at, target in value.links)
    return replace(value, links=links)


def _add(value: Value, step: int) -> Value:
    number = int.from_bytes(value.data, "little") + step
    if isinstance(value.type, Int) and value.type.boolean:
        number &= 1
    return replace(value, data=(number % (1 << 8 * len(value.data))).to_bytes(len(value.data), "little"))
