"""C types: sizes, signs, layouts and names. Sizes, alignments and offsets are in bytes."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TypeVar

_MAX_KNOWN_TYPES = 1_024
"""Types whose parts are kept: every input asks for those of the same few."""


@dataclass(frozen=True)
class Int:
    """An integer, character, `_Bool` or enumeration of 1 to 16 bytes."""

    size: int
    signed: bool
    name: str
    boolean: bool = False
    """True for `_Bool`."""
    character: bool = False
    """True for a `char` of any sign."""
    enumerators: tuple[tuple[str, int], ...] = ()
    """The names and values of an enumeration; empty for any other integer."""

    def __hash__(self) -> int:
        return hash((self.size, self.name))  # types are keys of many caches: the rest hardly tells any two apart

    @property
    def align(self) -> int:
        return self.size

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value of the type."""
        if self.boolean:
            return 0, 1
        bits = 8 * self.size
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.signed else (0, (1 << bits) - 1)


CHARACTER = Int(1, True, "char", character=True)
"""C's plain `char`."""
UNTYPED = Int(1, False, "void")
"""One byte of the object that a `void *` points to. The object can have any type: its alignment follows its size."""


@dataclass(frozen=True)
class Float:
    """An IEEE float (4 bytes) or double (8 bytes)."""

    size: int
    name: str

    @property
    def align(self) -> int:
        return self.size


@dataclass(frozen=True, eq=False)
class Pointer:
    """A pointer; `target` None is `void *`."""

    target: Type | None
    const: bool = False
    """True where the pointed-to object is const."""
    size: int = 8
    align: int = 8

    @property
    def name(self) -> str:
        inner = "void" if self.target is None else self.target.name
        return f"{'const ' if self.const else ''}{inner} *"


TEXT = Pointer(CHARACTER)
"""The type of pseudo-variables that lead to a text, such as what can be read from standard input."""


@dataclass(frozen=True)
class Array:
    """A fixed number of elements."""

    element: Type
    count: int

    @property
    def size(self) -> int:
        return self.element.size * self.count

    @property
    def align(self) -> int:
        return self.element.align

    @property
    def name(self) -> str:
        return f"{self.element.name}[{self.count}]"


@dataclass(frozen=True)
class Vector(Array):
    """A vector of GCC and clang (`vector_size`, `__m256i`) in memory: an array that is aligned to its size."""

    @property
    def align(self) -> int:
        return self.size

    @property
    def name(self) -> str:
        return f"vector of {self.count} {self.element.name}"


@dataclass(frozen=True)
class Field:
    """A member of a struct or union."""

    name: str
    offset: int
    type: Type
    bits: tuple[int, int] | None = None
    """For a bit-field: its first bit, counted from the start of the struct, and its width in bits."""


@dataclass(eq=False)
class Struct:
    """A struct or union. Compared by identity, since it may point to itself."""

    name: str
    size: int
    align: int = 1
    union: bool = False
    opaque: bool = False
    """True for `va_list` and `FILE`, whose members C does not name: no program can depend on their values."""
    fields: list[Field] = field(default_factory=list)


FILE = Struct("FILE", 0, opaque=True)
"""A stream of the C library. No object of an input has this type: a `FILE *` leads to a standard stream."""


@dataclass(frozen=True, eq=False)
class Function:
    """The type of a function; `result` None is `void`."""

    result: Type | None
    params: tuple[Param, ...]
    variadic: bool = False
    format: bool = False
    """Whether the last parameter is a printf format, which determines the arguments that follow."""
    ends: bool = True
    """Whether callers may pass a pointer to the end of an object: such a pointer can't be read through."""
    unnamed: tuple[Type, ...] = ()
    """The types that a variadic function reads of arguments without a name, as far as its code tells."""
    size: int = 1
    align: int = 1

    @property
    def name(self) -> str:
        params = [param.type.name for param in self.params] + ["..."] * self.variadic
        return f"{self.result.name if self.result else 'void'} ({', '.join(params) or 'void'})"


@dataclass(frozen=True)
class Unsupported:
    """A type of which no values can be generated. `reason` describes the type, in words for messages."""

    reason: str
    size: int = 0
    align: int = 1
    incomplete: bool = False
    """True for a struct or union without members in its file. A pointer to one is taken for a `void *`."""

    @property
    def name(self) -> str:
        return self.reason


