"""The heap of the emulated process: malloc and its kin, done by the host, with pages of its own for each object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmcompiler.emulator.arena import ObjectArena
from pytest_llmcompiler.emulator.environment import has_no_memory
from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.heap_pool import HeapPool
from pytest_llmcompiler.emulator.kernel import GuestLimitError, GuestTrapError
from pytest_llmcompiler.emulator.observation import FreedBlock, HeapBlock
from pytest_llmcompiler.values.layout import GARBAGE, PAGE, LaidOutObject

HEAP_START = 0x5581A0000000
"""Where Linux puts the heap of many processes. The three highest bytes of an address from here to `_HEAP_END` are those
of no other memory: `judge/canonical_heap.py` finds pointers to the heap by them."""
_HEAP_END = 0x5E0000000000
HEAP_LIMIT = 4 << 20
"""Bytes of mapped pages that one run may hold at a time; malloc returns NULL above."""
MAX_ALLOCATIONS, MAX_FUNCTION_ALLOCATIONS = 20_000, 400
"""Objects that the run of a program, and of a function, may allocate, freed ones included: an endless loop of them ends
early. A reference's run makes at most 75 where its function is judged. unicorn takes time with the cube of the number
of live objects to map them: 0.2 s for 400."""
_MAX_FILLED_BYTES = 256 << 20
"""Bytes of pages that one run may allocate, freed ones included: as much as 20,000 objects of three pages. Each page is
filled, which takes the host as long as many instructions of the guest."""
_MOST_PAGED = 200
"""Live objects of a process that have pages of their own."""
_LANE_SIZE = 2 << 20
"""Bytes of addresses for the objects of one size."""
_LANE_PLACES = 256
"""Places, in pages, at which lanes begin by their size. unicorn looks a page up by the last eight bits of its number.
Were these equal for the first objects of all sizes, its table would grow with each free."""
_OVERFLOW_START = HEAP_START + (HEAP_LIMIT + 1) * _LANE_SIZE
"""Where the objects lie whose lane is full: behind the lane of the largest size."""
_ALIGNED_STRIDE = 1 << 16
"""Objects that begin at unmapped memory begin at multiples of 64 KiB, where arithmetic in 16 bits goes wrong."""
_ALIGNMENT = 16
"""What malloc's result is aligned to."""
_ENOMEM = 12
BAD_FREE = "free or realloc of a pointer that malloc did not return"
"""The description of that fault."""


def is_heap(address: int) -> bool:
    """Whether an address is one of those that the heap gives out."""
    return HEAP_START <= address < _HEAP_END


@dataclass(frozen=True)
class _Allocation:
    address: int
    size: int
    base: int
    """The start of its pages."""
    mapped: int
    """Bytes of its pages; 0 for an object in the pool of a process."""


