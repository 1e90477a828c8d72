"""The initial values of a module's variables: their bytes, and the symbols that pointers in them lead to.

LLVM itself lays the variables out: it writes an object of the module without its functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pytest_llmcompiler.program.elf_file import NO_BITS, RELOCATIONS, ElfFile
from pytest_llmcompiler.program.ir import emit_object, parse
from pytest_llmcompiler.program.ir_extract import declaration
from pytest_llmcompiler.program.ir_rewrites import externalise
from pytest_llmcompiler.targets.target import Target


class SymbolAddress(NamedTuple):
    """An address in the program: a symbol, and the bytes from its start."""

    symbol: str
    offset: int


class CellValue(NamedTuple):
    """The content of a part of a variable."""

    data: bytes
    """Its bytes. Those of a pointer to a symbol are zero."""
    pointers: tuple[tuple[int, SymbolAddress], ...] = ()
    """The pointers to symbols, with their offsets in the part."""


class InitialValue(NamedTuple):
    """The initial value of a variable."""

    data: bytes
    """Its bytes. Those of a pointer to a symbol are zero."""
    pointers: dict[int, SymbolAddress]
    """The pointers to symbols, by their offset in bytes."""

    def part(self, start: int, end: int) -> CellValue:
        """The bytes from `start` to `end`."""
        inside = ((at - start, to) for at, to in sorted(self.pointers.items()) if start <= at < end)
        return CellValue(self.data[start:end], tuple(inside))


def read_initial_values(text: str, target: Target) -> dict[str, InitialValue]:
    """The initial values of the variables that a module defines, thread-local ones aside. Raises IRError where they
    hold addresses of labels."""
    elf = ElfFile(emit_object(parse(_remove_bodies(externalise(text), target.host)), target.host))
    symbols = list(elf.symbols)
    pointers = {
        section.info: {
            relocation.offset: SymbolAddress(symbols[relocation.symbol].name, relocation.addend)
            for relocation in elf.relocations(section)
        }
        for section in elf.sections
        if section.type == RELOCATIONS
    }
    values = {}
    for symbol in symbols:
        if not symbol.is_variable:
            continue
        start, size, section = symbol.value, symbol.size, elf.sections[symbol.section]
        contents = elf.read(section)[start : start + size] if section.type != NO_BITS else bytes(size)
        inside = pointers.get(symbol.section, {}).items()
        own = {at - start: target for at, target in inside if start <= at < start + size}
        values[symbol.name] = InitialValue(contents, own)
    return values


def _remove_bodies(text: str, host: Target) -> str:
    """A module for `host` with all functions only declared, and without inline assembly and aliases."""
    text = re.sub(r'^target triple = ".*"$', f'target triple = "{host.triple}"', text, flags=re.M)
    return "".join(_declare_functions(text.splitlines(keepends=True)))


def _declare_functions(lines: list[str]) -> Iterator[str]:
    is_inside = False
    for line in lines:
        if line.startswith("define "):
            is_inside = True
            yield declaration(line)
        elif is_inside:
            is_inside = not line.startswith("}")
        elif not re.match(r"module asm |@\S+ = .*\balias ", line):
            yield line
