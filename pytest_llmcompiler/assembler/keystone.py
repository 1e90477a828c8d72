"""An attempt with keystone, for x86-64: the text taken apart, encoded, and put together.

Keystone gets instructions whose operands are registers and numbers, and branches to labels of the same text. The
stream that it gets holds the executable sections, page-aligned one after another. Each instruction and label has a
mark in it (`L0:`, `L1:`, ...), and a table at its end tells how far each mark is from the first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler.gas import ParsedAssembly, Statement
from pytest_llmcompiler.assembler.linker import PAGE, Fixup, LinkedImage, LinkSection, SectionAddress, link
from pytest_llmcompiler.assembler.operands import (
    Expression,
    KeystoneRefusalError,
    expression,
    is_indirect,
    is_movsxd,
    is_reserved,
    operand,
    string,
)
from pytest_llmcompiler.assembler.result import AssemblerLimits, open_no_files
from pytest_llmcompiler.assembler.tokens import integer, split_operands
from pytest_llmcompiler.errors import ChildDiedError, ChildTimeoutError, LinkError
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.relocation import Relocation
from pytest_llmcompiler.targets.x86_64_linux import (
    ABSOLUTE_64,
    DATA_WIDTHS,
    GOT_32,
    PLAIN,
    PREFIXES,
    RELATIVE_32,
    SIGNED_32,
)

_MAGIC = 0x5EAD0000
"""Stands for an address until the instruction's bytes are known; positive, and needs 32 bits."""
_CONDITIONS = {
    "o": 0, "no": 1, "b": 2, "c": 2, "nae": 2, "ae": 3, "nb": 3, "nc": 3, "e": 4, "z": 4, "ne": 5, "nz": 5,
    "be": 6, "na": 6, "a": 7, "nbe": 7, "s": 8, "ns": 9, "p": 10, "pe": 10, "np": 11, "po": 11, "l": 12, "nge": 12,
    "ge": 13, "nl": 13, "le": 14, "ng": 14, "g": 15, "nle": 15,
}  # fmt: skip
"""Condition of a jump -> the low bits of its opcode."""
_OPCODES: dict[str, tuple[int, ...]] = {
    "call": (0xE8,),
    "callq": (0xE8,),
    "jmp": (0xE9,),
    **{f"j{condition}": (0x0F, 0x80 + code) for condition, code in _CONDITIONS.items()},
}
"""Direct branches: the opcode of the form with a 32-bit distance."""
_PREFIXES = frozenset(("lock", "rep", "repe", "repz", "repne", "repnz"))
_NO_MEMORY = ("j", "call", "loop", "xbegin", "movabs", "lea")
"""Starts of mnemonics whose operand is a place to go to, or an address of another width."""
_RAW = {"endbr64": ".byte 243,15,30,250", "endbr32": ".byte 243,15,30,251"}
_NOPS = (
    b"\x90",
    b"\x66\x90",
    b"\x0f\x1f\x00",
    b"\x0f\x1f\x40\x00",
    b"\x0f\x1f\x44\x00\x00",
    b"\x66\x0f\x1f\x44\x00\x00",
    b"\x0f\x1f\x80\x00\x00\x00\x00",
    b"\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x66\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00",
)
"""The recommended multi-byte NOPs, by length."""
_NUMBERED = "\0"
"""Stands between the name of a numeric label and its statement's number. No text holds it."""


class _SectionPosition(NamedTuple):
    """A place in the text's sections."""

    section: int
    mark: int
    """The mark that `offset` counts from; -1 in data sections, where it counts from the start."""
    offset: int


class _Field(NamedTuple):
    """A field that is to hold an address, once it is known where things are."""

    where: _SectionPosition
    kind: Relocation
    symbol: str
    minus: str | None
    addend: int


class _Reference(NamedTuple):
    """A magic number in an instruction, and what stands for it."""

    magic: int
    kind: Relocation
    symbol: str
    addend: int


class _Item(NamedTuple):
    """An instruction or data directive of an executable section."""

    statement: Statement
    start: int
    """The mark before its first byte."""
    end: int = -1
    """The mark behind its last byte, -1 where nothing has to be looked up in its bytes."""
    references: tuple[_Reference, ...] = ()
    target: str | None = None
    """The label of this text that it branches to."""


