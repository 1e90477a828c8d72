"""The image of a candidate for the engine: its segments, the jumps to it, and the hooks that its calls need."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import unicorn

from pytest_llmcompiler.emulator.calls import CalledFunction, describe_callee
from pytest_llmcompiler.emulator.engine_image import NO_GUARD, NO_REGISTER, ImageWriter, encode_replacement
from pytest_llmcompiler.emulator.own_conventions import OwnConventions
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.targets.code import AssembledCode, CodeSegment
from pytest_llmcompiler.targets.processor import AlignedOperand
from pytest_llmcompiler.values.layout import PAGE, RETURN, STUB_SIZE

_NOP = re.compile(rb"\x90|\x0f\x1f|\x1f\x20\x03\xd5")
"""What NOPs have in them, on any target. Other instructions may have it too."""


def write_candidate(program: ProgramImage, code: AssembledCode, function: str) -> bytes | None:
    """The image of a candidate for `function` of a program; None for a candidate that needs more of the C library than
    the program has, and for one without code."""
    is_linked = program.target.foreign_system or code.external_symbols <= program.addresses.keys()
    if not is_linked or not any(segment.is_executable for segment in code.segments):
        return None
    writer = ImageWriter()
    _write_segments(writer, code)
    _write_jumps(writer, program, code, function)
    _write_starts(writer, program, code)
    _write_booleans(writer, program, code)
    _write_labels(writer, code)
    hooks = [*_data_hooks(code), *_hazard_hooks(program, code), *_call_hooks(program, code, function)]
    writer.u32(len(hooks))
    for hook in hooks:
        callee = hook.callee
        writer.hook(
            hook.kind,
            hook.first,
            hook.last,
            number=_number_callee(callee) if callee else 0,
            registers=_numbers(program, hook.registers),
            results=_numbers(program, callee.results) if callee else (),
            guard=_guard(program, hook),
        )
    return writer.getvalue()


@dataclass(frozen=True)
class _Hook:
    """What is done before an instruction, or before each from a first to a last address."""

    kind: str
    first: int
    last: int | None = None
    registers: tuple[str, ...] = ()
    callee: CalledFunction | None = None
    operand: AlignedOperand | None = None


def _numbers(program: ProgramImage, names: Iterable[str]) -> list[int]:
    return [program.target.processor.register_number(name) for name in names]


def _number_callee(callee: CalledFunction) -> int:
    """The facts of a callee as bits, as `engine/calls.c` has them."""
    return callee.is_narrow | callee.has_garbage << 1 | callee.clobbers << 2 | callee.is_variadic << 3


def _guard(program: ProgramImage, hook: _Hook) -> tuple[int, int, int, int, int, int, int]:
    """The operand of a hook, as images have it."""
    operand = hook.operand
    if operand is None:
        return NO_GUARD
    base, index, segment = (
        program.target.processor.register_number(name) if name else NO_REGISTER
        for name in (operand.base, operand.index, operand.segment)
    )
    return base, index, segment, operand.scale, operand.bits, operand.alignment, operand.offset


def _write_segments(writer: ImageWriter, code: AssembledCode) -> None:
    writer.u32(len(code.segments))
    for segment in code.segments:
        permissions = unicorn.UC_PROT_READ | (unicorn.UC_PROT_EXEC if segment.is_executable else 0)
        permissions |= unicorn.UC_PROT_WRITE if segment.is_writable else 0
        writer.u64(segment.address, max(PAGE, -(-len(segment.data) // PAGE) * PAGE))
        writer.u32(permissions)
        writer.span(segment.data)


def _write_jumps(writer: ImageWriter, program: ProgramImage, code: AssembledCode, function: str) -> None:
    names = sorted({function, *code.replaced_functions})
    writer.u32(len(names))
    for name in names:
        original = program.symbols[name]
        writer.u64(original.address)
        writer.span(encode_replacement(program, original, code.symbols[name]))


def _write_starts(writer: ImageWriter, program: ProgramImage, code: AssembledCode) -> None:
    """A bit for each byte of the code: whether an instruction or padding begins there."""
    executable = [segment for segment in code.segments if segment.is_executable]
    start = min(segment.address for segment in executable)
    end = max(segment.address + len(segment.data) for segment in executable)
    bits = bytearray((end - start) // 8 + 1)
    # An instruction in a section of data is none that runs.
    addresses = [address for address in code.addresses if start <= address < end]
    for address in itertools.chain(addresses, *(_padding(program, code, s, addresses) for s in executable)):
        bits[address - start >> 3] |= 1 << (address - start & 7)
    writer.u64(start, end)
    writer.span(bytes(bits))


def _write_labels(writer: ImageWriter, code: AssembledCode) -> None:
    """The labels at which the candidate's own constants end (`CandidateImage.end_of_object`)."""
    constants = [
        range(segment.address, segment.address + len(segment.data))
        for segment in code.segments
        if not segment.is_executable and not segment.is_writable
    ]
    labels = {
        at for name, at in code.symbols.items() if not name.startswith(".L") and any(at in part for part in constants)
    }
    writer.u32(len(labels))
    writer.u64(*sorted(labels))


