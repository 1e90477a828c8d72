"""The linker of candidates: sections get addresses, and every field that holds an address is filled in.

An assembler does not know where code will lie. It leaves zeros where an address belongs, and a *relocation* for each
such field. The linker puts the sections into memory and fills the fields. An example: this text is to be loaded at
0x10000000 into a program in which `strlen` is at 0x1000100 and `counter` at 0x1003000.

    f:      call strlen@PLT                     e8 .. .. .. ..              S + A - P, A = -4
            movq counter@GOTPCREL(%rip), %rax   48 8b 05 .. .. .. ..        G + A - P, A = -4
            ret
            .data
    table:  .quad f + 2                         .. .. .. .. .. .. .. ..     S + A,     A = 2

1. Layout. Each section starts on a page of its own, since pages have permissions: `.text` at 0x10000000, `.data` at
   0x10001000, and behind all sections the global offset table at 0x10002000.
2. Symbols. A name that counts as defined by the text means the text's definition, every other name the program's. What
   counts is the caller's decision (see `bindings`), which passes the defined names.
3. Fields. A field is a sum of S, the address of the symbol; A, the addend, a number; and P, the address of the field
   itself, which is subtracted where the processor counts from the instruction. G is the address of a *slot*: 8 bytes
   of the global offset table that hold S, for code that loads an address from memory. The fields of the example become

        0x1000100 - 4 - 0x10000001 = -0xeffff05     the call (the processor adds the address behind the field, P + 4)
        0x10002000 - 4 - 0x10000008 = 0x1ff4        the load, from the slot that holds 0x1003000
        0x10000000 + 2 = 0x10000002                 the table

   A sum that does not fit its field is a LinkError. Fields of 32 bits reach 2 GiB, which is why candidates are loaded
   near the program.

Which relocations there are is the target's to say (`targets.relocation`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmcompiler.assembler.slot_table import SlotTable
from pytest_llmcompiler.assembler.thread_storage import MODULE_BASE, ThreadStorage
from pytest_llmcompiler.errors import LinkError, UnsupportedError
from pytest_llmcompiler.targets.code import CodeSegment
from pytest_llmcompiler.targets.relocation import BitField, Relocation

PAGE = 4096
"""Bytes of a page: the unit of permissions on all targets."""
IMAGE_BYTES = 64 << 20
"""The largest image, in bytes. Sizes in object files come from hostile text; memory is allocated only below this."""


@dataclass
class LinkSection:
    """A section to be loaded."""

    name: str
    data: bytearray
    is_writable: bool
    is_executable: bool
    is_thread_local: bool = False


class SectionAddress(NamedTuple):
    """An address before the layout is known."""

    section: int | None
    """Index of the section; None where `offset` is an absolute address."""
    offset: int
    """In bytes from the start of the section."""


class Fixup(NamedTuple):
    """A field that is to hold an address."""

    section: int
    """Index of the section that contains the field."""
    offset: int
    """Of the field, in bytes from the start of the section."""
    relocation: Relocation
    target: str | SectionAddress
    """S: a symbol's name, or an address."""
    addend: int
    """A, in bytes."""


@dataclass(frozen=True)
class LinkedImage:
    """Code and data, ready for memory."""

    segments: tuple[CodeSegment, ...]
    symbols: dict[str, int]
    """Name -> absolute address, of the symbols that the object defines."""
    external_symbols: frozenset[str]
    """Names of the program that the object refers to."""
    sections: tuple[tuple[str, int], ...]
    """Name and address of each section, the empty ones too, in the order given."""
    unloaded: dict[str, bytes]
    """Name -> contents, of the sections that take no memory when the program runs."""


def align(address: int, alignment: int = PAGE) -> int:
    """The address, or the next higher one that is a multiple of `alignment`, a power of two."""
    return (address + alignment - 1) & -alignment


