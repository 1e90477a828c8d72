"""Linked programs: the parts of an ELF file, and a case's program with what the harness knows of its symbols."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import NamedTuple

from pytest_llmcompiler.program.elf_file import LOADED_SEGMENT, RELRO_SEGMENT, ElfFile
from pytest_llmcompiler.program.ir_queries import ResultKind
from pytest_llmcompiler.program.ir_rewrites import PADDING_BYTES
from pytest_llmcompiler.program.stand_ins import DeclaredVariable
from pytest_llmcompiler.targets.target import Target


@dataclass(frozen=True)
class ProgramSegment:
    """A loadable part of a program. `data` is padded with zeros to the segment's size in memory."""

    address: int
    data: bytes
    is_writable: bool
    is_executable: bool
    is_relro: bool = False
    """Whether it is only writable until a dynamic linker has filled in the addresses: constants that hold addresses."""


@dataclass(frozen=True)
class Symbol:
    """The address of a symbol, and its size in bytes."""

    address: int
    size: int
    is_static: bool = False
    """Whether only the object file that defines the symbol could name it."""


class SymbolRange(NamedTuple):
    """The addresses of a symbol of the program."""

    start: int
    end: int
    name: str


@dataclass(frozen=True)
class ProgramImage:
    """A whole linked program: the case, musl, and stubs for functions that the case only declares."""

    target: Target
    segments: tuple[ProgramSegment, ...]
    entry: int
    """The address at which the program starts."""
    symbols: dict[str, Symbol]
    """The symbols that code of the program can name."""
    library: dict[str, Symbol]
    """The functions and variables of the C library, by the library's own names."""
    aliases: dict[str, str]
    """Other names that assembly uses: `.L.str` for the private global `.str`."""
    globals: tuple[str, ...]
    """The writable global variables of the case itself, in the order of the file."""
    stubs: tuple[str, ...]
    """The functions that the case declares and nothing defines."""
    declared_variables: tuple[DeclaredVariable, ...]
    """The variables that the case declares and nothing defines. They are among the `globals`."""
    absent: frozenset[str]
    """The weak functions and variables that the case declares and nothing defines: their addresses are null."""
    constants: Symbol | None
    """The pages of the variables that the case declares as `const` and nothing defines. Code can't write them."""
    functions: frozenset[str]
    """The functions that the case itself defines."""
    local: frozenset[str]
    """The functions of the case that no other file can call, and that nothing calls through a pointer."""
    narrow: frozenset[str]
    """The library functions that the case uses and that return an integer of up to 32 bits. The upper half of the
    result register is undefined after a call."""
    result_kinds: dict[str, ResultKind]
    """What the functions that the case defines or declares return, of those that follow C's convention."""
    variadic: frozenset[str]
    """Those of these functions that take further arguments behind named ones."""
    paddings: tuple[int, ...]
    """The addresses of the paddings around constants. Each has `ir_rewrites.PADDING_BYTES` bytes."""

    @property
    def has_main(self) -> bool:
        """Whether the case is a whole program."""
        return "main" in self.functions

    @functools.cached_property
    def _padding_addresses(self) -> frozenset[int]:
        return frozenset(self.paddings)

    def find_variable(self, name: str) -> Symbol | None:
        """A variable of the case, without the padding around a constant; None where the program has none."""
        symbol = self.symbols.get(name)
        if symbol is None or symbol.address - PADDING_BYTES not in self._padding_addresses:
            return symbol
        return replace(symbol, size=symbol.size - 2 * PADDING_BYTES)

    def read_initial(self, symbol: Symbol) -> bytes:
        """The contents of a symbol before the program starts; fewer bytes where it lies in no segment."""
        for segment in self.segments:
            start = symbol.address - segment.address
            if 0 <= start < len(segment.data):
                return segment.data[start : start + symbol.size]
        return b""

    @functools.cached_property
    def symbol_ranges(self) -> list[SymbolRange]:
        """The symbols that have a size, by address; of several at one address the longest."""
        ranges: dict[int, SymbolRange] = {}
        for name, symbol in self.symbols.items():
            if symbol.size:
                here = SymbolRange(symbol.address, symbol.address + symbol.size, name)
                ranges[symbol.address] = max(ranges.get(symbol.address, here), here)
        return sorted(ranges.values())

    @functools.cached_property
    def string_literals(self) -> list[range]:
        """The addresses of the string literals of the case, as clang names them."""
        literals = (symbol for name, symbol in self.symbols.items() if name.startswith(".str"))
        return [range(symbol.address, symbol.address + symbol.size) for symbol in literals]

    @functools.cached_property
    def case_code(self) -> range:
        """The addresses of the case's own code, which lies together: it is one object."""
        own = [self.symbols[name] for name in self.functions if name in self.symbols]
        if not own:
            return range(0)
        return range(min(one.address for one in own), max(one.address + one.size for one in own))

    @functools.cached_property
    def addresses(self) -> dict[str, int]:
        """The address of every name that a candidate may refer to."""
        named = {name: symbol.address for name, symbol in self.symbols.items() if not symbol.is_static}
        table = named | dict.fromkeys(self.absent, 0)
        return table | {alias: table[name] for alias, name in self.aliases.items() if name in table}


class ElfProgram(NamedTuple):
    """The segments, the entry point and the symbols of an ELF executable."""

    segments: tuple[ProgramSegment, ...]
    entry: int
    symbols: dict[str, Symbol]


def read_defined_names(data: bytes) -> frozenset[str]:
    """The symbols that an ELF object defines for other objects."""
    return frozenset(name for name, is_defined in _read_shared_names(data) if is_defined)


def read_undefined_names(data: bytes) -> frozenset[str]:
    """The symbols that an ELF object needs of other objects."""
    return frozenset(name for name, is_defined in _read_shared_names(data) if not is_defined)


def _read_shared_names(data: bytes) -> list[tuple[str, bool]]:
    return [(symbol.name, symbol.is_defined) for symbol in ElfFile(data).symbols if symbol.is_shared]


def read_elf(image: bytes) -> ElfProgram:
    """Read a statically linked, position-dependent ELF executable.

    Where several symbols have one name, one that other object files could name is taken.
    """
    elf = ElfFile(image)
    protected = [
        range(part.address, part.address + part.memory_size) for part in elf.segments if part.type == RELRO_SEGMENT
    ]
    segments = tuple(
        ProgramSegment(
            address=segment.address,
            data=image[segment.offset : segment.offset + segment.file_size].ljust(segment.memory_size, b"\0"),
            is_writable=bool(segment.flags & 2),
            is_executable=bool(segment.flags & 1),
            is_relro=any(
                segment.address in part and segment.address + segment.memory_size <= part.stop for part in protected
            ),
        )
        for segment in elf.segments
        if segment.type == LOADED_SEGMENT
    )
    symbols: dict[str, Symbol] = {}
    for name, address, size, is_static in elf.addressed_symbols:
        if not is_static or name not in symbols:
            symbols[name] = Symbol(address, size, is_static)
    return ElfProgram(segments, elf.entry, symbols)
