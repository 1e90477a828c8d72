"""The records that a session leaves: one JSON line a sample."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.answer import Answer, Prompt
from pytest_llmcompiler.model.replay import SCHEMA

_BEGINNING = b'{"schema": '
"""How every line that `Recorder` writes begins."""


def record(
    prompt: Prompt,
    answer: Answer,
    model: dict[str, Any],
    verdict: Verdict | None,
    settings: dict[str, Any],
    previous: str | None = None,
) -> dict[str, Any]:
    """What is kept of one sample, as `record.schema.json` says. `model` is what the model says of itself.

    No verdict: the judge failed. `settings` is all that answer and verdict depend on beside the question. `previous` is
    the verdict that a replayed answer had before.
    """
    judged = verdict.to_json() if verdict else {"verdict": None, "detail": {}}
    if prompt.instructions is not None:
        judged["detail"]["instructions"] = prompt.instructions
    return {
        "schema": SCHEMA,
        "case": prompt.case,
        "function": prompt.function,
        "task": prompt.key.task,
        "passes": prompt.passes,
        "prompt": prompt.template,
        "question": prompt.digest,
        "sample": answer.sample,
        "answer": answer.text,
        "stop": answer.stop,
        "tokens": {"prompt": answer.prompt_tokens, "answer": answer.answer_tokens},
        "seconds": answer.seconds,
        "seed": answer.seed,
        "model": model,
        "settings": settings,
        **judged,
        **({"previous": previous} if previous else {}),
    }


class Recorder:
    """Appends records to a file, which other processes may append to at the same time.

    A kill at any moment loses at most the record that is being written: what it leaves of it is taken away
    before the next record is written, so every line is whole but possibly the last.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and make it and its folder where there is none. Raises OSError where that fails."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record, whose first key is `schema`. Raises OSError, on a full disk for one."""
        line = json.dumps(record).encode() + b"\n"
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._mend_end()
            while line:
                line = line[os.write(self._file, line) :]
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Nothing can be written afterwards."""
        os.close(self._file)

    def _mend_end(self) -> None:
        """Take away what a killed writer left; give any other last line the newline that it lacks."""
        size = os.fstat(self._file).st_size
        if size == 0 or os.pread(self._file, 1, size - 1) == b"\n":
            return
        start = self._last_line(size)
        tail = os.pread(self._file, size - start, start)
        if _is_cut(tail):
            os.ftruncate(self._file, start)
        else:
            os.write(self._file, b"\n")

    def _last_line(self, size: int) -> int:
        """The offset of the last line."""
        block = 65536
        end = size
        while end > 0:
            start = max(0, end - block)
            newline = os.pread(self._file, end - start, start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        return 0


def _is_cut(tail: bytes) -> bool:
    """Whether a line without an end is the beginning of a record: nothing else may be taken away."""
    if not (tail.startswith(_BEGINNING) or _BEGINNING.startswith(tail)):
        return False
    try:
        json.loads(tail)
    except ValueError:
        return True
    return False
