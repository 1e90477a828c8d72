"""Reading GNU assembly text of unknown origin: statements, sections, and nothing that acts on the host.

The syntax is that of the GNU assembler (https://sourceware.org/binutils/docs/as/), as far as compilers emit it; what of
it depends on the processor is a `Dialect`. Directives are a whitelist: what is not known to be harmless is an error.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pytest_llmcompiler.assembler import masm
from pytest_llmcompiler.assembler.tokens import SYMBOL, integer, split_operands
from pytest_llmcompiler.errors import AssemblyError, UnsupportedError
from pytest_llmcompiler.targets.dialect import Dialect, Syntax

Kind = Literal["label", "instruction", "data", "align", "space", "set", "weak"]

TEXT_BYTES = 1 << 20
"""Longer texts are refused."""
SPACE_BYTES = 1 << 20
"""What `.zero`, `.fill`, `.comm` and their like may ask for, all of them together."""
ALIGNMENT = 4096
"""The largest alignment: the page, on which sections start."""


class GasSection(NamedTuple):
    """A section that is loaded."""

    name: str
    is_writable: bool
    is_executable: bool
    nobits: bool
    """Holds zeros only (.bss)."""


class Statement(NamedTuple):
    """One statement that makes bytes or defines a name."""

    kind: Kind
    text: str
    """As written, comments blanked out, from the first to the last character that isn't space."""
    offset: int
    """Where `text` starts, in characters from the start of the source."""
    section: int
    """Index in `ParsedAssembly.sections`."""
    syntax: Syntax
    name: str
    """The label, the assigned symbol, or the mnemonic (prefixes stripped) or directive in lower case."""
    operands: str = ""
    """What follows the name."""
    numbers: tuple[int, ...] = ()
    """align: bytes, fill value or -1, most bytes to skip or -1. space: count, size of one, value."""
    prefixes: tuple[str, ...] = ()
    """Instruction prefixes in front of the mnemonic, lower case."""

    @property
    def is_numeric_label(self) -> bool:
        """Whether it is a label like `1:`, of which there may be many; `"1":` is a symbol."""
        return self.kind == "label" and self.text[0].isdigit()


@dataclass
class ParsedAssembly:
    """A text, read."""

    source: str
    dialect: Dialect
    syntax: Syntax
    """The syntax in force at the start of the text."""
    sections: list[GasSection] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    """Name -> index of the statement that defines it; numeric labels aren't here."""
    _starts: list[int] = field(default_factory=list)

    def position(self, offset: int) -> tuple[int, int]:
        """1-based line and column of an offset in characters."""
        if not self._starts:
            self._starts = [0, *(match.end() for match in re.finditer("\n", self.source))]
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def order(self) -> list[int]:
        """The sections in the order in which they are placed: code first."""
        return sorted(range(len(self.sections)), key=lambda section: not self.sections[section].is_executable)

    def line(self, statement: Statement) -> int:
        """1-based line on which the statement starts."""
        return self.position(statement.offset)[0]


_STRINGS = frozenset((".ascii", ".asciz", ".string"))
_OTHER_DATA = frozenset((".octa", ".float", ".single", ".double", ".sleb128", ".uleb128"))
_IGNORED = frozenset((
    ".file", ".ident", ".addrsig", ".addrsig_sym", ".size", ".type", ".version", ".loc", ".code64", ".extern",
    ".globl", ".global", ".hidden", ".protected", ".internal", ".local", ".build_version", ".subsections_via_symbols",
))  # fmt: skip
_DROPPED_SECTIONS = re.compile(
    r"\.(debug|zdebug|eh_frame|note|comment|gcc_except_table|llvm|gnu|stack_sizes|stapsdt|symtab|strtab|shstrtab)"
)
_REFUSALS = {
    ".incbin": "it reads a file",
    ".include": "it reads a file",
    ".macro": "macros are not supported",
    ".altmacro": "macros are not supported",
    ".rept": "repetition is not supported",
    ".irp": "repetition is not supported",
    ".irpc": "repetition is not supported",
    ".org": "it moves the location counter",
}
_FILES = re.compile(r"\.(incbin|include)\b", re.IGNORECASE)

