"""What a candidate does wrong on one input: the kind, the location, and the message and evidence that tell it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pytest_llmcompiler.emulator.addresses import CodeAddresses
from pytest_llmcompiler.emulator.external_calls import MAX_EXTERNAL_CALLS
from pytest_llmcompiler.emulator.observation import AbiBreach, GuestFault, Observation
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.difference import Difference
from pytest_llmcompiler.judge.location import (
    AccessedAddress,
    Location,
    Register,
    Stack,
    format_location,
    locate_address,
)
from pytest_llmcompiler.judge.verdict import Kind
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.values.layout import Layout

_MOST_DIFFERENCES = 6
"""Differences that are shown; the evidence says how many more there are."""


class FaultingMachine(Protocol):
    """What a fault is described with: a machine in the state in which its last run has left it."""

    @property
    def program(self) -> ProgramImage: ...
    @property
    def addresses(self) -> CodeAddresses: ...
    def line_of(self, fault: GuestFault) -> int | None: ...


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What a candidate does wrong on one input. The functions of this module make it."""

    kind: Kind
    message: str
    """One line for people."""
    evidence: tuple[str, ...] = ()
    """Lines for people, each made by `evidence_line`, or rows of a table."""
    location: Location | None = None
    """What differs from the reference, or is accessed wrongly; None where no single place is wrong, as for a hang."""
    expected: str = ""
    """The reference's value or behaviour at the location."""
    observed: str = ""
    """The candidate's value or behaviour at the location."""
    line: int | None = None
    """The line of the candidate's text that fails, counted from 1; None where none can be named."""
    register: str | None = None
    """The callee-saved register that is not restored."""
    differences: tuple[Difference, ...] = ()
    """Of a mismatch: the first differences."""
    uninitialised: UninitialisedFill = "garbage"
    """What the unused stack and registers held in the run that failed."""


def evidence_line(label: str, text: str) -> str:
    """A line of evidence: a label of at most 9 characters, then text that begins in the same column in all lines."""
    return f"  {label:<10}{text}"


def quote_line(assembly: str, number: int, prefix: str = "") -> tuple[str, ...]:
    """A line of the candidate's text as evidence; nothing where the text has no line of that number."""
    lines = assembly.split("\n")
    if not 0 < number <= len(lines):
        return ()
    return (evidence_line("at", f"{prefix}line {number}: {' '.join(lines[number - 1].split())}"),)


def mismatch_failure(differences: Sequence[Difference]) -> Failure:
    """At least one difference from the reference; the first one is the message."""
    first = differences[0]
    return Failure(
        kind="mismatch",
        message=f"{first.place}: expected {first.expected}, observed {first.observed}",
        evidence=tuple(_table(differences)),
        location=first.location,
        expected=first.expected,
        observed=first.observed,
        differences=tuple(differences[:_MOST_DIFFERENCES]),
    )


def in_whole_program(failure: Failure) -> Failure:
    """A failure that a run of the whole program shows."""
    return replace(failure, message=f"the whole program: {failure.message}")


def abi_failure(breaches: Sequence[AbiBreach]) -> Failure:
    """At least one breach of the calling convention; the first one is the message."""
    register = next((breach.register for breach in breaches if breach.register), None)
    return Failure(
        kind="abi",
        message=breaches[0].message,
        evidence=tuple(evidence_line("breach", breach.message) for breach in breaches),
        location=Register(register) if register else None,
        expected="the calling convention is followed",
        observed=breaches[0].message,
        register=register,
    )


def unfinished_failure(
    machine: FaultingMachine, run: Observation, expected: Observation, limit: int, layout: Layout | None, assembly: str
) -> Failure | None:
    """Why a run does not come to its end: a crash, a hang, or an instruction that the emulator can't run.

    None where the run ends. The machine is in the state in which the run left it. `limit` is the most instructions
    that the run may execute, `layout` the input; a run of the whole program has no input.
    """
    if run.outcome == "vex":
        assert run.fault is not None
        return Failure(kind="inconclusive", message=f"{run.fault.description}, which the emulator can't judge")
    if run.outcome in ("fault", "forbidden"):
        assert run.fault is not None
        return _crash(machine, run.fault, expected, layout, assembly)
    if run.outcome == "limit":
        return _hang(run, expected, limit)
    return None


