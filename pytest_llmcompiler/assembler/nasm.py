"""NASM's and YASM's language, translated line by line to GNU assembly in Intel syntax.

Two passes: the first finds the labels, with their sections and what is known of their distances, and computes what must
be known at once, such as the count of `times`; the second writes each line. A line of the translation holds what the
same line of the source says, and a `PositionMap` leads from it back to the source.

A local label `.loop` belongs to the last label without a dot, `f`. Its name is `f.loop`; here it becomes `.Lf.loop`,
which no other text can mean. Only variables keep their names: clang's name for a static local of `f` is `f.total` too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_llmcompiler.assembler.nasm_directives import (
    DATA_WIDTHS,
    SPACE_WIDTHS,
    DataFormatter,
    format_section,
)
from pytest_llmcompiler.assembler.nasm_expressions import ExpressionParser, Scope, SymbolSum
from pytest_llmcompiler.assembler.nasm_layout import DistanceTracker, simplify
from pytest_llmcompiler.assembler.nasm_lexer import Token, build_error, split_lines
from pytest_llmcompiler.assembler.nasm_macros import MacroTable
from pytest_llmcompiler.assembler.nasm_operands import OperandParser, format_sum, is_register, split_elements
from pytest_llmcompiler.assembler.nasm_statements import (
    DIRECTIVES,
    SECTION_WORDS,
    Equate,
    SourceStatement,
    SymbolTable,
    is_local,
    split_label,
)
from pytest_llmcompiler.assembler.operands import is_reserved
from pytest_llmcompiler.assembler.position_map import PositionMap
from pytest_llmcompiler.assembler.tokens import SYMBOL

_LONGEST_TRANSLATION = 1 << 20
"""Characters, as many as a text may have. `times` makes a short text long."""
_MOST_BYTES = 1 << 20
"""The most bytes that one directive may define: as many as all of a text may reserve."""
_REFUSAL_REASONS = {
    "org": "it moves the location counter", "absolute": "it moves the location counter",
    "incbin": "it reads a file", "istruc": "give the data with db, dw, dd and dq",
    "iend": "give the data with db, dw, dd and dq", "at": "give the data with db, dw, dd and dq",
    "use16": "code here is 64-bit", "use32": "code here is 64-bit",
}  # fmt: skip
_WRITABLE_SECTIONS = (".data", ".bss", ".ldata", ".lbss")
_HERE, _START = ".Lnasm.here", ".Lnasm.start"
"""Starts of the labels for `$` and `$$`. A local label of the text has a dot behind `.L` or behind its full label."""
_SUM = ".Lnasm.sum"
_MOST_EQUATIONS, _DEEPEST_EQUATES = 1 << 15, 40
"""Limits of values of `equ` that are computed from each other: hostile text must take neither time nor stack."""
_SPELLED_SYMBOL = re.compile(SYMBOL)


def translate(source: str) -> PositionMap:
    """A NASM text in GNU's Intel syntax. Raises AssemblyError with the position in the source."""
    return _Translator(source).translate()


