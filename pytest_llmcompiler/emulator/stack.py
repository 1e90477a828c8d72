"""The stack of the emulated process: its addresses, and its growth below them."""

from __future__ import annotations

import itertools
from typing import Any

import unicorn

from pytest_llmcompiler.emulator.memory import HostMemory
from pytest_llmcompiler.emulator.pages import GuestPages
from pytest_llmcompiler.values.layout import PAGE

STACK_START = 0x7FFD12340000
"""The lowest address of the stack. Linux puts stacks near here. No other memory of the guest has addresses that begin
with 0x7ffd: that is how pointers to the stack are found in memory."""
STACK_SIZE = 64 * PAGE
"""Bytes of the stack that are mapped in every run."""
CALLER_FRAME = 2 * PAGE
"""Bytes at the top of the stack that belong to the caller of the function under test, its arguments included."""
MAX_ARGUMENT_BYTES = PAGE
"""Bytes that arguments may take on the stack: they lie in the caller's frame, which has to keep some room above."""
ZEROS_TOP = 0x30010
"""Offset of the caller's frame from the start of the stack, in bytes, in a run on zeros. The frame then begins 16 bytes
above a multiple of 64 KiB, so that code which counts the stack pointer down in 16 bits goes wrong."""
SMALL_TOP = ZEROS_TOP + 0x20
"""The same in a run on small numbers: more registers lie above the multiple of 64 KiB."""
MAX_CANDIDATE_GROWTH = 256 * PAGE
"""Bytes below the stack that are mapped for a candidate which reaches for them. Few runs do."""
MAX_REFERENCE_GROWTH = MAX_CANDIDATE_GROWTH // 2
"""The same for a reference: half of it, because a correct candidate may need more stack than the reference does."""
PROCESS_GROWTH_FACTOR = 8
"""How many times as much a whole program may have: 8 MiB, as Linux gives it."""

_READ_WRITE = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
_WINDOW = 4 * PAGE
"""Bytes below a caller's frame that most functions suffice with."""
_ZEROS_WINDOW = ZEROS_TOP // PAGE * PAGE - _WINDOW, ZEROS_TOP // PAGE * PAGE + CALLER_FRAME
_WINDOWS = (_ZEROS_WINDOW, (STACK_SIZE - CALLER_FRAME - _WINDOW, STACK_SIZE))
"""The parts of the stack that are open from the first run on: offsets of their starts and ends."""


class GuestStack:
    """The stack of the runs. It grows once in a run, at the first access below it, by `max_growth` bytes.

    The first access to a part outside of the windows opens the part for all further runs. A closed part has no contents
    yet: so a run has to restore only what is open, which takes 3 µs instead of 20.
    """

    def __init__(self, uc: Any, pages: GuestPages, max_growth: int) -> None:
        self._uc, self._pages, self.max_growth = uc, pages, max_growth
        self.memory = HostMemory(STACK_SIZE)
        self._has_grown = False
        self._contents: bytes | None = None
        """What the run starts with."""
        bounds = [0, *(bound for window in _WINDOWS for bound in window)]
        self._parts = {part: part in _WINDOWS for part in itertools.pairwise(bounds) if part[0] < part[1]}
        """The start and the end of each part, and whether it is open."""
        for (start, end), is_open in self._parts.items():
            permissions = _READ_WRITE if is_open else unicorn.UC_PROT_NONE
            uc.mem_map_ptr(STACK_START + start, end - start, permissions, self.memory.pointer + start)

    def open_part(self, address: int) -> bool:
        """Give the part of an address its contents, and the guest access to it. Returns whether it was closed."""
        for (start, end), is_open in self._parts.items():
            if start <= address - STACK_START < end and not is_open:
                self._uc.mem_protect(STACK_START + start, end - start, _READ_WRITE)
                self._parts[start, end] = True
                if self._contents:
                    self.memory.write(self._contents[start:end], start)
                return True
        return False

    def open_all_parts(self) -> None:
        """Give the guest access to the whole stack."""
        for start, _ in self._parts:
            self.open_part(STACK_START + start)

    def begin_run(self, contents: bytes) -> tuple[tuple[int, int], ...]:
        """Take in what a run starts with. Returns the start and the end of each part that has to be given it."""
        self._contents = contents
        return tuple(part for part, is_open in self._parts.items() if is_open)

    def read(self, address: int, size: int) -> bytes:
        """Read the stack, and less than `size` bytes where it ends."""
        end = min(address + size, STACK_START + STACK_SIZE)
        for part_start, part_end in self._parts:
            if address < STACK_START + part_end and STACK_START + part_start < end:
                self.open_part(STACK_START + part_start)
        return self.memory.read(address - STACK_START, end - address)

    def contains(self, address: int) -> bool:
        """Whether an address belongs to the stack, or to what it may grow by."""
        return STACK_START - self.max_growth <= address < STACK_START + STACK_SIZE

    def can_grow_to(self, address: int) -> bool:
        """Whether an access to an unmapped address is one for which the stack grows."""
        return STACK_START - self.max_growth <= address < STACK_START and not self._has_grown

    def grow(self, contents: bytes) -> None:
        """Map `max_growth` bytes below the stack, until the next reset."""
        self._pages.map(STACK_START - self.max_growth, self.max_growth)
        self._uc.mem_write(STACK_START - self.max_growth, contents)
        self._has_grown = True

    def shrink(self) -> None:
        """Give the stack its first size."""
        if self._has_grown:
            self._pages.unmap(STACK_START - self.max_growth, self.max_growth)
            self._has_grown = False
