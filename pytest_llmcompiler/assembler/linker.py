"""Placing machine code in memory: sections at addresses, symbols resolved, relocations applied.

A relocation sets a field of a section to a sum of S (the symbol's address, or that of its slot in the global offset
table), A (the addend) and P (the field's own address). Which there are is a target's to say.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from pytest_llmcompiler.assembler.gas import ALIGNMENT
from pytest_llmcompiler.errors import LinkError, UnsupportedError
from pytest_llmcompiler.targets.code import CodeSegment
from pytest_llmcompiler.targets.relocation import BitField, Relocation, Relocations

PAGE = 4096
IMAGE_BYTES = 64 << 20
"""A larger image is refused."""


@dataclass
class LinkSection:
    """A section that is to be placed."""

    name: str
    data: bytearray
    is_writable: bool
    is_executable: bool


class SectionAddress(NamedTuple):
    """An address that isn't known yet: `offset` bytes into part number `part`; `part` None: the number itself."""

    part: int | None
    offset: int


class Fixup(NamedTuple):
    """A field that holds an address."""

    part: int
    offset: int
    kind: Relocation
    target: str | SectionAddress
    """A symbol's name, or where it points."""
    addend: int


@dataclass(frozen=True)
class LinkedImage:
    """Code and data, ready for memory."""

    segments: tuple[CodeSegment, ...]
    symbols: dict[str, int]
    """Absolute addresses of what the object defines."""
    external_symbols: frozenset[str]
    """Names that the object leaves to others, and refers to."""
    sections: tuple[tuple[str, int], ...]
    """Name and address of each part, the empty ones too, in the order given."""
    unloaded: dict[str, bytes]
    """Contents of the sections that take no memory when the program runs, by name."""


def align(address: int, to: int = PAGE) -> int:
    """The next multiple of a power of two."""
    return (address + to - 1) & -to


def link(
    parts: Sequence[LinkSection],
    defined: Mapping[str, SectionAddress],
    fixups: Sequence[Fixup],
    base: int,
    symbols: Mapping[str, int],
    weak: frozenset[str] = frozenset(),
) -> LinkedImage:
    """Lay the parts out from `base`, each on its own pages, and fill in the fields.

    A name that is in `defined` means that place, every other one its address in `symbols`; a weak one may be missing
    and is 0 then. Raises LinkError.
    """
    addresses, end = [], base
    for part in parts:
        addresses.append(end)
        end = align(end + len(part.data))
    if end - base > IMAGE_BYTES:
        raise LinkError(f"the code and its data take {end - base} bytes, {IMAGE_BYTES} at most")

    def resolve(place: SectionAddress) -> int:
        return place.offset if place.part is None else addresses[place.part] + place.offset

    own = {name: resolve(place) for name, place in defined.items()}
    names = {fixup.target for fixup in fixups if isinstance(fixup.target, str)} - own.keys()
    missing = tuple(sorted(name for name in names if name not in symbols and name not in weak))
    if missing:
        raise LinkError(f"undefined symbol{'s' if len(missing) > 1 else ''}: {', '.join(missing)}", missing)
    known = {name: own[name] if name in own else symbols.get(name, 0) for name in names | own.keys()}
    slots: dict[int, int] = {}
    for part_number, offset, kind, target, addend in fixups:
        value = known[target] if isinstance(target, str) else resolve(target)
        if kind.uses_got:
            value = slots.setdefault(value, end + 8 * len(slots))
        where = addresses[part_number] + offset
        value += addend
        if kind.is_page_relative:
            value -= value % PAGE
            where -= where % PAGE
        value -= where if kind.is_pc_relative else 0
        _store(parts[part_number].data, offset, kind, value, target)
    segments = [
        CodeSegment(part.name, address, bytes(part.data), part.is_writable, part.is_executable)
        for part, address in zip(parts, addresses, strict=True)
        if part.data
    ]
    if slots:
        table = b"".join(value.to_bytes(8, "little") for value in slots)
        segments.append(CodeSegment(".got", end, table, False, False))
    sections = tuple((part.name, address) for part, address in zip(parts, addresses, strict=True))
    return LinkedImage(tuple(segments), own, frozenset(names), sections, {})


def _store(data: bytearray, offset: int, kind: Relocation, value: int, target: str | SectionAddress) -> None:
    if offset < 0 or offset + kind.width > len(data):
        raise LinkError(f"{kind.name} lies outside of its section, at offset {offset:#x}")
    bits = kind.value_bits or (0 if kind.bit_fields else 8 * kind.width)
    low = 0 if kind.is_signed is False else -(1 << bits >> 1)
    high = 1 << bits >> 1 if kind.is_signed else 1 << bits
    if 0 < bits < 64 and not low <= value < high:
        raise LinkError(f"{kind.name} against {_named(target)} is out of range: {value:#x} does not fit {bits} bits")
    if value % kind.alignment:
        raise LinkError(f"{kind.name} against {_named(target)}: {value:#x} is no multiple of {kind.alignment}")
    word = int.from_bytes(data[offset : offset + kind.width], "little")
    for first, width, place in kind.bit_fields or (BitField(0, 8 * kind.width, 0),):
        word &= ~((1 << width) - 1 << place)
        word |= (value >> first & (1 << width) - 1) << place
    data[offset : offset + kind.width] = word.to_bytes(kind.width, "little")


def _named(target: str | SectionAddress) -> str:
    return f"'{target}'" if isinstance(target, str) else "a local label"


