"""The symbols that a link would miss, told from the tables of its files: a link that fails takes as long as any.

The order is that of the linker's messages, since the stand-ins for missing symbols lie in memory in that order. lld
reports a symbol at the first relocation that refers to it: file by file, section by section.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_llmcompiler.program.c_library import list_library_names
from pytest_llmcompiler.program.elf_file import RELOCATIONS, ElfFile, ElfSymbol
from pytest_llmcompiler.targets.target import Target

_GROUP = 17
"""The type of sections that name a group of sections. Of groups with the same name, which lie in different files, the
linker takes the first."""
_LINKER_SYMBOLS = re.compile(
    r"_?(?:end|etext|edata)|__(?:bss_start|executable_start|ehdr_start|dso_handle|tls_get_addr)|_DYNAMIC"
    r"|_GLOBAL_OFFSET_TABLE_|_TLS_MODULE_BASE_|__(?:start|stop|(?:pre)?init_array|fini_array|rela?_iplt)_.*"
)
"""Symbols that the linker itself can define."""


def find_missing_symbols(objects: Sequence[bytes], target: Target) -> list[str] | None:
    """The symbols that a link of some objects with the C library misses. None where only the linker can tell."""
    files, library = [ElfFile(data) for data in objects], list_library_names(target)
    with_groups = [file for file in files if any(section.type == _GROUP for section in file.sections)]
    if len(with_groups) > 1:
        return None
    tables = [list(file.symbols) for file in files]
    defined = {symbol.name for table in tables for symbol in table if symbol.is_shared and symbol.is_defined}
    missing: dict[str, ElfSymbol] = {}
    for file, table in zip(files, tables, strict=True):
        needed = {
            number
            for number, symbol in enumerate(table)
            if symbol.is_needed and symbol.name not in defined and symbol.name not in library
            if not _LINKER_SYMBOLS.fullmatch(symbol.name)
        }
        for number in _list_referred(file) if needed else ():
            if number in needed:
                missing.setdefault(table[number].name, table[number])
    if any(symbol.is_hidden for symbol in missing.values()):  # the linker has other words for these
        return None
    return list(missing)


def _list_referred(file: ElfFile) -> Iterator[int]:
    """The numbers of the symbols that the loaded sections of an object refer to, in the order of the linker."""
    tables = [section for section in file.sections if section.type == RELOCATIONS]
    for table in sorted(tables, key=lambda section: section.info):
        if file.sections[table.info].is_loaded:
            yield from (relocation.symbol for relocation in file.relocations(table))
