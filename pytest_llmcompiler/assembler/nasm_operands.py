"""Operands and instructions of NASM's language in GNU's Intel syntax.

What differs in meaning, and not only in spelling:

    NASM                            GNU
    mov eax, x                      mov eax, offset x               the address of x, not its contents
    mov rax, x                      movabs rax, offset x            the address in 64 bits
    mov eax, [x]                    mov eax, [x]                    absolute
    mov eax, [rel x]                mov eax, [rip + x]              also `[x]` after `default rel`
    mov [rdi], dword 5              mov dword ptr [rdi], 5          the size may stand at the number
    lea rax, [rax*5]                lea rax, [rax + rax*4]
    fadd to st1                     fadd st(1), st(0)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmcompiler.assembler.nasm_expressions import ExpressionParser, RegisterTerm, Scope, SymbolSum
from pytest_llmcompiler.assembler.nasm_lexer import Token, build_error

_REGISTER = re.compile(
    r"[re]?(?:[abcd]x|[sd]i|[sb]p)|[abcd][lh]|(?:[sd]i|[sb]p)l|r(?:[89]|1[0-5])[dwb]?|[xyz]mm(?:[12]?\d|3[01])|mm[0-7]"
    r"|st[0-7]|[c-gs]s|[cdt]r\d|k[0-7]|bnd[0-3]|rip"
)
_FPU_REGISTER = re.compile(r"st([0-7])")
_LONG_REGISTER = re.compile(r"r(?:[abcd]x|[sd]i|[sb]p|[89]|1[0-5])")
_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
_SIZES = {
    "byte": "byte ptr", "word": "word ptr", "dword": "dword ptr", "qword": "qword ptr", "tword": "tbyte ptr",
    "oword": "xmmword ptr", "dqword": "xmmword ptr", "yword": "ymmword ptr", "zword": "zmmword ptr",
}  # fmt: skip
SIZE_KEYWORDS = frozenset(_SIZES)
_DISTANCES = ("short", "near", "strict", "nosplit")
"""Words in front of an operand that choose between encodings of the same meaning."""
OPERAND_KEYWORDS = frozenset((*_SIZES, *_DISTANCES, "far", "to", "rel", "abs", "seg"))
_BRANCH = re.compile(r"j[a-z]{1,4}|call|loop(?:n?[ez])?|xbegin")
_WITHOUT_SIZE = re.compile(r"lea|prefetch\w*|clflush\w*|invlpg|fxsave|fxrstor|lddqu|fn?stenv|fldenv|fn?save|frstor")
"""Instructions whose memory operand has no size."""
_DEFAULT_SIZES = {"cvtsi2sd": "dword", "cvtsi2ss": "dword"}
"""Instructions for which NASM takes a memory operand without a size to be of this size."""
_MODIFIERS = {
    "..plt": "PLT", "..gotpcrel": "GOTPCREL", "..got": "GOTPCREL", "..gotpc": "GOTPCREL", "..gottpoff": "GOTTPOFF",
    "..tpoff": "TPOFF", "..tlsie": "GOTTPOFF",
}  # fmt: skip
"""The word behind `wrt` -> GNU's modifier behind `@`."""
_RENAMED = {"retn": "ret", "xlat": "xlatb", "int03": "int3", "fwait": "wait", "insd": "insl", "outsd": "outsl"}
_PREFIXES = {
    "lock": "lock", "rep": "rep", "repe": "repe", "repz": "repe", "repne": "repne", "repnz": "repne",
    "o16": "data16", "a32": "addr32", "o64": "rex64", "bnd": "", "xacquire": "xacquire", "xrelease": "xrelease",
    "notrack": "notrack", "o32": "", "a64": "", "wait": "wait\n",
}  # fmt: skip
"""NASM's prefix -> GNU's."""
PREFIXES = frozenset((*_PREFIXES, *_SEGMENTS))
_LARGEST_INDEX_FACTOR = 9
_OPTIMISED_FACTORS = (2, 3, 5, 9)
"""A lone register with one of these factors is base and index at once: `rax*5` is `rax + rax*4`."""


def is_register(name: str) -> bool:
    """Whether a word in lower case is a register."""
    return _REGISTER.fullmatch(name) is not None


