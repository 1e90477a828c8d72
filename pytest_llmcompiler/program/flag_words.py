"""From the words of a command line to the flags that a C file is compiled with."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.directive_comments import decode_source
from pytest_llmcompiler.program.flag_table import (
    FILE_FLAGS,
    FOLDER_FLAGS,
    Flag,
    LeftOutFlag,
    find_reason,
    has_meaning,
    pair_values,
    unwrap,
)

_MAX_NESTED = 8
"""Response files inside each other: more are a circle."""


@dataclass(frozen=True)
class CompileFlags:
    """Flags of one origin. Their paths are absolute."""

    flags: tuple[str, ...]
    """The flags that have a say in what a file means."""
    origin: str
    """Where the flags are written, for messages: `FILE:LINE`, an ini key, an argument."""
    left_out: tuple[LeftOutFlag, ...] = ()
    """Flags that could change what a file means, and are left out."""
    files: tuple[Path, ...] = ()
    """The files, besides the C file, that the flags are written in."""


def parse_flags(text: str | Sequence[str], folder: Path, origin: str) -> CompileFlags:
    """Flags that a user asks for, from a command line's text or from its words. Relative paths start at `folder`.

    What is not known is kept: clang decides. Raises CaseError.
    """
    words = split_words(text, origin) if isinstance(text, str) else list(text)
    if not words:
        raise CaseError(f"{origin}: expected flags of clang, such as `-std=gnu89 -Iinclude`")
    words, files = expand_response_files(words, folder, origin)
    return select_flags(list(unwrap(words, with_frontend_flags=False)), folder, origin, files, keep_unknown=True)


def split_words(text: str, origin: str) -> list[str]:
    """The words of a command line, as a shell splits it. Raises CaseError."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise CaseError(f"{origin}: can't read the flags `{text}`: {error}") from error


def expand_response_files(
    words: Sequence[str], folder: Path, origin: str, depth: int = 0
) -> tuple[list[str], tuple[Path, ...]]:
    """The words with those of each `@FILE` in its place, and the files. Raises CaseError."""
    expanded: list[str] = []
    files: list[Path] = []
    for word in words:
        if not word.startswith("@"):
            expanded.append(word)
            continue
        if depth == _MAX_NESTED:
            raise CaseError(f"{origin}: response files name each other: {word}")
        path = folder / word[1:]
        try:
            text = decode_source(path.read_bytes())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CaseError(f"{origin}: the response file {path} can't be read: {reason}") from error
        inner, inner_files = expand_response_files(split_words(text, str(path)), folder, str(path), depth + 1)
        expanded += inner
        files += (path, *inner_files)
    return expanded, tuple(files)


def select_flags(
    words: Sequence[str], folder: Path, origin: str, files: tuple[Path, ...], *, keep_unknown: bool
) -> CompileFlags:
    """The flags that have a say in what a file means.

    With `keep_unknown`, a flag that is not known is kept, and a word that is no flag is an error. Without, both are
    left out. Raises CaseError.
    """
    kept: list[str] = []
    left_out: list[LeftOutFlag] = []
    try:
        flags = list(pair_values(words))
    except ValueError as error:
        raise CaseError(f"{origin}: {error}") from error
    for flag in flags:
        reason, meaning = find_reason(flag), has_meaning(flag)
        if keep_unknown and not flag.name.startswith("-"):
            raise CaseError(f"{origin}: expected a flag of clang, found `{flag.name}`")
        if reason:
            left_out.append(LeftOutFlag(str(flag), reason))
        elif meaning or (meaning is None and keep_unknown):
            kept += _resolve_paths(flag, folder.absolute())
    return CompileFlags(tuple(kept), origin, tuple(dict.fromkeys(left_out)), files)


def _resolve_paths(flag: Flag, folder: Path) -> Iterator[str]:
    """The words of a flag with an absolute path."""
    name = next((name for name in (*FOLDER_FLAGS, *FILE_FLAGS) if flag.name.startswith(name)), None)
    if name is None:
        yield from filter(None, flag)
        return
    value = flag.name.removeprefix(name) if flag.value is None else flag.value
    path = os.path.normpath(folder / value)
    is_found = name in FOLDER_FLAGS or Path(path).exists()
    yield from (name, path if is_found else value)
