"""The variables that a text defines: their sizes, and their initial contents as far as these are plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmcompiler.assembler.operands import KeystoneRefusalError, parse_string
from pytest_llmcompiler.assembler.statements import ParsedAssembly, Statement
from pytest_llmcompiler.assembler.tokens import parse_integer, split_operands


@dataclass(frozen=True)
class TextVariable:
    """A variable of a text."""

    name: str
    size: int | None
    """In bytes; None where the text does not say it."""
    is_constant: bool
    """Whether its section is read-only, but perhaps for a dynamic linker."""
    is_global: bool
    contents: bytes | None
    """Its initial contents; None where they hold addresses."""

    def has_other_contents(self, contents: bytes) -> bool:
        """Whether the variable certainly differs from one with these initial contents."""
        if self.size is not None and self.size != len(contents):
            return True
        own = self.contents
        return own is not None and own[: len(contents)].ljust(len(contents), b"\0") != contents


def find_text_variables(parsed: ParsedAssembly) -> dict[str, TextVariable]:
    """The variables of a text by name, without local labels (`.L…`)."""
    names = {name for name in parsed.labels if not name.startswith(".L")} - parsed.code_names
    if not names:
        return {}
    data: dict[str, list[Statement]] = {name: [] for name in names}
    current: dict[int, list[Statement]] = {}
    for statement in parsed.statements:
        if statement.kind == "label" and not statement.name.startswith(".L"):
            current[statement.section] = data.get(statement.name, [])
        elif statement.kind in ("data", "space") and statement.section in current:
            current[statement.section].append(statement)
    return {name: _describe(parsed, name, data[name]) for name in sorted(names)}


def _describe(parsed: ParsedAssembly, name: str, statements: Sequence[Statement]) -> TextVariable:
    section = parsed.sections[parsed.statements[parsed.labels[name]].section]
    contents = _encode(parsed, statements)
    size = parsed.sizes.get(name, len(contents) if contents else None)
    return TextVariable(
        name,
        size,
        is_constant=not section.is_writable or section.name.startswith(".data.rel.ro"),
        is_global=parsed.is_global(name),
        contents=contents if contents is None or size is None else contents[:size],
    )


def _encode(parsed: ParsedAssembly, statements: Sequence[Statement]) -> bytes | None:
    """The bytes of data directives; None where one of them is no string and no plain number."""
    data = bytearray()
    for statement in statements:
        part = _encode_statement(parsed, statement)
        if part is None:
            return None
        data += part
    return bytes(data)


def _encode_statement(parsed: ParsedAssembly, statement: Statement) -> bytes | None:
    if statement.kind == "space":
        count, size, fill = statement.numbers
        return (fill & (1 << 8 * min(size, 4)) - 1).to_bytes(size, "little") * count
    elements = split_operands(statement.operands)
    if statement.name in (".ascii", ".asciz", ".string"):
        end = b"" if statement.name == ".ascii" else b"\0"
        try:
            return b"".join(parse_string(element) + end for element in elements)
        except KeystoneRefusalError:
            return None
    width, values = parsed.dialect.integer_widths.get(statement.name), list(map(parse_integer, elements))
    if width is None or None in values:
        return None
    return b"".join((value & (1 << 8 * width) - 1).to_bytes(width, "little") for value in values if value is not None)
