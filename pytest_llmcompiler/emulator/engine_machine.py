"""The machine of a candidate in the engine's child: what its left runs show, without a run in this process.

Most failing candidates differ in what a run leaves in registers and memory, or end in a fault: the engine has all of
that. What it can't tell (a call that the reference does not make, an instruction that it does not know) is left to a
`Machine` in a child of this process.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

import unicorn

from pytest_llmcompiler.emulator.addresses import CodeAddresses
from pytest_llmcompiler.emulator.calls import describe_misaligned_call
from pytest_llmcompiler.emulator.candidate import find_line, list_hazards
from pytest_llmcompiler.emulator.engine import FILL_NUMBERS
from pytest_llmcompiler.emulator.faults import ACCESSES
from pytest_llmcompiler.emulator.guest import find_streams, name_stream
from pytest_llmcompiler.emulator.heap import BAD_FREE, is_heap
from pytest_llmcompiler.emulator.machine import describe_breaches, list_shown_registers
from pytest_llmcompiler.emulator.observation import Constants, FreedBlock, GuestFault, HeapBlock, Observation
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Outcome, Processor
from pytest_llmcompiler.values.c_types import Function
from pytest_llmcompiler.values.layout import PAGE, Layout

_OUTCOMES: tuple[Outcome, ...] = ("return", "exit", "abort", "fault", "limit")
"""In the order of `ShownEnd` in `shown.c`."""
_ACCESS, _INSTRUCTION, _EXCEPTION, _EMULATOR, _BAD_FREE, _MISALIGNED, _HAZARD = range(1, 8)
"""The kinds of faults, as in `engine.h`."""
_REGISTER_WORDS = 2
"""Words of 64 bits that a register is sent as."""


class Showing(Protocol):
    """What asks the engine's child (`EngineTemplate.show`)."""

    def __call__(self, entry: int, fill: int, registers: Sequence[int]) -> bytes: ...


class EngineMachine:
    """Shows the runs of one candidate. Every method that needs what the engine can't tell raises EngineError.

    What the child says may be hostile code's: it is read as data, and checked against the input.
    """

    def __init__(self, show: Showing, program: ProgramImage, signature: Function, candidate: AssembledCode) -> None:
        self.program, self.candidate = program, candidate
        self._show, self._signature = show, signature
        processor, convention = program.target.processor, program.target.convention
        self._names = [*list_shown_registers(program.target, signature)]
        self._names += [processor.link_register] if processor.link_register else []
        self._numbers = [processor.register_number(name) for name in self._names]
        self._saved = {processor.register_number(name): name for name in convention.callee_saved}
        self._layout: Layout | None = None
        self.addresses = CodeAddresses(program, candidate, lambda: self._layout)
        self._return_addresses: list[int] = []
        """What may be return addresses at the fault of the last run, the innermost first."""

    def run(self, entry: int, layout: Layout, expected: Observation, fill: UninitialisedFill) -> Observation:
        """What the candidate shows on an input of the suite, whose number is `entry`. Its external calls are those of
        the `expected` run, as far as it makes them."""
        self._layout = layout
        if layout.has_streams:
            raise EngineError("the input has standard streams")
        reader = _Reader(self._show(entry, FILL_NUMBERS[fill], self._numbers))
        try:
            return self._read(reader, layout, expected)
        except (struct.error, ValueError, IndexError, KeyError, StopIteration) as error:
            raise EngineError("the engine can't tell what a run shows") from error

    def line_of(self, fault: GuestFault) -> int | None:
        """The line of the candidate's assembly from which the last run's fault comes (see `Machine.line_of`)."""
        return find_line(self.candidate, fault.pc, self._return_addresses)

    def _read(self, reader: _Reader, layout: Layout, expected: Observation) -> Observation:
        end, exit_code, has_asserted, call_count, is_out_of_memory = reader.read_u32s(5)
        run = Observation(
            _OUTCOMES[end],
            expected.garbage_pattern,
            exit_code=exit_code & 0xFF,
            assertion=expected.assertion if has_asserted else None,
            registers=dict(zip(self._names, reader.read_registers(len(self._names)), strict=True)),
            calls=expected.calls[:call_count],
            out_of_memory=bool(is_out_of_memory),
        )
        if run.outcome == "fault":
            run.outcome, run.fault = self._read_fault(reader, run.registers)
        elif run.outcome != "limit":
            self._read_effects(reader, run, layout)
        return run

    def _read_fault(self, reader: _Reader, registers: dict[str, int]) -> tuple[Outcome, GuestFault]:
        kind, number, size = reader.read_u32s(3)
        counter, address = reader.read_u64s(2)
        (count,) = reader.read_u32s(1)
        link = self.program.target.processor.link_register
        self._return_addresses = [*([registers[link]] if link else []), *reader.read_u64s(count)]
        if kind == _ACCESS:
            return "fault", GuestFault(f"bad {ACCESSES[number]}", counter, address, ACCESSES[number], size)
        if kind == _MISALIGNED:
            return "fault", GuestFault("misaligned access", counter, address, "misaligned", size)
        processor = self.program.target.processor
        if kind == _HAZARD:
            hazards = list_hazards(self.candidate, processor)
            outcome, description = next(hazard for at, hazard in hazards if at == counter)
            return outcome, GuestFault(description, counter)
        return "fault", GuestFault(_describe_fault(kind, number, processor), counter)

    def _read_effects(self, reader: _Reader, run: Observation, layout: Layout) -> None:
        target, registers = self.program.target, run.registers
        misaligned = reader.read_u64s(*reader.read_u32s(1))
        changed = [self._saved[number] for number in reader.read_u32s(*reader.read_u32s(1))]
        (frame,) = reader.read_u64s(1)
        (is_frame_written,) = reader.read_u32s(1)
        if run.outcome == "return":
            result = target.convention.read_result(self._signature, registers)
            run.result = name_stream(find_streams(self.program), result)
            off = registers[target.processor.stack_pointer] - frame
            breaches = describe_breaches(
                target.processor, registers, changed, off, is_frame_written=bool(is_frame_written)
            )
            calls = (describe_misaligned_call(self.addresses.name_of(callee)) for callee in misaligned)
            run.abi_breaches = (*calls, *breaches)
        self._read_objects(reader, run, layout)
        self._read_variables(reader, run)
        _read_heap(reader, run)
        output = enumerate(reader.read_span() for _ in range(3))
        run.output = {descriptor: data for descriptor, data in output if data}
        run.constants = self._read_constants(reader)

    def _read_objects(self, reader: _Reader, run: Observation, layout: Layout) -> None:
        is_stray, count = reader.read_u32s(2)
        run.has_stray_write = bool(is_stray)
        slots, freed = [], []
        for number, placed in zip(range(count), layout.objects, strict=True):
            if reader.read_u32s(1)[0]:
                freed.append(number)
            slots.append(reader.read_span(placed.slot.size))
        run.slots, run.freed_objects = tuple(slots), tuple(freed)

    def _read_variables(self, reader: _Reader, run: Observation) -> None:
        (count,) = reader.read_u32s(1)
        sizes = [self.program.symbols[name].size for name in self.program.globals]
        run.globals = tuple(reader.read_span(size) for _, size in zip(range(count), sizes, strict=True))
        (run.errno,) = reader.read_u32s(1)

    def _read_constants(self, reader: _Reader) -> Constants:
        """The constants, and the candidate's own writable data (see `AddressMap.read_constants`)."""
        (count,) = reader.read_u32s(1)
        own = tuple((reader.read_u64s(1)[0], reader.read_span()) for _ in range(count))
        return Constants((*self.addresses.constants.pieces, *own)) if own else self.addresses.constants


