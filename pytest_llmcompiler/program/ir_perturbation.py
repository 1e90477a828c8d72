"""A module of IR in which everything that C leaves open is chosen in another way.

- Variables lie in the reverse order, with gaps between them: global ones and those of each function. So an access past
  the end of one meets no neighbour, or another one, and no comparison of unrelated addresses has the same result.
- A NaN that arithmetic produces has another sign and payload.

A function whose behaviour is defined does the same in both modules.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from pytest_llmcompiler.program.ir_assumptions import is_dynamic
from pytest_llmcompiler.program.ir_rewrites import PADDED_PREFIX, PADDING_BYTES

_LOCAL_GAP = 64
"""Bytes before and after each local variable."""
_VARIABLE = re.compile(r"^@(?!llvm\.)[^=]+ = (?!external )[a-z_() ]*\bglobal ")
_ALLOCA = re.compile(r"^  (%\S+) = alloca (.*?)(?:, align (\d+))?$")
_ARITHMETIC = re.compile(
    r"^  (%\S+) = (f(?:add|sub|mul|div|rem) [^\n]*?\b(float|double) [^\n]*|fp(?:trunc|ext) [^\n]* to (float|double))$",
    re.M,
)
_NAN = {"float": "0x7FF8000020000000", "double": "0x7FF8000000000001"}
"""A quiet NaN with its sign bit clear and a payload of 1. x86-64 makes one with the sign bit set and no payload."""


def perturb(text: str) -> str:
    """The module with other choices."""
    return _spread_locals(_spread_variables(_change_nans(text)))


def _change_nans(text: str) -> str:
    numbers = itertools.count()

    def change(line: re.Match[str]) -> str:
        name, operation, type = line[1], line[2], line[3] or line[4]
        raw = f"%llmc.number{next(numbers)}"
        return (
            f"  {raw} = {operation}\n"
            f"  {raw}.nan = fcmp uno {type} {raw}, 0.0\n"
            f"  {name} = select i1 {raw}.nan, {type} {_NAN[type]}, {type} {raw}"
        )

    return _ARITHMETIC.sub(change, text)


def _spread_variables(text: str) -> str:
    """The module with its variables in the reverse order, each behind a gap."""
    lines = text.splitlines()
    places = [index for index, line in enumerate(lines) if _VARIABLE.match(line)]
    type = f"[{2 * PADDING_BYTES} x i8]"
    for number, (place, line) in enumerate(zip(places, [lines[place] for place in reversed(places)], strict=True)):
        # Zeroed variables and others lie in different sections, which both need gaps.
        filled = ", ".join(["i8 -91"] * 2 * PADDING_BYTES)
        gap = f"{PADDED_PREFIX}gap{number}"
        lines[place] = (
            f"@{gap} = hidden global {type} zeroinitializer, align 64\n"
            f"@{gap}.filled = hidden global {type} [{filled}], align 64\n{line}"
        )
    return "\n".join(lines) + "\n"


def _spread_locals(text: str) -> str:
    """The module with the local variables of each function in the reverse order, with gaps around them."""
    numbers = itertools.count()
    lines: list[str] = []
    block: list[re.Match[str]] = []
    for line in text.splitlines():
        alloca = _ALLOCA.match(line)
        if alloca and not is_dynamic(alloca[2]):
            block.append(alloca)
            continue
        lines += _spread(block, numbers)
        block = []
        lines.append(line)
    return "\n".join(lines) + "\n"


def _spread(block: Sequence[re.Match[str]], numbers: Iterator[int]) -> Iterator[str]:
    """A block of allocations in the reverse order, then the address of each variable in the old one."""
    names = [f"%llmc.local{next(numbers)}" for _ in block]
    for name, alloca in reversed(list(zip(names, block, strict=True))):
        alignment = max(int(alloca[3] or 1), 16)
        gap = f"[{max(_LOCAL_GAP, alignment)} x i8]"
        yield f"  {name} = alloca <{{ {gap}, {alloca[2]}, {gap} }}>, align {alignment}"
    for name, alloca in zip(names, block, strict=True):
        yield f"  {alloca[1]} = getelementptr i8, ptr {name}, i64 {max(_LOCAL_GAP, int(alloca[3] or 1))}"
