"""The lexer of GNU assembly: statements are separated, and comments blanked out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.letters import find_other_letter

_TOKEN = re.compile(
    r"""
      (?P<string>"(?:\\[^\n]|[^"\\\n])*")
    | (?P<character>'(?:\\[^\n]|[^'\\\n])')
    | (?P<block>/\*.*?\*/)
    | (?P<line>\#|//)
    | (?P<end>[;\n])
    | (?P<bad>["']|/\*)
    """,
    re.VERBOSE | re.DOTALL,
)
_TOKEN_START = re.compile(r"[\"'/#;\n]")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f\u0080-\u009f\ud800-\udfff]|\r(?!\n)")

_Token = tuple[str, int, int]
"""The name of a group of `_TOKEN`, start and end. A plain tuple, since there is one for each line of a text."""


def split_statements(parsed: ParsedAssembly) -> tuple[list[tuple[int, int]], str]:
    """Return the span of each statement, and the source with its comments replaced by as many blanks.

    Raises AssemblyError for control characters, unterminated literals and comments, and characters beyond ASCII that
    stand outside of strings and comments and are no letters of names.
    """
    source = parsed.source
    control = _CONTROL_CHARACTER.search(source)
    if control:
        raise parsed.build_error(f"control character {control[0]!r} in the text", control.start())
    tokens = list(_scan(parsed))
    spans, pieces = list[tuple[int, int]](), list[str]()
    begin = copied = 0
    for kind, start, end in tokens:
        if kind == "end":
            spans.append((begin, start))
            begin = end
        elif kind in ("block", "line"):
            pieces += (source[copied:start], " " * (end - start))
            copied = end
    spans.append((begin, len(source)))
    pieces.append(source[copied:])
    if not source.isascii():
        _check_ascii(parsed, tokens)
    return spans, "".join(pieces)


def _scan(parsed: ParsedAssembly) -> Iterator[_Token]:
    """The literals, comments and ends of statements, in their order. Only characters that can start one are looked
    at."""
    source, comment_starts = parsed.source, parsed.dialect.comment_starts
    candidate = _TOKEN_START.search(source)
    marked_until = 0  # a line up to here has a mark that starts no comment, so no later one there is its first text
    while candidate:
        start = candidate.start()
        match = _TOKEN.match(source, start)
        kind = match.lastgroup if match else None
        if match is None or kind is None:
            end = start + 1
        elif kind == "bad":
            raise parsed.build_error(f"unterminated {'comment' if match[0] == '/*' else 'literal'}", start)
        elif kind == "line":
            end = marked_until if start < marked_until else _find_line_end(source, start)
            if source.startswith(comment_starts, start) or (start >= marked_until and _is_first(source, start)):
                yield kind, start, end
            else:
                marked_until, end = end, start + 1
        else:
            end = match.end()
            yield kind, start, end
        candidate = _TOKEN_START.search(source, end)


def _find_line_end(source: str, start: int) -> int:
    end = source.find("\n", start)
    return len(source) if end < 0 else end


def _is_first(source: str, start: int) -> bool:
    """Whether there is nothing but blanks before a place in its line."""
    return not source[source.rfind("\n", 0, start) + 1 : start].strip()


def _check_ascii(parsed: ParsedAssembly, tokens: Sequence[_Token]) -> None:
    """Raise AssemblyError for a character between literals and comments that is neither ASCII nor a letter."""
    begin = 0
    for _, start, end in (*tokens, ("end", len(parsed.source), len(parsed.source))):
        place = find_other_letter(parsed.source, begin, start)
        if place is not None:
            raise parsed.build_error(f"character {parsed.source[place]!r} outside of strings and comments", place)
        begin = end
