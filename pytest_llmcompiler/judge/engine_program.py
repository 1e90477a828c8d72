"""The run of the whole program as the engine reads it: how the process starts and ends, and what it prints."""

from __future__ import annotations

from pytest_llmcompiler.emulator.engine_image import ImageWriter, write_environment
from pytest_llmcompiler.emulator.machine import PROGRAM_SEED, Machine
from pytest_llmcompiler.emulator.observation import ENDINGS
from pytest_llmcompiler.emulator.process_start import process_stack
from pytest_llmcompiler.judge.whole_program import COMPARED_OUTPUTS, WholeProgram


def write_program_run(writer: ImageWriter, machine: Machine, whole_program: WholeProgram | None) -> None:
    """Write whether the whole program is run, and how. `machine` runs the golden program, and has not run yet."""
    writer.u32(whole_program is not None)
    if whole_program is None:
        return
    expected = whole_program.expected
    # The engine knows no assertions of the program, and answers external calls only where it has the reference's own.
    writer.u32(expected.assertion is not None or bool(expected.calls))
    writer.u64(whole_program.limit)
    write_environment(writer, PROGRAM_SEED)
    _write_start(writer, machine)
    writer.u32(ENDINGS.index(expected.outcome), expected.exit_code)
    writer.u32(len(COMPARED_OUTPUTS))
    for descriptor in COMPARED_OUTPUTS:
        writer.u32(descriptor)
        writer.span(expected.output.get(descriptor, b""))


def _write_start(writer: ImageWriter, machine: Machine) -> None:
    """Where the process starts, with the stack below its first frame, arguments, and memory that differs from that of
    other runs."""
    guest, program = machine.guest, machine.program
    if program.target.foreign_system:
        writer.u64(program.symbols["main"].address)
        offset, contents, memory = 0, b"", []
    else:
        writer.u64(program.entry)
        offset, contents = process_stack(machine.fill_values("garbage").frame_offset)
        memory = list(guest.changed_since_loading())
    names = machine.convention.integer_registers if program.target.foreign_system else ()
    writer.registers((guest.numbers[name], value) for name, value in zip(names, machine.main_arguments))
    writer.u64(offset)
    writer.span(contents)
    writer.u32(len(memory))
    for address, data in memory:
        writer.u64(address)
        writer.span(data)
        writer.span(b"")
