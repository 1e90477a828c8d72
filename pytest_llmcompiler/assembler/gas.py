"""The parser of GNU assembly text of unknown origin.

The syntax is that of the GNU assembler (https://sourceware.org/binutils/docs/as/), as far as compilers emit it. The
parts that depend on the processor come from a `Dialect`.

The text is hostile: an assembler that gets it must not read files of the host, loop or allocate without bound.
Therefore directives are on a list of harmless ones, and every other directive is an error; what directives reserve is
limited in total; and names of files never reach an assembler.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pytest_llmcompiler.assembler import masm
from pytest_llmcompiler.assembler.gas_lexer import split_statements
from pytest_llmcompiler.assembler.gas_lines import (
    FILE_DIRECTIVE,
    SYMBOL_FACTS,
    GasPiece,
    get_line_reader,
    split_instruction,
)
from pytest_llmcompiler.assembler.gas_sections import SECTION_DIRECTIVES, SectionTracker
from pytest_llmcompiler.assembler.position_map import PositionMap
from pytest_llmcompiler.assembler.quoted_names import remove_quotes
from pytest_llmcompiler.assembler.statements import ParsedAssembly, Statement, StatementKind
from pytest_llmcompiler.assembler.tokens import SYMBOL, parse_integer, split_operands
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.targets.dialect import Dialect

TEXT_BYTES = 8 << 20
"""Longer texts are refused. A model's answer is a few KiB, a whole file with large tables up to 6 MiB; the limit bounds
the time of the parser."""
CODE_BYTES = 1 << 20
"""The most characters of instructions. They take far longer than data: LLVM assembles a megabyte of them in 9 s."""
SPACE_BYTES = 8 << 20
"""The most bytes that `.zero`, `.fill`, `.comm`, alignments and the like may reserve, summed over the text. Programs
have buffers of a megabyte and more, and each run resets them."""
LARGEST_ALIGNMENT = 4096
"""In bytes: a page, since sections start on pages and nothing in them can be aligned further."""

_REFUSAL_REASONS = {
    ".incbin": "it reads a file",
    ".include": "it reads a file",
    ".macro": "macros are not supported",
    ".altmacro": "macros are not supported",
    ".rept": "repetition is not supported",
    ".irp": "repetition is not supported",
    ".irpc": "repetition is not supported",
    ".org": "it moves the location counter",
}
_PREFIX_BYTES = re.compile(
    r"\.byte[ \t]+0x66(?=[ \t]*\n[ \t]*leaq?[ \t])"
    r"|\.(?:value|word|short|2byte)[ \t]+0x6666(?=[ \t]*\n[ \t]*(?:rex64|call))"
)
"""Prefixes that gcc writes as data around `leaq x@tlsgd(%rip), %rdi`, so that linkers find room for other code there.
They have no effect."""
_FEATURES = "@feat.00"
"""The symbol of an object for Windows whose value tells Microsoft's linker which checks the object supports."""
_LARGEST_EXPONENT = 32
"""Of alignments that are given as powers of two: larger ones are refused before the power is computed."""


def parse_assembly(source: str, dialect: Dialect) -> ParsedAssembly:
    """Parse a text. Raises AssemblyError for text that no assembler should get, and UnsupportedError."""
    check_length(source)
    converted = masm.convert_to_gnu(source) if dialect.accepts_masm else source
    if dialect.accepts_masm:  # on COFF's own word for it, LLVM aborts where it writes ELF
        converted = converted.replace("@SECREL32", "@TPOFF   ")
    if "__tls_get_addr" in converted and dialect.prefixes:
        converted = _PREFIX_BYTES.sub(lambda data: "data16".ljust(len(data[0])), converted)
    return _GasParser(remove_quotes(converted), dialect).parse()


def parse_translation(translation: PositionMap, dialect: Dialect) -> ParsedAssembly:
    """Parse the translation of a text in another language: positions are those in that text."""
    return _GasParser(translation.text, dialect, translation).parse()


def check_length(source: str) -> None:
    """Raise AssemblyError for a text that is too long."""
    if len(source) > TEXT_BYTES or len(source.encode("utf-8", "surrogatepass")) > TEXT_BYTES:
        raise AssemblyError(f"the text is longer than {TEXT_BYTES >> 10} KiB", 0, 0)


