"""The bytes of data directives, encoded without an assembler."""

from __future__ import annotations

from typing import NamedTuple

from pytest_llmcompiler.assembler.labels import LabelTable, refuse_statement
from pytest_llmcompiler.assembler.operands import KeystoneRefusalError, parse_string
from pytest_llmcompiler.assembler.statements import Statement
from pytest_llmcompiler.assembler.tokens import split_operands
from pytest_llmcompiler.targets.relocation import Relocation
from pytest_llmcompiler.targets.x86_64_linux import DATA_RELOCATIONS, DATA_WIDTHS


class DataField(NamedTuple):
    """A field of a data directive that is to hold an address, or a difference of addresses."""

    offset: int
    """In bytes from the start of the directive."""
    relocation: Relocation
    symbol: str
    subtracted_symbol: str | None
    addend: int


def encode_data(labels: LabelTable, number: int, statement: Statement) -> tuple[bytes, list[DataField]]:
    """The bytes of statement number `number`, in which fields with addresses are zero, and these fields.

    Raises KeystoneRefusalError.
    """
    if statement.kind == "space":
        count, size, fill = statement.numbers
        # GAS takes at most four bytes of the value; the rest of a wider element is zero.
        return (fill & ((1 << 8 * min(size, 4)) - 1)).to_bytes(size, "little") * count, []
    elements = split_operands(statement.operands)
    if statement.name in (".ascii", ".asciz", ".string"):
        end = b"" if statement.name == ".ascii" else b"\0"
        return b"".join(parse_string(element) + end for element in elements), []
    return _encode_integers(labels, number, statement, elements)


def _encode_integers(
    labels: LabelTable, number: int, statement: Statement, elements: list[str]
) -> tuple[bytes, list[DataField]]:
    width = DATA_WIDTHS.get(statement.name)
    if width is None:
        raise KeystoneRefusalError(f"{statement.name} is left to LLVM")
    data, fields = bytearray(), list[DataField]()
    for element in elements:
        value = labels.parse_expression(element, number, statement)
        if value.is_number:
            if not -(1 << 8 * width - 1) <= value.addend < 1 << 8 * width:
                raise KeystoneRefusalError(f"{element} does not fit {statement.name}: left to LLVM")
            data += (value.addend & ((1 << 8 * width) - 1)).to_bytes(width, "little")
            continue
        subtracted = value.subtracted_symbol
        # `.` is subtracted here only where the directive has one element: then it is the address of the field.
        has_unclear_dot = value.symbol == "." or (subtracted == "." and len(elements) > 1)
        allowed_modifiers = (None, "PLT") if subtracted and width == 4 else (None,)
        if value.symbol is None or has_unclear_dot or value.modifier not in allowed_modifiers:
            raise KeystoneRefusalError(f"the expression {element!r} is left to LLVM")
        fields.append(DataField(len(data), DATA_RELOCATIONS[width], value.symbol, subtracted, value.addend))
        data += bytes(width)
    return bytes(data), fields


def read_alignment(statement: Statement) -> tuple[int, ...]:
    """The alignment in bytes, the fill value or -1, the most bytes to skip or -1. Raises KeystoneRefusalError.

    Refused are operands for which LLVM's message or result differs from what the numbers say.
    """
    alignment, value, most_skipped = statement.numbers
    operands = statement.operands
    if "-" in operands or operands.endswith(",") or (most_skipped == 0 and operands.count(",") == 2):
        raise refuse_statement(statement)
    return alignment, value, most_skipped
