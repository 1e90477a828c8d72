"""Assembly text of unknown origin to machine code at addresses, by keystone or LLVM, in a process that may die.

Keystone is fast but has faults, so little is asked of it: it encodes instructions whose operands are registers and
numbers, and branches to labels of the same text. Everything else is done here (data, symbols, sections), or is left
to LLVM. LLVM's word is final: its messages are the ones that are reported.
"""

from __future__ import annotations

import re
import resource
from bisect import bisect_left
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from string import ascii_letters
from typing import Any, Literal, NamedTuple, cast

from pytest_llmcompiler.machine import sandbox
from pytest_llmcompiler.machine.gas import (
    DATA_WIDTHS,
    PREFIXES,
    SYMBOL,
    AssemblyError,
    LinkError,
    Statement,
    Unit,
    UnsupportedError,
    integer,
    read,
    split_operands,
)
from pytest_llmcompiler.machine.loader import (
    ABSOLUTE_64,
    GOT_32,
    PAGE,
    PLAIN,
    RELATIVE_32,
    SIGNED_32,
    Fixup,
    Image,
    Part,
    Place,
    Relocation,
    Segment,
    link,
    load_object,
)

__all__ = [
    "Assembled",
    "AssemblyError",
    "Limits",
    "LinkError",
    "Segment",
    "UnsupportedError",
    "assemble",
]

Engine = Literal["keystone", "llvm"]


@dataclass(frozen=True)
class Limits:
    """What one attempt of an assembler may take."""

    keystone_seconds: float = 2.0
    """Wall clock; then LLVM is asked."""
    llvm_seconds: float = 20.0
    megabytes: int = 512
    """Memory on top of what the calling process has."""


@dataclass(frozen=True)
class Assembled:
    """Machine code, ready for memory, and what is known of it."""

    engine: Engine
    segments: tuple[Segment, ...]
    """In the order of their addresses. Addresses are page-aligned, sizes are not."""
    symbols: dict[str, int]
    """What the text defines, absolute addresses."""
    lines: dict[int, int]
    """Address of each instruction, and of data in executable sections -> 1-based line of the text."""
    mnemonics: dict[int, str]
    """The same addresses -> mnemonic in lower case, prefixes stripped; the directive for data."""
    calls: frozenset[str]
    """Symbols of the program that the text refers to."""
    fallback: str | None
    """Why keystone's output was not used, where the engine is LLVM and keystone was asked first."""


class _RefusalError(Exception):
    """Keystone can't or shall not assemble this; the message says why."""


def assemble(
    text: str,
    function: str,
    base: int,
    symbols: Mapping[str, int],
    assembler: Engine = "keystone",
    *,
    limits: Limits = Limits(),
) -> Assembled:
    """Assemble a text that defines `function`, placed from the page-aligned address `base`.

    `symbols` is the program that the code is put into: name -> address. A name that both have means the program's,
    except for `function` itself and for local labels (`.L…`). Raises AssemblyError (no assembler accepts the text),
    LinkError (the function is missing, or a symbol that neither has), UnsupportedError (fine, but can't be placed).
    """
    if base % PAGE:
        raise ValueError(f"base {base:#x} is not page-aligned")
    unit = read(text)
    shared = frozenset(
        name
        for name in (*unit.labels, *(s.name for s in unit.statements if s.kind == "set"))
        if name in symbols and name != function and not name.startswith(".L")
    )
    fallback = None
    if assembler == "keystone":
        try:
            return _Keystone(unit, function, shared).assemble(base, symbols, limits)
        except _RefusalError as refusal:
            fallback = str(refusal)
    return _llvm(unit, function, base, symbols, shared, limits, fallback)


# -- keystone

_MAGIC = 0x5EAD0000
"""Stands for an address until the instruction's bytes are known; positive, and needs 32 bits."""
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
"""What is no symbol in Intel syntax."""
_INTEL_64 = re.compile(_POINTER, re.IGNORECASE)
_INTEL_32 = re.compile(r"(?:e(?:[abcd]x|[sd]i|[sb]p)|r(?:8|9|1[0-5])d)$|dword\s+ptr\b", re.IGNORECASE)
_ATOM = re.compile(rf"\s*([+-]?)\s*(?:({SYMBOL})(?:@(\w+))?|(\w+))\s*")
_NUMERIC_LABEL = re.compile(r"\d+[bf]")
_CHARACTER = re.compile(r"'([^\\])'")
_ESCAPE = re.compile(r"\\([0-7]{1,3}|[bfnrt\"\\])|\\|[^\\]+")
_ESCAPES = {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9, '"': 34, "\\": 92}
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


class _Expression(NamedTuple):
    """The sum of at most one symbol, minus at most one, and a number."""

    symbol: str | None
    minus: str | None
    number: int
    modifier: str | None


class _Operand(NamedTuple):
    """An operand for keystone: a text, or two with a number for `value` between them."""

    before: str
    value: _Expression | None = None
    relative: bool = False
    after: str = ""
    absolute: bool = False
    """An address without registers. Written with the index register that is none, or keystone makes it RIP-relative."""


