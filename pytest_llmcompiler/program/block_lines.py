"""The source lines of the blocks of a function, from an ELF file with block counters and line tables."""

from __future__ import annotations

import bisect
import io
import os
import struct
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from pytest_llmcompiler.targets.target import Target


def block_lines(image: bytes, function: str, target: Target) -> list[set[int]]:
    """For each block of a function, in the order of their counters, the 1-based lines of the source file in it.

    Lines of headers are left out. Empty where the file does not have the function.
    """
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(image))
    symbols = elf.get_section_by_name(".symtab").get_symbol_by_name(target.symbol_prefix + function)
    symbols = symbols or elf.get_section_by_name(".symtab").get_symbol_by_name(function)
    table = elf.get_section_by_name("__sancov_pcs")
    if not symbols or table is None:
        return []
    start, size = symbols[0]["st_value"], symbols[0]["st_size"]
    blocks = [address for address, _ in struct.iter_unpack("<QQ", table.data()) if start <= address < start + size]
    order = sorted(range(len(blocks)), key=blocks.__getitem__)
    starts = [blocks[number] for number in order]
    lines: list[set[int]] = [set() for _ in blocks]
    for address, line in _rows(elf):
        if start <= address < start + size:
            lines[order[bisect.bisect_right(starts, address) - 1]].add(line)
    return lines


def _rows(elf: Any) -> Iterator[tuple[int, int]]:
    """The address and the line of each statement that comes from the source file itself."""
    dwarf = elf.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE()
        program = dwarf.line_program_for_CU(unit)
        root = PurePath(os.fsdecode(top.attributes["DW_AT_comp_dir"].value))
        source = root / os.fsdecode(top.attributes["DW_AT_name"].value)
        header = program.header
        folders = [root, *(root / os.fsdecode(folder) for folder in header["include_directory"])]
        files = [folders[file.dir_index] / os.fsdecode(file.name) for file in header["file_entry"]]
        for entry in program.get_entries():
            row = entry.state
            if row is not None and not row.end_sequence and row.line and files[row.file - 1] == source:
                yield row.address, row.line
