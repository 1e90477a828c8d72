"""A part of the heap of whole programs: objects side by side, for programs that have many or large ones.

The heap gives each object pages of its own, so that an access past its end faults (`heap`). Thousands of mappings take
the emulator seconds. So only the first objects of a process have them, and the later ones lie here, with a gap between
them. An object that is freed is not used again.
"""

from __future__ import annotations

from typing import Any

import unicorn

_START, _BYTES = 0x5E1000000000, 64 << 20
"""Behind all addresses that the heap gives out, and as much as the data of programs takes that read a text."""
_GAP = 16
"""Bytes between two objects."""
_READ_WRITE = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE


class HeapPool:
    """Memory that is given out from its start on. `garbage` fills it: a pattern of four bytes."""

    def __init__(self, uc: Any, garbage: bytes) -> None:
        self._uc, self._garbage = uc, garbage
        self._next = 0
        """The first address that is not given out; 0 while nothing is mapped."""

    def reset(self) -> None:
        """Take everything back."""
        if self._next:
            self._uc.mem_unmap(_START, _BYTES)
            self._next = 0

    def allocate(self, size: int, alignment: int) -> int:
        """The address of a new object with garbage in it; 0 where there is no room."""
        address = -(-(self._next or _START) // alignment) * alignment
        if address + size + _GAP > _START + _BYTES:
            return 0
        if not self._next:
            self._uc.mem_map(_START, _BYTES, _READ_WRITE)
        self._uc.mem_write(address, (self._garbage * (size // len(self._garbage) + 1))[:size])
        self._next = address + size + _GAP
        return address
