"""Where a candidate diverges from the reference: the first instruction that differs, or the first wrong store."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import MemoryWrite
from pytest_llmcompiler.judge.difference import ComparisonContext
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.location import (
    ByteRange,
    GlobalVariable,
    InputObject,
    TypedExpression,
    format_location,
)
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.target import Target
from pytest_llmcompiler.values.c_types import build_value_mask

_SIMILAR = 0.7
"""The share of instructions that two texts must have in common. Below it, the first instruction that differs is as
likely another way to compile the function as a mistake."""
_NUMBER = re.compile(r"0x[0-9a-f]+")


@dataclass(frozen=True)
class Divergence:
    """Where a candidate diverges from the reference."""

    line: int
    """The line of the candidate's text, counted from 1."""
    description: str
    """That line, and what the reference does instead."""


class AssembledText:
    """A text of the function, assembled, with its instructions in a form that can be compared with another text's."""

    def __init__(self, name: str, assembly: str, assembled: AssembledCode, target: Target) -> None:
        self.name, self.assembled, self._target = name, assembled, target
        self._lines = assembly.split("\n")

    @functools.cached_property
    def instructions(self) -> dict[int, str]:
        """Each instruction by its address. The form does not depend on the syntax of the text or on where it is
        loaded."""
        starts = [address for address, mnemonic in self.assembled.mnemonics.items() if not mnemonic.startswith(".")]
        return {address: self._normalise(address) for address in starts}

    @functools.cached_property
    def positions(self) -> dict[int, int]:
        """The index of each instruction in the text, by its address."""
        return {address: index for index, address in enumerate(sorted(self.instructions))}

    def line_number(self, address: int) -> int:
        """The line that an instruction comes from, counted from 1."""
        return self.assembled.lines[address]

    def line(self, address: int) -> str:
        """That line, without its comment."""
        return " ".join(self._target.dialect.strip_comment(self._lines[self.line_number(address) - 1]).split())

    def numbered_line(self, address: int) -> str:
        """That line after its number."""
        return f"line {self.line_number(address)}: {self.line(address)}"

    def _normalise(self, address: int) -> str:
        processor = self._target.processor
        instruction = processor.decode(self.assembled.read_code(address), address)
        operands = processor.format_absolute_operands(instruction, address)
        return f"{instruction.mnemonic} {_NUMBER.sub(lambda number: self._name(int(number[0], 16)), operands)}"

    def _name(self, number: int) -> str:
        """A number of an operand; every address in the text itself is the same, since labels lie elsewhere in another
        text."""
        is_own = any(s.address <= number <= s.address + len(s.data) for s in self.assembled.segments)
        return "here" if is_own else hex(number)


class InstructionTrace:
    """The instructions of a text that one run executed, in order.

    Executed bytes that are no instruction of the text are left out: that is the padding before an aligned label, which
    another text may lack.
    """

    def __init__(self, text: AssembledText, executed: Iterable[int]) -> None:
        self.text = text
        self.addresses = [address for address in executed if address in text.instructions]

    def instruction(self, index: int) -> str:
        """The normalised instruction."""
        return self.text.instructions[self.addresses[index]]


def is_similar(first: AssembledText, second: AssembledText) -> bool:
    """Whether most instructions of two texts are the same."""
    counts = Counter(first.instructions.values()), Counter(second.instructions.values())
    common = (counts[0] & counts[1]).total()
    return common >= _SIMILAR * max(counts[0].total(), counts[1].total())


def common_length(first: InstructionTrace, second: InstructionTrace) -> int:
    """How many instructions two runs have in common from the start."""
    shorter = min(len(first.addresses), len(second.addresses))
    indices = (index for index in range(shorter) if first.instruction(index) != second.instruction(index))
    return next(indices, shorter)


