"""What the confined process and its parent say to each other: the structures of `confined.h` and `foreign_code.h`."""

from __future__ import annotations

import struct
from typing import NamedTuple

GENERAL_REGISTERS = (
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp"),
    *("rip", "eflags"),
)
"""In the order of Linux's sigcontext."""
VECTOR_REGISTERS = tuple(f"xmm{number}" for number in range(16))
_SETUP = struct.Struct("<QII")
_MAPPING = struct.Struct("<QQQII")
_EVENT = struct.Struct("<IiQ18QQQ512s768s")
_ORDER = struct.Struct("<IIQQQ18QQII1024s")
EVENT_BYTES = _EVENT.size
_RUN, _MOVE = 0, 1
_FRESH, _UPPERS = 1, 2
_TAG_BITS = 8
"""x87 registers, each with a bit in the abridged tag word: 0 where it is empty."""


class Mapping(NamedTuple):
    """A part of the memory file, at the address where foreign code sees it; all numbers are multiples of a page."""

    address: int
    size: int
    offset: int
    protection: int
    """The sum of Linux's PROT_READ (1), PROT_WRITE (2) and PROT_EXEC (4), which are unicorn's numbers too."""


class Event(NamedTuple):
    """Why foreign code stopped, and the registers then."""

    signal: int
    address: int
    """Where the signal is about an access to memory: the address."""
    registers: dict[str, int]
    """The general registers, the instruction pointer and the flags."""
    error: int
    """The processor's error code."""
    trap: int
    """The number of the processor's exception."""
    mxcsr: int
    fpcw: int
    fpsw: int
    fptag: int
    """The full tag word, in which an empty register has two bits that are set."""
    vectors: bytes
    """The registers xmm0 to xmm15."""
    uppers: bytes
    """What is above them in zmm0 to zmm15: 48 bytes each."""


def write_setup(thread_pointer: int, mapping_count: int, parent: int) -> bytes:
    """The first message; the mappings follow."""
    return _SETUP.pack(thread_pointer, mapping_count, parent)


def write_mapping(mapping: Mapping) -> bytes:
    """The message of a mapping."""
    return _MAPPING.pack(*mapping, 0)


def write_move(source: int, target: int, size: int) -> bytes:
    """The order to move pages to another address, at which there are none."""
    return _ORDER.pack(_MOVE, 0, source, target, size, *(0,) * len(GENERAL_REGISTERS), 0, 0, 0, b"")


def write_run(general: list[int], vectors: bytes, mxcsr: int, fpcw: int, fill: int | None, *, is_fresh: bool) -> bytes:
    """The order to run. `general` are the values of `GENERAL_REGISTERS`, `vectors` those of zmm0 to zmm15. Where there
    is a `fill`, the other vector registers and the mask registers get it; without it, only the lowest 16 bytes of
    vectors are set. If `is_fresh`, x87 is set as at the start of a process."""
    flags = _FRESH * is_fresh | (_UPPERS if fill is not None else 0)
    return _ORDER.pack(_RUN, flags, 0, 0, 0, *general, fill or 0, mxcsr, fpcw, vectors)


def read_event(data: bytes) -> Event | None:
    """The event in a message; None for a message of another length."""
    if len(data) != EVENT_BYTES:
        return None
    signal, _, address, *words, error, trap, legacy, uppers = _EVENT.unpack(data)
    fpcw, fpsw, tags = struct.unpack_from("<HHB", legacy)
    (mxcsr,) = struct.unpack_from("<I", legacy, 24)
    fptag = sum(3 << 2 * number for number in range(_TAG_BITS) if not tags >> number & 1)
    registers = dict(zip(GENERAL_REGISTERS, words, strict=True))
    return Event(signal, address, registers, error, trap, mxcsr, fpcw, fpsw, fptag, legacy[160:416], uppers)
