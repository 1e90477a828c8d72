"""Where a candidate's way parts from the reference's: the first other instruction, or the first store that is wrong."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import MemoryWrite
from pytest_llmcompiler.judge.compare import ComparisonContext, DontCareBytes
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.target import Target
from pytest_llmcompiler.values.c_types import Type, build_value_mask
from pytest_llmcompiler.values.layout import format_path

_ALIKE = 0.7
"""Share of instructions that two texts must have in common for one to be held against the other."""
_NUMBER = re.compile(r"0x[0-9a-f]+")


class Divergence(NamedTuple):
    """Where a candidate goes wrong, in words."""

    line: int
    """1-based, of its text."""
    words: str


class AssembledText:
    """A text for the function, assembled, its instructions comparable with those of another."""

    def __init__(self, name: str, assembly: str, assembled: AssembledCode, target: Target) -> None:
        self.name, self.assembled, self._target = name, assembled, target
        self._lines = assembly.split("\n")

    @functools.cached_property
    def keys(self) -> dict[int, str]:
        """Each instruction by its address, however it is written and wherever the text is loaded."""
        starts = [address for address, mnemonic in self.assembled.mnemonics.items() if not mnemonic.startswith(".")]
        return {address: self._key(address) for address in starts}

    @functools.cached_property
    def positions(self) -> dict[int, int]:
        """The number of each instruction in the text, by its address."""
        return {address: number for number, address in enumerate(sorted(self.keys))}

    def _key(self, address: int) -> str:
        processor = self._target.processor
        instruction = processor.decode(self.assembled.read_code(address), address)
        operands = processor.format_absolute_operands(instruction, address)
        return f"{instruction.mnemonic} {_NUMBER.sub(lambda found: self._place(int(found[0], 16)), operands)}"

    def _place(self, number: int) -> str:
        own = any(s.address <= number <= s.address + len(s.data) for s in self.assembled.segments)
        return "here" if own else hex(number)

    def number(self, address: int) -> int:
        """The 1-based number of the line that an instruction comes from."""
        return self.assembled.lines[address]

    def line(self, address: int) -> str:
        """That line, without comment."""
        return " ".join(self._target.dialect.strip_comment(self._lines[self.number(address) - 1]).split())

    def numbered(self, address: int) -> str:
        """The line with its number."""
        return f"line {self.number(address)}: {self.line(address)}"


def alike(first: AssembledText, second: AssembledText) -> bool:
    """Whether most instructions of two texts are the same."""
    one, two = Counter(first.keys.values()), Counter(second.keys.values())
    return (one & two).total() >= _ALIKE * max(one.total(), two.total())


def common(first: AssembledText, second: AssembledText, traces: tuple[Sequence[int], Sequence[int]]) -> int:
    """How many instructions the two execute alike from the start."""
    pairs = enumerate(zip(*traces))
    return next((at for at, (a, b) in pairs if first.keys.get(a) != second.keys.get(b)), min(map(len, traces)))


def find_divergence(
    candidate: AssembledText, other: AssembledText, traces: tuple[Sequence[int], Sequence[int]]
) -> Divergence | None:
    """Where the candidate's way parts from another text's; None where it does not."""
    at = common(candidate, other, traces)
    if at >= min(map(len, traces)):
        return None
    mine, theirs = (trace[at] for trace in traces)
    if mine not in candidate.keys or candidate.line(mine) == other.line(theirs):
        return None
    if at and _jumps_apart(candidate, other, traces, at):
        jump = traces[0][at - 1]
        words = f"{candidate.numbered(jump)} goes on to {candidate.numbered(mine)}"
        return Divergence(candidate.number(jump), f"{words}; {other.name} goes on to {other.line(theirs)}")
    return Divergence(
        candidate.number(mine), f"{candidate.numbered(mine)}; {other.name} has {other.line(theirs)} there"
    )


def _jumps_apart(
    candidate: AssembledText, other: AssembledText, traces: tuple[Sequence[int], Sequence[int]], at: int
) -> bool:
    """Whether the same jump led to different places of the texts."""
    if traces[0][at - 1] not in candidate.positions or traces[1][at - 1] not in other.positions:
        return False  # both came from what fills the space before an aligned label
    places = [
        (text.positions[trace[at]], text.positions[trace[at]] - text.positions[trace[at - 1]])
        for text, trace in zip((candidate, other), traces)
    ]
    return any(step != 1 for _, step in places) and places[0] != places[1]


def find_wrong_write(
    candidate: AssembledText,
    machines: tuple[Machine, Machine],
    stores: tuple[Sequence[MemoryWrite], Sequence[MemoryWrite]],
    seen: WriteContext,
) -> Divergence | None:
    """The first store to an object or global that the reference never makes; None where there is none.

    `machines` are those of the candidate and of the reference, as `stores` left them. Where both came to their end,
    what the store wrote must still be there.
    """
    made = {(at, byte) for store in stores[1] for at, byte in store.bytes()}
    initial: dict[int, int] = {}
    for store in stores[0]:
        for at, byte in zip(range(store.address, store.address + store.size), store.before):
            initial.setdefault(at, byte)
        for at, byte in store.bytes():
            if (at, byte) in made or initial.get(at) == byte or store.pc not in candidate.keys:
                continue
            name = seen.name(at)
            if name and not (seen.ended and machines[0].guest.read(at, 1) == machines[1].guest.read(at, 1)):
                words = f"stores {store.value:#x} to {name}, the reference never does"
                return Divergence(candidate.number(store.pc), f"{candidate.numbered(store.pc)} {words}")
    return None


@dataclass(frozen=True)
class WriteContext:
    """What can be seen of a run's memory: the objects of its input and the globals, but for padding and the like."""

    frame: ComparisonContext
    dont_care: DontCareBytes
    globals: Mapping[str, tuple[int, int]]
    """Address and size, by name."""
    ended: bool

    def name(self, address: int) -> str | None:
        """The C expression for the value that holds a byte; None where nobody may look at it."""
        for target in self.frame.layout.objects:
            if target.address <= address < target.address + target.size:
                return self._inside(target.label, target.label, target.element, address - target.address, True)
        for name, (start, size) in self.globals.items():
            type = self.frame.variables.get(name)
            if start <= address < start + size and type is not None and type.size == size:
                return self._inside(f"global {name}", name, type, address - start, False)
        return None

    def _inside(self, key: str, label: str, type: Type, offset: int, at_pointer: bool) -> str | None:
        mask = build_value_mask(type)
        if any(name == key for name, _ in self.dont_care) or not mask or not mask[offset % len(mask)]:
            return None
        return format_path(type, label, offset, at_pointer=at_pointer)
