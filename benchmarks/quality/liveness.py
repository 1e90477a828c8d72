"""Liveness: which parts of registers, flags and frame slots are still read after each point of a function.

A dead part may have any value. What an instruction reads and writes is derived from its semantics (`semantics.py`), so
there is no second description of the instruction set that could be wrong.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import z3

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.instructions import execute
from pytest_llmcompiler.prover.state import CALLER_SAVED, FLAGS, PLACES, RBP, RSP, Access, State
from quality.flow import Flow, Op
from quality.listing import Instruction

GRANULES = ((0, 8), (8, 16), (16, 32), (32, 64))
VECTOR_GRANULES = ((0, 32), (32, 64), (64, 128))
Parts = frozenset[str]
"""Names of parts: `r3.0` is the lowest granule of register 3, `x1.2` the highest granule of vector register 1, `slot-8`
a byte of the frame, `cf` a flag."""
_PART = re.compile(r"r\d+\.\d|x\d+\.\d|slot-\d+|cf|pf|zf|sf|of")


def register_parts(number: int, bits: int = 64) -> Parts:
    """The parts of the lowest bits of a register."""
    return frozenset(f"r{number}.{index}" for index, (start, _) in enumerate(GRANULES) if start < bits)


def vector_parts(number: int, bits: int = 128) -> Parts:
    """The parts of the lowest bits of a vector register."""
    return frozenset(f"x{number}.{index}" for index, (start, _) in enumerate(VECTOR_GRANULES) if start < bits)


_REGISTERS: Parts = frozenset().union(*(register_parts(number) for number in range(16)))
_VECTORS: Parts = frozenset().union(*(vector_parts(number) for number in range(16)))
EVERYTHING: Parts = _REGISTERS | _VECTORS | frozenset(FLAGS)
"""All parts but frame slots."""


@dataclass(frozen=True)
class Interface:
    """The interface to other functions: which parts a callee reads, and the caller reads after the return."""

    arguments: Callable[[str | None], tuple[Parts, bool]]
    """From a callee's name (None: unknown) to the parts that it reads, and whether it reads the stack too."""
    result: Parts
    """The parts that hold the function's own result."""
    transfers: dict[Any, Any] = field(default_factory=dict, compare=False)
    """A cache of transfer functions: the texts of one function share most of their instructions."""
    variadic: frozenset[str] = frozenset()
    """Variadic callees, which get an upper bound of the used vector registers in %al."""

    @property
    def returned(self) -> Parts:
        """All parts that the caller reads after the return."""
        kept = (register_parts(number) for number in (3, RBP, 12, 13, 14, 15))
        return self.result.union(*kept)


@dataclass
class Transfer:
    """The transfer function of one instruction."""

    writes: dict[str, z3.ExprRef | None] = field(default_factory=dict)
    """The parts that are written, with their terms; None for an unknown value."""
    depends: dict[str, Parts] = field(default_factory=dict)
    """What each written part depends on."""
    always: Parts = frozenset()
    """The parts that are read whatever follows: addresses, stored values, conditions."""
    stack: bool = False
    """Whether any frame slot may be read."""
    rsp: int | None = None
    rbp: int | None = None
    """The stack and frame pointers afterwards, as offsets from the stack pointer at the entry; None: unknown."""
    escapes: bool = False
    """Whether an address of the frame is stored or passed on."""


@functools.cache
def bits(name: str, width: int) -> z3.BitVecRef:
    """A z3 constant, cached: z3 is slow to create one."""
    return z3.BitVec(name, width)


@functools.cache
def _first_state(private: bool) -> State:
    registers = [_joined(f"r{number}", GRANULES) for number in range(16)]
    vectors = [_joined(f"x{number}", VECTOR_GRANULES) for number in range(16)]
    flags = {name: z3.Bool(name) for name in FLAGS}
    memory = z3.Array("memory", z3.BitVecSort(64), z3.BitVecSort(8))
    return State(registers, vectors, flags, memory, {}, private, "")


def fresh_state(rsp: int, rbp: int | None, private: bool) -> State:
    """A state in which every part has its own name."""
    state = _first_state(private).copy()
    state.registers[RSP] = z3.simplify(state.base + rsp)
    if rbp is not None:
        state.registers[RBP] = z3.simplify(state.base + rbp)
    return state


def _joined(name: str, granules: tuple[tuple[int, int], ...]) -> z3.BitVecRef:
    parts = [bits(f"{name}.{index}", end - start) for index, (start, end) in enumerate(granules)]
    return z3.Concat(*reversed(parts))


def names_in(term: z3.ExprRef) -> set[str]:
    """The names of the constants in a term."""
    names: set[str] = set()
    seen: set[int] = set()
    todo = [term]
    while todo:
        term = todo.pop()
        if term.get_id() in seen:
            continue
        seen.add(term.get_id())
        if z3.is_const(term) and term.decl().kind() == z3.Z3_OP_UNINTERPRETED:
            names.add(term.decl().name())
        todo += term.children()
    return names


def parts_in(term: z3.ExprRef) -> Parts:
    """The parts that a term depends on."""
    return frozenset(name for name in names_in(term) if _PART.fullmatch(name))


