"""The lexer of NASM's language: lines of tokens, with the position of each in the source.

Sources: The Netwide Assembler's manual, chapters 3.1 (lines), 3.4 (constants) and 4.1 (preprocessor lines).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, NamedTuple

from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.letters import name_part, name_start

TokenKind = Literal["number", "string", "word", "escaped", "operator"]
"""`escaped` is a word with a `$` in front, which is always a symbol: `$eax`."""

_TOKEN = re.compile(
    rf"""
      (?P<blank>(?:[ \t\r\f\xa0]|\\\r?\n)+)
    | (?P<comment>;(?:[^\\\n]|\\\r?\n|\\)*)
    | (?P<end>\n)
    | (?P<string>'[^'\n]*'|"[^"\n]*"|`(?:\\[^\n]|[^`\\\n])*`)
    | (?P<number>0[xX][0-9a-fA-F_]+(?:\.[0-9a-fA-F_]*)?[pP][+-]?\d+|\d[\d_]*(?:\.[\d_]*(?:[eE][+-]?\d+)?|[eE][+-]\d+)
        |\$?\d\w*)
    | (?P<word>{name_start(".@")}{name_part(".?@$#~")}*|\?{name_part(".?@$#~")}+)
    | (?P<escaped>\${name_start(".?@")}{name_part(".?@$#~")}*)
    | (?P<operator><<<|>>>|<=>|<<|>>|//|%%|==|!=|<>|<=|>=|&&|\|\||\^\^|\$\$|[-+*/%~!&|^()\[\],:=<>?${{}}\#])
    | (?P<bad>.)
    """,
    re.VERBOSE | re.ASCII,
)
_LONGEST_NUMBER = 200
"""Characters. Python's own limit is 4300 digits; no number of 64 bits has so many."""
_INTEGER = re.compile(
    r"\$(?P<hex1>[0-9a-f]+)|0[xh](?P<hex2>[0-9a-f]+)|(?P<hex3>\d[0-9a-f]*)[hx]|(?P<bin1>[01]+)[by]|0[by](?P<bin2>[01]+)"
    r"|(?P<oct1>[0-7]+)[oq]|0[oq](?P<oct2>[0-7]+)|(?P<dec1>\d+)[dt]?|0[dt](?P<dec2>\d+)"
)
_BASES = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}
_FLOAT = re.compile(r"(\d+)(?:\.(\d*))?(?:e([+-]?\d{1,3}))?")
_HEX_FLOAT = re.compile(r"0x([0-9a-f]+)(?:\.([0-9a-f]*))?p([+-]?\d{1,3})")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED_BYTES = {
    b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r", b"e": b"\x1b",
}  # fmt: skip
_LARGEST_CODE_POINT = 0x10FFFF


class Token(NamedTuple):
    """A token of NASM's language."""

    kind: TokenKind
    text: str
    """As written; an escaped word is without its `$`."""
    offset: int
    """Of its first character in the source."""

    @property
    def name(self) -> str:
        """A word in lower case, to compare it with reserved words; empty for all else."""
        return self.text.lower() if self.kind == "word" else ""

    def is_operator(self, text: str) -> bool:
        """Whether this is the operator or bracket `text`."""
        return self.kind == "operator" and self.text == text


class SourceLine(NamedTuple):
    """A line of the source, with the lines that continue it."""

    tokens: list[Token]
    newlines: int
    """How many lines of the source it takes."""
    end: int
    """The offset of its end."""


def build_error(source: str, message: str, offset: int) -> AssemblyError:
    """The error for a position in the source."""
    return AssemblyError(message, source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset))


def split_lines(source: str) -> Iterator[SourceLine]:
    """The lines of a source. Raises AssemblyError for a character that starts no token."""
    tokens: list[Token] = []
    newlines = 0
    for match in _TOKEN.finditer(source):
        kind, text, start = match.lastgroup, match[0], match.start()
        if kind in ("blank", "comment"):
            newlines += text.count("\n")
        elif kind == "end":
            yield SourceLine(tokens, newlines + 1, start)
            tokens, newlines = [], 0
        elif kind == "bad":
            what = "unterminated string" if text in "'\"`" else f"character {text!r} outside of strings and comments"
            raise build_error(source, what, start)
        elif kind == "escaped":
            tokens.append(Token("escaped", text[1:], start))
        else:
            tokens.append(Token(kind, text, start))  # type: ignore[arg-type]
    yield SourceLine(tokens, newlines, len(source))


