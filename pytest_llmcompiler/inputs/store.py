"""Corpora on disk: what was generated for a function once is there for every later process and session."""

from __future__ import annotations

import contextlib
import functools
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

from pytest_llmcompiler.inputs.scope import Scope, Ties
from pytest_llmcompiler.inputs.value import Alias, Callback, Input, Object, Value
from pytest_llmcompiler.program.types import Array, Float, Function, Int, Pointer, Struct, Type

_MOST = 4000
"""Files that are kept; the ones that were not used for longest go first."""
_GENERATORS = ("hypothesis", "unicorn", "llvmlite", "ziglang")


@dataclass(frozen=True)
class Stored:
    """What is kept of a corpus: its inputs, and what was found out on the way."""

    inputs: tuple[Input, ...]
    dropped: Counter[str]
    learned: dict[Scope, Ties]


def cache_folder() -> Path:
    """The folder of everything that this package keeps between sessions."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-llmcompiler"


class Store:
    """The place of one corpus. `key` is all that the corpus depends on but this package itself and what it is built of.

    Types are kept as their numbers in the order in which they are reached from `types`: two structs of one layout are
    not the same type.
    """

    def __init__(self, key: Iterable[str | bytes], types: Iterable[Type | None]) -> None:
        digest = hashlib.sha256(_own_digest())
        for part in key:
            data = part.encode() if isinstance(part, str) else part
            digest.update(len(data).to_bytes(8, "little") + data)
        self.path = cache_folder() / "corpora" / digest.hexdigest()
        self._types = list(dict.fromkeys(_reached(types)))

    def load(self) -> Stored | None:
        """What was saved; None where nothing was, or nothing that can be read."""
        try:
            data = zlib.decompress(self.path.read_bytes())
            stored = _Reader(io.BytesIO(data), self._types).load()
            os.utime(self.path)
        except (OSError, zlib.error, pickle.UnpicklingError, EOFError, AttributeError, ValueError, TypeError):
            return None
        return stored if isinstance(stored, Stored) else None

    def save(self, stored: Stored) -> None:
        """Keep a corpus. A disk that is full or not to be written is no reason to fail."""
        buffer = io.BytesIO()
        _Writer(buffer, self._types).dump(stored)
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".")
            with os.fdopen(handle, "wb") as file:
                file.write(zlib.compress(buffer.getvalue()))
            Path(name).replace(self.path)
            _prune(self.path.parent)


def _prune(folder: Path) -> None:
    files = list(os.scandir(folder))
    if len(files) > _MOST:
        for old in sorted(files, key=lambda file: file.stat().st_mtime)[: len(files) - _MOST // 2]:
            Path(old).unlink()


@functools.cache
def _own_digest() -> bytes:
    """This package's code and the libraries that have a part in a corpus."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted((*root.rglob("*.py"), *root.rglob("*.c"))):
        digest.update(path.read_bytes())
    digest.update(",".join(version(name) for name in _GENERATORS).encode())
    return digest.digest()


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


class _Writer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, types: Sequence[Type]) -> None:
        super().__init__(file)
        self._numbers = {id(type): number for number, type in enumerate(types)}

    def persistent_id(self, obj: object) -> int | None:
        return self._numbers.get(id(obj))


class _Reader(pickle.Unpickler):
    """Makes nothing but what a corpus is made of, whatever a file says."""

    _CLASSES = (Stored, Input, Value, Object, Callback, Alias, Ties, Counter, Int, Float, Array)

    def __init__(self, file: io.BytesIO, types: Sequence[Type]) -> None:
        super().__init__(file)
        self._types = types

    def persistent_load(self, pid: int) -> Type:
        if not 0 <= pid < len(self._types):
            raise pickle.UnpicklingError(f"no type of number {pid}")
        return self._types[pid]

    def find_class(self, module: str, name: str) -> Any:
        for known in self._CLASSES:
            if (module, name) == (known.__module__, known.__qualname__):
                return known
        if (module, name) == ("builtins", "frozenset"):
            return frozenset
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a corpus")
