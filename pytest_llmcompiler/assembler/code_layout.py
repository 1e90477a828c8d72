"""Where the pieces of a stream lie, and their bytes.

Jumps have a form of two bytes for short distances. Which of them fit depends on the layout, and the layout on them. So
all are short at first, and those that do not reach become long until all reach, as assemblers do it:

    f:      jmp .Lend           eb 7f       the distance is 127: it fits, until the jump below becomes long
            jne f               75 fc
            …
    .Lend:  ret

Each round makes a jump long, so there is an end, but a text may be made such that one jump a round grows. After
`_ROUNDS`, all jumps that are left are made long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pytest_llmcompiler.assembler.code_stream import Branch, CodeStream, Padding, StreamPosition
from pytest_llmcompiler.assembler.instruction_forms import InstructionLine
from pytest_llmcompiler.assembler.linker import SectionAddress, align

_ROUNDS = 16
"""Usual texts take two or three."""
_SHORT_BYTES = 2
"""The length of a jump with an 8-bit distance."""
_DISTANCE_BYTES = 4
"""The length of the distance of a long one."""
_NOPS = (
    b"\x90",
    b"\x66\x90",
    b"\x0f\x1f\x00",
    b"\x0f\x1f\x40\x00",
    b"\x0f\x1f\x44\x00\x00",
    b"\x66\x0f\x1f\x44\x00\x00",
    b"\x0f\x1f\x80\x00\x00\x00\x00",
    b"\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x66\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00",
)
"""The recommended NOP of each length from 1 byte (Intel Software Developer's Manual, volume 2, "NOP"), as LLVM uses
them."""


@dataclass(frozen=True)
class CodeLayout:
    """The code of a stream, all of its executable sections one after another, each on pages of its own."""

    starts: list[int]
    """Where each piece starts."""
    parts: list[bytes]
    """The bytes of each piece."""
    section_starts: dict[int, int]
    """Executable section -> its start."""
    section_numbers: dict[int, int]
    """Section of the text -> its index for the linker."""

    def find_address(self, position: StreamPosition) -> SectionAddress:
        """A position, in the linker's terms."""
        section, piece, offset = position
        if piece >= 0:
            offset += self.starts[piece] - self.section_starts[section]
        return SectionAddress(self.section_numbers[section], offset)


def lay_out(stream: CodeStream, codes: Mapping[InstructionLine, bytes]) -> CodeLayout:
    """Place the pieces of a stream. `codes` has the bytes of the lines that have none."""
    parts: list[bytes] = []
    branches: dict[int, Branch] = {}
    paddings: dict[int, Padding] = {}
    for number, piece in enumerate(stream.pieces):
        if isinstance(piece, InstructionLine):
            parts.append(piece.code or codes[piece])
        elif isinstance(piece, bytes):
            parts.append(piece)
        elif isinstance(piece, Branch):
            branches[number] = piece
            parts.append(b"")
        else:
            paddings[number] = piece
            parts.append(b"")
    placer = _Placer(stream, list(map(len, parts)), branches, paddings)
    starts = placer.place_all()
    for number in paddings:
        parts[number] = _build_padding(placer.sizes[number])
    for number, branch in branches.items():
        distance = starts[placer.targets[number]] - starts[number] - placer.sizes[number]
        parts[number] = _encode_branch(branch, placer.sizes[number], distance)
    section_starts = {section: starts[first] for section, (first, _) in stream.code_pieces.items()}
    numbers = {section: number for number, section in enumerate(stream.section_order)}
    return CodeLayout(starts, parts, section_starts, numbers)


class _Placer:
    """Finds the sizes of branches and paddings."""

    def __init__(
        self, stream: CodeStream, sizes: list[int], branches: Mapping[int, Branch], paddings: Mapping[int, Padding]
    ) -> None:
        """`sizes` are those of the other pieces."""
        self.sizes, self._branches, self._paddings = sizes, branches, paddings
        self.targets = {number: stream.label_positions[branch.target].piece for number, branch in branches.items()}
        """Branch -> the piece in front of which its label is."""
        self._short: list[int] = []
        for number, branch in branches.items():
            if branch.opcodes.short:
                self._short.append(number)
                sizes[number] = _SHORT_BYTES
            else:
                self._lengthen(number)
        self._spans = list(stream.code_pieces.values())

    def place_all(self) -> list[int]:
        """The starts of all pieces."""
        for remaining in reversed(range(_ROUNDS)):
            starts = self._place()
            late = [number for number in self._short if not self._reaches(number, starts)] if remaining else self._short
            if not late:
                return starts
            for number in late:
                self._lengthen(number)
            self._short = [number for number in self._short if self.sizes[number] == _SHORT_BYTES]
        return self._place()

    def _reaches(self, number: int, starts: Sequence[int]) -> bool:
        return -128 <= starts[self.targets[number]] - starts[number] - _SHORT_BYTES < 128

    def _lengthen(self, number: int) -> None:
        self.sizes[number] = len(self._branches[number].opcodes.near) + _DISTANCE_BYTES

    def _place(self) -> list[int]:
        starts: list[int] = []
        paddings = iter((*self._paddings, len(self.sizes)))
        padding, at = next(paddings), 0
        for first, end in self._spans:
            at = align(at)
            while padding < end:
                starts += accumulate(self.sizes[first:padding], initial=at)
                at, first = starts[-1], padding + 1
                at += self._pad(padding, at)
                padding = next(paddings)
            starts += accumulate(self.sizes[first:end], initial=at)
            at = starts.pop()
        return starts

    def _pad(self, number: int, at: int) -> int:
        """The size of a padding at an address, which is noted."""
        piece = self._paddings[number]
        size = -at % piece.alignment
        self.sizes[number] = 0 if 0 < piece.most < size else size
        return self.sizes[number]


def _build_padding(count: int) -> bytes:
    """So many bytes of NOPs, as LLVM fills them."""
    longest = len(_NOPS)
    return _NOPS[-1] * (count // longest) + (_NOPS[count % longest - 1] if count % longest else b"")


def _encode_branch(branch: Branch, size: int, distance: int) -> bytes:
    if size == _SHORT_BYTES:
        return branch.opcodes.short + distance.to_bytes(1, "little", signed=True)
    return branch.opcodes.near + distance.to_bytes(_DISTANCE_BYTES, "little", signed=True)