class _Field(NamedTuple):
    """A field that is to hold an address, once it is known where things are."""

    section: int
    mark: int
    """The mark that `offset` counts from; -1 in data sections, where it counts from the start."""
    offset: int
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
    end: int
    """The mark behind its last byte, -1 where nothing has to be looked up in its bytes."""
    references: tuple[_Reference, ...]
    target: str | None
    """The label of this text that it branches to."""


class _Keystone:
    """One attempt with keystone: the text taken apart, encoded, and put together.

    The stream that keystone gets holds the executable sections, page-aligned one after another. Each instruction and
    label has a mark in it (`L0:`, `L1:`, ...), and a table at its end tells how far each mark is from the first.
    """

    def __init__(self, unit: Unit, function: str, shared: frozenset[str]) -> None:
        self.unit = unit
        self.function = function
        self.shared = shared
        self.stream: list[str] = []
        self.marks = 0
        self.items: list[_Item] = []
        self.fields: list[_Field] = []
        self.padding: list[tuple[int, int]] = []
        """Marks around the alignments."""
        self.data: dict[int, bytearray] = {}
        self.places: dict[str, tuple[int, int, int]] = {}
        """Label -> section, mark or -1, offset. Numeric labels go by `NAME:STATEMENT`."""
        self.aliases: dict[str, str] = {}
        """Name -> the label that it is another name of."""
        self.numeric: dict[str, list[int]] = {}
        """Numeric label -> the statements that define it."""

    def assemble(self, base: int, symbols: Mapping[str, int], limits: Limits) -> Assembled:
        """Raises _RefusalError for whatever has to be left to LLVM."""
        groups = self.groups()
        if self.function not in self.unit.labels and self.function not in self.aliases:
            raise _RefusalError(f"the text has no label '{self.function}'")
        order = [section for section in self.unit.order() if section in groups]
        borders: dict[int, tuple[int, int]] = {}
        for section in order:
            if self.unit.sections[section].executable:
                self.stream.append(f".p2align {PAGE.bit_length() - 1}")
                start = self.mark()
                self.code(section, groups[section])
                borders[section] = start, self.mark()
            else:
                self.plain(section, groups[section])
        code, offsets = self.encode(base, limits)
        for start, end in self.padding:
            code[offsets[start] : offsets[end]] = _nops(offsets[end] - offsets[start])
        parts = []
        for section in order:
            name, writable, executable, _ = self.unit.sections[section]
            if executable:
                start, end = borders[section]
                self.data[section] = code[offsets[start] : offsets[end]]
            parts.append(Part(name, self.data[section], writable, executable))
        starts = {section: offsets[start] for section, (start, _) in borders.items()}
        self.check_branches(code, offsets)
        return self.finish(parts, order, starts, offsets, code, base, symbols)

    def groups(self) -> dict[int, list[tuple[int, Statement]]]:
        """The statements by section, with their numbers; marks and names for labels in executable sections."""
        groups: dict[int, list[tuple[int, Statement]]] = {}
        for number, statement in enumerate(self.unit.statements):
            kind, section = statement.kind, statement.section
            if kind == "set" and statement.name not in self.shared:
                self.alias(statement)
            if kind == "weak" and statement.name not in self.unit.labels:
                raise _RefusalError(f"{statement.text!r} is left to LLVM")
            if kind in ("set", "weak"):
                continue
            groups.setdefault(section, []).append((number, statement))
            if kind != "label":
                continue
            name = self.label_name(number, statement)
            if statement.name.isdigit():
                self.numeric.setdefault(statement.name, []).append(number)
            if self.unit.sections[section].executable:
                self.places[name] = (section, self.marks, 0)
                self.marks += 1
        return groups

    def alias(self, statement: Statement) -> None:
        """`.set a, b` where b is a label of this text."""
        name, target = statement.name, self.aliases.get(statement.operands, statement.operands)
        if name in self.unit.labels or name in self.aliases or not self.is_own(target):
            raise _RefusalError(f"{statement.text!r} is left to LLVM")
        self.aliases[name] = target

    def label_name(self, number: int, statement: Statement) -> str:
        return f"{statement.name}:{number}" if statement.name.isdigit() else statement.name

    def mark(self) -> int:
        """Put a new mark into the stream."""
        number = self.marks
        self.marks += 1
        self.stream.append(f"L{number}:")
        return number

    def code(self, section: int, statements: list[tuple[int, Statement]]) -> None:
        """An executable section, as text for keystone."""
        for number, statement in statements:
            if statement.kind == "label":
                self.stream.append(f"L{self.places[self.label_name(number, statement)][1]}:")
            elif statement.kind == "instruction":
                self.instruction(number, statement)
            elif statement.kind == "align":
                amount, value, most = statement.numbers
                if value not in (-1, 0x90):
                    raise _RefusalError(f"{statement.text!r} in code is left to LLVM")
                start = self.mark()
                self.stream.append(f".p2align {amount.bit_length() - 1}" + (f",,{most}" if most > 0 else ""))
                self.padding.append((start, self.mark()))
            else:
                start = self.mark()
                data = self.bytes_of(number, statement, section, start, 0)
                for begin in range(0, len(data), 64):
                    self.stream.append(".byte " + ",".join(map(str, data[begin : begin + 64])))
                self.items.append(_Item(statement, start, -1, (), None))

    def instruction(self, number: int, statement: Statement) -> None:
        name = statement.name
        start = self.mark()
        prefixes = []
        for prefix in statement.prefixes:
            if prefix == "notrack":
                self.stream.append(".byte 62")
            elif prefix in _PREFIXES:
                prefixes.append(prefix)
            else:
                raise _RefusalError(f"the prefix {prefix} is left to LLVM")
        if name in _RAW and not statement.operands:
            self.stream.append(_RAW[name])
            self.items.append(_Item(statement, start, -1, (), None))
            return
        operands = split_operands(statement.operands)
        if name[0] in "v{" or name in PREFIXES or _is_taken_too_lightly(name, operands):
            raise _RefusalError(f"{statement.text!r} is left to LLVM")
        if name in _OPCODES and len(operands) == 1 and not _is_indirect(operands[0], statement.syntax):
            if statement.prefixes:
                raise _RefusalError(f"{statement.text!r} is left to LLVM")
            self.branch(number, statement, start, operands[0])
            return
        references: list[_Reference] = []
        parse = _att_operand if statement.syntax == "att" else _intel_operand
        texts = []
        for operand in operands:
            before, value, relative, after, absolute = parse(operand)
            if absolute and name.startswith(_NO_MEMORY) and not _is_indirect(operand, statement.syntax):
                raise _RefusalError(f"{statement.text!r} is left to LLVM")
            if value is not None:
                before += self.magic(references, value, relative, number, statement) + after
            texts.append(before)
        if _is_movsxd(statement):
            name = "movsxd"
        self.stream.append(" ".join((*prefixes, name, ",".join(texts))))
        end = self.mark() if references else -1
        self.items.append(_Item(statement, start, end, tuple(references), None))

    def branch(self, number: int, statement: Statement, start: int, operand: str) -> None:
        """A direct branch: by keystone to a label of this text's code, else encoded here."""
        target = self.expression(operand, number, statement)
        symbol = target.symbol
        if symbol is None or symbol == "." or target.minus is not None or target.modifier not in (None, "PLT"):
            raise _RefusalError(f"the branch to {operand!r} is left to LLVM")
        if self.is_own(symbol) and symbol in self.places and not target.number:
            self.stream.append(f"{statement.name} L{self.places[symbol][1]}")
            self.items.append(_Item(statement, start, self.mark(), (), symbol))
            return
        opcode = _OPCODES[statement.name]
        self.stream.append(".byte " + ",".join(map(str, (*opcode, 0, 0, 0, 0))))
        self.items.append(_Item(statement, start, -1, (), None))
        self.fields.append(_Field(statement.section, start, len(opcode), RELATIVE_32, symbol, None, target.number - 4))

    def is_own(self, symbol: str) -> bool:
        """Whether the text's own definition counts."""
        return ":" in symbol or (symbol in self.unit.labels and symbol not in self.shared)

    def expression(self, text: str, number: int, statement: Statement) -> _Expression:
        """Parse an expression, and find out what its names stand for."""
        value = _parse(text)
        if value.symbol is None and value.minus is None:
            return value
        return value._replace(
            symbol=value.symbol and self.meaning(value.symbol, number, statement),
            minus=value.minus and self.meaning(value.minus, number, statement),
        )

    def meaning(self, symbol: str, number: int, statement: Statement) -> str:
        """The unique name of the label that an alias, or `1f` and `1b`, stand for."""
        if statement.syntax == "intel" and _INTEL_RESERVED.fullmatch(symbol):
            raise _RefusalError(f"{symbol} in {statement.text!r} is left to LLVM")
        if not symbol[0].isdigit():
            return self.aliases.get(symbol, symbol)
        places = self.numeric.get(symbol[:-1], [])
        index = bisect_left(places, number) - (symbol[-1] == "b")
        if statement.syntax == "intel" or not 0 <= index < len(places):
            raise _RefusalError(f"the numeric label {symbol} is left to LLVM")
        return f"{symbol[:-1]}:{places[index]}"

    def magic(
        self, references: list[_Reference], value: _Expression, relative: bool, number: int, statement: Statement
    ) -> str:
        """A number in place of a symbol; the reference tells how it is replaced in the bytes."""
        if value.symbol is None or value.minus is not None or value.symbol == ".":
            raise _RefusalError("a difference of symbols in an instruction is left to LLVM")
        wide = statement.name in ("movabs", "movabsq")
        if value.modifier == "GOTPCREL" and relative:
            kind = GOT_32
        elif value.modifier in (None, "PLT"):
            kind = RELATIVE_32 if relative else ABSOLUTE_64 if wide else SIGNED_32
        else:
            raise _RefusalError(f"@{value.modifier} is left to LLVM")
        magic = _MAGIC + len(references)
        if wide:
            magic |= magic << 32
        references.append(_Reference(magic, kind, self.meaning(value.symbol, number, statement), value.number))
        return str(magic)

    def plain(self, section: int, statements: list[tuple[int, Statement]]) -> None:
        """A section of data: its bytes."""
        data = self.data[section] = bytearray()
        for number, statement in statements:
            if statement.kind == "label":
                self.places[self.label_name(number, statement)] = (section, -1, len(data))
            elif statement.kind == "align":
                amount, value, most = statement.numbers
                count = -len(data) % amount
                if most <= 0 or count <= most:
                    data += bytes((max(value, 0) & 255,)) * count
            elif statement.kind == "instruction":
                raise _RefusalError("an instruction outside of executable sections is left to LLVM")
            else:
                data += self.bytes_of(number, statement, section, -1, len(data))
        if self.unit.sections[section].nobits and any(data):
            raise _RefusalError("values in a section of zeros are left to LLVM")

    def bytes_of(self, number: int, statement: Statement, section: int, mark: int, offset: int) -> bytes:
        """The bytes of a data directive. Fields that hold addresses are noted, and zero until then."""
        if statement.kind == "space":
            count, size, fill = statement.numbers
            # GAS takes four bytes of the value at most; the rest of a wider element is zero.
            return (fill & ((1 << 8 * min(size, 4)) - 1)).to_bytes(size, "little") * count
        if statement.name in (".ascii", ".asciz", ".string"):
            end = b"" if statement.name == ".ascii" else b"\0"
            return b"".join(_string(part) + end for part in split_operands(statement.operands))
        width = DATA_WIDTHS.get(statement.name)
        if width is None:
            raise _RefusalError(f"{statement.name} is left to LLVM")
        data = bytearray()
        elements = split_operands(statement.operands)
        for element in elements:
            value = self.expression(element, number, statement)
            if value.symbol is None and value.minus is None:
                if not -(1 << 8 * width - 1) <= value.number < 1 << 8 * width:
                    raise _RefusalError(f"{element} does not fit {statement.name}: left to LLVM")
                data += (value.number & ((1 << 8 * width) - 1)).to_bytes(width, "little")
                continue
            dotted = value.symbol == "." or (value.minus == "." and len(elements) > 1)
            if value.symbol is None or dotted or value.modifier not in (None, "PLT"):
                raise _RefusalError(f"the expression {element!r} is left to LLVM")
            where = offset + len(data)
            self.fields.append(_Field(section, mark, where, PLAIN[width], value.symbol, value.minus, value.number))
            data += bytes(width)
        return bytes(data)

    def encode(self, base: int, limits: Limits) -> tuple[bytearray, list[int]]:
        """What keystone makes of the stream, and the offset of each mark in it."""
        syntax = {statement.syntax for statement in self.unit.statements if statement.kind == "instruction"}
        if len(syntax) != 1:
            raise _RefusalError("code in two syntaxes" if syntax else "no instructions")
        table = ",".join(f"L{mark}-Lbase" for mark in range(self.marks))
        start = ".att_syntax prefix" if "att" in syntax else ".intel_syntax noprefix"
        text = "\n".join((start, "Lbase:", *self.stream, f".long {table}\n"))
        engine = _keystone()
        try:
            answer = sandbox.call(
                _run_keystone, engine, text, base, seconds=limits.keystone_seconds, megabytes=limits.megabytes
            )
        except (sandbox.Died, sandbox.TimedOut) as error:
            raise _RefusalError(f"keystone: {error}") from None
        if isinstance(answer, str):
            raise _RefusalError(f"keystone: {answer}")
        code = bytearray(answer)
        size = len(code) - 4 * self.marks
        if size < 0:
            raise _RefusalError("keystone: output too short")
        offsets = [int.from_bytes(code[place : place + 4], "little") for place in range(size, len(code), 4)]
        if any(offset > size for offset in offsets):
            raise _RefusalError("keystone: labels outside of the code")
        return code[:size], offsets

    def check_branches(self, code: bytearray, offsets: list[int]) -> None:
        """Trust no branch: its distance must lead to its label."""
        for item in self.items:
            if item.target is None:
                continue
            end = offsets[item.end]
            width = 1 if end - offsets[item.start] == 2 else 4
            distance = int.from_bytes(code[end - width : end], "little", signed=True)
            if end + distance != offsets[self.places[item.target][1]]:
                raise _RefusalError(f"keystone: a wrong distance in {item.statement.text!r}")

    def finish(
        self,
        parts: list[Part],
        order: list[int],
        starts: dict[int, int],
        offsets: list[int],
        code: bytearray,
        base: int,
        symbols: Mapping[str, int],
    ) -> Assembled:
        """Fill in the addresses."""
        number_of = {section: number for number, section in enumerate(order)}

        def place(section: int, mark: int, offset: int) -> Place:
            if mark >= 0:
                offset += offsets[mark] - starts[section]
            return Place(number_of[section], offset)

        labels = {name: place(*where) for name, where in self.places.items()}
        labels.update((name, labels[target]) for name, target in self.aliases.items())
        own = {name: where for name, where in labels.items() if name in self.aliases or self.is_own(name)}
        fields = [*self.fields, *self.instruction_fields(code, offsets)]
        fixups = []
        for field in fields:
            here = place(field.section, field.mark, field.offset)
            fixups.append(_fixup(field, here, own))
        for fixup in fixups:
            if isinstance(fixup.target, str) and fixup.target not in own and fixup.target not in symbols:
                raise _RefusalError(f"undefined symbol {fixup.target}")
        try:
            image = link(parts, own, fixups, base, symbols)
        except LinkError as error:
            raise _RefusalError(str(error)) from None
        addresses = [address for _, address in image.sections]
        at = [
            addresses[part or 0] + offset
            for part, offset in (place(i.statement.section, i.start, 0) for i in self.items)
        ]
        return Assembled(
            "keystone",
            image.segments,
            {name: addresses[where.part or 0] + where.offset for name, where in labels.items() if ":" not in name},
            {address: self.unit.line(item.statement) for address, item in zip(at, self.items, strict=True)},
            {address: item.statement.name for address, item in zip(at, self.items, strict=True)},
            image.externals,
            None,
        )

    def instruction_fields(self, code: bytearray, offsets: list[int]) -> Iterator[_Field]:
        """Where the magic numbers of the instructions ended up."""
        for item in self.items:
            if not item.references:
                continue
            start, end = offsets[item.start], offsets[item.end]
            data = code[start:end]
            for magic, kind, symbol, addend in item.references:
                needle = magic.to_bytes(kind.width, "little")
                offset = data.find(needle)
                if offset < 0 or data.count(needle) != 1:
                    raise _RefusalError(f"keystone: no place for the address in {item.statement.text!r}")
                if kind.relative:
                    addend -= len(data) - offset
                yield _Field(item.statement.section, item.start, offset, kind, symbol, None, addend)


