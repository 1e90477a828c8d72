"""Listings of Microsoft's compiler, converted line by line to GNU assembly in Intel syntax.

Only the parts of MASM that such listings contain are converted (Microsoft, "Microsoft Macro Assembler reference":
directives, operators, numbers): no macros, structures or conditions. A line that is not understood stays as it is, and
the assembler refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pytest_llmcompiler.assembler.tokens import parse_integer
from pytest_llmcompiler.letters import name_part

_LISTING = re.compile(rf"^[ \t]*{name_part('$?@')}+[ \t]+(?:PROC|SEGMENT)\b", re.IGNORECASE | re.MULTILINE)
"""Matches in listings, and in no other assembly."""
_TOKEN = re.compile(rf"""(?P<comment>;.*)|(?P<string>'[^']*'|"[^"]*")|(?P<word>{name_part("$?@.")}+)""")
_HEXADECIMAL = re.compile(r"([0-9][0-9a-f]*)[hr]", re.IGNORECASE)
"""An integer (`h`), or the bits of a floating-point number (`r`)."""
_NAME_AND_DIRECTIVE = re.compile(
    rf"({name_part('$.')}+)[ \t]+(proc|endp|segment|ends|db|byte|dw|word|dd|dword|dq|qword)\b(?![ \t]+ptr)(.*)",
    re.IGNORECASE,
)
_DIRECTIVE = re.compile(r"([\w.]+)\b(.*)")
_IGNORED = ("include", "includelib", "extrn", "extern", "title", "option", "end", "assume")
_SEGMENTS = {"_text": ".text", "_data": ".data", "_bss": ".bss", "const": '.section .rdata,"dr"'}
"""MASM's name of a segment -> the GNU directive that enters it."""
_WIDTHS = {"db": 1, "byte": 1, "dw": 2, "word": 2, "dd": 4, "dword": 4, "dq": 8, "qword": 8}
"""Data directive -> bytes of one element."""
_COMMON_ALIGNMENT = 4
"""The exponent of 2 for variables of `COMM`, which gives 16 bytes: MASM does not say the alignment."""
_LONGEST_PADDING = 16
"""The most bytes of an `npad`: compilers align code to 16 bytes at most."""
_ELEMENT = re.compile(r"""(?:'[^']*'|"[^"]*"|\([^()]*\)|[^,'"])+""")
_DUPLICATE = re.compile(r"(\w+)\s+dup\s*\(\s*(\w+|\?)\s*\)", re.IGNORECASE)
_FLAT = re.compile(r"\bflat\s*:\s*", re.IGNORECASE)
_OFFSET = re.compile(r"\boffset\s+(?:flat\s*:\s*)?", re.IGNORECASE)
_FROM_IMAGE = re.compile(r"\bimagerel\s+", re.IGNORECASE)
"""The operator for the distance of an address from `__ImageBase`, which is 0 here."""
_JUMP_DISTANCE = re.compile(r"\b(?:short|near(?:\s+ptr)?)\s+", re.IGNORECASE)


def is_listing(text: str) -> bool:
    """Whether a text is a listing of Microsoft's compiler."""
    return _LISTING.search(text) is not None


def convert_to_gnu(text: str) -> str:
    """A listing in GNU syntax, with the same line numbers; any other text unchanged."""
    if not is_listing(text):
        return text
    return "\n".join(map(_convert_line, text.split("\n")))


def _convert_line(line: str) -> str:
    line = _TOKEN.sub(_convert_token, line).strip()
    named = _NAME_AND_DIRECTIVE.fullmatch(line)
    if named:
        return _convert_named_directive(named[1], named[2].lower(), named[3].strip())
    match = _DIRECTIVE.fullmatch(line)
    directive, operands = (match[1].lower(), match[2].strip()) if match else ("", "")
    if directive in _IGNORED:
        return ""
    if directive in _WIDTHS:
        return _convert_data(_WIDTHS[directive], operands)
    convert = _CONVERSIONS.get(directive)
    return (convert(operands) if convert else None) or _convert_instruction(line)


def _convert_token(match: re.Match[str]) -> str:
    """Drop comments, and write numbers and names as GNU as does."""
    token = match[0]
    if match["comment"]:
        return ""
    if match["string"] or token == "?":
        return token
    number = _HEXADECIMAL.fullmatch(token)
    if number:
        return f"0x{number[1]}"
    # `$LN3@f` is a local label. An @ in a name has another meaning in GNU syntax, and a ? is not allowed there.
    return re.sub(r"^\$", ".L", token).replace("@", ".").replace("?", "$")


def _convert_named_directive(name: str, directive: str, operands: str) -> str:
    """A directive with a name in front of it: a function, a segment, or a variable. `ENDP` and `ENDS` are dropped."""
    if directive == "proc":
        return f"{name}:"
    if directive == "segment":
        return _SEGMENTS.get(name.lower(), f'.section .{name},"dr"')
    return f"{name}: {_convert_data(_WIDTHS[directive], operands)}" if directive in _WIDTHS else ""


def _convert_instruction(line: str) -> str:
    line = _JUMP_DISTANCE.sub("", line)
    if re.match(r"lea\b", line, re.IGNORECASE):
        return _OFFSET.sub("", line)
    return _FLAT.sub("", line)


def _convert_data(width: int, values: str) -> str:
    return "; ".join(_convert_elements(width, values))


def _convert_elements(width: int, values: str) -> Iterator[str]:
    """The GNU directive for each element of a data directive. An uninitialised element (`?`) becomes 0."""
    for element in _ELEMENT.findall(values):
        element = _FROM_IMAGE.sub("", _OFFSET.sub("", _FLAT.sub("", element.strip())))
        duplicate = _DUPLICATE.fullmatch(element)
        if duplicate:
            yield f".fill {duplicate[1]}, {width}, {duplicate[2].replace('?', '0')}"
        elif element[:1] in ("'", '"') and width == 1:
            # In a string, its own quote is doubled.
            string = element[1:-1].replace(element[0] * 2, element[0])
            escaped = string.replace("\\", "\\\\").replace('"', '\\"')
            yield f'.ascii "{escaped}"'
        else:
            yield f".{width}byte {element.replace('?', '0')}".replace(".1byte", ".byte")


def _convert_common(operands: str) -> str | None:
    """`COMM NAME:TYPE:COUNT`, where the count may be missing."""
    name, _, kind = operands.partition(":")
    kind, _, count = kind.partition(":")
    width, number = _WIDTHS.get(kind.strip().lower()), parse_integer(count or "1")
    return None if width is None or number is None else f".comm {name}, {width * number}, {_COMMON_ALIGNMENT}"


def _convert_padding(operands: str) -> str | None:
    """`npad COUNT`: so many bytes that do nothing."""
    number = parse_integer(operands)
    return "; ".join(["nop"] * number) if number is not None and 0 < number <= _LONGEST_PADDING else None


_CONVERSIONS: dict[str, Callable[[str], str | None]] = {
    "align": lambda operands: f".balign {operands}",
    "npad": _convert_padding,
    "org": lambda operands: f".zero {operands.removeprefix('.L+').removeprefix('$+')}",
    "comm": _convert_common,
    "public": lambda operands: f".globl {operands}",
    ".code": lambda _: ".text",
    ".const": lambda _: _SEGMENTS["const"],
}
"""Directive -> its conversion to GNU syntax, from its operands; None where the operands are not understood."""