_TOKEN = re.compile(
    r"""
      (?P<string>"(?:\\[^\n]|[^"\\\n])*")
    | (?P<character>'(?:\\[^\n]|[^'\\\n])')
    | (?P<block>/\*.*?\*/)
    | (?P<line>(?:\#|//)[^\n]*)
    | (?P<end>[;\n])
    | (?P<bad>["']|/\*)
    """,
    re.VERBOSE | re.DOTALL,
)
_SPECIAL = re.compile(r"[\"'/#;\n]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f\u0080-\u009f\ud800-\udfff]|\r(?!\n)")
_LABEL = re.compile(rf'(?:({SYMBOL})|(\d+)|"([^"\\]+)")\s*:(?!:)\s*')
_ASSIGNMENT = re.compile(rf'(?:({SYMBOL})|"([^"\\]+)")\s*(==?)(?!=)')
_HEAD = re.compile(rf"(\{{\w+\}}|{SYMBOL})(?=[\s\"'%$*({{\[-]|$)\s*")
_PLAIN = re.compile(r"(\s*)([A-Za-z]\w*)(?:[ \t]+([\w$%(\[.*-][^=:\"'{]*))?\s*")
"""An instruction that can't be anything else."""


def parse_assembly(source: str, dialect: Dialect) -> ParsedAssembly:
    """Read a text. Raises AssemblyError for what can't or must not be assembled."""
    if len(source) > TEXT_BYTES or len(source.encode("utf-8", "surrogatepass")) > TEXT_BYTES:
        raise AssemblyError(f"the text is longer than {TEXT_BYTES >> 10} KiB", 0, 0)
    return _GasReader(masm.to_gnu(source) if dialect.accepts_masm else source, dialect).read()


