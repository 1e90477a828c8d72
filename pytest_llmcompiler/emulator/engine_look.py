"""The second look: inputs that the engine makes for one candidate, on which it behaves otherwise than the reference.

The engine looks at a candidate that shows the same on the whole suite (see `engine/look.c`). What it notices are leads:
the judge runs the reference and the candidate on them as on any input of the suite.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_BUDGET = 8 << 20
"""Bytes of code that all runs of a look with effort 1 may execute. Each run costs 4,096 bytes on top, so that this is
500 to 1,200 inputs."""
_MAX_EFFORT = 5_000.0
"""A larger effort is taken for this one. Its look takes half a minute, and the time of a child is limited."""
_U64 = (1 << 64) - 1
MAX_LEADS, MAX_REACHING, MAX_CHANGES = 16, 32, 256
"""The most leads of a second look, the most inputs that reach further, and the most integers that one changes;
`look.h` has the same."""


@dataclass(frozen=True)
class Lead:
    """An input that differs from one of the suite in some of its numbers."""

    entry: int
    """The number of the input in the suite, or behind the suite's in the reserve."""
    numbers: tuple[tuple[int, int], ...]
    """For each changed number its index in `InputNumbers` with floats, and its bits as an unsigned number."""


@dataclass(frozen=True)
class LookRequest:
    """What a second look is to do."""

    seed: int
    """Determines all inputs, by its lowest 64 bits."""
    effort: float
    """How long it may take: 1 is about as long as the suite's runs of a small function."""
    constants: tuple[int, ...] = ()
    """Numbers in the candidate's code, of up to 64 bits. They are tried in all integers."""
    first: tuple[Lead, ...] = ()
    """What is tried first: inputs that failed earlier candidates."""
    reports_reaching: bool = False
    """Whether inputs are reported on which the reference takes an edge that it takes on no input of the suite."""

    def encode(self) -> bytes:
        """The request as the engine reads it."""
        leads = [struct.pack("<2I", lead.entry, len(lead.numbers)) + _encode_numbers(lead) for lead in self.first]
        constants = struct.pack(
            f"<I{len(self.constants)}Q", len(self.constants), *(number & _U64 for number in self.constants)
        )
        budget = round(min(self.effort, _MAX_EFFORT) * _BUDGET)
        return (
            struct.pack("<2QI", self.seed & _U64, budget, self.reports_reaching)
            + constants
            + struct.pack("<I", len(leads))
            + b"".join(leads)
        )


def _encode_numbers(lead: Lead) -> bytes:
    return b"".join(struct.pack("<IQ", number, value) for number, value in lead.numbers)


def read_leads(data: bytes, at: int, entries: int, most: int) -> tuple[tuple[Lead, ...], int]:
    """The leads that begin at an offset of an engine's reply, `most` of them at most, and the offset of their end.
    Hostile code may have written them. `entries` is the number of inputs that leads may name. Raises struct.error."""
    (count,) = struct.unpack_from("<I", data, at)
    at, leads = at + 4, []
    for _ in range(min(count, most)):
        entry, changes = struct.unpack_from("<2I", data, at)
        at += 8
        values = struct.unpack_from("<" + "IQ" * min(changes, MAX_CHANGES), data, at)
        at += 12 * (len(values) // 2)
        if entry < entries:
            leads.append(Lead(entry, tuple(zip(values[::2], values[1::2], strict=True))))
    return tuple(leads), at
