"""Linked programs, read from ELF files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class ProgramSegment:
    """A loadable part of a program. `data` is padded with zeros to the segment's size in memory."""

    address: int
    data: bytes
    is_writable: bool
    is_executable: bool


@dataclass(frozen=True)
class Symbol:
    """Where a symbol is, and its size in bytes."""

    address: int
    size: int


class LinkedProgram(NamedTuple):
    """What a linker made."""

    segments: tuple[ProgramSegment, ...]
    entry: int
    symbols: dict[str, Symbol]


def read_elf(image: bytes) -> LinkedProgram:
    """Read an ELF executable that is not relocated, with its symbols; of several of one name the global one."""
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(image))
    segments = tuple(
        ProgramSegment(
            segment["p_vaddr"],
            segment.data().ljust(segment["p_memsz"], b"\0"),
            bool(segment["p_flags"] & 2),
            bool(segment["p_flags"] & 1),
        )
        for segment in elf.iter_segments("PT_LOAD")
    )
    table = elf.get_section_by_name(".symtab")
    symbols: dict[str, Symbol] = {}
    for symbol in table.iter_symbols():
        kinds = ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE")
        defined = symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["type"] in kinds
        if symbol.name and defined and (symbol["st_info"]["bind"] != "STB_LOCAL" or symbol.name not in symbols):
            symbols[symbol.name] = Symbol(symbol["st_value"], symbol["st_size"])
    return LinkedProgram(segments, elf["e_entry"], symbols)
