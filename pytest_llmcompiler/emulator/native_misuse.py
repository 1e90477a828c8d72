"""Breaches of rules that show no effect, in native runs: each instruction is decoded before it runs."""

from __future__ import annotations

import functools
from typing import Any

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.native.faults import list_accesses
from pytest_llmcompiler.emulator.observation import AccessKind, GuestFault
from pytest_llmcompiler.emulator.stack import STACK_SIZE, STACK_START
from pytest_llmcompiler.emulator.tracing import TracedRun, is_inside_instruction

_MOST_STEPS = 300
"""Instructions of a run that are inspected. Each takes two system calls of two processes, 50 µs or more."""


def find_native_misuse(machine: Machine, run: TracedRun) -> GuestFault | None:
    """What `find_misuse` finds, in the first instructions of a run."""
    candidate, guest, processor = machine.candidate, machine.guest, machine.processor
    assert candidate is not None
    faults: list[GuestFault] = []
    steps = 0

    @functools.cache
    def decode(address: int) -> Any:
        return next(processor.get_decoder(detail=True).disasm(candidate.read_code(address), address, 1), None)

    def find_fault(address: int) -> GuestFault | None:
        if is_inside_instruction(candidate, address, processor):
            return GuestFault("a jump into the middle of an instruction", address)
        instruction = decode(address)
        border = guest.register(processor.stack_pointer) - machine.convention.red_zone
        for access in list_accesses(guest, instruction) if instruction else ():
            if access.address is not None and STACK_START <= access.address < min(border, STACK_START + STACK_SIZE):
                kind: AccessKind = "store" if access.kind == "write" else "load"
                return GuestFault(f"{kind} below the red zone", address, access.address, kind, access.size)
        return None

    def on_step(address: int) -> bool:
        nonlocal steps
        steps += 1
        fault = find_fault(address)
        faults.extend([fault] if fault else [])
        return not fault and steps < _MOST_STEPS

    with machine.stepping(on_step):
        run.run(machine)
    return faults[0] if faults else None