@lru_cache(maxsize=8192)
def _parse(text: str) -> _Expression:
    """Parse `symbol@MODIFIER + number - symbol`, in any order. `1f` and `1b` are symbols."""
    if _NUMERIC_LABEL.fullmatch(text):
        return _Expression(text, None, 0, None)
    symbol = minus = modifier = None
    total, position = 0, 0
    while position < len(text) or not text:
        atom = _ATOM.match(text, position)
        if atom is None or (position and not atom[1]):
            raise _RefusalError(f"the expression {text!r} is left to LLVM")
        sign, name, kind, digits = atom.groups()
        if name is None:
            value = integer(digits)
            if value is None or abs(value) >= 1 << 64:
                raise _RefusalError(f"the number {digits!r} is left to LLVM")
            total += -value if sign == "-" else value
        elif sign == "-" and minus is None and kind is None:
            minus = name
        elif sign != "-" and symbol is None:
            symbol, modifier = name, kind and kind.upper()
        else:
            raise _RefusalError(f"the expression {text!r} is left to LLVM")
        position = atom.end()
    return _Expression(symbol, minus, total, modifier)


@lru_cache(maxsize=8192)
def _att_operand(operand: str) -> _Operand:
    """An AT&T operand: registers as they are, numbers in decimal."""
    if _ATT_REGISTER.match(operand):
        return _Operand(operand)
    if operand.startswith("$"):
        return _immediate("$", operand[1:])
    memory = _ATT_MEMORY.match(operand)
    if memory is None:
        raise _RefusalError(f"the operand {operand!r} is left to LLVM")
    star, segment, displacement, brackets, base, index, scale = memory.groups()
    relative = base is not None and base.lower() == "rip"
    absolute = brackets is None
    if ((absolute or relative) and not displacement) or (not absolute and base is None and index is None):
        raise _RefusalError(f"the operand {operand!r} is left to LLVM")
    if relative and index:
        raise _RefusalError(f"the operand {operand!r} is left to LLVM")
    before = f"{star}{f'%{segment}:' if segment else ''}"
    after = f"({f'%{base}' if base else ''}{f',%{index},{scale or 1}' if index else ''})"
    return _memory(before, displacement, relative, "(,%riz,1)" if absolute else after, absolute)


