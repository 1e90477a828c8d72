"""Symbolic execution of one side, from one point of its code to the next points that a proof compares at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import z3
from capstone import x86_const

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.contract import Contract, Part
from pytest_llmcompiler.prover.instructions import execute
from pytest_llmcompiler.prover.machine_code import MachineCode
from pytest_llmcompiler.prover.state import FLAGS, RBP, RSP, VECTORS, Access, State, mentions

CALLEE_SAVED = (3, RBP, 12, 13, 14, 15)
_MAX_PATHS, _MAX_STEPS = 24, 600
"""Paths from one point to the next ones, and instructions on all of them."""
_RED_ZONE = 128
"""Bytes below the stack pointer that a function may use."""
_MAX_FRAME = 4096
"""Bytes of the largest frame: a larger one may reach beyond the stack without touching the page in between."""

End = tuple[str, int]
"""Where a path ends: ("return", 0), ("trap", 0), ("stop", a callee that does not return) or ("head", an address)."""


@dataclass
class CodeState(State):
    """The state of one side."""

    code: Any = None
    """The side's `MachineCode`."""

    def copy(self) -> CodeState:
        """An independent copy."""
        other = super().copy()
        assert isinstance(other, CodeState)
        other.code = self.code
        return other

    @property
    def frame(self) -> int:
        """The stack pointer, in bytes from where it is at the entry. Raises UnmodelledError."""
        offset = z3.simplify(self.registers[RSP] - self.base)
        if not z3.is_bv_value(offset):
            raise UnmodelledError("a stack pointer that can't be followed")
        return int(offset.as_signed_long())

    def read_own(self, address: Any, size: int) -> Any:
        """Read constants of the text: known bytes, or an unknown element of a table whose contents are equal."""
        if z3.is_bv_value(address):
            slot = self.code.read_slot(address.as_long(), size)
            if slot is not None:
                self.check_number(int.from_bytes(slot, "little"))
                return z3.BitVecVal(int.from_bytes(slot, "little"), 8 * size)
            return None
        for segment, base in self.code.bases.items():
            if not mentions(address, base):
                continue
            offset = z3.simplify(address - base)
            if z3.is_bv_value(offset):
                start = offset.as_long()
                if start + size > len(segment.data):
                    raise UnmodelledError("a read behind the text's constants")
                number = int.from_bytes(segment.data[start : start + size], "little")
                self.check_number(number)
                return z3.BitVecVal(number, 8 * size)
            self.accesses.append(Access(address, size, False, len(self.events)))
            table = z3.Array(f"table:{base}", z3.BitVecSort(64), z3.BitVecSort(8))
            parts = [table[z3.simplify(address + index)] for index in range(size)]
            return z3.Concat(*reversed(parts)) if size > 1 else parts[0]
        return None

    def check_number(self, number: int) -> None:
        """Raise UnmodelledError for a number that may be the address of data of the reference's text.

        Other addresses of the reference's own data are symbols, so that no number of the candidate equals them:
        whatever lies at that address in the candidate is something else.
        """
        if self.side == "p" and any(self.code.has_data(number % (1 << bits)) for bits in (32, 64)):
            raise UnmodelledError("an absolute address of the text")

    def check_store(self, address: Any, value: Any) -> None:
        """Raise UnmodelledError where an address of the frame is stored outside of the frame."""
        if mentions(value, self.base):
            raise UnmodelledError("an address of the frame in memory")

    def _slot_byte(self, offset: int) -> Any:
        self.touched.add(offset)
        if offset not in self.slots:
            self.slots[offset] = z3.BitVec(f"{self.side}:slot{offset}.{len(self.events)}", 8)
        return self.slots[offset]

    def _slot(self, address: Any, size: int) -> int | None:
        offset = super()._slot(address, size)
        if offset is not None and not max(self.frame - _RED_ZONE, -_MAX_FRAME) <= offset:
            raise UnmodelledError("an access far below the stack pointer")
        return offset


@dataclass
class Path:
    """A path from one point to another."""

    end: End
    state: CodeState


