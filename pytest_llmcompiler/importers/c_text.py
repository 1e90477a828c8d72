"""C text taken apart at its top level: preprocessor lines, declarations and functions.

This is no parser of C: it follows comments, strings and brackets, and reads heads of functions. Text that macros make
or that is written as before 1989 may be taken apart wrongly; what is made of it then does not compile, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<line>^[ \t]*\#(?:\\\n|/\*.*?(?:\*/|\Z)|[^\n])*)
    |(?P<text>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)
    |(?P<open>[{(\[])|(?P<close>[})\]])|(?P<end>;)""",
    re.M | re.S | re.X,
)
_ATTRIBUTE = re.compile(
    r"__attribute__\s*\(\(.{0,500}?\)\)|__asm__\s*\([^)]{0,500}\)|\b(?:__extension__|_Noreturn)\b", re.S
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.S)
_MAX_HEAD = 10_000
"""Characters of the longest head of a function that is read."""
_MAX_HEAD_BRACES = 100
"""Braces in the longest head: it is read again at each."""
_NAME = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
_KEYWORDS = frozenset(
    ("if", "while", "for", "switch", "return", "sizeof", "__typeof__", "typeof", "_Alignas", "__declspec")
)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_LOCAL_WORD = re.compile(r"\b(?:static|inline|__inline__|__inline)\b\s*")
_LINE_MARKER = re.compile(r'^[ \t]*#[ \t]*(?:line[ \t]+)?\d+[ \t]*(?:"[^"\n]*"[ \t\d]*)?$', re.M)


class TopLevelItem(NamedTuple):
    """One part of a C file."""

    kind: Literal["line", "declaration", "function"]
    """A line of the preprocessor; a declaration with its semicolon; a function with its body."""
    text: str
    head: str = ""
    """Of a function: what stands before its body, without comments."""
    body: str = ""
    """Of a function: its body, with the braces."""

    @property
    def name(self) -> str:
        """The name of the function; empty where none is found."""
        return find_name(self.head)

    @property
    def is_static(self) -> bool:
        """Whether the item is local to its file."""
        return re.search(r"\b(?:static|inline)\b", self.head if self.kind == "function" else self.text) is not None


def split_c(text: str) -> Iterator[TopLevelItem]:
    """The parts of a C file, in order. What stands behind the last one, such as comments, is left out."""
    start, end, depth, opening, head, is_begun = 0, 0, 0, 0, "", False
    for token in _TOKEN.finditer(text):
        kind, is_begun = token.lastgroup, is_begun or bool(text[end : token.start()].strip())
        end = token.end()
        if kind == "line" and depth == 0 and not is_begun:
            yield TopLevelItem("line", token[0].strip())
            start = end
        elif kind == "open":
            if depth == 0 and token[0] == "{":
                opening = token.start()
                head = text[start:opening] if opening - start <= _MAX_HEAD else ""
            depth, is_begun = depth + 1, True
        elif kind == "close":
            depth = max(0, depth - 1)
            if depth == 0 and token[0] == "}" and _is_function_head(head):
                yield TopLevelItem("function", text[start:end].strip(), _clean(head), text[opening:end])
                start, head, is_begun = end, "", False
        elif kind == "end" and depth == 0:
            yield TopLevelItem("declaration", text[start:end].strip())
            start, head, is_begun = end, "", False


def find_name(head: str) -> str:
    """The name of the function that a head declares; empty where none is found."""
    names = (match[1] for match in _NAME.finditer(_ATTRIBUTE.sub(" ", _COMMENT.sub(" ", head))))
    return next((name for name in names if name not in _KEYWORDS), "")


def declare_for_tests(text: str, tests: str) -> str:
    """What another file needs to use the functions of a C text: its preprocessor lines, types and prototypes.

    Functions that are local to the text are there as a whole where `tests` names them.
    """
    parts, named = [], find_identifiers(tests)
    for item in split_c(text):
        if item.kind == "function" and not item.is_static:
            parts.append(f"{item.head};")
        elif item.kind == "declaration" and not _is_type(item.text) and not item.is_static:
            parts.append(_declare_variable(item.text))
        elif item.kind != "function" or item.name in named:
            parts.append(item.text)
    return "\n".join(parts)


def make_external(text: str, function: str) -> str:
    """A C text in which a function is not local to its file, so that tests in another file can call it."""
    for item in split_c(text):
        if item.kind == "function" and item.name == function and item.is_static:
            return text.replace(item.text, f"{_LOCAL_WORD.sub('', item.head)}\n{item.body}", 1)
    return text


def list_functions(text: str) -> list[str]:
    """The names of the functions that a C text defines, in order."""
    return [item.name for item in split_c(text) if item.kind == "function" and item.name]


def find_identifiers(text: str) -> set[str]:
    """All words of a C text that can be names, those in comments and strings too."""
    return set(_IDENTIFIER.findall(text))


def remove_line_markers(text: str) -> str:
    """C text without the lines that say where its lines come from: a preprocessor's `# 1 "file.c"`."""
    return _LINE_MARKER.sub("", text)


def _is_function_head(head: str) -> bool:
    if head.count("{") > _MAX_HEAD_BRACES:  # values and types stand there, one behind the other
        return False
    plain = _ATTRIBUTE.sub(" ", _clean(head)).strip()
    return plain.endswith(")") and "=" not in plain and bool(find_name(plain))


def _is_type(declaration: str) -> bool:
    """Whether a declaration declares types or functions alone, so that it may be repeated in another file."""
    plain = _clean(declaration)
    if plain.startswith(("typedef", "extern")):
        return True
    before, _, rest = plain.partition("{")
    _, brace, after = rest.rpartition("}")
    body = f"{before} {after}" if brace else plain
    if "=" in body:
        return False
    # `struct point { … };` declares no variable, `struct point origin;` and `struct { … } origin;` do.
    return bool(re.fullmatch(r"(?:struct|union|enum)\b\s*\w*\s*;", _ATTRIBUTE.sub(" ", body).strip())) or "(" in body


def _declare_variable(declaration: str) -> str:
    """The declaration of a variable without its value."""
    plain = _clean(declaration)
    before = plain.partition("=")[0].rstrip(" ;")
    return f"extern {before};"


def _clean(text: str) -> str:
    """A text without comments, stripped."""
    return _COMMENT.sub(" ", text).strip()
