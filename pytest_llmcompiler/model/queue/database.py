"""The SQLite database in which answers, and hashes of model files, are kept from session to session.

Any number of processes may use it at a time. A process that is killed loses nothing that it wrote.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_llmcompiler.errors import LLMCompilerError, ModelError

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that writes: a write takes milliseconds, so this one hangs or was stopped."""

_LAYOUT = 1
"""The version of the tables. A database of another version is an error."""
_TABLES = (
    # AUTOINCREMENT never gives a number twice, so an answer that replaces another has a higher one.
    "CREATE TABLE answers (number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, text BLOB NOT NULL,"
    " stop TEXT NOT NULL, prompt_tokens INTEGER, answer_tokens INTEGER, seconds REAL, seed INTEGER)",
    "CREATE TABLE files (path BLOB PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID",
)
_CHECK = "SELECT text, stop, prompt_tokens, answer_tokens, seconds, seed FROM answers WHERE key = x'' AND number > 0"
"""A query of all columns by the index of keys. It fails where the table is another one, or the index is damaged."""


class _NotWritableError(LLMCompilerError):
    """The database is empty and stays so: the disk is full, or the process may not write there."""


def open_database(path: Path, lock_timeout: float = LOCK_TIMEOUT) -> tuple[sqlite3.Connection, Exception | None]:
    """Open the database, and create it if there is none.

    Where it can't be created, the result is a database in memory, and the reason. Raises ModelError where there is
    something at `path` that can't be used.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        with translate_errors(path):
            return _connect(_build_uri(path), lock_timeout), None
    except (OSError, _NotWritableError) as reason:
        return _connect(":memory:", lock_timeout), reason


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise a ModelError that says what to do where the database is damaged."""
    try:
        yield
    except (sqlite3.Error, zlib.error, UnicodeDecodeError) as error:
        raise ModelError(
            f"can't use {path}, where answers are kept: {error}; remove it, or go without: --llmc-cache off"
        ) from error


def _build_uri(path: Path) -> str:
    """The URI by which SQLite opens a file.

    SQLite reads a database in WAL mode only where it can create files beside it, or finds those of other processes,
    unless the URI says that nobody writes.
    """
    can_write = os.access(path.resolve().parent, os.W_OK, effective_ids=True)
    is_unused = not can_write and not path.with_name(f"{path.name}-wal").exists()
    return path.resolve().as_uri() + ("?immutable=1" if is_unused else "")


def _connect(address: str, lock_timeout: float) -> sqlite3.Connection:
    # Each statement is a transaction of its own. Callers with several threads have a lock.
    database = sqlite3.connect(address, timeout=lock_timeout, isolation_level=None, check_same_thread=False, uri=True)
    try:
        # In WAL mode the end of the process loses nothing; a power failure may lose the last answers.
        database.execute("PRAGMA synchronous = NORMAL")
        if _is_empty(database):
            _create_tables(database)
        (layout,) = database.execute("PRAGMA user_version").fetchone()
        if layout != _LAYOUT:
            raise sqlite3.DatabaseError(f"its layout has the version {layout}, and {_LAYOUT} is needed")
        database.execute(_CHECK)
    except BaseException:
        database.close()
        raise
    return database


def _is_empty(database: sqlite3.Connection) -> bool:
    return not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _create_tables(database: sqlite3.Connection) -> None:
    """Create the tables, unless another process was faster. Raises _NotWritableError."""
    try:
        with suppress(sqlite3.OperationalError):  # some file systems can't, or another process is doing it
            database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        if _is_empty(database):
            for statement in _TABLES:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {_LAYOUT}")
        database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise _NotWritableError(str(error)) from error
