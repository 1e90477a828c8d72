"""Which of a function's code the inputs of a suite reach, and why they do not reach the rest.

A build of the program counts how often each block runs. The inputs that count run in it once. So do some of the inputs
that were dropped: code that only these reach is unreached for the reason for which they were dropped.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.corpus.probing import TOO_LONG
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.block_lines import block_lines
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import abi
from pytest_llmcompiler.values.layout import Layout

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.oracle import SuiteEntry

Coverage = dict[str, Any]
"""The fact `coverage` of verdicts: see `record.schema.json`."""
_DROPPED_INSTRUCTIONS = 200_000
"""Instructions that are executed of an input that was dropped: enough to see where it goes."""
_NOT_FOUND = "not found"
"""The reason where no input at all reached some code."""
_REASONS = {TOO_LONG: TOO_LONG, "undefined behaviour": "undefined", "bad memory access": "undefined"}
"""The reasons for unreached code, by those for dropped inputs; where none is here it is the same."""
_NON_ZERO = re.compile(rb"[^\0]")
MAX_LINES = 100
"""Lines that are listed."""

DroppedInput = tuple[Layout, abi.CallSetup, str]
"""An input that was dropped, in memory, and the reason."""


def measure_coverage(
    under_test: FunctionUnderTest, entries: Iterable[SuiteEntry], dropped: Iterable[DroppedInput]
) -> Coverage | None:
    """The coverage of a function; None where the build that counts blocks can't be made."""
    try:
        counter = _BlockCounter(under_test)
    except LLMCompilerError:
        return None
    reached: set[int] = set()
    for entry in entries:
        reached |= counter.run(entry.layout, entry.call, entry.limit)
    reasons: dict[int, str] = {}
    if len(reached) < counter.count:
        for layout, call, reason in dropped:
            for block in counter.run(layout, call, _DROPPED_INSTRUCTIONS) - reached:
                reasons.setdefault(block, _REASONS.get(reason, reason))
    counter.close()
    unreached = [block for block in range(counter.count) if block not in reached]
    return {
        "edges": counter.count - len(unreached),
        "of": counter.count,
        "unreached": list(
            list_unreached_lines(under_test.reference, under_test.function, counter.count, unreached, reasons)
        )[:MAX_LINES],
    }


class _BlockCounter:
    """A machine that tells which blocks of the function under test a run reaches."""

    def __init__(self, under_test: FunctionUnderTest) -> None:
        self._machine = under_test.open_machine(under_test.reference.block_counters)
        self._blocks = FunctionBlocks(self._machine, under_test.function)
        self.count = self._blocks.count

    def close(self) -> None:
        """Free the machine."""
        self._machine.close()

    def run(self, layout: Layout, call: abi.CallSetup, limit: int) -> set[int]:
        """The blocks that a run reaches, by number."""
        self._machine.run(layout, call, limit, outcome_only=True)
        return self._blocks.read_reached()


class FunctionBlocks:
    """The blocks of a function in the program of a machine that counts them."""

    def __init__(self, machine: Machine, function: str) -> None:
        self._guest, program = machine.guest, machine.program
        symbol = program.symbols[function]
        self._counters, end = struct.unpack("<QQ", self._guest.read(program.symbols["llmc_counters"].address, 16))
        table, table_end = struct.unpack("<QQ", self._guest.read(program.symbols["llmc_blocks"].address, 16))
        self._size = end - self._counters
        blocks = [address for address, _ in struct.iter_unpack("<QQ", self._guest.read(table, table_end - table))]
        own = (number for number, at in enumerate(blocks) if 0 <= at - symbol.address < symbol.size)
        self._numbers = {counter: number for number, counter in enumerate(own)}

    @property
    def count(self) -> int:
        """The number of blocks."""
        return len(self._numbers)

    def read_reached(self) -> set[int]:
        """The blocks that the last run has reached, by number."""
        counters = self._guest.read(self._counters, self._size)
        found = (match.start() for match in _NON_ZERO.finditer(counters))
        return {self._numbers[counter] for counter in found if counter in self._numbers}


def list_unreached_lines(
    reference: Reference, function: str, count: int, unreached: list[int], reasons: dict[int, str]
) -> Iterator[dict[str, Any]]:
    """The lines of the C file of a function that no input reached, each with the reason."""
    if not unreached or reference.case.is_ir:
        return
    lines = block_lines(reference.block_image, function, reference.target)
    if len(lines) != count:
        return
    missed = set(unreached)
    seen = set[int]().union(*(lines[block] for block in range(count) if block not in missed))
    by_line: dict[int, set[str]] = {}
    for block in unreached:
        for line in lines[block] - seen:
            by_line.setdefault(line, set()).add(reasons.get(block, _NOT_FOUND))
    for line, found in sorted(by_line.items()):
        yield {"line": line, "reason": min(found - {_NOT_FOUND} or found)}


def pass_verdict(detail: dict[str, Any], min_coverage: float) -> Verdict:
    """The verdict on code that passes on all inputs: `inconclusive` where they reach too little of the function."""
    coverage: Coverage | None = detail.get("coverage")
    unreached = describe_unreached(coverage) if coverage else ""
    if coverage and coverage["edges"] < min_coverage * coverage["of"]:
        share = f"{100 * coverage['edges'] / coverage['of']:.0f} %"
        message = f"it passes on all inputs, but they reach only {share} of the function: {unreached}"
        return Verdict("inconclusive", message, detail=detail)
    return Verdict("pass", evidence=(unreached,) if unreached else (), detail=detail)


def describe_unreached(coverage: Coverage) -> str:
    """One line about the code that no input reached; empty where all was."""
    missing = coverage["of"] - coverage["edges"]
    if not missing:
        return ""
    by_reason: dict[str, list[int]] = {}
    for part in coverage["unreached"]:
        by_reason.setdefault(part["reason"], []).append(part["line"])
    reasons = "; ".join(f"{_format_lines(lines)} ({reason})" for reason, lines in by_reason.items())
    return f"no input reached {missing} of {coverage['of']} edges" + (f": {reasons}" if reasons else "")


def _format_lines(lines: list[int]) -> str:
    """`line 3`, `lines 3, 5-7`."""
    ranges: list[list[int]] = []
    for line in sorted(lines):
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    text = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
    return f"line{'s' if len(lines) > 1 else ''} {text}"
