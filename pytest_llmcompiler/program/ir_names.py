r"""Names that are not ASCII in IR.

LLVM writes each byte of such a name as two hexadecimal digits, and reads the letters themselves as well: `@"\C3\A9"`
and `@"é"` are one name. Inside this package IR has the letters: so a name in a text is the name that llvmlite, the
symbol tables of ELF files and the debug information give. Prompts have LLVM's own spelling.

Source: LLVM Language Reference Manual, "Identifiers".
"""

from __future__ import annotations

import re
from typing import Any

from pytest_llmcompiler.errors import IRError
from pytest_llmcompiler.letters import name_part

_ESCAPES = re.compile(r'[@%$]"[^"\n]*\\[89A-Fa-f]')
_LETTERS = re.compile(r'[@%$]"[^"\n]*[^\x00-\x7f]')
_STRING = re.compile(r'([@%$]?)"([^"\n]*)"')
"""A name or another string. The quotes of a string's own are written as digits."""
_UNREADABLE = re.compile("[\x80-\x9f\u2028\u2029]")
"""Control characters, and what ends a line to Python."""
_TAKEN_AS_IT_IS = "\\01"
"""The mark in front of a name that a linker takes as it is."""
_BYTES = re.compile(r"(?:\\[89A-Fa-f][0-9A-Fa-f])+")
_SYMBOL = re.compile(rf'@"({name_part("$.")}+)"')
_LETTER = re.compile(r"[^\x00-\x7f]")


def print_ir(value: Any) -> str:
    """The text of a module of llvmlite, or of a value in it, with plain names."""
    return spell_plainly(str(value))


def spell_plainly(text: str) -> str:
    """IR in which the names of variables, functions, types and registers have letters instead of escaped bytes. Bytes
    that are no UTF-8, and control characters, stay as they are."""
    if _ESCAPES.search(text) is None:
        return text
    return _STRING.sub(lambda match: match[0] if not match[1] else f'{match[1]}"{_decode(match[2])}"', text)


def spell_as_llvm(text: str) -> str:
    """IR in which each name is written as LLVM writes it."""
    if _LETTERS.search(text) is None:
        return text
    return _STRING.sub(lambda match: match[0] if not match[1] else f'{match[1]}"{_encode(match[2])}"', text)


def require_readable_symbols(text: str) -> None:
    """Raise IRError for a symbol with quotes, backslashes, control characters, or bytes that are no UTF-8: no assembly
    holds it. `text` has plain names."""
    if "\\" not in text:
        return
    for match in _STRING.finditer(text):
        if match[1] == "@" and "\\" in match[2].removeprefix(_TAKEN_AS_IT_IS):
            raise IRError(f"assembly can't hold the name {match[0]}: give it one without escapes")


def unquote_symbols(text: str) -> str:
    """IR in which symbols of C have no quotes, for readers that compare names. LLVM does not read it."""
    return _SYMBOL.sub(r"@\1", text)


def _decode(name: str) -> str:
    return _BYTES.sub(lambda match: _decode_bytes(match[0]), name)


def _decode_bytes(escaped: str) -> str:
    try:
        letters = bytes.fromhex(escaped.replace("\\", "")).decode()
    except UnicodeDecodeError:
        return escaped
    return escaped if _UNREADABLE.search(letters) else letters


def _encode(name: str) -> str:
    return _LETTER.sub(lambda letter: "".join(f"\\{byte:02X}" for byte in letter[0].encode()), name)
