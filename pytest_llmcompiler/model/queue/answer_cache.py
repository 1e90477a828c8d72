"""The answer store: what a model answered once needn't be made again, in whatever session it is asked for.

One SQLite database, which any number of processes use at a time. A kill at any moment loses nothing that was put.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import LLMCompilerError, ModelError
from pytest_llmcompiler.model.answer import Answer, Question, Sampling, StopReason
from pytest_llmcompiler.model.sampling import sample_seed

_DRAWING = 1
"""To be raised when this package comes to draw or end answers in another way: those of before are then not found."""
_LAYOUT = 1
"""The version of the tables; a database of another one is an error."""
_PATIENCE = 30.0
"""Seconds to wait for another process that writes."""
_RESPITE = 10
"""How many times as long as a write that failed took is nothing written: the model isn't to wait for each answer."""
_SETTLED = 2_000_000_000
"""Nanoseconds after which a file that is written again gets another time for certain, on any file system."""

_TABLES = (
    # AUTOINCREMENT gives no number twice, so what replaces an answer has a higher one.
    "CREATE TABLE answers (number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, text BLOB NOT NULL,"
    " stop TEXT NOT NULL, prompt_tokens INTEGER, answer_tokens INTEGER, seconds REAL, seed INTEGER)",
    "CREATE TABLE files (path BLOB PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID",
)
_FIELDS = "text, stop, prompt_tokens, answer_tokens, seconds, seed"
_FIND = f"SELECT {_FIELDS} FROM answers WHERE key = ? AND number > ?"
_KEEP = f"INSERT OR REPLACE INTO answers (key, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?)"


class AnswerCache:
    """The answers of one model, sampled in one way. Thread-safe."""

    def __init__(self, path: Path, identity: dict[str, Any], sampling: Sampling, *, refresh: bool = False) -> None:
        """Open the database at `path`; it is made if there is none.

        `identity` is JSON-serialisable and says all that an answer depends on beside the question, the number of the
        sample and the sampling. With `refresh`, answers from before are not found, and are replaced by new ones.

        Raises ModelError where there is something at `path` that can't be used. Warns where nothing can be made there,
        and then keeps answers no longer than it lives itself.
        """
        self._path, self._sampling = path, sampling
        self._facts = {
            "drawing": _DRAWING,
            "identity": identity,
            "temperature": float(sampling.temperature),
            "top_p": float(sampling.top_p),
            "max_tokens": sampling.max_tokens,
        }
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._has_warned = False
        self._database, hindrance = _open(path)
        if hindrance:
            self._warn(hindrance)
        self._after = 0
        """The number of the last answer that is too old."""
        if refresh:
            with _told(path):
                (self._after,) = self._database.execute("SELECT coalesce(max(number), 0) FROM answers").fetchone()

    def get(self, question: Question, samples: Sequence[int]) -> dict[int, Answer]:
        """Those of the samples that are kept. Raises ModelError where the database is damaged."""
        found = {}
        with self._lock, _told(self._path):
            for sample in samples:
                row = self._database.execute(_FIND, (self._key(question, sample), self._after)).fetchone()
                if row:
                    found[sample] = _answer(sample, *row)
        return found

    def put(self, question: Question, answer: Answer) -> None:
        """Keep an answer, in place of an older one if there is one. Warns, once, where that fails."""
        counts = answer.prompt_tokens, answer.answer_tokens
        text = zlib.compress(answer.text.encode())
        row = self._key(question, answer.sample), text, answer.stop, *counts, answer.seconds, answer.seed
        with self._lock:
            started = time.monotonic()
            if started < self._not_before:
                return
            try:
                self._database.execute(_KEEP, row)
            except (sqlite3.Error, OverflowError) as error:
                now = time.monotonic()
                self._not_before = now + _RESPITE * (now - started)
                self._warn(error)

    def close(self) -> None:
        """Nothing can be got or put afterwards."""
        with self._lock:
            self._database.close()

    def _key(self, question: Question, sample: int) -> bytes:
        """What an answer depends on.

        Case, task and passes matter to an answer only through its seed, which is drawn from them; the function's name
        also tells where the answer ends. Drafts change nothing in it.
        """
        seed = sample_seed(self._sampling.seed, question.key, sample)
        facts = {"prompt": question.text, "function": question.function, "sample": sample, "seed": seed}
        text = json.dumps(self._facts | facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()

    def _warn(self, fault: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(f"can't keep answers in {self._path}: {fault}", UserWarning, stacklevel=3)


def content_hash(file: Path, memory: Path) -> str:
    """The SHA-256 of what is in a file, in hexadecimal.

    It is remembered in the store at `memory`, and not made again while the file's path, size, time of change and inode
    stay. Raises ModelError where the store can't be used, OSError where the file can't be read.
    """
    name, state = os.fsencode(file.resolve()), _state(file)
    database, _ = _open(memory)
    with closing(database):
        with _told(memory):
            row = database.execute("SELECT sha256 FROM files WHERE path = ? AND state = ?", (name, state)).fetchone()
        if row:
            return str(row[0])
        made = _sha256(file)
        # Written while it was read, or so lately that it may be written again with the same time?
        is_settled = abs(time.time_ns() - file.stat().st_mtime_ns) > _SETTLED
        if is_settled and _state(file) == state:
            with suppress(sqlite3.Error):
                database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, state, made))
        return made


