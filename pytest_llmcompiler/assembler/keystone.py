"""Assembling with keystone, for x86-64: fast, and trusted with little.

1. `code_stream` takes the text apart: instructions without symbols, branches, paddings, data.
2. Keystone encodes the instructions whose bytes are not known yet (`instruction_forms`). A table at the end of its
   stream holds the distance of each from the start.
3. `code_layout` places all pieces and encodes branches and paddings.
4. Here placeholders and data fields become fixups for the linker, and the linker fills in the addresses.

Whatever looks odd in between raises KeystoneRefusalError, and LLVM assembles the text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

from pytest_llmcompiler.assembler.code_layout import CodeLayout, lay_out
from pytest_llmcompiler.assembler.code_stream import AddressField, CodeStream, StreamPosition
from pytest_llmcompiler.assembler.instruction_forms import InstructionLine, keep_code
from pytest_llmcompiler.assembler.job import AssemblyJob
from pytest_llmcompiler.assembler.labels import NUMERIC_LABEL_MARK, LabelTable, format_label
from pytest_llmcompiler.assembler.line_table import LineTable
from pytest_llmcompiler.assembler.linker import Fixup, LinkedImage, LinkSection, SectionAddress, link
from pytest_llmcompiler.assembler.llvm_messages import describe_missing_symbols
from pytest_llmcompiler.assembler.operands import KeystoneRefusalError
from pytest_llmcompiler.errors import LinkError
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.relocation import Relocation
from pytest_llmcompiler.targets.x86_64_linux import SIGNED_32

_TABLE_ENTRY_BYTES = 4


def assemble(job: AssemblyJob) -> AssembledCode:
    """Assemble a job by keystone. Raises KeystoneRefusalError for every text that has to be left to LLVM, and LinkError
    for symbols that are defined nowhere."""
    stream = CodeStream(job.parsed, LabelTable(job.parsed, job.binding))
    stream.build(job.function)
    layout = lay_out(stream, _encode_lines(stream, job))
    labels = {name: layout.find_address(position) for name, position in stream.label_positions.items()}
    labels.update((alias, labels[target]) for alias, target in stream.labels.aliases.items())
    image = _link(stream, layout, labels, job)
    return _build_code(stream, layout, labels, image, job)


def _encode_lines(stream: CodeStream, job: AssemblyJob) -> dict[InstructionLine, bytes]:
    """The bytes of the lines that have none, by keystone. They are kept for the next texts."""
    syntaxes = {one[4] for one in job.parsed.statements if one[0] == "instruction"}  # syntax and kind, in half the time
    if len(syntaxes) != 1:
        raise KeystoneRefusalError("code in two syntaxes" if syntaxes else "no instructions")
    lines = list(stream.unknown)
    if not lines:
        return {}
    directive = ".att_syntax prefix" if "att" in syntaxes else ".intel_syntax noprefix"
    encoded = dict(zip(lines, _encode([line.text for line in lines], directive, job), strict=True))
    keep_code(encoded, job.target.processor)
    return encoded


def _encode(lines: Sequence[str], directive: str, job: AssemblyJob) -> list[bytes]:
    """Have keystone encode some lines: the bytes of each."""
    stream = "\n".join(f"{line}\nL{number}:" for number, line in enumerate(lines))
    table = ",".join(f"L{number}-Lbase" for number in range(len(lines)))
    code = job.encode(f"{directive}\nLbase:\n{stream}\n.long {table}\n", job.base, job.limits)
    size = len(code) - _TABLE_ENTRY_BYTES * len(lines)
    if size < 0:
        raise KeystoneRefusalError("keystone: output too short")
    ends = struct.unpack_from(f"<{len(lines)}I", code, size)
    codes = [code[start:end] for start, end in zip((0, *ends), ends, strict=False)]
    if ends[-1] > size or not all(codes):
        raise KeystoneRefusalError("keystone: labels outside of the code")
    return codes


def _link(
    stream: CodeStream, layout: CodeLayout, labels: Mapping[str, SectionAddress], job: AssemblyJob
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
        image = link(
            sections, own, fixups, job.base, job.program_symbols, unneeded=job.unneeded_names, threads=job.threads
        )
    except LinkError as error:
        raise KeystoneRefusalError(str(error)) from None
    # Some instructions extend a 32-bit field by its sign and others by zeros; which of them this is, is not known here.
    for fixup in fixups:
        if fixup.relocation == SIGNED_32 and sections[fixup.section].data[fixup.offset + 3] & 0x80:
            raise KeystoneRefusalError("a negative address is left to LLVM")
    return image


def _build_sections(stream: CodeStream, layout: CodeLayout) -> list[LinkSection]:
    sections = []
    for section in layout.section_numbers:
        name, is_writable, is_executable, _, is_thread_local = stream.parsed.sections[section]
        if is_executable:
            first, end = stream.code_pieces[section]
            data = bytearray(b"".join(layout.parts[first:end]))
        else:
            data = stream.data[section]
        sections.append(LinkSection(name, data, is_writable, is_executable, is_thread_local))
    return sections


def _find_placeholders(stream: CodeStream, layout: CodeLayout) -> Iterator[AddressField]:
    """The fields of instructions: where each placeholder is found in the encoded bytes, exactly once."""
    for statement, piece, number, relocation, symbol, addend in stream.placed_numbers:
        data = layout.parts[piece]
        needle = number.to_bytes(relocation.field_bytes, "little")
        offset = data.find(needle)
        if offset < 0 or data.count(needle) != 1:
            raise KeystoneRefusalError(f"keystone: no place for the address in {statement.text!r}")
        if relocation.is_pc_relative:
            # The processor counts from the end of the instruction.
            addend -= len(data) - offset
        position = StreamPosition(statement.section, piece, offset)
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
    stream: CodeStream,
    layout: CodeLayout,
    labels: Mapping[str, SectionAddress],
    image: LinkedImage,
    job: AssemblyJob,
) -> AssembledCode:
    section_addresses = [address for _, address in image.sections]

    def resolve(address: SectionAddress) -> int:
        return section_addresses[address.section or 0] + address.offset

    # Section of the text -> what is added to a place in the code to get its address.
    bases = {
        section: section_addresses[layout.section_numbers[section]] - start
        for section, start in layout.section_starts.items()
    }
    owned = [(bases[owner.section] + start, owner) for start, owner in zip(layout.starts, stream.owners) if owner]
    return AssembledCode(
        assembler="keystone",
        segments=image.segments,
        symbols={name: resolve(label) for name, label in labels.items() if NUMERIC_LABEL_MARK not in name},
        lines=LineTable(stream.parsed.lines, owned),
        mnemonics={address: statement.name for address, statement in owned},
        external_symbols=frozenset(map(job.binding.find_program_name, image.external_symbols)),
        fallback_reason=None,
        replaced_functions=frozenset(job.binding.addressed),
    )
