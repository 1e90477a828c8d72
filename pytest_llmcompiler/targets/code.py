"""Machine code at addresses: the result of assembling and linking."""

from __future__ import annotations

import functools
import hashlib
import re
import struct
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_WINDOW = 16
"""Bytes that `read_code` returns: more than the longest instruction of any target (15, on x86-64)."""


@dataclass(frozen=True)
class CodeSegment:
    """Bytes at a page-aligned address, with the permissions of their pages. Every segment is readable."""

    name: str
    address: int
    data: bytes
    is_writable: bool
    is_executable: bool


@dataclass(frozen=True)
class BooleanVariable:
    """A byte of a text that stands for a variable of the program: it is 0 for one value of the variable, 1 for the
    other. LLVM makes such bytes of variables that have two values."""

    name: str
    """The variable of the program."""
    address: int
    """The byte in the text's own memory."""
    values: tuple[bytes, bytes]


AssemblerName = Literal["keystone", "llvm"]


@dataclass(frozen=True)
class AssembledCode:
    """Machine code, ready for memory, and what is known of its text."""

    assembler: AssemblerName
    """The assembler that encoded the instructions."""
    segments: tuple[CodeSegment, ...]
    """In the order of their addresses. Addresses are page-aligned, sizes are not."""
    symbols: dict[str, int]
    """Name -> absolute address, of the symbols that the text defines."""
    lines: Mapping[int, int]
    """Address of each instruction, and of data in executable sections -> line of the text, counted from 1."""
    mnemonics: dict[int, str]
    """The same addresses -> mnemonic in lower case without prefixes; for data, the directive."""
    external_symbols: frozenset[str]
    """Symbols of the program that the text refers to."""
    fallback_reason: str | None
    """Why LLVM assembled the text although keystone was asked first; None where that did not happen."""
    binding_alternatives: int = 0
    """How many other meanings the names of static variables in the text may have."""
    is_private: bool = False
    """Whether the function under test is local to the text, and other functions of the text refer to it. A compiler may
    then change its parameters and its result, and rely on what the text's own calls pass."""
    booleans: tuple[BooleanVariable, ...] = ()
    """Bytes of the text that stand for variables of the program."""
    replaced_functions: frozenset[str] = frozenset()
    """Functions of the text whose addresses are those of the program's functions of the same names: local ones, and
    the function under test."""
    shared_functions: frozenset[str] = frozenset()
    """Functions that the text defines and the program's definitions replace: each name is in `symbols` too."""
    used_functions: frozenset[str] = frozenset()
    """Those of `shared_functions` that the function under test, or what it reaches of the text, names: code that calls
    one of them may rely on the text's own definition."""

    @functools.cached_property
    def digest(self) -> str:
        """A hash of what is loaded into memory: texts with other comments, labels or lines may have the same."""
        hash = hashlib.sha256()
        for part in self.segments:
            hash.update(struct.pack("<Q2?", part.address, part.is_writable, part.is_executable) + part.data)
        return hash.hexdigest()

    @functools.cached_property
    def identity(self) -> bytes:
        """A hash of all that decides what the code does, and where it may be entered: of more than of its bytes."""
        symbols = {name: address for name, address in self.symbols.items() if not name.startswith(".L")}
        functions = self.replaced_functions, self.shared_functions, self.used_functions
        names = [sorted(names) for names in (self.external_symbols, *functions)]
        facts = self.digest, symbols, self.mnemonics, self.booleans, names
        return hashlib.sha256(repr(facts).encode()).digest()

    @functools.cached_property
    def addresses(self) -> list[int]:
        """The addresses of `mnemonics`, ascending."""
        return sorted(self.mnemonics)

    @functools.cached_property
    def has_data(self) -> bool:
        """Whether there may be data between the instructions."""
        return any(name.startswith(".") for name in set(self.mnemonics.values()))

    @functools.cached_property
    def _code_ranges(self) -> list[tuple[int, int]]:
        return [(part.address, part.address + len(part.data)) for part in self.segments if part.is_executable]

    def contains_code(self, address: int) -> bool:
        """Whether an address lies in the code, or at its end: a call at the end of the code returns to there."""
        return any(start <= address <= end for start, end in self._code_ranges)

    def read_code(self, address: int) -> bytes:
        """The 16 bytes from an address on, enough for one instruction; fewer at the end of a segment."""
        for segment in self.segments:
            start = address - segment.address
            if 0 <= start <= len(segment.data):
                return segment.data[start : start + _WINDOW]
        raise IndexError(address)

    def read_range(self, start: int, end: int) -> bytes | None:
        """The bytes between two addresses; None where they are not in one segment."""
        for segment in self.segments:
            first = start - segment.address
            if 0 <= first < len(segment.data):
                last = end - segment.address
                return segment.data[first:last] if last <= len(segment.data) else None
        return None

    def find_instructions(self, pattern: re.Pattern[bytes]) -> list[int]:
        """The addresses of the instructions that have a match of a pattern in them. To search all code at once takes
        less time than to look at each instruction."""
        addresses = self.addresses
        indices = {
            bisect_right(addresses, segment.address + match.start()) - 1
            for segment in self.segments
            if segment.is_executable
            for match in pattern.finditer(segment.data)
        }
        found = (addresses[index] for index in sorted(indices - {-1}))
        return [address for address in found if not self.mnemonics[address].startswith(".")]
