"""The live line: how far a run is, below pytest's own progress."""

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
from pytest_llmcompiler.report.records import Record

_REDRAW_INTERVAL = 0.5
"""Seconds after which the line is drawn again although nothing happened, so that the remaining time counts down."""
_TEXT_LIFETIME = 0.1
"""Seconds for which the text is not computed again. Other tests of the session may end after less than a millisecond
each, and computing the text takes a question to the model's process."""


@dataclass
class Progress:
    """How far a run is."""

    items: int = 0
    """How many items will be judged, as far as is known."""
    done: int = 0
    """How many items are done."""
    verdicts: Counter[str | None] = field(default_factory=Counter)
    """The verdicts on samples of the items that are done."""
    started: float | None = None
    """When the first item began, in seconds of the clock that `format_line` is given too."""

    def begin(self, now: float) -> None:
        """Note that an item begins."""
        if self.started is None:
            self.started = now

    def add(self, records: Iterable[Record]) -> None:
        """Note that an item is done."""
        self.done += 1
        self.verdicts.update(record["verdict"] for record in records)

    def format_line(self, now: float, running: Iterable[Record], usage: Mapping[str, Any]) -> str:
        """The text of the line; empty if nothing will be judged.

        `running` are the records of the item that is under way; `usage` is the model's own count of its work.
        """
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
            remaining = (now - self.started) / self.done * max(self.items - self.done, 0)
            parts.append(f"{_format_duration(remaining)} left")
        return "llmc: " + ", ".join(parts)


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class LiveLine:
    """A line below the one with the cursor. It is on the screen whenever nothing else writes.

    Whoever writes to the terminal does so within `cleared`. A thread draws the line again at intervals, so that the
    time goes on while an item is judged.
    """

    def __init__(self, terminal: IO[str], writer: Any, text: Callable[[], str]) -> None:
        """`writer` is pytest's terminal writer, which writes to `terminal`; `text` returns the text to draw."""
        # A copy of the descriptor: pytest redirects standard output to a file while a test runs.
        self._file = os.dup(terminal.fileno())
        self._writer, self._compute_text = writer, text
        self._text, self._computed_at = "", -math.inf
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._is_drawn = False
        threading.Thread(target=self._redraw_at_intervals, daemon=True).start()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Erase the line while others write, and draw it again afterwards."""
        with self._lock:
            self._erase()
            try:
                yield
            finally:
                self._writer.flush()
                self._draw()

    def close(self) -> None:
        """Erase the line for good."""
        with self._lock:
            if not self._ended.is_set():
                self._erase()
                self._ended.set()
                os.close(self._file)

    def _redraw_at_intervals(self) -> None:
        while not self._ended.wait(_REDRAW_INTERVAL):
            with self._lock:
                if self._is_drawn:
                    self._draw()

    def _draw(self) -> None:
        if self._ended.is_set():
            return
        if time.monotonic() - self._computed_at >= _TEXT_LIFETIME:
            self._text, self._computed_at = self._compute_text(), time.monotonic()
        if self._text:
            self._write(self._text[: shutil.get_terminal_size().columns - 1])
            self._is_drawn = True

    def _erase(self) -> None:
        if self._is_drawn and not self._ended.is_set():
            self._write("")
            self._is_drawn = False

    def _write(self, text: str) -> None:
        """Write into the line below the cursor, and move the cursor back.

        A line feed goes down and scrolls if the cursor is in the last line of the screen, which a cursor movement would
        not do. `ESC [ 2 K` erases the line; `ESC [ A` goes up, `ESC [ n C` goes right by n columns.
        """
        column = self._writer.width_of_current_line % shutil.get_terminal_size().columns
        back = f"\x1b[A\r\x1b[{column}C" if column else "\x1b[A\r"
        try:
            os.write(self._file, f"\r\n\x1b[2K{text}{back}".encode("utf-8", "replace"))
        except OSError:  # the terminal is gone: pytest itself reports that
            self._ended.set()
