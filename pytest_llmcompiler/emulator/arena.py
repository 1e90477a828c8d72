"""The memory of an input's objects: their slots lie far apart in the guest, and in one block of the host's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import unicorn

from pytest_llmcompiler.emulator.memory import HostMemory
from pytest_llmcompiler.values.layout import ALIGNED_SLOTS, ARENA, GARBAGE, SLOTS, Layout, Slot

_READ_WRITE = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE


class ObjectArena:
    """The slots for the objects of an input. What belongs to no object is garbage."""

    def __init__(self, uc: Any, garbage_pattern: int) -> None:
        self._uc, self._garbage_pattern = uc, garbage_pattern
        self._memory, self._untouched = HostMemory(ARENA), HostMemory(ARENA)
        for memory in (self._memory, self._untouched):
            memory.write(GARBAGE[garbage_pattern] * (ARENA // 4))
        for slot in (*SLOTS, *ALIGNED_SLOTS):
            self.map(slot)

    def map(self, slot: Slot) -> None:
        """Let the guest access a slot."""
        self._uc.mem_map_ptr(slot.address, slot.size, _READ_WRITE, self._memory.pointer + slot.host)

    def unmap(self, slot: Slot) -> None:
        """Let each access to a slot fault."""
        self._uc.mem_unmap(slot.address, slot.size)

    def place_objects(self, layout: Layout, last: Layout | None, insert_streams: Callable[[bytes], bytes]) -> None:
        """Write the objects of an input into their slots, and garbage into those that the last input used.

        `insert_streams` gives the standard streams in data of a layout the addresses that they have in the program.
        """
        for old in last.objects if last else ():
            self._memory.write(self._untouched.read(0, old.slot.size), old.slot.host)
        for placed in layout.objects:
            data = layout.initial_bytes(placed, self._garbage_pattern)
            self._memory.write(insert_streams(data), placed.slot.host)

    def read_slots(self, layout: Layout) -> tuple[bytes, ...]:
        """The contents of the slots of an input, in the order of its objects."""
        return tuple(self._memory.read(placed.slot.host, placed.slot.size) for placed in layout.objects)

    def clean_unused_slots(self, layout: Layout) -> bool:
        """Whether slots without an object were written; then all slots are filled with garbage."""
        used = sorted((placed.slot.host, placed.slot.size) for placed in layout.objects)
        gap_starts = [0, *(start + size for start, size in used)]
        gap_ends = [*(start for start, _ in used), ARENA]
        has_changed = any(
            self._memory.differs(self._untouched, start, end) for start, end in zip(gap_starts, gap_ends, strict=True)
        )
        if has_changed:
            self._memory.write(self._untouched.read())
        return has_changed