def load_object(
    elf: bytes, function: str, base: int, symbols: Mapping[str, int], relocations: Relocations
) -> LinkedImage:
    """Load an ELF relocatable object, of the machine of `relocations`, that defines `function`.

    Names that the object defines mean its own definitions, all others come from `symbols`. Raises LinkError for a
    missing function or symbol and a value that doesn't fit its field, UnsupportedError for a relocation that isn't
    among the supported ones, ValueError for bytes that aren't such an object.
    """
    try:
        return _load(ELFFile(io.BytesIO(elf)), function, base, symbols, relocations)
    except ELFError as error:
        raise ValueError(f"not a readable ELF object: {error}") from error


def _load(elf: Any, function: str, base: int, symbols: Mapping[str, int], relocations: Relocations) -> LinkedImage:
    if elf["e_type"] != "ET_REL" or elf["e_machine"] != relocations.machine:
        expected = f"a relocatable {relocations.machine} object"
        raise ValueError(f"not {expected}: {elf['e_type']}, {elf['e_machine']}")
    parts, numbers, unloaded = _parts(elf)
    table = next((s for s in elf.iter_sections() if isinstance(s, SymbolTableSection)), None)
    entries = [] if table is None else list(table.iter_symbols())
    defined, weak = _symbols(entries, parts, numbers)
    if function not in defined:
        raise LinkError(missing_function(function, list(defined)))
    fixups = [
        _fixup(entry, numbers[section["sh_info"]], entries, numbers, relocations)
        for section in elf.iter_sections()
        if isinstance(section, RelocationSection) and section["sh_info"] in numbers
        for entry in section.iter_relocations()
        if entry["r_info_type"] != relocations.none_type
    ]
    image = link(parts, defined, fixups, base, symbols, weak)
    return replace(image, unloaded=unloaded)


def missing_function(function: str, labels: Sequence[str]) -> str:
    """The message for a text or object without the wanted function."""
    shown = [label for label in labels if not label.startswith(".L")][:8]
    found = f"it defines {', '.join(shown)}" if shown else "it defines no symbol"
    return f"symbol '{function}' is not defined: {found}"


def _parts(elf: Any) -> tuple[list[LinkSection], dict[int, int], dict[str, bytes]]:
    """The sections that take memory, section index -> part number, and the content of the others."""
    parts: list[LinkSection] = []
    numbers: dict[int, int] = {}
    unloaded: dict[str, bytes] = {}
    for index, section in enumerate(elf.iter_sections()):
        flags, kind = section["sh_flags"], section["sh_type"]
        if not flags & 2 or kind == "SHT_X86_64_UNWIND" or section.name == ".eh_frame":
            if kind == "SHT_PROGBITS":
                unloaded[section.name] = section.data()
            continue
        if flags & 0x400:
            raise UnsupportedError(f"thread-local storage is not supported (section {section.name})")
        if section["sh_addralign"] > ALIGNMENT:
            raise UnsupportedError(f"section {section.name} is aligned to {section['sh_addralign']} bytes")
        if section["sh_size"] > IMAGE_BYTES:
            raise LinkError(f"section {section.name} has {section['sh_size']} bytes, {IMAGE_BYTES} at most")
        data = bytearray(section["sh_size"]) if kind == "SHT_NOBITS" else bytearray(section.data())
        numbers[index] = len(parts)
        parts.append(LinkSection(section.name, data, bool(flags & 1), bool(flags & 4)))
    return parts, numbers, unloaded


def _symbols(
    entries: Sequence[Any], parts: list[LinkSection], numbers: Mapping[int, int]
) -> tuple[dict[str, SectionAddress], frozenset[str]]:
    """Where the object's named symbols are, and the names of its undefined weak ones. COMMON gets a part."""
    defined: dict[str, SectionAddress] = {}
    weak = set()
    common = bytearray()
    for entry in entries:
        name, index = entry.name, entry["st_shndx"]
        if not name or entry["st_info"]["type"] in ("STT_SECTION", "STT_FILE"):
            continue
        if index == "SHN_ABS":
            defined[name] = SectionAddress(None, entry["st_value"])
        elif index == "SHN_COMMON":
            start = align(len(common), max(1, entry["st_value"]))
            if start + entry["st_size"] > IMAGE_BYTES:
                raise LinkError(f"common symbol '{name}' has {entry['st_size']} bytes, {IMAGE_BYTES} at most")
            common.extend(bytes(start + entry["st_size"] - len(common)))
            defined[name] = SectionAddress(len(parts), start)
        elif index == "SHN_UNDEF":
            if entry["st_info"]["bind"] == "STB_WEAK":
                weak.add(name)
        elif index in numbers:
            defined[name] = SectionAddress(numbers[index], entry["st_value"])
    if common:
        parts.append(LinkSection("COMMON", common, True, False))
    return defined, frozenset(weak)


def _fixup(
    entry: Any, part: int, entries: Sequence[Any], numbers: Mapping[int, int], relocations: Relocations
) -> Fixup:
    symbol = entries[entry["r_info_sym"]]
    number = entry["r_info_type"]
    target: str | SectionAddress = symbol.name
    if entry["r_info_sym"] == 0:
        target = SectionAddress(None, 0)
    elif symbol["st_info"]["type"] == "STT_SECTION":
        if symbol["st_shndx"] not in numbers:
            raise LinkError("a relocation refers to a section that is not loaded")
        target = SectionAddress(numbers[symbol["st_shndx"]], symbol["st_value"])
    kind = relocations.supported.get(number)
    if kind is None:
        name = relocations.unsupported_names.get(number, f"type {number}")
        raise UnsupportedError(f"relocation {name} against '{symbol.name}' is not supported")
    imported = (
        relocations.import_prefix
        and symbol["st_shndx"] == "SHN_UNDEF"
        and symbol.name.startswith(relocations.import_prefix)
    )
    if imported:
        target, kind = symbol.name.removeprefix(relocations.import_prefix), kind._replace(uses_got=True)
    return Fixup(part, entry["r_offset"], kind, target, entry["r_addend"])