class _Translator:
    """Translates one text."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._symbols = SymbolTable()
        self._layout = DistanceTracker()
        self._line = SourceStatement(0, 0)
        """The line that is being read or written."""
        self._parent = ""
        self._structure: tuple[str, int] | None = None
        """Name and size so far of the `struc` that is open."""
        scope = Scope(source, self._resolve, lambda value: simplify(value, self._symbols.locations))
        self._scope = scope
        self._data = DataFormatter(scope, self._spell)
        self._operands = OperandParser(scope, self._spell, self._name_sum)
        self._macros = MacroTable(source, lambda tokens: self._data.parse_number(tokens, "the value"))
        self._output = PositionMap(source)
        self._equations = self._open_equates = 0
        """Values of `equ` that were computed, and those that are being computed."""
        self._started: set[str] = set()
        """Sections that the translation has entered."""

    def translate(self) -> PositionMap:
        self._enter_section(".text")
        lines = list(self._read_lines())
        self._write(".intel_syntax noprefix; ", 0)
        self._write_section_start()
        for line in lines:
            self._line, self._layout.section = line, line.section
            pieces = [] if not line.operation and not line.label else list(self._format_line(line))
            self._write_line(line, pieces)
        return self._output

    # -- the first pass

    def _read_lines(self) -> Iterator[SourceStatement]:
        for number, (tokens, newlines, end) in enumerate(split_lines(self._source)):
            line = self._line = SourceStatement(tokens[0].offset if tokens else end, newlines, here=f"{_HERE}{number}")
            line.parent, line.section = self._parent, self._layout.section
            if self._macros.is_directive(tokens):
                self._macros.apply(tokens)
            elif tokens:
                self._read_statement(line, self._macros.expand(tokens))
            yield line
        if self._structure:
            raise build_error(self._source, "struc without endstruc", len(self._source))

    def _read_statement(self, line: SourceStatement, tokens: Sequence[Token]) -> None:
        if tokens and tokens[0].is_operator("["):
            if not tokens[-1].is_operator("]"):
                raise build_error(self._source, "expected ']' at the end of the directive", tokens[-1].offset)
            tokens = tokens[1:-1]
        label, rest = split_label(tokens)
        if label:
            line.label, line.label_offset = self._complete_name(label), label.offset
            line.is_local = is_local(label.text)
        self._symbols.locations[line.here] = self._layout.here
        is_equate = bool(rest) and rest[0].name == "equ"
        if not is_equate:
            self._read_label(line)
        if rest and rest[0].name == "times":
            line.count, rest = self._read_count(rest)
        line.tokens, line.operation = rest, rest[0].name if rest else ""
        if rest and not line.operation:
            raise build_error(self._source, f"expected an instruction, not {rest[0].text!r}", rest[0].offset)
        if is_equate:
            self._read_equate(line)
        else:
            self._measure(line)
            line.section = self._layout.section

    def _read_count(self, tokens: Sequence[Token]) -> tuple[int, Sequence[Token]]:
        """The number behind `times`, and the tokens behind the number."""
        parser = ExpressionParser(tokens, 1, self._scope)
        value = self._scope.simplify(parser.parse())
        if not value.is_number or not 0 <= value.number <= _MOST_BYTES:
            message = f"the count of times must be a plain number, known here, of at most {_MOST_BYTES}"
            raise build_error(self._source, message, tokens[0].offset)
        return value.number, tokens[parser.position :]

    def _read_equate(self, line: SourceStatement) -> None:
        if not line.label:
            raise build_error(self._source, "equ needs a label", line.offset)
        if line.label in self._symbols.equates or line.label in self._symbols.locations:
            raise build_error(self._source, f"symbol '{line.label}' is already defined", line.label_offset)
        self._symbols.equates[line.label] = Equate(line)

    def _read_label(self, line: SourceStatement) -> None:
        name = line.label
        if not name:
            return
        if self._structure:
            self._symbols.equates[name] = Equate(line, SymbolSum(self._structure[1]))
            line.label = ""
            return
        if name in self._symbols.equates:
            raise build_error(self._source, f"symbol '{name}' is already defined", line.label_offset)
        self._symbols.locations[name] = self._layout.here
        if not line.is_local:
            self._parent = line.parent = name
        elif not self._layout.section.startswith(_WRITABLE_SECTIONS):
            self._symbols.local.add(name)

    def _measure(self, line: SourceStatement) -> None:
        """Follow what a line does to the location counter."""
        operation, rest = line.operation, line.tokens[1:]
        size = None
        if operation in DATA_WIDTHS:
            size = self._data.measure(rest, DATA_WIDTHS[operation])
        elif operation in SPACE_WIDTHS:
            size = SPACE_WIDTHS[operation] * max(self._data.parse_number(rest, f"the count of {operation}"), 0)
        if size is not None:
            size *= 1 if line.count is None else line.count
            if size > _MOST_BYTES:
                raise build_error(
                    self._source, f"{operation} asks for {size} bytes, {_MOST_BYTES} at most", line.offset
                )
            if self._structure:
                self._structure = self._structure[0], self._structure[1] + size
            else:
                self._layout.advance(size)
        elif operation in SECTION_WORDS:
            self._enter_section(format_section(rest, self._source))
        elif operation in ("struc", "endstruc"):
            self._read_structure(operation, rest, line)
        elif operation and operation not in DIRECTIVES - {"align", "alignb"}:
            self._layout.end_fragment()

    def _enter_section(self, directive: str) -> None:
        name = directive.removeprefix(".section ").split(",")[0]
        if self._layout.enter(name):
            self._symbols.locations[f"{_START}{name}"] = self._layout.here

    def _read_structure(self, operation: str, rest: Sequence[Token], line: SourceStatement) -> None:
        if (operation == "struc") == (self._structure is not None) or (operation == "struc" and not rest):
            raise build_error(self._source, f"{operation} is not expected here", line.offset)
        if self._structure is None:
            name = rest[0].text
            self._structure = name, 0
            self._symbols.equates[name] = Equate(line, SymbolSum())
            self._parent = name
        else:
            name, size = self._structure
            self._symbols.equates[f"{name}_size"] = Equate(line, SymbolSum(size))
            self._structure = None

    # -- symbols

    def _complete_name(self, token: Token) -> str:
        """The full name of a symbol: local ones have the label in front that they belong to."""
        has_parent = is_local(token.text) and not token.text.startswith("..")
        return f"{self._line.parent}{token.text}" if has_parent else token.text

    def _resolve(self, token: Token) -> SymbolSum:
        if token.text in ("$", "$$") and token.kind == "operator":
            if token.text == "$$":
                return SymbolSum(symbols=((f"{_START}{self._line.section}", 1),))
            self._symbols.used.add(self._line.here)
            return SymbolSum(symbols=((self._line.here, 1),))
        name = self._complete_name(token)
        equate = self._symbols.equates.get(name)
        return self._evaluate(equate, token) if equate else SymbolSum(symbols=((name, 1),))

    def _evaluate(self, equate: Equate, token: Token) -> SymbolSum:
        """The value of an `equ`, with `$` and local labels as on its line."""
        if equate.value is None:
            if equate.is_open:
                raise build_error(self._source, f"'{token.text}' depends on itself", token.offset)
            self._equations += 1
            self._open_equates += 1
            if self._equations > _MOST_EQUATIONS or self._open_equates > _DEEPEST_EQUATES:
                raise build_error(self._source, "symbols of equ depend on too many others", token.offset)
            equate.is_open, line, self._line = True, self._line, equate.line
            parser = ExpressionParser(equate.line.tokens, 1, self._scope)
            value = self._scope.simplify(parser.parse())
            parser.expect_end()
            equate.is_open, self._line = False, line
            self._open_equates -= 1
            if value.symbols and any(name not in self._symbols.locations for name, _ in value.symbols):
                return value  # a label that comes later: its place is not known yet
            equate.value = value
        return equate.value

    def _spell(self, name: str) -> str:
        """A symbol in GNU's spelling."""
        if name.startswith(_HERE):
            # In quotes, so that LLVM assembles it: the meaning of `jmp $+2` depends on the shortest encoding.
            return f'"{name}"'
        if name.startswith((_START, _SUM)):
            return name
        if name in self._symbols.local or name.startswith(".."):
            return ".L" + re.sub(r"[^\w.$]", lambda match: f"_{ord(match[0]):x}", name)
        if _SPELLED_SYMBOL.fullmatch(name) and not is_reserved(name, "intel") and not is_register(name.lower()):
            return name
        return f'"{name}"'

    def _name_sum(self, value: SymbolSum, offset: int) -> str:
        name = f"{_SUM}{self._symbols.sums}"
        self._symbols.sums += 1
        self._symbols.definitions.append((f".set {name}, {format_sum(value, self._spell)}", offset))
        return name

    # -- the second pass

    def _format_line(self, line: SourceStatement) -> Iterator[tuple[str, int]]:
        """The statements of a line, each with its offset in the source. A statement is followed by a semicolon."""
        operation, rest = line.operation, line.tokens[1:]
        offset = line.tokens[0].offset if line.tokens else line.offset
        if operation in _REFUSAL_REASONS:
            message = f"{operation} is not supported: {_REFUSAL_REASONS[operation]}"
            raise build_error(self._source, message, offset)
        if operation == "equ":
            self._resolve(Token("escaped", line.label, offset))
        elif operation in DATA_WIDTHS:
            count = 1 if line.count is None else line.count
            for text, origin in self._data.repeat(rest, DATA_WIDTHS[operation], count):
                yield f"{text}; ", origin
        elif operation in SPACE_WIDTHS:
            size = SPACE_WIDTHS[operation] * self._data.parse_number(rest, "the count")
            yield f".zero {size * (1 if line.count is None else line.count)}; ", offset
        elif operation in DIRECTIVES:
            yield from self._format_directive(operation, rest, offset)
        elif operation:
            pieces = self._operands.format_instruction(line.tokens, 0)
            for _ in range(1 if line.count is None else line.count):
                yield from pieces
                yield "; ", pieces[-1][1]

    def _format_directive(self, operation: str, rest: Sequence[Token], offset: int) -> Iterator[tuple[str, int]]:
        if operation in SECTION_WORDS:
            yield f"{format_section(rest, self._source)}; ", offset
        elif operation == "global":
            for element in split_elements(rest):
                if element:
                    yield f".globl {self._spell(self._complete_name(element[0]))}; ", element[0].offset
        elif operation == "common":
            yield self._format_common(rest, offset), offset
        elif operation in ("align", "alignb"):
            yield self._format_alignment(operation, rest), offset
        elif operation == "default":
            self._operands.is_relative = any(token.name == "rel" for token in rest)
        elif operation == "bits" and (not rest or rest[0].text != "64"):
            raise build_error(self._source, "code here is 64-bit: expected bits 64", offset)

    def _format_common(self, rest: Sequence[Token], offset: int) -> str:
        """`common NAME SIZE:ALIGNMENT`, where the alignment may be missing."""
        parts = [rest[:1], rest[1:], ()]
        colon = next((number for number, token in enumerate(rest) if token.is_operator(":")), None)
        if colon:
            parts = [rest[:1], rest[1:colon], rest[colon + 1 :]]
        if not parts[0] or not parts[1]:
            raise build_error(self._source, "common takes a name and a size", offset)
        size = self._data.parse_number(parts[1], "the size")
        alignment = self._data.parse_number(parts[2], "the alignment") if parts[2] else 1
        name = self._spell(rest[0].text)
        return f".globl {name}; .lcomm {name}, {size}, {alignment}; "

    def _format_alignment(self, operation: str, rest: Sequence[Token]) -> str:
        """`align NUMBER` fills with single NOPs, even in data; what stands behind a comma replaces them."""
        elements = split_elements(rest)
        number = self._data.parse_number(elements[0] if elements else (), "the alignment")
        is_space = self._layout.section.startswith((".bss", ".lbss")) or operation == "alignb"
        if len(elements) > 1:
            fill = elements[1]
            is_space = fill[0].name.startswith("res") if fill else False
            value = self._data.parse_number(fill[1:], "the fill value") if fill and fill[0].name == "db" else 0x90
            return f".balign {number}; " if is_space else f".balign {number}, {value & 255}; "
        return f".balign {number}; " if is_space else f".balign {number}, 0x90; "

    def _write_line(self, line: SourceStatement, pieces: Sequence[tuple[str, int]]) -> None:
        for text, origin in self._symbols.definitions:
            self._write(f"{text}; ", origin)
        self._symbols.definitions.clear()
        if line.label and line.operation != "equ":
            self._write(f"{self._spell(line.label)}: ", line.label_offset)
        if line.here in self._symbols.used:
            self._write(f"{self._spell(line.here)}: ", line.offset)
        for text, origin in pieces:
            self._write(text, origin)
        if line.operation in SECTION_WORDS:
            self._write_section_start()
        self._write("\n" * line.newlines, line.offset)

    def _write_section_start(self) -> None:
        """The label that `$$` means, where the text enters the section first."""
        section = self._layout.section
        if "$$" in self._source and section not in self._started:
            self._started.add(section)
            self._write(f"{_START}{section}: ", self._line.offset)

    def _write(self, text: str, origin: int) -> None:
        self._output.add(text, origin)
        if self._output.length > _LONGEST_TRANSLATION:
            message = f"the text becomes longer than {_LONGEST_TRANSLATION >> 10} KiB"
            raise build_error(self._source, message, origin)
