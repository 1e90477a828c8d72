"""The semantics of vector instructions of x86-64: moves and bits exactly, arithmetic as uninterpreted functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import z3
from capstone import x86_const

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.state import VECTORS, State


def uses_vectors(insn: Any) -> bool:
    """Whether an instruction has a vector register among its operands."""
    return any(operand.type == x86_const.X86_OP_REG and operand.reg in VECTORS for operand in insn.operands)


def _low(value: z3.BitVecRef, width: int) -> z3.BitVecRef:
    return value if value.size() == width else z3.Extract(width - 1, 0, value)


def _merge(old: z3.BitVecRef, value: z3.BitVecRef) -> z3.BitVecRef:
    return z3.Concat(z3.Extract(old.size() - 1, value.size(), old), value)


def _move_vector(state: State, insn: Any) -> None:
    state.write(insn, 0, state.read(insn, 1))


def _move_scalar(width: int) -> Callable[[State, Any], None]:
    def act(state: State, insn: Any) -> None:
        to, source = insn.operands
        if not uses_vectors(insn):
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


VECTOR_SEMANTICS: dict[str, Callable[[State, Any], None]] = {
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
