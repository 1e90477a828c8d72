"""Assembly text as a list of statements in sections: what the parser of GNU assembly returns."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pytest_llmcompiler.assembler.position_map import PositionMap
from pytest_llmcompiler.assembler.source_lines import SourceLines
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.targets.dialect import Dialect, Syntax

StatementKind = Literal["label", "instruction", "data", "align", "space", "set", "weak"]
"""`data` is a directive with values, `space` one that repeats a value, `set` an assignment to a symbol."""


class GasSection(NamedTuple):
    """A section that is loaded into memory."""

    name: str
    is_writable: bool
    is_executable: bool
    is_nobits: bool
    """Whether it holds zeros only, as `.bss` does."""
    is_thread_local: bool = False


class Statement(NamedTuple):
    """One statement that emits bytes or defines a name."""

    kind: StatementKind
    text: str
    """As written, with comments blanked out and without white space at both ends."""
    offset: int
    """The position of `text` in the source, in characters from its start."""
    section: int
    """Index in `ParsedAssembly.sections`."""
    syntax: Syntax
    name: str
    """The label, the assigned symbol, the mnemonic without prefixes or the directive; the last two in lower case."""
    operands: str = ""
    """The text behind the name."""
    numbers: tuple[int, ...] = ()
    """For `align`: the alignment in bytes, the fill value or -1, the most bytes to skip or -1. For `space`: the count,
    the size of one element in bytes, its value."""
    prefixes: tuple[str, ...] = ()
    """Instruction prefixes in front of the mnemonic, in lower case."""

    @property
    def is_numeric_label(self) -> bool:
        """Whether this is a label like `1:`, which a text may define many times. The label `"1":` is a symbol."""
        return self.kind == "label" and self.text[0].isdigit()


@dataclass
class ParsedAssembly:
    """A text and its statements."""

    source: str
    dialect: Dialect
    syntax: Syntax
    """The syntax in force at the start of the text."""
    sections: list[GasSection] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    """Name -> index of the defining statement, for all labels but numeric ones."""
    numeric_labels: dict[str, list[int]] = field(default_factory=dict)
    """Number of a label like `1:` -> the indices of the statements that define it, ascending."""
    assignments: list[int] = field(default_factory=list)
    """The indices of the statements of the kinds `set` and `weak`."""
    declared_global: set[str] = field(default_factory=set)
    """The names in `.globl`, `.weak` and `.comm`."""
    declared_local: set[str] = field(default_factory=set)
    """The names in `.local`."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Name -> bytes, as `.size` and `.comm` say."""
    thread_local: dict[str, str] = field(default_factory=dict)
    """Label of a thread-local variable -> the name of its section."""
    positions: PositionMap | None = None
    """Where `source` comes from, where it is the translation of another text: lines and columns are that text's."""

    @functools.cached_property
    def assigned(self) -> list[Statement]:
        """The statements of the kind `set`."""
        statements = (self.statements[number] for number in self.assignments)
        return [statement for statement in statements if statement.kind == "set"]

    @functools.cached_property
    def defined_names(self) -> frozenset[str]:
        """The labels and the assigned symbols."""
        return frozenset({*self.labels, *(statement.name for statement in self.assigned)})

    @functools.cached_property
    def code_names(self) -> frozenset[str]:
        """The labels of code: an instruction follows. A name that `.set` makes another name of one is a label too."""
        next_kind: dict[int, StatementKind] = {}
        names: set[str] = set()
        for statement in reversed(self.statements):
            kind = statement[0]
            if kind == "instruction" or kind == "data" or kind == "space":
                next_kind[statement[3]] = kind
            elif kind == "label" and next_kind.get(statement.section) == "instruction":
                names.add(statement.name)
        names.update(statement.name for statement in self.assigned if statement.operands in names)
        return frozenset(names)

    def is_global(self, name: str) -> bool:
        """Whether a name that the text defines is visible to other objects."""
        return name in self.declared_global and name not in self.declared_local

    @functools.cached_property
    def lines(self) -> SourceLines:
        """The lines of the source; those of the original text, where `source` is a translation."""
        return SourceLines(self.source, self.positions)

    def locate(self, offset: int) -> tuple[int, int]:
        """Line and column, both counted from 1, of a position in characters."""
        return self.lines.locate(offset)

    def find_line(self, statement: Statement) -> int:
        """The line, counted from 1, on which a statement starts."""
        return self.locate(statement.offset)[0]

    def order_sections(self) -> list[int]:
        """The indices of the sections in the order in which they are loaded: executable ones first."""
        return sorted(range(len(self.sections)), key=lambda section: not self.sections[section].is_executable)

    def build_error(self, message: str, offset: int) -> AssemblyError:
        """The error for a position in characters."""
        return AssemblyError(message, *self.locate(offset))