@lru_cache(maxsize=8192)
def _intel_operand(operand: str) -> _Operand:
    """An Intel operand: registers as they are, numbers in decimal."""
    if _INTEL_REGISTER.match(operand):
        return _Operand(operand)
    offset = _INTEL_OFFSET.match(operand)
    if offset:
        return _immediate("", offset[1])
    value = integer(operand)
    if value is not None:
        return _Operand(str(value))
    wrapped = _INTEL_WRAPPED.match(operand)
    memory = _INTEL_MEMORY.match(wrapped[1].strip() if wrapped else operand)
    if memory is None:
        raise _RefusalError(f"the operand {operand!r} is left to LLVM")
    size, segment, outside, brackets, inside = memory.groups()
    if brackets is None and not segment and not (size and re.match(SYMBOL, outside)):
        raise _RefusalError(f"the operand {operand!r} is left to LLVM")
    registers, rest = _intel_terms(inside or "")
    if "rsp" in "".join(registers[1:]) or (registers and registers[0] != "rsp" and "rsp" in registers[0]):
        raise _RefusalError("the stack pointer as an index is left to LLVM")
    relative = "rip" in registers
    absolute = not registers
    displacement = outside + "".join(rest)
    if (relative and len(registers) > 1) or ((absolute or relative) and not displacement):
        raise _RefusalError(f"the operand {operand!r} is left to LLVM")
    address = "+".join(registers) or "riz*1"
    before = f"{f'{size} ptr ' if size else ''}{f'{segment}:' if segment else ''}[{address}"
    return _memory(before + "+" if displacement else before, displacement, relative, "]", absolute)


