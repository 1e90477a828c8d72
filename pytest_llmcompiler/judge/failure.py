"""What a candidate did wrong, in words: the kind, one line, and the evidence below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.emulator.external_calls import MAX_EXTERNAL_CALLS
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import GuestFault, Observation
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.compare import Difference
from pytest_llmcompiler.judge.verdict import Kind
from pytest_llmcompiler.values.layout import PAGE, Layout

_ROWS = 6
"""Differences that are shown."""


@dataclass(frozen=True)
class Failure:
    """What a candidate did wrong on one input."""

    kind: Kind
    message: str
    evidence: tuple[str, ...] = ()
    uninitialised: UninitialisedFill = "garbage"
    """What the unused stack and registers held."""
    line: int | None = None
    """The 1-based line of the candidate's text in which it goes wrong, where one can be named."""
    differences: tuple[Difference, ...] = ()
    """Of a mismatch: the first ones."""


def mismatch(found: Sequence[Difference]) -> Failure:
    """Differences from the reference, at least one; the first is the headline."""
    first = found[0]
    words = f"{first.where}: expected {first.expected}, observed {first.observed}"
    return Failure("mismatch", words, tuple(_table(found)), differences=tuple(found[:_ROWS]))


def stopped(
    machine: Machine, run: Observation, expected: Observation, limit: int, layout: Layout | None, assembly: str
) -> Failure | None:
    """Why the last run of a machine has no result; None where it has one. `layout` is the input, where there is one."""
    if run.outcome == "vex":
        assert run.fault is not None
        return Failure("inconclusive", f"{run.fault.description}, which the emulator can't judge")
    if run.outcome in ("fault", "forbidden"):
        assert run.fault is not None
        return _crash(machine, run.fault, expected, layout, assembly)
    if run.outcome == "limit" and len(run.calls) == MAX_EXTERNAL_CALLS:
        words = f"still running after {MAX_EXTERNAL_CALLS} calls out; the reference makes {len(expected.calls)}"
        return Failure("hang", words)
    if run.outcome == "limit":
        words = (
            f"still running after {limit} instructions; the reference executes {expected.executed_bytes} bytes of code"
        )
        return Failure("hang", words)
    return None


def quoted(assembly: str, number: int, before: str = "") -> Iterator[str]:
    """A line of the candidate's text, as evidence; none where it has no line of that number."""
    lines = assembly.split("\n")
    if 0 < number <= len(lines):
        yield f"  at        {before}line {number}: {' '.join(lines[number - 1].split())}"


def _crash(machine: Machine, fault: GuestFault, expected: Observation, layout: Layout | None, assembly: str) -> Failure:
    words = fault.description
    if fault.address is not None:
        size = f" of {fault.size} bytes" if fault.access != "jump" else ""
        words = f"{fault.description}{size} at {_where(fault.address, layout)}"
    line = machine.line_of(fault)
    inside = machine.addresses.name_of(fault.pc) if not machine.addresses.is_in_candidate(fault.pc) else None
    evidence = list(quoted(assembly, line or 0, f"{inside}, called from " if inside else ""))
    if line is not None:
        words += f" in {inside}, called from line {line}" if inside else f" in line {line}"
    elif inside:
        evidence.append(f"  at        {inside}")
    end = "a return" if expected.outcome == "return" else expected.outcome
    evidence.append(f"  expected  {end}; observed: {fault.description}")
    return Failure("crash", words, tuple(evidence), line=line)


def _where(address: int, layout: Layout | None) -> str:
    """An address in terms of the nearest object."""
    if address < PAGE:
        return f"{address:#x} (a null pointer)"
    objects = layout.objects if layout else ()
    for target in objects:
        past = address - (target.address + target.size)
        if 0 <= past < PAGE:
            return f"{target.label} + {target.size + past} ({past} bytes past its end)"
        if -PAGE <= address - target.address < 0:
            return f"{target.label} - {target.address - address} (before its start)"
        if target.address <= address < target.address + target.size:
            return f"{target.label} + {address - target.address} (of {target.size} bytes)"
    if any(target.address & 0xFFFFFFFF == address for target in objects):
        return f"{address:#x} (the lower half of a pointer)"
    return hex(address)


def _table(found: Sequence[Difference]) -> Iterator[str]:
    rows = [("", "expected", "observed"), *((item.where, item.expected, item.observed) for item in found[:_ROWS])]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for where, expected, observed in rows:
        yield f"  {where:<{widths[0]}}  {expected:<{widths[1]}}  {observed}".rstrip()
    if len(found) > _ROWS:
        yield f"  … and {len(found) - _ROWS} more"