class Liveness:
    """The analysis of one side. Raises UnmodelledError where the stack pointer depends on the path or is unknown."""

    def __init__(self, flow: Flow, interface: Interface) -> None:
        self.flow, self.interface = flow, interface
        self.private = True
        self.frames = self._follow()
        if any(transfer.escapes for transfer in self.transfers.values()):
            self.private = False
            self.frames = self._follow()
        slots = {name for one in self.transfers.values() for name in (*one.writes, *one.always) if name[0] == "s"}
        slots |= {n for one in self.transfers.values() for parts in one.depends.values() for n in parts if n[0] == "s"}
        self.slots: Parts = frozenset(slots - {"sf"})
        self.live = self.solve({})
        self._constants: dict[int, dict[str, int]] | None = None

    @property
    def lowest(self) -> int:
        """The offset of the lowest frame slot that is used."""
        return min((slot_offset(name) for name in self.slots), default=0)

    def _follow(self) -> dict[int, tuple[int, int | None]]:
        """Where the stack and frame pointers point before each instruction that can be reached."""
        self.transfers: dict[int, Transfer] = {}
        frames: dict[int, tuple[int, int | None]] = {}
        todo: list[tuple[int, tuple[int, int | None]]] = [(0, (0, None))]
        while todo:
            number, frame = todo.pop()
            if number >= len(self.flow.ops):
                continue
            if number in frames:
                if frames[number] != frame:
                    raise UnmodelledError("a stack pointer that depends on the path")
                continue
            frames[number] = frame
            transfer = self.transfers[number] = self._transfer(self.flow.ops[number], *frame)
            if transfer.rsp is None:
                raise UnmodelledError("a stack pointer that can't be followed")
            todo += [(following, (transfer.rsp, transfer.rbp)) for following in self.flow.successors(number)]
        return frames

    def solve(self, wanted: dict[int, Parts]) -> dict[int, Parts]:
        """What is live before each instruction that can be reached; `wanted` is live there in any case."""
        live: dict[int, Parts] = dict.fromkeys(self.frames, frozenset())
        changed = True
        while changed:
            changed = False
            for number in sorted(self.frames, reverse=True):
                before = self._before(number, live) | wanted.get(number, frozenset())
                if before != live[number]:
                    live[number] = before
                    changed = True
        return live

    def _before(self, number: int, live: dict[int, Parts]) -> Parts:
        after: Parts = frozenset().union(*(live.get(one, frozenset()) for one in self.flow.successors(number)))
        transfer = self.transfers[number]
        needed = [transfer.depends.get(part, frozenset()) for part in transfer.writes if part in after]
        kept = (after - transfer.writes.keys()) | transfer.always
        return kept.union(*needed) | (self.slots if transfer.stack else frozenset())

    def constants(self, number: int) -> dict[str, int]:
        """The parts that always have the same value before an instruction."""
        if self._constants is None:
            self._constants = self._propagate_constants()
        return self._constants.get(number, {})

    def _propagate_constants(self) -> dict[int, dict[str, int]]:
        known: dict[int, dict[str, int]] = {0: {}}
        todo = [0]
        while todo:
            number = todo.pop()
            after = self._values_after(self.transfers[number], known[number])
            for following in self.flow.successors(number):
                if following not in self.transfers:
                    continue
                old = known.get(following)
                new = after if old is None else {part: old[part] for part in old if after.get(part) == old[part]}
                if new != old:
                    known[following] = new
                    todo.append(following)
        return known

    def _values_after(self, transfer: Transfer, known: dict[str, int]) -> dict[str, int]:
        if transfer.always >= EVERYTHING:
            return {}
        after = {part: value for part, value in known.items() if part not in transfer.writes}
        for part, term in transfer.writes.items():
            if term is not None:
                pairs = [
                    (bits(name, width_of(name)), z3.BitVecVal(known[name], width_of(name)))
                    for name in transfer.depends[part]
                    if name in known
                ]
                value = z3.simplify(z3.substitute(term, *pairs)) if pairs else term
                if z3.is_bv_value(value):
                    after[part] = value.as_long()
        return after

    # -- one instruction

    def _transfer(self, op: Op, rsp: int, rbp: int | None) -> Transfer:
        if op.text is None:
            return Transfer(rsp=rsp, rbp=rbp)
        key = (op.text, op.insn.address, bytes(op.insn.bytes), rsp, rbp, self.private, bool(self.flow.table))
        known = self.interface.transfers
        if key not in known:
            known[key] = self._build_transfer(op, op.text, rsp, rbp)
        return known[key]

    def _build_transfer(self, op: Op, insn: Instruction, rsp: int, rbp: int | None) -> Transfer:
        transfer = Transfer(rsp=rsp, rbp=rbp)
        if insn.is_return:
            transfer.always = self.interface.returned
        elif insn.is_call or (insn.mnemonic in ("jmp", "jmpq") and not insn.is_jump):
            self._leave(op, transfer, rsp, rbp)
        elif insn.is_jump:
            self._jump(op, transfer, rsp, rbp)
        else:
            self._act(op, transfer, rsp, rbp)
        if rbp is not None and any(PLACES.get(read, (-1,))[0] == RBP for read in op.insn.regs_access()[0]):
            transfer.always |= register_parts(RBP)
        return transfer

    def _jump(self, op: Op, transfer: Transfer, rsp: int, rbp: int | None) -> None:
        if op.insn.mnemonic != "jmp":
            try:
                transfer.always = parts_in(fresh_state(rsp, rbp, self.private).condition(op.insn.mnemonic[1:]))
            except KeyError:
                transfer.always = EVERYTHING

    def _leave(self, op: Op, transfer: Transfer, rsp: int, rbp: int | None) -> None:
        """A call, or a jump to elsewhere."""
        insn = op.text
        assert insn is not None
        callee = callee_of(op)
        indirect = callee is None and not insn.is_call and self.flow.table
        if indirect:
            transfer.always, transfer.stack = frozenset(), False
        else:
            transfer.always, transfer.stack = self.interface.arguments(callee)
        if callee is None:
            try:
                state = fresh_state(rsp, rbp, self.private)
                transfer.always |= parts_in(state.read(op.insn, 0)) | _address_parts(state.accesses)
            except UnmodelledError:
                transfer.always, transfer.stack = EVERYTHING, True
        if insn.is_call:
            killed = [register_parts(number) for number in CALLER_SAVED]
            transfer.writes = dict.fromkeys(frozenset(FLAGS).union(_VECTORS, *killed))
        elif not indirect:
            transfer.always |= self.interface.returned

    def _act(self, op: Op, transfer: Transfer, rsp: int, rbp: int | None) -> None:
        state = fresh_state(rsp, rbp, self.private)
        before = state.copy()
        try:
            execute(state, op.insn)
        except UnmodelledError:
            transfer.always, transfer.stack = EVERYTHING, True
            read, written = op.insn.regs_access()
            touched = {PLACES[name][0] for name in (*read, *written) if name in PLACES}
            transfer.escapes = RSP in touched or (rbp is not None and RBP in touched)
            return
        transfer.rsp = _offset(state, RSP)
        transfer.rbp = _offset(state, RBP)
        self._registers(transfer, before, state)
        for name in FLAGS:
            if state.flags[name] is not before.flags[name]:
                transfer.depends[name] = parts_in(state.flag(name))
                transfer.writes[name] = None
        for offset, value in state.slots.items():
            if not (z3.is_const(value) and value.decl().name() == f"slot{offset}"):
                self._write(transfer, f"slot{offset}", value)
                transfer.escapes |= "rsp0" in names_in(value)
        transfer.always |= _address_parts(state.accesses)
        transfer.always |= frozenset().union(*(parts_in(term) for one in state.divisions for term in one[1:]))
        if state.memory is not before.memory:
            transfer.always |= parts_in(state.memory)
            values = (part for part in _list_stored(state.memory))
            transfer.escapes |= self.private and any("rsp0" in names_in(value) for value in values)

    def _registers(self, transfer: Transfer, before: State, state: State) -> None:
        rows = [
            ("r", GRANULES, before.registers, state.registers),
            ("x", VECTOR_GRANULES, before.vectors, state.vectors),
        ]
        for letter, granules, olds, news in rows:
            for number, (old, new) in enumerate(zip(olds, news)):
                if new is old:
                    continue
                for index, (start, end) in enumerate(granules):
                    part = z3.simplify(z3.Extract(end - 1, start, new))
                    name = f"{letter}{number}.{index}"
                    if not (z3.is_const(part) and part.decl().name() == name):
                        self._write(transfer, name, part)
                frame = letter == "r" and number in (RSP, RBP)
                transfer.escapes |= not frame and self.private and "rsp0" in names_in(new)

    def _write(self, transfer: Transfer, name: str, value: z3.ExprRef) -> None:
        transfer.writes[name] = value
        transfer.depends[name] = parts_in(value)


def callee_of(op: Op) -> str | None:
    """The name of the function that a call or tail call goes to; None for a call through a pointer."""
    assert op.text is not None
    operand = op.text.operands[0]
    return None if operand.startswith("*") else operand.partition("@")[0]


def width_of(name: str) -> int:
    """The bits of a part of a register or of a slot."""
    if name.startswith("slot"):
        return 8
    start, end = (GRANULES if name[0] == "r" else VECTOR_GRANULES)[int(name[-1])]
    return end - start


def slot_offset(name: str) -> int:
    """The offset that a slot's name says."""
    return int(name.removeprefix("slot"))


def _offset(state: State, number: int) -> int | None:
    offset = z3.simplify(state.registers[number] - state.base)
    return offset.as_signed_long() if z3.is_bv_value(offset) else None


def _address_parts(accesses: Iterable[Access]) -> Parts:
    return frozenset().union(*(parts_in(access.address) for access in accesses))


def _list_stored(memory: z3.ArrayRef) -> Iterable[z3.ExprRef]:
    """The values that were stored in a memory."""
    while z3.is_store(memory):
        yield memory.arg(2)
        memory = memory.arg(0)