class Execution:
    """The execution of one side."""

    def __init__(self, code: MachineCode, contract: Contract) -> None:
        self.code, self.contract = code, contract

    def explore(self, state: CodeState, start: int, heads: frozenset[int]) -> list[Path]:
        """All paths from a point to the next heads of loops and to ways out. Raises UnmodelledError."""
        return list(self._explore(state, start, heads))

    def _explore(self, state: CodeState, start: int, heads: frozenset[int]) -> Iterator[Path]:
        todo = [(start, state, True)]
        paths = steps = 0
        while todo:
            address, state, is_first = todo.pop()
            while True:
                if address in heads and not is_first:
                    yield Path(("head", address), state)
                    break
                is_first = False
                steps += 1
                if steps > _MAX_STEPS:
                    raise UnmodelledError("too many instructions")
                following = self._step(address, state)
                if isinstance(following, tuple):
                    yield Path(following, state)
                    break
                address = following[0]
                if len(following) > 1:
                    branch = state.copy()
                    branch.conditions.append(following[2])
                    state.conditions.append(z3.Not(following[2]))
                    todo.append((following[1], branch, False))
            paths += 1
            if paths > _MAX_PATHS:
                raise UnmodelledError("too many paths")

    def _step(self, address: int, state: CodeState) -> Any:
        """Execute one instruction: a list of the next address, or of the next, the target and the condition of a
        branch; a tuple at a way out."""
        insn = self.code.fetch(address)
        name, behind = insn.mnemonic, address + insn.size
        if name in ("ret", "repz ret"):
            if insn.operands or insn.prefix[2] or state.frame != 0:
                raise UnmodelledError("a return that moves the stack pointer")
            return "return", 0
        if name == "ud2":
            return "trap", 0
        if name == "call":
            return self._call(insn, state) or [behind]
        if name == "jmp":
            return self._jump(insn, state)
        if name.startswith("j"):
            return self._branch(insn, state, behind)
        _check_alignment(state, insn)
        execute(state, insn)
        return [behind]

    def _jump(self, insn: Any, state: CodeState) -> Any:
        if insn.operands[0].type != x86_const.X86_OP_IMM or insn.prefix[2]:
            raise UnmodelledError("an indirect jump")
        target = insn.operands[0].imm
        if self.code.has(target):
            return [target]
        if state.frame != 0:
            raise UnmodelledError("a tail call that moves the stack pointer")
        return self._call_function(target, state) or ("return", 0)

    def _branch(self, insn: Any, state: CodeState, behind: int) -> list[Any]:
        target = insn.operands[0].imm
        if insn.prefix[2] or not self.code.has(target):
            raise UnmodelledError("a conditional tail call")
        try:
            condition = z3.simplify(state.condition(insn.mnemonic[1:]))
        except KeyError:
            raise UnmodelledError(insn.mnemonic) from None
        if z3.is_true(condition):
            return [target]
        return [behind] if z3.is_false(condition) else [behind, target, condition]

    # -- calls

    def _call(self, insn: Any, state: CodeState) -> End | None:
        if insn.prefix[2]:
            raise UnmodelledError("16 bits on the stack")
        if (state.frame + 8) % 16:
            raise UnmodelledError("a call on a stack that is not aligned")
        target = z3.simplify(state.read(insn, 0, 64))
        if insn.operands[0].type != x86_const.X86_OP_IMM and not z3.is_bv_value(target):
            raise UnmodelledError("a call through a pointer")
        return self._call_function(target.as_long(), state)

    def _call_function(self, address: int, state: CodeState) -> End | None:
        """The effect of a callee is unknown, and equal on both sides if all that it may read is equal."""
        callee = self.contract.callees.get(address)
        if callee is None:
            raise UnmodelledError("a call whose arguments are not known")
        values = [read_part(state, part) for part in callee.arguments]
        if any(mentions(value, state.base) for value in values):
            raise UnmodelledError("an address of the frame as an argument")
        name = f"call{len(state.events)}"
        frame = state.frame
        state.events.append(("call", callee.name, (*values, state.memory)))
        state.slots = {offset: value for offset, value in state.slots.items() if offset >= frame}
        for number in (0, 1, 2, 6, 7, 8, 9, 10, 11):
            side = "" if number in (0, 2) else f"{state.side}:"
            state.registers[number] = z3.BitVec(f"{side}{name}.{number}", 64)
        for number in range(16):
            side = "" if number < 2 else f"{state.side}:"
            state.vectors[number] = z3.BitVec(f"{side}{name}.x{number}", 128)
        for flag in FLAGS:
            state.flags[flag] = z3.Bool(f"{state.side}:{name}.{flag}")
        state.memory = z3.Array(f"{name}.memory", z3.BitVecSort(64), z3.BitVecSort(8))
        return None if callee.returns else ("stop", address)


def read_part(state: State, part: Part) -> Any:
    """The value of a part of a register."""
    whole = state.vectors[part.number] if part.is_vector else state.registers[part.number]
    return z3.simplify(z3.Extract(part.bits - 1, 0, whole))


def _check_alignment(state: CodeState, insn: Any) -> None:
    """Raise UnmodelledError for an instruction that may fault since its operand is not aligned to 16 bytes."""
    is_vector = any(one.type == x86_const.X86_OP_REG and one.reg in VECTORS for one in insn.operands)
    if not is_vector or insn.mnemonic in ("movups", "movupd", "movdqu"):
        return
    for operand in insn.operands:
        if operand.type != x86_const.X86_OP_MEM or operand.size != 16:
            continue
        address = state.address(insn, operand)
        bases = [(state.base, 8), *((base, 0) for base in state.code.bases.values()), (z3.BitVecVal(0, 64), 0)]
        offsets = [(z3.simplify(address - base), more) for base, more in bases]
        if not any(z3.is_bv_value(offset) and (offset.as_long() + more) % 16 == 0 for offset, more in offsets):
            raise UnmodelledError("an access that may be misaligned")


def constant_reader(contract: Contract) -> Callable[[int], Any]:
    """Read-only memory of the program."""

    def constant(address: int) -> Any:
        for start, data in contract.constants:
            if start <= address < start + len(data):
                return z3.BitVecVal(data[address - start], 8)
        return None

    return constant