class _GasReader:
    def __init__(self, source: str, dialect: Dialect) -> None:
        self.dialect = dialect
        self.syntax = dialect.detect_syntax("")
        self.unit = ParsedAssembly(source, dialect, self.syntax)
        self.space = 0
        self.indices: dict[GasSection, int] = {}
        self.known: dict[str, GasSection | None] = {}
        self.previous: tuple[str, GasSection | None] = (".text", None)
        self.stack: list[tuple[tuple[str, GasSection | None], tuple[str, GasSection | None]]] = []
        self.code = source
        self.prefix: int | None = None
        """Where the last statement starts, if it was a prefix alone."""
        self.careful = _FILES.search(source) is not None
        self.current = (".text", self.section(".text", "", ""))
        self.previous = self.current

    def error(self, message: str, offset: int) -> AssemblyError:
        return AssemblyError(message, *self.unit.position(offset))

    def read(self) -> ParsedAssembly:
        source = self.unit.source
        bad = _CONTROL.search(source)
        if bad:
            raise self.error(f"control character {bad[0]!r} in the text", bad.start())
        spans, self.code = self.split(source)
        self.unit.syntax = self.syntax = self.dialect.detect_syntax(self.code)
        for start, end in spans:
            self.statement(self.code[start:end], start)
        return self.unit

    def split(self, source: str) -> tuple[list[tuple[int, int]], str]:
        """The spans of the statements, and the source with its comments blanked, same length."""
        spans, plain, pieces = list[tuple[int, int]](), list[tuple[int, int]](), list[str]()
        begin = copied = outside = 0
        special = _SPECIAL.search(source)
        while special:
            place = end = special.start()
            match = _TOKEN.match(source, place)
            group = match.lastgroup if match else None
            if match is None or (group == "line" and not self.is_comment(source, place)):
                end = place + 1
            elif group == "end":
                spans.append((begin, place))
                begin = end = place + 1
            elif group == "bad":
                what = "comment" if match[0] == "/*" else "literal"
                raise self.error(f"unterminated {what}", place)
            else:
                plain.append((outside, place))
                outside = end = match.end()
                if group in ("block", "line"):
                    pieces += (source[copied:place], " " * (end - place))
                    copied = end
            special = _SPECIAL.search(source, end)
        plain.append((outside, len(source)))
        pieces.append(source[copied:])
        spans.append((begin, len(source)))
        if not source.isascii():
            self.refuse_non_ascii(source, plain)
        return spans, "".join(pieces)

    def is_comment(self, source: str, place: int) -> bool:
        """Whether what looks like a comment up to the end of the line is one."""
        starts = source.startswith(self.dialect.comment_starts, place)
        return starts or not source[source.rfind("\n", 0, place) + 1 : place].strip()

    def refuse_non_ascii(self, source: str, plain: list[tuple[int, int]]) -> None:
        for start, end in plain:
            bad = re.search(r"[^\x00-\x7f]", source[start:end])
            if bad:
                raise self.error(f"character {bad[0]!r} outside of strings and comments", start + bad.start())

    def statement(self, text: str, offset: int) -> None:
        plain = _PLAIN.fullmatch(text)
        if plain and self.prefix is None and not self.careful:
            name = plain[2].lower()
            if name not in self.dialect.prefixes:
                self.add_instruction(text.strip(), offset + plain.start(2), name, (plain[3] or "").rstrip(), ())
                return
        while True:
            stripped = text.lstrip()
            offset += len(text) - len(stripped)
            text = stripped.rstrip()
            if not text or (self.dialect.ignored_statement and self.dialect.ignored_statement.fullmatch(text)):
                return
            label = _LABEL.match(text)
            if label is None:
                break
            self.label(label[1] or label[2] or label[3], text[: label.end()].rstrip(), offset)
            offset += label.end()
            text = text[label.end() :]
        assignment = _ASSIGNMENT.match(text)
        if assignment or text[0] == ".":
            self.prefix = None
        if assignment:
            name = assignment[1] or assignment[2]
            if name == ".":
                raise self.error("an assignment to `.` is not supported: it moves the location counter", offset)
            self.add("set", text, offset, name, text[assignment.end() :].strip())
        elif text[0] == ".":
            self.directive(text, offset)
        else:
            self.instruction(text, offset)

    def add(
        self, kind: Kind, text: str, offset: int, name: str, operands: str = "", numbers: tuple[int, ...] = ()
    ) -> None:
        section = self.current[1]
        if section is None:
            return
        statement = Statement(kind, text, offset, self.index(section), self.syntax, name, operands, numbers)
        self.unit.statements.append(statement)

    def index(self, section: GasSection) -> int:
        if section not in self.indices:
            self.indices[section] = len(self.unit.sections)
            self.unit.sections.append(section)
        return self.indices[section]

    def label(self, name: str, text: str, offset: int) -> None:
        self.prefix = None
        if self.current[1] is None:
            return
        if not text[0].isdigit():
            if name in self.unit.labels:
                raise self.error(f"symbol '{name}' is already defined", offset)
            self.unit.labels[name] = len(self.unit.statements)
        self.add("label", text, offset, name)

    def instruction(self, text: str, offset: int) -> None:
        if self.prefix is not None:
            # `rep` on a line of its own, or `lock; incl (%rdi)`: one instruction with what follows.
            text = re.sub("[;\\r\\n]", " ", self.code[self.prefix : offset]) + text
            offset, self.prefix = self.prefix, None
            self.unit.statements.pop()
        name, operands, prefixes = self.mnemonic(text, offset)
        dangerous = _FILES.search(text)
        if dangerous:
            raise self.error(f"{dangerous[0]} is not supported: it reads a file", offset + dangerous.start())
        if name in self.dialect.prefixes and not operands and self.current[1] is not None:
            self.prefix = offset
        self.add_instruction(text, offset, name, operands, prefixes)

    def add_instruction(self, text: str, offset: int, name: str, operands: str, prefixes: tuple[str, ...]) -> None:
        section = self.current[1]
        if section is not None:
            self.unit.statements.append(
                Statement("instruction", text, offset, self.index(section), self.syntax, name, operands, (), prefixes)
            )

    def mnemonic(self, text: str, offset: int) -> tuple[str, str, tuple[str, ...]]:
        """Mnemonic (a lone prefix counts as one), operands, and the prefixes in front."""
        rest = text
        prefixes: list[str] = []
        while True:
            head = _HEAD.match(rest)
            if head is None:
                raise self.error(f"expected an instruction, not {rest[:20]!r}", offset + len(text) - len(rest))
            name, operands = head[1].lower(), rest[head.end() :]
            if not operands or (name not in self.dialect.prefixes and name[0] != "{"):
                return name, operands, tuple(prefixes)
            prefixes.append(name)
            rest = operands

    def directive(self, text: str, offset: int) -> None:
        head = _HEAD.match(text)
        if head is None:
            raise self.error(f"expected a directive, not {text[:20]!r}", offset)
        name = head[1].lower()
        operands = text[head.end() :]
        if name in self.dialect.integer_widths or name in _STRINGS or name in _OTHER_DATA:
            self.add("data", text, offset, name, operands)
        elif (
            name in _IGNORED
            or name in self.dialect.ignored_directives
            or name.startswith(".cfi_")
            or self.is_unloaded(name)
        ):
            pass
        elif name in (".p2align", ".balign", ".align"):
            self.align(name, text, offset, operands)
        elif name in (".zero", ".skip", ".space", ".fill"):
            self.fill(name, text, offset, operands)
        elif name in (".set", ".equ"):
            self.assign(text, offset, operands)
        elif name == ".weak":
            for symbol in split_operands(operands):
                self.add("weak", text, offset, symbol)
        elif name in (".comm", ".lcomm"):
            self.common(name, text, offset, operands)
        elif name in (".att_syntax", ".intel_syntax") and self.dialect.syntax_directives:
            self.change_syntax(name, offset, operands.lower())
        else:
            self.change_section(name, offset, operands)

    def is_unloaded(self, name: str) -> bool:
        return name in self.dialect.unloaded_directives and self.current[1] is None

    def change_syntax(self, name: str, offset: int, operands: str) -> None:
        if operands not in ("", "prefix" if name == ".att_syntax" else "noprefix"):
            raise self.error(f"{name} {operands} is not supported", offset)
        self.syntax = "att" if name == ".att_syntax" else "intel"

    def change_section(self, name: str, offset: int, operands: str) -> None:
        if name in (".text", ".data", ".bss", ".rodata"):
            if operands not in ("", "0"):
                raise self.error(f"subsections are not supported: {name} {operands}", offset)
            self.enter(name, self.section(name, "", ""))
        elif name in (".section", ".pushsection"):
            if name == ".pushsection":
                self.stack.append((self.current, self.previous))
            parts = split_operands(operands)
            title = parts[0].strip('"') if parts else ""
            if not title:
                raise self.error(f"{name} needs a name", offset)
            flags = parts[1] if len(parts) > 1 else ""
            kind = parts[2] if len(parts) > 2 else ""
            self.enter(title, self.named_section(title, flags.strip('"'), kind, offset))
        elif name == ".popsection":
            if not self.stack:
                raise self.error(".popsection without .pushsection", offset)
            self.current, self.previous = self.stack.pop()
        elif name == ".previous":
            self.current, self.previous = self.previous, self.current
        else:
            why = _REFUSALS.get(name, "it is not among those that are known to be harmless")
            raise self.error(f"directive {name} is not supported: {why}", offset)

    def enter(self, title: str, section: GasSection | None) -> None:
        self.previous, self.current = self.current, (title, section)

    def named_section(self, title: str, flags: str, kind: str, offset: int) -> GasSection | None:
        if "T" in flags or re.match(r"\.t(data|bss|ls)\b", title):
            raise UnsupportedError(f"thread-local storage is not supported (section {title})")
        return self.section(title, flags, kind)

    def section(self, title: str, flags: str, kind: str) -> GasSection | None:
        """The section of that name: None where its content isn't loaded. Flags of the first mention hold."""
        if title not in self.known:
            flags = self.dialect.convert_section_flags(title, flags) or _default_flags(title)
            loaded = "a" in flags and not _DROPPED_SECTIONS.match(title)
            nobits = "nobits" in kind or (not kind and re.match(r"\.bss(\.|$)", title) is not None)
            self.known[title] = GasSection(title, "w" in flags, "x" in flags, nobits) if loaded else None
        return self.known[title]

    def numbers(self, what: str, offset: int, operands: str, defaults: tuple[int, ...]) -> tuple[int, ...]:
        """The plain integers of a directive; a missing one takes its default, the first may not be missing."""
        parts = split_operands(operands)
        if not parts or not parts[0] or len(parts) > len(defaults):
            raise self.error(f"{what} takes 1 to {len(defaults)} numbers", offset)
        values = list(defaults)
        for place, part in enumerate(parts):
            if part:
                value = integer(part)
                if value is None:
                    raise self.error(f"{what} is supported with plain numbers only, not {part!r}", offset)
                values[place] = value
        return tuple(values)

    def align(self, name: str, text: str, offset: int, operands: str) -> None:
        amount, value, most = self.numbers(name, offset, operands, (0, -1, -1))
        if name == ".p2align" or (name == ".align" and self.dialect.align_takes_exponent):
            if not 0 <= amount <= 32:
                raise self.error(f"invalid alignment 2**{amount}", offset)
            amount = 1 << amount
        amount = max(amount, 1)
        if amount & (amount - 1):
            raise self.error(f"alignment {amount} is not a power of 2", offset)
        if amount > ALIGNMENT:
            raise self.error(f"alignment {amount} is above {ALIGNMENT}, the largest that is supported", offset)
        self.reserve(amount, name, offset)
        self.add("align", text, offset, name, operands, (amount, value, most))

    def fill(self, name: str, text: str, offset: int, operands: str) -> None:
        if name == ".fill":
            count, size, value = self.numbers(name, offset, operands, (0, 1, 0))
        else:
            (count, value), size = self.numbers(name, offset, operands, (0, 0)), 1
        if count < 0 or not 0 <= size <= 8:
            raise self.error(f"{name} with a count of {count} and a size of {size}", offset)
        self.reserve(count * size, name, offset)
        self.add("space", text, offset, name, operands, (count, size, value))

    def reserve(self, count: int, name: str, offset: int) -> None:
        self.space += count
        if self.space > SPACE_BYTES:
            raise self.error(f"{name} asks for too much: {self.space} bytes in all, {SPACE_BYTES} at most", offset)

    def assign(self, text: str, offset: int, operands: str) -> None:
        name, comma, value = operands.partition(",")
        if not comma or not re.fullmatch(SYMBOL, name.strip()) or name.strip() == ".":
            raise self.error("expected a symbol and a value", offset)
        self.add("set", text, offset, name.strip(), value.strip())

    def common(self, name: str, text: str, offset: int, operands: str) -> None:
        """Zeros with a label, at the end of .bss."""
        symbol, _, rest = operands.partition(",")
        power = self.dialect.comm_takes_exponent and name == ".comm"
        size, alignment = self.numbers(name, offset, rest, (0, int(not power)))
        if power:
            alignment = 1 << min(max(alignment, 0), 32)
        if size < 0 or alignment <= 0 or alignment & (alignment - 1) or alignment > ALIGNMENT:
            raise self.error(f"{name} with a size of {size} and an alignment of {alignment}", offset)
        self.reserve(size + alignment, name, offset)
        here, self.current = self.current, (".bss", self.section(".bss", "", ""))
        self.add("align", f".balign {alignment}", offset, ".balign", "", (alignment, -1, -1))
        symbol = symbol.strip()
        self.label(symbol.strip('"'), f"{symbol}:", offset)
        self.add("space", f".zero {size}", offset, ".zero", "", (size, 1, 0))
        self.current = here


def _default_flags(title: str) -> str:
    """The flags of a section that is named without any, as GAS knows them."""
    if re.match(r"\.(text|init|fini|plt)(\.|$)", title):
        return "ax"
    if re.match(r"\.(data|bss|init_array|fini_array|preinit_array|tm_clone_table|got)(\.|$)|\.data1$", title):
        return "aw"
    if re.match(r"\.rodata(\.|$)|\.rodata1$", title):
        return "a"
    return ""
