"""Instructions as keystone gets them, and their machine code, each computed once for all texts.

Keystone gets instructions whose operands are registers and numbers, one by one. Where the text has a symbol, there is a
*placeholder*, a number that is found again in the machine code: `movl table(,%rax,4), %ecx` becomes
`movl 1588396032(,%rax,4),%ecx`. Such a line has the same bytes wherever it stands, so its bytes are kept: answers share
most of their lines. Branches to labels are encoded without keystone (see `code_layout`).

What is kept can't be spoilt by one text for another: bytes are kept only where keystone has got nothing of the text but
short lines of mnemonics, registers and numbers, and only if they are exactly one instruction.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pytest_llmcompiler.assembler.labels import refuse_statement
from pytest_llmcompiler.assembler.operands import (
    Expression,
    KeystoneRefusalError,
    is_indirect,
    is_movsxd,
    parse_operand,
)
from pytest_llmcompiler.assembler.statements import Statement
from pytest_llmcompiler.assembler.tokens import parse_integer, split_operands
from pytest_llmcompiler.targets.dialect import Syntax
from pytest_llmcompiler.targets.processor import Processor
from pytest_llmcompiler.targets.relocation import Relocation
from pytest_llmcompiler.targets.x86_64_linux import (
    ABSOLUTE_64,
    GOT_32,
    PREFIXES,
    RELATIVE_32,
    SIGNED_32,
    THREAD_OFFSET,
    THREAD_OFFSET_SLOT,
)

_FIRST_PLACEHOLDER = 0x5EAD0000
"""The first placeholder of each instruction: positive as a signed 32-bit number, and too large for fields of 16 bits,
so that keystone chooses the encoding with 32 bits. Its bytes are unlikely in the rest of an instruction, and an
instruction in which they occur twice is left to LLVM."""
_CONDITIONS = {
    "o": 0, "no": 1, "b": 2, "c": 2, "nae": 2, "ae": 3, "nb": 3, "nc": 3, "e": 4, "z": 4, "ne": 5, "nz": 5,
    "be": 6, "na": 6, "a": 7, "nbe": 7, "s": 8, "ns": 9, "p": 10, "pe": 10, "np": 11, "po": 11, "l": 12, "nge": 12,
    "ge": 13, "nl": 13, "le": 14, "ng": 14, "g": 15, "nle": 15,
}  # fmt: skip
"""Condition of a jump -> the low four bits of its opcode (Intel Software Developer's Manual, volume 2, appendix
B.1.4.7)."""


class BranchOpcodes(NamedTuple):
    """The opcodes of a direct branch."""

    short: bytes
    """That of the form with an 8-bit distance; empty for a call, which has none."""
    near: bytes
    """That of the form with a 32-bit distance."""


_BRANCHES = {
    "call": BranchOpcodes(b"", b"\xe8"),
    "callq": BranchOpcodes(b"", b"\xe8"),
    "jmp": BranchOpcodes(b"\xeb", b"\xe9"),
    **{
        f"j{name}": BranchOpcodes(bytes((0x70 + code,)), bytes((0x0F, 0x80 + code)))
        for name, code in _CONDITIONS.items()
    },
}
_SLOT_MODIFIERS: Mapping[str | None, Relocation] = {"GOTPCREL": GOT_32, "GOTTPOFF": THREAD_OFFSET_SLOT}
"""Words behind the @ of a symbol for its slot in the global offset table."""
_KEYSTONE_PREFIXES = frozenset(("lock", "rep", "repe", "repz", "repne", "repnz"))
"""The prefixes that keystone encodes rightly."""
_NO_MEMORY_OPERAND = ("j", "call", "loop", "xbegin", "movabs", "lea")
"""Starts of mnemonics for which an operand without registers is a branch target or an address, not a memory access."""
_JUMPS = ("j", "call", "loop", "xbegin")
"""Starts of the mnemonics of branches."""
_RAW_INSTRUCTIONS = {"endbr64": b"\xf3\x0f\x1e\xfa", "endbr32": b"\xf3\x0f\x1e\xfb"}
"""Instructions that keystone does not know, as their bytes."""
_NOTRACK = b"\x3e"
"""The prefix `notrack`, which keystone does not know."""
_KEPT_FORMS = 1 << 16
"""Instructions that are kept, and lines for keystone: those that were asked for last, some 500 bytes each. The answers
to a hundred functions have 34,000."""
_KEPT_OF_TEXT = 1 << 12
"""Lines of one text whose bytes are kept: a hostile one has so many that nothing else would be left."""
_KEPT_CHARACTERS = 64
"""Longest operands of an instruction that is kept."""
_KEPT_LINE = re.compile(r"[A-Za-z][A-Za-z0-9 $%(),*+:\[\]-]{0,99}")
"""A line of which the bytes are kept: mnemonics, registers and decimal numbers. Nearly all are like that."""


class InstructionLine:
    """A line for keystone. `code` has its bytes as soon as they are known, if it `is_plain`."""

    __slots__ = ("code", "is_plain", "text")

    def __init__(self, text: str, *, is_plain: bool) -> None:
        self.text, self.is_plain = text, is_plain
        self.code: bytes | None = None


class Placeholder(NamedTuple):
    """A number in an instruction, and the address that it stands for."""

    number: int
    relocation: Relocation
    value: Expression
    """As the text says it: its symbols mean nothing but in the text."""


class InstructionForm(NamedTuple):
    """What an instruction is made of, by its mnemonic and operands alone."""

    line: InstructionLine | None = None
    """What keystone gets; None where `raw` or `branch` are all."""
    raw: bytes = b""
    """Bytes in front of that."""
    placeholders: tuple[Placeholder, ...] = ()
    branch: BranchOpcodes | None = None
    """Of a branch to `target`."""
    target: str = ""


def find_form(statement: Statement) -> InstructionForm:
    """The form of an instruction. Raises KeystoneRefusalError for one that is left to LLVM."""
    _, _, _, _, syntax, name, operands, _, prefixes = statement
    find = _find_form_once if len(operands) <= _KEPT_CHARACTERS else _find_form
    form = find(name, operands, syntax, prefixes)
    if form is None:
        raise refuse_statement(statement)
    return form


def _find_form(name: str, operands_text: str, syntax: Syntax, prefixes: tuple[str, ...]) -> InstructionForm | None:
    """The form of an instruction, None for one that is left to LLVM as a whole. Raises KeystoneRefusalError."""
    raw, words = _split_prefixes(prefixes)
    if name in _RAW_INSTRUCTIONS and not operands_text:
        return InstructionForm(raw=raw + _RAW_INSTRUCTIONS[name])
    operands = split_operands(operands_text)
    # `v` begins the mnemonics of AVX, `{` a pseudo-prefix like {vex}.
    if name[0] in "v{" or name in PREFIXES or _is_accepted_too_easily(name, operands):
        return None
    if name in _BRANCHES and len(operands) == 1 and not is_indirect(operands[0], syntax):
        return None if prefixes else InstructionForm(branch=_BRANCHES[name], target=operands[0])
    placeholders: list[Placeholder] = []
    texts = []
    for operand_text in operands:
        operand = parse_operand(operand_text, syntax)
        text = operand.text
        is_memory = operand.is_absolute and not is_indirect(operand_text, syntax)
        if is_memory and name.startswith(_NO_MEMORY_OPERAND):
            return None
        if name.startswith(_JUMPS) and not is_indirect(operand_text, syntax):
            return None  # Intel syntax writes the number of its target as any other, and its bytes depend on the place
        if operand.value is not None:
            placeholder = _build_placeholder(name, len(placeholders), operand.value, operand.is_pc_relative)
            placeholders.append(placeholder)
            text = f"{text}{placeholder.number}{operand.text_after}"
        texts.append(text)
    if is_movsxd(name, operands_text, syntax):
        name = "movsxd"
    line = _find_line(" ".join((*words, name, ",".join(texts))), syntax)
    return InstructionForm(line, raw, tuple(placeholders))


_find_form_once = functools.lru_cache(maxsize=_KEPT_FORMS)(_find_form)


def _find_line(text: str, syntax: Syntax) -> InstructionLine:
    """The line of a text, the same one for all instructions with this text, if its bytes may be kept."""
    is_plain = _KEPT_LINE.fullmatch(text) is not None
    return _find_line_once(text, syntax) if is_plain else InstructionLine(text, is_plain=False)


@functools.lru_cache(maxsize=_KEPT_FORMS)
def _find_line_once(text: str, syntax: Syntax) -> InstructionLine:
    """`syntax` tells lines of equal text apart."""
    return InstructionLine(text, is_plain=True)


def keep_code(encoded: Mapping[InstructionLine, bytes], processor: Processor) -> None:
    """Keep the bytes that one process with keystone gave for lines, as far as they may be kept."""
    if not all(line.is_plain for line in encoded):
        return
    decoder = processor.get_decoder()
    for line, code in itertools.islice(encoded.items(), _KEPT_OF_TEXT):
        sizes = [size for _, size, _, _ in decoder.disasm_lite(code, 0, 2)]
        if sizes == [len(code)]:
            line.code = code


def _split_prefixes(prefixes: Sequence[str]) -> tuple[bytes, list[str]]:
    """The bytes of the prefixes that keystone does not know, and the others."""
    raw, words = b"", []
    for prefix in prefixes:
        if prefix == "notrack":
            raw += _NOTRACK
        elif prefix in _KEYSTONE_PREFIXES:
            words.append(prefix)
        else:
            raise KeystoneRefusalError(f"the prefix {prefix} is left to LLVM")
    return raw, words


def _build_placeholder(name: str, index: int, value: Expression, is_pc_relative: bool) -> Placeholder:
    """The placeholder of the operand number `index`, of those with symbols, in an instruction."""
    if value.symbol is None or value.subtracted_symbol is not None or value.symbol == ".":
        raise KeystoneRefusalError("a difference of symbols in an instruction is left to LLVM")
    is_wide = name in ("movabs", "movabsq")
    slot = _SLOT_MODIFIERS.get(value.modifier) if is_pc_relative else None
    if slot:
        relocation = slot
    elif value.modifier == "TPOFF" and not is_pc_relative and not is_wide:
        relocation = THREAD_OFFSET
    elif value.modifier is None or (value.modifier == "PLT" and is_pc_relative):
        relocation = RELATIVE_32 if is_pc_relative else ABSOLUTE_64 if is_wide else SIGNED_32
    else:
        raise KeystoneRefusalError(f"@{value.modifier} is left to LLVM")
    number = _FIRST_PLACEHOLDER + index
    return Placeholder(number | number << 32 if is_wide else number, relocation, value)


def _is_accepted_too_easily(name: str, operands: Sequence[str]) -> bool:
    """Whether keystone accepts an instruction that LLVM may refuse: x87 instructions with one operand too many, `bt`
    with a bit number of more than 8 bits, and two instructions that only some assemblers know."""
    if name.startswith("bt"):
        bits = [parse_integer(operand.lstrip("$")) for operand in operands]
        return any(bit is not None and not -128 <= bit <= 255 for bit in bits)
    return name in ("int1", "icebp") or (name in ("fstp", "fxch", "fcom", "fcomp") and len(operands) > 1)