def _describe_fault(kind: int, number: int, processor: Processor) -> str:
    """A fault that is no access to memory, in the words of `faults` and `heap`."""
    if kind == _EXCEPTION:
        return processor.exception_names.get(number, f"processor exception {number}")
    if kind == _INSTRUCTION or (kind == _EMULATOR and number == unicorn.UC_ERR_INSN_INVALID):
        return "illegal instruction"
    if kind == _EMULATOR:
        return str(unicorn.UcError(number))
    return {_BAD_FREE: BAD_FREE}[kind]


def _read_heap(reader: _Reader, run: Observation) -> None:
    (count,) = reader.read_u32s(1)
    live, freed = [], []
    for _ in range(count):
        address, size = reader.read_u64s(2)
        if not is_heap(address):
            raise ValueError(address)
        if reader.read_u32s(1)[0]:
            mapped = max(PAGE, -(-size // PAGE) * PAGE)
            live.append(HeapBlock(address, size, reader.read_span(mapped)))
        else:
            freed.append(FreedBlock(address, size))
    run.heap, run.freed_blocks = tuple(sorted(live, key=lambda block: block.address)), tuple(freed)


class _Reader:
    """Reads an engine's reply. Every method raises struct.error or ValueError where it can't be one."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, layout: str) -> tuple[int, ...]:
        """Numbers, in the format of `struct` for little-endian ones."""
        values = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def read_u32s(self, count: int) -> tuple[int, ...]:
        """So many numbers of 32 bits."""
        return self._read_many(count, "I")

    def read_u64s(self, count: int) -> tuple[int, ...]:
        """So many numbers of 64 bits."""
        return self._read_many(count, "Q")

    def _read_many(self, count: int, letter: str) -> tuple[int, ...]:
        if count > len(self._data):
            raise ValueError(count)
        return self.read(f"{count}{letter}")

    def read_registers(self, count: int) -> list[int]:
        """The values of registers."""
        words = self.read_u64s(count * _REGISTER_WORDS)
        return [low | high << 64 for low, high in zip(words[::2], words[1::2], strict=True)]

    def read_span(self, size: int | None = None) -> bytes:
        """Bytes behind their number, which is `size` where that is known."""
        (count,) = self.read_u32s(1)
        data = self._data[self._at : self._at + count]
        if len(data) != count or (size is not None and count != size):
            raise ValueError(count)
        self._at += count
        return data
