"""Corpora on disk: what was generated for a function once is there for every later process and session."""

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
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytest_llmcompiler.corpus.relations import ParameterRelations, RelationScope
from pytest_llmcompiler.values.c_types import Array, Float, Function, Int, Pointer, Struct, Type
from pytest_llmcompiler.values.input import Alias, Callback, Input, Object, Value

_MOST = 4000
"""Files that are kept; the ones that were not used for longest go first."""
_LARGEST = 1 << 28
"""Bytes of a corpus; a file that holds more was not written here."""
FORMAT = 1
"""The number of the form in which corpora are saved and of the way in which inputs are generated. Raise it with every
change after which a saved corpus can't be read, or after which a new one would hold other inputs: corpora of another
number are generated anew. Any other edit of this package keeps users' corpora."""
_LIBRARIES = ("hypothesis", "unicorn", "llvmlite", "ziglang")


@dataclass(frozen=True)
class SavedCorpus:
    """What is kept of a corpus: its inputs, and what was found out on the way."""

    inputs: tuple[Input, ...]
    dropped: Counter[str]
    learned: dict[RelationScope, ParameterRelations]


def cache_folder() -> Path:
    """The folder of all that this package keeps between sessions: $LLMC_CACHE, else one in the user's cache."""
    own = os.environ.get("LLMC_CACHE")
    if own:
        return Path(own)
    try:
        shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / f"pytest-llmcompiler-{os.getuid()}"
    return shared / "pytest-llmcompiler"


class CorpusFile:
    """The file of one corpus. Its name depends on `key`, on `types`, on `FORMAT` and on the libraries that generate.

    Types are kept as their numbers in the order in which they are reached from `types`: two structs of one layout are
    not the same type.
    """

    def __init__(self, key: Iterable[str], types: Iterable[Type | None]) -> None:
        self._types = list(dict.fromkeys(_reached(types)))
        digest = hashlib.sha256()
        for part in (_generator(), *key, *_described(self._types)):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        self.path = cache_folder() / "corpora" / digest.hexdigest()

    def load(self) -> SavedCorpus | None:
        """What was saved; None where nothing was, or nothing that can be read."""
        try:
            stored = _CorpusUnpickler(io.BytesIO(_decompressed(self.path.read_bytes())), self._types).load()
            os.utime(self.path)
        except Exception:  # of a file that is broken, unpickling raises just about anything
            return None
        sound = (
            isinstance(stored, SavedCorpus) and isinstance(stored.dropped, Counter) and isinstance(stored.learned, dict)
        )
        return stored if sound else None

    def save(self, stored: SavedCorpus) -> None:
        """Keep a corpus. A disk that is full or not to be written is no reason to fail."""
        buffer = io.BytesIO()
        _CorpusPickler(buffer, self._types).dump(stored)
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


def _decompressed(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    whole = decompressor.decompress(data, _LARGEST)
    if not decompressor.eof:
        raise EOFError
    return whole


def _prune(folder: Path) -> None:
    files = list(os.scandir(folder))
    if len(files) > _MOST:
        for old in sorted(files, key=lambda file: file.stat().st_mtime)[: len(files) - _MOST // 2]:
            Path(old).unlink()


def _generator() -> str:
    """What generates corpora: the format, and the releases of the libraries that have a part in them."""
    return " ".join((f"format {FORMAT}", *(f"{name} {version(name)}" for name in _LIBRARIES)))


def _reached(types: Iterable[Type | None]) -> Iterator[Type]:
    todo, seen = list(types)[::-1], set[int]()
    while todo:
        type = todo.pop()
        if type is None or id(type) in seen:
            continue
        seen.add(id(type))
        if isinstance(type, (Struct, Pointer, Function)):
            yield type
        todo += _inner(type)


def _inner(type: Type) -> Sequence[Type | None]:
    if isinstance(type, Struct):
        return [field.type for field in type.fields]
    if isinstance(type, Pointer):
        return [type.target]
    if isinstance(type, Function):
        return [type.result, *(param.type for param in type.params)]
    return [type.element] if isinstance(type, Array) else []


def _described(types: Sequence[Type]) -> Iterator[str]:
    """All there is to say of each type; those that it is made of go by their numbers."""
    numbers = {id(type): number for number, type in enumerate(types)}

    def name(type: Type | None) -> str:
        if isinstance(type, Array):
            return f"{type.count} of {name(type.element)}"
        return str(numbers.get(id(type), repr(type)))

    for type in types:
        inner = [name(part) for part in _inner(type)]
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
    """Makes nothing but what a corpus is made of, whatever a file says."""

    _CLASSES = (SavedCorpus, Input, Value, Object, Callback, Alias, ParameterRelations, Counter, Int, Float, Array)

    def __init__(self, file: io.BytesIO, types: Sequence[Type]) -> None:
        super().__init__(file)
        self._types = types

    def persistent_load(self, pid: int) -> Type:
        if not 0 <= pid < len(self._types):
            raise pickle.UnpicklingError(f"no type of number {pid}")
        return self._types[pid]

    def find_class(self, module: str, name: str) -> Any:
        own = module.partition(".")[0] == __package__.partition(".")[0]
        for known in self._CLASSES:
            # Those of this package go by their names alone: a file that was saved before one moved is still read.
            if name == known.__qualname__ and (own or module == known.__module__):
                return known
        if (module, name) == ("builtins", "frozenset"):
            return frozenset
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a corpus")