@dataclass(frozen=True)
class _Layout:
    """What keystone made of the stream."""

    code: bytearray
    offsets: list[int]
    """Of each mark in the code."""
    starts: dict[int, int]
    """Executable section -> its offset in the code."""
    numbers: dict[int, int]
    """Section -> number of its part."""

    def place(self, where: _SectionPosition) -> SectionAddress:
        section, mark, offset = where
        if mark >= 0:
            offset += self.offsets[mark] - self.starts[section]
        return SectionAddress(self.numbers[section], offset)

    def between(self, start: int, end: int) -> bytearray:
        """The code from one mark to another."""
        return self.code[self.offsets[start] : self.offsets[end]]


def assemble(
    unit: ParsedAssembly,
    function: str,
    shared: frozenset[str],
    base: int,
    symbols: Mapping[str, int],
    limits: AssemblerLimits,
) -> AssembledCode:
    """Assemble a text that defines `function`, placed from the address `base`.

    `symbols` is the program that the code is put into: name -> address; `shared` are the names that the text defines
    too, but that mean the program's. Raises RefusalError for whatever has to be left to LLVM.
    """
    return _KeystoneAttempt(unit, _LocalLabels(unit, shared)).assemble(function, base, symbols, limits)


class _LocalLabels:
    """What the names in a text stand for. Numeric labels go by their name and statement."""

    def __init__(self, unit: ParsedAssembly, shared: frozenset[str]) -> None:
        self._unit = unit
        self._shared = shared
        self.aliases: dict[str, str] = {}
        """Name -> the label that it is another name of."""
        self._numeric: dict[str, list[int]] = {}
        """Numeric label -> the statements that define it."""
        for number, statement in enumerate(unit.statements):
            if statement.kind == "set" and statement.name not in shared:
                self._alias(statement)
            elif statement.kind == "weak" and statement.name not in unit.labels:
                raise _left(statement)
            elif statement.is_numeric_label:
                self._numeric.setdefault(statement.name, []).append(number)

    def _alias(self, statement: Statement) -> None:
        """`.set a, b` where b is a label of this text."""
        name, target = statement.name, self.aliases.get(statement.operands, statement.operands)
        if name in self._unit.labels or name in self.aliases or not self.is_own(target):
            raise _left(statement)
        self.aliases[name] = target

    def is_own(self, symbol: str) -> bool:
        """Whether the text's own definition counts."""
        return _NUMBERED in symbol or (symbol in self._unit.labels and symbol not in self._shared)

    def label(self, number: int, statement: Statement) -> str:
        """The unique name of the label that a statement defines."""
        return f"{statement.name}{_NUMBERED}{number}" if statement.is_numeric_label else statement.name

    def expression(self, text: str, number: int, statement: Statement) -> Expression:
        """Parse an expression, and find out what its names stand for."""
        value = expression(text)
        if value.is_number:
            return value
        return value._replace(
            symbol=value.symbol and self.meaning(value.symbol, number, statement),
            minus=value.minus and self.meaning(value.minus, number, statement),
        )

    def meaning(self, symbol: str, number: int, statement: Statement) -> str:
        """The unique name of the label that an alias, or `1f` and `1b`, stand for."""
        if is_reserved(symbol, statement.syntax):
            raise KeystoneRefusalError(f"{symbol} in {statement.text!r} is left to LLVM")
        if not symbol[0].isdigit():
            return self.aliases.get(symbol, symbol)
        places = self._numeric.get(symbol[:-1], [])
        index = bisect_left(places, number) - (symbol[-1] == "b")
        if statement.syntax == "intel" or not 0 <= index < len(places):
            raise KeystoneRefusalError(f"the numeric label {symbol} is left to LLVM")
        return f"{symbol[:-1]}{_NUMBERED}{places[index]}"


