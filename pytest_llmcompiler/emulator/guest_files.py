"""The files of the emulated process: those that a case gives, which no program can write."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

_EBADF, _ENOENT, _EINVAL, _EMFILE = 9, 2, 22, 24
EROFS = 30
_FIRST, _MOST = 3, 64
"""The first descriptor behind those of the standard streams, and how many files may be open."""
_ACCESS_MODE, _CREATE, _TRUNCATE = 0o3, 0o100, 0o1000
"""O_ACCMODE, O_CREAT and O_TRUNC, the same on all architectures of Linux that there are targets for."""
_REGULAR_FILE = 0o100444
"""The mode of a regular file that everybody may read."""
_MODE_OFFSETS = {"rax": 24, "x0": 16}
"""Where `struct stat` has the mode, by the register of results: on x86-64 the number of links is before it."""
_SIZE_OFFSET, _STAT_BYTES = 48, 144
"""Where `struct stat` has the size of the file, and its own size in bytes: x86-64's, the larger one."""
_SMALLER_STAT_BYTES = 128
"""The size of AArch64's."""


@dataclass
class _OpenFile:
    data: bytes
    position: int = 0


class GuestFiles:
    """Files by name, and the open ones by descriptor. Results below 0 are the negative numbers of errors."""

    def __init__(self, result_register: str) -> None:
        self._mode_offset = _MODE_OFFSETS[result_register]
        self._stat_bytes = _STAT_BYTES if result_register == "rax" else _SMALLER_STAT_BYTES
        self._files: dict[str, bytes] = {}
        self._open: dict[int, _OpenFile] = {}

    def reset(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Close all, and take in which files there are. Relative names start at the root."""
        self._files = {_normalise(name): data for name, data in files}
        self._open = {}

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._open

    def open(self, name: str, flags: int) -> int:
        """The descriptor of a file."""
        if flags & (_ACCESS_MODE | _CREATE | _TRUNCATE):
            return -EROFS
        data = self._files.get(_normalise(name))
        if data is None:
            return -_ENOENT
        free = next((one for one in range(_FIRST, _FIRST + _MOST) if one not in self._open), None)
        if free is None:
            return -_EMFILE
        self._open[free] = _OpenFile(data)
        return free

    def find(self, name: str) -> int:
        """0 where there is a file of this name."""
        return 0 if _normalise(name) in self._files else -_ENOENT

    def close(self, descriptor: int) -> int:
        """Close an open file."""
        return 0 if self._open.pop(descriptor, None) else -_EBADF

    def read(self, descriptor: int, size: int) -> bytes:
        """Read an open file from where it stands."""
        file = self._open[descriptor]
        data = file.data[file.position : file.position + size]
        file.position += len(data)
        return data

    def seek(self, descriptor: int, offset: int, origin: int) -> int:
        """Move in an open file; `origin` is SEEK_SET, SEEK_CUR or SEEK_END. Returns the new position."""
        file = self._open.get(descriptor)
        if file is None:
            return -_EBADF
        starts = {0: 0, 1: file.position, 2: len(file.data)}
        position = starts.get(origin, -1 << 62) + offset
        if position < 0:
            return -_EINVAL
        file.position = position
        return position

    def describe(self, file: str | int) -> bytes:
        """`struct stat` of a file that exists, by name or descriptor."""
        size = len(self._files[_normalise(file)] if isinstance(file, str) else self._open[file].data)
        data = bytearray(self._stat_bytes)
        data[self._mode_offset : self._mode_offset + 4] = _REGULAR_FILE.to_bytes(4, "little")
        data[_SIZE_OFFSET : _SIZE_OFFSET + 8] = size.to_bytes(8, "little")
        return bytes(data)


def _normalise(name: str) -> str:
    return posixpath.normpath(posixpath.join("/", name)).lstrip("/")
