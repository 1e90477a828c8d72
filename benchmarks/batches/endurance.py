"""A judge over a long time, and one whose processes are killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speed.clock import list_descendants, read_memory

from batches.answers import BatchSource
from pytest_llmcompiler import Judge, Sample, Verdict
from pytest_llmcompiler.files import cache_folder

_BATCH = 500
"""Answers of one batch of a soak."""
_KILLS = 20
"""How many processes are killed during a batch: at random, but after so many verdicts that all of them judge again."""


@dataclass(frozen=True)
class State:
    """What a judge holds at some time."""

    seconds: float
    verdicts: int
    memory: float
    """Of all processes, proportional (PSS), in MiB."""
    own_memory: float
    """Of the process that asks, resident, in MiB."""
    descriptors: int
    """Open files of this process and of all below it."""
    processes: int
    zombies: int
    temporary: int
    """Files and folders in the temporary folder that were not there at the start."""
    parts: int
    """Files in the cache that were begun and not ended."""


class Soak:
    """Judges fresh answers for a long time."""

    def __init__(self, judge: Judge, source: BatchSource) -> None:
        self._judge, self._source = judge, source
        self._before = list_temporary()

    def run(self, seconds: float, samples: int = 10) -> Iterator[State]:
        """Judge for so long, and look so many times at what is held, at equal intervals."""
        start, count, looked = time.monotonic(), 0, 0
        while (now := time.monotonic() - start) < seconds:
            for _ in self._judge.check_many(self._source.draw(_BATCH)):
                count += 1
                now = time.monotonic() - start
                if now >= looked * seconds / samples:
                    looked += 1
                    yield look_at(now, count, self._before)
        yield look_at(now, count, self._before)


def look_at(seconds: float, verdicts: int, before: set[str]) -> State:
    """What the judge of this process holds. `before` are the temporary files that there were at the start."""
    pids = [os.getpid(), *list_descendants()]
    memory = read_memory()
    own = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    states = [_read_state(pid) for pid in pids]
    parts = sum(path.name.startswith(".") for path in cache_folder().rglob("*"))
    temporary = len(list_temporary() - before)
    descriptors = sum(map(_count_descriptors, pids))
    zombies = states.count("Z")
    return State(seconds, verdicts, memory.proportional, own, descriptors, memory.processes, zombies, temporary, parts)


def list_temporary() -> set[str]:
    """The names of all that is in the temporary folder."""
    return {path.name for path in Path(tempfile.gettempdir()).iterdir()}


def _read_state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def _count_descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return 0


def compare_with_kills(
    open_judge: Callable[[], Judge], samples: Sequence[Sample], seed: int
) -> tuple[int, list[tuple[Verdict, Verdict]]]:
    """Judge a batch in quiet, and again while processes are killed at random: how many were killed, and the verdicts
    that differ."""
    with open_judge() as judge:
        quiet = list(judge.check_many(samples))
    rng, killed, disturbed = random.Random(seed), 0, []
    with open_judge() as judge:
        for verdict in judge.check_many(samples):
            disturbed.append(verdict)
            if rng.random() < _KILLS / len(samples):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(judge._pool.pids), signal.SIGKILL)
                    killed += 1
    return killed, [pair for pair in zip(quiet, disturbed, strict=True) if pair[0] != pair[1]]
