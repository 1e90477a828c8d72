"""The stack of the emulated process: its addresses, and its growth below them."""

from __future__ import annotations

from typing import Any

import unicorn

from pytest_llmcompiler.emulator.memory import HostMemory
from pytest_llmcompiler.values.layout import PAGE

STACK_START = 0x7FFD12340000
"""The lowest address of the stack. Linux puts stacks near here. No other memory of the guest has addresses that begin
with 0x7ffd: that is how pointers to the stack are found in memory."""
STACK_SIZE = 64 * PAGE
"""Bytes of the stack that are mapped in every run. Every run rewrites all of them, which takes about 12 µs."""
CALLER_FRAME = 2 * PAGE
"""Bytes at the top of the stack that belong to the caller of the function under test, its arguments included."""
MAX_ARGUMENT_BYTES = PAGE
"""Bytes that arguments may take on the stack: they lie in the caller's frame, which has to keep some room above."""
ZEROS_TOP = 0x30010
"""Offset of the caller's frame from the start of the stack, in bytes, in a run on zeros. The frame then begins 16 bytes
above a multiple of 64 KiB, so that code which counts the stack pointer down in 16 bits goes wrong."""
MAX_CANDIDATE_GROWTH = 256 * PAGE
"""Bytes below the stack that are mapped for a candidate which reaches for them. Few runs do."""
MAX_REFERENCE_GROWTH = MAX_CANDIDATE_GROWTH // 2
"""The same for a reference: half of it, because a correct candidate may need more stack than the reference does."""

_READ_WRITE = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE


class GuestStack:
    """The stack of the runs. It grows once in a run, at the first access below it, by `max_growth` bytes."""

    def __init__(self, uc: Any, max_growth: int) -> None:
        self._uc, self.max_growth = uc, max_growth
        self.memory = HostMemory(STACK_SIZE)
        self._has_grown = False
        uc.mem_map_ptr(STACK_START, STACK_SIZE, _READ_WRITE, self.memory.pointer)

    def contains(self, address: int) -> bool:
        """Whether an address belongs to the stack, or to what it may grow by."""
        return STACK_START - self.max_growth <= address < STACK_START + STACK_SIZE

    def can_grow_to(self, address: int) -> bool:
        """Whether an access to an unmapped address is one for which the stack grows."""
        return STACK_START - self.max_growth <= address < STACK_START and not self._has_grown

    def grow(self, contents: bytes) -> None:
        """Map `max_growth` bytes below the stack, until the next reset."""
        self._uc.mem_map(STACK_START - self.max_growth, self.max_growth, _READ_WRITE)
        self._uc.mem_write(STACK_START - self.max_growth, contents)
        self._has_grown = True

    def reset(self, contents: bytes) -> None:
        """Give the stack its contents at the start of a run, and its first size."""
        self.memory.write(contents)
        if self._has_grown:
            self._uc.mem_unmap(STACK_START - self.max_growth, self.max_growth)
            self._has_grown = False
