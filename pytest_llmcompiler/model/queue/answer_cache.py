"""The answer cache: an answer of an earlier session is found again and not generated a second time."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_llmcompiler.model.answer import Answer, Question, Sampling
from pytest_llmcompiler.model.queue.database import LOCK_TIMEOUT, open_database, translate_errors
from pytest_llmcompiler.model.sampling import sample_seed

_GENERATION_VERSION = 1
"""Raised when this package samples or ends answers in another way. Earlier answers are not found then."""
BACKOFF = 10.0
"""After a failed write nothing is written for so many times as long as it took: the model should not wait for the
database with each answer."""

_FIELDS = "text, stop, prompt_tokens, answer_tokens, seconds, seed"
_FIND = f"SELECT {_FIELDS} FROM answers WHERE key = ? AND number > ?"
_STORE = f"INSERT OR REPLACE INTO answers (key, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?)"


class AnswerCache:
    """The answers of one model with one way of sampling. Thread-safe."""

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        sampling: Sampling,
        *,
        refresh: bool = False,
        lock_timeout: float = LOCK_TIMEOUT,
        backoff: float = BACKOFF,
    ) -> None:
        """Open the database at `path`, and create it if there is none.

        `identity` is JSON-serialisable, and holds all facts that an answer depends on beside the question, the number
        of the sample and the sampling. With `refresh` earlier answers are not found, and new ones replace them.
        `lock_timeout` is in seconds; `backoff` in multiples of the time of a failed write.

        Raises ModelError where there is something at `path` that can't be used. Warns where no database can be created,
        and then keeps answers as long as the object lives.
        """
        self._path, self._sampling, self._backoff = path, sampling, backoff
        self._facts = {
            "drawing": _GENERATION_VERSION,
            "identity": identity,
            "temperature": float(sampling.temperature),
            "top_p": float(sampling.top_p),
            "max_tokens": sampling.max_tokens,
        }
        self._lock = threading.Lock()
        self._not_before = 0.0
        """The time, by time.monotonic, before which nothing is written."""
        self._has_warned = False
        self._database, obstacle = open_database(path, lock_timeout)
        if obstacle:
            self._warn(obstacle)
        self._after = 0
        """The number of the last row that is too old to be found."""
        if refresh:
            with translate_errors(path):
                (self._after,) = self._database.execute("SELECT coalesce(max(number), 0) FROM answers").fetchone()

    def get(self, question: Question, samples: Sequence[int]) -> dict[int, Answer]:
        """Those of the samples that are stored, by their numbers. Raises ModelError where the database is damaged."""
        answers = {}
        with self._lock, translate_errors(self._path):
            for sample in samples:
                row = self._database.execute(_FIND, (self._build_key(question, sample), self._after)).fetchone()
                if row:
                    answers[sample] = _read_answer(sample, row)
        return answers

    def put(self, question: Question, answer: Answer) -> None:
        """Store an answer, in the place of an older one if there is one. Warns, once, where that fails."""
        row = (
            self._build_key(question, answer.sample),
            zlib.compress(answer.text.encode()),
            answer.stop,
            answer.prompt_tokens,
            answer.answer_tokens,
            answer.seconds,
            answer.seed,
        )
        with self._lock:
            started = time.monotonic()
            if started < self._not_before:
                return
            try:
                self._database.execute(_STORE, row)
            except (sqlite3.Error, OverflowError) as error:
                now = time.monotonic()
                self._not_before = now + self._backoff * (now - started)
                self._warn(error)

    def close(self) -> None:
        """Close the database. Nothing can be read or stored afterwards."""
        with self._lock:
            self._database.close()

    def _build_key(self, question: Question, sample: int) -> bytes:
        """A hash of all that an answer depends on.

        Case, task and pass list matter to an answer only through its seed, which is computed from them. The name of the
        function also decides where the answer ends. A draft changes nothing.
        """
        seed = sample_seed(self._sampling.seed, question.key, sample)
        facts = {"prompt": question.text, "function": question.function, "sample": sample, "seed": seed}
        text = json.dumps(self._facts | facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(f"can't keep answers in {self._path}: {error}", UserWarning, stacklevel=3)


def _read_answer(sample: int, row: tuple[Any, ...]) -> Answer:
    """The answer of a row with the columns _FIELDS."""
    text, stop, prompt_tokens, answer_tokens, seconds, seed = row
    return Answer(
        text=zlib.decompress(text).decode(),
        sample=sample,
        stop=stop,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        seconds=seconds,
        seed=seed,
    )
