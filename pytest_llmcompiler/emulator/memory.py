"""Guest memory that the host writes and reads directly."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

STACK_ADDRESS_END = re.compile(rb"\xfd\x7f\0\0")
"""The topmost bytes of any address of the stack."""


def find_words(data: bytes, address: int, top: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """The words in data that lies at an address which begin at multiples of eight and end with `top`: where, value."""
    for match in top.finditer(data):
        at = match.end() - 8
        if at >= 0 and not (address + at) % 8:
            yield at, int.from_bytes(data[at : at + 8], "little")


class HostMemory:
    """Bytes at one place of the host, to be mapped into the guest."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._buffer = ctypes.create_string_buffer(size)
        self.pointer = ctypes.addressof(self._buffer)

    def write(self, data: bytes, offset: int = 0) -> None:
        """Overwrite a part. Raises ValueError where that is not all inside."""
        if not 0 <= offset <= self.size - len(data):
            raise ValueError(f"{len(data)} bytes at {offset} are outside of a block of {self.size}")
        ctypes.memmove(self.pointer + offset, data, len(data))

    def differs(self, other: HostMemory, start: int, end: int) -> bool:
        """Whether a range differs from the same range of another block."""
        return start < end and _memcmp(self.pointer + start, other.pointer + start, end - start) != 0

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """A copy of a part; without a size, of all the rest."""
        return ctypes.string_at(self.pointer + offset, self.size - offset if size is None else size)
