"""The hash of a model file: answers are kept by the content of the model, not by its name."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from pytest_llmcompiler.model.queue.database import open_database, translate_errors

SETTLE_TIME = 2_000_000_000
"""Nanoseconds after which another write gives a file another modification time: FAT's resolution of two seconds is the
coarsest."""


def hash_file(file: Path, database_path: Path, settle_time: int = SETTLE_TIME) -> str:
    """The SHA-256 of a file's content, in hexadecimal.

    The database remembers it, and the file is not read again while its path, size, modification time and inode stay the
    same. A file that was written less than `settle_time` nanoseconds ago is not remembered.

    Raises ModelError where the database can't be used, OSError where the file can't be read.
    """
    name, state = os.fsencode(file.resolve()), _read_state(file)
    database, _ = open_database(database_path)
    with closing(database):
        with translate_errors(database_path):
            row = database.execute("SELECT sha256 FROM files WHERE path = ? AND state = ?", (name, state)).fetchone()
        if row:
            return str(row[0])
        sha256 = _compute_sha256(file)
        # Was the file written while it was read, or so lately that it may be written again with the same time?
        is_settled = abs(time.time_ns() - file.stat().st_mtime_ns) > settle_time
        if is_settled and _read_state(file) == state:
            with suppress(sqlite3.Error):
                database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, state, sha256))
        return sha256


def _read_state(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def _compute_sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
