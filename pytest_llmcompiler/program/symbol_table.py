"""The symbol table of an ELF file, read as one block of records: a program with the C library has thousands.

Elf64_Sym in little-endian order (System V ABI, "Symbol Table"), as in all files of the bundled compiler.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

_RECORD = struct.Struct("<IBBHQQ")
"""Offset of the name, binding and type, visibility, section, value, size."""
_LOCAL, _GLOBAL, _WEAK = 0, 1, 2
_NO_TYPE, _OBJECT, _FUNCTION = 0, 1, 2
_DEFAULT_VISIBILITY, _VISIBILITY_MASK = 0, 3
_UNDEFINED_SECTION, _FIRST_RESERVED_SECTION = 0, 0xFF00


class TableSymbol(NamedTuple):
    """One entry of a symbol table."""

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
        return self.section != _UNDEFINED_SECTION

    @property
    def is_shared(self) -> bool:
        """Whether other files can name the symbol."""
        return self.info >> 4 in (_GLOBAL, _WEAK)

    @property
    def is_static(self) -> bool:
        """Whether only the object file that defines the symbol could name it. The linker makes hidden symbols local,
        but they keep their visibility."""
        return self.info >> 4 == _LOCAL and self.other & _VISIBILITY_MASK == _DEFAULT_VISIBILITY

    @property
    def is_object(self) -> bool:
        """Whether it is a variable in a section of the file, and not one in thread-local storage."""
        return self.info & 15 == _OBJECT and _UNDEFINED_SECTION < self.section < _FIRST_RESERVED_SECTION

    @property
    def has_address(self) -> bool:
        """Whether it stands for code or data of the file: not for a section, a source file or thread-local storage."""
        return self.is_defined and self.info & 15 in (_NO_TYPE, _OBJECT, _FUNCTION)


def read_symbol_table(elf: Any) -> Iterator[TableSymbol]:
    """The symbols of pyelftools' ELFFile, in the order of the table."""
    table = elf.get_section_by_name(".symtab")
    names = elf.get_section(table["sh_link"]).data()
    for offset, info, other, section, value, size in _RECORD.iter_unpack(table.data()):
        name = names[offset : names.index(0, offset)].decode("utf-8", "replace")
        yield TableSymbol(name, info, other, section, value, size)