def _state(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _answer(
    sample: int,
    text: bytes,
    stop: StopReason,
    prompt_tokens: int | None,
    answer_tokens: int | None,
    seconds: float | None,
    seed: int | None,
) -> Answer:
    return Answer(zlib.decompress(text).decode(), sample, stop, prompt_tokens, answer_tokens, seconds, seed)


def _open(path: Path) -> tuple[sqlite3.Connection, Exception | None]:
    """The database; or one in memory, and what hinders that one is made where there is none yet.

    Raises ModelError for one that is there and can't be used.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        with _told(path):
            return _connect(_address(path)), None
    except (OSError, _NotCachedError) as hindrance:
        return _connect(":memory:"), hindrance


class _NotCachedError(LLMCompilerError):
    """The database is empty and stays so: the disk is full, or nothing may be written there."""


def _address(path: Path) -> str:
    """The URI by which SQLite opens a file.

    It reads a database that is in WAL mode only where it can make files beside it, or find those of other processes,
    unless it is told that nobody writes.
    """
    may_write = os.access(path.resolve().parent, os.W_OK, effective_ids=True)
    is_alone = not may_write and not path.with_name(f"{path.name}-wal").exists()
    return path.resolve().as_uri() + ("?immutable=1" if is_alone else "")


def _connect(address: str) -> sqlite3.Connection:
    # Each statement is a transaction of its own; the lock of the store keeps threads apart.
    database = sqlite3.connect(address, _PATIENCE, isolation_level=None, check_same_thread=False, uri=True)
    try:
        # In WAL mode nothing is lost with the process; a power failure may cost the last answers, and no more.
        database.execute("PRAGMA synchronous = NORMAL")
        if _is_empty(database):
            _make(database)
        (layout,) = database.execute("PRAGMA user_version").fetchone()
        if layout != _LAYOUT:
            raise sqlite3.DatabaseError(f"its layout is number {layout}, and {_LAYOUT} is needed")
        database.execute(_FIND, (b"", 0))
    except BaseException:
        database.close()
        raise
    return database


def _is_empty(database: sqlite3.Connection) -> bool:
    return not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def _make(database: sqlite3.Connection) -> None:
    """Make the tables, unless another process was faster. Raises _NotMade."""
    try:
        with suppress(sqlite3.OperationalError):  # not every file system can, and another process may be at it
            database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        if _is_empty(database):
            for statement in _TABLES:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {_LAYOUT}")
        database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise _NotCachedError(str(error)) from error


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what is wrong with a database into a ModelError."""
    try:
        yield
    except (sqlite3.Error, zlib.error, UnicodeDecodeError) as error:
        raise ModelError(
            f"can't use {path}, where answers are kept: {error}; remove it, or go without: --llmc-cache off"
        ) from error