class _KeystoneAttempt:
    def __init__(self, unit: ParsedAssembly, names: _LocalLabels) -> None:
        self._unit = unit
        self._names = names
        self._stream: list[str] = []
        self._marks = 0
        self._items: list[_Item] = []
        self._fields: list[_Field] = []
        self._padding: list[tuple[int, int]] = []
        """Marks around the alignments."""
        self._borders: dict[int, tuple[int, int]] = {}
        """Executable section -> marks around it."""
        self._data: dict[int, bytearray] = {}
        """Bytes of the other sections."""
        self._places: dict[str, _SectionPosition] = {}
        """Where the labels are."""

    def assemble(self, function: str, base: int, symbols: Mapping[str, int], limits: AssemblerLimits) -> AssembledCode:
        groups = self._groups()
        if function not in self._unit.labels and function not in self._names.aliases:
            raise KeystoneRefusalError(f"the text has no label '{function}'")
        order = [section for section in self._unit.order() if section in groups]
        for section in order:
            if self._unit.sections[section].is_executable:
                self._code(section, groups[section])
            else:
                self._plain(section, groups[section])
        code, offsets = self._encode(base, limits)
        for start, end in self._padding:
            code[offsets[start] : offsets[end]] = _nops(offsets[end] - offsets[start])
        starts = {section: offsets[start] for section, (start, _) in self._borders.items()}
        layout = _Layout(code, offsets, starts, {section: number for number, section in enumerate(order)})
        self._check_branches(layout)
        labels = {name: layout.place(where) for name, where in self._places.items()}
        labels.update((name, labels[target]) for name, target in self._names.aliases.items())
        return self._assembled(labels, layout, self._linked(labels, layout, base, symbols))

    def _groups(self) -> dict[int, list[tuple[int, Statement]]]:
        """The statements by section, with their numbers; marks for labels in executable sections."""
        groups: dict[int, list[tuple[int, Statement]]] = {}
        for number, statement in enumerate(self._unit.statements):
            kind, section = statement.kind, statement.section
            if kind in ("set", "weak"):
                continue
            groups.setdefault(section, []).append((number, statement))
            if kind == "label" and self._unit.sections[section].is_executable:
                self._places[self._names.label(number, statement)] = _SectionPosition(section, self._marks, 0)
                self._marks += 1
        return groups

    def _mark(self) -> int:
        """Put a new mark into the stream."""
        number = self._marks
        self._marks += 1
        self._stream.append(f"L{number}:")
        return number

    def _code(self, section: int, statements: list[tuple[int, Statement]]) -> None:
        """An executable section, as text for keystone."""
        self._stream.append(f".p2align {PAGE.bit_length() - 1}")
        first = self._mark()
        for number, statement in statements:
            if statement.kind == "label":
                self._stream.append(f"L{self._places[self._names.label(number, statement)].mark}:")
            elif statement.kind == "instruction":
                self._instruction(number, statement)
            elif statement.kind == "align":
                self._align(statement)
            else:
                start = self._mark()
                data = self._bytes(number, statement, _SectionPosition(section, start, 0))
                for begin in range(0, len(data), 64):
                    self._stream.append(_byte_directive(data[begin : begin + 64]))
                self._items.append(_Item(statement, start))
        self._borders[section] = first, self._mark()

    def _align(self, statement: Statement) -> None:
        amount, value, most = _alignment(statement)
        if value not in (-1, 0x90):
            raise KeystoneRefusalError(f"{statement.text!r} in code is left to LLVM")
        start = self._mark()
        self._stream.append(f".p2align {amount.bit_length() - 1}" + (f",,{most}" if most > 0 else ""))
        self._padding.append((start, self._mark()))

    def _instruction(self, number: int, statement: Statement) -> None:
        name = statement.name
        start = self._mark()
        prefixes = self._prefixes(statement)
        if name in _RAW and not statement.operands:
            self._stream.append(_RAW[name])
            self._items.append(_Item(statement, start))
            return
        operands = split_operands(statement.operands)
        if name[0] in "v{" or name in PREFIXES or _is_taken_too_lightly(name, operands):
            raise _left(statement)
        if name in _OPCODES and len(operands) == 1 and not is_indirect(operands[0], statement.syntax):
            if statement.prefixes:
                raise _left(statement)
            self._branch(number, statement, start, operands[0])
            return
        references: list[_Reference] = []
        texts = []
        for text in operands:
            before, value, relative, after, absolute = operand(text, statement.syntax)
            if absolute and name.startswith(_NO_MEMORY) and not is_indirect(text, statement.syntax):
                raise _left(statement)
            if value is not None:
                before += self._magic(references, value, relative, number, statement) + after
            texts.append(before)
        if is_movsxd(statement):
            name = "movsxd"
        self._stream.append(" ".join((*prefixes, name, ",".join(texts))))
        end = self._mark() if references else -1
        self._items.append(_Item(statement, start, end, tuple(references)))

    def _prefixes(self, statement: Statement) -> list[str]:
        """The instruction's prefixes; `notrack`, which keystone doesn't know, goes into the stream at once."""
        prefixes = []
        for prefix in statement.prefixes:
            if prefix == "notrack":
                self._stream.append(".byte 62")
            elif prefix in _PREFIXES:
                prefixes.append(prefix)
            else:
                raise KeystoneRefusalError(f"the prefix {prefix} is left to LLVM")
        return prefixes

    def _branch(self, number: int, statement: Statement, start: int, text: str) -> None:
        """A direct branch: by keystone to a label of this text's code, else encoded here."""
        target = self._names.expression(text, number, statement)
        symbol = target.symbol
        if symbol is None or symbol == "." or target.minus is not None or target.modifier not in (None, "PLT"):
            raise KeystoneRefusalError(f"the branch to {text!r} is left to LLVM")
        if self._names.is_own(symbol) and symbol in self._places and not target.number:
            self._stream.append(f"{statement.name} L{self._places[symbol].mark}")
            self._items.append(_Item(statement, start, self._mark(), target=symbol))
            return
        opcode = bytes(_OPCODES[statement.name])
        self._stream.append(_byte_directive(opcode + bytes(4)))
        self._items.append(_Item(statement, start))
        where = _SectionPosition(statement.section, start, len(opcode))
        self._fields.append(_Field(where, RELATIVE_32, symbol, None, target.number - 4))

    def _magic(
        self, references: list[_Reference], value: Expression, relative: bool, number: int, statement: Statement
    ) -> str:
        """A number in place of a symbol; the reference tells how it is replaced in the bytes."""
        if value.symbol is None or value.minus is not None or value.symbol == ".":
            raise KeystoneRefusalError("a difference of symbols in an instruction is left to LLVM")
        wide = statement.name in ("movabs", "movabsq")
        if value.modifier == "GOTPCREL" and relative:
            kind = GOT_32
        elif value.modifier is None or (value.modifier == "PLT" and relative):
            kind = RELATIVE_32 if relative else ABSOLUTE_64 if wide else SIGNED_32
        else:
            raise KeystoneRefusalError(f"@{value.modifier} is left to LLVM")
        magic = _MAGIC + len(references)
        if wide:
            magic |= magic << 32
        symbol = self._names.meaning(value.symbol, number, statement)
        references.append(_Reference(magic, kind, symbol, value.number))
        return str(magic)

    def _plain(self, section: int, statements: list[tuple[int, Statement]]) -> None:
        """A section of data: its bytes."""
        data = self._data[section] = bytearray()
        for number, statement in statements:
            where = _SectionPosition(section, -1, len(data))
            if statement.kind == "label":
                self._places[self._names.label(number, statement)] = where
            elif statement.kind == "align":
                amount, value, most = _alignment(statement)
                count = -len(data) % amount
                if most <= 0 or count <= most:
                    data += bytes((max(value, 0) & 255,)) * count
            elif statement.kind == "instruction":
                raise KeystoneRefusalError("an instruction outside of executable sections is left to LLVM")
            else:
                data += self._bytes(number, statement, where)
        if self._unit.sections[section].nobits and any(data):
            raise KeystoneRefusalError("values in a section of zeros are left to LLVM")

    def _bytes(self, number: int, statement: Statement, where: _SectionPosition) -> bytes:
        """The bytes of a data directive. Fields that hold addresses are noted, and zero until then."""
        if statement.kind == "space":
            count, size, fill = statement.numbers
            # GAS takes four bytes of the value at most; the rest of a wider element is zero.
            return (fill & ((1 << 8 * min(size, 4)) - 1)).to_bytes(size, "little") * count
        elements = split_operands(statement.operands)
        if statement.name in (".ascii", ".asciz", ".string"):
            end = b"" if statement.name == ".ascii" else b"\0"
            return b"".join(string(element) + end for element in elements)
        width = DATA_WIDTHS.get(statement.name)
        if width is None:
            raise KeystoneRefusalError(f"{statement.name} is left to LLVM")
        data = bytearray()
        for element in elements:
            value = self._names.expression(element, number, statement)
            if value.is_number:
                if not -(1 << 8 * width - 1) <= value.number < 1 << 8 * width:
                    raise KeystoneRefusalError(f"{element} does not fit {statement.name}: left to LLVM")
                data += (value.number & ((1 << 8 * width) - 1)).to_bytes(width, "little")
                continue
            dotted = value.symbol == "." or (value.minus == "." and len(elements) > 1)
            allowed = (None, "PLT") if value.minus and width == 4 else (None,)
            if value.symbol is None or dotted or value.modifier not in allowed:
                raise KeystoneRefusalError(f"the expression {element!r} is left to LLVM")
            here = where._replace(offset=where.offset + len(data))
            self._fields.append(_Field(here, PLAIN[width], value.symbol, value.minus, value.number))
            data += bytes(width)
        return bytes(data)

    def _encode(self, base: int, limits: AssemblerLimits) -> tuple[bytearray, list[int]]:
        """What keystone makes of the stream, and the offset of each mark in it."""
        syntax = {statement.syntax for statement in self._unit.statements if statement.kind == "instruction"}
        if len(syntax) != 1:
            raise KeystoneRefusalError("code in two syntaxes" if syntax else "no instructions")
        table = ",".join(f"L{mark}-Lbase" for mark in range(self._marks))
        start = ".att_syntax prefix" if "att" in syntax else ".intel_syntax noprefix"
        text = "\n".join((start, "Lbase:", *self._stream, f".long {table}\n"))
        engine = encoder()
        try:
            answer = sandbox.call(
                machine_code, engine, text, base, seconds=limits.keystone_seconds, megabytes=limits.megabytes
            )
        except (ChildDiedError, ChildTimeoutError) as error:
            raise KeystoneRefusalError(f"keystone: {error}") from None
        if isinstance(answer, str):
            raise KeystoneRefusalError(f"keystone: {answer}")
        code = bytearray(answer)
        size = len(code) - 4 * self._marks
        if size < 0:
            raise KeystoneRefusalError("keystone: output too short")
        offsets = [int.from_bytes(code[place : place + 4], "little") for place in range(size, len(code), 4)]
        if any(offset > size for offset in offsets):
            raise KeystoneRefusalError("keystone: labels outside of the code")
        return code[:size], offsets

    def _check_branches(self, layout: _Layout) -> None:
        """Trust no branch: its distance must lead to its label."""
        for item in self._items:
            if item.target is None:
                continue
            data = layout.between(item.start, item.end)
            width = 1 if len(data) == 2 else 4
            distance = int.from_bytes(data[-width:], "little", signed=True)
            if layout.offsets[item.end] + distance != layout.offsets[self._places[item.target].mark]:
                raise KeystoneRefusalError(f"keystone: a wrong distance in {item.statement.text!r}")

    def _linked(
        self, labels: Mapping[str, SectionAddress], layout: _Layout, base: int, symbols: Mapping[str, int]
    ) -> LinkedImage:
        """Lay the sections out and fill in the addresses."""
        names = self._names
        own = {name: place for name, place in labels.items() if name in names.aliases or names.is_own(name)}
        fields = [*self._fields, *self._instruction_fields(layout)]
        fixups = [_fixup(field, layout.place(field.where), own) for field in fields]
        for fixup in fixups:
            if isinstance(fixup.target, str) and fixup.target not in own and fixup.target not in symbols:
                raise KeystoneRefusalError(f"undefined symbol {fixup.target}")
        parts = self._parts(layout)
        try:
            image = link(parts, own, fixups, base, symbols)
        except LinkError as error:
            raise KeystoneRefusalError(str(error)) from None
        # Whether the instruction extends its 4 bytes by the sign or by zeros isn't known here.
        if any(fixup.kind == SIGNED_32 and parts[fixup.part].data[fixup.offset + 3] & 0x80 for fixup in fixups):
            raise KeystoneRefusalError("a negative address is left to LLVM")
        return image

    def _parts(self, layout: _Layout) -> list[LinkSection]:
        parts = []
        for section in layout.numbers:
            name, writable, executable, _ = self._unit.sections[section]
            data = layout.between(*self._borders[section]) if executable else self._data[section]
            parts.append(LinkSection(name, data, writable, executable))
        return parts

    def _instruction_fields(self, layout: _Layout) -> Iterator[_Field]:
        """Where the magic numbers of the instructions ended up."""
        for item in self._items:
            if not item.references:
                continue
            data = layout.between(item.start, item.end)
            for magic, kind, symbol, addend in item.references:
                needle = magic.to_bytes(kind.width, "little")
                offset = data.find(needle)
                if offset < 0 or data.count(needle) != 1:
                    raise KeystoneRefusalError(f"keystone: no place for the address in {item.statement.text!r}")
                if kind.is_pc_relative:
                    addend -= len(data) - offset
                yield _Field(_SectionPosition(item.statement.section, item.start, offset), kind, symbol, None, addend)

    def _assembled(self, labels: Mapping[str, SectionAddress], layout: _Layout, image: LinkedImage) -> AssembledCode:
        addresses = [address for _, address in image.sections]

        def address_of(place: SectionAddress) -> int:
            return addresses[place.part or 0] + place.offset

        lines, mnemonics = {}, {}
        for item in self._items:
            address = address_of(layout.place(_SectionPosition(item.statement.section, item.start, 0)))
            lines[address] = self._unit.line(item.statement)
            mnemonics[address] = item.statement.name
        symbols = {name: address_of(place) for name, place in labels.items() if _NUMBERED not in name}
        return AssembledCode("keystone", image.segments, symbols, lines, mnemonics, image.external_symbols, None)


