"""Where a debugger sees best what a failing candidate does wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import GuestFault, Observation
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.failing_run import FailingRun
from pytest_llmcompiler.judge.location import ReturnValue
from pytest_llmcompiler.judge.reproducer import Breakpoint

_LONGEST_TRACE = 200_000
"""Instructions that are traced to find the last one that changes a register. Each one costs a call of a Python hook."""


def find_breakpoint(
    differential: DifferentialRun, failing: FailingRun, run: Observation, rerun: Callable[[], object]
) -> Breakpoint:
    """The instruction to stop at: the one that changes a register which is not restored, the one that faults or that a
    hang is in, the one at which the candidate diverges, the one that sets a wrong return value, else the first.

    `run` is what the failing run showed, with the machine in the state after it; `rerun` runs the machine again.
    """
    machine, failure = differential.machine, failing.failure
    lines = differential.candidate.lines
    first_line = lines.get(differential.candidate.symbols[differential.suite.under_test.function], 1)
    start = Breakpoint(line=first_line, ignored_hits=0)
    if failure.register:
        return _find_last_change(machine, failure.register, rerun) or start
    if run.fault is not None:
        line = machine.line_of(run.fault) or first_line
        return Breakpoint(line=line, ignored_hits=max(0, _count_visits(machine, line, rerun) - 1))
    if run.outcome == "limit":
        pc = machine.guest.register(machine.processor.program_counter)
        return Breakpoint(line=lines.get(pc) or machine.line_of(GuestFault("", pc)) or first_line, ignored_hits=0)
    line_of_failure = failure.line or (failing.divergence and failing.divergence.line)
    if line_of_failure:
        return Breakpoint(line=line_of_failure, ignored_hits=0)
    register = machine.convention.return_register
    registers = machine.convention.locate_result(differential.suite.under_test.signature).registers
    if isinstance(failure.location, ReturnValue) and register in registers:
        return _find_last_change(machine, register, rerun) or start
    return start


def _count_visits(machine: Machine, line: int, rerun: Callable[[], object]) -> int:
    """How often a run comes to a line of the candidate's text."""
    assert machine.candidate is not None
    start = min(address for address, own in machine.candidate.lines.items() if own == line)
    count = 0

    def on_step(address: int) -> bool:
        nonlocal count
        count += address == start
        return True

    with machine.stepping(on_step):
        rerun()
    return count


def _find_last_change(machine: Machine, register: str, rerun: Callable[[], object]) -> Breakpoint | None:
    """The instruction of the candidate that changes a register last; None where none does."""
    assert machine.candidate is not None
    lines = machine.candidate.lines
    trace: list[tuple[int, int]] = []  # the address of each instruction, and the register's value before it

    def on_step(address: int) -> bool:
        if len(trace) < _LONGEST_TRACE:
            trace.append((address, machine.guest.register(register)))
        return True

    with machine.stepping(on_step):
        rerun()
    values_after = [*(value for _, value in trace[1:]), machine.guest.register(register)]
    changes = [
        index for index, (address, value) in enumerate(trace) if value != values_after[index] and address in lines
    ]
    if not changes:
        return None
    last_change = trace[changes[-1]][0]
    visits = Counter(address for address, _ in trace[: changes[-1]])
    return Breakpoint(line=lines[last_change], ignored_hits=visits[last_change])