def _immediate(before: str, text: str) -> _Operand:
    character = _CHARACTER.fullmatch(text)
    if character:
        return _Operand(before + str(ord(character[1])))
    value = _parse(text)
    if value.symbol is None and value.minus is None:
        return _Operand(before + str(value.number))
    return _Operand(before, value)


def _memory(before: str, displacement: str, relative: bool, after: str, absolute: bool) -> _Operand:
    if not displacement:
        return _Operand(before + after)
    value = _parse(displacement)
    if value.symbol is not None or value.minus is not None:
        return _Operand(before, value, relative, after, absolute)
    if not -(1 << 31) <= value.number < 1 << 31:
        raise _RefusalError(f"the displacement {displacement!r} is left to LLVM")
    return _Operand(f"{before}{value.number}{after}".replace("+-", "-"), absolute=absolute)


def _fixup(field: _Field, here: Place, own: Mapping[str, Place]) -> Fixup:
    """Turn a field into a relocation; a difference is one too, if what is subtracted lies beside the field."""
    kind, addend = field.kind, field.addend
    part = here.part or 0
    if field.minus is not None:
        minus = here if field.minus == "." else own.get(field.minus)
        if minus is None or minus.part != part:
            raise _RefusalError(f"a difference to {field.minus} is left to LLVM")
        kind = Relocation(kind.name, kind.width, True, True if kind.width == 4 else None)
        addend += here.offset - minus.offset
    return Fixup(part, here.offset, kind, field.symbol, addend)


