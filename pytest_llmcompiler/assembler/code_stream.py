"""The sections of a text in pieces whose bytes are known, or are keystone's to encode.

An executable section becomes a sequence of pieces: instructions without labels (`instruction_forms`), direct branches
to labels of the text's code, paddings, and bytes. Where they lie, `code_layout` says. Other sections are bytes at once.
"""

from __future__ import annotations

from typing import NamedTuple

from pytest_llmcompiler.assembler.data_directives import encode_data, read_alignment
from pytest_llmcompiler.assembler.instruction_forms import BranchOpcodes, InstructionForm, InstructionLine, find_form
from pytest_llmcompiler.assembler.labels import NUMERIC_LABEL_MARK, LabelTable
from pytest_llmcompiler.assembler.operands import KeystoneRefusalError
from pytest_llmcompiler.assembler.statements import ParsedAssembly, Statement
from pytest_llmcompiler.targets.relocation import Relocation
from pytest_llmcompiler.targets.x86_64_linux import RELATIVE_32


class Branch(NamedTuple):
    """A direct branch to a label of the text's code."""

    opcodes: BranchOpcodes
    target: str
    """The unique name of the label."""


class Padding(NamedTuple):
    """Bytes up to an aligned address."""

    alignment: int
    most: int
    """The most bytes; where more were necessary, there are none. 0: as many as necessary."""


Piece = InstructionLine | bytes | Branch | Padding


class StreamPosition(NamedTuple):
    """A position in the sections of a text."""

    section: int
    piece: int
    """The piece from whose start `offset` counts; -1 in data sections, where it counts from the start of the
    section."""
    offset: int
    """In bytes."""


class AddressField(NamedTuple):
    """A field that is to hold an address once the layout is known."""

    position: StreamPosition
    relocation: Relocation
    symbol: str
    subtracted_symbol: str | None
    addend: int


class PlacedNumber(NamedTuple):
    """A placeholder in the bytes of an instruction."""

    statement: Statement
    piece: int
    number: int
    relocation: Relocation
    symbol: str
    addend: int


class CodeStream:
    """Builds the stream of one text. All attributes are complete after `build`."""

    def __init__(self, parsed: ParsedAssembly, labels: LabelTable) -> None:
        self.parsed = parsed
        self.labels = labels
        self.pieces: list[Piece] = []
        self.unknown: dict[InstructionLine, None] = {}
        """Those of the pieces whose bytes are not known, each once."""
        self.owners: list[Statement | None] = []
        """For each piece the instruction or data directive that begins with it; None where there is none."""
        self.placed_numbers: list[PlacedNumber] = []
        self.fields: list[AddressField] = []
        """The fields whose positions are known before encoding: all but those of placeholders."""
        self.code_pieces: dict[int, tuple[int, int]] = {}
        """Executable section -> its first piece, and the one behind its last."""
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
        """Section -> its statements with their numbers."""
        groups: dict[int, list[tuple[int, Statement]]] = {}
        current, group = -1, list[tuple[int, Statement]]()
        for numbered in enumerate(self.parsed.statements):
            section = numbered[1][3]
            if section != current:
                current, group = section, groups.setdefault(section, [])
            group.append(numbered)
        if self.parsed.assignments:
            for section, group in groups.items():
                groups[section] = [one for one in group if one[1].kind not in ("set", "weak")]
        return {section: group for section, group in groups.items() if group}

    def _is_code_label(self, unique_name: str) -> bool:
        """Whether a label of the text is in an executable section."""
        name, mark, number = unique_name.partition(NUMERIC_LABEL_MARK)
        statement = self.parsed.statements[int(number) if mark else self.parsed.labels[name]]
        return self.parsed.sections[statement.section].is_executable

    # -- sections

    def _add(self, piece: Piece, owner: Statement | None) -> int:
        """Add a piece; return its number."""
        self.pieces.append(piece)
        self.owners.append(owner)
        return len(self.pieces) - 1

    def _add_code(self, section: int, statements: list[tuple[int, Statement]]) -> None:
        """Add an executable section."""
        first, pieces, owners = len(self.pieces), self.pieces, self.owners
        for number, statement in statements:
            kind = statement[0]
            if kind == "instruction":
                form = find_form(statement)
                line, raw, placeholders, _, _ = form
                if line and not (placeholders or raw):  # most are of this sort
                    pieces.append(line)
                    owners.append(statement)
                    if line.code is None:
                        self.unknown[line] = None
                else:
                    self._add_instruction(number, statement, form)
            elif kind == "label":
                name = self.labels.get_unique_name(number, statement)
                self.label_positions[name] = StreamPosition(section, len(pieces), 0)
            elif kind == "align":
                self._add_padding(statement)
            else:
                data = self._encode_data(number, statement, StreamPosition(section, len(pieces), 0))
                self._add(data, statement)
        self._add(b"", None)  # a label at the end of the section is in front of it
        self.code_pieces[section] = first, len(pieces)

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

    def _add_padding(self, statement: Statement) -> None:
        alignment, value, most_skipped = read_alignment(statement)
        if value not in (-1, 0x90):
            raise KeystoneRefusalError(f"{statement.text!r} in code is left to LLVM")
        self._add(Padding(alignment, max(most_skipped, 0)), None)

    # -- instructions

    def _add_instruction(self, number: int, statement: Statement, form: InstructionForm) -> None:
        """Add an instruction with symbols, or with bytes that keystone does not encode."""
        if form.branch:
            self._add_branch(number, statement, form.branch, form.target)
            return
        owner: Statement | None = statement
        if form.raw:
            self._add(form.raw, owner)
            owner = None
        if form.line is None:
            return
        piece = self._add(form.line, owner)
        if form.line.code is None:
            self.unknown[form.line] = None
        for placeholder, relocation, value in form.placeholders:
            symbol = self.labels.find_address(self.labels.resolve(value.symbol or "", number, statement))
            self.placed_numbers.append(PlacedNumber(statement, piece, placeholder, relocation, symbol, value.addend))

    def _add_branch(self, number: int, statement: Statement, opcodes: BranchOpcodes, operand: str) -> None:
        """Add a direct branch: to a label of this text's code, or to any other symbol."""
        target = self.labels.parse_expression(operand, number, statement)
        symbol = target.symbol
        is_plain = target.subtracted_symbol is None and target.modifier in (None, "PLT")
        if symbol is None or symbol == "." or not is_plain:
            raise KeystoneRefusalError(f"the branch to {operand!r} is left to LLVM")
        if self.labels.is_own(symbol) and not target.addend and self._is_code_label(symbol):
            self._add(Branch(opcodes, symbol), statement)
            return
        piece = self._add(opcodes.near + bytes(4), statement)
        # The processor counts from the end of the instruction, which is 4 bytes behind the start of the field.
        position = StreamPosition(statement.section, piece, len(opcodes.near))
        self.fields.append(AddressField(position, RELATIVE_32, symbol, None, target.addend - 4))
