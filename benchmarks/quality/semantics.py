"""The semantics of x86-64 instructions as z3 terms: written once, for proofs and for the analyses that they rest on.

Integer instructions are modelled exactly. Floating point and most vector instructions are uninterpreted functions:
equal operands give equal results. Any other instruction raises UnmodelledError, and nothing is proved of code that has
it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import z3
from capstone import CS_ARCH_X86, CS_MODE_64, Cs, x86_const

RSP, RBP = 4, 5
CALLER_SAVED = (0, 1, 2, 6, 7, 8, 9, 10, 11)
FLAGS = ("cf", "pf", "zf", "sf", "of")
_NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{number}" for number in range(8, 16)))


class UnmodelledError(Exception):
    """Code that the semantics do not model, so that nothing is proved of it. The message says why."""


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
    base: z3.BitVecRef = field(default_factory=lambda: z3.BitVec("rsp0", 64))
    conditions: list[z3.BoolRef] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    accesses: list[Access] = field(default_factory=list)
    divisions: list[tuple[Any, ...]] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    """Offsets of frame slots that were read or written."""

    def copy(self) -> State:
        """An independent copy."""
        return State(
            registers=list(self.registers),
            vectors=list(self.vectors),
            flags=dict(self.flags),
            memory=self.memory,
            slots=dict(self.slots),
            private=self.private,
            side=self.side,
            constant=self.constant,
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
        offset = self._slot(address, size)
        if offset is not None:
            parts = [self._slot_byte(offset + index) for index in range(size)]
        else:
            self.accesses.append(Access(address, size, False))
            parts = [self._byte(z3.simplify(address + index)) for index in range(size)]
        return z3.simplify(z3.Concat(*reversed(parts))) if size > 1 else parts[0]

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
        self.accesses.append(Access(address, size, True))
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
            value = offset.as_signed_long()
            if value + size <= 0:
                return value
            if value >= 0:
                return None
            raise UnmodelledError("a frame access across the return address")
        if _mentions(offset, self.base):
            simplified = z3.simplify(address)
            if _mentions(simplified, self.base):
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
        if memory.segment:
            raise UnmodelledError("a segment register")
        if memory.base == x86_const.X86_REG_RIP:
            return z3.BitVecVal(insn.address + insn.size + memory.disp, 64)
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


def _mentions(term: z3.ExprRef, variable: z3.ExprRef) -> bool:
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


def _top(value: z3.BitVecRef) -> z3.BoolRef:
    return z3.Extract(value.size() - 1, value.size() - 1, value) == 1


def _parity(value: z3.BitVecRef) -> z3.BoolRef:
    bits = [z3.Extract(index, index, value) for index in range(8)]
    return functools.reduce(lambda a, b: a ^ b, bits) == 0


def _result_flags(state: State, value: z3.BitVecRef) -> None:
    state.set_flags(zf=lambda: value == 0, sf=lambda: _top(value), pf=lambda: _parity(value))


def _add_flags(state: State, a: z3.BitVecRef, b: z3.BitVecRef, value: z3.BitVecRef, carry: Any = None) -> None:
    _result_flags(state, value)
    if carry is None:
        state.set_flags(cf=lambda: z3.ULT(value, a))
    else:
        wide = z3.ZeroExt(1, a) + z3.ZeroExt(1, b) + z3.ZeroExt(a.size(), carry)
        state.set_flags(cf=lambda: _top(wide))
    state.set_flags(of=lambda: z3.And(_top(a) == _top(b), _top(value) != _top(a)))


def _sub_flags(state: State, a: z3.BitVecRef, b: z3.BitVecRef, value: z3.BitVecRef, borrow: Any = None) -> None:
    _result_flags(state, value)
    if borrow is None:
        state.set_flags(cf=lambda: z3.ULT(a, b))
    else:
        wide = z3.ZeroExt(1, a) - z3.ZeroExt(1, b) - z3.ZeroExt(a.size(), borrow)
        state.set_flags(cf=lambda: _top(wide))
    state.set_flags(of=lambda: z3.And(_top(a) != _top(b), _top(value) != _top(a)))


def _carry_bit(state: State) -> z3.BitVecRef:
    return z3.If(state.flag("cf"), z3.BitVecVal(1, 1), z3.BitVecVal(0, 1))


# -- integer instructions


def _mov(state: State, insn: Any) -> None:
    state.write(insn, 0, state.read(insn, 1))


def _extend(signed: bool) -> Callable[[State, Any], None]:
    def act(state: State, insn: Any) -> None:
        value = state.read(insn, 1)
        more = 8 * insn.operands[0].size - value.size()
        state.write(insn, 0, z3.SignExt(more, value) if signed else z3.ZeroExt(more, value))

    return act


def _lea(state: State, insn: Any) -> None:
    whole = state.address(insn, insn.operands[1])
    width = 8 * insn.operands[0].size
    state.write(insn, 0, whole if width == 64 else z3.Extract(width - 1, 0, whole))


def _add(state: State, insn: Any) -> None:
    a, b = state.read(insn, 0), state.read(insn, 1)
    state.write(insn, 0, a + b)
    _add_flags(state, a, b, a + b)


def _sub(state: State, insn: Any) -> None:
    a, b = state.read(insn, 0), state.read(insn, 1)
    state.write(insn, 0, a - b)
    _sub_flags(state, a, b, a - b)


def _adc(state: State, insn: Any) -> None:
    a, b, carry = state.read(insn, 0), state.read(insn, 1), _carry_bit(state)
    value = a + b + z3.ZeroExt(a.size() - 1, carry)
    state.write(insn, 0, value)
    _add_flags(state, a, b, value, carry)


def _sbb(state: State, insn: Any) -> None:
    a, b, carry = state.read(insn, 0), state.read(insn, 1), _carry_bit(state)
    value = a - b - z3.ZeroExt(a.size() - 1, carry)
    state.write(insn, 0, value)
    _sub_flags(state, a, b, value, carry)


def _cmp(state: State, insn: Any) -> None:
    a, b = state.read(insn, 0), state.read(insn, 1)
    _sub_flags(state, a, b, a - b)


def _step(by: int) -> Callable[[State, Any], None]:
    def act(state: State, insn: Any) -> None:
        a = state.read(insn, 0)
        carry = state.flags["cf"]
        one = z3.BitVecVal(1, a.size())
        state.write(insn, 0, a + by)
        (_add_flags if by > 0 else _sub_flags)(state, a, one, a + by)
        state.flags["cf"] = carry

    return act


def _neg(state: State, insn: Any) -> None:
    a = state.read(insn, 0)
    state.write(insn, 0, -a)
    _sub_flags(state, z3.BitVecVal(0, a.size()), a, -a)


def _not(state: State, insn: Any) -> None:
    state.write(insn, 0, ~state.read(insn, 0))


def _logic(act: Callable[[Any, Any], Any], keep: bool = True) -> Callable[[State, Any], None]:
    def run(state: State, insn: Any) -> None:
        a, b = state.read(insn, 0), state.read(insn, 1)
        value = z3.simplify(act(a, b))
        if keep:
            state.write(insn, 0, value)
        _result_flags(state, value)
        state.set_flags(cf=lambda: z3.BoolVal(False), of=lambda: z3.BoolVal(False))

    return run


def _imul(state: State, insn: Any) -> None:
    if len(insn.operands) == 1:
        _multiply(state, insn, z3.SignExt)
        return
    a, b = state.read(insn, len(insn.operands) - 2), state.read(insn, len(insn.operands) - 1)
    value = a * b
    state.write(insn, 0, value)
    wide = a.size()
    state.set_flags(cf=lambda: z3.SignExt(wide, a) * z3.SignExt(wide, b) != z3.SignExt(wide, value))
    state.flags["of"] = state.flags["cf"]
    state.undefined("zf", "sf", "pf")


def _multiply(state: State, insn: Any, extend: Callable[[int, Any], Any]) -> None:
    a = state.read(insn, 0)
    width = a.size()
    if width == 8:
        raise UnmodelledError("a multiplication of bytes")
    low, high = _pair(width)
    b = state.register(low)
    product = extend(width, a) * extend(width, b)
    lower = z3.Extract(width - 1, 0, product)
    state.set_register(low, lower)
    state.set_register(high, z3.Extract(2 * width - 1, width, product))
    state.set_flags(cf=lambda: product != extend(width, lower))
    state.flags["of"] = state.flags["cf"]
    state.undefined("zf", "sf", "pf")


def _pair(width: int) -> tuple[int, int]:
    names = {64: ("RAX", "RDX"), 32: ("EAX", "EDX"), 16: ("AX", "DX")}[width]
    return tuple(getattr(x86_const, f"X86_REG_{name}") for name in names)  # type: ignore[return-value]


def _divide(signed: bool) -> Callable[[State, Any], None]:
    def act(state: State, insn: Any) -> None:
        by = state.read(insn, 0)
        width = by.size()
        if width == 8:
            raise UnmodelledError("a division of bytes")
        low, high = _pair(width)
        operands = (state.register(high), state.register(low), z3.simplify(by))
        state.divisions.append((signed, *operands))
        sorts = [z3.BitVecSort(width)] * 4
        for register, part in ((low, "quotient"), (high, "remainder")):
            state.set_register(register, z3.Function(f"{part}{width}{signed}", *sorts)(*operands))
        state.undefined(*FLAGS)

    return act


def _shift(name: str) -> Callable[[State, Any], None]:
    def act(state: State, insn: Any) -> None:
        a = state.read(insn, 0)
        width = a.size()
        given = state.read(insn, 1, 8) if len(insn.operands) > 1 else z3.BitVecVal(1, 8)
        count = z3.simplify(z3.ZeroExt(width, given & (63 if width == 64 else 31)))
        wide = {"shl": z3.ZeroExt, "shr": z3.ZeroExt, "sar": z3.SignExt}[name](8, a)
        moved = {"shl": wide << count, "shr": z3.LShR(wide, count), "sar": wide >> count}[name]
        value = z3.simplify(z3.Extract(width - 1, 0, moved))
        state.write(insn, 0, value)
        _shift_flags(state, name, a, value, wide, count)

    return act


def _shift_flags(state: State, name: str, a: Any, value: Any, wide: Any, count: Any) -> None:
    """No flag changes where the count is 0; the overflow flag is known for a count of 1 alone."""
    width = a.size()
    before = dict(state.flags)
    last = (wide << count) if name == "shl" else None
    shifted = wide >> (count - 1) if name == "sar" else z3.LShR(wide, count - 1)
    carry = (lambda: z3.Extract(width, width, last) == 1) if name == "shl" else (lambda: z3.Extract(0, 0, shifted) == 1)
    sign = {"shl": lambda: _top(value) != carry(), "shr": lambda: _top(a), "sar": lambda: z3.BoolVal(False)}[name]
    flags = {"zf": lambda: value == 0, "sf": lambda: _top(value), "pf": lambda: _parity(value), "cf": carry}
    unknown = z3.FreshConst(z3.BoolSort(), f"{state.side}undefined")
    if z3.is_bv_value(count):
        if count.as_long():
            state.set_flags(**flags)
            state.flags["of"] = Lazy(sign) if count.as_long() == 1 else unknown
        return
    flags["of"] = lambda: z3.If(count == 1, sign(), unknown)
    for flag, make in flags.items():
        old = before[flag]
        state.flags[flag] = Lazy(functools.partial(_unless_zero, count, old, make))


def _unless_zero(count: Any, old: Any, make: Callable[[], Any]) -> Any:
    return z3.If(count == 0, old.get() if isinstance(old, Lazy) else old, make())


def _rotate(left: bool) -> Callable[[State, Any], None]:
    def act(state: State, insn: Any) -> None:
        a = state.read(insn, 0)
        width = a.size()
        given = state.read(insn, 1, 8) if len(insn.operands) > 1 else z3.BitVecVal(1, 8)
        count = z3.simplify(given & (63 if width == 64 else 31))
        by = z3.simplify(count & (width - 1))
        by = by if width == 8 else z3.ZeroExt(width - 8, by)
        value = z3.simplify((z3.RotateLeft if left else z3.RotateRight)(a, by))
        state.write(insn, 0, value)
        bit = 0 if left else width - 1
        _flags_unless_zero(state, count, cf=lambda: z3.Extract(bit, bit, value) == 1, of=_unknown(state))

    return act


def _double_shift(left: bool) -> Callable[[State, Any], None]:
    def act(state: State, insn: Any) -> None:
        a, b = state.read(insn, 0), state.read(insn, 1)
        width = a.size()
        if width == 16:
            raise UnmodelledError("a double shift of 16 bits")
        count = z3.simplify(state.read(insn, 2, 8) & (width - 1))
        wide = z3.ZeroExt(2 * width - 8, count)
        moved = z3.Concat(a, b) << wide if left else z3.LShR(z3.Concat(b, a), wide)
        value = z3.simplify(z3.Extract(2 * width - 1, width, moved) if left else z3.Extract(width - 1, 0, moved))
        state.write(insn, 0, value)
        known = {"zf": lambda: value == 0, "sf": lambda: _top(value), "pf": lambda: _parity(value)}
        _flags_unless_zero(state, count, **known, cf=_unknown(state), of=_unknown(state))

    return act


def _unknown(state: State) -> Callable[[], z3.BoolRef]:
    value = z3.FreshConst(z3.BoolSort(), f"{state.side}undefined")
    return lambda: value


def _flags_unless_zero(state: State, count: z3.BitVecRef, **flags: Callable[[], z3.BoolRef]) -> None:
    """Set flags where the count is not 0."""
    for name, make in flags.items():
        state.flags[name] = Lazy(functools.partial(_unless_zero, count, state.flags[name], make))


def _widen(source: str, target: str) -> Callable[[State, Any], None]:
    registers = [getattr(x86_const, f"X86_REG_{name}") for name in (source, target)]

    def act(state: State, insn: Any) -> None:
        value = state.register(registers[0])
        state.set_register(registers[1], z3.SignExt(value.size(), value))

    return act


def _spread(source: str, target: str) -> Callable[[State, Any], None]:
    """The sign of one register in every bit of another."""
    registers = [getattr(x86_const, f"X86_REG_{name}") for name in (source, target)]

    def act(state: State, insn: Any) -> None:
        value = state.register(registers[0])
        state.set_register(registers[1], value >> (value.size() - 1))

    return act


def _push(state: State, insn: Any) -> None:
    value = state.read(insn, 0, 64)
    state.registers[RSP] = z3.simplify(state.registers[RSP] - 8)
    state.store(state.registers[RSP], value)


def _pop(state: State, insn: Any) -> None:
    value = state.load(state.registers[RSP], 8)
    state.registers[RSP] = z3.simplify(state.registers[RSP] + 8)
    state.write(insn, 0, value)


def _leave(state: State, insn: Any) -> None:
    state.registers[RSP] = z3.simplify(state.registers[RBP] + 8)
    state.registers[RBP] = state.load(z3.simplify(state.registers[RSP] - 8), 8)


def _xchg(state: State, insn: Any) -> None:
    a, b = state.read(insn, 0), state.read(insn, 1)
    state.write(insn, 0, b)
    state.write(insn, 1, a)


def _bswap(state: State, insn: Any) -> None:
    a = state.read(insn, 0)
    state.write(insn, 0, z3.Concat(*(z3.Extract(low + 7, low, a) for low in range(0, a.size(), 8))))


def _bt(state: State, insn: Any) -> None:
    if insn.operands[0].type != x86_const.X86_OP_REG:
        raise UnmodelledError("a bit test in memory")
    a = state.read(insn, 0)
    place = state.read(insn, 1, a.size()) & (a.size() - 1)
    state.set_flags(cf=lambda: z3.Extract(0, 0, z3.LShR(a, place)) == 1)
    state.undefined("of", "sf", "pf")


def _nothing(state: State, insn: Any) -> None:
    return


def _set(state: State, insn: Any) -> None:
    value = z3.If(state.condition(insn.mnemonic[3:]), z3.BitVecVal(1, 8), z3.BitVecVal(0, 8))
    state.write(insn, 0, value)


def _cmov(state: State, insn: Any) -> None:
    state.write(insn, 0, z3.If(state.condition(insn.mnemonic[4:]), state.read(insn, 1), state.read(insn, 0)))


# -- vectors


def _low(value: z3.BitVecRef, width: int) -> z3.BitVecRef:
    return value if value.size() == width else z3.Extract(width - 1, 0, value)


def _merge(old: z3.BitVecRef, value: z3.BitVecRef) -> z3.BitVecRef:
    return z3.Concat(z3.Extract(old.size() - 1, value.size(), old), value)


def _move_vector(state: State, insn: Any) -> None:
    state.write(insn, 0, state.read(insn, 1))


def _move_scalar(width: int) -> Callable[[State, Any], None]:
    def act(state: State, insn: Any) -> None:
        to, source = insn.operands
        if not _vector(insn):
            raise UnmodelledError("a string instruction")
        value = _low(state.read(insn, 1), width)
        if to.type == x86_const.X86_OP_MEM:
            state.write(insn, 0, value)
        elif source.type == x86_const.X86_OP_MEM:
            state.write(insn, 0, z3.ZeroExt(128 - width, value))
        else:
            state.write(insn, 0, _merge(state.read(insn, 0), value))

    return act


def _move_between(width: int) -> Callable[[State, Any], None]:
    """movd and movq: the upper part of a vector register becomes zero."""

    def act(state: State, insn: Any) -> None:
        value = state.read(insn, 1)
        value = _low(value, width) if value.size() > width else value
        if insn.operands[0].type == x86_const.X86_OP_REG and insn.operands[0].reg in VECTORS:
            state.write(insn, 0, z3.ZeroExt(128 - value.size(), value))
        else:
            state.write(insn, 0, value)

    return act


def _bitwise(act: Callable[[Any, Any], Any]) -> Callable[[State, Any], None]:
    return lambda state, insn: state.write(insn, 0, z3.simplify(act(state.read(insn, 0), state.read(insn, 1))))


def _uninterpreted(name: str, width: int, *operands: z3.BitVecRef) -> z3.BitVecRef:
    sorts = [z3.BitVecSort(operand.size()) for operand in operands]
    operands = tuple(map(z3.simplify, operands))
    words = "_".join([name, *(str(operand.size()) for operand in operands), str(width)])
    return z3.Function(words, *sorts, z3.BitVecSort(width))(*operands)


def _scalar(width: int, *, two: bool) -> Callable[[State, Any], None]:
    """Arithmetic in the lowest part of a vector; the rest stays."""

    def act(state: State, insn: Any) -> None:
        old, source = state.read(insn, 0), state.read(insn, 1)
        source = _low(source, min(source.size(), _source_width(insn)))
        if insn.mnemonic.startswith("cvtsi2"):  # the operand's value decides, not its width
            source = z3.simplify(z3.SignExt(64 - source.size(), source))
        operands = (_low(old, width), source) if two else (source,)
        state.write(insn, 0, _merge(old, _uninterpreted(insn.mnemonic, width, *operands)))

    return act


def _source_width(insn: Any) -> int:
    """The bits of the source that a scalar instruction reads."""
    name = insn.mnemonic
    if name.startswith("cvt"):
        source = name[3:].partition("2")[0]
        return {"ss": 32, "sd": 64, "tss": 32, "tsd": 64}.get(source, 64)
    return 32 if name.endswith("ss") else 64


def _to_integer(state: State, insn: Any) -> None:
    source = _low(state.read(insn, 1), _source_width(insn))
    state.write(insn, 0, _uninterpreted(insn.mnemonic, 8 * insn.operands[0].size, source))


def _compare_scalar(state: State, insn: Any) -> None:
    width = 32 if insn.mnemonic.endswith("ss") else 64
    a, b = _low(state.read(insn, 0), width), _low(state.read(insn, 1), width)
    for flag in ("zf", "pf", "cf"):
        result = _uninterpreted(f"compare_{flag}", 1, a, b)
        state.flags[flag] = result == 1
    state.set_flags(of=lambda: z3.BoolVal(False), sf=lambda: z3.BoolVal(False))


def _packed(state: State, insn: Any) -> None:
    """Any other instruction from a vector or memory to a vector."""
    if insn.operands[0].type != x86_const.X86_OP_REG or insn.operands[0].reg not in VECTORS:
        raise UnmodelledError(insn.mnemonic)
    values = [state.read(insn, 0), state.read(insn, 1)]
    name = insn.mnemonic
    if len(insn.operands) > 2:
        name = f"{name}_{insn.operands[2].imm}"
    elif insn.operands[1].type == x86_const.X86_OP_IMM:
        name, values = f"{name}_{insn.operands[1].imm}", values[:1]
    state.write(insn, 0, _uninterpreted(name, 128, *values))


_PACKED = (
    *("addps", "addpd", "subps", "subpd", "mulps", "mulpd", "divps", "divpd", "minps", "minpd", "maxps", "maxpd"),
    *("sqrtps", "sqrtpd", "paddb", "paddw", "paddd", "paddq", "psubb", "psubw", "psubd", "psubq", "pmullw", "pmulhw"),
    *("pmulhuw", "pmuludq", "pmaddwd", "pmaxub", "pmaxsw", "pminub", "pminsw", "pcmpeqb", "pcmpeqw", "pcmpeqd"),
    *("pcmpgtb", "pcmpgtw", "pcmpgtd", "psllw", "pslld", "psllq", "psrlw", "psrld", "psrlq", "psraw", "psrad"),
    *("pslldq", "psrldq", "punpcklbw", "punpcklwd", "punpckldq", "punpcklqdq", "punpckhbw", "punpckhwd", "punpckhdq"),
    *("punpckhqdq", "packuswb", "packsswb", "packssdw", "pshufd", "pshuflw", "pshufhw", "shufps", "shufpd"),
    *("unpcklps", "unpcklpd", "unpckhps", "unpckhpd", "psadbw", "pavgb", "pavgw", "movlhps", "movhlps", "cvtdq2ps"),
    *("cvtdq2pd", "cvtps2pd", "cvtpd2ps", "cvttps2dq", "cvttpd2dq", "cmpps", "cmppd"),
)
_ARITHMETIC = ("add", "sub", "mul", "div", "min", "max")

SEMANTICS: dict[str, Callable[[State, Any], None]] = {
    **dict.fromkeys(("mov", "movabs"), _mov),
    "movzx": _extend(False),
    "movsx": _extend(True),
    "movsxd": _extend(True),
    "lea": _lea,
    "add": _add,
    "sub": _sub,
    "adc": _adc,
    "sbb": _sbb,
    "cmp": _cmp,
    "neg": _neg,
    "not": _not,
    "inc": _step(1),
    "dec": _step(-1),
    "imul": _imul,
    "div": _divide(False),
    "idiv": _divide(True),
    "mul": lambda state, insn: _multiply(state, insn, z3.ZeroExt),
    "and": _logic(lambda a, b: a & b),
    "or": _logic(lambda a, b: a | b),
    "xor": _logic(lambda a, b: a ^ b),
    "test": _logic(lambda a, b: a & b, keep=False),
    "shl": _shift("shl"),
    "sal": _shift("shl"),
    "shr": _shift("shr"),
    "sar": _shift("sar"),
    "rol": _rotate(True),
    "ror": _rotate(False),
    "shld": _double_shift(True),
    "shrd": _double_shift(False),
    "bswap": _bswap,
    "bt": _bt,
    "xchg": _xchg,
    "cbw": _widen("AL", "AX"),
    "cwde": _widen("AX", "EAX"),
    "cdqe": _widen("EAX", "RAX"),
    "cwd": _spread("AX", "DX"),
    "cdq": _spread("EAX", "EDX"),
    "cqo": _spread("RAX", "RDX"),
    "push": _push,
    "pop": _pop,
    "leave": _leave,
    "nop": _nothing,
    "endbr64": _nothing,
    **{f"set{name}": _set for name in CONDITIONS},
    **{f"cmov{name}": _cmov for name in CONDITIONS},
    **dict.fromkeys(("movaps", "movups", "movapd", "movupd", "movdqa", "movdqu"), _move_vector),
    "movss": _move_scalar(32),
    "movsd": _move_scalar(64),
    "movd": _move_between(32),
    "movq": _move_between(64),
    **{name: _bitwise(lambda a, b: a & b) for name in ("andps", "andpd", "pand")},
    **{name: _bitwise(lambda a, b: a | b) for name in ("orps", "orpd", "por")},
    **{name: _bitwise(lambda a, b: a ^ b) for name in ("xorps", "xorpd", "pxor")},
    **{name: _bitwise(lambda a, b: ~a & b) for name in ("andnps", "andnpd", "pandn")},
    **{f"{name}ss": _scalar(32, two=True) for name in _ARITHMETIC},
    **{f"{name}sd": _scalar(64, two=True) for name in _ARITHMETIC},
    "sqrtss": _scalar(32, two=False),
    "sqrtsd": _scalar(64, two=False),
    "cvtsi2ss": _scalar(32, two=False),
    "cvtsi2sd": _scalar(64, two=False),
    "cvtsd2ss": _scalar(32, two=False),
    "cvtss2sd": _scalar(64, two=False),
    **dict.fromkeys(("cvttss2si", "cvttsd2si", "cvtss2si", "cvtsd2si"), _to_integer),
    **dict.fromkeys(("ucomiss", "ucomisd", "comiss", "comisd"), _compare_scalar),
    **dict.fromkeys(_PACKED, _packed),
}
"""The semantics of each mnemonic as capstone writes it, except for jumps, calls and returns."""


def execute(state: State, insn: Any) -> None:
    """Execute one instruction that is no jump, call or return. Raises UnmodelledError."""
    act = SEMANTICS.get(insn.mnemonic)
    if act is None or (insn.prefix[0] in (0xF0, 0xF2, 0xF3) and not _vector(insn)):
        raise UnmodelledError(insn.mnemonic)
    try:
        act(state, insn)
    except z3.Z3Exception as error:
        raise UnmodelledError(f"{insn.mnemonic}: {error}") from error


def _vector(insn: Any) -> bool:
    return any(operand.type == x86_const.X86_OP_REG and operand.reg in VECTORS for operand in insn.operands)
