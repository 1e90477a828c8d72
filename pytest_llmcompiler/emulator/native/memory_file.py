"""The guest's memory as a file, which the confined process maps at the guest's addresses."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pytest_llmcompiler.emulator.memory import HostMemory
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.values.layout import PAGE

_POOL_PAGES = 4096
"""Pages for the heap and for a stack that grows. A run may hold 1,024 of the heap at a time, and 256 more of stack; the
rest is for gaps between them."""


class SharedBlock(NamedTuple):
    """A block of the host's memory, and where the guest sees a part of it."""

    address: int
    size: int
    memory: HostMemory
    start: int
    """Offset of the part in the block."""


class MemoryFile:
    """A file in memory that has what a guest's code can access. It is closed with the object.

    Blocks that the host reads and writes are moved into it; of other memory, which no run changes, it has copies.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("llmc-guest")
        weakref.finalize(self, _close, self.descriptor, os.getpid())
        self._end = 0
        self._offsets: dict[int, int] = {}
        """Where blocks are in the file, by the identity of each."""

    def add_block(self, block: HostMemory, *, is_unused: bool = False) -> int:
        """Move a block into the file, if it is not there. Returns its offset. Raises OSError."""
        if id(block) not in self._offsets:
            offset = self._reserve(block.size)
            block.share(self.descriptor, offset, is_unused=is_unused)
            self._offsets[id(block)] = offset
        return self._offsets[id(block)]

    def add_copy(self, data: bytes) -> int:
        """Write whole pages to the file. Returns their offset. Raises OSError."""
        offset = self._reserve(len(data))
        self.write(offset, data)
        return offset

    def write(self, offset: int, data: bytes) -> None:
        """Overwrite a part. Raises OSError."""
        while data:
            written = os.pwrite(self.descriptor, data, offset)
            offset, data = offset + written, data[written:]

    def _reserve(self, size: int) -> int:
        offset, self._end = self._end, self._end + -(-size // PAGE) * PAGE
        os.ftruncate(self.descriptor, self._end)
        return offset


def _close(descriptor: int, owner: int) -> None:
    """Close a descriptor of this process. In a forked child the number may be that of another file by now."""
    if owner == os.getpid():
        os.close(descriptor)


class PagePool:
    """Pages of a memory file that a run may be given: those of heap and stack, and `further_bytes`."""

    def __init__(self, further_bytes: int = 0) -> None:
        self._memory = HostMemory(_POOL_PAGES * PAGE + further_bytes)
        self.size = self._memory.size
        self._used: dict[int, int] = {}
        """The offset in the pool and the size of each piece that is given away."""

    def share(self, file: MemoryFile) -> int:
        """Move the pages into a file, while no run has any. Returns their offset. Raises OSError."""
        return file.add_block(self._memory, is_unused=True)

    def take(self, size: int) -> int:
        """The offset in the pool of a piece of so many bytes, in whole pages. Raises EngineError where no gap is large
        enough."""
        start = 0
        for used in sorted(self._used):
            if start + size <= used:
                break
            start = used + self._used[used]
        if start + size > self.size:
            raise EngineError("the heap of a run is too much in pieces")
        self._used[start] = size
        return start

    def give_back(self, start: int) -> None:
        """Let a piece be taken again."""
        del self._used[start]

    def pointer(self, start: int) -> int:
        """Where a piece lies in the host's memory."""
        return self._memory.pointer + start


def find_block(blocks: Sequence[SharedBlock], address: int) -> SharedBlock | None:
    """The block that has an address."""
    return next((block for block in blocks if block.address <= address < block.address + block.size), None)


def split_region(start: int, end: int, blocks: Sequence[SharedBlock]) -> Iterator[tuple[int, int]]:
    """The parts of a mapped region, each within one block or outside of all: first address and end."""
    bounds = {start, end}
    for block in blocks:
        bounds |= {bound for bound in (block.address, block.address + block.size) if start < bound < end}
    ordered = sorted(bounds)
    yield from itertools.pairwise(ordered)
