"""Machine code that an assembler made, ready for memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CodeSegment:
    """Bytes at a page-aligned address, with the permissions of their pages. Every segment is readable."""

    name: str
    address: int
    data: bytes
    is_writable: bool
    is_executable: bool


AssemblerName = Literal["keystone", "llvm"]


@dataclass(frozen=True)
class AssembledCode:
    """Machine code, ready for memory, and what is known of it."""

    assembler: AssemblerName
    segments: tuple[CodeSegment, ...]
    """In the order of their addresses. Addresses are page-aligned, sizes are not."""
    symbols: dict[str, int]
    """What the text defines, absolute addresses."""
    lines: dict[int, int]
    """Address of each instruction, and of data in executable sections -> 1-based line of the text."""
    mnemonics: dict[int, str]
    """The same addresses -> mnemonic in lower case, prefixes stripped; the directive for data."""
    external_symbols: frozenset[str]
    """Symbols of the program that the text refers to."""
    fallback_reason: str | None
    """Why keystone's output was not used, where the engine is LLVM and keystone was asked first."""

    def read_code(self, address: int) -> bytes:
        """The bytes from an address on: as many as an instruction can have, and less where they end."""
        segment = next(s for s in self.segments if s.address <= address <= s.address + len(s.data))
        return segment.data[address - segment.address :][:16]
