"""The lines of GNU assembly, read one by one, each of which means the same wherever it stands.

The answers for a function share most of their lines, so lines that were read are kept. What depends on the lines in
front, such as the section, the syntax, and whether a name is defined already, is the parser's (see `gas`).
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, cast

from pytest_llmcompiler.assembler.gas_lexer import split_statements
from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.assembler.tokens import SYMBOL
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.targets.dialect import Dialect

SYMBOL_FACTS = frozenset((".globl", ".global", ".local", ".size"))
"""Directives that say something of a symbol, and neither define it nor emit bytes."""
FILE_DIRECTIVE = re.compile(r"\.(incbin|include)\b", re.IGNORECASE)
HEAD = re.compile(rf"(\{{\w+\}}|{SYMBOL})(?=[\s\"'%$*({{\[-]|$)\s*")
"""A mnemonic, prefix or directive, and the space behind it."""

_STRINGS = frozenset((".ascii", ".asciz", ".string"))
_OTHER_DATA = frozenset((".octa", ".float", ".single", ".double", ".sleb128", ".uleb128"))
"""Data directives that are the same for all processors; those of integers are the dialect's."""
_IGNORED = frozenset((
    ".file", ".ident", ".addrsig", ".addrsig_sym", ".type", ".version", ".loc", ".code64", ".extern",
    ".hidden", ".protected", ".internal", ".build_version", ".subsections_via_symbols",
))  # fmt: skip
"""Directives that change neither bytes nor names for a text that is loaded alone."""
_LABEL = re.compile(rf'(?:({SYMBOL})|(\d+)|"([^"\\]+)")\s*:(?!:)\s*')
_ASSIGNMENT = re.compile(rf'(?:({SYMBOL})|"([^"\\]+)")\s*(==?)(?!=)')
_PLAIN_INSTRUCTION = re.compile(r"(\s*)([A-Za-z]\w*)(?:[ \t]+([\w$%(\[.*-][^=:\"'{]*)|\s*)")
"""A statement that can only be an instruction. Most statements are, and this is faster than reading them. No two parts
that follow each other match the same characters: matching takes time linear in the length."""
_SPECIAL = re.compile(r"[^\t !$-&(-.0-:<-~]")
"""What may start a comment or a literal or end a statement (`#`, `/`, `"`, `'`, `;`), and all that is no ASCII text."""
_KEPT_BYTES = 32 << 20
"""About the memory of the lines of one generation, of which two are kept. The answers to one function have some hundred
lines, those to a hundred functions 50,000, which all are to have room in one: else many are read again and again."""
_LINE_BYTES, _PIECE_BYTES, _CHARACTER_BYTES = 300, 250, 4
"""What a line takes, with its place in the table; each piece of it; and each character, which is in several strings."""
_KEPT_CHARACTERS = 100
"""Longest line that is kept."""
_KEPT_PIECES = 4
"""Pieces of a line that is kept, at most."""

PieceKind = Literal["instruction", "unclear", "label", "data", "set", "directive", "ignored"]
"""`unclear` is what has to be an instruction, and may be wrong, or belong to the statement behind it."""


class GasPiece(NamedTuple):
    """A label, or the rest of a statement behind its labels."""

    kind: PieceKind
    start: int
    """In characters from the start of its line."""
    text: str
    """As written, with comments blanked out and without white space at both ends."""
    name: str = ""
    """The label, the assigned symbol, the mnemonic or the directive; the last two in lower case. Empty for text that
    begins like a directive and is none."""
    operands: str = ""
    """The text behind the name."""
    prefixes: tuple[str, ...] = ()
    """Instruction prefixes in front of the mnemonic, in lower case."""


class GasLine(NamedTuple):
    """A line."""

    code: str
    """With its comments replaced by as many blanks."""
    pieces: tuple[GasPiece, ...]
    bare: str
    """Without comments and without blanks at the end."""


