"""The whole program, run from `main` on with the candidate in the place of the function: one more input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.judge.compare import format_ending
from pytest_llmcompiler.judge.difference import Difference
from pytest_llmcompiler.judge.format_c import format_bytes
from pytest_llmcompiler.judge.location import OutputStream, RunEnding

LIMIT = 2_000_000
"""Instructions; a program that runs longer is not used."""
_BEFORE, _SHOWN = 16, 48
"""Bytes of output that are shown: of them before the first difference, and in all."""
_STREAMS = (1, 2)


@dataclass(frozen=True)
class WholeProgram:
    """What the program does with the reference in its place."""

    expected: Observation
    limit: int
    """Instructions that a candidate may take for it."""


def run_whole_program(
    others: Sequence[Callable[[int], Observation]], counting: Machine, hang: tuple[int, int]
) -> WholeProgram | None:
    """What the program does; None where it says nothing of the function.

    That is where `main` does not reach it, or does not end, or where `others` (which run other builds of the reference
    for a number of instructions) do not agree. `counting` is the machine that is believed; `hang` are the instructions
    that a candidate may take for each byte of code, and on top.
    """
    run = counting.run_main(LIMIT)
    if not run.edges or run.outcome not in ("exit", "abort"):
        return None
    limit = hang[0] * run.executed_bytes + hang[1]
    if any(list(compare_programs(run, other(limit))) for other in others):
        return None
    return WholeProgram(run, limit)


def compare_programs(expected: Observation, actual: Observation) -> Iterator[Difference]:
    """In what two runs of a program differ: how they end, and what they print."""
    if _ending(expected) != _ending(actual):
        yield Difference(RunEnding(), _ending(expected), _ending(actual))
    for number in _STREAMS:
        first, second = expected.output.get(number, b""), actual.output.get(number, b"")
        if first != second:
            at = next((at for at, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
            start = max(0, at - _BEFORE)
            yield Difference(OutputStream(number, start), _excerpt(first, start), _excerpt(second, start))


def _ending(run: Observation) -> str:
    return (
        f"exit code {run.exit_code}"
        if run.outcome == "exit"
        else format_ending(run)
        if run.outcome == "abort"
        else run.outcome
    )


def _excerpt(output: bytes, start: int) -> str:
    part = output[start : start + _SHOWN]
    more = " …" if len(output) > start + _SHOWN else ""
    return (format_bytes(part) or "nothing more") + more
