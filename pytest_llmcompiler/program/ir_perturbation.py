"""A module of IR in which everything that C leaves open is chosen in another way.

- Variables lie in the reverse order, with gaps between them: global ones and those of each function. So an access past
  the end of one meets no neighbour, or another one, and a comparison of unrelated addresses has another result. A write
  into a gap shows: in a function's frame the program stops, and around a global variable the gap has changed.
- A NaN that arithmetic produces has another sign and payload.

A function whose behaviour is defined does the same in both modules.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pytest_llmcompiler.program.ir_assumptions import is_dynamic
from pytest_llmcompiler.program.ir_rewrites import PADDED_PREFIX, PADDING_BYTES

GAP_PREFIX = f"{PADDED_PREFIX}gap."
"""The prefix of the variables that are gaps between others."""
_LOCAL_GAP = 256
"""Bytes before and after each local variable, at least."""
_MIN_ALIGNMENT = 16
"""Alignment of the frames, in bytes: no type of C needs more."""
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
        gap = f"{GAP_PREFIX}{number}"
        lines[place] = (
            f"@{gap} = hidden global {type} zeroinitializer, align 64\n"
            f"@{gap}.filled = hidden global {type} [{filled}], align 64\n{line}"
        )
    return "\n".join(lines) + "\n"


def _spread_locals(text: str) -> str:
    """The module with the local variables of each function in the reverse order, with gaps around them.

    Each function fills the gaps where it begins, and checks before it returns that no access has changed them.
    """
    numbers = itertools.count()
    lines: list[str] = []
    block: list[_Local] = []
    guarded: list[_Local] = []
    """The variables of the present function."""
    for line in text.splitlines():
        alloca = _ALLOCA.match(line)
        if alloca and not is_dynamic(alloca[2]):
            block.append(_Local(alloca[1], alloca[2], int(alloca[3] or 1)))
            continue
        if block:
            lines += _spread(block, f"%llmc.frame{next(numbers)}")
        guarded += block
        block = []
        if line.startswith("  ret ") and "musttail" not in lines[-1]:
            lines += [local.guard(checks=True) for local in guarded]
        elif line.startswith("}"):
            guarded = []
        lines.append(line)
    return "\n".join(lines) + _GUARD


class _Local(NamedTuple):
    """A local variable that gets gaps."""

    name: str
    type: str
    alignment: int

    def guard(self, *, checks: bool) -> str:
        """The call that fills the gaps, or that checks them."""
        size = f"ptrtoint (ptr getelementptr ({self.type}, ptr null, i32 1) to i64)"
        return f"  call void @llmc.guard(ptr {self.name}, i64 {size}, i1 {str(checks).lower()})"


def _spread(block: Sequence[_Local], frame: str) -> Iterator[str]:
    """One variable that holds a block of others between gaps, and the address of each.

    A code generator orders the variables of a function as it likes, but not the members of a struct. At -O0 it places
    the first variable at the highest address; here it has the lowest.
    """
    # A vector is as much aligned as it is large: so each variable, which follows a gap of vectors, is aligned enough.
    alignment = max(_MIN_ALIGNMENT, *(local.alignment for local in block))
    gap = f"[{-(-_LOCAL_GAP // alignment)} x <{alignment} x i8>]"
    members = ", ".join(f"{gap}, {local.type}" for local in block)
    struct = f"{{ {members}, {gap} }}"
    yield f"  {frame} = alloca {struct}, align {alignment}"
    for index, local in enumerate(block):
        yield f"  {local.name} = getelementptr {struct}, ptr {frame}, i32 0, i32 {2 * index + 1}"
    for local in block:
        yield local.guard(checks=False)


_GUARD = f"""
@{PADDED_PREFIX}canary = hidden global [{2 * PADDING_BYTES} x i8] zeroinitializer, align 64
define hidden void @llmc.guard(ptr %variable, i64 %size, i1 %checks) {{
entry:
  %start = getelementptr i8, ptr %variable, i64 -{_LOCAL_GAP}
  %canary = load i64, ptr @{PADDED_PREFIX}canary
  %skipped = add i64 {_LOCAL_GAP}, %size
  br label %loop
loop:
  %at = phi i64 [ 0, %entry ], [ %next, %end ]
  %first = getelementptr i8, ptr %start, i64 %at
  %second = getelementptr i8, ptr %first, i64 %skipped
  br i1 %checks, label %check, label %fill
fill:
  store i64 %canary, ptr %first, align 1
  store i64 %canary, ptr %second, align 1
  br label %end
check:
  %left = load i64, ptr %first, align 1
  %right = load i64, ptr %second, align 1
  %is_left = icmp eq i64 %left, %canary
  %is_right = icmp eq i64 %right, %canary
  %is_whole = and i1 %is_left, %is_right
  br i1 %is_whole, label %end, label %changed
changed:
  call void @llvm.trap()
  unreachable
end:
  %next = add i64 %at, 8
  %more = icmp ult i64 %next, {_LOCAL_GAP}
  br i1 %more, label %loop, label %return
return:
  ret void
}}
declare void @llvm.trap()
"""
"""Fills the gaps of a local variable, or stops the program where they have changed. Their contents depend on the
run: the paddings of a program do."""
