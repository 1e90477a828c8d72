"""Verdicts a second on one core and more, and the memory that the judge's processes hold."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from pytest_llmcompiler.judge.api import check_file
from speed.answers import FreshTexts, MeasuredFunction, open_reference
from speed.clock import Memory, read_cpu_seconds, read_memory
from speed.preparing import call_in_process
from speed.tables import format_table

_SECONDS, _ROUNDS = 3.0, 3
"""How long each number of cores judges in one round, wall clock, and how many rounds there are."""
_FUNCTIONS = 8
"""Functions whose answers are judged in turn, as in a batch of a training step."""


@dataclass(frozen=True)
class Throughput:
    """What some cores judged."""

    verdicts: int
    seconds: float
    cpu: float


@dataclass
class CoresPart:
    """`check_file()` from as many threads as there are cores to use."""

    jobs: int
    measured: list[Throughput] = field(default_factory=list)

    def measure(self, functions: Sequence[MeasuredFunction]) -> None:
        """Measure 1, 2, 4, … cores, and all of them."""
        rounds = [
            [call_in_process(judge_on_cores, list(functions[:_FUNCTIONS]), cores) for cores in self._counts()]
            for _ in range(_ROUNDS)
        ]
        self.measured = [_add(of_cores) for of_cores in zip(*rounds)]

    def _counts(self) -> list[int]:
        powers = itertools.takewhile(lambda count: count < self.jobs, (1 << number for number in range(16)))
        return [*powers, self.jobs]

    def report(self) -> Iterator[str]:
        """The table."""
        yield "## All cores"
        yield ""
        yield (
            "Passing answers of clang -O2, in a process that may use so many cores and calls `check_file()` from as "
            "many threads:"
        )
        yield ""
        rates = [one.verdicts / one.seconds for one in self.measured]
        rows = [
            [str(cores), f"{rate:,.1f}", f"{rate / rates[0]:.2f}", f"{1000 * one.cpu / max(one.verdicts, 1):,.1f}"]
            for cores, rate, one in zip(self._counts(), rates, self.measured)
        ]
        yield from format_table(["cores", "verdicts a second", "times one core", "CPU ms a verdict"], rows)


def _add(rounds: Sequence[Throughput]) -> Throughput:
    return Throughput(*(sum(getattr(one, part.name) for one in rounds) for part in fields(Throughput)))


def judge_on_cores(functions: Sequence[MeasuredFunction], cores: int) -> Throughput:
    """Judge on so many of this process's cores for some seconds."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    fresh, lock = FreshTexts(), threading.Lock()
    texts = [open_reference(function.path).texts.assembly(function.name, "O2") for function in functions]
    for function, text in zip(functions, texts):
        check_file(function.path, function.name, text)  # prepares the function
    turns = itertools.cycle(zip(functions, texts))
    count = 0

    def judge(end: float) -> None:
        nonlocal count
        while time.perf_counter() < end:
            with lock:
                function, text = next(turns)
                text = fresh.renew_code(text)
            check_file(function.path, function.name, text)
            with lock:
                count += 1

    def judge_for(seconds: float) -> float:
        start = time.perf_counter()
        threads = [threading.Thread(target=judge, args=(start + seconds,)) for _ in range(cores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    judge_for(_SECONDS)  # each judge process loads the functions
    count, cpu = 0, read_cpu_seconds()
    seconds = judge_for(_SECONDS)
    return Throughput(count, seconds, read_cpu_seconds() - cpu)


@dataclass
class MemoryPart:
    """The processes below one that calls `check_file()`, after one function and after all."""

    measured: list[tuple[int, Memory]] = field(default_factory=list)

    def measure(self, functions: Sequence[MeasuredFunction]) -> None:
        """Judge one answer for each function in a new process."""
        self.measured = call_in_process(read_memory_of_judge, list(functions))

    def report(self) -> Iterator[str]:
        """The table."""
        yield "## Memory"
        yield ""
        yield "All processes below one that calls `check_file()` from one thread, once for each function, in MiB:"
        yield ""
        rows = [
            [str(count), str(memory.processes), *(f"{size:,.0f}" for size in _sizes(memory))]
            for count, memory in self.measured
        ]
        heading = ["functions judged", "processes", "resident (RSS)", "proportional (PSS)", "largest process (PSS)"]
        yield from format_table(heading, rows)


def _sizes(memory: Memory) -> tuple[float, float, float]:
    return memory.resident, memory.proportional, memory.largest


def read_memory_of_judge(functions: Sequence[MeasuredFunction]) -> list[tuple[int, Memory]]:
    """The memory after 1, 2, 4, … functions, and after all."""
    measured = []
    for count, function in enumerate(functions, 1):
        check_file(function.path, function.name, open_reference(function.path).texts.assembly(function.name, "O2"))
        if count & count - 1 == 0 or count == len(functions):
            measured.append((count, read_memory()))
    return measured
