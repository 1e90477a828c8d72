"""A case: one C or LLVM IR file under test, with its `LLMC:` directives.

Directives are comments (`// LLMC: …`, `/* LLMC: … */` or `; LLMC: …`), one a line:

    LLMC: functions NAME, NAME…           only these (`static inline` helpers too)
    LLMC: passes O0, O2                   the pass lists of this file
    LLMC: arg FUNCTION.ARG length BUF, …  ARG counts the elements of BUF (and of each further one)
    LLMC: arg FUNCTION.ARG range LO..HI   an integer from LO to HI, both included
    LLMC: arg FUNCTION.ARG elements N     a pointer to N elements (or LO..HI of them)
    LLMC: arg FUNCTION.ARG cstring        a pointer to a NUL-terminated string
    LLMC: arg FUNCTION.ARG non-null       a pointer that is never NULL

ARG and BUF are parameter names, or positions counted from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmcompiler.errors import CaseError

SUFFIXES = (".c", ".ll")


@dataclass(frozen=True)
class ArgRule:
    """What a directive says of one argument. Fields that it does not say stay None or False."""

    length_of: tuple[str, ...] = ()
    """The buffers whose number of elements this argument is."""
    range: tuple[int, int] | None = None
    elements: tuple[int, int] | None = None
    cstring: bool = False
    non_null: bool = False


@dataclass(frozen=True)
class Case:
    """One file under test."""

    path: Path
    name: str
    """How records call it: the path relative to its cases folder, with forward slashes."""
    functions: tuple[str, ...] = ()
    """The functions that a directive picks; empty: every function that is defined and not a helper."""
    passes: tuple[str, ...] = ()
    args: dict[tuple[str, str], ArgRule] = field(default_factory=dict)
    """Rules by function and parameter (name, or position as text)."""
    lines: dict[str, int] = field(default_factory=dict)
    """The line of the directive that names a function, or (as FUNCTION.ARG) an argument, for messages."""

    @property
    def is_ir(self) -> bool:
        """True for LLVM IR, False for C."""
        return self.path.suffix == ".ll"


_DIRECTIVE = re.compile(r"(?://|;|/\*|^\s*\*)\s*(LLMC\b:?|llmc:)\s*(.*?)\s*(?:\*/.*)?$")
_NAME = r"[A-Za-z_$.][\w$.]*"
_FORMS = (
    "`functions NAME, …`, `passes O0, …`, `arg FUNCTION.ARG length BUF, …`, `arg FUNCTION.ARG range LO..HI`, "
    "`arg FUNCTION.ARG elements N` (or LO..HI), `arg FUNCTION.ARG cstring`, `arg FUNCTION.ARG non-null`"
)


def read_case(path: Path, name: str | None = None) -> Case:
    """Read the directives of the file at `path`.

    Raises CaseError for a file that can't be read as text and for a directive that is not understood.
    """
    if path.suffix not in SUFFIXES:
        raise CaseError(f"{path}: a case is a .c or .ll file, not {path.suffix or 'a file without suffix'}")
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: can't be read: {error}") from error
    functions: list[str] = []
    passes: list[str] = []
    args: dict[tuple[str, str], ArgRule] = {}
    lines: dict[str, int] = {}
    for number, text in _directives(path, source):
        where = f"{path}:{number}"
        word, _, rest = text.partition(" ")
        if word == "functions":
            names = _names(rest, where)
            functions += names
            lines |= {name: number for name in names if name not in lines}
        elif word == "passes":
            passes += _passes(rest, where)
        elif word == "arg":
            function, parameter, rule = _arg(rest, where)
            lines.setdefault(function, number)
            lines[f"{function}.{parameter}"] = number
            args[function, parameter] = _merged(args.get((function, parameter), ArgRule()), rule)
        else:
            raise _misspelt(where, text)
    return Case(path, name or path.name, tuple(functions), tuple(passes), args, lines)


def _directives(path: Path, source: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(source.splitlines(), 1):
        match = _DIRECTIVE.search(line)
        if match and match[1] == "LLMC:":
            yield number, " ".join(match[2].split())
        elif match:
            raise CaseError(f"{path}:{number}: a directive begins with `LLMC:`, found `{match[1]}`")


def _misspelt(where: str, text: str) -> CaseError:
    return CaseError(f"{where}: unknown directive `LLMC: {text}`; the forms are {_FORMS}")


def _names(text: str, where: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(_NAME + r"|\d+", name) for name in names):
        raise CaseError(f"{where}: expected names parted by commas, found `{text}`")
    return names


def _passes(text: str, where: str) -> list[str]:
    names = split_passes(text)
    if not all(names):
        raise CaseError(f"{where}: expected pass lists parted by commas, found `{text}`")
    return names


def split_passes(text: str) -> list[str]:
    """Pass lists parted by commas; commas in brackets belong to a list: `O0,function(sroa,instcombine)`."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "(<[") - (character in ")>]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _arg(text: str, where: str) -> tuple[str, str, ArgRule]:
    match = re.fullmatch(rf"({_NAME}?)\.(\w+) +(\S+) *(.*)", text)
    if not match:
        raise _misspelt(where, f"arg {text}")
    function, parameter, kind, rest = match.groups()
    if kind == "length":
        return function, parameter, ArgRule(length_of=tuple(_names(rest, where)))
    if kind == "range":
        return function, parameter, ArgRule(range=_bounds(rest, where))
    if kind == "elements":
        low, high = _bounds(rest, where)
        if low < 0:
            raise CaseError(f"{where}: a buffer can't have {low} elements")
        return function, parameter, ArgRule(elements=(low, high))
    if kind == "cstring" and not rest:
        return function, parameter, ArgRule(cstring=True)
    if kind == "non-null" and not rest:
        return function, parameter, ArgRule(non_null=True)
    raise _misspelt(where, f"arg {text}")


def _bounds(text: str, where: str) -> tuple[int, int]:
    match = re.fullmatch(r"(-?(?:0x[0-9a-fA-F]+|\d+))(?: *\.\. *(-?(?:0x[0-9a-fA-F]+|\d+)))?", text)
    if not match:
        raise CaseError(f"{where}: expected a number or LO..HI, found `{text}`")
    low = int(match[1], 0)
    high = int(match[2], 0) if match[2] else low
    if low > high:
        raise CaseError(f"{where}: the range {low}..{high} is empty")
    return low, high


def _merged(old: ArgRule, new: ArgRule) -> ArgRule:
    return ArgRule(
        new.length_of or old.length_of,
        new.range or old.range,
        new.elements or old.elements,
        new.cstring or old.cstring,
        new.non_null or old.non_null,
    )