def _padding(
    program: ProgramImage, code: AssembledCode, segment: CodeSegment, addresses: Sequence[int]
) -> Iterator[int]:
    """The addresses of padding between instructions, which code falls into before an aligned label."""
    processor = program.target.processor
    end = segment.address + len(segment.data)
    padded = {bisect_right(addresses, segment.address + match.start()) - 1 for match in _NOP.finditer(segment.data)}
    for index in padded - {-1}:
        address, following = addresses[index], addresses[index + 1] if index + 1 < len(addresses) else end
        following = min(following, end)
        # Where the next instruction is a byte away, nothing lies between. To decode one takes long.
        if address + 1 < following < end and not code.mnemonics[address].startswith("."):
            size = processor.decode(code.read_code(address), address).size
            yield from range(address + size, following)  # none where the instruction itself has such bytes in it


def _write_booleans(writer: ImageWriter, program: ProgramImage, code: AssembledCode) -> None:
    writer.u32(len(code.booleans))
    for boolean in code.booleans:
        writer.u64(boolean.address, program.symbols[boolean.name].address)
        for value in boolean.values:
            writer.span(value)


def _data_hooks(code: AssembledCode) -> Iterator[_Hook]:
    """Data among the code must not be executed. Data directives without an instruction between them share a hook."""
    if not code.has_data:
        return
    for is_data, group in itertools.groupby(code.addresses, lambda at: code.mnemonics[at].startswith(".")):
        addresses = list(group)
        if is_data:
            yield _Hook("leave", addresses[0], addresses[-1])


def _hazard_hooks(program: ProgramImage, code: AssembledCode) -> Iterator[_Hook]:
    processor = program.target.processor
    for address, _ in processor.find_hazards(code):
        yield _Hook("leave", address)
    for address, operand in processor.find_guards(code):
        yield _Hook("guard", address, operand=operand)


def _call_hooks(program: ProgramImage, code: AssembledCode, function: str) -> Iterator[_Hook]:
    """The hooks on functions of the program (see `CallMonitor.watch_calls`)."""
    convention, addresses = program.target.convention, program.addresses
    exempt = program.local | code.used_functions | convention.exempt_functions | {function}
    watched = (code.external_symbols | program.functions) - exempt
    for name in sorted(watched & addresses.keys()):
        yield _Hook("call", addresses[name], callee=describe_callee(program, name))
    conventions = OwnConventions(code, program.target.processor, addresses)
    for name in sorted((code.used_functions & program.functions) - program.local - {function}):
        preserved = conventions.find_preserved_registers(name, convention)
        kind = "call" if preserved is None else "own call"
        yield _Hook(kind, addresses[name], registers=preserved or (), callee=describe_callee(program, name))
    for name in sorted(code.replaced_functions - {function}):
        yield _Hook("callback", addresses[name], registers=convention.callee_saved)
    yield _Hook("detour", RETURN + STUB_SIZE // 2)