class GasLineReader:
    """Reads the lines of texts in one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._lines: dict[str, GasLine] = {}
        """The lines that were met last. When there are too many, they become the older generation."""
        self._older: dict[str, GasLine] = {}
        self._bytes = 0
        """About the memory of the lines that were met last."""
        self._data = frozenset(dialect.integer_widths) | _STRINGS | _OTHER_DATA
        self._ignored = (_IGNORED | dialect.ignored_directives) - self._data - SYMBOL_FACTS

    def read(self, source: str) -> list[GasLine] | None:
        """The lines of a text; None where they can't be read one by one: it has comments that may be longer than a
        line, or characters or literals that are no assembly."""
        if "/*" in source:
            return None
        texts = source.split("\n")
        lines = list(map(self._lines.get, texts))
        at = -1
        with contextlib.suppress(ValueError):  # until all are known
            while True:
                at = lines.index(None, at + 1)
                line = lines[at] = self._lines.get(texts[at]) or self._find(texts[at])
                if line is None:
                    return None
        return cast("list[GasLine]", lines)

    def strip_comments(self, source: str) -> str | None:
        """A text without its comments, and without blanks at the ends of lines: all that counts of it. None where it
        can't be read line by line."""
        lines = self.read(source)
        return None if lines is None else "\n".join([line.bare for line in lines])

    def _find(self, text: str) -> GasLine | None:
        """A line that was not met lately, which is kept if it is short."""
        line = self._older.get(text) or self._read_line(text)
        if line is not None and len(text) <= _KEPT_CHARACTERS and len(line.pieces) <= _KEPT_PIECES:
            if self._bytes >= _KEPT_BYTES:
                self._older, self._lines, self._bytes = self._lines, {}, 0
            self._lines[text] = line
            self._bytes += _LINE_BYTES + _PIECE_BYTES * len(line.pieces) + _CHARACTER_BYTES * len(text)
        return line

    def _read_line(self, text: str) -> GasLine | None:
        if not _SPECIAL.search(text):
            return GasLine(text, tuple(self.read_statement(text, 0, len(text))), text.rstrip())
        try:
            spans, code = split_statements(ParsedAssembly(text, self._dialect, "only"))
        except AssemblyError:
            return None
        pieces = tuple(piece for start, end in spans for piece in self.read_statement(code, start, end))
        return GasLine(code, pieces, code.rstrip())

    def read_statement(self, code: str, start: int, end: int) -> Iterator[GasPiece]:
        """The pieces of the statement in a part of a text."""
        text, offset = code[start:end], start
        plain = _PLAIN_INSTRUCTION.fullmatch(text)
        if plain and plain[2].lower() not in self._dialect.prefixes and not FILE_DIRECTIVE.search(text):
            operands = (plain[3] or "").rstrip()
            yield GasPiece("instruction", offset + plain.start(2), text.strip(), plain[2].lower(), operands)
            return
        while True:
            stripped = text.lstrip()
            offset += len(text) - len(stripped)
            text = stripped.rstrip()
            if not text or (self._dialect.ignored_statement and self._dialect.ignored_statement.fullmatch(text)):
                return
            label = _LABEL.match(text)
            if label is None:
                break
            yield GasPiece("label", offset, text[: label.end()].rstrip(), label[1] or label[2] or label[3])
            offset += label.end()
            text = text[label.end() :]
        yield self._read_end(text, offset)

    def _read_end(self, text: str, offset: int) -> GasPiece:
        """The piece behind all labels of a statement."""
        assignment = _ASSIGNMENT.match(text)
        if assignment:
            return GasPiece("set", offset, text, assignment[1] or assignment[2], text[assignment.end() :].strip())
        if text[0] != ".":
            return self._read_instruction(text, offset)
        head = HEAD.match(text)
        if head is None:
            return GasPiece("directive", offset, text)
        name, operands = head[1].lower(), text[head.end() :]
        if name in self._ignored or (name.startswith(".cfi_") and name not in self._data):
            return GasPiece("ignored", offset, text, name)
        return GasPiece("data" if name in self._data else "directive", offset, text, name, operands)

    def _read_instruction(self, text: str, offset: int) -> GasPiece:
        name, operands, prefixes, rest = split_instruction(text, self._dialect)
        is_clear = not rest and name not in self._dialect.prefixes and not FILE_DIRECTIVE.search(text)
        return GasPiece("instruction" if is_clear else "unclear", offset, text, name, operands, prefixes)


@functools.lru_cache(maxsize=8)
def get_line_reader(dialect: Dialect) -> GasLineReader:
    """The reader for a dialect, which all texts share. There are as many as there are targets."""
    return GasLineReader(dialect)


def split_instruction(text: str, dialect: Dialect) -> tuple[str, str, tuple[str, ...], str]:
    """The mnemonic (the last prefix, where nothing follows it), the operands, and the prefixes in front; and the rest
    of the text from where it is no instruction, which is empty where it is one."""
    rest = text
    prefixes: list[str] = []
    while True:
        head = HEAD.match(rest)
        if head is None:
            return "", "", (), rest
        name, operands = head[1].lower(), rest[head.end() :]
        if not operands or (name not in dialect.prefixes and name[0] != "{"):
            return name, operands, tuple(prefixes), ""
        prefixes.append(name)
        rest = operands
