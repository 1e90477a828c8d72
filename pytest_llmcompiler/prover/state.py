"""The state of a symbolic execution of x86-64 code: registers, flags and memory as z3 terms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import z3
from capstone import CS_ARCH_X86, CS_MODE_64, Cs, x86_const

from pytest_llmcompiler.errors import UnmodelledError

RSP, RBP = 4, 5
CALLER_SAVED = (0, 1, 2, 6, 7, 8, 9, 10, 11)
FLAGS = ("cf", "pf", "zf", "sf", "of")
_NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{number}" for number in range(8, 16)))


@functools.cache
def decoder() -> Cs:
    """The disassembler, with details of operands."""
    disassembler = Cs(CS_ARCH_X86, CS_MODE_64)
    disassembler.detail = True
    return disassembler


def _places() -> dict[int, tuple[int, int, int]]:
    """Capstone's number of each general register -> our number, its lowest bit, its width in bits."""
    places = {}
    for number, name in enumerate(_NAMES):
        low = {"rax": "al", "rcx": "cl", "rdx": "dl", "rbx": "bl"}.get(
            name, f"{name[1:]}l" if number < 8 else f"{name}b"
        )
        rows = [(name, 0, 64), (f"e{name[1:]}" if number < 8 else f"{name}d", 0, 32)]
        rows += [(name[1:] if number < 8 else f"{name}w", 0, 16), (low, 0, 8)]
        rows += [(f"{name[1]}h", 8, 8)] if number < 4 else []
        for known, start, width in rows:
            places[getattr(x86_const, f"X86_REG_{known.upper()}")] = (number, start, width)
    return places


PLACES = _places()
VECTORS = {getattr(x86_const, f"X86_REG_XMM{number}"): number for number in range(16)}


class Lazy:
    """A flag that is computed when it is first read."""

    def __init__(self, make: Callable[[], z3.BoolRef]) -> None:
        self._make: Callable[[], z3.BoolRef] | None = make
        self._value: Any = None

    def get(self) -> z3.BoolRef:
        """The flag."""
        if self._make is not None:
            self._value, self._make = self._make(), None
        return self._value


@dataclass
class Access:
    """One read or write of memory, `size` in bytes."""

    address: z3.BitVecRef
    size: int
    write: bool
    epoch: int = 0
    """The calls before it: what a callee does decides whether memory is there."""


