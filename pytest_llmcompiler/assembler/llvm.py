"""Assembling with LLVM: slower than keystone, for all targets, and its messages are the ones that users read."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import cast

from pytest_llmcompiler.assembler.bindings import Binding
from pytest_llmcompiler.assembler.elf_object import load_object
from pytest_llmcompiler.assembler.job import AssemblerLimits, AssemblyJob
from pytest_llmcompiler.assembler.linkage import Linkage
from pytest_llmcompiler.assembler.linker import LinkedImage
from pytest_llmcompiler.assembler.llvm_engine import assemble_in_sandbox
from pytest_llmcompiler.assembler.llvm_messages import describe_missing_symbols, translate_message
from pytest_llmcompiler.assembler.llvm_source import LLVMSource
from pytest_llmcompiler.assembler.reach import TextReach
from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.errors import AssemblyError, ChildDiedError, ChildTimeoutError, LinkError
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.target import Target

_TABLE_ENTRY_BYTES = 4


def assemble(job: AssemblyJob) -> AssembledCode:
    """Assemble a job by LLVM. Raises AssemblyError, LinkError and UnsupportedError."""
    source = LLVMSource(job.parsed, job.binding)
    elf = _assemble_source(source, job.limits, job.target.host)
    # Local labels of the program have new names in the object.
    renamed = source.renamed_locals
    supplied = {new: job.program_symbols[old] for new, old in renamed.items() if old in job.program_symbols}
    symbols = ChainMap(supplied, cast("dict[str, int]", job.program_symbols))
    try:
        image = load_object(
            elf,
            job.function,
            job.base,
            symbols,
            job.target.relocations,
            unneeded=_RenamedNames(job.unneeded_names, renamed),
            threads=job.threads,
            is_needed=lambda section, offset, unloaded: _is_reached(job, source, section, offset, unloaded),
        )
    except LinkError as error:
        if not error.missing:
            raise
        missing = tuple(sorted(renamed.get(name, name) for name in error.missing))
        raise LinkError(describe_missing_symbols(job.parsed, missing), missing) from None
    return _build_code(source, image)


class _RenamedNames(Container[str]):
    """Names of a text, asked for by the names that its object has."""

    def __init__(self, names: Container[str], renamed: Mapping[str, str]) -> None:
        self._names, self._renamed = names, renamed

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._renamed.get(name, name) in self._names


def _is_reached(job: AssemblyJob, source: LLVMSource, section: str, offset: int, tables: Mapping[str, bytes]) -> bool:
    """Whether the function can reach a field of the object; in sections without code it counts as reached."""
    table, number = tables.get(source.table_name, b""), section.removeprefix(source.section_prefix)
    behind = [
        statement
        for index, statement in enumerate(source.items)
        if str(statement.section) == number
        and int.from_bytes(table[_TABLE_ENTRY_BYTES * index : _TABLE_ENTRY_BYTES * (index + 1)], "little") <= offset
        and statement.kind != "label"
    ]
    return not behind or behind[-1].offset in job.reach.offsets


def build_object(parsed: ParsedAssembly, binding: Binding, linkage: Linkage, limits: AssemblerLimits) -> bytes:
    """The ELF object of a text for x86-64 Linux and a native linker, with the lines of the text as debug information.

    Raises AssemblyError, and LinkError for an undefined local label; the linker reports all other undefined names.
    """
    reach = TextReach(parsed, linkage.function, binding.shared_names)
    source = LLVMSource(parsed, binding, linkage, reach.unreached_names)
    missing = tuple(sorted(set(source.renamed_locals.values()) - linkage.names.keys() - reach.unreached_names))
    if missing:
        raise LinkError(describe_missing_symbols(parsed, missing), missing)
    return _assemble_source(source, limits, get_target())


def _assemble_source(source: LLVMSource, limits: AssemblerLimits, target: Target) -> bytes:
    try:
        return assemble_in_sandbox(source.build(), limits, target)
    except ChildTimeoutError as error:
        raise AssemblyError(f"LLVM's assembler: {error}", 0, 0) from None
    except ChildDiedError as death:
        if death.status:
            raise translate_message(source, death.stderr) from None
        raise AssemblyError(f"LLVM's assembler: {death}", 0, 0) from None


def _build_code(source: LLVMSource, image: LinkedImage) -> AssembledCode:
    """The code of the loaded object, with the addresses of the statements from the object's table."""
    parsed, prefix = source.parsed, source.section_prefix
    section_addresses = {
        int(name.removeprefix(prefix)): address for name, address in image.sections if name.startswith(prefix)
    }
    table = image.unloaded.get(source.table_name, b"")
    assigned = {statement.name for statement in parsed.assigned}
    symbols = {name: address for name, address in image.symbols.items() if name in assigned}
    lines, mnemonics = {}, {}
    for number, statement in enumerate(source.items):
        entry = table[_TABLE_ENTRY_BYTES * number : _TABLE_ENTRY_BYTES * (number + 1)]
        address = section_addresses[statement.section] + int.from_bytes(entry, "little")
        if statement.kind != "label":
            lines[address] = parsed.find_line(statement)
            mnemonics[address] = statement.name
        elif not statement.is_numeric_label:
            symbols[statement.name] = address
    segments = tuple(
        replace(segment, name=source.name_section(segment.name.removeprefix(prefix)))
        if segment.name.startswith(prefix)
        else segment
        for segment in image.segments
    )
    return AssembledCode(
        assembler="llvm",
        segments=segments,
        symbols=symbols,
        lines=lines,
        mnemonics=mnemonics,
        external_symbols=frozenset(
            source.binding.find_program_name(source.renamed_locals.get(name, name)) for name in image.external_symbols
        ),
        replaced_functions=frozenset(source.binding.addressed),
        fallback_reason=None,
    )
