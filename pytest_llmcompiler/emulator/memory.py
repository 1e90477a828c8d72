"""Guest memory that the host reads and writes directly, without a call of the emulator."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

_LIBC = ctypes.CDLL(None, use_errno=True)
_memcmp = _LIBC.memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_mmap = _LIBC.mmap
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_mmap.restype = ctypes.c_void_p
_MAP_FIXED = 0x10
"""From Linux's mman-common.h; Python's mmap has no name for it."""

STACK_ADDRESS_END = re.compile(rb"\xfd\x7f\0\0")
"""The last four bytes of every little-endian address of the stack."""


def find_words(data: bytes, address: int, ending: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Find the 8-byte words of `data` that end with a pattern: yields the offset in `data` and the value of each.

    `address` is where `data` lies in the guest; only words at multiples of eight count, because compilers align
    pointers.
    """
    for match in ending.finditer(data):
        offset = match.end() - 8
        if offset >= 0 and not (address + offset) % 8:
            yield offset, int.from_bytes(data[offset : offset + 8], "little")


class HostMemory:
    """A block of the host's memory, to be mapped into the guest."""

    def __init__(self, size: int) -> None:
        self.size = size
        pages = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._buffer: ctypes.c_char | None = ctypes.c_char.from_buffer(pages)  # keeps the pages
        self.pointer = ctypes.addressof(self._buffer)

    def free(self) -> None:
        """Give the memory back. No emulator may have it mapped any more."""
        self.size = self.pointer = 0
        self._buffer = None

    def share(self, file: int, offset: int, *, is_unused: bool = False) -> None:
        """Put the contents into a file at a multiple of the page size, and from now on see the file there: the address
        and the contents stay. A block that is still unused has zeros, and so has the file. Raises OSError."""
        contents = b"" if is_unused else self.read()
        while contents:
            written = os.pwrite(file, contents, offset + self.size - len(contents))
            contents = contents[written:]
        flags = mmap.MAP_SHARED | _MAP_FIXED
        mapped = _mmap(self.pointer, self.size, mmap.PROT_READ | mmap.PROT_WRITE, flags, file, offset)
        if mapped != self.pointer:
            raise OSError(ctypes.get_errno(), "shared memory can't be mapped")

    def write(self, data: bytes, offset: int = 0) -> None:
        """Overwrite a part. Raises ValueError where the part is not wholly inside the block."""
        if not 0 <= offset <= self.size - len(data):
            raise ValueError(f"{len(data)} bytes at offset {offset} do not fit into a block of {self.size}")
        ctypes.memmove(self.pointer + offset, data, len(data))

    def differs(self, other: HostMemory, start: int, end: int) -> bool:
        """Whether the bytes from `start` to `end` differ from those of another block."""
        return start < end and _memcmp(self.pointer + start, other.pointer + start, end - start) != 0

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """A copy of a part; without a size, of everything from the offset on."""
        return ctypes.string_at(self.pointer + offset, self.size - offset if size is None else size)


class MappedMemory(NamedTuple):
    """A block of the host's memory, and the address at which the guest sees it."""

    address: int
    memory: HostMemory
