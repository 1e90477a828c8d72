"""ELF files of the bundled compiler and linker: 64 bits, little-endian (System V ABI, chapters 4 and 5).

Tables are read as blocks of records. A program with the C library has thousands of symbols, and pyelftools takes 20 µs
for each.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = struct.Struct("<18xH4x3Q8xHxxH2x")
"""The machine, the entry point, the offsets of the tables of segments and of sections, and how many there are of each.
"""
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
_ADDRESS_BYTES = {
    62: {1: 8, 10: 4, 11: 4, 17: 8, 21: 4},  # R_X86_64_64, 32, 32S, DTPOFF64, DTPOFF32
    183: {257: 8, 258: 4, 1029: 8},  # R_AARCH64_ABS64, ABS32, TLS_DTPREL64
}
"""The size of the field of relocations that put the address of a symbol into data, by machine and type."""


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
    def is_hidden(self) -> bool:
        """Whether other files can't name the symbol in each way."""
        return self.other & _VISIBILITY_MASK != _DEFAULT_VISIBILITY

    @property
    def is_static(self) -> bool:
        """Whether only the object file that defines the symbol could name it. The linker makes hidden symbols local,
        but they keep their visibility."""
        return _is_static(self.info, self.other)

    @property
    def is_variable(self) -> bool:
        """Whether it is a variable in a section of the file, and not one in thread-local storage."""
        return self.info & 15 == _OBJECT and _UNDEFINED < self.section < _FIRST_RESERVED


class ElfRelocation(NamedTuple):
    """A relocation with an addend."""

    offset: int
    type: int
    symbol: int
    """The number of the symbol."""
    addend: int


class ElfFile:
    """The tables of an ELF file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.machine, self.entry, *places = _HEADER.unpack_from(data)
        self._segments_at, self._sections_at, self._segment_count, self._section_count = places

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
        records, names = self._read_symbols()
        for offset, *fields in _SYMBOL.iter_unpack(records):
            yield ElfSymbol(_name_at(names, offset), *fields)

    @property
    def addressed_symbols(self) -> Iterator[tuple[str, int, int, bool]]:
        """The name, address and size of each symbol that stands for code or data of the file, and whether it is static:
        no sections, source files and thread-local variables."""
        records, names = self._read_symbols()
        for offset, info, other, section, value, size in _SYMBOL.iter_unpack(records):
            if offset and section != _UNDEFINED and info & 15 in (_NO_TYPE, _OBJECT, _FUNCTION):
                yield _name_at(names, offset), value, size, _is_static(info, other)

    def _read_symbols(self) -> tuple[bytes, bytes]:
        """The table of symbols, and that of their names."""
        table = next((section for section in self.sections if section.type == SYMBOL_TABLE), None)
        return (self.read(table), self.read(self.sections[table.link])) if table else (b"", b"")

    def read(self, section: ElfSection) -> bytes:
        """The contents of a section that has any in the file."""
        return self.data[section.offset : section.offset + section.size]

    def relocations(self, section: ElfSection) -> Iterator[ElfRelocation]:
        """The relocations in a section of the type `RELOCATIONS`."""
        for offset, info, addend in _RELOCATION.iter_unpack(self.read(section)):
            yield ElfRelocation(offset, info & 0xFFFFFFFF, info >> 32, addend)


def _is_static(info: int, other: int) -> bool:
    return info >> 4 == _LOCAL and other & _VISIBILITY_MASK == _DEFAULT_VISIBILITY


def _name_at(names: bytes, offset: int) -> str:
    return names[offset : names.index(0, offset)].decode("utf-8", "replace")


def resolve_debug_relocations(data: bytes) -> bytes | None:
    """An object in which the relocations of sections that are not loaded are carried out, as if all sections lay at
    address 0. Debug information then refers to itself by plain numbers. None where there are other relocations."""
    file, resolved = ElfFile(data), bytearray(data)
    sizes, symbols = _ADDRESS_BYTES.get(file.machine, {}), list(file.symbols)
    for table in file.sections:
        if table.type != RELOCATIONS or file.sections[table.info].is_loaded:
            continue
        start = file.sections[table.info].offset
        for offset, type, symbol, addend in file.relocations(table):
            size = sizes.get(type)
            if size is None:
                return None
            value = (symbols[symbol].value + addend) % (1 << 8 * size)
            resolved[start + offset : start + offset + size] = value.to_bytes(size, "little")
    return bytes(resolved)