@dataclass
class State:
    """Registers, flags and memory. Frame slots are bytes below the stack pointer of the entry that nothing else
    reaches.
    """

    registers: list[z3.BitVecRef]
    vectors: list[z3.BitVecRef]
    flags: dict[str, Any]
    memory: z3.ArrayRef
    slots: dict[int, z3.BitVecRef]
    private: bool
    """Whether the frame is kept in slots; otherwise it is ordinary memory."""
    side: str
    """The prefix for names of values that only this side has."""
    constant: Callable[[int], z3.BitVecRef | None] = lambda _: None
    """The byte at an address of read-only memory; None elsewhere."""
    locate: Callable[[int], z3.BitVecRef] = lambda address: z3.BitVecVal(address, 64)
    """The value of an address that an instruction names relative to itself."""
    base: z3.BitVecRef = field(default_factory=lambda: z3.BitVec("rsp0", 64))
    conditions: list[z3.BoolRef] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    accesses: list[Access] = field(default_factory=list)
    divisions: list[tuple[Any, ...]] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    """Offsets of frame slots that were read or written."""

    def copy(self) -> State:
        """An independent copy."""
        return type(self)(
            registers=list(self.registers),
            vectors=list(self.vectors),
            flags=dict(self.flags),
            memory=self.memory,
            slots=dict(self.slots),
            private=self.private,
            side=self.side,
            constant=self.constant,
            locate=self.locate,
            base=self.base,
            conditions=list(self.conditions),
            events=list(self.events),
            accesses=list(self.accesses),
            divisions=list(self.divisions),
            touched=set(self.touched),
        )

    # -- memory

    def load(self, address: z3.BitVecRef, size: int) -> z3.BitVecRef:
        """Read `size` bytes."""
        own = self.read_own(address, size)
        if own is not None:
            return own
        offset = self._slot(address, size)
        if offset is not None:
            parts = [self._slot_byte(offset + index) for index in range(size)]
        else:
            self.accesses.append(Access(address, size, False, len(self.events)))
            parts = [self._byte(z3.simplify(address + index)) for index in range(size)]
        return z3.simplify(z3.Concat(*reversed(parts))) if size > 1 else parts[0]

    def read_own(self, address: z3.BitVecRef, size: int) -> z3.BitVecRef | None:
        """Read `size` bytes of the text's own constants; None elsewhere."""
        return None

    def check_number(self, number: int) -> None:
        """Raise UnmodelledError for a number that may be an address of the text itself."""

    def check_store(self, address: z3.BitVecRef, value: z3.BitVecRef) -> None:
        """Raise UnmodelledError for a store outside of the frame that is not modelled."""

    def store(self, address: z3.BitVecRef, value: z3.BitVecRef) -> None:
        """Write a value."""
        size = value.size() // 8
        parts = [z3.simplify(z3.Extract(8 * index + 7, 8 * index, value)) for index in range(size)]
        offset = self._slot(address, size)
        if offset is not None:
            for index, part in enumerate(parts):
                self.slots[offset + index] = part
                self.touched.add(offset + index)
            return
        self.check_store(address, value)
        self.accesses.append(Access(address, size, True, len(self.events)))
        for index, part in enumerate(parts):
            self.memory = z3.Store(self.memory, z3.simplify(address + index), part)

    def _byte(self, address: z3.BitVecRef) -> z3.BitVecRef:
        constant = self.constant(address.as_long()) if z3.is_bv_value(address) else None
        return self.memory[address] if constant is None else constant

    def _slot_byte(self, offset: int) -> z3.BitVecRef:
        self.touched.add(offset)
        if offset not in self.slots:
            self.slots[offset] = z3.BitVec(f"{self.side}slot{offset}", 8)
        return self.slots[offset]

    def _slot(self, address: z3.BitVecRef, size: int) -> int | None:
        """The offset of a frame slot; None for an address elsewhere."""
        if not self.private:
            return None
        offset = z3.simplify(address - self.base)
        if z3.is_bv_value(offset):
            value: int = offset.as_signed_long()
            if value + size <= 0:
                return value
            if value >= 0:
                return None
            raise UnmodelledError("a frame access across the return address")
        if mentions(offset, self.base):
            simplified = z3.simplify(address)
            if mentions(simplified, self.base):
                raise UnmodelledError("an indexed frame access")
        return None

    # -- operands

    def register(self, operand: int) -> z3.BitVecRef:
        """The value of one of capstone's registers."""
        if operand in VECTORS:
            return self.vectors[VECTORS[operand]]
        if operand not in PLACES:
            raise UnmodelledError("a register without a meaning")
        number, start, width = PLACES[operand]
        whole = self.registers[number]
        return whole if width == 64 else z3.simplify(z3.Extract(start + width - 1, start, whole))

    def set_register(self, operand: int, value: z3.BitVecRef) -> None:
        """Write a register: 32 bits clear the upper half, fewer leave the others as they are."""
        if operand in VECTORS:
            self.vectors[VECTORS[operand]] = z3.simplify(value)
            return
        if operand not in PLACES:
            raise UnmodelledError("a register without a meaning")
        number, start, width = PLACES[operand]
        whole = self.registers[number]
        if width == 32:
            value = z3.ZeroExt(32, value)
        elif width < 32:
            parts = [z3.Extract(63, start + width, whole), value]
            value = z3.Concat(*parts, *([z3.Extract(start - 1, 0, whole)] if start else []))
        self.registers[number] = z3.simplify(value)

    def address(self, insn: Any, operand: Any) -> z3.BitVecRef:
        """The address of a memory operand."""
        memory = operand.mem
        if memory.segment or insn.prefix[1]:
            raise UnmodelledError("a segment register")
        if insn.prefix[3]:
            raise UnmodelledError("an address of 32 bits")
        if memory.base == x86_const.X86_REG_RIP:
            return self.locate(insn.address + insn.size + memory.disp)
        self.check_number(memory.disp)
        total = z3.BitVecVal(memory.disp, 64)
        for part, scale in ((memory.base, 1), (memory.index, memory.scale)):
            if part and part in (x86_const.X86_REG_RIZ, x86_const.X86_REG_EIZ):
                continue
            if part:
                if part not in PLACES or PLACES[part][2] != 64:
                    raise UnmodelledError("an address of 32 bits")
                total = total + self.register(part) * scale
        return z3.simplify(total)

    def read(self, insn: Any, place: int, width: int | None = None) -> z3.BitVecRef:
        """An operand's value; immediates as wide as `width` says (in bits), or as the first operand."""
        operand = insn.operands[place]
        if operand.type == x86_const.X86_OP_REG:
            return self.register(operand.reg)
        if operand.type == x86_const.X86_OP_IMM:
            self.check_number(operand.imm)
            return z3.BitVecVal(operand.imm, width or 8 * insn.operands[0].size)
        return self.load(self.address(insn, operand), operand.size)

    def write(self, insn: Any, place: int, value: z3.BitVecRef) -> None:
        """Write an operand."""
        operand = insn.operands[place]
        if operand.type == x86_const.X86_OP_REG:
            self.set_register(operand.reg, value)
        elif operand.type == x86_const.X86_OP_MEM:
            self.store(self.address(insn, operand), value)
        else:
            raise UnmodelledError("an immediate as a destination")

    # -- flags

    def flag(self, name: str) -> z3.BoolRef:
        """A flag's value."""
        value = self.flags[name]
        return value.get() if isinstance(value, Lazy) else value

    def set_flags(self, **flags: Callable[[], z3.BoolRef]) -> None:
        """Set flags, each to be computed when it is first read."""
        for name, make in flags.items():
            self.flags[name] = Lazy(make)

    def undefined(self, *names: str) -> None:
        """Set flags to unknown values."""
        for name in names:
            self.flags[name] = z3.FreshConst(z3.BoolSort(), f"{self.side}undefined")

    def condition(self, words: str) -> z3.BoolRef:
        """The value of a condition as mnemonics name it."""
        base = words.removeprefix("n") if words not in _CONDITIONS else words
        value = _CONDITIONS[base](self)
        return value if base == words else z3.Not(value)