def parse_integer(text: str) -> int | None:
    """The value of an integer: `255`, `0xff`, `0ffh`, `$0ff`, `1111_1111b`, `0b1`, `377q`; None for other texts."""
    match = _INTEGER.fullmatch(text.replace("_", "").lower()) if len(text) <= _LONGEST_NUMBER else None
    if match is None or match.lastgroup is None:
        return None
    return int(match[match.lastgroup], _BASES[match.lastgroup[:3]])


def parse_float(text: str) -> Fraction | None:
    """The exact value of a floating-point number, decimal or hexadecimal; None for other texts."""
    if len(text) > _LONGEST_NUMBER:
        return None
    text = text.replace("_", "").lower()
    match = _HEX_FLOAT.fullmatch(text)
    base, scale = (16, 2) if match else (10, 10)
    match = match or _FLOAT.fullmatch(text)
    if match is None:
        return None
    fraction = match[2] or ""
    value = Fraction(int(match[1] + fraction, base), base ** len(fraction))
    return value * Fraction(scale) ** int(match[3] or 0)


def decode_string(text: str) -> bytes:
    """The bytes of a string, which is given with its quotes. Only backquotes have escapes."""
    data = text[1:-1].encode("utf-8", "surrogatepass")
    return _ESCAPE.sub(_decode_escape, data) if text[0] == "`" else data


def _decode_escape(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, short, long, other = match.groups()
    if octal:
        return bytes([int(octal, 8) & 255])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    if short or long:
        return chr(min(int(short or long, 16), _LARGEST_CODE_POINT)).encode("utf-8", "surrogatepass")
    return _ESCAPED_BYTES.get(other, other)


class FloatFormat(NamedTuple):
    """A binary format of floating-point numbers."""

    bytes: int
    precision: int
    """Bits of the significand, with the leading one."""
    exponent_bits: int
    has_leading_one: bool = False
    """Whether the leading one of the significand is stored."""


FLOAT_FORMATS = {
    2: FloatFormat(2, 11, 5), 4: FloatFormat(4, 24, 8), 8: FloatFormat(8, 53, 11), 10: FloatFormat(10, 64, 15, True),
    16: FloatFormat(16, 113, 15),
}  # fmt: skip
"""Bytes -> format."""


def encode_float(value: Fraction | str, width: int) -> int:
    """The bits of a number in the format of so many bytes, rounded to nearest; also of `infinity`, `qnan`, `snan`."""
    form = FLOAT_FORMATS[width]
    if isinstance(value, str):
        return _encode_special(value, form)
    if width == 8:
        try:
            return int.from_bytes(struct.pack("<d", float(value)), "little")
        except OverflowError:
            return _encode_special("infinity", form)
    return _round(value, form)


def _encode_special(name: str, form: FloatFormat) -> int:
    bits = form.precision - 1
    exponent = ((1 << form.exponent_bits) - 1) << (bits + form.has_leading_one)
    fraction = {"infinity": 0, "qnan": 1 << bits - 1, "nan": 1 << bits - 1, "snan": 1 << bits - 2}[name]
    return exponent | (form.has_leading_one << bits) | fraction


def _round(value: Fraction, form: FloatFormat) -> int:
    """The bits of a non-negative number, rounded to nearest, ties to even."""
    if value == 0:
        return 0
    bias = (1 << form.exponent_bits - 1) - 1
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    if value < Fraction(2) ** exponent:
        exponent -= 1
    exponent = max(exponent, 1 - bias)
    significand = round(value / Fraction(2) ** (exponent - form.precision + 1))
    if significand >> form.precision:
        significand, exponent = significand >> 1, exponent + 1
    if exponent > bias:
        return _encode_special("infinity", form)
    is_normal = significand >> (form.precision - 1)
    stored = (exponent + bias) if is_normal else 0
    if form.has_leading_one:
        return stored << form.precision | significand
    return stored << (form.precision - 1) | (significand & ((1 << form.precision - 1) - 1))