def misuse_failure(machine: FaultingMachine, fault: GuestFault, assembly: str) -> Failure:
    """What the instruction trace of a passing run shows (see `find_misuse`): an access to memory below the stack that a
    signal handler may overwrite, or a jump into the middle of an instruction."""
    line = machine.line_of(fault)
    evidence = quote_line(assembly, line or 0)
    if fault.address is None:
        message = f"{fault.description} in line {line}, which the emulator can't judge"
        return Failure(kind="inconclusive", message=message, evidence=evidence, line=line)
    message = f"{fault.description}, where a signal handler may write at any time: {fault.size} bytes in line {line}"
    return Failure(
        kind="abi",
        message=message,
        evidence=evidence,
        location=Stack(),
        expected="the calling convention is followed",
        observed=fault.description,
        line=line,
    )


def unclear_rounding_failure(differences: Sequence[Difference]) -> Failure:
    """Results that may come from products which are not rounded before they are added, and may be wrong."""
    failure = mismatch_failure(differences)
    message = f"{failure.message}: builds of the reference differ here too, and other rounding may explain it"
    return replace(failure, kind="inconclusive", message=message)


def unstable_failure() -> Failure:
    """A failure that does not show again when the candidate is run once more on the same input."""
    return Failure(kind="inconclusive", message="not reproducible: it fails on an input, and passes when run again")


def _crash(
    machine: FaultingMachine, fault: GuestFault, expected: Observation, layout: Layout | None, assembly: str
) -> Failure:
    location = None if fault.address is None else _locate(machine, fault.address, layout)
    message = fault.description
    if location is not None:
        size = "" if fault.access == "jump" else f" of {fault.size} bytes"
        message = f"{fault.description}{size} at {format_location(location)}"
    line = machine.line_of(fault)
    callee = None if machine.addresses.is_in_candidate(fault.pc) else machine.addresses.name_of(fault.pc)
    evidence = list(quote_line(assembly, line or 0, f"{callee}, called from " if callee else ""))
    if line is not None:
        message += f" in {callee}, called from line {line}" if callee else f" in line {line}"
    elif callee:
        evidence.append(evidence_line("at", callee))
    ending = _format_outcome(expected)
    evidence.append(evidence_line("expected", f"{ending}; observed: {fault.description}"))
    return Failure(
        kind="crash",
        message=message,
        evidence=tuple(evidence),
        location=location,
        expected=ending,
        observed=fault.description,
        line=line,
    )


def _locate(machine: FaultingMachine, address: int, layout: Layout | None) -> AccessedAddress:
    """An address in terms of the input's objects or, for a variable that is declared as const, of the variable."""
    location, symbol = locate_address(address, layout), machine.addresses.symbol_at(address)
    if location.label or symbol is None or symbol.name not in machine.program.globals:
        return location
    return AccessedAddress(address, symbol.name, address - symbol.start, symbol.end - symbol.start)


def _hang(run: Observation, expected: Observation, limit: int) -> Failure:
    if len(run.calls) == MAX_EXTERNAL_CALLS:
        observed, reference = f"{MAX_EXTERNAL_CALLS} external calls", f"the reference makes {len(expected.calls)}"
    else:  # a native run is limited by time
        observed = run.fault.description if run.fault else f"{limit} instructions"
        reference = f"the reference executes {expected.executed_bytes} bytes of code"
    return Failure(
        kind="hang",
        message=f"still running after {observed}; {reference}",
        expected=_format_outcome(expected),
        observed=f"still running after {observed}",
    )


def _format_outcome(expected: Observation) -> str:
    """How the reference's run ends."""
    return "a return" if expected.outcome == "return" else expected.outcome


def _table(differences: Sequence[Difference]) -> Iterator[str]:
    """The first differences as a table with a column each for the location, the expected and the observed value."""
    shown = differences[:_MOST_DIFFERENCES]
    rows = [("", "expected", "observed"), *((item.place, item.expected, item.observed) for item in shown)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for place, expected, observed in rows:
        yield f"  {place:<{widths[0]}}  {expected:<{widths[1]}}  {observed}".rstrip()
    if len(differences) > _MOST_DIFFERENCES:
        yield f"  … and {len(differences) - _MOST_DIFFERENCES} more"