class Heap:
    """malloc and its kin.

    Each object ends where no memory is mapped, up to its alignment, so that an access past its end faults. In inputs
    whose own objects begin where no memory is mapped before, so do those of the heap.

    The objects of an input count as the heap's own, as if the caller had got them from malloc: they can be freed and
    reallocated.
    """

    def __init__(self, guest: Guest, arena: ObjectArena, garbage_pattern: int) -> None:
        self._guest, self._uc, self._arena = guest, guest.uc, arena
        self._garbage = GARBAGE[garbage_pattern]
        self._result = guest.library_convention.return_register
        self.most_allocations = MAX_ALLOCATIONS
        """The allocations after which a run ends."""
        self.errno_address = 0
        """The address of the C library's error number; 0 where there is none."""
        self.pool: HeapPool | None = None
        """Where the later and larger objects of a process lie; None for runs of functions."""
        self._blocks: dict[int, _Allocation] = {}
        self._freed_blocks: list[FreedBlock] = []
        self._freed_objects: list[LaidOutObject] = []
        self._allocations: Counter[int] = Counter()
        """How many objects of each size were allocated in this run."""
        self._mapped_bytes = self._overflow_bytes = self._filled_bytes = 0
        self.out_of_memory = False
        """Whether malloc returned NULL in this run because the environment seed says so."""
        self.functions: dict[str, Callable[[], None]] = {
            "malloc": self._malloc,
            "calloc": self._calloc,
            "realloc": self._realloc,
            "free": lambda: self._free(self._argument(0)),
            "aligned_alloc": self._aligned_alloc,
            "memalign": self._aligned_alloc,
        }
        """The functions that the heap replaces, by name. Each reads its arguments and sets its result."""

    def reset(self) -> None:
        """Free everything, and map the objects of the input again that the last run freed."""
        for block in self._blocks.values():
            if block.mapped:
                self._guest.pages.unmap(block.base, block.mapped)
        if self.pool:
            self.pool.reset()
        for placed in self._freed_objects:
            self._arena.map(placed.slot)
        self._blocks.clear()
        self._freed_blocks.clear()
        self._freed_objects.clear()
        self._allocations.clear()
        self._mapped_bytes = self._overflow_bytes = self._filled_bytes = 0
        self.out_of_memory = False

    # -- what a run has done

    def blocks(self) -> tuple[HeapBlock, ...]:
        """The live objects, in the order of their addresses."""
        return tuple(
            HeapBlock(block.address, block.size, bytes(self._uc.mem_read(block.base, block.mapped)))
            for _, block in sorted(self._blocks.items())
        )

    @property
    def allocation_count(self) -> int:
        """How many objects were allocated in this run."""
        return self._allocations.total()

    @property
    def live_count(self) -> int:
        """How many objects that this run allocated are not freed."""
        return len(self._blocks)

    @property
    def freed_blocks(self) -> tuple[FreedBlock, ...]:
        """The objects that were allocated and freed in this run."""
        return tuple(self._freed_blocks)

    @property
    def freed_objects(self) -> tuple[int, ...]:
        """The numbers of the input's objects that were freed in this run."""
        return tuple(sorted(self._objects.index(placed) for placed in self._freed_objects))

    def bytes_to_end(self, address: int) -> int:
        """Bytes from an address to the end of the live object that holds it; 0 where none does."""
        for block in self._blocks.values():
            if block.address <= address < block.address + block.size:
                return block.address + block.size - address
        return 0

    # -- allocation

    def allocate(self, size: int, alignment: int = _ALIGNMENT) -> int:
        """The address of a new object with garbage in it; 0 where there is no room, or no such alignment."""
        if alignment & (alignment - 1) or not 0 < alignment <= PAGE:
            return 0
        if self.pool and (len(self._blocks) >= _MOST_PAGED or size + self._mapped_bytes > HEAP_LIMIT):
            return self._allocate_in_pool(self.pool, size, alignment)
        if size + self._mapped_bytes > HEAP_LIMIT:
            return 0
        mapped = max(PAGE, -(-size // PAGE) * PAGE)
        is_aligned = self._guest.layout is not None and self._guest.layout.is_4gib_aligned
        room = mapped + PAGE  # one page that is not mapped
        if is_aligned:
            base = self._reserve(size, -(-room // _ALIGNED_STRIDE) * _ALIGNED_STRIDE, 0)
        else:
            base = self._reserve(size, room, size // 8 % _LANE_PLACES * PAGE)
        self._guest.pages.map(base, mapped)
        self._uc.mem_write(base, self._garbage * (mapped // 4))
        address = base if is_aligned else (base + mapped - max(size, 1)) // alignment * alignment
        self._blocks[address] = _Allocation(address, size, base, mapped)
        self._mapped_bytes += mapped
        self._filled_bytes += mapped
        return address

    def _allocate_in_pool(self, pool: HeapPool, size: int, alignment: int) -> int:
        address = pool.allocate(size, alignment)
        if address:
            self._allocations[size] += 1
            self._blocks[address] = _Allocation(address, size, 0, 0)
            self._filled_bytes += size
        return address

    def _reserve(self, size: int, room: int, start: int) -> int:
        """The address of `room` bytes for the next object of a size, whose lane begins with `start` unused bytes. No
        address is used twice in a run.

        The objects of each size have a lane of their own. If a candidate allocates objects of different sizes in
        another order, each still gets the same address, and whatever the program computes from addresses (a hash, a
        sum) stays the same.
        """
        offset = start + self._allocations[size] * room
        self._allocations[size] += 1
        if offset + room <= _LANE_SIZE:
            return HEAP_START + size * _LANE_SIZE + offset
        self._overflow_bytes += room
        return _OVERFLOW_START + self._overflow_bytes - room

    def _allocate_for_program(self, size: int, alignment: int = _ALIGNMENT) -> int:
        """Allocate under the environment seed. Where there is no memory the result is 0, and errno is set."""
        layout = self._guest.layout
        if self.allocation_count >= self.most_allocations:
            raise GuestLimitError(f"more than {self.most_allocations} allocations")
        if self._filled_bytes >= _MAX_FILLED_BYTES:
            raise GuestLimitError(f"allocates more than {_MAX_FILLED_BYTES >> 20} MiB")
        if layout is not None and has_no_memory(layout.environment_seed, size):
            self.out_of_memory = True
            address = 0
        else:
            address = self.allocate(size, alignment)
        if not address and self.errno_address:
            self._uc.mem_write(self.errno_address, _ENOMEM.to_bytes(4, "little"))
        return address

    # -- the library's functions

    def _argument(self, index: int) -> int:
        return self._guest.library_argument(index)

    def _return(self, value: int) -> None:
        self._guest.set_register(self._result, value)

    def _malloc(self) -> None:
        self._return(self._allocate_for_program(self._argument(0)))

    def _aligned_alloc(self) -> None:
        self._return(self._allocate_for_program(self._argument(1), self._argument(0)))

    def _calloc(self) -> None:
        size = self._argument(0) * self._argument(1)
        address = self._allocate_for_program(size)
        if address:
            self._uc.mem_write(address, bytes(size))
        self._return(address)

    def _realloc(self) -> None:
        old, size = self._argument(0), self._argument(1)
        old_size = self._find_freeable(old).size if old else 0
        new = self._allocate_for_program(size)
        if new and old:
            self._uc.mem_write(new, bytes(self._uc.mem_read(old, min(size, old_size))))
            self._free(old)
        self._return(new)

    def _free(self, address: int) -> None:
        if not address:
            return
        block = self._find_freeable(address)
        if isinstance(block, LaidOutObject):
            self._arena.unmap(block.slot)
            self._freed_objects.append(block)
        else:
            if block.mapped:
                self._guest.pages.unmap(block.base, block.mapped)
            self._mapped_bytes -= block.mapped
            self._freed_blocks.append(FreedBlock(address, block.size))
            del self._blocks[address]

    @property
    def _objects(self) -> tuple[LaidOutObject, ...]:
        return self._guest.layout.objects if self._guest.layout else ()

    def _find_freeable(self, address: int) -> _Allocation | LaidOutObject:
        """The live object that starts at an address. Raises GuestTrapError where none that can be freed does.

        The buffer for a result in memory is the caller's variable: it can't be freed.
        """
        if address in self._blocks:
            return self._blocks[address]
        result_buffer = self._guest.layout.result if self._guest.layout else None
        for placed in self._objects:
            if placed.address == address and placed is not result_buffer and placed not in self._freed_objects:
                return placed
        raise GuestTrapError(BAD_FREE)
