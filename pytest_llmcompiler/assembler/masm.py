"""Listings as Microsoft's compiler writes them, made into GNU assembly in Intel syntax, line by line.

What is read of MASM is what such listings hold (Microsoft, "Microsoft Macro Assembler reference": directives,
operators, numbers): no macros, structures or conditions. A line that is not understood stays as it is, for the
assembler to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pytest_llmcompiler.assembler.tokens import parse_integer
from pytest_llmcompiler.errors import UnsupportedError

_LISTING = re.compile(r"^[ \t]*[\w$?@]+[ \t]+(?:PROC|SEGMENT)\b", re.IGNORECASE | re.MULTILINE)
_TOKEN = re.compile(r"""(?P<comment>;.*)|(?P<string>'[^']*'|"[^"]*")|(?P<word>[\w$?@.]+)""")
_NUMBER = re.compile(r"([0-9][0-9a-f]*)[hr]", re.IGNORECASE)
"""A number in hexadecimal: an integer, or the bits of a floating-point one."""
_NAMED = re.compile(
    r"([\w$.]+)[ \t]+(proc|endp|segment|ends|db|byte|dw|word|dd|dword|dq|qword)\b(?![ \t]+ptr)(.*)", re.IGNORECASE
)
_PLAIN = re.compile(r"([\w.]+)\b(.*)")
_SILENT = ("include", "includelib", "public", "extrn", "extern", "title", "option", "end", "assume")
_SEGMENTS = {"_text": ".text", "_data": ".data", "_bss": ".bss", "const": '.section .rdata,"dr"'}
_WIDTHS = {"db": 1, "byte": 1, "dw": 2, "word": 2, "dd": 4, "dword": 4, "dq": 8, "qword": 8}
_DUPLICATE = re.compile(r"(\w+)\s+dup\s*\(\s*(\w+|\?)\s*\)", re.IGNORECASE)
_FLAT = re.compile(r"\bflat\s*:\s*", re.IGNORECASE)
_OFFSET = re.compile(r"\boffset\s+(?:flat\s*:\s*)?", re.IGNORECASE)
_DISTANCE = re.compile(r"\b(?:short|near(?:\s+ptr)?)\s+", re.IGNORECASE)


def convert_to_gnu(text: str) -> str:
    """A listing in GNU syntax, on the same lines; any other text as it is. Raises UnsupportedError."""
    if not _LISTING.search(text):
        return text
    if "__ImageBase" in text:
        raise UnsupportedError("tables of distances from __ImageBase, as switches have them, are not supported")
    return "\n".join(map(_line, text.split("\n")))


def _line(line: str) -> str:
    line = _TOKEN.sub(_token, line).strip()
    named = _NAMED.fullmatch(line)
    if named:
        return _named(named[1], named[2].lower(), named[3].strip())
    plain = _PLAIN.fullmatch(line)
    word, rest = (plain[1].lower(), plain[2].strip()) if plain else ("", "")
    if word in _SILENT:
        return ""
    if word in _WIDTHS:
        return _data(_WIDTHS[word], rest)
    return (_OTHERS[word](rest) if word in _OTHERS else None) or _instruction(line)


def _named(name: str, word: str, rest: str) -> str:
    """What a name stands in front of."""
    if word == "proc":
        return f"{name}:"
    if word == "segment":
        return _SEGMENTS.get(name.lower(), f'.section .{name},"dr"')
    return f"{name}: {_data(_WIDTHS[word], rest)}" if word in _WIDTHS else ""


def _token(found: re.Match[str]) -> str:
    if found["comment"]:
        return ""
    if found["string"]:
        return found[0]
    number = _NUMBER.fullmatch(found[0])
    if number:
        return f"0x{number[1]}"
    # `$LN3@f` is a label of its own; an @ says something else in GNU syntax.
    return re.sub(r"^\$", ".L", found[0]).replace("@", ".").replace("?", "$") if found[0] != "?" else "?"


def _instruction(line: str) -> str:
    line = _DISTANCE.sub("", line)
    if re.match(r"lea\b", line, re.IGNORECASE):
        return _OFFSET.sub("", line)
    return _FLAT.sub("", line)


def _data(width: int, values: str) -> str:
    return "; ".join(_items(width, values))


def _items(width: int, values: str) -> Iterator[str]:
    for value in re.findall(r"""(?:'[^']*'|"[^"]*"|\([^()]*\)|[^,'"])+""", values):
        value = _OFFSET.sub("", _FLAT.sub("", value.strip()))
        many = _DUPLICATE.fullmatch(value)
        if many:
            yield f".fill {many[1]}, {width}, {many[2].replace('?', '0')}"
        elif value[:1] in ("'", '"') and width == 1:
            string = value[1:-1].replace(value[0] * 2, value[0])
            escaped = string.replace("\\", "\\\\").replace('"', '\\"')
            yield f'.ascii "{escaped}"'
        else:
            yield f".{width}byte {value.replace('?', '0')}".replace(".1byte", ".byte")


def _common(rest: str) -> str | None:
    name, _, kind = rest.partition(":")
    kind, _, count = kind.partition(":")
    width, number = _WIDTHS.get(kind.strip().lower()), parse_integer(count or "1")
    return None if width is None or number is None else f".comm {name}, {width * number}, 4"


def _padding(rest: str) -> str | None:
    number = parse_integer(rest)
    return "; ".join(["nop"] * number) if number is not None and 0 < number <= 16 else None


_OTHERS: dict[str, Callable[[str], str | None]] = {
    "align": lambda rest: f".balign {rest}",
    "npad": _padding,
    "org": lambda rest: f".zero {rest.removeprefix('.L+').removeprefix('$+')}",
    "comm": _common,
    ".code": lambda _: ".text",
    ".const": lambda _: _SEGMENTS["const"],
}
"""What they are in GNU syntax, from what follows them; None where that is not understood."""
