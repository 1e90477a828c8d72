"""The readings of a text: as GNU assembly, as NASM's language, or first as one and then as the other.

Most texts show by their directives and operands in which language they are. Where a text has marks of both languages,
or only weak ones of NASM's (comments behind `;`, which separates statements in GNU assembly), an assembler decides: the
first reading counts that is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from pytest_llmcompiler.assembler.gas import check_length, parse_assembly, parse_translation
from pytest_llmcompiler.assembler.masm import is_listing
from pytest_llmcompiler.assembler.nasm import translate
from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.targets.dialect import Dialect

_Result = TypeVar("_Result")
Reading = Callable[[str, Dialect], ParsedAssembly]

_SYNTAX_DIRECTIVES = (".intel_syntax", ".att_syntax")
_PERCENT_REGISTER = re.compile(r"%(?:[re]?[abcd]x|[re][sd]i|[re][sb]p|[abcd][lh]|r\d+[dwb]?|[xyz]mm\d+|rip)\b")
_GNU_MARK = re.compile(
    r"^[ \t]*\.(?:globl|global|text|data|bss|section|type|size|p2align|balign|byte|long|quad|asciz|ascii|string|zero"
    r"|file|cfi_\w+|macro|endm|rept|irpc?|endr|include|incbin|quad|comm|weak|hidden|ident)\b(?![ \t]*:)"
    r"|ptr[ \t]*\[|offset[ \t]+\w",
    re.MULTILINE,
)
_NASM_LINE = re.compile(
    r"""
    ^[ \t]*(?:
        (?:section|segment)[ \t]+[.\w]
      | \[[ \t]*(?:section|segment|bits|global|extern|default)\b
      | (?:global|extern|static|common)[ \t]+[\w$.?@]
      | default[ \t]+(?:rel|abs)\b
      | bits[ \t]+\d
      | %(?:i?x?define|i?assign|undef|macro|include|use|if\w*|rep)\b
      | align[ \t]+\w
      | (?:[\w.$?@\#~]+(?:[ \t]*:[ \t]*|[ \t]+))?(?:d[bwdqtoyz]|res[bwdqtoyz]|equ|times|incbin)[ \t]+\S
    )
    """,
    re.VERBOSE | re.MULTILINE,
)
_NASM_OPERAND = re.compile(r"(?:byte|word)[ \t]*\[|\[[ \t]*(?:rel|abs)[ \t]")
_WEAK_NASM_MARK = re.compile(
    r";|(?:short|near)[ \t]|^[ \t]*\.\w+[ \t]*$|\b\d[0-9a-f]*h\b|\[[ \t]*[c-gs]s:", re.MULTILINE
)


def try_readings(text: str, dialect: Dialect, attempt: Callable[[ParsedAssembly], _Result]) -> _Result:
    """The result of an attempt on the first reading for which it raises no AssemblyError.

    Where it raises for all readings, the error is that of the reading that came furthest in the text.
    """
    errors = []
    for parse in find_readings(text, dialect):
        try:
            return attempt(parse(text, dialect))
        except AssemblyError as error:
            errors.append(error)
    raise max(errors, key=lambda error: (error.line, error.column))


def find_readings(text: str, dialect: Dialect) -> tuple[Reading, ...]:
    """The parsers for a text, the most likely first."""
    text = text.lower()
    if not dialect.accepts_nasm or _is_gnu(text) or is_listing(text):
        return (parse_assembly,)
    has_gnu_marks = _GNU_MARK.search(text) is not None
    if not _NASM_LINE.search(text) and not _NASM_OPERAND.search(text):
        is_clear = has_gnu_marks or not _WEAK_NASM_MARK.search(text)
        return (parse_assembly,) if is_clear else (parse_assembly, parse_nasm)
    if not has_gnu_marks:
        return (parse_nasm,)
    gnu_marks = len(_GNU_MARK.findall(text))
    nasm_marks = len(_NASM_LINE.findall(text)) + len(_NASM_OPERAND.findall(text))
    return (parse_nasm, parse_assembly) if nasm_marks >= gnu_marks else (parse_assembly, parse_nasm)


def _is_gnu(text: str) -> bool:
    """Whether a text has what no NASM text has outside of comments: a directive that selects a syntax, or a register
    with a percent sign."""
    if any(directive in text for directive in _SYNTAX_DIRECTIVES):
        return True
    match = _PERCENT_REGISTER.search(text)
    while match:
        start = text.rfind("\n", 0, match.start()) + 1
        if ";" not in text[start : match.start()]:
            return True
        end = text.find("\n", match.end())
        match = _PERCENT_REGISTER.search(text, end) if end >= 0 else None
    return False


def parse_nasm(text: str, dialect: Dialect) -> ParsedAssembly:
    """Parse a text in NASM's language. Raises AssemblyError and UnsupportedError."""
    check_length(text)
    return parse_translation(translate(text), dialect)