@dataclass(frozen=True)
class NasmOperand:
    """An operand, before the others of its instruction are known."""

    kind: str
    """`register`, `memory` or `value`."""
    offset: int
    """Of its first token in the source."""
    size: str = ""
    """NASM's keyword, in lower case."""
    text: str = ""
    """The register in GNU's spelling, or the address with its brackets."""
    value: SymbolSum = field(default_factory=SymbolSum)
    decorators: str = ""
    """AVX-512's masks, `{k1}{z}`."""


class OperandParser:
    """Reads the operands of one text, under the `default` in force."""

    def __init__(
        self, scope: Scope, spell_symbol: Callable[[str], str], name_sum: Callable[[SymbolSum, int], str]
    ) -> None:
        """`spell_symbol` gives GNU's spelling of a symbol, `name_sum` a symbol for a sum of several, from its offset in
        the source."""
        self._source = scope.source
        self._scope = replace(scope, registers=is_register)
        self._spell_symbol = spell_symbol
        self._name_sum = name_sum
        self.is_relative = False
        """Whether addresses without registers are relative to the instruction pointer: `default rel`."""

    def format_instruction(self, tokens: Sequence[Token], start: int) -> list[tuple[str, int]]:
        """The instruction from token number `start` on in GNU syntax: pieces of text, each with its source offset."""
        prefixes: list[tuple[str, int]] = []
        position, segment = start, ""
        while position < len(tokens) - 1 and tokens[position].name in PREFIXES:
            name = tokens[position].name
            segment = name if name in _SEGMENTS else segment
            prefix = _PREFIXES.get(name, "").replace("\n", ";")
            if prefix:
                prefixes.append((f"{prefix} ", tokens[position].offset))
            position += 1
        mnemonic = tokens[position]
        operands = [self._parse(part, mnemonic) for part in split_elements(tokens[position + 1 :])]
        if segment:
            prefixes.append((f"{segment} ", tokens[start].offset))
        name = _RENAMED.get(mnemonic.name, mnemonic.name)
        if name == "push" and operands and operands[0].kind == "value" and operands[0].size == "word":
            prefixes.append(("data16 ", mnemonic.offset))
        return [*prefixes, *self._format(name, mnemonic.offset, operands)]

    # -- formatting

    def _format(self, name: str, offset: int, operands: list[NasmOperand]) -> list[tuple[str, int]]:
        operands = _extend_signs(name, _move_sizes(name, operands))
        is_branch = _BRANCH.fullmatch(name) is not None and len(operands) == 1
        texts = [self._format_operand(operand, is_branch=is_branch) for operand in operands]
        has_address = any(operand.kind == "value" and operand.value.symbols for operand in operands)
        if name == "mov" and has_address and _LONG_REGISTER.fullmatch(texts[0]) and operands[1].size != "dword":
            name = "movabs"
        if operands and (operands[0].size == "to" or (len(operands) == 1 and name.startswith("fcmov"))):
            texts.insert(0 if operands[0].size != "to" else 1, "st(0)")
        elif name == "fxch" and len(operands) == 2:
            texts = [text for text in texts if text != "st(0)"] or texts[:1]
        pieces = [(name, offset)]
        for number, (text, operand) in enumerate(zip(texts, (*operands, *operands[-1:]))):
            pieces += [(", " if number else " ", operand.offset), (text, operand.offset)]
        return pieces

    def _format_operand(self, operand: NasmOperand, *, is_branch: bool) -> str:
        if operand.kind == "value":
            value = self._format_value(operand.value)
            return value if is_branch or not operand.value.symbols else f"offset {value}"
        size = _SIZES.get(operand.size, "") if operand.kind == "memory" else ""
        return f"{size} {operand.text}{operand.decorators}".strip()

    def _format_value(self, value: SymbolSum) -> str:
        """A sum without registers, in GNU's spelling: `x + 4`, `g@PLT`."""
        return format_sum(value, self._spell_symbol, _MODIFIERS.get(value.modifier, ""))

    # -- parsing

    def _parse(self, tokens: Sequence[Token], mnemonic: Token) -> NasmOperand:
        if not tokens:
            raise build_error(self._source, "an operand is missing", mnemonic.offset)
        first, size, position = tokens[0], "", 0
        while position < len(tokens) - 1 and tokens[position].name in OPERAND_KEYWORDS - {"rel", "abs"}:
            name = tokens[position].name
            if name in ("far", "seg"):
                raise build_error(self._source, f"{name} is not supported: code here is 64-bit and flat", first.offset)
            size = name if name not in _DISTANCES else size
            position += 1
        if position and tokens[position].name == "ptr":
            message = f"ptr is no part of NASM's language: expected {tokens[position - 1].text} and the operand"
            raise build_error(self._source, message, tokens[position].offset)
        body, decorators = _split_decorators(tokens[position:])
        if not body:
            raise build_error(self._source, "an operand is missing", first.offset)
        if len(body) == 1 and body[0].name and is_register(body[0].name):
            text = _FPU_REGISTER.sub(r"st(\1)", body[0].name)
            return NasmOperand("register", first.offset, size, text, decorators=decorators)
        segment = f"{body[0].name}:" if body[0].name in _SEGMENTS and len(body) > 2 and body[1].text == ":" else ""
        body = body[2:] if segment else body
        if segment and not body[0].is_operator("["):
            # `fs:40` is `[fs:40]`.
            body = [Token("operator", "[", first.offset), *body, Token("operator", "]", body[-1].offset)]
        if body[0].is_operator("["):
            return NasmOperand("memory", first.offset, size, self._parse_memory(body, segment), decorators=decorators)
        value = self._parse_value(body)
        if value.registers:
            raise build_error(self._source, "registers in an expression without brackets", body[0].offset)
        return NasmOperand("value", first.offset, size, value=value, decorators=decorators)

    def _parse_value(self, tokens: Sequence[Token]) -> SymbolSum:
        parser = ExpressionParser(tokens, 0, self._scope)
        value = self._scope.simplify(parser.parse())
        parser.expect_end()
        if value.modifier and value.modifier not in (*_MODIFIERS, "rip"):
            raise build_error(self._source, f"wrt {value.modifier} is not supported", tokens[0].offset)
        if value.symbols and (len(value.symbols) > 1 or value.symbols[0][1] != 1):
            # LLVM takes one symbol in an operand.
            sum_name = self._name_sum(replace(value, registers=()), tokens[0].offset)
            value = SymbolSum(0, ((sum_name, 1),), value.registers)
        return value

    def _parse_memory(self, tokens: Sequence[Token], segment: str) -> str:
        """The address between brackets, in GNU's spelling."""
        if not tokens[-1].is_operator("]"):
            raise build_error(self._source, "expected ']' at the end of the operand", tokens[-1].offset)
        inner, words = list(tokens[1:-1]), set[str]()
        while inner and inner[0].name in ("rel", "abs", "nosplit", *_SIZES):
            words.add(inner.pop(0).name)
        if len(inner) > 2 and inner[0].name in _SEGMENTS and inner[1].is_operator(":"):
            segment, inner = f"{inner[0].name}:", inner[2:]
        while inner and inner[0].name in ("rel", "abs"):
            words.add(inner.pop(0).name)
        if not inner:
            raise build_error(self._source, "the address is missing", tokens[0].offset)
        value = self._parse_value(inner)
        if any(register.name == "rip" for register in value.registers):
            raise build_error(self._source, "rip is no register of NASM's language: expected [rel …]", inner[0].offset)
        is_relative = "rel" in words or (self.is_relative and "abs" not in words and segment not in ("fs:", "gs:"))
        is_relative = is_relative and not value.registers and bool(value.symbols)
        if value.modifier == "rip":
            is_relative, value = True, replace(value, modifier="")
        if is_relative:
            value = replace(value, registers=(RegisterTerm("rip", 1, False),))
        return self._format_address(value, segment, tokens[0], can_split="nosplit" not in words)

    def _format_address(self, value: SymbolSum, segment: str, token: Token, *, can_split: bool) -> str:
        registers = _arrange_registers(value.registers, can_split=can_split)
        if registers is None:
            raise build_error(self._source, "this sum of registers is no address", token.offset)
        displacement = self._format_value(replace(value, registers=()))
        if not registers:
            return f"{segment}[{displacement}]"
        if displacement == "0":
            return f"{segment}[{registers}]"
        sign = " - " if displacement.startswith("-") else " + "
        return f"{segment}[{registers}{sign}{displacement.removeprefix('-')}]"


