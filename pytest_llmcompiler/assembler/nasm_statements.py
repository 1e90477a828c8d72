"""The lines of a NASM text as statements, and the names that they define."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_llmcompiler.assembler.nasm_directives import DATA_WIDTHS, SPACE_WIDTHS, is_mnemonic
from pytest_llmcompiler.assembler.nasm_expressions import SymbolSum
from pytest_llmcompiler.assembler.nasm_layout import Location
from pytest_llmcompiler.assembler.nasm_lexer import Token
from pytest_llmcompiler.assembler.nasm_operands import OPERAND_KEYWORDS, PREFIXES

SECTION_WORDS = ("section", "segment")
_IGNORED = frozenset((
    "extern", "static", "cpu", "use64", "sectalign", "warning", "list", "float", "debug", "osabi", "map", "required",
))  # fmt: skip
"""Directives that change neither bytes nor names for a text that is loaded alone."""
DIRECTIVES = frozenset((
    *SECTION_WORDS, *_IGNORED, "global", "common", "default", "bits", "align", "alignb", "struc", "endstruc", "org",
    "absolute", "istruc", "iend", "at", "use16", "use32",
))  # fmt: skip
_OPERATIONS = frozenset((*DATA_WIDTHS, *SPACE_WIDTHS, *PREFIXES, *DIRECTIVES, "times", "equ", "incbin"))


@dataclass
class SourceStatement:
    """A line of the source, parsed."""

    offset: int
    newlines: int
    tokens: Sequence[Token] = ()
    """The operation and its operands, without the label."""
    label: str = ""
    """The full name that the line defines."""
    label_offset: int = 0
    is_local: bool = False
    """Whether the label is a local one."""
    operation: str = ""
    """The first word in lower case, behind `times`; empty where there is none."""
    count: int | None = None
    """Of `times`."""
    parent: str = ""
    """The label to which local labels on this line belong."""
    here: str = ""
    """The name of the label that `$` means."""
    section: str = ""


@dataclass
class Equate:
    """A symbol for a value."""

    line: SourceStatement
    value: SymbolSum | None = None
    is_open: bool = False
    """Whether its value is being computed: a symbol must not depend on itself."""


@dataclass
class SymbolTable:
    """The names that a text defines."""

    locations: dict[str, Location] = field(default_factory=dict)
    """Labels, with those for `$` and `$$`."""
    local: set[str] = field(default_factory=set)
    """Full names of local labels."""
    equates: dict[str, Equate] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Labels for `$` that lines refer to."""
    definitions: list[tuple[str, int]] = field(default_factory=list)
    """`.set` directives for sums of symbols that the next line needs."""
    sums: int = 0


def is_local(name: str) -> bool:
    return name.startswith(".")


def is_operation(token: Token) -> bool:
    """Whether a word is a directive, a prefix or an instruction."""
    return bool(token.name) and (token.name in _OPERATIONS or is_mnemonic(token.name))


def split_label(tokens: Sequence[Token]) -> tuple[Token | None, Sequence[Token]]:
    """The label of a line, with or without a colon, and the tokens behind it."""
    if not tokens or tokens[0].kind not in ("word", "escaped"):
        return None, tokens
    if len(tokens) > 1 and tokens[1].is_operator(":"):
        return tokens[0], tokens[2:]
    if is_operation(tokens[0]):
        return None, tokens
    is_alone = len(tokens) == 1
    has_operation = not is_alone and is_operation(tokens[1]) and tokens[1].name not in OPERAND_KEYWORDS
    is_instruction = not is_alone and not has_operation and tokens[0].kind == "word" and tokens[0].text[0] != "."
    return (None, tokens) if is_instruction else (tokens[0], tokens[1:])
