"""Whether the emulator and the processor itself run a candidate alike, where both can run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.native_run import keep_address_bits
from pytest_llmcompiler.emulator.observation import ENDINGS, Observation
from pytest_llmcompiler.emulator.register_batch import RegisterBatch
from pytest_llmcompiler.emulator.tracing import TracedRun
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.value_equality import same_value
from pytest_llmcompiler.values.c_types import Array, Float

_LONGEST_TRACE = 20_000
"""Instructions of a run that are compared one by one, each at the cost of some system calls."""
_MOST_ENDLESS = 5
"""Runs that come to their limits, after which a candidate is no longer compared: each takes a quarter of a second."""
_COMPARED_OUTCOMES = (*ENDINGS, "fault")
"""The outcomes that both engines tell. A limit is of instructions in one and of time in the other."""
_EFFECTS = (
    *("outcome", "exit_code", "assertion", "result", "slots", "has_stray_write", "globals", "heap", "freed_blocks"),
    *("freed_objects", "errno", "output", "calls", "abi_breaches"),
)
"""What two runs have to share. Of a fault, the engines may tell the same in different words."""
_LANES = (Array(Float(4, "float"), 4), Array(Float(8, "double"), 2))
"""What a vector register may hold in which two NaNs differ."""

_Step = tuple[int, list[int]]
"""The address of an instruction, and the registers before it."""


class Disagreement(TypedDict):
    """An input on which the engines run a candidate differently."""

    index: int
    """The number of the input in the corpus."""
    what: list[str]
    """What of the observations differs."""
    line: int | None
    """The line of the instruction after which registers first differ; None where none was found."""
    registers: list[str]
    """These registers, with the emulator's value and the processor's."""


def find_disagreement(emulated: DifferentialRun, native: DifferentialRun) -> Disagreement | None:
    """The first input of the suite on which a candidate's runs differ; None where all are alike.

    Only a child process may call this: the candidate's code is hostile.
    """
    keep_address_bits(emulated.machine.guest.uc)
    endless = 0
    for index, entry in enumerate(emulated.suite.corpus.entries.values()):
        runs = [one.machine.run(entry.layout, entry.call, entry.limit) for one in (emulated, native)]
        endless += any(run.outcome == "limit" for run in runs)
        if endless > _MOST_ENDLESS:
            return None
        what = _list_differences(*runs)
        if what:
            traces = [_trace(one.machine, entry) for one in (emulated, native)]
            step = _find_instruction(native.machine.processor.registers, *traces)
            if not _choose_other_nans(step.changes):
                line = native.candidate.lines.get(step.address)
                registers = [f"{name}: {first:#x}, {second:#x}" for name, first, second in step.changes]
                return Disagreement(index=index, what=what, line=line, registers=registers)
    return None


def _list_differences(first: Observation, second: Observation) -> list[str]:
    if not {first.outcome, second.outcome} <= set(_COMPARED_OUTCOMES):
        return []
    return [name for name in _EFFECTS if getattr(first, name) != getattr(second, name)]


class _Difference(NamedTuple):
    """The instruction after which registers first differ."""

    address: int
    """0 where none was found."""
    changes: list[tuple[str, int, int]]
    """These registers, with the emulator's value and the processor's."""


def _trace(machine: Machine, entry: SuiteEntry) -> list[_Step]:
    """The first instructions of a run, with the registers before each."""
    guest = machine.guest
    batch = RegisterBatch([(guest.numbers[name], 0) for name in machine.processor.registers])
    steps: list[_Step] = []

    def on_step(address: int) -> bool:
        steps.append((address, batch.read(guest.uc)))
        return len(steps) < _LONGEST_TRACE

    with machine.stepping(on_step):
        TracedRun(entry.layout, entry.call, entry.limit).run(machine)
    steps.append((0, batch.read(guest.uc)))
    return steps


def _find_instruction(names: Sequence[str], emulated: Sequence[_Step], native: Sequence[_Step]) -> _Difference:
    """The instruction before which registers are equal, and after which they are not."""
    for index, (first, second) in enumerate(zip(emulated, native)):
        if first != second and index:
            values = zip(names, first[1], second[1], strict=True)
            return _Difference(emulated[index - 1][0], [change for change in values if change[1] != change[2]])
    return _Difference(0, [])


def _choose_other_nans(changes: Sequence[tuple[str, int, int]]) -> bool:
    """Whether an instruction had two NaNs to choose from. The processor takes the first operand's, the emulator the one
    with the larger payload, as the x87 does (Intel's Software Developer's Manual, volume 1, table 4-7). What follows
    from this choice is different for good reason: verdicts take NaNs for equal."""
    return bool(changes) and all(
        name.startswith("xmm")
        and any(same_value(lanes, first.to_bytes(16, "little"), second.to_bytes(16, "little")) for lanes in _LANES)
        for name, first, second in changes
    )
