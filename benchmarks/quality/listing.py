"""Assembly as clang writes it (AT&T), read line by line so that single instructions can be changed."""

from __future__ import annotations

import re
from dataclasses import dataclass

_INSTRUCTION = re.compile(r"\t([a-z][a-z0-9;]*)(?:[ \t]+([^#\n]*?))?\s*(?:#.*)?")
_LABEL = re.compile(r"([\w.$]+):")
_LEGACY = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
_ROWS = (
    *((f"r{name}", f"e{name}", name, f"{name[0]}l" if name.endswith("x") else f"{name}l") for name in _LEGACY),
    *((f"r{number}", f"r{number}d", f"r{number}w", f"r{number}b") for number in range(8, 16)),
)
_SIZES = (8, 4, 2, 1)
_REGISTERS = {f"%{name}": (number, size) for number, row in enumerate(_ROWS) for name, size in zip(row, _SIZES)}
ARGUMENTS = (7, 6, 2, 1, 8, 9)
"""The numbers of the registers that integer arguments are passed in, in their order."""
CALLEE_SAVED = (3, 12, 13, 14, 15)
"""The numbers of the registers that a function leaves as they were, %rbp and %rsp aside."""


def register(operand: str) -> tuple[int, int] | None:
    """The number and size in bytes of a general register; None for any other operand."""
    return _REGISTERS.get(operand)


def register_name(number: int, size: int) -> str:
    """The name of a general register's lowest bytes."""
    return f"%{_ROWS[number][_SIZES.index(size)]}"


@dataclass(frozen=True)
class Instruction:
    """One instruction of a text."""

    line: int
    """Its index among the lines."""
    mnemonic: str
    operands: tuple[str, ...]

    def __str__(self) -> str:
        return f"\t{self.mnemonic}\t{', '.join(self.operands)}".rstrip()

    @property
    def is_jump(self) -> bool:
        """Whether it is a jump to a label."""
        return self.mnemonic.startswith("j") and self.operands[0].startswith(".L")

    @property
    def is_call(self) -> bool:
        """Whether it is a call."""
        return self.mnemonic in ("call", "callq")

    @property
    def is_return(self) -> bool:
        """Whether it is a return."""
        return self.mnemonic in ("ret", "retq")


@dataclass(frozen=True)
class Listing:
    """The text of one function: its lines, and those of them that are instructions and labels of its code."""

    lines: tuple[str, ...]
    code: tuple[Instruction, ...]
    labels: dict[int, str]
    """The labels of the code by line index; the function's own name is not among them."""

    def changed(self, line: int, *new: str, removed: int = 1) -> tuple[str, ...]:
        """The lines with `removed` of them from `line` on replaced."""
        return (*self.lines[:line], *new, *self.lines[line + removed :])

    def at(self, line: int) -> Instruction | None:
        """The instruction on a line."""
        return next((one for one in self.code if one.line == line), None)


def read(text: str, function: str) -> Listing:
    """Read the text of one function."""
    lines = tuple(text.split("\n"))
    code: list[Instruction] = []
    labels: dict[int, str] = {}
    inside = False
    for number, line in enumerate(lines):
        label = _LABEL.match(line)
        if label:
            inside = label[1] == function or (inside and not label[1].startswith(".Lfunc_end"))
            if inside and label[1] != function:
                labels[number] = label[1]
        match = _INSTRUCTION.fullmatch(line) if inside else None
        if match:
            code.append(Instruction(number, match[1], split_operands(match[2] or "")))
    return Listing(lines, tuple(code), labels)


def split_operands(text: str) -> tuple[str, ...]:
    """The operands, parted at the commas that are not in parentheses."""
    return tuple(part.strip() for part in re.split(r",(?![^(]*\))", text)) if text.strip() else ()
