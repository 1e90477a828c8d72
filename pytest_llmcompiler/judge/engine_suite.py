"""The suite as the engine reads it: each input in memory, with the expected image of memory and registers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from pytest_llmcompiler.emulator.engine_image import NO_REGISTER, ImageWriter, write_environment, write_program
from pytest_llmcompiler.emulator.environment import initial_errno
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import ENDINGS, Observation
from pytest_llmcompiler.judge.compare_heap import find_expressions
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.engine_cells import write_cells
from pytest_llmcompiler.judge.engine_program import write_program_run
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.location import Errno, GlobalVariable, InputObject, MemoryRegion
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.value_equality import build_equality_mask, clear_nan_bits
from pytest_llmcompiler.judge.whole_program import WholeProgram
from pytest_llmcompiler.targets.abi import CallSetup
from pytest_llmcompiler.values.c_types import (
    Array,
    Function,
    Int,
    Pointer,
    Type,
    build_value_mask,
    find_floats,
    find_pointers,
)
from pytest_llmcompiler.values.input import Input
from pytest_llmcompiler.values.layout import ALIGNED_SLOTS, PAGE, SLOTS
from pytest_llmcompiler.values.va_list import is_va_list_object

_SLOT_NUMBERS = {slot.address: number for number, slot in enumerate((*SLOTS, *ALIGNED_SLOTS))}


@dataclass(frozen=True)
class EngineEntry:
    """An input of the suite, and how often it is run."""

    input: Input
    entry: SuiteEntry
    is_varied: bool
    is_inspected: bool
    is_of_other: bool = False
    """Whether what is expected is not what the reference shows."""
    has_small_numbers: bool = False
    """Whether it is run with small numbers in registers."""


class ImageKind(NamedTuple):
    """What an image is for."""

    with_library: bool = False
    """Candidates that name more of the C library than the program has: the rest of it lies beside the program."""
    of_glibc: bool = False
    """Candidates that may have results of glibc's functions (`FunctionUnderTest.has_glibc_results`): what is expected
    is what the function shows when it is compiled against glibc, where that can be compared."""


class SuiteEntries(Protocol):
    """The entries of a corpus."""

    @property
    def entries(self) -> Mapping[Input, SuiteEntry]: ...


class PreparedSuite(Protocol):
    """A suite, as far as an image has it. Preparing one needs images too, so the class can't be named here."""

    @property
    def under_test(self) -> FunctionUnderTest: ...
    @property
    def corpus(self) -> SuiteEntries: ...
    @property
    def varied(self) -> Set[int]: ...
    @property
    def inspected(self) -> Sequence[int]: ...
    def list_fills(self, index: int) -> Sequence[str]: ...
    @property
    def whole_program(self) -> WholeProgram | None: ...
    def build_reserve(self) -> Mapping[Input, SuiteEntry]: ...


def build_image(suite: PreparedSuite, kind: ImageKind) -> bytes:
    """The image of a function's program and suite. The suite is prepared, and has inputs."""
    under_test, reference = suite.under_test, suite.under_test.reference
    expected = list(suite.corpus.entries.values())
    shown = _run_glibc_variant(under_test, expected) if kind.of_glibc else expected
    entries = [
        EngineEntry(
            input,
            entry,
            is_varied=index in suite.varied,
            is_inspected=index in suite.inspected,
            is_of_other=entry is not expected[index],
            has_small_numbers="small" in suite.list_fills(index),
        )
        for index, (input, entry) in enumerate(zip(suite.corpus.entries, shown, strict=True))
    ]
    machine = under_test.open_machine(reference.golden_with_library if kind.with_library else reference.golden)
    # What the reference shows on these is what it shows as it is in the program, and not as code for glibc.
    reserve = {} if kind.of_glibc else suite.build_reserve()
    further = [EngineEntry(input, entry, is_varied=False, is_inspected=False) for input, entry in reserve.items()]
    image = write_suite(machine, under_test.signature, entries, suite.whole_program, further)
    machine.close()
    return image


def build_plain_image(under_test: FunctionUnderTest, entries: Mapping[Input, SuiteEntry]) -> bytes:
    """The image of a function's program and some inputs, for searches while a suite is prepared."""
    machine = under_test.open_machine(under_test.reference.golden)
    try:
        listed = [EngineEntry(input, entry, is_varied=False, is_inspected=False) for input, entry in entries.items()]
        return write_suite(machine, under_test.signature, listed)
    finally:
        machine.close()


def _run_glibc_variant(under_test: FunctionUnderTest, entries: Iterable[SuiteEntry]) -> Iterator[SuiteEntry]:
    """The entries, each with what the function shows when it is compiled against glibc, where that can be compared (see
    `DifferentialRun`)."""
    machine = under_test.open_glibc_machine()
    for entry in entries:
        run = machine.run(entry.layout, entry.call, entry.limit)
        # Only what is compared with the candidate's run may differ, and not the calls that are replayed.
        is_comparable = not run.abi_breaches and _conditions(run) == _conditions(entry.expected)
        yield replace(entry, expected=run) if is_comparable else entry
    machine.close()