def _is_taken_too_lightly(name: str, operands: list[str]) -> bool:
    """Whether keystone accepts what LLVM may refuse: two operands of x87 instructions with one, large bit numbers."""
    if name.startswith("bt"):
        bits = [integer(operand.lstrip("$")) for operand in operands]
        return any(bit is not None and not -128 <= bit <= 255 for bit in bits)
    return name in ("int1", "icebp") or (name in ("fstp", "fxch", "fcom", "fcomp") and len(operands) > 1)


def _is_movsxd(statement: Statement) -> bool:
    """Whether a movsx is one from 32 to 64 bits, which only GNU as takes by that name."""
    if statement.name != "movsx" or statement.syntax != "intel":
        return False
    target, _, source = statement.operands.partition(",")
    return bool(_INTEL_64.fullmatch(target.strip()) and _INTEL_32.match(source.strip()))


def _nops(count: int) -> bytes:
    """Padding in code, as LLVM makes it."""
    longest = len(_NOPS)
    return _NOPS[-1] * (count // longest) + (_NOPS[count % longest - 1] if count % longest else b"")


def _is_indirect(operand: str, syntax: str) -> bool:
    if syntax == "att":
        return operand[:1] in ("*", "%")
    return "[" in operand or _INTEL_REGISTER.match(operand) is not None


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


def _string(literal: str) -> bytes:
    if len(literal) < 2 or literal[0] != '"' or literal[-1] != '"':
        raise _RefusalError(f"the string {literal!r} is left to LLVM")
    data = bytearray()
    for match in _ESCAPE.finditer(literal, 1, len(literal) - 1):
        if match[1] is None:
            if match[0] == "\\":
                raise _RefusalError(f"an escape in {literal!r} is left to LLVM")
            data += match[0].encode()
        elif match[1][0] in _ESCAPES:
            data.append(_ESCAPES[match[1]])
        else:
            data.append(int(match[1], 8) & 255)
    return bytes(data)


@lru_cache(maxsize=1)
def _keystone() -> Any:
    keystone = import_module("keystone")
    # No option is ever set: after any, `syntax` too, numbers are read as hexadecimal.
    return keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)


def _run_keystone(engine: Any, text: str, base: int) -> bytes | str:
    """The bytes, or why there are none. Runs in the sandbox."""
    keystone = import_module("keystone")
    _open_no_files()
    try:
        code, _ = engine.asm(text.encode(), base, True)
    except keystone.KsError as error:
        return str(error)
    return code or "no output"


