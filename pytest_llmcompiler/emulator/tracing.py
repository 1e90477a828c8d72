"""Runs of a candidate that are traced: by a Python hook at each access, block or instruction.

A hook takes 0.7 to 53 ms a run, so only runs that are explained, or that pass, are traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import unicorn

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import AccessKind, GuestFault, MemoryWrite
from pytest_llmcompiler.emulator.stack import MAX_CANDIDATE_GROWTH, STACK_SIZE, STACK_START
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.targets.abi import CallSetup
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Processor
from pytest_llmcompiler.values.layout import Layout

_MAX_WRITE_SIZE = 8
"""Bytes of the largest write that is traced: unicorn's hook gets the value as a 64-bit number."""


@dataclass(frozen=True)
class TracedRun:
    """A run to be traced: an input, and the instructions that it may take."""

    layout: Layout
    call: CallSetup
    limit: int
    uninitialised: UninitialisedFill = "garbage"

    def run(self, machine: Machine) -> None:
        """Run a machine on the input; what the hooks record is the result."""
        machine.run(self.layout, self.call, self.limit, uninitialised=self.uninitialised, outcome_only=True)


def find_misuse(machine: Machine, run: TracedRun) -> GuestFault | None:
    """The first breach of a rule by the candidate that shows no effect in a run.

    That is an access below the red zone, which a signal handler may overwrite at any time, or a jump to where no
    instruction of the text begins; the fault then has no address.
    """
    candidate, guest, processor = machine.candidate, machine.guest, machine.processor
    assert candidate is not None
    faults: list[GuestFault] = []

    def on_stack_access(uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        bytes_below = guest.register(processor.stack_pointer) - machine.convention.red_zone - address
        if bytes_below <= 0 or faults:
            return
        pc = guest.register(processor.program_counter)
        if not machine.addresses.is_in_candidate(pc):
            return
        is_store = access == unicorn.UC_MEM_WRITE
        if not processor.moves_stack_pointer_first(candidate.read_code(pc), pc, is_store=is_store):
            kind: AccessKind = "store" if is_store else "load"
            border = "red zone" if machine.convention.red_zone else "stack pointer"
            faults.append(GuestFault(f"{kind} below the {border}", pc, address, kind, size))
            uc.emu_stop()

    def on_block(uc: Any, address: int, size: int, data: Any) -> None:
        is_own = not faults and machine.addresses.is_in_candidate(address)
        if is_own and is_inside_instruction(candidate, address, processor):
            faults.append(GuestFault("a jump into the middle of an instruction", address))
            uc.emu_stop()

    accesses = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
    with (
        guest.hooked(accesses, on_stack_access, STACK_START, STACK_START + STACK_SIZE - 1),
        guest.hooked(unicorn.UC_HOOK_BLOCK, on_block),
    ):
        run.run(machine)
    return faults[0] if faults else None


def is_inside_instruction(candidate: AssembledCode, address: int, processor: Processor) -> bool:
    """Whether an address in the candidate's code is neither the start of an instruction nor padding."""
    mnemonics = candidate.mnemonics
    if address in mnemonics:
        return False
    last = max((start for start in mnemonics if start < address), default=None)
    if last is None:
        return True
    return mnemonics[last].startswith(".") or address < last + processor.decode(candidate.read_code(last), last).size


def trace_instructions(machine: Machine, run: TracedRun, limit: int) -> list[int]:
    """The addresses of the first `limit` instructions of the candidate's own code that a run executes, in order."""
    addresses: list[int] = []

    def on_step(address: int) -> bool:
        addresses.append(address)
        return len(addresses) < limit

    with machine.stepping(on_step):
        run.run(machine)
    return addresses


def trace_stores(machine: Machine, run: TracedRun, limit: int) -> list[MemoryWrite]:
    """The first `limit` writes of a run to memory other than the stack, in order."""
    guest = machine.guest
    writes: list[MemoryWrite] = []

    def on_write(uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        if len(writes) >= limit:
            uc.emu_stop()
        elif not STACK_START - MAX_CANDIDATE_GROWTH <= address < STACK_START + STACK_SIZE and size <= _MAX_WRITE_SIZE:
            pc = guest.register(machine.processor.program_counter)
            writes.append(MemoryWrite(pc, address, size, value & (1 << 8 * size) - 1, before=guest.read(address, size)))

    with guest.hooked(unicorn.UC_HOOK_MEM_WRITE, on_write):
        run.run(machine)
    return writes