def _conditions(run: Observation) -> tuple[object, ...]:
    return run.outcome, run.assertion, run.out_of_memory, run.calls


def write_suite(
    machine: Machine,
    signature: Function,
    entries: Sequence[EngineEntry],
    whole_program: WholeProgram | None = None,
    reserve: Sequence[EngineEntry] = (),
) -> bytes:
    """The image of a program and its suite. `machine` runs the golden program, and has not run yet. `reserve` are
    inputs of second looks (`build_reserve_entry`)."""
    writer = ImageWriter()
    write_program(writer, machine)
    writer.u32(len(entries) + len(reserve), len(reserve))
    for entry in (*entries, *reserve):
        _EntryWriter(writer, machine, signature, entry).write()
    write_program_run(writer, machine, whole_program)
    return writer.getvalue()


class _EntryWriter:
    """Writes one input."""

    def __init__(self, writer: ImageWriter, machine: Machine, signature: Function, entry: EngineEntry) -> None:
        self._writer, self._machine, self._signature, self._entry = writer, machine, signature, entry
        self._layout, self._expected = entry.entry.layout, entry.entry.expected
        self._guest = machine.guest
        self._guest.layout = self._layout
        has_heap = bool(self._expected.heap or self._expected.freed_blocks)
        # With objects on the heap, runs are compared after a walk along all pointers, don't-care bytes included.
        self._dont_care = DontCareBytes() if has_heap else entry.entry.dont_care

    def write(self) -> None:
        """Write the input and what is expected."""
        writer, entry = self._writer, self._entry
        writer.u32(entry.is_varied, entry.is_inspected, entry.has_small_numbers)
        writer.u32(self._layout.is_4gib_aligned, entry.is_of_other)
        writer.u64(entry.entry.limit)
        write_environment(writer, self._layout.environment_seed, self._layout.standard_input)
        for call in (entry.entry.call, entry.entry.call.inverse):
            self._write_arguments(call)
        caller_saved = self._machine.convention.caller_saved
        small = entry.entry.call.choose_small_numbers(caller_saved) if entry.has_small_numbers else {}
        writer.registers((self._guest.numbers[name], value) for name, value in small.items())
        self._write_copies(entry.entry.call)
        self._write_patches()
        self._write_objects()
        self._write_expected()
        writer.span(entry.entry.replay)
        in_memory = self._layout.result is not None
        write_cells(writer, entry.input, self._machine.convention, self._guest.numbers, in_memory=in_memory)

    def _write_arguments(self, call: CallSetup) -> None:
        numbers, streams = self._guest.numbers, self._guest.stream_addresses
        self._writer.registers((numbers[name], streams.get(value, value)) for name, value in call.registers.items())
        self._writer.span(self._guest.insert_streams(call.stack))

    def _write_copies(self, call: CallSetup) -> None:
        self._writer.u32(len(call.copies))
        for copy in call.copies:
            self._writer.u32(self._guest.numbers[copy.pointer] if isinstance(copy.pointer, str) else NO_REGISTER)
            self._writer.u64(0 if isinstance(copy.pointer, str) else copy.pointer, copy.offset)

    def _write_patches(self) -> None:
        patches = list(self._patches())
        self._writer.u32(len(patches))
        for address, data in patches:
            self._writer.u64(address)
            self._writer.span(data)
            self._writer.span(b"")

    def _patches(self) -> Iterator[tuple[int, bytes]]:
        """What the input stores in variables: addresses and bytes."""
        symbols = self._machine.program.symbols
        for name, data in self._layout.globals:
            yield symbols[name].address, self._guest.insert_streams(data)
        for name, at, target in self._layout.symbol_pointers:
            address = self._machine.program.addresses.get(target.symbol)
            value = 0 if address is None else address + target.offset
            yield symbols[name].address + at, value.to_bytes(8, "little")

    def _write_objects(self) -> None:
        layout, expected, writer = self._layout, self._expected, self._writer
        writer.u32(len(layout.objects))
        for number, placed in enumerate(layout.objects):
            start = placed.address - placed.slot.address
            end = start + placed.size
            writer.u32(_SLOT_NUMBERS[placed.slot.address], start)
            writer.u32(number in expected.freed_objects, placed is layout.result)
            writer.span(self._guest.insert_streams(layout.initial_bytes(placed, expected.garbage_pattern)[start:end]))
            after = expected.slots[number][start:end]
            writer.span(self._guest.insert_streams(after))
            writer.span(self._mask(InputObject(number, placed.label), after, placed.element))
            self._write_constants(after, placed.element)

    def _mask(self, region: MemoryRegion, data: bytes, element: Type | None) -> bytes:
        """1 bits where bytes of a region count; nothing where all do."""
        mask = bytearray(b"\xff" * len(data))
        if element is not None and element.size and not is_va_list_object(element):
            count = len(data) // element.size
            mask[: count * element.size] = build_value_mask(element) * count
            for at, part in find_floats(element):
                for start in range(at, count * element.size, element.size):
                    clear_nan_bits(mask, data, start, part.size)
        for offset in self._dont_care.of(region):
            if offset < len(mask):
                mask[offset] = 0
        return bytes(mask) if mask.count(0xFF) != len(mask) else b""

    def _write_constants(self, data: bytes, element: Type | None, start: int = 0) -> None:
        """Where data with elements of a type, which begins at an offset, has pointers to constants."""
        pointers = list(self._constant_pointers(data, element))
        self._writer.u32(len(pointers))
        for at, constant in pointers:
            self._writer.u64(start + at)
            self._writer.span(constant)

    def _constant_pointers(self, data: bytes, element: Type | None) -> Iterator[tuple[int, bytes]]:
        if element is None or not element.size or is_va_list_object(element):
            return
        for at, part in find_pointers(element):
            for start in range(at, len(data) // element.size * element.size, element.size):
                constant = self._constant_at(data[start : start + part.size], part)
                if constant:
                    yield start, constant

    def _constant_at(self, pointer: bytes, type: Pointer) -> bytes:
        """The constant that a pointer leads to; nothing where it leads to no whole one."""
        data = self._expected.constants.at(int.from_bytes(pointer, "little"), type.target) or b""
        if isinstance(type.target, Int) and type.target.character:
            return data if data.endswith(b"\0") else b""
        return data if type.target and len(data) == type.target.size else b""

    def _write_expected(self) -> None:
        writer, expected = self._writer, self._expected
        writer.u32(ENDINGS.index(expected.outcome), expected.exit_code, expected.assertion is not None)
        writer.span((expected.assertion or "").encode())
        self._write_result()
        self._write_changes()
        writer.u32(expected.out_of_memory)
        self._write_heap()
        is_set = (
            self._entry.entry.context.compares_errno
            and expected.outcome == "return"
            and expected.errno != initial_errno(self._layout.environment_seed)
            and Errno() not in self._entry.entry.dont_care
        )
        writer.u32(is_set, expected.errno)
        writer.u32(len(expected.output))
        for descriptor, data in sorted(expected.output.items()):
            writer.u32(descriptor)
            writer.span(data)

    def _write_heap(self) -> None:
        writer, expected = self._writer, self._expected
        expressions = find_expressions(self._entry.entry.context, expected) if expected.heap else {}
        writer.u32(len(expected.heap))
        for block in expected.heap:
            writer.u64(block.address, block.size)
            writer.span(block.pages)
            expression = expressions.get(block.address)
            self._write_constants(block.data, expression.type if expression else None, block.address % PAGE)
        writer.u32(len(expected.freed_blocks))
        for freed in expected.freed_blocks:
            writer.u64(freed.address, freed.size)
            writer.span(b"")
            self._write_constants(b"", None)

    def _write_result(self) -> None:
        """The result in registers; for a result in memory, the address that is returned."""
        convention, type = self._machine.convention, self._signature.result
        if self._expected.outcome != "return" or type is None:
            self._writer.expected_registers(())
            self._writer.span(b"")
            return
        location = convention.locate_result(self._signature)
        data = self._guest.insert_streams(self._expected.result)
        mask = b"\xff" * 8 if location.is_in_memory else build_equality_mask(type, self._expected.result)
        starts = range(0, len(location.registers) * location.register_bytes, location.register_bytes)
        parts = [(mask[start:][: location.register_bytes], data[start:][: location.register_bytes]) for start in starts]
        self._writer.expected_registers(
            (self._guest.numbers[name], int.from_bytes(bits, "little"), int.from_bytes(part, "little"))
            for name, (bits, part) in zip(location.registers, parts, strict=True)
        )
        self._writer.span(self._result_constant(type))

    def _result_constant(self, type: Type) -> bytes:
        """The constant that the result points to; nothing for any other result."""
        if not isinstance(type, Pointer) or self._layout.result is not None:
            return b""
        return self._constant_at(self._expected.result, type)

    def _write_changes(self) -> None:
        """The variables that differ from the program's initial contents, or of which some bytes do not count."""
        context, initial = self._entry.entry.context, self._machine.guest
        changes = []
        for name, after in zip(context.globals, self._expected.globals, strict=True):
            type = context.variables.get(name)
            is_known = type is not None and type.size == len(after)
            element = type.element if isinstance(type, Array) else type
            mask = self._mask(GlobalVariable(name), after, element if is_known else None)
            data = self._guest.insert_streams(after)
            has_constants = is_known and any(self._constant_pointers(data, element))
            if mask or has_constants or data != initial.read_variable(name):
                changes.append((self._machine.program.symbols[name].address, data, mask, element if is_known else None))
        self._writer.u32(len(changes))
        for address, data, mask, _ in changes:
            self._writer.u64(address)
            self._writer.span(data)
            self._writer.span(mask)
        for _, data, _, known in changes:
            self._write_constants(data, known)
