"""What a program may show where products that are added are not rounded.

C lets a compiler choose, sum by sum, whether it rounds a product before it adds it. Three builds of the reference are
three of many choices. Another right one shows other digits, but no other text, and numbers about as far from these as
they are from each other.

Example: the builds print `x = 0.25000000000000011` and `x = 0.25000000000000006`. `x = 0.25000000000000017` is allowed.
`x = 7` is not near them, and may be another choice in a calculation that doubles its error in each step: nobody can
say. `y = 0.25` is wrong, since no build prints `y`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

Rounding = Literal["allowed", "unclear", "wrong"]
"""Whether another rounding explains what code shows."""

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_MARGIN = 4.0
"""How far from the builds a number may lie, in distances between these: they are three choices of many."""
_SMALL_ERROR = 1e-3
"""Up to this relative distance from a number on which all builds agree, rounding may still explain it: they may agree
by chance."""
_SMALL_NUMBER = 1e-3
"""Numbers nearer to 0 have the error of this one: a difference may cancel all digits."""


class ShownText(NamedTuple):
    """What a run shows, as text."""

    text: str
    fixed: str = ""
    """A part whose numbers are compared as text: an exit code is nothing that is rounded."""


class _Shape(NamedTuple):
    mask: tuple[str, ...]
    """The text around the numbers."""
    numbers: tuple[str, ...]


def compare_rounded(observed: ShownText, builds: Sequence[ShownText]) -> Rounding:
    """Whether a text is one that the reference may show, of which builds with different choices show others.

    Where all builds show the same, only a difference as small as an error of rounding is not wrong.
    """
    shape, shapes = _find_shape(observed), [_find_shape(build) for build in builds]
    alike = [build.numbers for build in shapes if build.mask == shape.mask]
    is_sure = len({build.mask for build in shapes}) == 1
    if not alike:
        return "wrong" if is_sure else "unclear"
    result: Rounding = "allowed"
    for number, *others in zip(shape.numbers, *alike, strict=True):
        rounding = _compare_number(number, others)
        if rounding == "wrong" and is_sure:
            return "wrong"
        if rounding != "allowed":
            result = "unclear"
    return result


def _compare_number(text: str, builds: Sequence[str]) -> Rounding:
    if text in builds:
        return "allowed"
    number, values = float(text), [float(build) for build in builds]
    low, high = min(values), max(values)
    margin = _MARGIN * (high - low)
    if low < high:
        return "allowed" if low - margin <= number <= high + margin else "unclear"
    is_near = number != low and abs(number - low) <= _SMALL_ERROR * max(abs(low), _SMALL_NUMBER)
    return "unclear" if is_near else "wrong"


def _find_shape(shown: ShownText) -> _Shape:
    return _Shape((shown.fixed, *_NUMBER.split(shown.text)), tuple(_NUMBER.findall(shown.text)))
