"""The second look: inputs that the engine makes for one candidate, and on which it behaves otherwise than the reference.

The engine looks at a candidate that shows the same on the whole suite (see `engine/look.c`). What it notices are leads:
the judge runs the reference and the candidate on them as on any input of the suite.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lead:
    """An input that differs from one of the suite in some of its integers."""

    entry: int
    """The number of the input in the suite."""
    changes: tuple[tuple[int, int], ...]
    """For each changed integer its number in the order of `InputNumbers`, and its value as an unsigned number."""


@dataclass(frozen=True)
class LookRequest:
    """What a second look is to do."""

    seed: int
    """Determines all inputs; 64 bits."""
    budget: int
    """Bytes of code that all runs together may execute. Each run costs 4,096 bytes on top."""
    constants: tuple[int, ...] = ()
    """Numbers that the candidate's code compares with, as unsigned 64-bit numbers. They are tried in all integers."""
    first: tuple[Lead, ...] = ()
    """What is tried first."""
