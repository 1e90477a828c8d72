"""The memory of an input's objects: their slots lie far apart in the guest, and in one block of the host's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import unicorn

from pytest_llmcompiler.emulator.memory import HostMemory
from pytest_llmcompiler.emulator.pages import GuestPages
from pytest_llmcompiler.values.layout import ALIGNED_SLOTS, ARENA, GARBAGE, SLOTS, Layout, Slot

_READ, _READ_WRITE = unicorn.UC_PROT_READ, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE


class ObjectArena:
    """The slots for the objects of an input. What belongs to no object is garbage.

    The first object in a slot, or the first write to it, opens the slot for all further runs: the others can't have
    changed, and need not be looked at after a run.
    """

    def __init__(self, uc: Any, pages: GuestPages, garbage_pattern: int) -> None:
        self._uc, self._pages, self._garbage_pattern = uc, pages, garbage_pattern
        self.memory, self.untouched = HostMemory(ARENA), HostMemory(ARENA)
        """The slots, and the same without any object."""
        for memory in (self.memory, self.untouched):
            memory.write(GARBAGE[garbage_pattern] * (ARENA // 4))
        self._open_slots: set[int] = set()
        """The addresses of the slots that the guest can write."""
        self._open_parts: dict[int, int] = {}
        """Where these lie in the host's memory, and their sizes."""
        for slot in (*SLOTS, *ALIGNED_SLOTS):
            self.map(slot)

    def free(self) -> None:
        """Give the memory back. The emulator is closed."""
        self.memory.free()
        self.untouched.free()

    def map(self, slot: Slot) -> None:
        """Let the guest access a slot."""
        permissions = _READ_WRITE if slot.address in self._open_slots else _READ
        self._pages.show(slot.address, slot.size, permissions, self.memory.pointer + slot.host)

    def open_slot_at(self, address: int) -> bool:
        """Let the guest write to the slot of an address. Returns whether it could not."""
        for slot in (*SLOTS, *ALIGNED_SLOTS):
            if slot.address <= address < slot.address + slot.size and slot.address not in self._open_slots:
                self._open(slot)
                return True
        return False

    def open_all_slots(self) -> None:
        """Let the guest write to every slot."""
        for slot in (*SLOTS, *ALIGNED_SLOTS):
            if slot.address not in self._open_slots:
                self._open(slot)

    def open_slots(self, layout: Layout) -> None:
        """Let the guest write to the slots of an input."""
        for placed in layout.objects:
            if placed.slot.address not in self._open_slots:
                self._open(placed.slot)

    def _open(self, slot: Slot) -> None:
        self._uc.mem_protect(slot.address, slot.size, _READ_WRITE)
        self._open_slots.add(slot.address)
        self._open_parts[slot.host] = slot.size

    def unmap(self, slot: Slot) -> None:
        """Let each access to a slot fault."""
        self._pages.hide(slot.address, slot.size)

    def place_objects(self, layout: Layout, last: Layout | None, insert_streams: Callable[[bytes], bytes]) -> None:
        """Write the objects of an input into their slots, and garbage into those that the last input used.

        `insert_streams` gives the standard streams in data of a layout the addresses that they have in the program.
        """
        self.open_slots(layout)
        for old in last.objects if last else ():
            self.memory.write(self.untouched.read(0, old.slot.size), old.slot.host)
        for placed in layout.objects:
            data = layout.initial_bytes(placed, self._garbage_pattern)
            self.memory.write(insert_streams(data), placed.slot.host)

    def read_slots(self, layout: Layout) -> tuple[bytes, ...]:
        """The contents of the slots of an input, in the order of its objects."""
        return tuple(self.memory.read(placed.slot.host, placed.slot.size) for placed in layout.objects)

    def clean_unused_slots(self, layout: Layout, has_host_work: bool) -> bool:
        """Whether slots without an object were written; then these are filled with garbage.

        `has_host_work` says whether the host has written memory during the run: it can write to any slot.
        """
        used = {placed.slot.host for placed in layout.objects}
        parts = {slot.host: slot.size for slot in SLOTS} if has_host_work else self._open_parts
        has_changed = False
        for host, size in parts.items():
            if host not in used and self.memory.differs(self.untouched, host, host + size):
                self.memory.write(self.untouched.read(host, size), host)
                has_changed = True
        return has_changed