Type = Int | Float | Pointer | Array | Struct | Function | Unsupported
PartT = TypeVar("PartT", Float, Pointer)


@dataclass(frozen=True)
class Param:
    """A parameter of a function."""

    name: str
    type: Type
    restrict: bool = False
    """True for a `restrict` pointer: no other pointer leads to its object."""


def has_pointers(type: Type) -> bool:
    """Whether some bytes of a value of a type are a pointer's."""
    return build_value_mask(type) != build_value_mask(type, pointers=False)


def build_value_mask(type: Type, *, pointers: bool = True) -> bytes:
    """A mask of `type.size` bytes. Bits that hold a value are 1, bits of padding are 0.

    With `pointers=False`, the bits of pointers are 0 too, and so is a union that may hold a pointer.
    """
    if isinstance(type, Array):
        return build_value_mask(type.element, pointers=pointers) * type.count
    if isinstance(type, Struct) and type.opaque:
        return bytes(type.size)
    if not isinstance(type, Struct):
        return (b"\xff" if pointers or not isinstance(type, Pointer) else b"\0") * type.size
    mask = 0
    for member in type.fields:
        if member.bits:
            mask |= ((1 << member.bits[1]) - 1) << member.bits[0]
        else:
            member_mask = build_value_mask(member.type, pointers=pointers)
            if type.union and not pointers and member_mask != build_value_mask(member.type):
                return bytes(type.size)
            mask |= int.from_bytes(member_mask, "little") << 8 * member.offset
    return mask.to_bytes(type.size, "little")


def has_callback(param: Param) -> bool:
    """Whether a function pointer can be reached from a parameter."""
    return _reaches_function(param.type, set())


def _reaches_function(type: Type | None, seen: set[int]) -> bool:
    if id(type) in seen:
        return False
    seen.add(id(type))
    if isinstance(type, Struct):
        return any(_reaches_function(member.type, seen) for member in type.fields)
    if isinstance(type, Pointer):
        return isinstance(type.target, Function) or _reaches_function(type.target, seen)
    return isinstance(type, Array) and _reaches_function(type.element, seen)


@functools.lru_cache(maxsize=_MAX_KNOWN_TYPES)
def find_floats(type: Type) -> tuple[tuple[int, Float], ...]:
    """The floating-point numbers in a type, with their offsets in bytes: without those in unions."""
    return tuple(_find_parts(type, Float))


@functools.lru_cache(maxsize=_MAX_KNOWN_TYPES)
def find_pointers(type: Type) -> tuple[tuple[int, Pointer], ...]:
    """The pointers in a type, with their offsets in bytes: without those in unions."""
    return tuple(_find_parts(type, Pointer))


def _find_parts(type: Type, kind: type[PartT]) -> list[tuple[int, PartT]]:
    """An array is looked at once, not for each element: it may have megabytes."""
    if isinstance(type, kind):
        return [(0, type)]
    if isinstance(type, Array):
        inner = _find_parts(type.element, kind)
        starts = range(0, type.size, type.element.size) if inner else ()
        return [(start + at, part) for start in starts for at, part in inner]
    if not isinstance(type, Struct) or type.union or type.opaque:
        return []
    return [(start + at, part) for start, member in list_members(type) for at, part in _find_parts(member, kind)]


def list_members(type: Array | Struct) -> list[tuple[int, Type]]:
    """The elements of an array, or the members of a struct without its bit-fields: offset in bytes, and type."""
    if isinstance(type, Array):
        return [(index * type.element.size, type.element) for index in range(type.count)]
    return [(field.offset, field.type) for field in type.fields if not field.bits]


def find_unsupported(type: Type | None) -> str | None:
    """The reason why a value of a type can't be generated, passed or returned; None where it can.

    Pointers are followed: a pointer to an unsupported type is unsupported.
    """
    return _find_unsupported(type, set())


def _find_unsupported(type: Type | None, seen: set[int]) -> str | None:
    if isinstance(type, Unsupported):
        return type.reason
    if type is FILE:
        return "a FILE that is not the C library's own"
    if isinstance(type, Pointer):
        is_known = isinstance(type.target, Function) or type.target is FILE
        return None if is_known else _find_unsupported(type.target, seen)
    if isinstance(type, Array):
        return _find_unsupported(type.element, seen)
    if isinstance(type, Struct) and id(type) not in seen:
        seen.add(id(type))
        return next(filter(None, (_find_unsupported(member.type, seen) for member in type.fields)), None)
    return None
