"""Assembly as clang writes it for x86-64 in AT&T syntax, read as blocks of instructions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_INSTRUCTION = re.compile(r"\t([a-z][a-z0-9]*)(?:[ \t]+([^#\n]*?))?\s*(?:#.*)?")
_LABEL = re.compile(r"([\w.$]+):")
_BLOCK = re.compile(r"(\.L[\w.$]+):|# %bb\.")
_NUMBER = re.compile(r"\$(-?\d+)")
_COMMA = re.compile(r",(?![^(]*\))")
_LEGACY = ("ax", "cx", "dx", "bx", "si", "di")
_ROWS = (
    *((f"r{name}", f"e{name}", name, f"{name[0]}l" if name.endswith("x") else f"{name}l") for name in _LEGACY),
    *((f"r{number}", f"r{number}d", f"r{number}w", f"r{number}b") for number in range(8, 16)),
)
_REGISTERS = {f"%{name}": size for row in _ROWS for name, size in zip(row, (8, 4, 2, 1), strict=True)}
"""The size in bytes of each general register but the stack pointer and the frame pointer."""
_WRITING = re.compile(
    r"(mov|add|sub|adc|sbb|and|or|xor|imul|lea|neg|not|inc|dec|shl|shr|sar|sal|rol|ror|shld|shrd|bswap|bsf|bsr|tzcnt"
    r"|lzcnt|popcnt|cvtt?s[sd]2si)[bwlq]?|mov[sz](bw|bl|bq|wl|wq|lq)|cmov\w+|set\w+"
)
"""Instructions whose last operand is all that they write, but for flags."""
_FLOAT = re.compile(r"(mov|add|sub|mul|div|sqrt|min|max|cvts[sd]2|cvtsi2)s[sd][lq]?")


@dataclass(frozen=True)
class AttRegister:
    """A general register, or its lowest bytes."""

    name: str
    size: int

    @property
    def suffix(self) -> str:
        """The suffix of instructions of its width."""
        return {1: "b", 2: "w", 4: "l", 8: "q"}[self.size]

    def __str__(self) -> str:
        return self.name


def find_register(operand: str) -> AttRegister | None:
    """The general register that an operand is; None for the stack pointer, the frame pointer and any other operand."""
    size = _REGISTERS.get(operand)
    return AttRegister(operand, size) if size else None


@dataclass(frozen=True)
class AttInstruction:
    """One instruction of a text."""

    line: int
    """Its index among the lines."""
    mnemonic: str
    operands: tuple[str, ...]

    @property
    def is_jump(self) -> bool:
        """Whether it is a jump, to a label or anywhere."""
        return self.mnemonic.startswith("j")

    @property
    def is_conditional_jump(self) -> bool:
        """Whether it is a conditional jump."""
        return self.is_jump and not self.mnemonic.startswith("jmp")

    @property
    def is_return(self) -> bool:
        """Whether it is a return."""
        return self.mnemonic.startswith("ret")

    @property
    def is_comparison(self) -> bool:
        """Whether it only sets flags."""
        return self.mnemonic[:-1] in ("cmp", "test") and len(self.operands) == 2

    @property
    def is_constant(self) -> bool:
        """Whether it writes the same value each time."""
        is_cleared = self.mnemonic.startswith("xor") and self.operands[0] == self.operands[-1]
        return is_cleared or (self.mnemonic.startswith("mov") and self.operands[0].startswith("$"))

    @property
    def greatest_result(self) -> int:
        """A number that its result, without sign, is not above; as far as the instruction alone tells."""
        number = _NUMBER.fullmatch(self.operands[0])
        if self.mnemonic.startswith("set"):
            return 1
        if self.mnemonic.startswith("movz"):
            return 0xFF if self.mnemonic[4] == "b" else 0xFFFF
        if number and self.mnemonic.startswith("and") and int(number[1]) >= 0:
            return int(number[1])
        if number and self.mnemonic.startswith("shr"):
            return (1 << 8 * _REGISTERS.get(self.operands[-1], 8)) - 1 >> int(number[1])
        return (1 << 64) - 1

    @property
    def is_float(self) -> bool:
        """Whether it writes a scalar in floating point to a vector register."""
        return bool(_FLOAT.fullmatch(self.mnemonic) and self.operands) and self.operands[-1].startswith("%xmm")

    @property
    def moves_stack(self) -> bool:
        """Whether it moves the stack pointer or the frame pointer."""
        return self.mnemonic in ("pushq", "popq") or self.operands[-1:] in (("%rsp",), ("%rbp",))

    def find_result(self) -> AttRegister | None:
        """The general register that it writes, where that is all it writes but for flags."""
        is_product = (
            self.mnemonic.startswith("imul") and len(self.operands) == 1
        )  # of two registers that it does not name
        is_known = self.operands and _WRITING.fullmatch(self.mnemonic) and not is_product
        return find_register(self.operands[-1]) if is_known else None


@dataclass(frozen=True)
class AttListing:
    """The text of one function."""

    lines: tuple[str, ...]
    blocks: tuple[Sequence[AttInstruction], ...]
    """None of them is empty."""
    end: int
    """The line of the label behind the function's code; 0 where there is none."""

    @property
    def code(self) -> list[AttInstruction]:
        """All instructions."""
        return [insn for block in self.blocks for insn in block]


def read_listing(text: str, function: str) -> AttListing:
    """Read clang's text of one function."""
    lines = tuple(text.split("\n"))
    blocks: list[list[AttInstruction]] = [[]]
    is_inside, end = False, 0
    for number, line in enumerate(lines):
        label = _LABEL.match(line)
        if label and label[1].startswith(".Lfunc_end") and is_inside:
            is_inside, end = False, number
        elif label and label[1] == function:
            is_inside = True
        elif _BLOCK.match(line) or (blocks[-1] and blocks[-1][-1].is_jump):
            blocks.append([])
        match = _INSTRUCTION.fullmatch(line) if is_inside else None
        if match:
            operands = tuple(part.strip() for part in _COMMA.split(match[2] or "") if part.strip())
            blocks[-1].append(AttInstruction(number, match[1], operands))
    return AttListing(lines, tuple(block for block in blocks if block), end)