def _left(statement: Statement) -> KeystoneRefusalError:
    return KeystoneRefusalError(f"{statement.text!r} is left to LLVM")


def _alignment(statement: Statement) -> tuple[int, ...]:
    """Bytes, fill value or -1, most bytes to skip or -1."""
    amount, value, most = statement.numbers
    operands = statement.operands
    if "-" in operands or operands.endswith(",") or (most == 0 and operands.count(",") == 2):
        raise _left(statement)
    return amount, value, most


def _byte_directive(data: bytes) -> str:
    return ".byte " + ",".join(map(str, data))


def _fixup(field: _Field, here: SectionAddress, own: Mapping[str, SectionAddress]) -> Fixup:
    """Turn a field into a relocation; a difference is one too, if what is subtracted lies beside the field."""
    kind, addend = field.kind, field.addend
    part = here.part or 0
    if field.minus is not None:
        minus = here if field.minus == "." else own.get(field.minus)
        if minus is None or minus.part != part:
            raise KeystoneRefusalError(f"a difference to {field.minus.partition(_NUMBERED)[0]} is left to LLVM")
        kind = Relocation(kind.name, kind.width, True, True if kind.width == 4 else None)
        addend += here.offset - minus.offset
    return Fixup(part, here.offset, kind, field.symbol, addend)


