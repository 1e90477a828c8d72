"""Closer looks at one run of a candidate: slow, so that they are kept for what is to be explained, or passes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import unicorn

from pytest_llmcompiler.emulator.machine import DEEP, STACK_SIZE, STACK_START, Machine
from pytest_llmcompiler.emulator.observation import GuestFault, MemoryWrite, UninitialisedFill
from pytest_llmcompiler.targets import abi
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Processor
from pytest_llmcompiler.values.layout import Layout


@dataclass(frozen=True)
class TracedRun:
    """A run to look at: an input, and the most instructions that it may take."""

    layout: Layout
    call: abi.CallSetup
    limit: int
    uninitialised: UninitialisedFill = "garbage"

    def run(self, machine: Machine) -> None:
        """Run a machine so; what it shows is of no interest."""
        machine.run(self.layout, self.call, self.limit, uninitialised=self.uninitialised)


def find_misuse(machine: Machine, look: TracedRun) -> GuestFault | None:
    """The first thing that the candidate may not do, though it does no harm here.

    That is an access below the red zone, which a signal may overwrite at any time, or a jump to where no
    instruction of the text begins (then with no address).
    """
    candidate = machine.candidate
    assert candidate is not None
    processor = machine.processor
    found: list[GuestFault] = []

    def on_stack(uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        below = machine.register(processor.stack_pointer) - machine.convention.red_zone - address
        pc = machine.register(processor.program_counter)
        if (
            below > 0
            and not found
            and machine.in_candidate(pc)
            and not processor.accesses_below_stack_pointer(candidate.read_code(pc), pc)
        ):
            words = "store" if access == unicorn.UC_MEM_WRITE else "load"
            where = "red zone" if machine.convention.red_zone else "stack pointer"
            found.append(GuestFault(f"{words} below the {where}", pc, address, words, size))
            uc.emu_stop()

    def on_block(uc: Any, address: int, size: int, data: Any) -> None:
        if not found and machine.in_candidate(address) and _is_amid(candidate, address, processor):
            found.append(GuestFault("a jump into the middle of an instruction", address))
            uc.emu_stop()

    accesses = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
    with (
        machine.hooked(accesses, on_stack, STACK_START, STACK_START + STACK_SIZE - 1),
        machine.hooked(unicorn.UC_HOOK_BLOCK, on_block),
    ):
        look.run(machine)
    return found[0] if found else None


def _is_amid(candidate: AssembledCode, address: int, processor: Processor) -> bool:
    """Whether an address in the candidate's code is neither the start of an instruction nor padding."""
    mnemonics = candidate.mnemonics
    if address in mnemonics:
        return False
    last = max((start for start in mnemonics if start < address), default=None)
    if last is None:
        return True
    return mnemonics[last].startswith(".") or address < last + processor.decode(candidate.read_code(last), last).size


def trace_instructions(machine: Machine, look: TracedRun, most: int) -> list[int]:
    """The addresses of the instructions of the candidate's own code that a run executes, the first `most`."""
    found: list[int] = []

    def on_code(uc: Any, address: int, size: int, data: Any) -> None:
        if len(found) < most:
            found.append(address)
        else:
            uc.emu_stop()

    code = [s for s in machine.candidate.segments if s.is_executable] if machine.candidate else []
    with ExitStack() as hooks:
        for segment in code:
            last = segment.address + len(segment.data)
            hooks.enter_context(machine.hooked(unicorn.UC_HOOK_CODE, on_code, segment.address, last))
        look.run(machine)
    return found


def trace_stores(machine: Machine, look: TracedRun, most: int) -> list[MemoryWrite]:
    """The writes of a run to memory other than the stack, the first `most`."""
    found: list[MemoryWrite] = []

    def on_write(uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        if len(found) >= most:
            uc.emu_stop()
        elif not STACK_START - DEEP <= address < STACK_START + STACK_SIZE and size <= 8:
            before = machine.read(address, size)
            found.append(
                MemoryWrite(
                    machine.register(machine.processor.program_counter),
                    address,
                    size,
                    value & (1 << 8 * size) - 1,
                    before,
                )
            )

    with machine.hooked(unicorn.UC_HOOK_MEM_WRITE, on_write):
        look.run(machine)
    return found