def link(
    sections: Sequence[LinkSection],
    defined: Mapping[str, SectionAddress],
    fixups: Sequence[Fixup],
    base: int,
    program_symbols: Mapping[str, int],
    weak: Container[str] = frozenset(),
    unneeded: Container[str] = frozenset(),
    threads: ThreadStorage | None = None,
) -> LinkedImage:
    """Lay the sections out from `base`, each on its own pages, and fill in the fields.

    A name in `defined` means that address, every other name its address in `program_symbols`. A name in `weak` may be
    missing in both: its address is 0 then. So may one that is `unneeded`: an access to its address, just below `base`,
    would fault. Raises LinkError for any other missing name, for a value that does not fit its field, for a variable
    that is thread-local where code takes it for another one, or the other way round, and for an image above
    `IMAGE_BYTES`; UnsupportedError for thread-local variables without `threads`, or that are out of reach there.
    """
    addresses, end = _lay_out(sections, base, threads)

    def resolve(address: SectionAddress) -> int:
        return address.offset + (0 if address.section is None else addresses[address.section])

    own = {name: resolve(address) for name, address in defined.items()}
    names = {fixup.target for fixup in fixups if isinstance(fixup.target, str)}
    external = names - own.keys() - {MODULE_BASE}
    absent = sorted(name for name in external if name not in program_symbols and name not in weak)
    missing = tuple(name for name in absent if name not in unneeded)
    if missing:
        raise LinkError(f"undefined symbol{'s' if len(missing) > 1 else ''}: {', '.join(missing)}", missing)
    known = {name: program_symbols.get(name, 0) for name in external}
    known |= dict.fromkeys(absent, base - PAGE) | own
    slots = SlotTable(end, len(fixups), PAGE, threads)
    is_thread_local = _find_thread_locals(sections, defined, threads)
    if MODULE_BASE in names - own.keys():
        known[MODULE_BASE] = slots.module_base
    for fixup in fixups:
        relocation = fixup.relocation
        value = known[fixup.target] if isinstance(fixup.target, str) else resolve(fixup.target)
        if relocation.thread_use or relocation.uses_got:
            value = slots.find_value(value, relocation)
        if relocation.thread_use or is_thread_local:
            _require_storage(fixup, is_thread_local, absent)
        field_address = addresses[fixup.section] + fixup.offset
        _store(sections[fixup.section].data, fixup, _compute_value(fixup, value, field_address))
    return LinkedImage(
        segments=_build_segments(sections, addresses, slots, threads),
        symbols=own,
        external_symbols=frozenset(external.difference(absent)),
        sections=tuple((section.name, address) for section, address in zip(sections, addresses, strict=True)),
        unloaded={},
    )


def _lay_out(sections: Sequence[LinkSection], base: int, threads: ThreadStorage | None) -> tuple[list[int], int]:
    """The address of each section, and the first page behind all but those of thread-local variables."""
    addresses, end, thread_end = [], base, threads.area if threads else 0
    for section in sections:
        if section.is_thread_local and threads:
            addresses.append(thread_end)
            thread_end = align(thread_end + len(section.data))
        else:
            addresses.append(end)
            end = align(end + len(section.data))
    if end - base > IMAGE_BYTES:
        raise LinkError(f"the code and its data take {end - base} bytes, {IMAGE_BYTES} at most")
    if thread_end > base:
        raise UnsupportedError("there is no room for thread-local variables behind those of the program")
    return addresses, end


def _find_thread_locals(
    sections: Sequence[LinkSection], defined: Mapping[str, SectionAddress], threads: ThreadStorage | None
) -> Callable[[str | SectionAddress], bool] | None:
    """What tells whether a name or an address is that of a thread-local variable; None where there are none."""
    numbers = {number for number, section in enumerate(sections) if section.is_thread_local}
    names = threads.names if threads else frozenset()
    if not numbers and not names:
        return None

    def is_thread_local(target: str | SectionAddress) -> bool:
        address = defined.get(target) if isinstance(target, str) else target
        return target in names if address is None else address.section in numbers

    return is_thread_local


