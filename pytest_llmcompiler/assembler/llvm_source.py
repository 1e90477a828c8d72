"""The text that LLVM gets for an assembly text, and the way back from its positions to the original's.

Each statement goes on a line of its own, as it was written. Sections get names of their own, so that LLVM can't merge
or move them. A label in front of each instruction and piece of data in code, and a table of their distances from the
section's start, tell afterwards where each statement's bytes are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator
from string import ascii_letters

from pytest_llmcompiler.assembler.bindings import Binding
from pytest_llmcompiler.assembler.linkage import (
    DEBUG_FILE_NAME,
    LINE_SECTION,
    TRAP_BYTES,
    Linkage,
    format_debug_information,
)
from pytest_llmcompiler.assembler.operands import is_movsxd
from pytest_llmcompiler.assembler.quoted_names import add_quotes, count_added_quotes
from pytest_llmcompiler.assembler.reach import is_branch
from pytest_llmcompiler.assembler.statements import ParsedAssembly, Statement
from pytest_llmcompiler.assembler.tokens import LITERAL
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.letters import name_part, name_start

NAME_START = rf"""(?<!{name_part('.@?"')})(?<!{name_part(".")}\$)"""
"""The pattern of a position where a name may begin. The $ of an immediate is not part of a name."""
_PLAIN_NAME = re.compile(rf"(?!\.L){name_start('.')}{name_part('.$')}*")
_LITERAL = re.compile(LITERAL)
_LOCAL_LABEL = re.compile(rf"{NAME_START}\.L{name_part('.$?')}*")
_LITERAL_OR_LOCAL = re.compile(rf"{LITERAL}|{_LOCAL_LABEL.pattern}")
_WORD = re.compile(rf"{name_part('.$?')}+")
_MOST_NEW_LETTERS = 3
"""Of how many letters at the start of a label a new spelling may have others: 140,000 spellings, more than a text of
the longest length can use up for more than a few labels."""
_INTEL_OUTER_BRACKETS = re.compile(r"\[(\s*(?:qword|dword|word)\s+ptr\s[^\[\]]*\[[^\[\]]*\]\s*)\]", re.IGNORECASE)
_INTEL_FLAT = re.compile(r"(\boffset\s+)(flat\s*:)", re.IGNORECASE)


class LLVMSource:
    """Builds LLVM's text for one parsed text. The attributes are complete after `build`."""

    def __init__(
        self,
        parsed: ParsedAssembly,
        binding: Binding,
        linkage: Linkage | None = None,
        optional_names: Collection[str] = frozenset(),
    ) -> None:
        """`linkage` is for an object that a native linker links; without it this package's linker loads the object.
        Of what a native linker needs, `optional_names` may be missing."""
        self.parsed = parsed
        self.binding = binding
        self._linkage, self._optional_names = linkage, optional_names
        self.items: list[Statement] = []
        """Instructions, labels, and data in executable sections: the statements that have an entry in the table."""
        self.tag = _choose_tag(parsed.source)
        """A word that the text does not contain: part of all names that are added."""
        self.renamed_locals = self._rename_undefined_locals()
        """New name -> name in the text, for local labels that the text refers to but does not define. LLVM refuses to
        leave a `.L` name to a linker; the new names have the same length, so that columns stay the same."""
        self._new_locals = {old: new for new, old in self.renamed_locals.items()}
        self._lines: list[str] = []
        self._origins: list[int | None] = []
        """For each line, the position of its first character in the source; None for added lines."""
        self._unquoted: dict[int, str] = {}
        """Number of a line with a name that is not ASCII -> the line without the quotes of LLVM's assembler."""
        self._lengthened_lines: set[int] = set()
        """Lines whose mnemonic has become one letter longer."""

    def _rename_undefined_locals(self) -> dict[str, str]:
        statements = self.parsed.statements
        assigned = {statement.name for statement in self.parsed.assigned}
        used = {name for statement in statements for name in _LOCAL_LABEL.findall(blank_literals(statement.operands))}
        undefined = sorted(used - self.parsed.labels.keys() - assigned)
        if not undefined:
            return {}
        words = _WORD.findall(self.parsed.source)
        taken = {*words, *(word.lstrip("$") for word in words)}
        renamed: dict[str, str] = {}
        for name in undefined:
            new = next((new for new in _list_spellings(name) if new not in taken), None)
            if new is None:
                raise AssemblyError(f"there is no other name for the undefined label {name}", 0, 0)
            taken.add(new)
            renamed[new] = name
        return renamed

    def build(self) -> str:
        """The text for LLVM."""
        syntax = self.parsed.syntax
        self._emit(self.parsed.dialect.syntax_directives.get(syntax, ""))
        if self._linkage:
            self._emit(f'.file 1 "{DEBUG_FILE_NAME}"')
        for section in self.parsed.order_sections():
            self._enter_section(section)
            self._emit(f".L{self.tag}s{section}:")
        current = -1
        for statement in self.parsed.statements:
            if statement.section != current:
                current = statement.section
                self._enter_section(current)
            if statement.syntax != syntax:
                syntax = statement.syntax
                self._emit(self.parsed.dialect.syntax_directives.get(syntax, ""))
            self._add_statement(statement)
        if self._linkage:
            self._add_linkage(self._linkage)
        else:
            self._emit(f'.section {self.table_name},"",@progbits')
            for number, statement in enumerate(self.items):
                self._emit(f".long .L{self.tag}i{number}-.L{self.tag}s{statement.section}")
        return "\n".join(self._lines) + "\n"

    # -- sections of the object

    @property
    def section_prefix(self) -> str:
        """The start of the names of loaded sections; the number of the section in the text follows."""
        return f".{self.tag}."

    @property
    def table_name(self) -> str:
        """The section with a 32-bit word for each item: its distance from the start of its section."""
        return f"{self.section_prefix}table"

    def name_section(self, number: str) -> str:
        """The name in the text of the section with this number."""
        return self.parsed.sections[int(number)].name

    def _enter_section(self, number: int) -> None:
        _, is_writable, is_executable, is_nobits, is_thread_local = self.parsed.sections[number]
        flags = "a" + "w" * is_writable + "x" * is_executable + "T" * is_thread_local
        # Native linkers place sections by the start of their names.
        kind = ".text" if is_executable else ".bss" if is_nobits else ".data" if is_writable else ".rodata"
        kind = kind.replace(".", ".t") if is_thread_local else kind
        name = f"{kind if self._linkage else ''}{self.section_prefix}{number}"
        self._emit(f'.section {name},"{flags}",@{"nobits" if is_nobits else "progbits"}')

    # -- statements

    def _emit(self, line: str, origin: int | None = None) -> None:
        if origin is not None and self._new_locals and ".L" in line:
            line = _LITERAL_OR_LOCAL.sub(lambda match: self._new_locals.get(match[0], match[0]), line)
        if not line.isascii():
            self._unquoted[len(self._lines)] = line
            line = add_quotes(line)
        self._lines.append(line)
        self._origins.append(origin)

    def _add_statement(self, statement: Statement) -> None:
        kind, name = statement.kind, statement.name
        is_hidden = name in self.binding.shared_names
        is_executable = self.parsed.sections[statement.section].is_executable
        if kind in ("instruction", "label") or (kind in ("data", "space") and is_executable):
            self._emit(f".L{self.tag}i{len(self.items)}:")
            self.items.append(statement)
        if self._linkage:
            is_hidden = is_hidden or (kind == "weak" and name == self._linkage.function)
            if kind == "instruction":
                self._emit(f".loc 1 {self.parsed.find_line(statement)}")
        if kind == "weak" and not is_hidden:
            self._emit(f".weak {name}", statement.offset)
        elif kind == "instruction":
            text = self._respell_intel(statement) if statement.syntax == "intel" else statement.text
            self._emit(text if is_branch(statement) else self._rename_addressed(text), statement.offset)
        elif kind == "data":
            self._emit(self._rename_addressed(statement.text), statement.offset)
        elif kind not in ("weak", "label", "set") or not is_hidden:
            self._emit(statement.text, statement.offset)

    def _rename_addressed(self, text: str) -> str:
        """A statement in which the addresses of the text's own functions are those of the program's."""
        for name, mark in self.binding.addressed.items():
            if name in text:
                text = _rename(text, name, mark)
        return text

    def _respell_intel(self, statement: Statement) -> str:
        """An Intel instruction in LLVM's spelling, where GNU as accepts, and gcc writes, another one."""
        text = _INTEL_FLAT.sub(lambda match: match[1] + " " * len(match[2]), statement.text)
        text = _INTEL_OUTER_BRACKETS.sub(r" \1 ", text)
        if is_movsxd(statement.name, statement.operands, statement.syntax):
            self._lengthened_lines.add(len(self._lines))
            return re.sub("movsx", "movsxd", text, count=1, flags=re.IGNORECASE)
        return text

    # -- objects for a native linker

    def _add_linkage(self, linkage: Linkage) -> None:
        """Add the symbols, traps and debug information that native linkers and debuggers need."""
        self._emit(f'.globl "{linkage.function}"')
        self._emit(f'.type "{linkage.function}",@function')
        optional = {name for name in self._optional_names if _PLAIN_NAME.fullmatch(name)}
        for new, old in self.renamed_locals.items():
            if old in linkage.names:
                self._emit(f'.set "{new}", "{linkage.names[old]}"')
            else:
                optional.add(new)
        for name in sorted(optional - linkage.names.keys() - self.binding.places.keys()):
            self._emit(f'.weak "{name}"')
        for name, place in self.binding.places.items():
            self._emit(f'.set "{name}", "{place.variable}"+{place.offset}')
        for name, mark in self.binding.addressed.items():
            self._emit(f'.set "{mark}", "{name}"')
        own = self.parsed.defined_names - self.binding.shared_names
        for old in sorted(linkage.names.keys() - self.renamed_locals.values() - own):
            self._emit(f'.set "{old}", "{linkage.names[old]}"')
        code = [number for number, section in enumerate(self.parsed.sections) if section.is_executable]
        for number in code:
            self._enter_section(number)
            self._emit(f".L{self.tag}e{number}:")
            self._emit(f".fill {TRAP_BYTES}, 1, 0xcc")
        ranges = [(f".L{self.tag}s{number}", f".L{self.tag}e{number}") for number in code]
        for line in format_debug_information(self.tag, ranges):
            self._emit(line)
        if linkage.has_line_section:
            self._emit(f'.section {LINE_SECTION},"aR",@progbits')
            for number, statement in enumerate(self.items):
                if statement.kind != "label":
                    self._emit(f".quad .L{self.tag}i{number}, {self.parsed.find_line(statement)}")

    # -- positions

    def locate(self, line: int, column: int) -> tuple[int, int]:
        """Line and column in the original text of a position in LLVM's, all counted from 1; both 0 where there is none.

        `column` counts bytes, the result characters.
        """
        number = line - 1
        origin = self._origins[number] if number < len(self._origins) else None
        if origin is None:
            return 0, 0
        before = self._lines[number].encode()[: column - 1].decode("utf-8", "ignore")
        is_behind_mnemonic = " " in before.replace("\t", " ")
        added = count_added_quotes(self._unquoted.get(number, ""), len(before))
        added += number in self._lengthened_lines and is_behind_mnemonic
        return self.parsed.locate(origin + len(before) - added)


def _list_spellings(label: str) -> Iterator[str]:
    """Names of the length of a local label, and unlike it no local ones: `aLx`, `bLx`, … for `.Lx`."""
    for count in range(1, min(len(label), _MOST_NEW_LETTERS) + 1):
        for letters in itertools.product(ascii_letters, repeat=count):
            yield "".join(letters) + label[count:]


def _choose_tag(source: str) -> str:
    number = 0
    while f"llmc{number}" in source:
        number += 1
    return f"llmc{number}"


def build_name_pattern(name: str) -> str:
    """The pattern of a whole name in assembly."""
    return rf"{NAME_START}{re.escape(name)}(?!{name_part('.$?')})"


def _rename(line: str, old: str, new: str) -> str:
    """The line with a name replaced, but not in strings and characters."""
    return re.sub(rf"{LITERAL}|({build_name_pattern(old)})", lambda match: new if match[1] else match[0], line)


def blank_literals(text: str) -> str:
    """The text with strings and characters replaced by as many blanks."""
    return _LITERAL.sub(lambda match: " " * len(match[0]), text)
