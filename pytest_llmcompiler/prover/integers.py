"""The semantics of integer instructions of x86-64 as z3 terms, exactly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import z3
from capstone import x86_const

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.state import CONDITIONS, FLAGS, RBP, RSP, Lazy, State

Action = Callable[[State, Any], None]
"""What an instruction does to a state."""


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
    low, high = (x86_const.X86_REG_AL, x86_const.X86_REG_AH) if width == 8 else _pair(width)
    b = state.register(low)
    product = extend(width, a) * extend(width, b)
    lower = z3.Extract(width - 1, 0, product)
    state.set_register(low, lower)
    state.set_register(high, z3.Extract(2 * width - 1, width, product))
    state.set_flags(cf=lambda: product != extend(width, lower))
    state.flags["of"] = state.flags["cf"]
    state.undefined("zf", "sf", "pf")


def _pair(width: int) -> tuple[int, int]:
    low, high = {64: ("RAX", "RDX"), 32: ("EAX", "EDX"), 16: ("AX", "DX")}[width]
    return getattr(x86_const, f"X86_REG_{low}"), getattr(x86_const, f"X86_REG_{high}")


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
        wide = (z3.SignExt if name == "sar" else z3.ZeroExt)(8, a)
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

    def carry() -> Any:
        return z3.Extract(width, width, last) == 1 if name == "shl" else z3.Extract(0, 0, shifted) == 1

    signs: dict[str, Callable[[], Any]] = {
        "shl": lambda: _top(value) != carry(),
        "shr": lambda: _top(a),
        "sar": lambda: z3.BoolVal(False),
    }
    sign = signs[name]
    flags: dict[str, Callable[[], Any]] = {
        "zf": lambda: value == 0,
        "sf": lambda: _top(value),
        "pf": lambda: _parity(value),
        "cf": carry,
    }
    unknown = z3.FreshConst(z3.BoolSort(), f"{state.side}undefined")
    if width < 32 and name != "sar" and not (z3.is_bv_value(count) and count.as_long() < width):
        flags["cf"] = lambda: unknown  # undefined where the count is as large as the operand
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


def _require_words(insn: Any) -> None:
    """Raise UnmodelledError for an instruction of the stack that moves 16 bits."""
    if insn.prefix[2] or any(operand.size != 8 for operand in insn.operands):
        raise UnmodelledError("16 bits on the stack")


def _push(state: State, insn: Any) -> None:
    _require_words(insn)
    value = state.read(insn, 0, 64)
    state.registers[RSP] = z3.simplify(state.registers[RSP] - 8)
    state.store(state.registers[RSP], value)


def _pop(state: State, insn: Any) -> None:
    _require_words(insn)
    value = state.load(state.registers[RSP], 8)
    state.registers[RSP] = z3.simplify(state.registers[RSP] + 8)
    state.write(insn, 0, value)


def _leave(state: State, insn: Any) -> None:
    _require_words(insn)
    state.registers[RSP] = z3.simplify(state.registers[RBP] + 8)
    state.registers[RBP] = state.load(z3.simplify(state.registers[RSP] - 8), 8)


def _xchg(state: State, insn: Any) -> None:
    if any(operand.type == x86_const.X86_OP_MEM for operand in insn.operands):
        raise UnmodelledError("an exchange with memory")
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


INTEGER_SEMANTICS: dict[str, Action] = {
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
}
