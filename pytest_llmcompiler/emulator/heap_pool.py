"""A part of the heap of whole programs: objects side by side, for programs that have many or large ones.

The heap gives each object pages of its own, so that an access past its end faults (`heap`). Thousands of mappings take
the emulator seconds. So only the first objects of a process have them, and the later ones lie here, with a gap between
them. An object that is freed is not used again.
"""

from __future__ import annotations

from typing import Any

from pytest_llmcompiler.emulator.pages import GuestPages

_START, _BYTES = 0x5E1000000000, 64 << 20
"""Behind all addresses that the heap gives out, and as much as the data of programs takes that read a text."""
_PART_BYTES = 4 << 20
"""It is mapped in parts of this size, when they are first needed."""
_GAP = 16
"""Bytes between two objects."""


class HeapPool:
    """Memory that is given out from its start on. `garbage` fills it: a pattern of four bytes."""

    size = _BYTES
    """Bytes that it can give out in all."""

    def __init__(self, uc: Any, pages: GuestPages, garbage: bytes) -> None:
        self._uc, self._pages, self._garbage = uc, pages, garbage
        self._next = _START
        """The first address that is not given out."""
        self._parts = 0
        """How many parts are mapped."""

    def reset(self) -> None:
        """Take everything back."""
        for number in range(self._parts):
            self._pages.unmap(_START + number * _PART_BYTES, _PART_BYTES)
        self._next, self._parts = _START, 0

    def allocate(self, size: int, alignment: int) -> int:
        """The address of a new object with garbage in it; 0 where there is no room."""
        address = -(-self._next // alignment) * alignment
        end = address + size + _GAP
        if end > _START + _BYTES:
            return 0
        while end > _START + self._parts * _PART_BYTES:
            self._pages.map(_START + self._parts * _PART_BYTES, _PART_BYTES)
            self._parts += 1
        self._uc.mem_write(address, (self._garbage * (size // len(self._garbage) + 1))[:size])
        self._next = end
        return address
