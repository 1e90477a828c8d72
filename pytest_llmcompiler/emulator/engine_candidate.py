"""The image of a candidate for the engine: its segments, the jumps to it, and the hooks that its calls need."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

import unicorn

from pytest_llmcompiler.emulator.engine_image import ImageWriter
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.layout import PAGE, RETURN, STUB_SIZE

_NOP = re.compile(rb"\x90\Z|\x0f\x1f|\x1f\x20\x03\xd5")
"""What the bytes from one instruction to the next have in them where NOPs may follow the instruction."""


def write_candidate(program: ProgramImage, code: AssembledCode, function: str) -> bytes | None:
    """The image of a candidate for `function` of a program; None for a candidate that the engine can't run."""
    if code.booleans or code.shared_functions:
        return None
    writer = ImageWriter()
    _write_segments(writer, code)
    _write_jumps(writer, program, code, function)
    _write_starts(writer, program, code)
    hooks = [*_hazard_hooks(program, code), *_call_hooks(program, code, function)]
    writer.u32(len(hooks))
    for kind, address in hooks:
        writer.hook(kind, address)
    return writer.getvalue()


def _write_segments(writer: ImageWriter, code: AssembledCode) -> None:
    writer.u32(len(code.segments))
    for segment in code.segments:
        permissions = unicorn.UC_PROT_READ | (unicorn.UC_PROT_EXEC if segment.is_executable else 0)
        permissions |= unicorn.UC_PROT_WRITE if segment.is_writable else 0
        writer.u64(segment.address, max(PAGE, -(-len(segment.data) // PAGE) * PAGE))
        writer.u32(permissions)
        writer.span(segment.data)


def _write_jumps(writer: ImageWriter, program: ProgramImage, code: AssembledCode, function: str) -> None:
    processor, names = program.target.processor, sorted({function, *code.replaced_functions})
    writer.u32(len(names))
    for name in names:
        original = program.symbols[name]
        jump = processor.encode_jump(original.address, code.symbols[name])
        traps = (original.size - len(jump)) // len(processor.trap_code)
        writer.u64(original.address)
        writer.span(jump + processor.trap_code * traps)


def _write_starts(writer: ImageWriter, program: ProgramImage, code: AssembledCode) -> None:
    """A bit for each byte of the code: whether an instruction or padding begins there."""
    executable = [segment for segment in code.segments if segment.is_executable]
    start = min(segment.address for segment in executable)
    end = max(segment.address + len(segment.data) for segment in executable)
    bits = bytearray((end - start) // 8 + 1)
    for address in (*code.mnemonics, *_padding(program, code)):
        bits[(address - start) // 8] |= 1 << (address - start) % 8
    writer.u64(start, end)
    writer.span(bytes(bits))


def _padding(program: ProgramImage, code: AssembledCode) -> Iterator[int]:
    """The addresses of padding between instructions, which code falls into before an aligned label."""
    processor = program.target.processor
    for address, following in itertools.pairwise(sorted(code.mnemonics)):
        if following - address > 1 and not code.mnemonics[address].startswith("."):
            window = code.read_code(address)[: following - address]
            if following - address > len(window) or _NOP.search(window):
                yield from range(address + processor.decode(code.read_code(address), address).size, following)


def _hazard_hooks(program: ProgramImage, code: AssembledCode) -> Iterator[tuple[str, int]]:
    processor = program.target.processor
    for address, mnemonic in code.mnemonics.items():
        if mnemonic.startswith(".") or processor.find_hazard(mnemonic, code.read_code(address)):
            yield "leave", address
    for address, _ in processor.find_guards(code):
        yield "leave", address


def _call_hooks(program: ProgramImage, code: AssembledCode, function: str) -> Iterator[tuple[str, int]]:
    exempt = program.local | code.shared_functions | program.target.convention.exempt_functions | {function}
    watched = (code.external_symbols | program.functions) - exempt
    addresses: Mapping[str, int] = program.addresses
    for name in sorted(watched & addresses.keys()):
        yield "narrow call" if name in program.narrow else "call", addresses[name]
    for name in sorted(code.replaced_functions - {function}):
        yield "callback", addresses[name]
    yield "detour", RETURN + STUB_SIZE // 2
