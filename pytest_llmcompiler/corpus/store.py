"""Corpora on disk: a corpus that was generated once is read by every later process and session.

A file is a compressed pickle. Anyone who can write to the cache could put code into a pickle, so the unpickler creates
objects of a few known classes only.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytest_llmcompiler.corpus.relations import ParameterRelations, RelationScope
from pytest_llmcompiler.files import cache_folder
from pytest_llmcompiler.values.c_types import Array, Float, Function, Int, Pointer, Struct, Type
from pytest_llmcompiler.values.input import Alias, Callback, Input, Object, StandardStream, SymbolPointer, Value

MAX_FILES = 4000
"""Files that are kept. Above that, the least recently used ones are deleted, until half are left."""
_MAX_BYTES = 1 << 28
"""Bytes of an uncompressed corpus. A file that holds more was not written by this module."""
FORMAT = 2
"""The version of the file format and of the generation of inputs. Raise it with every change after which a saved corpus
can't be read, or after which a new corpus would have other inputs: corpora of another version are generated anew. A
changed field of a saved class is noticed without that. Any other edit of this package keeps users' corpora."""
_LIBRARIES = ("hypothesis", "unicorn", "llvmlite", "ziglang")
"""The libraries whose releases may change the inputs that are generated."""


@dataclass(frozen=True)
class SavedCorpus:
    """The data of a corpus that is saved. The entries are computed again from the inputs."""

    inputs: tuple[Input, ...]
    dropped: Counter[str]
    """The number of different inputs that were of no use, by reason."""
    learned: dict[RelationScope, ParameterRelations]
    cut: dict[str, list[int]]
    """What the budget cut (`Budget.cut`)."""
    coverage: dict[str, Any] | None
    """The fact `coverage` of verdicts."""


_TARGET_CLASSES = (Object, Callback, Alias, SymbolPointer, StandardStream)
"""The classes of what a pointer leads to."""
SAVED_CLASSES = (SavedCorpus, Input, Value, *_TARGET_CLASSES, ParameterRelations, Int, Float, Array)
"""The dataclasses of which a saved corpus consists."""


class CorpusFile:
    """The file of one corpus. Its name is a digest of `key`, of `types`, and of what generated it.

    Structs, pointers and functions are compared by identity. So the file has only the number of such a type, in the
    order in which it is reached from `types`, and reading replaces the number by the type of this process.
    """

    def __init__(self, key: Iterable[str], types: Iterable[Type | None]) -> None:
        self._types = list(dict.fromkeys(_walk_types(types)))
        digest = hashlib.sha256()
        for part in (_describe_generator(), *key, *_describe_types(self._types)):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        self.path = cache_folder() / "corpora" / digest.hexdigest()

    def load(self) -> SavedCorpus | None:
        """The saved corpus; None where there is no file, or where it can't be read."""
        try:
            corpus = _CorpusUnpickler(io.BytesIO(_decompress(self.path.read_bytes())), self._types).load()
            os.utime(self.path)
        except Exception:  # unpickling a broken file can raise any exception
            return None
        is_valid = (
            isinstance(corpus, SavedCorpus)
            and isinstance(corpus.dropped, Counter)
            and isinstance(corpus.learned, dict)
            and isinstance(corpus.cut, dict)
            and isinstance(corpus.coverage, dict | None)
        )
        return corpus if is_valid else None

    def save(self, corpus: SavedCorpus) -> None:
        """Write a corpus to the file. Does nothing where the disk is full or the folder can't be written."""
        buffer = io.BytesIO()
        _CorpusPickler(buffer, self._types).dump(corpus)
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=".", delete=False) as file:
                try:
                    file.write(zlib.compress(buffer.getvalue()))
                    file.flush()
                    Path(file.name).replace(self.path)
                except OSError:
                    Path(file.name).unlink()
            _prune(self.path.parent)


def _decompress(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    whole = decompressor.decompress(data, _MAX_BYTES)
    if not decompressor.eof:
        raise EOFError
    return whole


def _prune(folder: Path) -> None:
    """Delete the least recently used files if there are more than `MAX_FILES`."""
    files = list(os.scandir(folder))
    if len(files) > MAX_FILES:
        for old in sorted(files, key=lambda file: file.stat().st_mtime)[: len(files) - MAX_FILES // 2]:
            Path(old).unlink()


def _describe_generator() -> str:
    """The format, the fields of the classes that are saved, and the releases of the libraries that generate corpora.

    Pickle does not notice that a field was renamed: the new field would silently keep its default. So the names of the
    fields are a part of the file's name.
    """
    classes = (f"{one.__qualname__}({', '.join(field.name for field in fields(one))})" for one in SAVED_CLASSES)
    return " ".join((f"format {FORMAT}", *classes, *(f"{name} {version(name)}" for name in _LIBRARIES)))


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
        return [type.result, *(param.type for param in type.params)]
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


class _CorpusPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, types: Sequence[Type]) -> None:
        super().__init__(file)
        self._numbers = {id(type): number for number, type in enumerate(types)}

    def persistent_id(self, obj: object) -> int | None:
        return self._numbers.get(id(obj))


class _CorpusUnpickler(pickle.Unpickler):
    """Creates objects of the classes of a corpus only. Raises UnpicklingError for any other."""

    def __init__(self, file: io.BytesIO, types: Sequence[Type]) -> None:
        super().__init__(file)
        self._types = types

    def persistent_load(self, pid: int) -> Type:
        if not 0 <= pid < len(self._types):
            raise pickle.UnpicklingError(f"no type of number {pid}")
        return self._types[pid]

    def find_class(self, module: str, name: str) -> Any:
        own = module.partition(".")[0] == __package__.partition(".")[0]
        for known in (*SAVED_CLASSES, Counter):
            # Classes of this package are matched by name alone: a file that was saved before a class moved can be read.
            if name == known.__qualname__ and (own or module == known.__module__):
                return known
        if (module, name) == ("builtins", "frozenset"):
            return frozenset
        raise pickle.UnpicklingError(f"a corpus has no {module}.{name}")
