"""The length of the one long input: as long as a run on it may take."""

from __future__ import annotations

import math
from collections.abc import Callable

LONG_BYTES = 65_600
"""Bytes of the one long text: more than 65,535, so that code which counts in 16 bits fails on it."""
_FACTOR = 4
_MEASURED = (65, 257, 1_025, 4_100)
"""Lengths on which runs are measured, a factor of four apart."""
_MARGIN = 0.8
"""The share of the estimated length that is taken where that is less than `LONG_BYTES`."""


def list_lengths(measure: Callable[[int], int | None], most_steps: int) -> list[int]:
    """The lengths to try for the long text, in this order: the one that `choose_length` chooses, and shorter ones.

    Steps say nothing of what the C library does in each: a loop that asks for `strlen` every time takes as many steps
    as one that does not, and far longer.
    """
    chosen = choose_length(measure, most_steps)
    return [chosen, *(length for length in reversed(_MEASURED) if length < chosen)]


def choose_length(measure: Callable[[int], int | None], most_steps: int) -> int:
    """The length of the long text: `LONG_BYTES`, or less where a run on it would take more than `most_steps`.

    `measure` returns the steps of a run on a text of some length; None where it takes too long.

    Example: 1,025 bytes take 5,000 steps and 4,100 bytes take 70,000. Four times the length takes 14 times the steps,
    so steps grow with the length to the power of 1.9. Then 300,000 steps suffice for 8,800 bytes.
    """
    steps: list[int] = []
    for length in _MEASURED:
        measured = measure(length)
        if measured is None:
            break
        steps.append(max(measured, 1))
    if len(steps) < 2:  # without any, a short text may be against a directive
        return _MEASURED[0] if steps else LONG_BYTES
    power = max(1.0, math.log(steps[-1] / steps[-2]) / math.log(_FACTOR))
    fitting = _MEASURED[len(steps) - 1] * (most_steps / steps[-1]) ** (1 / power)
    return LONG_BYTES if fitting >= LONG_BYTES else int(_MARGIN * fitting)
