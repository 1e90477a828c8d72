"""What a compiler says of a file that does not compile: its first errors, the kind of fault, and a way out."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_llmcompiler.errors import CompileError
from pytest_llmcompiler.program.case import Case

_MAX_ERRORS = 3
"""Errors that are shown: the later ones often follow from the first."""
_MAX_LINES = 24
"""Lines of the compiler's text that are shown: three errors with source lines and notes."""
_SYSTEM_HEADERS = Path("/usr/include")
"""Headers that are not searched for one: those of the system's C library do not fit the bundled one."""
_ERROR = re.compile(r"^(?P<place>.*?\S:\d+(:\d+)?: )?(?P<tool>[\w.+/-]+: )?(?:fatal )?error: (?P<words>.*)$")
_KINDS = (
    (
        "gcc's own C",
        r"function definition is not allowed here|variable length array in structure|__builtin_shuffle|"
        r"indirect goto in function with no address-of-label|variable-sized object may not be initialized",
    ),
    ("missing header", r"file not found|cannot open file|No such file"),
    (
        "unsupported flag",
        r"unknown (argument|clang option|target CPU)|unsupported (option|argument)|invalid (value|argument) '|"
        r"does not support '|argument to '|is not supported with|unit is not supported",
    ),
    (
        "unknown name or type",
        r"unknown type name|undeclared|incomplete (type|definition)|no member named|must use '(struct|union|enum)'|"
        r"implicit|type specifier missing|a type specifier is required|unknown register name",
    ),
    (
        "syntax error",
        r"expected|extraneous|unterminated|missing terminating|invalid (token|preprocessing|suffix|digit)",
    ),
)
"""Kinds of faults, by patterns of clang's words. A fault of none of them is of the kind `other`."""


def describe_failure(case: Case, message: str) -> CompileError:
    """The error of a case that a tool refuses with a message of one or more errors."""
    lines = [re.sub(r"^\S*zig(\.exe)?: ", "clang: ", line) for line in message.splitlines()]
    found = [match for line in lines if (match := _ERROR.match(line))]
    words = found[0]["words"] if found else message
    kind = classify_error(words)
    path, shown = str(case.path), "\n".join(_first_errors(lines))
    if kind == "unsupported flag":
        shown = f"{_find_origin(case, words) or path}: {shown}"
    elif all((match["place"] or "<string>").startswith("<string>") for match in found):  # LLVM calls its IR so
        shown = f"{path}: {shown}"
    return CompileError("\n".join((shown, *_hints(case, kind, words))), kind)


def classify_error(words: str) -> str:
    """The kind of a fault, by the words of clang's error; `other` where it is of no known kind."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, words)), "other")


def _first_errors(lines: list[str]) -> list[str]:
    """The lines of the first errors, and how many errors are left out."""
    starts = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    lines = [line for line in lines if not re.match(r"\d+ (errors?|warnings?)( and \d+ errors?)? generated", line)]
    if len(starts) <= _MAX_ERRORS:
        return lines[:_MAX_LINES]
    return [*lines[: starts[_MAX_ERRORS]][:_MAX_LINES], f"… and {len(starts) - _MAX_ERRORS} more"]


def _find_origin(case: Case, words: str) -> str | None:
    """Where the flag is written that an error is about."""
    names = re.findall(r"['\"](-[^'\"]+)['\"]", words)
    return next(
        (flags.origin for name in names for flags in case.compile_flags if any(name in flag for flag in flags.flags)),
        None,
    )


def _hints(case: Case, kind: str, words: str) -> list[str]:
    """Ways out, and what was left out on the way."""
    if case.is_ir:
        return []
    left_out = [f"left out: {flag} ({reason})" for flags in case.compile_flags for flag, reason in flags.left_out]
    if kind == "missing header":
        way = "`// LLMC: cflags -IFOLDER`, llmc_cflags or a compile_commands.json name folders of headers"
        name = re.search(r"'([^'\0]+)' file not found", words)
        if name and (_SYSTEM_HEADERS / name[1]).is_file():
            way += f"; -idirafter {_SYSTEM_HEADERS} adds the system's"
        return [way, *left_out]
    return left_out
