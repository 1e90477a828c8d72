"""Names that are not ASCII in assembly: gcc writes them as they are, clang and LLVM's assembler put them in quotes.

Inside this package they have no quotes. Where these are taken away, blanks take their place, so that all else stays
where it is.
"""

from __future__ import annotations

import re

from pytest_llmcompiler.assembler.tokens import LITERAL, SYMBOL

_QUOTED_NAME = re.compile(rf'"({SYMBOL})"')
_TEXT_DIRECTIVE = re.compile(r"\.(?:ascii|asciz|string\w*|section|file|ident|loc|incbin|include)\b", re.IGNORECASE)
"""Directives whose strings are no names of symbols."""
_NAME_OR_LITERAL = re.compile(rf"{LITERAL}|{SYMBOL}")


def remove_quotes(source: str) -> str:
    """The text without the quotes of names that are not ASCII."""
    if source.isascii() or '"' not in source:
        return source
    return "\n".join(line if line.isascii() else _remove_from_line(line) for line in source.split("\n"))


def _remove_from_line(line: str) -> str:
    directive = _TEXT_DIRECTIVE.search(line)
    end = directive.start() if directive else len(line)
    return _QUOTED_NAME.sub(lambda match: match[0] if match[0].isascii() else f"  {match[1]}", line[:end]) + line[end:]


def add_quotes(line: str) -> str:
    """The line with quotes around each name that is not ASCII, as LLVM's assembler wants it."""
    if line.isascii():
        return line
    return _NAME_OR_LITERAL.sub(lambda match: f'"{match[0]}"' if _is_foreign(match[0]) else match[0], line)


def count_added_quotes(line: str, length: int) -> int:
    """How many of the first `length` characters of `add_quotes(line)` are quotes that `line` does not have."""
    added = 0
    for match in _NAME_OR_LITERAL.finditer(line):
        if _is_foreign(match[0]):
            if match.start() + added >= length:
                break
            added += 1 + (match.end() + added + 1 < length)
    return added


def _is_foreign(word: str) -> bool:
    return word[0] not in "\"'" and not word.isascii()
