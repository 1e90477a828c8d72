"""The whole program, run as a process with the candidate in the place of the function: one more input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.emulator.kernel import REFUSED_CALLS, SIGNAL_CODE
from pytest_llmcompiler.emulator.observation import ENDINGS, Observation
from pytest_llmcompiler.judge.compare import format_ending
from pytest_llmcompiler.judge.compare_memory import first_difference
from pytest_llmcompiler.judge.difference import Difference
from pytest_llmcompiler.judge.format_c import format_bytes
from pytest_llmcompiler.judge.location import OutputStream, RunEnding
from pytest_llmcompiler.program.case import Case

_MAX_PROGRAM_INSTRUCTIONS, _MAX_TEST_INSTRUCTIONS = 2_000_000, 20_000_000
"""Instructions of the program with the reference in it, and of one whose `main` is published tests: what they say is
asked for. A longer program is not used: each candidate would run it too."""
_LONG_RUN_BYTES, _PER_LATER_BYTE = 1_000_000, 4
"""Bytes of code after which a run of the reference is long, and the instructions that a candidate may execute for each
byte above: 16 for each instruction, so that a hang does not take minutes."""
_BYTES_BEFORE, _BYTES_SHOWN = 16, 48
"""Bytes of output that are shown before the first difference, and in all: together they fit a line."""
COMPARED_OUTPUTS = (1, 2, REFUSED_CALLS)
"""The file descriptors of standard output and standard error, and what stands for system calls with another effect."""


@dataclass(frozen=True)
class HangLimit:
    """How many instructions a candidate may execute before it counts as a hang."""

    per_byte: int
    """Instructions for each byte of code that the reference executes."""
    base: int
    """Instructions on top, for short runs."""

    def instructions(self, executed_bytes: int) -> int:
        """The limit where the reference executes so many bytes of code."""
        short = min(executed_bytes, _LONG_RUN_BYTES)
        return self.base + self.per_byte * short + _PER_LATER_BYTE * (executed_bytes - short)


def limit_reference(case: Case) -> int:
    """The instructions that the program of a case may execute with the reference in it."""
    return _MAX_TEST_INSTRUCTIONS if case.tests else _MAX_PROGRAM_INSTRUCTIONS


@dataclass(frozen=True)
class WholeProgram:
    """The run of the program with the reference in it."""

    expected: Observation
    limit: int
    """Instructions that the program may execute with a candidate in it."""


def run_whole_program(
    run_golden: Callable[[int], Observation],
    others: Sequence[Callable[[int], Observation]],
    hang_limit: HangLimit,
    instructions: int,
) -> WholeProgram | None:
    """Run the program with the reference in it, for at most so many instructions; None where that shows nothing of the
    function.

    That is where `main` does not reach the function, where the program does not end, and where another build of the
    reference behaves differently. `run_golden` runs the build whose behaviour is expected for at most a number of
    instructions, and each of `others` another one.
    """
    run = run_golden(instructions)
    if not run.edges or run.outcome not in ("exit", "abort"):
        return None
    limit = hang_limit.instructions(run.executed_bytes)
    if any(list(compare_programs(run, run_other(limit))) for run_other in others):
        return None
    return WholeProgram(run, limit)


def compare_programs(expected: Observation, actual: Observation) -> Iterator[Difference]:
    """The differences of two runs of a program: how they end, and what they print."""
    endings = format_program_ending(expected), format_program_ending(actual)
    if endings[0] != endings[1]:
        yield Difference(RunEnding(), endings[0], endings[1])
    for descriptor in COMPARED_OUTPUTS:
        first, second = expected.output.get(descriptor, b""), actual.output.get(descriptor, b"")
        if first != second:
            start = max(0, first_difference(first, second) - _BYTES_BEFORE)
            yield Difference(OutputStream(descriptor, start), _excerpt(first, start), _excerpt(second, start))


def format_program_ending(run: Observation) -> str:
    """How a run of a program ends, in words."""
    if run.outcome == "exit" and run.exit_code < SIGNAL_CODE:
        return f"exit code {run.exit_code}"
    return format_ending(run) if run.outcome in ENDINGS else run.outcome


def _excerpt(output: bytes, start: int) -> str:
    part = output[start : start + _BYTES_SHOWN]
    ellipsis = " …" if len(output) > start + _BYTES_SHOWN else ""
    return (format_bytes(part) or "nothing more") + ellipsis
