"""What the emulated program finds around it: a kernel with few system calls, and a heap in which each object has pages
of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import unicorn
from unicorn import x86_const as x86

from pytest_llmcompiler.inputs.place import PAGE

HEAP = 0x5581A0000000
HEAP_LIMIT = 4 << 20
"""Bytes that one run may hold at a time; malloc returns NULL above."""
OUTPUT_LIMIT = 1 << 20
_LANE = 2 << 20
_BEYOND = HEAP + (HEAP_LIMIT + 1) * _LANE
"""Where objects lie that have no room in their lane."""
_ENOSYS, _EBADF = 38, 9


class Exit(Exception):
    """The program ended itself."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Trap(Exception):
    """The program did what would have ended it on real hardware or in a real library; the message says what."""


@dataclass
class _Block:
    address: int
    size: int
    base: int
    mapped: int


class Heap:
    """malloc and its kin, done by the host. Objects end at a page that is not mapped (up to their alignment)."""

    def __init__(self, uc: unicorn.Uc, garbage: bytes) -> None:
        self._uc, self._garbage = uc, garbage
        self._blocks: dict[int, _Block] = {}
        self._made: Counter[int] = Counter()
        self._held = self._beyond = 0
        self.functions: dict[str, Callable[[], None]] = {
            "malloc": lambda: self._return(self._allocate(self._argument(0))),
            "calloc": self._calloc,
            "realloc": self._realloc,
            "free": lambda: self._free(self._argument(0)),
            "aligned_alloc": lambda: self._return(self._allocate(self._argument(1), self._argument(0))),
            "memalign": lambda: self._return(self._allocate(self._argument(1), self._argument(0))),
        }

    def reset(self) -> None:
        """Free everything."""
        for block in self._blocks.values():
            self._uc.mem_unmap(block.base, block.mapped)
        self._blocks.clear()
        self._made.clear()
        self._held = self._beyond = 0

    def objects(self) -> tuple[tuple[int, int, bytes], ...]:
        """Address, size and pages of each live object, in the order of their addresses."""
        return tuple(
            (block.address, block.size, bytes(self._uc.mem_read(block.base, block.mapped)))
            for _, block in sorted(self._blocks.items())
        )

    def extent(self, address: int) -> int:
        """How many bytes there are from an address to the end of the live object that holds it; 0 where none does."""
        held = (block for block in self._blocks.values() if block.address <= address < block.address + block.size)
        return next((block.address + block.size - address for block in held), 0)

    def _argument(self, index: int) -> int:
        return int(self._uc.reg_read((x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI)[index]))

    def _return(self, value: int) -> None:
        self._uc.reg_write(x86.UC_X86_REG_RAX, value)

    def _allocate(self, size: int, align: int = 16) -> int:
        if align & (align - 1) or not 0 < align <= PAGE or size + self._held > HEAP_LIMIT:
            return 0
        mapped = max(PAGE, -(-size // PAGE) * PAGE)
        base = self._place(size, mapped + PAGE)
        self._uc.mem_map(base, mapped, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self._uc.mem_write(base, self._garbage * (mapped // 4))
        address = (base + mapped - max(size, 1)) // align * align
        self._blocks[address] = _Block(address, size, base, mapped)
        self._held += mapped
        return address

    def _place(self, size: int, room: int) -> int:
        """Where the next object of a size goes. No address is used twice in a run.

        Objects of each size have a lane of their own, so that those of other sizes may come in another order.
        """
        offset = self._made[size] * room
        self._made[size] += 1
        if offset + room <= _LANE:
            return HEAP + size * _LANE + offset
        self._beyond += room
        return _BEYOND + self._beyond - room

    def _calloc(self) -> None:
        size = self._argument(0) * self._argument(1)
        address = self._allocate(size)
        if address:
            self._uc.mem_write(address, bytes(size))
        self._return(address)

    def _realloc(self) -> None:
        old, size = self._argument(0), self._argument(1)
        new = self._allocate(size)
        if new and old:
            self._uc.mem_write(new, bytes(self._uc.mem_read(old, min(size, self._block(old).size))))
            self._free(old)
        self._return(new)

    def _free(self, address: int) -> None:
        if address:
            block = self._block(address)
            self._uc.mem_unmap(block.base, block.mapped)
            self._held -= block.mapped
            del self._blocks[address]

    def _block(self, address: int) -> _Block:
        if address not in self._blocks:
            raise Trap("free or realloc of a pointer that malloc did not give")
        return self._blocks[address]


class Kernel:
    """The few system calls that musl makes: output is captured; there are no files, no network and no time."""

    def __init__(self, uc: unicorn.Uc) -> None:
        self._uc = uc
        self.output: dict[int, bytearray] = {}
        self._calls: dict[int, Callable[[int, int, int], int]] = {
            1: self._write,
            16: lambda *_: -_ENOSYS,  # ioctl: standard output is no terminal
            20: self._writev,
            60: self._exit,
            158: self._arch_prctl,
            218: lambda *_: 1,  # set_tid_address
            231: self._exit,
        }

    def reset(self) -> None:
        """Forget the output."""
        self.output = {}

    def syscall(self) -> None:
        """Answer the system call that the registers hold."""
        number, *args = (
            self._uc.reg_read(register)
            for register in (x86.UC_X86_REG_RAX, x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX)
        )
        call = self._calls.get(number)
        result = call(*args) if call else -_ENOSYS
        self._uc.reg_write(x86.UC_X86_REG_RAX, result & (1 << 64) - 1)

    def _write(self, number: int, address: int, size: int) -> int:
        if number not in (1, 2):
            return -_EBADF
        data = self.output.setdefault(number, bytearray())
        if size > OUTPUT_LIMIT - len(data):
            raise Trap("more than 1 MiB of output")
        try:
            data += self._uc.mem_read(address, size)
        except unicorn.UcError:
            raise Trap("output from memory that is not there") from None
        return size

    def _writev(self, number: int, vectors: int, count: int) -> int:
        words = bytes(self._uc.mem_read(vectors, 16 * min(count, 1024)))
        pairs = [words[start : start + 16] for start in range(0, len(words), 16)]
        sizes = (
            self._write(number, int.from_bytes(pair[:8], "little"), int.from_bytes(pair[8:], "little"))
            for pair in pairs
        )
        return sum(sizes)

    def _exit(self, code: int, _: int, __: int) -> int:
        raise Exit(code & 0xFF)

    def _arch_prctl(self, code: int, address: int, _: int) -> int:
        if code != 0x1002:  # ARCH_SET_FS
            return -_ENOSYS
        self._uc.reg_write(x86.UC_X86_REG_FS_BASE, address)
        return 0