def _move_sizes(name: str, operands: list[NasmOperand]) -> list[NasmOperand]:
    """The operands with the size at the memory operand, where NASM takes it from elsewhere."""
    memory = next((number for number, operand in enumerate(operands) if operand.kind == "memory"), None)
    if memory is None:
        return operands
    operand, size = operands[memory], operands[memory].size
    if _WITHOUT_SIZE.fullmatch(name):
        size = ""
    elif not size and all(other.kind != "register" for other in operands):
        size = next((other.size for other in operands if other.size), "")
    size = size or _DEFAULT_SIZES.get(name, "")
    return [*operands[:memory], replace(operand, size=size), *operands[memory + 1 :]]


def _extend_signs(name: str, operands: list[NasmOperand]) -> list[NasmOperand]:
    """The operands with numbers as the processor extends them: `and rax, 0xffffffff` is `and rax, -1` in NASM, with a
    warning, since instructions of 64 bits take 32 bits with a sign. Only `mov` to a register takes more."""
    first = operands[0] if operands else None
    if first is None or not (first.size == "qword" or _LONG_REGISTER.fullmatch(first.text)):
        return operands
    if name == "mov" and first.kind == "register":
        return operands
    return [
        replace(operand, value=SymbolSum(operand.value.number - (1 << 32)))
        if operand.value.is_number and 1 << 31 <= operand.value.number < 1 << 32
        else operand
        for operand in operands
    ]


