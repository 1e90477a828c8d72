"""The line that tells how far a run is, below pytest's own progress."""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from pytest_llmcompiler.judge.verdict import KINDS

_INTERVAL = 0.5
"""Seconds after which the line is drawn again though nothing happened."""
_FRESH = 0.1
"""Seconds for which its text is good enough: other tests of the session may be over in less."""


@dataclass
class Progress:
    """What is known of a run that is under way."""

    items: int = 0
    """Of how many is known that they will be judged."""
    done: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    """Of the items that are done."""
    started: float | None = None
    """When the first item was begun, in seconds of a clock."""

    def begin(self, now: float) -> None:
        """Take note of the beginning of an item."""
        if self.started is None:
            self.started = now

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        """Take note of the end of an item."""
        self.done += 1
        self.verdicts.update(record["verdict"] for record in records)

    def told(self, now: float, running: Iterable[dict[str, Any]], usage: Mapping[str, Any]) -> str:
        """The line, empty where nothing will be judged. `running` are the records of an item that is not done, `usage`
        is what the model says it did."""
        if not self.items:
            return ""
        verdicts = self.verdicts + Counter(record["verdict"] for record in running)
        counts = " ".join(f"{verdicts[kind]} {kind}" for kind in KINDS if verdicts[kind])
        parts = [
            f"{self.done} of {self.items} items",
            f"{verdicts.total():,} samples{': ' if counts else ''}{counts}",
        ]
        if usage.get("tokens") and usage.get("busy"):
            parts.append(f"{usage['tokens'] / usage['busy']:,.0f} tokens a second")
        if self.done and self.started is not None:
            parts.append(f"{_clock((now - self.started) / self.done * max(self.items - self.done, 0))} left")
        return "llmc: " + ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class LiveLine:
    """A line below the one in which the cursor is, for as long as nobody else writes.

    Whoever writes to the terminal does so within `cleared`. The line is drawn by a thread too, so that the time goes on
    while an item is judged.
    """

    def __init__(self, terminal: IO[str], reporter: Any, line: Callable[[], str]) -> None:
        """`reporter` is pytest's, which writes to `terminal`; `line` tells what is to be drawn."""
        # pytest puts another file in the place of the standard output while a test runs.
        self._file = os.dup(terminal.fileno())
        self._reporter, self._line = reporter, line
        self._text, self._made = "", -math.inf
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._drawn = False
        threading.Thread(target=self._tick, daemon=True).start()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Take the line away while others write, and put it there again."""
        with self._lock:
            self._erase()
            try:
                yield
            finally:
                self._reporter.flush()
                self._draw()

    def close(self) -> None:
        """Take the line away for good."""
        with self._lock:
            if not self._ended.is_set():
                self._erase()
                self._ended.set()
                os.close(self._file)

    def _tick(self) -> None:
        while not self._ended.wait(_INTERVAL):
            with self._lock:
                if self._drawn:
                    self._draw()

    def _draw(self) -> None:
        if self._ended.is_set():
            return
        if time.monotonic() - self._made >= _FRESH:
            self._text, self._made = self._line(), time.monotonic()
        if self._text:
            self._write(self._text[: shutil.get_terminal_size().columns - 1])
            self._drawn = True

    def _erase(self) -> None:
        if self._drawn and not self._ended.is_set():
            self._write("")
            self._drawn = False

    def _write(self, text: str) -> None:
        """Write into the next line, which may be one that the terminal has yet to make, and go back."""
        column = self._reporter._tw.width_of_current_line % shutil.get_terminal_size().columns
        back = f"\x1b[A\r\x1b[{column}C" if column else "\x1b[A\r"
        try:
            os.write(self._file, f"\r\n\x1b[2K{text}{back}".encode("utf-8", "replace"))
        except OSError:  # a terminal that is gone: pytest itself will say so
            self._ended.set()
