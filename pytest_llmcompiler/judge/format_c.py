"""Values and inputs formatted as C, for people."""

from __future__ import annotations

import math
import string
import struct
from collections.abc import Iterator, Sequence

from pytest_llmcompiler.values.c_types import Array, Field, Float, Int, Param, Pointer, Struct, Type
from pytest_llmcompiler.values.input import (
    STREAM_NAMES,
    Alias,
    Callback,
    Input,
    Links,
    Object,
    PointerTarget,
    StandardStream,
    SymbolPointer,
)
from pytest_llmcompiler.values.layout import STREAMS, label_objects

_LINE_WIDTH = 160
"""Characters in one line of an input."""
_MAX_LENGTH = 600
"""Characters of an array or a string: about four lines. A comment says how many elements there are."""
_MAX_BYTES = 64
"""Bytes that are shown in hexadecimal."""
_MANY_ELEMENTS = 24
"""Of an array with more elements, zeros at the end are left out; a comment says so."""
_MAX_DECIMAL = 0xFFFFFF
"""Greater integers are formatted in hexadecimal: most are addresses or bit patterns."""
Names = Sequence[str]
"""The C expression for each object of an input, in their order. Pointers into an object are formatted with it."""


def format_input(input: Input, params: Sequence[Param]) -> list[str]:
    """An input as C would initialise it, wrapped into lines: `buf = "diff\\n…", size = 5, *idx = 0`."""
    names = [param.name for param in params]
    names += [f"...[{index}]" for index in range(len(input.args) - len(names))]
    labels = label_objects(input, names)
    parts = [
        part
        for name, value in zip(names, input.args, strict=True)
        for part in _format_argument(name, value.type, value.data, value.links, labels)
    ]
    parts += [f"{name} = {format_value(value.type, value.data, value.links, labels)}" for name, value in input.globals]
    return _wrap(parts) or ["(no arguments)"]


def format_value(type: Type | None, data: bytes, links: Links = (), names: Names = ()) -> str:
    """The bytes of a value as a C expression. `links` are the pointers in it, with the objects that they point to."""
    if type is None:
        return "nothing"
    if isinstance(type, Int):
        return _format_integer(type, data)
    if isinstance(type, Float):
        return _format_float(struct.unpack("<f" if type.size == 4 else "<d", data)[0])
    if isinstance(type, Pointer):
        target = next((target for at, target in links if at == 0), None)
        if target is None:
            return format_address(int.from_bytes(data, "little"))
        return _format_compound_literal(target, names) if isinstance(target, Object) else _format_target(target, names)
    if isinstance(type, Array):
        return _format_elements(type.element, data, links, names)
    if isinstance(type, Struct):
        fields = [_union_member(type, links)] if type.union and type.fields else type.fields
        parts = (f".{field.name} = {_format_field(field, data, links, names)}" for field in fields)
        return "{" + ", ".join(parts) + "}"
    return data.hex()


def format_address(address: int) -> str:
    """A pointer that leads to no object with a name."""
    if address in STREAMS:
        return STREAM_NAMES[STREAMS.index(address)]
    return f"(void *){address:#x}" if address else "NULL"


def _union_member(type: Struct, links: Links) -> Field:
    """The member of a union to show: the first one, or a pointer where the union holds one."""
    holds_pointer = any(at == 0 for at, _ in links)
    pointers = (field for field in type.fields if holds_pointer and isinstance(field.type, Pointer))
    return next(pointers, type.fields[0])


def format_bytes(data: bytes) -> str:
    """Bytes as a C string literal where they read as text, else in hexadecimal."""
    if data and all(byte in b"\n\t\r" or 32 <= byte < 127 for byte in data.rstrip(b"\0")) and data.strip(b"\0"):
        return _format_string(data)
    return " ".join(f"{byte:02x}" for byte in data[:_MAX_BYTES]) + (" …" if len(data) > _MAX_BYTES else "")


def _format_argument(name: str, type: Type, data: bytes, links: Links, names: Names) -> Iterator[str]:
    target = links[0][1] if links and isinstance(type, Pointer) else None
    if isinstance(target, Object) and target.count == 1 and _is_plain(target.element):
        yield f"*{name} = {format_value(target.element, target.data)}"
    elif isinstance(target, Object):
        yield f"{name} = {_format_target(target, names)}"
    else:
        yield f"{name} = {format_value(type, data, links, names)}"


def _is_plain(type: Type) -> bool:
    return isinstance(type, Float) or (isinstance(type, Int) and not type.character)


