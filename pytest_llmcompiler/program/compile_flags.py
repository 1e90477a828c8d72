"""The flags that a C file is compiled with: where they come from, and their paths made absolute."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.directive_comments import find_directives, read_source

DIRECTIVE = "cflags"
"""The first word of the directive that names flags."""

_FOLDER_FLAGS = ("-isystem", "-iquote", "-idirafter", "-I")
"""Flags whose value is a folder, in the same word or in the next."""
_FILE_FLAGS = ("-include", "-imacros")
"""Flags whose value is a file, in the same word or in the next. Where it is not found,
clang searches for it as for a header."""
_PAIRED_FLAGS = (*_FOLDER_FLAGS, *_FILE_FLAGS, "-D", "-U", "-x", "-Xclang")
"""Flags that take the next word as their value where they have none of their own."""


@dataclass(frozen=True)
class CompileFlags:
    """Flags of one origin. Their paths are absolute."""

    flags: tuple[str, ...]
    origin: str
    """Where the flags are written, for messages: `FILE:LINE`, an ini key, an argument."""


@dataclass(frozen=True)
class FlagSources:
    """Where the flags of C files come from, besides their own directives."""

    common: tuple[CompileFlags, ...] = ()
    """Flags of every file."""

    def to_json(self) -> dict[str, Any]:
        """The sources as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FlagSources:
        """The sources that `to_json` wrote."""
        return cls(tuple(CompileFlags(tuple(flags["flags"]), flags["origin"]) for flags in data["common"]))


def read_flags(path: Path, sources: FlagSources | None = None) -> tuple[CompileFlags, ...]:
    """The flags of the C file at `path`, which need not be a case. In clang a later flag wins. Raises CaseError."""
    sources = sources or FlagSources()
    return *sources.common, *_read_directives(path)


def _read_directives(path: Path) -> Iterator[CompileFlags]:
    for line, text in find_directives(path, read_source(path)):
        word, _, rest = text.partition(" ")
        if word == DIRECTIVE:
            yield parse_flags(rest, path.parent, f"{path}:{line}")


def parse_flags(text: str | Sequence[str], folder: Path, origin: str) -> CompileFlags:
    """Flags from a command line's text, or from its words. Relative paths start at `folder`. Raises CaseError."""
    try:
        words = shlex.split(text) if isinstance(text, str) else list(text)
    except ValueError as error:
        raise CaseError(f"{origin}: can't read the flags `{text}`: {error}") from error
    if not words:
        raise CaseError(f"{origin}: expected flags of clang, such as `-std=gnu89 -Iinclude`")
    flags = tuple(_pair_values(words, origin))
    for flag in flags:
        if not flag[0].startswith("-"):
            raise CaseError(f"{origin}: expected a flag of clang, found `{flag[0]}`")
    return CompileFlags(tuple(word for flag in flags for word in _resolve_paths(flag, folder.absolute())), origin)


def _pair_values(words: Sequence[str], origin: str) -> Iterator[tuple[str, ...]]:
    """Each flag with the word that is its value."""
    rest = iter(words)
    for word in rest:
        if word not in _PAIRED_FLAGS:
            yield (word,)
            continue
        value = next(rest, None)
        if value is None:
            raise CaseError(f"{origin}: the flag {word} lacks its value")
        yield word, value


def _resolve_paths(flag: tuple[str, ...], folder: Path) -> Iterator[str]:
    """The words of a flag with an absolute path."""
    name = next((name for name in (*_FOLDER_FLAGS, *_FILE_FLAGS) if flag[0].startswith(name)), None)
    if name is None:
        yield from flag
        return
    value = flag[1] if len(flag) > 1 else flag[0].removeprefix(name)
    path = os.path.normpath(folder / value)
    is_found = name in _FOLDER_FLAGS or Path(path).exists()
    yield from (name, path if is_found else value)
