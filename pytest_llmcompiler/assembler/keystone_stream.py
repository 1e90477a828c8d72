"""The text that keystone gets for an assembly text, and the notes that are needed to read its answer.

Keystone gets one stream of instructions whose operands are registers and numbers. Where the text has a symbol, the
stream has a *placeholder*, a number that is found again in the encoded instruction: `movl table(,%rax,4), %ecx` becomes
`movl 1588396032(,%rax,4),%ecx`. Only branches keep their labels, so that keystone can choose their short forms.

The stream holds the executable sections one after another, each on a page of its own. A *mark* is a label in front of
each instruction (`L0:`, `L1:`, …). Data is encoded here.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from pytest_llmcompiler.assembler.data_directives import encode_data, read_alignment
from pytest_llmcompiler.assembler.labels import LabelTable, refuse_statement
from pytest_llmcompiler.assembler.linker import PAGE
from pytest_llmcompiler.assembler.operands import (
    Expression,
    KeystoneRefusalError,
    is_indirect,
    is_movsxd,
    parse_operand,
)
from pytest_llmcompiler.assembler.statements import ParsedAssembly, Statement
from pytest_llmcompiler.assembler.tokens import parse_integer, split_operands
from pytest_llmcompiler.targets.dialect import Syntax
from pytest_llmcompiler.targets.relocation import Relocation
from pytest_llmcompiler.targets.x86_64_linux import (
    ABSOLUTE_64,
    GOT_32,
    PREFIXES,
    RELATIVE_32,
    SIGNED_32,
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
_BRANCH_OPCODES: dict[str, tuple[int, ...]] = {
    "call": (0xE8,),
    "callq": (0xE8,),
    "jmp": (0xE9,),
    **{f"j{condition}": (0x0F, 0x80 + code) for condition, code in _CONDITIONS.items()},
}
"""Direct branch -> the opcode of its form with a 32-bit distance."""
_KEYSTONE_PREFIXES = frozenset(("lock", "rep", "repe", "repz", "repne", "repnz"))
"""The prefixes that keystone encodes rightly."""
_NO_MEMORY_OPERAND = ("j", "call", "loop", "xbegin", "movabs", "lea")
"""Starts of mnemonics for which an operand without registers is a branch target or an address, not a memory access."""
_KEPT_CHARACTERS = 64
"""Longest operands of an instruction whose line is kept."""
_RAW_INSTRUCTIONS = {"endbr64": ".byte 243,15,30,250", "endbr32": ".byte 243,15,30,251"}
"""Instructions that keystone does not know, as their bytes."""
_BYTES_PER_LINE = 64
"""Bytes in one `.byte` directive of the stream."""


class StreamPosition(NamedTuple):
    """A position in the sections of a text."""

    section: int
    mark: int
    """The mark from which `offset` counts; -1 in data sections, where it counts from the start of the section."""
    offset: int
    """In bytes."""


class AddressField(NamedTuple):
    """A field that is to hold an address once the layout is known."""

    position: StreamPosition
    relocation: Relocation
    symbol: str
    subtracted_symbol: str | None
    addend: int


class Placeholder(NamedTuple):
    """A number in an instruction, and the address that it stands for."""

    number: int
    relocation: Relocation
    symbol: str
    addend: int


class StreamItem(NamedTuple):
    """An instruction, or a data directive in an executable section."""

    statement: Statement
    start: int
    """The mark in front of its first byte."""
    end: int = -1
    """The mark behind its last byte; -1 where its bytes are not looked at."""
    placeholders: tuple[Placeholder, ...] = ()
    branch_target: str | None = None
    """The unique name of the label that it branches to by keystone's encoding."""