def _format_target(target: PointerTarget, names: Names) -> str:
    if isinstance(target, Callback):
        return f"callback_{target.number}"
    if isinstance(target, SymbolPointer):
        return _format_symbol(target)
    if isinstance(target, StandardStream):
        return target.name
    if isinstance(target, Alias):
        return _format_alias(target, names)
    if target.count == 1 and isinstance(target.element, Struct):
        return format_value(target.element, target.data, target.links, names)
    return _format_elements(target.element, target.data, target.links, names)


def _format_compound_literal(target: Object, names: Names) -> str:
    """A pointer to an object that has no name: a string literal or a compound literal."""
    text = _format_target(target, names)
    if text.startswith('"'):
        return text
    is_one = target.count == 1 and isinstance(target.element, Struct)
    return f"&({target.element.name}){text}" if is_one else f"({target.element.name}[]){text}"


def _format_symbol(target: SymbolPointer) -> str:
    """The address of a symbol: `table`, `(char *)&table + 8`."""
    return f"(char *)&{target.symbol} + {target.offset}" if target.offset else f"&{target.symbol}"


def _format_alias(target: Alias, names: Names) -> str:
    name = names[target.index] if target.index < len(names) else "NULL"
    steps = target.offset // max(target.element.size, 1)
    return f"{name} + {steps}" if steps else name


def _format_elements(element: Type, data: bytes, links: Links, names: Names) -> str:
    if isinstance(element, Int) and element.size == 1 and not element.boolean and element.character:
        return _format_string(data)
    size = max(element.size, 1)
    parts = [
        format_value(element, data[at : at + size], _links_within(links, at, size), names)
        for at in range(0, len(data), size)
    ]
    count = len(parts)
    while len(parts) > _MANY_ELEMENTS and parts[-1] == parts[-2] == "0":
        parts.pop()
    rest = f" /* {count} elements, the rest zero */" if len(parts) < count else ""
    text = ", ".join(parts)
    if len(text) > _MAX_LENGTH:
        text, rest = text[:_MAX_LENGTH].rsplit(", ", 1)[0], f" /* the first of {count} elements */"
    return "{" + text + "}" + rest


def _links_within(links: Links, start: int, size: int) -> Links:
    """The pointers in a part of a value, with offsets from the start of that part."""
    return tuple((at - start, to) for at, to in links if start <= at < start + size)


def _format_field(field: Field, data: bytes, links: Links, names: Names) -> str:
    offset, type = field.offset, field.type
    if field.bits and isinstance(type, Int):
        first, width = field.bits
        value = int.from_bytes(data, "little") >> first & (1 << width) - 1
        if type.signed and value >> width - 1:
            value -= 1 << width
        return str(value)
    return format_value(type, data[offset : offset + type.size], _links_within(links, offset, type.size), names)


def _format_integer(type: Int, data: bytes) -> str:
    value = int.from_bytes(data, "little", signed=type.signed)
    name = next((name for name, number in type.enumerators if number == value), None)
    if name or type.boolean:
        return name or {0: "false", 1: "true"}.get(value, str(value))
    if type.character and 32 <= value < 127:
        return {"'": r"'\''", "\\": r"'\\'"}.get(chr(value), f"'{chr(value)}'")
    return hex(value) if abs(value) > _MAX_DECIMAL else str(value)


def _format_string(data: bytes) -> str:
    """A C string literal. C adds one zero byte at the end; a comment gives the size where there are more, or none."""
    body = data.rstrip(b"\0")
    text = _join_characters([_format_character(byte) for byte in body[:_MAX_LENGTH]])
    if len(body) > _MAX_LENGTH:
        return f'"{text}" /* the first of {len(data)} bytes */'
    if len(data) == len(body) + 1:
        return f'"{text}"'
    rest = ", the rest zero" if len(data) > len(body) + 1 and body else ", all zero" if data and not body else ""
    return f'"{text}" /* {len(data)} bytes{rest} */'


def _join_characters(characters: Sequence[str]) -> str:
    """The text of a string literal. A digit after an escape begins a new literal: it would belong to the escape."""
    text = ""
    for before, character in zip(("", *characters), characters):
        digits = string.hexdigits if before.startswith("\\x") else string.octdigits if before == "\\0" else ""
        text += f'""{character}' if character in digits and digits else character
    return text


def _format_float(value: float) -> str:
    if math.isnan(value):
        return "NAN"
    return ("-" if value < 0 else "") + "INFINITY" if math.isinf(value) else repr(value)


def _format_character(byte: int) -> str:
    named = {10: "\\n", 13: "\\r", 9: "\\t", 34: '\\"', 92: "\\\\", 0: "\\0"}
    return named.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")


def _wrap(parts: Sequence[str]) -> list[str]:
    """The assignments of an input, joined with commas into lines."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 2 <= _LINE_WIDTH:
            lines[-1] += f", {part}"
        else:
            if lines:
                lines[-1] += ","
            lines.append(part)
    return lines