_CONDITIONS: dict[str, Callable[[State], z3.BoolRef]] = {
    "o": lambda s: s.flag("of"),
    "b": lambda s: s.flag("cf"),
    "ae": lambda s: z3.Not(s.flag("cf")),
    "e": lambda s: s.flag("zf"),
    "be": lambda s: z3.Or(s.flag("cf"), s.flag("zf")),
    "a": lambda s: z3.Not(z3.Or(s.flag("cf"), s.flag("zf"))),
    "s": lambda s: s.flag("sf"),
    "p": lambda s: s.flag("pf"),
    "l": lambda s: s.flag("sf") != s.flag("of"),
    "ge": lambda s: s.flag("sf") == s.flag("of"),
    "le": lambda s: z3.Or(s.flag("zf"), s.flag("sf") != s.flag("of")),
    "g": lambda s: z3.And(z3.Not(s.flag("zf")), s.flag("sf") == s.flag("of")),
}
CONDITIONS = frozenset((*_CONDITIONS, "no", "ne", "ns", "np"))


def mentions(term: z3.ExprRef, variable: z3.ExprRef) -> bool:
    """Whether a term contains a variable."""
    todo, seen = [term], set()
    while todo:
        child = todo.pop()
        if child.get_id() in seen:
            continue
        seen.add(child.get_id())
        if child.eq(variable):
            return True
        todo += child.children()
    return False