def _open_no_files() -> None:
    """Whatever a text makes an assembler try, the kernel gives this process no further file."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


# -- LLVM

_MESSAGE = re.compile(r"^(?:error: )?<inline asm>:(\d+):(\d+): (?:error: )?(.*)", re.MULTILINE)


_START = r"(?<![\w.@?\"])(?<![\w.]\$)"
"""Where a name may begin; the $ of an immediate is no part of it."""
_NUMERIC_USE = re.compile(rf"{_START}(\d+)([bf])(?![\w.])")
_LOCAL = re.compile(rf"{_START}\.L[\w.$?]*")
_INTEL_BRACKETS = re.compile(r"\[(\s*(?:qword|dword|word)\s+ptr\s[^\[\]]*\[[^\[\]]*\]\s*)\]", re.IGNORECASE)
_INTEL_FLAT = re.compile(r"(\boffset\s+)(flat\s*:)", re.IGNORECASE)


class _Llvm:
    """One attempt with LLVM: each statement goes on a line of its own, as it was written."""

    def __init__(self, unit: Unit, shared: frozenset[str]) -> None:
        self.unit = unit
        self.shared = shared
        self.lines: list[str] = []
        self.origins: list[int | None] = []
        """For each line, where in the source its first character was."""
        self.longer: set[int] = set()
        """Lines whose mnemonic has got one letter more."""
        self.items: list[Statement] = []
        """Instructions, labels, and data in executable sections: what has an entry in the table."""
        tag = 0
        while f"llmc{tag}" in unit.source:
            tag += 1
        self.tag = f"llmc{tag}"
        self.renamed = self.undefined_locals()
        """Local labels that the text refers to but leaves to others, under names that LLVM leaves to others too."""

    def text(self) -> str:
        """The text for LLVM, with a table of the items' offsets in a section of its own."""
        current = -1
        self.emit(".intel_syntax noprefix" if self.unit.syntax == "intel" else ".att_syntax prefix")
        for section in self.unit.order():
            self.enter(section)
            self.emit(f".L{self.tag}s{section}:")
        syntax = self.unit.syntax
        for statement in self.unit.statements:
            section = statement.section
            if section != current:
                self.enter(section)
                current = section
            if statement.syntax != syntax:
                syntax = statement.syntax
                self.emit(".intel_syntax noprefix" if syntax == "intel" else ".att_syntax prefix")
            self.statement(statement)
        self.emit(f'.section .{self.tag}.table,"",@progbits')
        for number, statement in enumerate(self.items):
            self.emit(f".long .L{self.tag}i{number}-.L{self.tag}s{statement.section}")
        return "\n".join(self.lines) + "\n"

    def undefined_locals(self) -> dict[str, str]:
        """New name, of the same length -> the one in the text."""
        renamed = {}
        assigned = {statement.name for statement in self.unit.statements if statement.kind == "set"}
        used = {name for statement in self.unit.statements for name in _LOCAL.findall(statement.operands)}
        for name in sorted(used - self.unit.labels.keys() - assigned):
            first = next(letter for letter in ascii_letters if letter + name[1:] not in self.unit.source)
            renamed[first + name[1:]] = name
        return renamed

    def enter(self, section: int) -> None:
        _, writable, executable, nobits = self.unit.sections[section]
        flags = "a" + "w" * writable + "x" * executable
        self.emit(f'.section .{self.tag}.{section},"{flags}",@{"nobits" if nobits else "progbits"}')

    def emit(self, line: str, origin: int | None = None) -> None:
        if origin is not None:
            for new, old in self.renamed.items():
                if old in line:
                    line = re.sub(rf"{_START}{re.escape(old)}(?![\w.$?])", new, line)
        self.lines.append(line)
        self.origins.append(origin)

    def statement(self, statement: Statement) -> None:
        kind, name = statement.kind, statement.name
        hidden = name in self.shared
        executable = self.unit.sections[statement.section].executable
        if kind in ("instruction", "label") or (kind in ("data", "space") and executable):
            self.emit(f".L{self.tag}i{len(self.items)}:")
            self.items.append(statement)
        if kind == "weak" and not hidden:
            self.emit(f".weak {name}", statement.offset)
        elif kind == "instruction" and statement.syntax == "intel":
            self.emit(self.from_gnu(statement), statement.offset)
        elif kind not in ("weak", "label", "set") or not hidden:
            self.emit(statement.text, statement.offset)

    def from_gnu(self, statement: Statement) -> str:
        """An Intel instruction as LLVM spells it, where that differs from what GNU as takes and gcc writes."""
        text = _INTEL_FLAT.sub(lambda match: match[1] + " " * len(match[2]), statement.text)
        text = _INTEL_BRACKETS.sub(r" \1 ", text)
        if _is_movsxd(statement):
            self.longer.add(len(self.lines))
            return re.sub("movsx", "movsxd", text, count=1, flags=re.IGNORECASE)
        return text

    def error(self, message: str) -> AssemblyError:
        """LLVM's first message, with the place in the original text."""
        match = _MESSAGE.search(message)
        if match is None and "Undefined temporary symbol" in message:
            for place, name in self.undefined_numbers():
                return AssemblyError(f"numeric label {name} is not defined", *self.unit.position(place))
        if match is None:
            last = (message.strip().splitlines() or ["LLVM gives no reason"])[-1]
            last = re.sub(r"^(?:error: )?(?:<unknown>:0: )?", "", last)
            return AssemblyError(re.sub(rf"\.{self.tag}\.(\d+)", self.section_name, last), 0, 0)
        number, text = int(match[1]) - 1, match[3]
        for new, old in self.renamed.items():
            text = text.replace(f"'{new}'", f"'{old}'")
        origin = self.origins[number] if number < len(self.origins) else None
        if origin is None:
            return AssemblyError(text, 0, 0)
        before = self.lines[number].encode()[: int(match[2]) - 1].decode("utf-8", "ignore")
        column = len(before) - (number in self.longer and " " in before.replace("\t", " "))
        return AssemblyError(text, *self.unit.position(origin + column))

    def section_name(self, match: re.Match[str]) -> str:
        return self.unit.sections[int(match[1])].name

    def undefined_numbers(self) -> Iterator[tuple[int, str]]:
        """Where `1f` or `1b` is used without a label 1 on that side."""
        seen: set[str] = set()
        labels = [s.name if s.kind == "label" and s.name.isdigit() else "" for s in self.unit.statements]
        for number, statement in enumerate(self.unit.statements):
            seen.add(labels[number])
            for match in _NUMERIC_USE.finditer(statement.text):
                if match[1] not in (labels[number:] if match[2] == "f" else seen):
                    yield statement.offset + match.start(), match[0]

    def assembled(self, image: Image, fallback: str | None) -> Assembled:
        """Read the table back."""
        start = f".{self.tag}."
        addresses = {int(name[len(start) :]): address for name, address in image.sections if name.startswith(start)}
        table = image.unloaded.get(f"{start}table", b"")
        symbols = {
            s.name: image.symbols[s.name] for s in self.unit.statements if s.kind == "set" and s.name in image.symbols
        }
        lines, mnemonics = {}, {}
        for number, statement in enumerate(self.items):
            offset = int.from_bytes(table[4 * number : 4 * number + 4], "little")
            address = addresses[statement.section] + offset
            if statement.kind != "label":
                lines[address] = self.unit.line(statement)
                mnemonics[address] = statement.name
            elif not statement.name.isdigit():
                symbols[statement.name] = address
        segments = tuple(
            replace(segment, name=self.unit.sections[int(segment.name[len(start) :])].name)
            if segment.name.startswith(start)
            else segment
            for segment in image.segments
        )
        externals = frozenset(self.renamed.get(name, name) for name in image.externals)
        return Assembled("llvm", segments, symbols, lines, mnemonics, externals, fallback)


