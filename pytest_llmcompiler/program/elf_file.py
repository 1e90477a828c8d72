"""ELF files of the bundled compiler and linker: 64 bits, little-endian (System V ABI, chapters 4 and 5).

Tables are read as blocks of records. A program with the C library has thousands of symbols, and pyelftools takes 20 µs
for each.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = struct.Struct("<24x3Q8xHxxH2x")
"""The entry point, the offsets of the tables of segments and of sections, and how many there are of each."""
_SEGMENT, _SECTION = struct.Struct("<2I6Q"), struct.Struct("<2I4Q2I2Q")
_SYMBOL, _RELOCATION = struct.Struct("<IBBHQQ"), struct.Struct("<QQq")
LOADED_SEGMENT, RELRO_SEGMENT = 1, 0x6474E552
SYMBOL_TABLE, RELOCATIONS, NO_BITS = 2, 4, 8
"""Types of sections."""
_LOADED_SECTION = 2
"""A flag of sections."""
_LOCAL, _GLOBAL, _WEAK = 0, 1, 2
"""Bindings of symbols."""
_NO_TYPE, _OBJECT, _FUNCTION = 0, 1, 2
"""Types of symbols."""
_DEFAULT_VISIBILITY, _VISIBILITY_MASK = 0, 3
_UNDEFINED, _FIRST_RESERVED = 0, 0xFF00
"""Numbers of sections."""


class ElfSegment(NamedTuple):
    """A record of the program header table. Addresses and sizes are in bytes."""

    type: int
    flags: int
    offset: int
    address: int
    physical_address: int
    file_size: int
    memory_size: int
    alignment: int


class ElfSection(NamedTuple):
    """A record of the section header table."""

    name: int
    """The offset of the name in the table of names."""
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int

    @property
    def is_loaded(self) -> bool:
        """Whether the section takes memory in the program."""
        return bool(self.flags & _LOADED_SECTION)


class ElfSymbol(NamedTuple):
    """An entry of a symbol table."""

    name: str
    info: int
    """The binding in the upper four bits, the type in the lower ones."""
    other: int
    """The visibility, in the lower two bits."""
    section: int
    """The number of the section that the symbol lies in; 0 for one that is not defined here."""
    value: int
    size: int
    """In bytes."""

    @property
    def is_defined(self) -> bool:
        """Whether the file defines the symbol."""
        return self.section != _UNDEFINED

    @property
    def is_shared(self) -> bool:
        """Whether other files can name the symbol."""
        return self.info >> 4 in (_GLOBAL, _WEAK)

    @property
    def is_needed(self) -> bool:
        """Whether another file must define the symbol."""
        return self.section == _UNDEFINED and self.info >> 4 == _GLOBAL

    @property
    def is_static(self) -> bool:
        """Whether only the object file that defines the symbol could name it. The linker makes hidden symbols local,
        but they keep their visibility."""
        return self.info >> 4 == _LOCAL and self.other & _VISIBILITY_MASK == _DEFAULT_VISIBILITY

    @property
    def is_variable(self) -> bool:
        """Whether it is a variable in a section of the file, and not one in thread-local storage."""
        return self.info & 15 == _OBJECT and _UNDEFINED < self.section < _FIRST_RESERVED

    @property
    def has_address(self) -> bool:
        """Whether it stands for code or data of the file: not for a section, a source file or thread-local storage."""
        return self.section != _UNDEFINED and self.info & 15 in (_NO_TYPE, _OBJECT, _FUNCTION)


class ElfRelocation(NamedTuple):
    """A relocation with an addend."""

    offset: int
    symbol: int
    """The number of the symbol."""
    addend: int


class ElfFile:
    """The tables of an ELF file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.entry, self._segments_at, self._sections_at, self._segment_count, self._section_count = (
            _HEADER.unpack_from(data)
        )

    @property
    def segments(self) -> list[ElfSegment]:
        """The segments."""
        size = _SEGMENT.size * self._segment_count
        table = self.data[self._segments_at : self._segments_at + size]
        return [ElfSegment(*record) for record in _SEGMENT.iter_unpack(table)]

    @functools.cached_property
    def sections(self) -> list[ElfSection]:
        """The sections. The first one stands for none, and has the number of sections where that is large."""
        count = self._section_count or ElfSection(*_SECTION.unpack_from(self.data, self._sections_at)).size
        table = self.data[self._sections_at : self._sections_at + _SECTION.size * count]
        return [ElfSection(*record) for record in _SECTION.iter_unpack(table)]

    @property
    def symbols(self) -> Iterator[ElfSymbol]:
        """The symbols, in the order of the table."""
        table = next((section for section in self.sections if section.type == SYMBOL_TABLE), None)
        if table is None:
            return
        names = self.read(self.sections[table.link])
        for offset, info, other, section, value, size in _SYMBOL.iter_unpack(self.read(table)):
            name = names[offset : names.index(0, offset)].decode("utf-8", "replace")
            yield ElfSymbol(name, info, other, section, value, size)

    def read(self, section: ElfSection) -> bytes:
        """The contents of a section that has any in the file."""
        return self.data[section.offset : section.offset + section.size]

    def relocations(self, section: ElfSection) -> Iterator[ElfRelocation]:
        """The relocations in a section of the type `RELOCATIONS`."""
        for offset, info, addend in _RELOCATION.iter_unpack(self.read(section)):
            yield ElfRelocation(offset, info >> 32, addend)
