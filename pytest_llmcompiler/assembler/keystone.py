"""Assembling with keystone, for x86-64: fast, and trusted with little.

1. `keystone_stream` writes the text anew, without symbols, data and sections.
2. Keystone encodes that stream. A table at its end holds the distance of each mark from the start.
3. Here the bytes are cut into sections, every branch is checked, placeholders and data fields become fixups for the
   linker, and the linker fills in the addresses.

Whatever looks odd in between raises KeystoneRefusalError, and LLVM assembles the text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_llmcompiler.assembler.job import AssemblyJob
from pytest_llmcompiler.assembler.keystone_stream import AddressField, KeystoneStream, StreamPosition
from pytest_llmcompiler.assembler.labels import NUMERIC_LABEL_MARK, LabelTable, format_label
from pytest_llmcompiler.assembler.linker import Fixup, LinkedImage, LinkSection, SectionAddress, link
from pytest_llmcompiler.assembler.llvm_messages import describe_missing_symbols
from pytest_llmcompiler.assembler.operands import KeystoneRefusalError
from pytest_llmcompiler.errors import LinkError
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.relocation import Relocation
from pytest_llmcompiler.targets.x86_64_linux import SIGNED_32

_NOPS = (
    b"\x90",
    b"\x66\x90",
    b"\x0f\x1f\x00",
    b"\x0f\x1f\x40\x00",
    b"\x0f\x1f\x44\x00\x00",
    b"\x66\x0f\x1f\x44\x00\x00",
    b"\x0f\x1f\x80\x00\x00\x00\x00",
    b"\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x66\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00",
)
"""The recommended NOP of each length from 1 byte (Intel Software Developer's Manual, volume 2, "NOP"), as LLVM uses
them."""
_TABLE_ENTRY_BYTES = 4


def assemble(job: AssemblyJob) -> AssembledCode:
    """Assemble a job by keystone. Raises KeystoneRefusalError for every text that has to be left to LLVM, and LinkError
    for symbols that are defined nowhere."""
    stream = KeystoneStream(job.parsed, LabelTable(job.parsed, job.binding))
    stream.build(job.function)
    layout = _encode(stream, job)
    _check_branches(stream, layout)
    labels = {name: layout.find_address(position) for name, position in stream.label_positions.items()}
    labels.update((alias, labels[target]) for alias, target in stream.labels.aliases.items())
    image = _link(stream, layout, labels, job)
    return _build_code(stream, layout, labels, image, job)


@dataclass(frozen=True)
class _Layout:
    """The encoded stream."""

    code: bytearray
    offsets: list[int]
    """Mark -> its offset in the code."""
    section_starts: dict[int, int]
    """Executable section -> its offset in the code."""
    section_numbers: dict[int, int]
    """Section of the text -> its index for the linker."""

    def find_address(self, position: StreamPosition) -> SectionAddress:
        section, mark, offset = position
        if mark >= 0:
            offset += self.offsets[mark] - self.section_starts[section]
        return SectionAddress(self.section_numbers[section], offset)

    def cut(self, start: int, end: int) -> bytearray:
        """The code from one mark to another."""
        return self.code[self.offsets[start] : self.offsets[end]]


def _encode(stream: KeystoneStream, job: AssemblyJob) -> _Layout:
    """Have keystone encode the stream, and read the table of marks behind the code."""
    syntaxes = {statement.syntax for statement in job.parsed.statements if statement.kind == "instruction"}
    if len(syntaxes) != 1:
        raise KeystoneRefusalError("code in two syntaxes" if syntaxes else "no instructions")
    count = stream.mark_count
    table = ("L%d-Lbase," * count)[:-1] % tuple(range(count))  # as a whole: there are thousands
    syntax_directive = ".att_syntax prefix" if "att" in syntaxes else ".intel_syntax noprefix"
    text = "\n".join((syntax_directive, "Lbase:", *stream.lines, f".long {table}\n"))
    code = bytearray(job.encode(text, job.base, job.limits))
    size = len(code) - _TABLE_ENTRY_BYTES * count
    if size < 0:
        raise KeystoneRefusalError("keystone: output too short")
    offsets = list(struct.unpack_from(f"<{count}I", code, size))
    if any(offset > size for offset in offsets):
        raise KeystoneRefusalError("keystone: labels outside of the code")
    del code[size:]
    for start, end in stream.paddings:
        code[offsets[start] : offsets[end]] = _build_padding(offsets[end] - offsets[start])
    starts = {section: offsets[start] for section, (start, _) in stream.section_marks.items()}
    return _Layout(code, offsets, starts, {section: number for number, section in enumerate(stream.section_order)})


def _build_padding(count: int) -> bytes:
    """So many bytes of NOPs, as LLVM fills them."""
    longest = len(_NOPS)
    return _NOPS[-1] * (count // longest) + (_NOPS[count % longest - 1] if count % longest else b"")


def _check_branches(stream: KeystoneStream, layout: _Layout) -> None:
    """Check that the distance in every branch leads to its label: keystone miscomputes some."""
    for item in stream.items:
        if item.branch_target is None:
            continue
        data = layout.cut(item.start, item.end)
        width = 1 if len(data) == 2 else 4
        distance = int.from_bytes(data[-width:], "little", signed=True)
        if layout.offsets[item.end] + distance != layout.offsets[stream.label_positions[item.branch_target].mark]:
            raise KeystoneRefusalError(f"keystone: a wrong distance in {item.statement.text!r}")


def _link(
    stream: KeystoneStream, layout: _Layout, labels: Mapping[str, SectionAddress], job: AssemblyJob
) -> LinkedImage:
    own = {name: label for name, label in labels.items() if name in stream.labels.aliases or stream.labels.is_own(name)}
    fields = [*stream.fields, *_find_placeholders(stream, layout)]
    fixups = [_build_fixup(field, layout.find_address(field.position), own) for field in fields]
    targets = {fixup.target for fixup in fixups if isinstance(fixup.target, str)} - own.keys()
    absent = sorted(target for target in targets if target not in job.program_symbols)
    missing = tuple(target for target in absent if target not in job.unneeded_names)
    imported = job.target.relocations.import_prefix
    if imported and any(name.startswith(imported) for name in missing):
        raise KeystoneRefusalError("slots of imported symbols are left to LLVM")
    if missing:
        raise LinkError(describe_missing_symbols(job.parsed, missing), missing)
    sections = _build_sections(stream, layout)
    try:
        image = link(sections, own, fixups, job.base, job.program_symbols, unneeded=job.unneeded_names)
    except LinkError as error:
        raise KeystoneRefusalError(str(error)) from None
    # Some instructions extend a 32-bit field by its sign and others by zeros; which of them this is, is not known here.
    for fixup in fixups:
        if fixup.relocation == SIGNED_32 and sections[fixup.section].data[fixup.offset + 3] & 0x80:
            raise KeystoneRefusalError("a negative address is left to LLVM")
    return image


def _build_sections(stream: KeystoneStream, layout: _Layout) -> list[LinkSection]:
    sections = []
    for section in layout.section_numbers:
        name, is_writable, is_executable, _ = stream.parsed.sections[section]
        data = layout.cut(*stream.section_marks[section]) if is_executable else stream.data[section]
        sections.append(LinkSection(name, data, is_writable, is_executable))
    return sections


def _find_placeholders(stream: KeystoneStream, layout: _Layout) -> Iterator[AddressField]:
    """The fields of instructions: where each placeholder is found in the encoded bytes, exactly once."""
    for item in stream.items:
        if not item.placeholders:
            continue
        data = layout.cut(item.start, item.end)
        for number, relocation, symbol, addend in item.placeholders:
            needle = number.to_bytes(relocation.field_bytes, "little")
            offset = data.find(needle)
            if offset < 0 or data.count(needle) != 1:
                raise KeystoneRefusalError(f"keystone: no place for the address in {item.statement.text!r}")
            if relocation.is_pc_relative:
                # The processor counts from the end of the instruction.
                addend -= len(data) - offset
            position = StreamPosition(item.statement.section, item.start, offset)
            yield AddressField(position, relocation, symbol, None, addend)


def _build_fixup(field: AddressField, address: SectionAddress, own: Mapping[str, SectionAddress]) -> Fixup:
    """Turn a field into a fixup.

    A difference `S - L + A` is `S + A - P` with the addend `A + P - L`, if the label L is in the section of the field
    P: then P - L is known before the layout.
    """
    relocation, addend, section = field.relocation, field.addend, address.section or 0
    if field.subtracted_symbol is not None:
        subtracted = address if field.subtracted_symbol == "." else own.get(field.subtracted_symbol)
        if subtracted is None or subtracted.section != section:
            name = format_label(field.subtracted_symbol)
            raise KeystoneRefusalError(f"a difference to {name} is left to LLVM")
        is_signed = True if relocation.field_bytes == 4 else None
        relocation = Relocation(relocation.name, relocation.field_bytes, is_pc_relative=True, is_signed=is_signed)
        addend += address.offset - subtracted.offset
    return Fixup(section, address.offset, relocation, field.symbol, addend)


def _build_code(
    stream: KeystoneStream,
    layout: _Layout,
    labels: Mapping[str, SectionAddress],
    image: LinkedImage,
    job: AssemblyJob,
) -> AssembledCode:
    section_addresses = [address for _, address in image.sections]

    def resolve(address: SectionAddress) -> int:
        return section_addresses[address.section or 0] + address.offset

    # Section of the text -> what is added to an offset in the code to get its address.
    bases = {
        section: section_addresses[layout.section_numbers[section]] - start
        for section, start in layout.section_starts.items()
    }
    statements = [item.statement for item in stream.items]
    addresses = [bases[item.statement.section] + layout.offsets[item.start] for item in stream.items]
    lines = dict(zip(addresses, stream.parsed.find_lines(statements), strict=True))
    mnemonics = {address: statement.name for address, statement in zip(addresses, statements, strict=True)}
    return AssembledCode(
        assembler="keystone",
        segments=image.segments,
        symbols={name: resolve(label) for name, label in labels.items() if NUMERIC_LABEL_MARK not in name},
        lines=lines,
        mnemonics=mnemonics,
        external_symbols=frozenset(map(job.binding.find_program_name, image.external_symbols)),
        fallback_reason=None,
        replaced_functions=frozenset(job.binding.addressed),
    )
