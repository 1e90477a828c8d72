"""Seconds and memory of this process and of all processes below it."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds of the unit in which the kernel counts the CPU time of other processes: a hundredth."""


@dataclass
class Seconds:
    """The seconds of repeated calls of one contender."""

    wall: list[float] = field(default_factory=list)
    """Of each call."""
    cpu: float = 0.0
    """Of all calls together, with the processes that they use. The clock of a process that lives on is coarse (0.01 s),
    so only sums over many calls mean something."""

    def measure(self, call: Callable[[], object]) -> None:
        """Call once and add its seconds."""
        cpu, start = read_cpu_seconds(), time.perf_counter()
        call()
        self.wall.append(time.perf_counter() - start)
        own = _read_own_cpu_seconds()  # before the search for processes, which takes milliseconds
        self.cpu += own + sum(map(_cpu_seconds_of, list_descendants())) - cpu


def read_cpu_seconds() -> float:
    """CPU seconds of this process, of its children that ended, and of all processes below it that live."""
    below = sum(map(_cpu_seconds_of, list_descendants()))
    return below + _read_own_cpu_seconds()


def _read_own_cpu_seconds() -> float:
    """CPU seconds of this process and of its children that ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def _cpu_seconds_of(pid: int) -> float:
    """The CPU seconds of a process and of its own children that ended; 0 where it is gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return _TICK * sum(map(int, fields[11:15]))
    return 0.0


def list_descendants() -> list[int]:
    """The numbers of all processes below this one."""
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children[parent].append(int(folder.name))
    found = []
    todo = [os.getpid()]
    while todo:
        below = children[todo.pop()]
        found += below
        todo += below
    return found


@dataclass(frozen=True)
class Memory:
    """The memory of some processes, in MiB."""

    processes: int
    resident: float
    """All pages that they have, the shared ones once for each process."""
    proportional: float
    """A page that several share counts in parts: this is what the machine has to hold."""
    largest: float
    """The proportional size of the largest one."""


def read_memory() -> Memory:
    """The memory of all processes below this one."""
    sizes = list(filter(None, map(_sizes_of, list_descendants())))
    resident, proportional = (sum(size[index] for size in sizes) for index in (0, 1))
    return Memory(len(sizes), resident, proportional, max((size[1] for size in sizes), default=0.0))


def _sizes_of(pid: int) -> tuple[float, float] | None:
    with contextlib.suppress(OSError):
        words = dict(_read_fields(Path(f"/proc/{pid}/smaps_rollup").read_text()))
        return words["Rss"] / 1024, words["Pss"] / 1024
    return None


def _read_fields(text: str) -> Iterator[tuple[str, int]]:
    """The fields of `smaps_rollup`, in KiB."""
    for line in text.splitlines()[1:]:
        name, _, rest = line.partition(":")
        yield name, int(rest.split()[0])
