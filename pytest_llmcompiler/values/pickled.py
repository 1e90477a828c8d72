"""Data as compressed pickles, in which types are numbers, and from which only objects of a few known classes come.

Anyone who can write to the cache could put code into a pickle, so the unpickler refuses every other class.

Structs, pointers and functions are compared by identity. So a pickle has only the number of such a type, in the order
in which it is reached from some types, and reading replaces the number by the type of this process.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import pickle
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pytest_llmcompiler.values.c_types import FILE, TEXT, Array, Function, Pointer, Struct, Type
from pytest_llmcompiler.values.va_list import AAPCS, SYSTEM_V, WINDOWS

_MAX_BYTES = 1 << 28
"""Bytes of an uncompressed pickle. One that has more was not written by this module."""
_OWN_TYPES = (FILE, TEXT, SYSTEM_V, AAPCS, WINDOWS)
"""Types that this package has one of: each process compares with its own."""
_BUILTINS = {("builtins", "frozenset"): frozenset, (Counter.__module__, Counter.__qualname__): Counter}


class PickleFormat:
    """How objects of some classes become bytes. `types` are those that they may mention.

    `shared` are objects that they may hold and that the reader has too: a pickle has only their numbers.
    """

    def __init__(self, classes: Iterable[type], types: Iterable[Type | None], shared: Sequence[object] = ()) -> None:
        self._classes = {one.__qualname__: one for one in classes}
        self._types = list(dict.fromkeys(_walk_types([*_OWN_TYPES, *types])))
        self._shared = shared
        self._numbered: list[object] = [*self._types, *shared]

    def dump(self, value: object, level: int = zlib.Z_DEFAULT_COMPRESSION) -> bytes:
        """The bytes of an object."""
        buffer = io.BytesIO()
        _Pickler(buffer, self._numbered).dump(value)
        return zlib.compress(buffer.getvalue(), level)

    def load(self, data: bytes) -> Any:
        """The object whose bytes they are. Raises any exception where they are those of no such object."""
        unpickler = _Unpickler(io.BytesIO(_decompress(data)), self._numbered, self._classes)
        with _no_garbage_collection():
            return unpickler.load()

    def describe(self) -> Iterator[str]:
        """Texts that differ where bytes would be read as other objects: the fields of the classes, the properties of
        each type, and digests of what is shared as bytes.

        Pickle does not notice that a field was renamed: the new field would silently keep its default.
        """
        yield " ".join(f"{one.__qualname__}({', '.join(_field_names(one))})" for one in self._classes.values())
        yield from _describe_types(self._types)
        yield from (hashlib.sha256(data).hexdigest() for data in self._shared if isinstance(data, bytes))


def _field_names(one: type) -> list[str]:
    return [field.name for field in fields(one)] if is_dataclass(one) else list(getattr(one, "_fields", ()))


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Many new objects, none of which is garbage, would start a search of the whole process again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _decompress(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    whole = decompressor.decompress(data, _MAX_BYTES)
    if not decompressor.eof:
        raise EOFError
    return whole


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, numbered: Sequence[object]) -> None:
        super().__init__(file)
        self._numbers = {id(one): number for number, one in enumerate(numbered)}

    def persistent_id(self, obj: object) -> int | None:
        return self._numbers.get(id(obj))


class _Unpickler(pickle.Unpickler):
    """Creates objects of known classes only. Raises UnpicklingError for any other."""

    def __init__(self, file: io.BytesIO, numbered: Sequence[object], classes: dict[str, type]) -> None:
        super().__init__(file)
        self._numbered, self._classes = numbered, classes

    def persistent_load(self, pid: int) -> object:
        if not 0 <= pid < len(self._numbered):
            raise pickle.UnpicklingError(f"nothing has the number {pid}")
        return self._numbered[pid]

    def find_class(self, module: str, name: str) -> Any:
        # Classes of this package are matched by name alone: a file that was saved before a class moved can be read.
        if module.partition(".")[0] == __package__.partition(".")[0] and name in self._classes:
            return self._classes[name]
        if (module, name) in _BUILTINS:
            return _BUILTINS[module, name]
        raise pickle.UnpicklingError(f"no {module}.{name} is expected here")


def _walk_types(types: Iterable[Type | None]) -> Iterator[Type]:
    """The structs, pointers and functions that can be reached from some types, each once, in a fixed order."""
    todo, seen = list(types)[::-1], set[int]()
    while todo:
        type = todo.pop()
        if type is None or id(type) in seen:
            continue
        seen.add(id(type))
        if isinstance(type, (Struct, Pointer, Function)):
            yield type
        todo += _inner_types(type)


def _inner_types(type: Type) -> Sequence[Type | None]:
    if isinstance(type, Struct):
        return [field.type for field in type.fields]
    if isinstance(type, Pointer):
        return [type.target]
    if isinstance(type, Function):
        return [type.result, *(param.type for param in type.params), *type.unnamed]
    return [type.element] if isinstance(type, Array) else []


def _describe_types(types: Sequence[Type]) -> Iterator[str]:
    """A text for each type that has all its properties. The types inside it are named by their numbers."""
    numbers = {id(type): number for number, type in enumerate(types)}

    def name(type: Type | None) -> str:
        if isinstance(type, Array):
            return f"{type.count} of {name(type.element)}"
        return str(numbers.get(id(type), repr(type)))

    for type in types:
        inner = [name(part) for part in _inner_types(type)]
        if isinstance(type, Struct):
            fields = [(field.name, field.offset, field.bits) for field in type.fields]
            yield repr((type.name, type.size, type.align, type.union, fields, inner))
        elif isinstance(type, Function):
            params = [(param.name, param.restrict) for param in type.params]
            yield repr((type.variadic, type.format, params, inner))
        elif isinstance(type, Pointer):
            yield repr((type.const, inner))
