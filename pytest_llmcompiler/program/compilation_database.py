"""Compilation databases: `compile_commands.json`, in which a build writes how it compiles each file."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.flag_table import unwrap
from pytest_llmcompiler.program.flag_words import CompileFlags, expand_response_files, select_flags

FILE_NAME = "compile_commands.json"
_CACHED = 16
"""Databases that are kept in memory: a few megabytes each for a large project."""


def find_databases(path: Path) -> Iterator[Path]:
    """The databases in the folders above a file, and in the folders `build` there, the nearest first."""
    for folder in path.resolve().parents:
        for candidate in (folder / FILE_NAME, folder / "build" / FILE_NAME):
            if candidate.is_file():
                yield candidate


def read_entry(database: Path, path: Path) -> CompileFlags | None:
    """The flags of the file at `path` in a database; None where it has no entry for it. Raises CaseError."""
    database, entries = _open_database(database)
    entry = entries.get(path.resolve())
    return _read_flags(entry, database) if entry else None


def list_files(database: Path) -> list[Path]:
    """The C files that have an entry in a database, in its order. Raises CaseError."""
    return [path for path in _open_database(database)[1] if path.suffix == ".c" and path.is_file()]


def _open_database(database: Path) -> tuple[Path, Mapping[Path, dict[str, Any]]]:
    """The file of a database that may be given as its folder, and the entries. Raises CaseError."""
    database = database / FILE_NAME if database.is_dir() else database
    try:
        state = database.stat()
        return database, _read_database(database, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise CaseError(f"{database}: can't be read: {error.strerror}") from error


@functools.lru_cache(_CACHED)
def _read_database(database: Path, _modified: int, _size: int) -> Mapping[Path, dict[str, Any]]:
    """The entries by file, of which the first counts. Raises CaseError and OSError."""
    try:
        entries = json.loads(database.read_bytes())
    except ValueError as error:
        raise CaseError(f"{database}: is no JSON: {error}") from error
    if not isinstance(entries, list):
        raise CaseError(f"{database}: expected a list of entries")
    files: dict[Path, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        if not _is_entry(entry):
            raise CaseError(
                f"{database}: entry {number} has no texts `directory` and `file` with a text `command` or a list "
                "`arguments`"
            )
        files.setdefault((database.parent / entry["directory"] / entry["file"]).resolve(), entry)
    return files


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("directory", "file")):
        return False
    arguments = entry.get("arguments")
    if arguments is None:
        return isinstance(entry.get("command"), str)
    return isinstance(arguments, list) and all(isinstance(word, str) for word in arguments)


def _read_flags(entry: dict[str, Any], database: Path) -> CompileFlags:
    origin = f"{database}: {entry['file']}"
    folder = database.parent / entry["directory"]
    try:
        words = entry["arguments"] if entry.get("arguments") is not None else shlex.split(entry["command"])
    except ValueError as error:
        raise CaseError(f"{origin}: can't read the command: {error}") from error
    words, files = expand_response_files(words, folder, origin)
    return select_flags(
        list(unwrap(words, with_frontend_flags=True)), folder, origin, (database, *files), keep_unknown=False
    )
