"""What the branches in front of an instruction say of the values that it works with.

    if (state != LAST)
        state = state + 1;      what is increased is not LAST

From the instruction the way is followed back through blocks with one predecessor each. A branch on this way counts that
compares the same value with a constant. Where each mention of a variable is a load of its own, one also counts that
compares an earlier load of the variable, if nothing between the two loads may write to the variable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pytest_llmcompiler.program.ir_instructions import FunctionBody, IrInstruction

_COMPARISON = re.compile(r"icmp (?:samesign )?(\w+) i(\d+) (%[\w.]+), (-?\d+)$")
_BRANCH = re.compile(r"br i1 (%[\w.]+), label (%[\w.]+), label (%[\w.]+)")
_SWITCH = re.compile(r"switch i(\d+) (%[\w.]+), label (%[\w.]+) \[")
_SWITCH_CASE = re.compile(r"i\d+ (-?\d+), label (%[\w.]+)")
_SILENT = frozenset((
    "alloca", "load", "getelementptr", "icmp", "fcmp", "phi", "select", "freeze", "zext", "sext", "trunc", "add", "sub",
    "mul", "and", "or", "xor", "shl", "lshr", "ashr", "br", "switch",
))  # fmt: skip
"""Instructions that write to no memory."""


@dataclass(frozen=True)
class BranchGuard:
    """A comparison with a constant that has a certain result."""

    predicate: str
    """As `icmp` has it: https://llvm.org/docs/LangRef.html#icmp-instruction"""
    constant: int
    """An unsigned number."""
    width: int
    """Bits of the numbers."""
    is_true: bool
    """The result."""

    def admits(self, value: int) -> bool:
        """Whether a value, as an unsigned number, is one of those for which the comparison has this result."""
        left, right = value, self.constant
        if self.predicate.startswith("s"):
            left, right = (number ^ 1 << self.width - 1 for number in (left, right))
        return _RELATIONS[self.predicate.lstrip("us")](left, right) == self.is_true


_RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def find_guards(body: FunctionBody, user: IrInstruction, operand: str) -> tuple[BranchGuard, ...]:
    """What holds for the operand of an instruction: an integer that has a name."""
    return tuple(guard for _, name, guards in _walk_back(body, user) if name == operand for guard in guards)


def find_load_guards(body: FunctionBody, load: IrInstruction) -> tuple[BranchGuard, ...]:
    """What holds for the value of a load of an integer, at the load."""
    pending: dict[str, list[BranchGuard]] = {}
    guards: list[BranchGuard] = []
    for instruction, name, said in _walk_back(body, load):
        if said:
            pending.setdefault(name, []).extend(said)
        elif _may_write(instruction, load.operands[0], body):
            break
        elif instruction.opcode == "load" and (instruction.type, instruction.operands) == (load.type, load.operands):
            guards += pending.pop(instruction.result, ())
    return tuple(guards)


def _walk_back(body: FunctionBody, start: IrInstruction) -> Iterator[tuple[IrInstruction, str, list[BranchGuard]]]:
    """The instructions in front of one, the nearest first. With a branch that compares comes the operand which is
    compared, and what the way says of it; with all others nothing."""
    name, seen = body.block_names[start], set[str]()
    block = body.blocks[name]
    index = block.index(start)
    while name not in seen:
        seen.add(name)
        for instruction in reversed(block[:index]):
            yield instruction, "", []
        if len(body.predecessors.get(name, ())) != 1:
            return
        (before,) = body.predecessors[name]
        block = body.blocks[before]
        yield block[-1], *_read_branch(body, block[-1], name)
        name, index = before, len(block) - 1


def _read_branch(body: FunctionBody, branch: IrInstruction, target: str) -> tuple[str, list[BranchGuard]]:
    """The operand that a branch compares, and what is known of it in the block `target`, which it enters in one way."""
    switch = _SWITCH.search(branch.text)
    if switch:
        cases = [(int(constant), label) for constant, label in _SWITCH_CASE.findall(branch.text)]
        is_default = target == switch[3]
        width = int(switch[1])
        return switch[2], [
            _build_guard("ne" if is_default else "eq", constant, width, is_true=True)
            for constant, label in cases
            if is_default or label == target
        ]
    match = _BRANCH.search(branch.text)
    comparison = _COMPARISON.search(body.definitions[match[1]].text) if match and match[1] in body.definitions else None
    if match is None or comparison is None:
        return "", []
    is_true = match[2] == target
    return comparison[3], [_build_guard(comparison[1], int(comparison[4]), int(comparison[2]), is_true=is_true)]


def _build_guard(predicate: str, constant: int, width: int, *, is_true: bool) -> BranchGuard:
    return BranchGuard(predicate, constant & (1 << width) - 1, width, is_true)


def _may_write(instruction: IrInstruction, address: str, body: FunctionBody) -> bool:
    """Whether an instruction may write to the memory at an address."""
    if instruction.opcode in _SILENT:
        return False
    if instruction.opcode != "store" or len(instruction.operands) != 2 or not address.startswith("@"):
        return True
    written = instruction.operands[1]
    definition = body.definitions.get(written)
    is_own = definition is not None and definition.opcode == "alloca"
    return not (is_own or (written.startswith("@") and written != address))