def find_divergence(candidate: InstructionTrace, reference: InstructionTrace) -> Divergence | None:
    """The first instruction of a candidate that differs from a similar text; None where there is none.

    Where the same jump led to different places, the jump's line is the divergence.
    """
    index = common_length(candidate, reference)
    if index >= min(len(candidate.addresses), len(reference.addresses)):
        return None
    text, other = candidate.text, reference.text
    address, other_address = candidate.addresses[index], reference.addresses[index]
    if text.line(address) == other.line(other_address):
        return None
    if index and _have_jumped_apart(candidate, reference, index):
        jump = candidate.addresses[index - 1]
        description = (
            f"{text.numbered_line(jump)} goes on to {text.numbered_line(address)}; "
            f"{other.name} goes on to {other.line(other_address)}"
        )
        return Divergence(text.line_number(jump), description)
    description = f"{text.numbered_line(address)}; {other.name} has {other.line(other_address)} there"
    return Divergence(text.line_number(address), description)


def _have_jumped_apart(candidate: InstructionTrace, reference: InstructionTrace, index: int) -> bool:
    """Whether the instruction before an index jumped, to different places of the two texts."""
    steps = []
    for trace in (candidate, reference):
        positions, before, after = trace.text.positions, trace.addresses[index - 1], trace.addresses[index]
        steps.append((positions[after], positions[after] - positions[before]))
    return any(step != 1 for _, step in steps) and steps[0] != steps[1]


def find_wrong_write(
    candidate: AssembledText,
    machines: tuple[Machine, Machine],
    writes: tuple[Sequence[MemoryWrite], Sequence[MemoryWrite]],
    context: WriteContext,
) -> Divergence | None:
    """The first store to an object or a global variable that the reference never makes; None where there is none.

    `machines` and `writes` are the candidate's and the reference's, the machines in the state after the run. Where both
    runs came to their end, the wrong byte must still be there: a candidate may use memory for temporary values.
    """
    reference_bytes = {(address, byte) for write in writes[1] for address, byte in write.bytes()}
    initial: dict[int, int] = {}
    for write in writes[0]:
        for address, byte in zip(range(write.address, write.address + write.size), write.before):
            initial.setdefault(address, byte)
        for address, byte in write.bytes():
            is_right = (address, byte) in reference_bytes or initial.get(address) == byte
            if is_right or write.pc not in candidate.instructions:
                continue
            location = context.location_of(address)
            if location is None:
                continue
            if context.is_complete and machines[0].guest.read(address, 1) == machines[1].guest.read(address, 1):
                continue
            text = f"stores {write.value:#x} to {format_location(location)}, the reference never does"
            return Divergence(candidate.line_number(write.pc), f"{candidate.numbered_line(write.pc)} {text}")
    return None


@dataclass(frozen=True)
class WriteContext:
    """Which bytes of memory a store can get wrong: those of the input's objects and of global variables."""

    comparison: ComparisonContext
    dont_care: DontCareBytes
    globals: Mapping[str, tuple[int, int]]
    """Address and size in bytes of each global variable."""
    is_complete: bool
    """Whether both runs came to their end."""

    def location_of(self, address: int) -> ByteRange | None:
        """The byte at an address as a location. None where the byte is not compared: it is padding, or in a region
        that has don't-care bytes, or in no object."""
        for number, target in enumerate(self.comparison.layout.objects):
            if target.address <= address < target.address + target.size:
                expression = TypedExpression(target.label, target.element, True)
                region = InputObject(number, target.label)
                return self._compared_byte(ByteRange(region, address - target.address, 1, expression))
        for name, (start, size) in self.globals.items():
            type = self.comparison.variables.get(name)
            if start <= address < start + size and type is not None and type.size == size:
                expression = TypedExpression(name, type, False)
                return self._compared_byte(ByteRange(GlobalVariable(name), address - start, 1, expression))
        return None

    def _compared_byte(self, byte: ByteRange) -> ByteRange | None:
        mask = build_value_mask(byte.expression.type) if byte.expression else b""
        is_padding = not mask or not mask[byte.offset % len(mask)]
        return None if is_padding or byte.region in self.dont_care else byte
