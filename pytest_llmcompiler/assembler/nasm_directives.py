"""NASM's sections, data and other directives in GNU syntax, and its list of mnemonics.

Source: The Netwide Assembler's manual, chapters 3.2 (pseudo-instructions), 7 (directives) and 8 (output formats).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module

from pytest_llmcompiler.assembler.nasm_expressions import ExpressionParser, Scope, SymbolSum, read_float, wrap
from pytest_llmcompiler.assembler.nasm_lexer import FLOAT_FORMATS, Token, build_error, decode_string
from pytest_llmcompiler.assembler.nasm_operands import format_sum, split_elements

DATA_WIDTHS = {"db": 1, "dw": 2, "dd": 4, "dq": 8, "dt": 10, "do": 16, "ddq": 16, "dy": 32, "dz": 64}
"""Directive -> bytes of one element."""
SPACE_WIDTHS = {
    "resb": 1, "resw": 2, "resd": 4, "resq": 8, "rest": 10, "reso": 16, "resdq": 16, "resy": 32, "resz": 64,
}  # fmt: skip
_DATA_DIRECTIVES = {1: ".byte", 2: ".2byte", 4: ".4byte", 8: ".8byte"}
_FLAGS = (
    (re.compile(r"\.(?:text|init|fini)\b"), "ax"),
    (re.compile(r"\.(?:l?data|l?bss|init_array|fini_array|preinit_array|tdata|tbss)\b"), "aw"),
    (re.compile(r"\.(?:comment|debug|note|symtab|strtab|shstrtab)\b"), ""),
)
"""Name of a section -> its ELF flags where no attributes are given; all others are read-only data."""
_ATTRIBUTES = {
    "alloc": ("a", ""), "noalloc": ("", "a"), "exec": ("x", ""), "noexec": ("", "x"), "write": ("w", ""),
    "nowrite": ("", "w"), "code": ("ax", "w"), "data": ("aw", "x"), "rdata": ("a", "wx"), "bss": ("aw", "x"),
}  # fmt: skip
"""Attribute of a section -> the flags that it adds and removes."""
_CONDITIONS = (
    "a", "ae", "b", "be", "c", "e", "g", "ge", "l", "le", "na", "nae", "nb", "nbe", "nc", "ne", "ng", "nge", "nl",
    "nle", "no", "np", "ns", "nz", "o", "p", "pe", "po", "s", "z",
)  # fmt: skip
_OTHER_MNEMONIC = re.compile(
    rf"(?:j|set|cmov)(?:{'|'.join(_CONDITIONS)})|v?cmp(?:eq|lt|le|unord|neq|nlt|nle|ord)[ps][sd]|pclmul[hl]q[hl]qdq"
    r"|sal|retn?|retf|xlatb?|f?wait|loop(?:n?[ez])?|(?:ins|outs|movs|cmps|stos|lods|scas)[bwdq]|iret[dq]?|int3|jrcxz"
    r"|j[er]?cxz|pushf[dqw]?|popf[dqw]?"
)
"""Mnemonics that capstone lists under another name."""


@lru_cache(maxsize=1)
def _load_mnemonics() -> frozenset[str]:
    constants = vars(import_module("capstone.x86_const"))
    return frozenset(name.removeprefix("X86_INS_").lower() for name in constants if name.startswith("X86_INS_"))


def is_mnemonic(name: str) -> bool:
    """Whether a word in lower case is an instruction."""
    return _OTHER_MNEMONIC.fullmatch(name) is not None or name in _load_mnemonics()


def format_section(tokens: Sequence[Token], source: str) -> str:
    """The GNU directive for `section NAME ATTRIBUTES`, from the tokens behind the word `section`."""
    if not tokens or tokens[0].kind not in ("word", "escaped"):
        raise build_error(source, "expected the name of a section", tokens[0].offset if tokens else len(source))
    name = tokens[0].text
    if len(tokens) > 2 and tokens[1].is_operator(","):
        # Mach-O's `__TEXT,__text`.
        name = f".{tokens[2].text.strip('_')}"
    flags = set(next((flags for pattern, flags in _FLAGS if pattern.match(name)), "a"))
    is_nobits = name.startswith((".bss", ".lbss", ".tbss"))
    for token in tokens[1:]:
        added, removed = _ATTRIBUTES.get(token.name, ("", ""))
        flags = (flags | set(added)) - set(removed)
        is_nobits = (is_nobits or token.name in ("nobits", "bss")) and token.name != "progbits"
    letters = "".join(letter for letter in "awx" if letter in flags)
    return f'.section {name},"{letters}",@{"nobits" if is_nobits else "progbits"}'


class DataFormatter:
    """Writes the elements of data directives in GNU syntax."""

    def __init__(self, scope: Scope, spell_symbol: Callable[[str], str]) -> None:
        self._scope = scope
        self._spell_symbol = spell_symbol

    def parse_number(self, tokens: Sequence[Token], what: str) -> int:
        """The value of an expression that must be known where it stands."""
        if not tokens:
            raise build_error(self._scope.source, f"{what} is missing", 0)
        parser = ExpressionParser(tokens, 0, self._scope)
        value = self._scope.simplify(parser.parse())
        parser.expect_end()
        if not value.is_number:
            raise build_error(self._scope.source, f"{what} must be a plain number that is known here", tokens[0].offset)
        return value.number

    def measure(self, tokens: Sequence[Token], width: int) -> int:
        """The bytes of a data directive."""
        size = 0
        for element in split_elements(tokens):
            count, inner = self._split_duplicate(element)
            if inner is not None:
                size += count * self.measure(inner, width)
            elif _is_string(element, width):
                size += -(-len(decode_string(element[0].text)) // width) * width
            else:
                size += width
        return size

    def format(self, tokens: Sequence[Token], width: int) -> Iterator[tuple[str, int]]:
        """GNU's directive for each element, with the element's offset in the source."""
        for element in split_elements(tokens):
            if not element:
                raise build_error(self._scope.source, "a value is missing", tokens[0].offset if tokens else 0)
            count, inner = self._split_duplicate(element)
            if inner is not None:
                yield from self.repeat(inner, width, count)
            else:
                yield self._format_element(element, width), element[0].offset

    def repeat(self, tokens: Sequence[Token], width: int, count: int) -> Iterator[tuple[str, int]]:
        """A data directive, so many times. One number becomes one directive, whatever the count."""
        pieces = list(self.format(tokens, width)) if count > 0 else []
        match = re.fullmatch(r"\.\w+ (\d+)", pieces[0][0]) if len(pieces) == 1 else None
        if match and count > 1 and (width <= 4 or match[1] == "0") and width in _DATA_DIRECTIVES:
            yield f".fill {count}, {width}, {match[1]}", pieces[0][1]
            return
        for _ in range(count):
            yield from pieces

    def _split_duplicate(self, tokens: Sequence[Token]) -> tuple[int, Sequence[Token] | None]:
        """Count and elements of `COUNT dup (ELEMENTS)`; None for other elements."""
        place = next((number for number, token in enumerate(tokens) if token.name == "dup"), None)
        if place is None:
            return 0, None
        inner = tokens[place + 1 :]
        if len(inner) < 2 or not inner[0].is_operator("(") or not inner[-1].is_operator(")"):
            raise build_error(self._scope.source, "expected values in parentheses behind dup", tokens[place].offset)
        return self.parse_number(tokens[:place], "the count of dup"), inner[1:-1]

    def _format_element(self, tokens: Sequence[Token], width: int) -> str:
        if _is_string(tokens, width):
            data = decode_string(tokens[0].text)
            data += bytes(-len(data) % width)
            return ".byte " + ",".join(map(str, data)) if data else ".zero 0"
        if len(tokens) == 1 and tokens[0].is_operator("?"):
            return f".zero {width}"
        bits = read_float(tokens, width) if width in FLOAT_FORMATS and not _is_integer(tokens) else None
        if bits is not None:
            if width in _DATA_DIRECTIVES:
                return f"{_DATA_DIRECTIVES[width]} {bits}"
            return ".byte " + ",".join(map(str, bits.to_bytes(width, "little")))
        if width not in _DATA_DIRECTIVES:
            message = f"data of {width} bytes takes floating-point numbers and strings"
            raise build_error(self._scope.source, message, tokens[0].offset)
        parser = ExpressionParser(tokens, 0, self._scope)
        value = self._scope.simplify(parser.parse())
        parser.expect_end()
        return f"{_DATA_DIRECTIVES[width]} {self._format_value(value, width)}"

    def _format_value(self, value: SymbolSum, width: int) -> str:
        if value.is_number:
            return str(wrap(value.number) & ((1 << 8 * width) - 1))
        return format_sum(value, self._spell_symbol)


def _is_string(tokens: Sequence[Token], width: int) -> bool:
    """Whether an element is a string, whose characters are all stored."""
    return len(tokens) == 1 and tokens[0].kind == "string"


def _is_integer(tokens: Sequence[Token]) -> bool:
    from pytest_llmcompiler.assembler.nasm_lexer import parse_integer

    return any(token.kind == "number" and parse_integer(token.text) is not None for token in tokens)