@functools.lru_cache(maxsize=1 << 14)
def _format_plain(name: str, operands_text: str, syntax: Syntax) -> str | None:
    """An instruction without symbols as keystone gets it, computed once for equal instructions: answers share most of
    theirs. None for a branch, for one with a symbol, and for one that keystone is not asked."""
    if name in _RAW_INSTRUCTIONS and not operands_text:
        return _RAW_INSTRUCTIONS[name]
    operands = split_operands(operands_text)
    if name[0] in "v{" or name in PREFIXES or name in _BRANCH_OPCODES or _is_accepted_too_easily(name, operands):
        return None
    texts = []
    for text in operands:
        try:
            operand = parse_operand(text, syntax)
        except KeystoneRefusalError:
            return None
        is_memory = operand.is_absolute and not is_indirect(text, syntax)
        if operand.value is not None or (is_memory and name.startswith(_NO_MEMORY_OPERAND)):
            return None
        texts.append(operand.text)
    return None if name == "movsx" else f"{name} {','.join(texts)}"


class KeystoneStream:
    """Builds the stream of one text. All attributes are complete after `build`."""

    def __init__(self, parsed: ParsedAssembly, labels: LabelTable) -> None:
        self.parsed = parsed
        self.labels = labels
        self.lines: list[str] = []
        self.mark_count = 0
        self.items: list[StreamItem] = []
        self.fields: list[AddressField] = []
        """The fields whose positions are known before encoding: all but those of placeholders."""
        self.paddings: list[tuple[int, int]] = []
        """The marks around each alignment in executable sections."""
        self.section_marks: dict[int, tuple[int, int]] = {}
        """Executable section -> the marks around it."""
        self.data: dict[int, bytearray] = {}
        """Section that is not executable -> its bytes."""
        self.label_positions: dict[str, StreamPosition] = {}
        """Unique name of a label -> its position."""
        self.section_order: list[int] = []
        """The sections that have statements, in the order in which they are loaded."""

    def build(self, function: str) -> None:
        """Build the stream. Raises KeystoneRefusalError for every text that is left to LLVM."""
        statements = self._group_statements()
        if function not in self.parsed.labels and function not in self.labels.aliases:
            raise KeystoneRefusalError(f"the text has no label '{function}'")
        self.section_order = [section for section in self.parsed.order_sections() if section in statements]
        for section in self.section_order:
            if self.parsed.sections[section].is_executable:
                self._add_code(section, statements[section])
            else:
                self._add_data(section, statements[section])

    def _group_statements(self) -> dict[int, list[tuple[int, Statement]]]:
        """Section -> its statements with their numbers. Labels of executable sections get their marks here, because
        branches refer to labels that come later."""
        groups: dict[int, list[tuple[int, Statement]]] = {}
        for number, statement in enumerate(self.parsed.statements):
            kind, section = statement.kind, statement.section
            if kind in ("set", "weak"):
                continue
            groups.setdefault(section, []).append((number, statement))
            if kind == "label" and self.parsed.sections[section].is_executable:
                name = self.labels.get_unique_name(number, statement)
                self.label_positions[name] = StreamPosition(section, self.mark_count, 0)
                self.mark_count += 1
        return groups

    # -- sections

    def _add_mark(self) -> int:
        """Put a new mark into the stream; return its number."""
        number = self.mark_count
        self.mark_count += 1
        self.lines.append(f"L{number}:")
        return number

    def _add_code(self, section: int, statements: list[tuple[int, Statement]]) -> None:
        """Add an executable section."""
        self.lines.append(f".p2align {PAGE.bit_length() - 1}")
        first = self._add_mark()
        for number, statement in statements:
            kind = statement.kind
            if kind == "instruction":
                if not self._add_plain(statement):
                    self._add_instruction(number, statement)
            elif kind == "label":
                name = self.labels.get_unique_name(number, statement)
                self.lines.append(f"L{self.label_positions[name].mark}:")
            elif kind == "align":
                self._add_alignment(statement)
            else:
                start = self._add_mark()
                data = self._encode_data(number, statement, StreamPosition(section, start, 0))
                for begin in range(0, len(data), _BYTES_PER_LINE):
                    self.lines.append(_format_bytes(data[begin : begin + _BYTES_PER_LINE]))
                self.items.append(StreamItem(statement, start))
        self.section_marks[section] = first, self._add_mark()

    def _add_data(self, section: int, statements: list[tuple[int, Statement]]) -> None:
        """Encode a section that is not executable."""
        data = self.data[section] = bytearray()
        for number, statement in statements:
            position = StreamPosition(section, -1, len(data))
            if statement.kind == "label":
                self.label_positions[self.labels.get_unique_name(number, statement)] = position
            elif statement.kind == "align":
                alignment, value, most_skipped = read_alignment(statement)
                count = -len(data) % alignment
                if most_skipped <= 0 or count <= most_skipped:
                    data += bytes((max(value, 0) & 255,)) * count
            elif statement.kind == "instruction":
                raise KeystoneRefusalError("an instruction outside of executable sections is left to LLVM")
            else:
                data += self._encode_data(number, statement, position)
        if self.parsed.sections[section].is_nobits and any(data):
            raise KeystoneRefusalError("values in a section of zeros are left to LLVM")

    def _encode_data(self, number: int, statement: Statement, position: StreamPosition) -> bytes:
        data, fields = encode_data(self.labels, number, statement)
        for offset, relocation, symbol, subtracted_symbol, addend in fields:
            field_position = position._replace(offset=position.offset + offset)
            self.fields.append(AddressField(field_position, relocation, symbol, subtracted_symbol, addend))
        return data

    def _add_alignment(self, statement: Statement) -> None:
        alignment, value, most_skipped = read_alignment(statement)
        if value not in (-1, 0x90):
            raise KeystoneRefusalError(f"{statement.text!r} in code is left to LLVM")
        start = self._add_mark()
        limit = f",,{most_skipped}" if most_skipped > 0 else ""
        self.lines.append(f".p2align {alignment.bit_length() - 1}{limit}")
        self.paddings.append((start, self._add_mark()))

    # -- instructions

    def _add_plain(self, statement: Statement) -> bool:
        """Add an instruction without symbols and prefixes; False for any other. Most are of this sort."""
        operands = statement.operands
        if statement.prefixes or len(operands) > _KEPT_CHARACTERS:
            return False
        plain = _format_plain(statement.name, operands, statement.syntax)
        if plain is None:
            return False
        mark = self.mark_count
        self.mark_count = mark + 1
        self.lines.append(f"L{mark}:\n{plain}")
        self.items.append(StreamItem(statement, mark))
        return True

    def _add_instruction(self, number: int, statement: Statement) -> None:
        name = statement.name
        start = self._add_mark()
        prefixes = self._add_prefixes(statement)
        if name in _RAW_INSTRUCTIONS and not statement.operands:
            self.lines.append(_RAW_INSTRUCTIONS[name])
            self.items.append(StreamItem(statement, start))
            return
        if prefixes and len(statement.operands) <= _KEPT_CHARACTERS:
            plain = _format_plain(name, statement.operands, statement.syntax)
            if plain is not None:
                self.lines.append(" ".join((*prefixes, plain)))
                self.items.append(StreamItem(statement, start))
                return
        operands = split_operands(statement.operands)
        # `v` begins the mnemonics of AVX, `{` a pseudo-prefix like {vex}.
        if name[0] in "v{" or name in PREFIXES or _is_accepted_too_easily(name, operands):
            raise refuse_statement(statement)
        if name in _BRANCH_OPCODES and len(operands) == 1 and not is_indirect(operands[0], statement.syntax):
            if statement.prefixes:
                raise refuse_statement(statement)
            self._add_branch(number, statement, start, operands[0])
            return
        placeholders: list[Placeholder] = []
        texts = []
        for operand_text in operands:
            operand = parse_operand(operand_text, statement.syntax)
            text = operand.text
            is_memory = operand.is_absolute and not is_indirect(operand_text, statement.syntax)
            if is_memory and name.startswith(_NO_MEMORY_OPERAND):
                raise refuse_statement(statement)
            if operand.value is not None:
                placeholder = self._build_placeholder(
                    len(placeholders), operand.value, operand.is_pc_relative, number, statement
                )
                placeholders.append(placeholder)
                text = f"{text}{placeholder.number}{operand.text_after}"
            texts.append(text)
        if is_movsxd(statement):
            name = "movsxd"
        self.lines.append(" ".join((*prefixes, name, ",".join(texts))))
        end = self._add_mark() if placeholders else -1
        self.items.append(StreamItem(statement, start, end, tuple(placeholders)))

    def _add_prefixes(self, statement: Statement) -> list[str]:
        """The prefixes to write in front of the mnemonic. `notrack`, which keystone does not know, is added at once."""
        prefixes = []
        for prefix in statement.prefixes:
            if prefix == "notrack":
                self.lines.append(".byte 62")
            elif prefix in _KEYSTONE_PREFIXES:
                prefixes.append(prefix)
            else:
                raise KeystoneRefusalError(f"the prefix {prefix} is left to LLVM")
        return prefixes

    def _add_branch(self, number: int, statement: Statement, start: int, operand: str) -> None:
        """Add a direct branch: to a label of this text's code by keystone, to any other symbol encoded here."""
        target = self.labels.parse_expression(operand, number, statement)
        symbol = target.symbol
        is_plain = target.subtracted_symbol is None and target.modifier in (None, "PLT")
        if symbol is None or symbol == "." or not is_plain:
            raise KeystoneRefusalError(f"the branch to {operand!r} is left to LLVM")
        if self.labels.is_own(symbol) and symbol in self.label_positions and not target.addend:
            self.lines.append(f"{statement.name} L{self.label_positions[symbol].mark}")
            self.items.append(StreamItem(statement, start, self._add_mark(), branch_target=symbol))
            return
        opcode = bytes(_BRANCH_OPCODES[statement.name])
        self.lines.append(_format_bytes(opcode + bytes(4)))
        self.items.append(StreamItem(statement, start))
        # The processor counts from the end of the instruction, which is 4 bytes behind the start of the field.
        position = StreamPosition(statement.section, start, len(opcode))
        self.fields.append(AddressField(position, RELATIVE_32, symbol, None, target.addend - 4))

    def _build_placeholder(
        self, index: int, value: Expression, is_pc_relative: bool, number: int, statement: Statement
    ) -> Placeholder:
        """The placeholder of the operand number `index`, of those with symbols, in statement number `number`."""
        if value.symbol is None or value.subtracted_symbol is not None or value.symbol == ".":
            raise KeystoneRefusalError("a difference of symbols in an instruction is left to LLVM")
        is_wide = statement.name in ("movabs", "movabsq")
        if value.modifier == "GOTPCREL" and is_pc_relative:
            relocation = GOT_32
        elif value.modifier is None or (value.modifier == "PLT" and is_pc_relative):
            relocation = RELATIVE_32 if is_pc_relative else ABSOLUTE_64 if is_wide else SIGNED_32
        else:
            raise KeystoneRefusalError(f"@{value.modifier} is left to LLVM")
        placeholder = _FIRST_PLACEHOLDER + index
        if is_wide:
            placeholder |= placeholder << 32
        symbol = self.labels.find_address(self.labels.resolve(value.symbol, number, statement))
        return Placeholder(placeholder, relocation, symbol, value.addend)


def _format_bytes(data: bytes) -> str:
    return ".byte " + ",".join(map(str, data))


def _is_accepted_too_easily(name: str, operands: list[str]) -> bool:
    """Whether keystone accepts an instruction that LLVM may refuse: x87 instructions with one operand too many, `bt`
    with a bit number of more than 8 bits, and two instructions that only some assemblers know."""
    if name.startswith("bt"):
        bits = [parse_integer(operand.lstrip("$")) for operand in operands]
        return any(bit is not None and not -128 <= bit <= 255 for bit in bits)
    return name in ("int1", "icebp") or (name in ("fstp", "fxch", "fcom", "fcomp") and len(operands) > 1)