def _llvm(
    unit: Unit,
    function: str,
    base: int,
    symbols: Mapping[str, int],
    shared: frozenset[str],
    limits: Limits,
    fallback: str | None,
) -> Assembled:
    attempt = _Llvm(unit, shared)
    text = attempt.text()
    machine = _target_machine()
    try:
        elf = _patiently(
            lambda: sandbox.call(_run_llvm, machine, text, seconds=limits.llvm_seconds, megabytes=limits.megabytes)
        )
    except sandbox.TimedOut as error:
        raise AssemblyError(f"LLVM's assembler: {error}", 0, 0) from None
    except sandbox.Died as death:
        if death.status:
            raise attempt.error(death.stderr) from None
        raise AssemblyError(f"LLVM's assembler: {death}", 0, 0) from None
    renamed = attempt.renamed
    supplied = {new: symbols[old] for new, old in renamed.items() if old in symbols}
    try:
        image = load_object(elf, function, base, ChainMap(supplied, cast("dict[str, int]", symbols)))
    except LinkError as error:
        if not error.missing:
            raise
        missing = tuple(sorted(renamed.get(name, name) for name in error.missing))
        raise LinkError(_missing(unit, missing), missing) from None
    return attempt.assembled(image, fallback)


def _patiently(attempt: Callable[[], bytes]) -> bytes:
    """Once more, if the process was killed: it may have been somebody else."""
    try:
        return attempt()
    except sandbox.Died as death:
        if death.signal is None:
            raise
        return attempt()


def _missing(unit: Unit, names: tuple[str, ...]) -> str:
    """The message for undefined symbols, with the line on which each is first used."""
    uses = []
    for name in names:
        pattern = re.compile(rf"{_START}{re.escape(name)}(?![\w.$?])")
        line = next((unit.line(s) for s in unit.statements if pattern.search(s.operands)), None)
        uses.append(f"'{name}'" if line is None else f"'{name}' (line {line})")
    return f"undefined symbol{'s' if len(uses) > 1 else ''}: {', '.join(uses)}"


@lru_cache(maxsize=1)
def _target_machine() -> Any:
    llvm = import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    target = llvm.Target.from_triple(_TRIPLE)
    return target.create_target_machine(cpu="x86-64", reloc="static", codemodel="small")


_TRIPLE = "x86_64-unknown-linux-gnu"


def _run_llvm(machine: Any, text: str) -> bytes:
    """The ELF object. Runs in the sandbox: on bad text LLVM prints a message and ends the process."""
    llvm = import_module("llvmlite.binding")
    _open_no_files()
    escaped = re.sub(rb"[^ -!#-\[\]-~]", lambda match: b"\\%02X" % match[0][0], text.encode()).decode()
    module = llvm.parse_assembly(f'target triple = "{_TRIPLE}"\nmodule asm "{escaped}"\n')
    return bytes(machine.emit_object(module))
