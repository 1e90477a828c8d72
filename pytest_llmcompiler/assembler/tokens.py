"""The smallest parts of GNU assembly text: symbols, literals, numbers, operands."""

from __future__ import annotations

import re

from pytest_llmcompiler.letters import name_part, name_start

SYMBOL = rf"{name_start('.$?')}{name_part('.$?')}*"
"""The pattern of a symbol that needs no quotes."""
LITERAL = r"""'(?:\\.|[^'\\])'|"(?:\\.|[^"\\])*\""""
"""The pattern of a string or a character, with its quotes."""

_COMMA = re.compile(r",(?![^()]*\))")
"""A comma outside of parentheses, in time that grows with the square of the length."""
_SHORT = 256
"""Characters up to which `_COMMA` is the fastest way."""
_SEPARATOR = re.compile(rf"""{LITERAL}|\([^()"']*\)|,""")
"""What may hold commas, and else a comma."""
_NUMBER = re.compile(r"([+-]?)\s*(0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)$")


def parse_integer(text: str) -> int | None:
    """The value of an integer literal of GAS: decimal, 0x, 0b, or octal with a leading 0; with or without a sign.

    None for any other text, sums and characters too.
    """
    match = _NUMBER.match(text.strip())
    if match is None:
        return None
    digits = match[2]
    value = int(digits, 8) if digits.isdigit() and digits[0] == "0" else int(digits, 0)
    return -value if match[1] == "-" else value


def split_operands(text: str) -> list[str]:
    """Split at the commas that stand outside of parentheses, strings and characters. The parts have no outer space."""
    if not text:
        return []
    if '"' not in text and "'" not in text and len(text) <= _SHORT:
        return [part.strip() for part in _COMMA.split(text)]
    parts, start = list[str](), 0
    for match in _SEPARATOR.finditer(text):
        if match[0] == ",":
            parts.append(text[start : match.start()].strip())
            start = match.end()
    parts.append(text[start:].strip())
    return parts
