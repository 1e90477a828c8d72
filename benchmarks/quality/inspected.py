"""Faults that a person has shown to make no difference: a file of lines

    FILE::FUNCTION LEVEL | BEFORE => AFTER | REASON

A line names a fault by its content, not by its number, so the line stays valid as long as the function does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quality.measure import Measured, Seeded


class InspectedError(Exception):
    """A line that can't be read; the message says which."""


@dataclass(frozen=True)
class Inspected:
    """One line: a fault, and why it makes no difference."""

    fault: str
    reason: str


def read_inspected(path: Path) -> list[Inspected]:
    """The lines of the file, without empty lines and comments (`#`). Raises InspectedError."""
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split(" | ")]
        if len(parts) != 3 or " => " not in parts[1] or not parts[2]:
            raise InspectedError(f"{path.name}:{number}: expected FILE::FUNCTION LEVEL | BEFORE => AFTER | REASON")
        lines.append(Inspected(f"{parts[0]} | {parts[1]}", parts[2]))
    return lines


def as_line(name: str, one: Seeded) -> str:
    """A fault as a line of the file names it."""
    return f"{name}::{one.function} {one.level} | {one.before} => {one.after}"


def apply_inspected(results: Sequence[Measured], inspected: Iterable[Inspected]) -> list[str]:
    """Mark, in place, the faults that passed and that a line names. Returns the lines of measured functions that fit
    none.
    """
    known = {one.fault: one for one in inspected}
    unused = dict(known)
    for result in results:
        for number, one in enumerate(result.seeded):
            line = as_line(result.name, one)
            if line in known and not one.proof and any(judged.kind == "pass" for judged in one.verdicts.values()):
                result.seeded[number] = replace(one, proof=f"by inspection: {known[line].reason}")
                unused.pop(line, None)
    measured = {f"{result.name}::{one.function}" for result in results for one in result.seeded}
    return [line for line in unused if line.partition(" ")[0] in measured]
