"""Operands and expressions, rewritten so that keystone gets nothing but registers and decimal numbers.

Symbols, and the many ways to write numbers, are what keystone misreads most. An operand therefore becomes one or two
texts: `table+8(,%rax,4)` is the text in front of its displacement, the expression `table + 8`, and the text
`(,%rax,4)`. The caller puts a number in the place of the expression. An operand that is not understood without doubt
raises KeystoneRefusalError, and LLVM assembles the text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from pytest_llmcompiler.assembler.tokens import SYMBOL, parse_integer
from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.targets.dialect import Syntax

_REGISTER = (
    r"(?:[re]?(?:[abcd]x|[sd]i|[sb]p)|[abcd][lh]|(?:[sd]i|[sb]p)l|r(?:8|9|1[0-5])[dwb]?|xmm(?:\d|1[0-5])|mm[0-7]"
    r"|st(?:\([0-7]\))?)"
)
_BASE = r"(?:r(?:[abcd]x|[sd]i|[sb]p|8|9|1[0-5]))"
_INDEX = r"(?:r(?:[abcd]x|[sd]i|bp|8|9|1[0-5]))"
"""Registers of 64 bits that an address may add: all as a base, and all but the stack pointer as an index."""
_ATT_REGISTER = re.compile(rf"\*?\s*%{_REGISTER}$", re.IGNORECASE)
_ATT_MEMORY = re.compile(
    rf"(\*?)\s*(?:%([c-gs]s)\s*:\s*)?([^()%*]*?)\s*"
    rf"(\(\s*(?:%(rip|{_BASE}))?\s*(?:,\s*%({_INDEX})\s*(?:,\s*([1248])?\s*)?)?\))?$",
    re.IGNORECASE,
)
"""`*%SEGMENT:DISPLACEMENT(%BASE,%INDEX,SCALE)`, each part of which may be missing."""
_INTEL_REGISTER = re.compile(rf"{_REGISTER}$", re.IGNORECASE)
_INTEL_MEMORY = re.compile(
    r"(?:(byte|word|dword|qword|xmmword|tbyte)\s+ptr\s+)?(?:([c-gs]s)\s*:\s*)?([^\[\]:]*?)\s*"
    r"(\[([^\[\]]*)\])?$",
    re.IGNORECASE,
)
"""`SIZE ptr SEGMENT:DISPLACEMENT[ADDRESS]`, each part of which may be missing."""
_INTEL_OUTER_BRACKETS = re.compile(r"\[\s*([a-z]+\s+ptr\s+.*)\]$", re.IGNORECASE)
"""`[SIZE ptr DISPLACEMENT[ADDRESS]]`, which GNU as takes for the same without the outer brackets."""
_INTEL_OFFSET = re.compile(r"offset\s+(?:flat\s*:\s*)?(.*)$", re.IGNORECASE)
_INTEL_ADDRESS_TERM = re.compile(rf"(?:rip|{_BASE}(?:\s*\*\s*[1248])?|[1248]\s*\*\s*{_BASE})$", re.IGNORECASE)
_INTEL_RESERVED_WORD = re.compile(
    r"[re]?(?:[abcd]x|[sd]i|[sb]p|ip|iz)|[abcd][lh]|(?:[sd]i|[sb]p)l|r\d+[dwb]?|[xyzt]?mm\d+|[c-gs]s|st|[cdk]r?\d+"
    r"|offset|flat|ptr|short|near|far|type|size|length|byte|[dqfto]?word|(?:mm|[xyz]mm)word"
    r"|and|or|xor|not|mod|sh[lr]|eq|ne|l[te]|g[te]",
    re.IGNORECASE,
)
"""Registers, operators and sizes: without a `%` in front of registers, only their names tell them from symbols."""
_INTEL_64_BIT_REGISTER = re.compile(_BASE, re.IGNORECASE)
_INTEL_32_BIT_OPERAND = re.compile(r"(?:e(?:[abcd]x|[sd]i|[sb]p)|r(?:8|9|1[0-5])d)$|dword\s+ptr\b", re.IGNORECASE)
_TERM = re.compile(rf"\s*([+-]?)\s*(?:({SYMBOL})(?:@(\w+))?|(\w+))\s*")
"""One term of a sum: a sign, and a symbol with a modifier or a number."""
_NUMERIC_LABEL = re.compile(r"\d+[bf]")
_CHARACTER = re.compile(r"'([^\\])'")
_STRING_PART = re.compile(r"\\([0-7]{1,3}|[bfnrt\"\\])|\\|[^\\]+")
_ESCAPED_BYTES = {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9, '"': 34, "\\": 92}
_CACHE_SIZE = 1 << 14
"""Operands and expressions that are kept parsed: the answers of a session repeat the same ones over and over."""


class KeystoneRefusalError(LLMCompilerError):
    """This text is not for keystone, or keystone fails on it: LLVM assembles it. The message says why."""


class Expression(NamedTuple):
    """`symbol@MODIFIER - subtracted_symbol + addend`; both symbols may be missing."""

    symbol: str | None
    subtracted_symbol: str | None
    addend: int
    modifier: str | None
    """The word behind the @ of `symbol`, in upper case."""

    @property
    def is_number(self) -> bool:
        """Whether there are no symbols in it."""
        return self.symbol is None and self.subtracted_symbol is None


class Operand(NamedTuple):
    """An operand for keystone: one text, or two texts between which a number stands for `value`."""

    text: str
    """The text in front of `value`, or the whole operand."""
    value: Expression | None = None
    is_pc_relative: bool = False
    """Whether `value` counts from the instruction pointer."""
    text_after: str = ""
    is_absolute: bool = False
    """Whether this is an address without registers. It is written with `riz`, the index register that counts as zero;
    without that keystone makes the address RIP-relative."""


def _refuse(kind: str, text: str) -> KeystoneRefusalError:
    return KeystoneRefusalError(f"the {kind} {text!r} is left to LLVM")


@lru_cache(maxsize=_CACHE_SIZE)
def parse_expression(text: str) -> Expression:
    """Parse a sum of a symbol, a subtracted symbol and numbers, in any order. `1f` and `1b` are symbols."""
    if _NUMERIC_LABEL.fullmatch(text):
        return Expression(text, None, 0, None)
    symbol = subtracted = modifier = None
    addend, position = 0, 0
    while position < len(text) or not text:
        term = _TERM.match(text, position)
        if term is None or (position and not term[1]):
            raise _refuse("expression", text)
        sign, name, suffix, digits = term.groups()
        if name is None:
            value = parse_integer(digits)
            if value is None or abs(value) >= 1 << 64:
                raise _refuse("number", digits)
            addend += -value if sign == "-" else value
        elif sign == "-" and subtracted is None and suffix is None:
            subtracted = name
        elif sign != "-" and symbol is None:
            symbol, modifier = name, suffix and suffix.upper()
        else:
            raise _refuse("expression", text)
        position = term.end()
    return Expression(symbol, subtracted, addend, modifier)


def parse_operand(text: str, syntax: Syntax) -> Operand:
    """Rewrite one operand of an instruction: registers stay as they are, numbers become decimal."""
    text = " ".join(text.split())  # patterns below try each way to divide a run of blanks
    return _parse_att_operand(text) if syntax == "att" else _parse_intel_operand(text)


@lru_cache(maxsize=_CACHE_SIZE)
def _parse_att_operand(text: str) -> Operand:
    if _ATT_REGISTER.match(text):
        return Operand(text)
    if text.startswith("$"):
        return _parse_immediate("$", text[1:])
    memory = _ATT_MEMORY.match(text)
    if memory is None:
        raise _refuse("operand", text)
    star, segment, displacement, brackets, base, index, scale = memory.groups()
    is_pc_relative = base is not None and base.lower() == "rip"
    is_absolute = brackets is None
    if ((is_absolute or is_pc_relative) and not displacement) or (not is_absolute and base is None and index is None):
        raise _refuse("operand", text)
    if is_pc_relative and index:
        raise _refuse("operand", text)
    before = f"{star}{f'%{segment}:' if segment else ''}"
    after = f"({f'%{base}' if base else ''}{f',%{index},{scale or 1}' if index else ''})"
    if is_absolute:
        after = "(,%riz,1)"
    return _build_memory_operand(before, displacement, after, is_pc_relative=is_pc_relative, is_absolute=is_absolute)


@lru_cache(maxsize=_CACHE_SIZE)
def _parse_intel_operand(text: str) -> Operand:
    if _INTEL_REGISTER.match(text):
        return Operand(text)
    offset = _INTEL_OFFSET.match(text)
    if offset:
        return _parse_immediate("", offset[1])
    value = parse_integer(text)
    if value is not None:
        return Operand(str(value))
    wrapped = _INTEL_OUTER_BRACKETS.match(text)
    memory = _INTEL_MEMORY.match(wrapped[1].strip() if wrapped else text)
    if memory is None:
        raise _refuse("operand", text)
    size, segment, outside, brackets, inside = memory.groups()
    if brackets is None and not segment and not (size and re.match(SYMBOL, outside)):
        raise _refuse("operand", text)
    registers, terms = _split_intel_address(inside or "")
    if "rsp" in "".join(registers[1:]) or (registers and registers[0] != "rsp" and "rsp" in registers[0]):
        raise KeystoneRefusalError("the stack pointer as an index is left to LLVM")
    is_pc_relative = "rip" in registers
    is_absolute = not registers
    displacement = outside + "".join(terms)
    if (is_pc_relative and len(registers) > 1) or ((is_absolute or is_pc_relative) and not displacement):
        raise _refuse("operand", text)
    address = "+".join(registers) or "riz*1"
    before = f"{f'{size} ptr ' if size else ''}{f'{segment}:' if segment else ''}[{address}"
    before = before + "+" if displacement else before
    return _build_memory_operand(before, displacement, "]", is_pc_relative=is_pc_relative, is_absolute=is_absolute)


def _split_intel_address(text: str) -> tuple[list[str], list[str]]:
    """The registers (scaled or not) of an address in brackets, and its other terms with their signs."""
    registers, others = [], []
    for sign, term in re.findall(r"([+-]?)\s*([^+-]+)", text):
        term = term.strip()
        if _INTEL_ADDRESS_TERM.match(term) and sign != "-":
            registers.append(term.lower())
        else:
            others.append(f"{sign or '+'}{term}")
    return registers, others


def _parse_immediate(before: str, text: str) -> Operand:
    character = _CHARACTER.fullmatch(text)
    if character:
        return Operand(before + str(ord(character[1])))
    value = parse_expression(text)
    if value.is_number:
        return Operand(before + str(value.addend))
    return Operand(before, value)


def _build_memory_operand(
    before: str, displacement: str, after: str, *, is_pc_relative: bool, is_absolute: bool
) -> Operand:
    if not displacement:
        return Operand(before + after)
    value = parse_expression(displacement)
    if not value.is_number:
        return Operand(before, value, is_pc_relative, after, is_absolute)
    if not -(1 << 31) <= value.addend < 1 << 31:
        raise _refuse("displacement", displacement)
    return Operand(f"{before}{value.addend}{after}".replace("+-", "-"), is_absolute=is_absolute)


def is_indirect(text: str, syntax: Syntax) -> bool:
    """Whether a branch takes its target from this operand, a register or memory, rather than going to the operand."""
    if syntax == "att":
        return text[:1] in ("*", "%")
    return "[" in text or _INTEL_REGISTER.match(text) is not None


def is_reserved(name: str, syntax: Syntax) -> bool:
    """Whether a name is a register or an operator and not a symbol. Only Intel syntax writes all three alike."""
    return syntax == "intel" and _INTEL_RESERVED_WORD.fullmatch(name) is not None


def is_movsxd(name: str, operands: str, syntax: Syntax) -> bool:
    """Whether this is a `movsx` from 32 to 64 bits in Intel syntax: only GNU as takes it by that name."""
    if name != "movsx" or syntax != "intel":
        return False
    target, _, source = operands.partition(",")
    return bool(_INTEL_64_BIT_REGISTER.fullmatch(target.strip()) and _INTEL_32_BIT_OPERAND.match(source.strip()))


def parse_string(literal: str) -> bytes:
    """The bytes of a string literal, which is given with its quotes."""
    if len(literal) < 2 or literal[0] != '"' or literal[-1] != '"':
        raise _refuse("string", literal)
    data = bytearray()
    for match in _STRING_PART.finditer(literal, 1, len(literal) - 1):
        if match[1] is None:
            if match[0] == "\\":
                raise KeystoneRefusalError(f"an escape in {literal!r} is left to LLVM")
            data += match[0].encode()
        elif match[1][0] in _ESCAPED_BYTES:
            data.append(_ESCAPED_BYTES[match[1]])
        else:
            data.append(int(match[1], 8) & 255)
    return bytes(data)
