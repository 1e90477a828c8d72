"""The heap of the emulated program, in which each object has pages of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import unicorn

from pytest_llmcompiler.emulator.kernel import GuestTrapError
from pytest_llmcompiler.emulator.observation import FreedBlock, HeapBlock, has_no_memory
from pytest_llmcompiler.targets.target import Target
from pytest_llmcompiler.values.layout import PAGE, LaidOutObject, Layout

HEAP = 0x5581A0000000
HEAP_LIMIT = 4 << 20
"""Bytes that one run may hold at a time; malloc returns NULL above."""
_LANE, _ROUND = 2 << 20, 1 << 16
_BEYOND = HEAP + (HEAP_LIMIT + 1) * _LANE
"""Where objects lie that have no room in their lane."""
_END = 0x5E0000000000
_ENOMEM = 12
_READ_WRITE = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE


def is_heap(address: int) -> bool:
    """Whether an address is one that the heap gives out."""
    return HEAP <= address < _END


@dataclass(frozen=True)
class _Allocation:
    address: int
    size: int
    base: int
    mapped: int


class Heap:
    """malloc and its kin, done by the host. Objects end at a page that is not mapped (up to their alignment);
    if those of the input begin where there is none before, so do they, at multiples of 64 KiB.

    The objects of an input count as the heap's own, as if the caller had got them from malloc: they can be freed and
    reallocated. `arena` is the address of the host's memory in which they lie. The salt of an input may say that there
    is too little memory.
    """

    errno = 0
    """The address of the C library's error number, where it has one."""

    def __init__(self, uc: unicorn.Uc, target: Target, garbage: bytes, arena: int) -> None:
        self._uc, self._garbage, self._arena = uc, garbage, arena
        numbers = target.processor.register_numbers
        self._arguments = [numbers[name] for name in target.host.convention.integer_registers[:2]]
        self._result = numbers[target.host.convention.return_register]
        self._layout: Layout | None = None
        self._blocks: dict[int, _Allocation] = {}
        self._freed_blocks: list[FreedBlock] = []
        self._freed: list[LaidOutObject] = []
        self._made: Counter[int] = Counter()
        self._held = self._beyond = 0
        self.out_of_memory = False
        """Whether there was too little memory for what was asked for, by the salt of the input."""
        self.functions: dict[str, Callable[[], None]] = {
            "malloc": lambda: self._return(self._asked(self._argument(0))),
            "calloc": self._calloc,
            "realloc": self._realloc,
            "free": lambda: self._free(self._argument(0)),
            "aligned_alloc": lambda: self._return(self._asked(self._argument(1), self._argument(0))),
            "memalign": lambda: self._return(self._asked(self._argument(1), self._argument(0))),
        }

    def reset(self, layout: Layout) -> None:
        """Free everything, and take in the objects of the next input."""
        for block in self._blocks.values():
            self._uc.mem_unmap(block.base, block.mapped)
        for target in self._freed:
            slot = target.slot
            self._uc.mem_map_ptr(slot.address, slot.size, _READ_WRITE, self._arena + slot.host)
        self._layout = layout
        self._blocks.clear()
        self._freed_blocks.clear()
        self._freed.clear()
        self._made.clear()
        self._held = self._beyond = 0
        self.out_of_memory = False

    def blocks(self) -> tuple[HeapBlock, ...]:
        """The live objects, in the order of their addresses."""
        return tuple(
            HeapBlock(block.address, block.size, bytes(self._uc.mem_read(block.base, block.mapped)))
            for _, block in sorted(self._blocks.items())
        )

    @property
    def made(self) -> int:
        """How many objects were made."""
        return self._made.total()

    @property
    def freed_blocks(self) -> tuple[FreedBlock, ...]:
        """The objects that were allocated and freed since the last reset."""
        return tuple(self._freed_blocks)

    @property
    def freed_objects(self) -> tuple[int, ...]:
        """The numbers of the input's objects that are freed."""
        return tuple(sorted(self._objects.index(target) for target in self._freed))

    def extent(self, address: int) -> int:
        """How many bytes there are from an address to the end of the live object that holds it; 0 where none does."""
        held = (block for block in self._blocks.values() if block.address <= address < block.address + block.size)
        return next((block.address + block.size - address for block in held), 0)

    def allocate(self, size: int, align: int = 16) -> int:
        """The address of a new object that holds garbage; 0 where there is no room for it."""
        if align & (align - 1) or not 0 < align <= PAGE or size + self._held > HEAP_LIMIT:
            return 0
        mapped = max(PAGE, -(-size // PAGE) * PAGE)
        low = self._layout is not None and self._layout.is_4gib_aligned
        base = self._place(size, -(-(mapped + PAGE) // _ROUND) * _ROUND if low else mapped + PAGE)
        self._uc.mem_map(base, mapped, _READ_WRITE)
        self._uc.mem_write(base, self._garbage * (mapped // 4))
        address = base if low else (base + mapped - max(size, 1)) // align * align
        self._blocks[address] = _Allocation(address, size, base, mapped)
        self._held += mapped
        return address

    @property
    def _objects(self) -> tuple[LaidOutObject, ...]:
        return self._layout.objects if self._layout else ()

    def _argument(self, index: int) -> int:
        return int(self._uc.reg_read(self._arguments[index]))

    def _asked(self, size: int, align: int = 16) -> int:
        """The address of a new object for the program, 0 where there is no room; then the error number says so."""
        if self._layout is not None and has_no_memory(self._layout.environment_seed, size):
            self.out_of_memory = True
            address = 0
        else:
            address = self.allocate(size, align)
        if not address and self.errno:
            self._uc.mem_write(self.errno, _ENOMEM.to_bytes(4, "little"))
        return address

    def _return(self, value: int) -> None:
        self._uc.reg_write(self._result, value)

    def _place(self, size: int, room: int) -> int:
        """Where the next object of a size goes. No address is used twice in a run.

        Objects of each size have a lane of their own, so that those of other sizes may come in another order: what a
        program makes of an address (a hash, a sum) then stays the same.
        """
        offset = self._made[size] * room
        self._made[size] += 1
        if offset + room <= _LANE:
            return HEAP + size * _LANE + offset
        self._beyond += room
        return _BEYOND + self._beyond - room

    def _calloc(self) -> None:
        size = self._argument(0) * self._argument(1)
        address = self._asked(size)
        if address:
            self._uc.mem_write(address, bytes(size))
        self._return(address)

    def _realloc(self) -> None:
        old, size = self._argument(0), self._argument(1)
        held = self._held_by(old).size if old else 0
        new = self._asked(size)
        if new and old:
            self._uc.mem_write(new, bytes(self._uc.mem_read(old, min(size, held))))
            self._free(old)
        self._return(new)

    def _free(self, address: int) -> None:
        if not address:
            return
        held = self._held_by(address)
        if isinstance(held, LaidOutObject):
            self._uc.mem_unmap(held.slot.address, held.slot.size)
            self._freed.append(held)
        else:
            self._uc.mem_unmap(held.base, held.mapped)
            self._held -= held.mapped
            self._freed_blocks.append(FreedBlock(address, held.size))
            del self._blocks[address]

    def _held_by(self, address: int) -> _Allocation | LaidOutObject:
        """The live object that starts at an address. Raises Trap where there is none that could be freed."""
        if address in self._blocks:
            return self._blocks[address]
        buffer = self._layout.result if self._layout else None
        for target in self._objects:
            if target.address == address and target is not buffer and target not in self._freed:
                return target
        raise GuestTrapError("free or realloc of a pointer that malloc did not give")
