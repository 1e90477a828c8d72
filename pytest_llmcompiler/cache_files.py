"""Files that are kept between sessions. Nothing but time depends on them: each can be missing, damaged or unwritable.

A file is named by a digest of all that its contents depend on, so it never gets out of date. Files of one kind share a
folder, from which the least recently used ones are deleted.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pytest_llmcompiler.files import cache_folder

MAX_FILES = 4000
"""Files that are kept in a folder. Above that, the least recently used ones are deleted, until half are left."""
MAX_FOLDER_BYTES = 1 << 29
"""Bytes of all files that are kept in a folder. Above that, they are deleted in the same way."""
_CHECKSUM_BYTES = 16
_ROOMS = ("assembler", "corpus", "emulator", "judge", "program", "targets", "values")
"""The folders of this package whose files have a part in how a case is compiled and judged."""


class CacheFile:
    """A file in a folder of the cache. Its name is a digest of `key`."""

    def __init__(self, folder: str, key: Iterable[str]) -> None:
        self.path = cache_folder() / folder / hash_texts(key)

    def read(self) -> bytes | None:
        """The contents; None where there is no file, or where it is damaged."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        if data[:_CHECKSUM_BYTES] != _checksum(data[_CHECKSUM_BYTES:]):
            return None
        with contextlib.suppress(OSError):  # the folder may be read-only
            os.utime(self.path)
        return data[_CHECKSUM_BYTES:]

    def write(self, data: bytes) -> None:
        """Replace the file in one step. Does nothing where the disk is full or the folder can't be written."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=".", delete=False) as file:
                try:
                    file.write(_checksum(data) + data)
                    file.flush()
                    Path(file.name).replace(self.path)
                except OSError:
                    Path(file.name).unlink()
            _prune(self.path.parent)


def hash_texts(texts: Iterable[str]) -> str:
    """A SHA-256 digest of texts, in hexadecimal. Where one text ends and the next begins counts too."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@functools.cache
def describe_package() -> str:
    """A digest of the text of this package, as far as it has a part in how a case is compiled and judged. Reading it
    takes 15 ms."""
    package, digest = Path(__file__).parent, hashlib.sha256()
    for path in (path for room in _ROOMS for path in sorted((package / room).rglob("*"))):
        if path.suffix != ".pyc" and path.is_file():
            data = path.read_bytes()
            digest.update(f"{path.name} {len(data)}\0".encode() + data)
    return digest.hexdigest()


@functools.cache
def describe_libraries(*names: str) -> str:
    """The releases of libraries; `none` for those that are not installed, as keystone on AArch64."""
    return " ".join(f"{name} {_find_version(name)}" for name in names)


def _find_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest()


def _prune(folder: Path) -> None:
    """Delete the least recently used files if they are too many or too large."""
    states = sorted(((file.stat(), file.path) for file in os.scandir(folder)), key=lambda item: item[0].st_mtime)
    count, size = len(states), sum(state.st_size for state, _ in states)
    if count <= MAX_FILES and size <= MAX_FOLDER_BYTES:
        return
    for state, path in states:
        if count <= MAX_FILES // 2 and size <= MAX_FOLDER_BYTES // 2:
            return
        Path(path).unlink()
        count, size = count - 1, size - state.st_size