def _is_taken_too_lightly(name: str, operands: list[str]) -> bool:
    """Whether keystone accepts what LLVM may refuse: two operands of x87 instructions with one, large bit numbers."""
    if name.startswith("bt"):
        bits = [integer(operand.lstrip("$")) for operand in operands]
        return any(bit is not None and not -128 <= bit <= 255 for bit in bits)
    return name in ("int1", "icebp") or (name in ("fstp", "fxch", "fcom", "fcomp") and len(operands) > 1)


def _nops(count: int) -> bytes:
    """Padding in code, as LLVM makes it."""
    longest = len(_NOPS)
    return _NOPS[-1] * (count // longest) + (_NOPS[count % longest - 1] if count % longest else b"")


@lru_cache(maxsize=1)
def encoder() -> Any:
    """Keystone's engine for x86-64."""
    keystone = import_module("keystone")
    # No option is ever set: after any, `syntax` too, numbers are read as hexadecimal.
    return keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)


def machine_code(engine: Any, text: str, base: int) -> bytes | str:
    """The bytes, or why there are none. Only for a sandbox: some texts end the process."""
    keystone = import_module("keystone")
    open_no_files()
    try:
        code, _ = engine.asm(text.encode(), base, True)
    except keystone.KsError as error:
        return str(error)
    return code or "no output"
