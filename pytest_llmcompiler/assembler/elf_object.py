"""ELF object files as sections, symbols and relocations for the linker.

Source: System V Application Binary Interface, chapter 4 (sections, symbol table, relocation).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from pytest_llmcompiler.assembler.gas import LARGEST_ALIGNMENT
from pytest_llmcompiler.assembler.linker import (
    IMAGE_BYTES,
    Fixup,
    LinkedImage,
    LinkSection,
    SectionAddress,
    align,
    describe_missing_function,
    link,
)
from pytest_llmcompiler.assembler.thread_storage import ThreadStorage
from pytest_llmcompiler.errors import LinkError, UnsupportedError
from pytest_llmcompiler.targets.relocation import Relocations

_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR, _SHF_TLS = 0x1, 0x2, 0x4, 0x400
"""Flags of a section: writable, loaded into memory, executable, thread-local."""


Needed = Callable[[str, int, Mapping[str, bytes]], bool]
"""Returns whether a field is needed: from the name of its section, its offset there, and the contents, by name, of the
sections that are not loaded."""


def load_object(
    elf: bytes,
    function: str,
    base: int,
    program_symbols: Mapping[str, int],
    relocations: Relocations,
    *,
    unneeded: Container[str] = frozenset(),
    threads: ThreadStorage | None = None,
    is_needed: Needed = lambda section, offset, unloaded: True,
) -> LinkedImage:
    """Link an ELF relocatable object, of the machine of `relocations`, that defines `function`.

    Names that the object defines mean its own definitions, all others those of `program_symbols`. Names in `unneeded`
    may be missing, and fields that are not needed may have any relocation. Raises LinkError for a missing function or
    symbol and for a value that does not fit its field, UnsupportedError for a relocation, a section or an alignment
    that is not supported, and ValueError for bytes that are no such object.
    """
    try:
        loader = _ObjectLoader(ELFFile(io.BytesIO(elf)), relocations, is_needed)
        return loader.link(function, base, program_symbols, unneeded, threads)
    except ELFError as error:
        raise ValueError(f"not a readable ELF object: {error}") from error


class _ObjectLoader:
    """Reads one object file."""

    def __init__(self, elf: Any, relocations: Relocations, is_needed: Needed) -> None:
        if elf["e_type"] != "ET_REL" or elf["e_machine"] != relocations.machine:
            expected = f"a relocatable {relocations.machine} object"
            raise ValueError(f"not {expected}: {elf['e_type']}, {elf['e_machine']}")
        self._elf = elf
        self._relocations, self._is_needed = relocations, is_needed
        self._sections: list[LinkSection] = []
        """The sections that take memory."""
        self._section_numbers: dict[int, int] = {}
        """Index of an ELF section -> index in `_sections`."""
        self._unloaded: dict[str, bytes] = {}
        """Contents of the other sections, by name."""
        table = next((s for s in elf.iter_sections() if isinstance(s, SymbolTableSection)), None)
        self._symbols: Sequence[Any] = [] if table is None else list(table.iter_symbols())

    def link(
        self,
        function: str,
        base: int,
        program_symbols: Mapping[str, int],
        unneeded: Container[str],
        threads: ThreadStorage | None,
    ) -> LinkedImage:
        for index, section in enumerate(self._elf.iter_sections()):
            self._read_section(index, section)
        defined, weak = self._read_symbols()
        if function not in defined:
            raise LinkError(describe_missing_function(function, list(defined)))
        fixups = [
            self._read_relocation(entry, self._section_numbers[section["sh_info"]])
            for section in self._elf.iter_sections()
            if isinstance(section, RelocationSection) and section["sh_info"] in self._section_numbers
            for entry in section.iter_relocations()
            if entry["r_info_type"] != self._relocations.none_type
            if self._is_supported(entry, threads) or self._is_field_needed(entry, section)
        ]
        image = link(self._sections, defined, fixups, base, program_symbols, weak, unneeded, threads)
        return replace(image, unloaded=self._unloaded)

    def _read_section(self, index: int, section: Any) -> None:
        flags, kind, name = section["sh_flags"], section["sh_type"], section.name
        if not flags & _SHF_ALLOC or kind == "SHT_X86_64_UNWIND" or name == ".eh_frame":
            if kind == "SHT_PROGBITS":
                self._unloaded[name] = section.data()
            return
        if section["sh_addralign"] > LARGEST_ALIGNMENT:
            raise UnsupportedError(f"section {name} is aligned to {section['sh_addralign']} bytes")
        if section["sh_size"] > IMAGE_BYTES:
            raise LinkError(f"section {name} has {section['sh_size']} bytes, {IMAGE_BYTES} at most")
        data = bytearray(section["sh_size"]) if kind == "SHT_NOBITS" else bytearray(section.data())
        self._section_numbers[index] = len(self._sections)
        is_writable, is_executable, is_local = (bool(flags & f) for f in (_SHF_WRITE, _SHF_EXECINSTR, _SHF_TLS))
        self._sections.append(LinkSection(name, data, is_writable, is_executable, is_local))

    def _read_symbols(self) -> tuple[dict[str, SectionAddress], frozenset[str]]:
        """The object's own symbols, and the names of its undefined weak ones. COMMON symbols get a section of zeros."""
        defined: dict[str, SectionAddress] = {}
        weak = set()
        common = bytearray()
        for symbol in self._symbols:
            name, index = symbol.name, symbol["st_shndx"]
            if not name or symbol["st_info"]["type"] in ("STT_SECTION", "STT_FILE"):
                continue
            if index == "SHN_ABS":
                defined[name] = SectionAddress(None, symbol["st_value"])
            elif index == "SHN_COMMON":
                # The value of a common symbol is its alignment.
                start = align(len(common), max(1, symbol["st_value"]))
                if start + symbol["st_size"] > IMAGE_BYTES:
                    raise LinkError(f"common symbol '{name}' has {symbol['st_size']} bytes, {IMAGE_BYTES} at most")
                common.extend(bytes(start + symbol["st_size"] - len(common)))
                defined[name] = SectionAddress(len(self._sections), start)
            elif index == "SHN_UNDEF":
                if symbol["st_info"]["bind"] == "STB_WEAK":
                    weak.add(name)
            elif index in self._section_numbers:
                defined[name] = SectionAddress(self._section_numbers[index], symbol["st_value"])
        if common:
            self._sections.append(LinkSection("COMMON", common, is_writable=True, is_executable=False))
        return defined, frozenset(weak)

    def _is_supported(self, entry: Any, threads: ThreadStorage | None) -> bool:
        relocation = self._relocations.supported.get(entry["r_info_type"])
        return relocation is not None and (threads is not None or relocation.thread_use is None)

    def _is_field_needed(self, entry: Any, relocations: Any) -> bool:
        section = self._elf.get_section(relocations["sh_info"])
        return self._is_needed(section.name, entry["r_offset"], self._unloaded)

    def _read_relocation(self, entry: Any, section: int) -> Fixup:
        """A relocation of a field in a section that takes memory."""
        symbol, number = self._symbols[entry["r_info_sym"]], entry["r_info_type"]
        target: str | SectionAddress = symbol.name
        if entry["r_info_sym"] == 0:
            target = SectionAddress(None, 0)
        elif symbol["st_info"]["type"] == "STT_SECTION":
            if symbol["st_shndx"] not in self._section_numbers:
                raise LinkError("a relocation refers to a section that is not loaded")
            target = SectionAddress(self._section_numbers[symbol["st_shndx"]], symbol["st_value"])
        relocation = self._relocations.supported.get(number)
        if relocation is None:
            name = self._relocations.unsupported_names.get(number, f"type {number}")
            raise UnsupportedError(f"relocation {name} against '{symbol.name}' is not supported")
        prefix = self._relocations.import_prefix
        if prefix and symbol["st_shndx"] == "SHN_UNDEF" and symbol.name.startswith(prefix):
            # `__imp_f` is the slot of `f` in a table of addresses.
            target, relocation = symbol.name.removeprefix(prefix), relocation._replace(uses_got=True)
        return Fixup(section, entry["r_offset"], relocation, target, entry["r_addend"])