class _GasParser:
    """Parses one text."""

    def __init__(self, source: str, dialect: Dialect, positions: PositionMap | None = None) -> None:
        self._dialect = dialect
        self._syntax = dialect.detect_syntax("")
        self._parsed = ParsedAssembly(source, dialect, self._syntax, positions=positions)
        self._sections = SectionTracker(self._parsed)
        self._code = source
        """The source with comments blanked out."""
        self._reserved = 0
        """Bytes that directives have reserved so far."""
        self._lone_prefix: int | None = None
        """The offset of the last statement, if it was an instruction prefix alone."""

    def parse(self) -> ParsedAssembly:
        source, reader = self._parsed.source, get_line_reader(self._dialect)
        lines = reader.read(source) if len(source) <= CODE_BYTES else None
        if lines is None:
            spans, self._code = split_statements(self._parsed)
            self._check_code_length(spans)
            self._parsed.syntax = self._syntax = self._dialect.detect_syntax(self._code)
            pieces = (piece for start, end in spans for piece in reader.read_statement(self._code, start, end))
            self._add_lines([(self._code, pieces, "")])
            return self._parsed
        self._code = "\n".join([line.code for line in lines])
        self._parsed.syntax = self._syntax = self._dialect.detect_syntax(self._code)
        self._add_lines(lines)
        return self._parsed

    def _add_lines(self, lines: Iterable[tuple[str, Iterable[GasPiece], str]]) -> None:
        """Add the lines of a text, each with its pieces. Instructions, of which most lines are, are added here."""
        add, new = self._parsed.statements.append, tuple.__new__
        offset, section, syntax, is_current = 0, None, self._syntax, False
        for code, pieces, _ in lines:
            for piece in pieces:
                kind, start, text, name, operands, prefixes = piece
                if kind == "ignored":  # of the lines of compilers, nearly as many
                    self._lone_prefix = None
                    continue
                if kind != "instruction" or self._lone_prefix is not None:
                    self._add_piece(piece, offset)
                    is_current = False
                    continue
                if not is_current:
                    section, syntax, is_current = self._sections.index(), self._syntax, True
                if section is not None:
                    fields = kind, text, offset + start, section, syntax, name, operands, (), prefixes
                    add(new(Statement, fields))  # as Statement(*fields), in half the time
            offset += len(code) + 1

    def _check_code_length(self, spans: Sequence[tuple[int, int]]) -> None:
        """Raise AssemblyError for a text with too much code."""
        if len(self._code) <= CODE_BYTES:
            return
        if sum(end - start for start, end in spans if self._code[start:end].lstrip()[:1] != ".") > CODE_BYTES:
            raise AssemblyError(f"the instructions of the text are longer than {CODE_BYTES >> 10} KiB", 0, 0)

    def _add_piece(self, piece: GasPiece, line_offset: int) -> None:
        """Add a piece of a line or statement, which counts from an offset in the text."""
        kind, start, text, name, operands, _ = piece
        offset = line_offset + start
        if kind == "label":
            self._add_label(name, text, offset)
        elif kind in ("instruction", "unclear"):
            self._parse_instruction(text, offset)
        else:
            self._lone_prefix = None
            if kind == "directive":
                self._parse_directive(text, offset, name, operands)
            elif kind == "data":
                self._add("data", text, offset, name, operands)
            elif kind == "set":
                self._add_assignment(text, offset, name, operands)

    def _add_assignment(self, text: str, offset: int, name: str, operands: str) -> None:
        if name == ".":
            message = "an assignment to `.` is not supported: it moves the location counter"
            raise self._parsed.build_error(message, offset)
        self._add("set", text, offset, name, operands)

    def _add(
        self,
        kind: StatementKind,
        text: str,
        offset: int,
        name: str,
        operands: str = "",
        *,
        numbers: tuple[int, ...] = (),
        prefixes: tuple[str, ...] = (),
    ) -> None:
        """Add a statement to the current section, if that is loaded."""
        section = self._sections.index()
        if section is not None:
            if kind in ("set", "weak"):
                self._parsed.assignments.append(len(self._parsed.statements))
            self._parsed.statements.append(
                Statement(kind, text, offset, section, self._syntax, name, operands, numbers, prefixes)
            )

    def _add_label(self, name: str, text: str, offset: int) -> None:
        self._lone_prefix = None
        if not self._sections.is_loaded:
            return
        if self._sections.is_thread_local:
            self._parsed.thread_local[name] = self._sections.name
        if text[0].isdigit():
            self._parsed.numeric_labels.setdefault(name, []).append(len(self._parsed.statements))
        else:
            if name in self._parsed.labels:
                raise self._parsed.build_error(f"symbol '{name}' is already defined", offset)
            self._parsed.labels[name] = len(self._parsed.statements)
        self._add("label", text, offset, name)

    # -- instructions

    def _parse_instruction(self, text: str, offset: int) -> None:
        if self._lone_prefix is not None:
            # `rep` on a line of its own, or `lock; incl (%rdi)`: one instruction with the statement behind it.
            text = re.sub("[;\\r\\n]", " ", self._code[self._lone_prefix : offset]) + text
            offset, self._lone_prefix = self._lone_prefix, None
            self._parsed.statements.pop()
        name, operands, prefixes, rest = split_instruction(text, self._dialect)
        if rest:
            message = f"expected an instruction, not {rest[:20]!r}"
            raise self._parsed.build_error(message, offset + len(text) - len(rest))
        file_directive = FILE_DIRECTIVE.search(text)
        if file_directive:
            message = f"{file_directive[0]} is not supported: it reads a file"
            raise self._parsed.build_error(message, offset + file_directive.start())
        if name in self._dialect.prefixes and not operands and self._sections.is_loaded:
            self._lone_prefix = offset
        self._add("instruction", text, offset, name, operands, prefixes=prefixes)

    # -- directives

    def _parse_directive(self, text: str, offset: int, name: str, operands: str) -> None:
        if not name:
            raise self._parsed.build_error(f"expected a directive, not {text[:20]!r}", offset)
        if name in SYMBOL_FACTS:
            self._read_symbol_facts(name, split_operands(operands))
        elif name in self._dialect.unloaded_directives and not self._sections.is_loaded:
            pass
        elif name in (".p2align", ".balign", ".align"):
            self._parse_alignment(name, text, offset, operands)
        elif name in (".zero", ".skip", ".space", ".fill"):
            self._parse_fill(name, text, offset, operands)
        elif name in (".set", ".equ"):
            self._parse_assignment(text, offset, operands)
        elif name == ".weak":
            self._read_symbol_facts(name, split_operands(operands))
            for symbol in split_operands(operands):
                self._add("weak", text, offset, symbol)
        elif name in (".comm", ".lcomm"):
            self._parse_common(name, offset, operands)
        elif name in (".att_syntax", ".intel_syntax") and self._dialect.syntax_directives:
            self._parse_syntax(name, offset, operands.lower())
        elif name in SECTION_DIRECTIVES:
            self._sections.apply(name, operands, offset)
        else:
            reason = _REFUSAL_REASONS.get(name, "it is not on the list of harmless directives")
            raise self._parsed.build_error(f"directive {name} is not supported: {reason}", offset)

    def _read_symbol_facts(self, directive: str, operands: list[str]) -> None:
        names = [operand.strip('"') for operand in operands]
        if directive == ".local":
            self._parsed.declared_local.update(names)
        elif directive != ".size":
            self._parsed.declared_global.update(names)
        elif len(operands) == 2:
            size = parse_integer(operands[1])
            if size is not None:
                self._parsed.sizes[names[0]] = size

    def _parse_syntax(self, name: str, offset: int, operands: str) -> None:
        if operands not in ("", "prefix" if name == ".att_syntax" else "noprefix"):
            raise self._parsed.build_error(f"{name} {operands} is not supported", offset)
        self._syntax = "att" if name == ".att_syntax" else "intel"

    def _parse_alignment(self, name: str, text: str, offset: int, operands: str) -> None:
        alignment, value, most_skipped = self._parse_numbers(name, offset, operands, (0, -1, -1))
        if name == ".p2align" or (name == ".align" and self._dialect.align_takes_exponent):
            if not 0 <= alignment <= _LARGEST_EXPONENT:
                raise self._parsed.build_error(f"invalid alignment 2**{alignment}", offset)
            alignment = 1 << alignment
        alignment = max(alignment, 1)
        if alignment & (alignment - 1):
            raise self._parsed.build_error(f"alignment {alignment} is not a power of 2", offset)
        if alignment > LARGEST_ALIGNMENT:
            message = f"alignment {alignment} is above {LARGEST_ALIGNMENT}, the largest that is supported"
            raise self._parsed.build_error(message, offset)
        self._reserve(alignment, name, offset)
        self._add("align", text, offset, name, operands, numbers=(alignment, value, most_skipped))

    def _parse_fill(self, name: str, text: str, offset: int, operands: str) -> None:
        if name == ".fill":
            count, size, value = self._parse_numbers(name, offset, operands, (0, 1, 0))
        else:
            (count, value), size = self._parse_numbers(name, offset, operands, (0, 0)), 1
        if count < 0 or not 0 <= size <= 8:
            raise self._parsed.build_error(f"{name} with a count of {count} and a size of {size}", offset)
        self._reserve(count * size, name, offset)
        self._add("space", text, offset, name, operands, numbers=(count, size, value))

    def _parse_assignment(self, text: str, offset: int, operands: str) -> None:
        name, comma, value = operands.partition(",")
        if comma and name.strip() == _FEATURES:
            return
        if not comma or not re.fullmatch(SYMBOL, name.strip()) or name.strip() == ".":
            raise self._parsed.build_error("expected a symbol and a value", offset)
        self._add("set", text, offset, name.strip(), value.strip())

    def _parse_common(self, name: str, offset: int, operands: str) -> None:
        """Turn `.comm` and `.lcomm` into an alignment, a label and zeros at the end of .bss."""
        symbol, _, rest = operands.partition(",")
        takes_exponent = self._dialect.comm_takes_exponent and name == ".comm"
        size, alignment = self._parse_numbers(name, offset, rest, (0, 0 if takes_exponent else 1))
        if takes_exponent:
            alignment = 1 << min(max(alignment, 0), _LARGEST_EXPONENT)
        if size < 0 or alignment <= 0 or alignment & (alignment - 1) or alignment > LARGEST_ALIGNMENT:
            message = f"{name} with a size of {size} and an alignment of {alignment}"
            raise self._parsed.build_error(message, offset)
        self._reserve(size + alignment, name, offset)
        symbol = symbol.strip()
        self._parsed.sizes[symbol.strip('"')] = size
        if name == ".comm":
            self._parsed.declared_global.add(symbol.strip('"'))
        section = self._sections.enter_bss()
        self._add("align", f".balign {alignment}", offset, ".balign", numbers=(alignment, -1, -1))
        self._add_label(symbol.strip('"'), f"{symbol}:", offset)
        self._add("space", f".zero {size}", offset, ".zero", numbers=(size, 1, 0))
        self._sections.go_back_to(section)

    def _parse_numbers(self, directive: str, offset: int, operands: str, defaults: tuple[int, ...]) -> tuple[int, ...]:
        """The integer operands of a directive. A missing one has its default; the first must not be missing."""
        parts = split_operands(operands)
        if not parts or not parts[0] or len(parts) > len(defaults):
            raise self._parsed.build_error(f"{directive} takes 1 to {len(defaults)} numbers", offset)
        values = list(defaults)
        for index, part in enumerate(parts):
            if part:
                value = parse_integer(part)
                if value is None:
                    message = f"{directive} is supported with plain numbers only, not {part!r}"
                    raise self._parsed.build_error(message, offset)
                values[index] = value
        return tuple(values)

    def _reserve(self, count: int, directive: str, offset: int) -> None:
        """Count reserved bytes. Raises AssemblyError above the limit for the whole text."""
        self._reserved += count
        if self._reserved > SPACE_BYTES:
            message = f"{directive} asks for too much: {self._reserved} bytes in all, {SPACE_BYTES} at most"
            raise self._parsed.build_error(message, offset)