def _arrange_registers(registers: tuple[RegisterTerm, ...], *, can_split: bool) -> str | None:
    """Base and index of an address, as NASM chooses them; None where there is no such address."""
    if not registers:
        return ""
    if len(registers) > 2 or any(not 0 < register.factor <= _LARGEST_INDEX_FACTOR for register in registers):
        return None
    if len(registers) == 1:
        register = registers[0]
        if register.factor == 1:
            return register.name
        if register.factor in _OPTIMISED_FACTORS and (can_split or register.factor not in (2, 4, 8)):
            return f"{register.name} + {register.name}*{register.factor - 1}"
        return f"{register.name}*{register.factor}" if register.factor in (2, 4, 8) else None
    base, index = registers
    if base.factor != 1 or (index.factor == 1 and base.is_scaled and not index.is_scaled) or index.name in _NO_INDEX:
        base, index = index, base
    if base.factor != 1 or index.factor not in (1, 2, 4, 8):
        return None
    return f"{base.name} + {index.name}" + (f"*{index.factor}" if index.factor != 1 else "")


_NO_INDEX = ("rsp", "esp")


def _split_decorators(tokens: Sequence[Token]) -> tuple[Sequence[Token], str]:
    """An operand without `{k1}{z}` at its end, and these."""
    first = next((number for number, token in enumerate(tokens) if token.is_operator("{")), len(tokens))
    return tokens[:first], "".join(f" {token.text}" if token.text == "{" else token.text for token in tokens[first:])


def split_elements(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """The operands of an instruction or directive. A comma in brackets separates nothing."""
    if not tokens:
        return []
    parts, start, depth = list[Sequence[Token]](), 0, 0
    for number, token in enumerate(tokens):
        if token.kind == "operator":
            depth += (token.text in "[({") - (token.text in "])}")
            if token.text == "," and depth == 0:
                parts.append(tokens[start:number])
                start = number + 1
    return [*parts, tokens[start:]]


def format_sum(value: SymbolSum, spell_symbol: Callable[[str], str], modifier: str = "") -> str:
    """A sum without registers in GNU's spelling, its positive terms first."""
    suffix = f"@{modifier}" if modifier else ""
    factors = [factor for _, factor in value.symbols]
    if len(factors) == 2 and abs(factors[0]) > 1 and sum(factors) == 0:
        # LLVM knows the difference of two labels, but no multiple of a label.
        positive, negative = sorted(value.symbols, key=lambda symbol: -symbol[1])
        difference = f"({spell_symbol(positive[0])} - {spell_symbol(negative[0])})*{positive[1]}"
        return f"{difference} {'-' if value.number < 0 else '+'} {abs(value.number)}"
    terms = [
        (factor < 0, f"{spell_symbol(name)}{suffix}" if abs(factor) == 1 else f"{abs(factor)}*{spell_symbol(name)}")
        for name, factor in value.symbols
    ]
    if value.number or not terms:
        terms.append((value.number < 0, str(abs(value.number))))
    terms.sort(key=lambda term: term[0])
    text = "".join(f" {'-' if is_negative else '+'} {term}" for is_negative, term in terms)
    return text.removeprefix(" + ") if text.startswith(" +") else f"-{text[3:]}"