def _require_storage(
    fixup: Fixup, is_thread_local: Callable[[str | SectionAddress], bool] | None, absent: Container[str]
) -> None:
    """Raise LinkError where a field is for thread-local variables and its variable is none, or the other way round."""
    target, use = fixup.target, fixup.relocation.thread_use
    if use == "module" or target == MODULE_BASE or (isinstance(target, str) and target in absent):
        return
    is_local = is_thread_local is not None and is_thread_local(target)
    if is_local != (use is not None):
        kind = "thread-local" if is_local else "not thread-local"
        raise LinkError(f"{fixup.relocation.name} against {_format_target(target)}, which is {kind}")


def _build_segments(
    sections: Sequence[LinkSection], addresses: Sequence[int], slots: SlotTable, threads: ThreadStorage | None
) -> tuple[CodeSegment, ...]:
    """The contents of memory: the sections that have bytes, those of thread-local variables as one block, and the
    global offset table if it has slots."""
    segments = [
        CodeSegment(section.name, address, bytes(section.data), section.is_writable, section.is_executable)
        for section, address in zip(sections, addresses, strict=True)
        if section.data and not (threads and section.is_thread_local)
    ]
    block = bytearray()
    for section, address in zip(sections, addresses, strict=True):
        if threads and section.is_thread_local:
            block.extend(bytes(address - threads.area - len(block)))
            block += section.data
    if threads and block:
        segments.append(CodeSegment(".tdata", threads.area, bytes(block), is_writable=True, is_executable=False))
    return tuple(sorted((*segments, *slots.build_segments()), key=lambda segment: segment.address))


def _compute_value(fixup: Fixup, value: int, field_address: int) -> int:
    """S + A - P, without the parts that the relocation leaves out. `value` is S, or the address of its slot."""
    value += fixup.addend
    if fixup.relocation.is_page_relative:
        value -= value % PAGE
        field_address -= field_address % PAGE
    return value - field_address if fixup.relocation.is_pc_relative else value


def _store(data: bytearray, fixup: Fixup, value: int) -> None:
    """Put a value into its field. Raises LinkError where the field can't hold it."""
    relocation, offset = fixup.relocation, fixup.offset
    if offset < 0 or offset + relocation.field_bytes > len(data):
        raise LinkError(f"{relocation.name} lies outside of its section, at offset {offset:#x}")
    bits = relocation.value_bits or (0 if relocation.bit_fields else 8 * relocation.field_bytes)
    low = 0 if relocation.is_signed is False else -(1 << bits >> 1)
    high = 1 << bits >> 1 if relocation.is_signed else 1 << bits
    against = f"{relocation.name} against {_format_target(fixup.target)}"
    if 0 < bits < 64 and not low <= value < high:
        message = f"{against} is out of range: {value:#x} does not fit {bits} bits"
        raise UnsupportedError(message) if relocation.thread_use else LinkError(message)
    if value % relocation.alignment:
        raise LinkError(f"{against}: {value:#x} is no multiple of {relocation.alignment}")
    word = int.from_bytes(data[offset : offset + relocation.field_bytes], "little")
    if relocation.subtraction_bit and value < 0:
        word |= relocation.subtraction_bit
        lowest = relocation.bit_fields[0].value_bit
        value = -(value >> lowest) << lowest
    for value_bit, width, word_bit in relocation.bit_fields or (BitField(0, 8 * relocation.field_bytes, 0),):
        word &= ~((1 << width) - 1 << word_bit)
        word |= (value >> value_bit & (1 << width) - 1) << word_bit
    data[offset : offset + relocation.field_bytes] = word.to_bytes(relocation.field_bytes, "little")


def _format_target(target: str | SectionAddress) -> str:
    return f"'{target}'" if isinstance(target, str) else "a local label"


def describe_missing_function(function: str, labels: Sequence[str]) -> str:
    """The message for a text or object that does not define the function under test. At most 8 labels are named."""
    shown = [label for label in labels if not label.startswith(".L")][:8]
    contents = f"it defines {', '.join(shown)}" if shown else "it defines no symbol"
    if f"_{function}" in labels:
        contents += f"; _{function} is Mach-O's name for {function}: here C's names have no underscore in front"
    return f"symbol '{function}' is not defined: {contents}"
