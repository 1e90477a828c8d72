"""The operands and expressions of a text, rewritten so that keystone gets nothing but registers and numbers.

What is not understood without doubt is refused (RefusalError), and so left to LLVM.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from pytest_llmcompiler.assembler.gas import Statement
from pytest_llmcompiler.assembler.tokens import SYMBOL, integer
from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.targets.dialect import Syntax

_REGISTER = (
    r"(?:[re]?(?:[abcd]x|[sd]i|[sb]p)|[abcd][lh]|(?:[sd]i|[sb]p)l|r(?:8|9|1[0-5])[dwb]?|xmm(?:\d|1[0-5])|mm[0-7]"
    r"|st(?:\([0-7]\))?)"
)
_POINTER = r"(?:r(?:[abcd]x|[sd]i|[sb]p|8|9|1[0-5]))"
_INDEX = r"(?:r(?:[abcd]x|[sd]i|bp|8|9|1[0-5]))"
_ATT_REGISTER = re.compile(rf"\*?\s*%{_REGISTER}$", re.IGNORECASE)
_ATT_MEMORY = re.compile(
    rf"(\*?)\s*(?:%([c-gs]s)\s*:\s*)?([^()%*]*?)\s*"
    rf"(\(\s*(?:%(rip|{_POINTER}))?\s*(?:,\s*%({_INDEX})\s*(?:,\s*([1248])?\s*)?)?\))?$",
    re.IGNORECASE,
)
_INTEL_REGISTER = re.compile(rf"{_REGISTER}$", re.IGNORECASE)
_INTEL_MEMORY = re.compile(
    r"(?:(byte|word|dword|qword|xmmword|tbyte)\s+ptr\s+)?(?:([c-gs]s)\s*:\s*)?([^\[\]:]*?)\s*"
    r"(\[([^\[\]]*)\])?$",
    re.IGNORECASE,
)
_INTEL_WRAPPED = re.compile(r"\[\s*([a-z]+\s+ptr\s+.*)\]$", re.IGNORECASE)
_INTEL_OFFSET = re.compile(r"offset\s+(?:flat\s*:\s*)?(.*)$", re.IGNORECASE)
_INTEL_ADDRESS = re.compile(rf"(?:rip|{_POINTER}(?:\s*\*\s*[1248])?|[1248]\s*\*\s*{_POINTER})$", re.IGNORECASE)
_INTEL_RESERVED = re.compile(
    r"[re]?(?:[abcd]x|[sd]i|[sb]p|ip|iz)|[abcd][lh]|(?:[sd]i|[sb]p)l|r\d+[dwb]?|[xyzt]?mm\d+|[c-gs]s|st|[cdk]r?\d+"
    r"|offset|flat|ptr|short|near|far|type|size|length|byte|[dqfto]?word|(?:mm|[xyz]mm)word"
    r"|and|or|xor|not|mod|sh[lr]|eq|ne|l[te]|g[te]",
    re.IGNORECASE,
)
_INTEL_64 = re.compile(_POINTER, re.IGNORECASE)
_INTEL_32 = re.compile(r"(?:e(?:[abcd]x|[sd]i|[sb]p)|r(?:8|9|1[0-5])d)$|dword\s+ptr\b", re.IGNORECASE)
_ATOM = re.compile(rf"\s*([+-]?)\s*(?:({SYMBOL})(?:@(\w+))?|(\w+))\s*")
_NUMERIC_LABEL = re.compile(r"\d+[bf]")
_CHARACTER = re.compile(r"'([^\\])'")
_ESCAPE = re.compile(r"\\([0-7]{1,3}|[bfnrt\"\\])|\\|[^\\]+")
_ESCAPES = {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9, '"': 34, "\\": 92}


class KeystoneRefusalError(LLMCompilerError):
    """This text is not for keystone, or keystone fails on it: LLVM assembles it. The message says why."""


class Expression(NamedTuple):
    """The sum of at most one symbol, minus at most one, and a number."""

    symbol: str | None
    minus: str | None
    number: int
    modifier: str | None
    """What stands behind the @ of `symbol`, in upper case."""

    @property
    def is_number(self) -> bool:
        """Whether it has no symbols."""
        return self.symbol is None and self.minus is None


class Operand(NamedTuple):
    """An operand for keystone: a text, or two with a number for `value` between them."""

    before: str
    value: Expression | None = None
    relative: bool = False
    """`value` counts from the instruction pointer."""
    after: str = ""
    absolute: bool = False
    """An address without registers. Written with the index register that is none, or keystone makes it RIP-relative."""


@lru_cache(maxsize=8192)
def expression(text: str) -> Expression:
    """Parse `symbol@MODIFIER + number - symbol`, in any order. `1f` and `1b` are symbols."""
    if _NUMERIC_LABEL.fullmatch(text):
        return Expression(text, None, 0, None)
    symbol = minus = modifier = None
    total, position = 0, 0
    while position < len(text) or not text:
        atom = _ATOM.match(text, position)
        if atom is None or (position and not atom[1]):
            raise KeystoneRefusalError(f"the expression {text!r} is left to LLVM")
        sign, name, kind, digits = atom.groups()
        if name is None:
            value = integer(digits)
            if value is None or abs(value) >= 1 << 64:
                raise KeystoneRefusalError(f"the number {digits!r} is left to LLVM")
            total += -value if sign == "-" else value
        elif sign == "-" and minus is None and kind is None:
            minus = name
        elif sign != "-" and symbol is None:
            symbol, modifier = name, kind and kind.upper()
        else:
            raise KeystoneRefusalError(f"the expression {text!r} is left to LLVM")
        position = atom.end()
    return Expression(symbol, minus, total, modifier)


def operand(text: str, syntax: Syntax) -> Operand:
    """An operand of an instruction: registers as they are, numbers in decimal."""
    return _att_operand(text) if syntax == "att" else _intel_operand(text)


@lru_cache(maxsize=8192)
def _att_operand(text: str) -> Operand:
    if _ATT_REGISTER.match(text):
        return Operand(text)
    if text.startswith("$"):
        return _immediate("$", text[1:])
    memory = _ATT_MEMORY.match(text)
    if memory is None:
        raise KeystoneRefusalError(f"the operand {text!r} is left to LLVM")
    star, segment, displacement, brackets, base, index, scale = memory.groups()
    relative = base is not None and base.lower() == "rip"
    absolute = brackets is None
    if ((absolute or relative) and not displacement) or (not absolute and base is None and index is None):
        raise KeystoneRefusalError(f"the operand {text!r} is left to LLVM")
    if relative and index:
        raise KeystoneRefusalError(f"the operand {text!r} is left to LLVM")
    before = f"{star}{f'%{segment}:' if segment else ''}"
    after = f"({f'%{base}' if base else ''}{f',%{index},{scale or 1}' if index else ''})"
    return _memory(before, displacement, relative, "(,%riz,1)" if absolute else after, absolute)


@lru_cache(maxsize=8192)
def _intel_operand(text: str) -> Operand:
    if _INTEL_REGISTER.match(text):
        return Operand(text)
    offset = _INTEL_OFFSET.match(text)
    if offset:
        return _immediate("", offset[1])
    value = integer(text)
    if value is not None:
        return Operand(str(value))
    wrapped = _INTEL_WRAPPED.match(text)
    memory = _INTEL_MEMORY.match(wrapped[1].strip() if wrapped else text)
    if memory is None:
        raise KeystoneRefusalError(f"the operand {text!r} is left to LLVM")
    size, segment, outside, brackets, inside = memory.groups()
    if brackets is None and not segment and not (size and re.match(SYMBOL, outside)):
        raise KeystoneRefusalError(f"the operand {text!r} is left to LLVM")
    registers, rest = _intel_terms(inside or "")
    if "rsp" in "".join(registers[1:]) or (registers and registers[0] != "rsp" and "rsp" in registers[0]):
        raise KeystoneRefusalError("the stack pointer as an index is left to LLVM")
    relative = "rip" in registers
    absolute = not registers
    displacement = outside + "".join(rest)
    if (relative and len(registers) > 1) or ((absolute or relative) and not displacement):
        raise KeystoneRefusalError(f"the operand {text!r} is left to LLVM")
    address = "+".join(registers) or "riz*1"
    before = f"{f'{size} ptr ' if size else ''}{f'{segment}:' if segment else ''}[{address}"
    return _memory(before + "+" if displacement else before, displacement, relative, "]", absolute)


def _intel_terms(text: str) -> tuple[list[str], list[str]]:
    """The registers (scaled or not) of an address in brackets, and its other terms with their signs."""
    registers, rest = [], []
    for sign, term in re.findall(r"([+-]?)\s*([^+-]+)", text):
        term = term.strip()
        if _INTEL_ADDRESS.match(term) and sign != "-":
            registers.append(term.lower())
        else:
            rest.append(f"{sign or '+'}{term}")
    return registers, rest


def _immediate(before: str, text: str) -> Operand:
    character = _CHARACTER.fullmatch(text)
    if character:
        return Operand(before + str(ord(character[1])))
    value = expression(text)
    if value.is_number:
        return Operand(before + str(value.number))
    return Operand(before, value)


def _memory(before: str, displacement: str, relative: bool, after: str, absolute: bool) -> Operand:
    if not displacement:
        return Operand(before + after)
    value = expression(displacement)
    if not value.is_number:
        return Operand(before, value, relative, after, absolute)
    if not -(1 << 31) <= value.number < 1 << 31:
        raise KeystoneRefusalError(f"the displacement {displacement!r} is left to LLVM")
    return Operand(f"{before}{value.number}{after}".replace("+-", "-"), absolute=absolute)


def is_indirect(text: str, syntax: Syntax) -> bool:
    """Whether the operand of a branch is where its target is found, not the target."""
    if syntax == "att":
        return text[:1] in ("*", "%")
    return "[" in text or _INTEL_REGISTER.match(text) is not None


def is_reserved(name: str, syntax: Syntax) -> bool:
    """Whether a name is a register or an operator, and so no symbol: in Intel syntax nothing else tells them apart."""
    return syntax == "intel" and _INTEL_RESERVED.fullmatch(name) is not None


def is_movsxd(statement: Statement) -> bool:
    """Whether a movsx is one from 32 to 64 bits, which only GNU as takes by that name."""
    if statement.name != "movsx" or statement.syntax != "intel":
        return False
    target, _, source = statement.operands.partition(",")
    return bool(_INTEL_64.fullmatch(target.strip()) and _INTEL_32.match(source.strip()))


def string(literal: str) -> bytes:
    """The bytes of a string literal, which the quotes are part of."""
    if len(literal) < 2 or literal[0] != '"' or literal[-1] != '"':
        raise KeystoneRefusalError(f"the string {literal!r} is left to LLVM")
    data = bytearray()
    for match in _ESCAPE.finditer(literal, 1, len(literal) - 1):
        if match[1] is None:
            if match[0] == "\\":
                raise KeystoneRefusalError(f"an escape in {literal!r} is left to LLVM")
            data += match[0].encode()
        elif match[1][0] in _ESCAPES:
            data.append(_ESCAPES[match[1]])
        else:
            data.append(int(match[1], 8) & 255)
    return bytes(data)
