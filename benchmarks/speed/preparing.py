"""The seconds until a function is ready to judge: for the first time, and from the cache."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.cached_reference import CachedReference
from pytest_llmcompiler.program.case import Case, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from speed.answers import MeasuredFunction, group_by_file
from speed.clock import read_cpu_seconds
from speed.tables import format_spread, format_table

Result = TypeVar("Result")
_WARM_UP = "int warm_up(int x) { return x + 1; }\n"


@dataclass(frozen=True)
class Duration:
    """Seconds of one step."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class PreparedFile:
    """The steps for the functions of one file."""

    compiled: Duration
    """The file read, compiled, and linked as the program whose behaviour is expected."""
    functions: list[Duration]
    """Each function, from the compiled file until it can be judged."""
    first_verdicts: list[Duration]
    """The first verdict on each, on clang -O2's text, without explanation."""


@dataclass
class PreparingPart:
    """Prepares the functions of each file twice, each time in a new process that has imported everything."""

    cold: list[PreparedFile] = field(default_factory=list)
    cached: list[PreparedFile] = field(default_factory=list)

    def measure(self, functions: Sequence[MeasuredFunction]) -> None:
        """Measure functions that the cache does not have yet."""
        for path, group in group_by_file(functions):
            names = [function.name for function in group]
            self.cold.append(call_in_process(prepare_file, path, names))
            self.cached.append(call_in_process(prepare_file, path, names))

    def report(self) -> Iterator[str]:
        """The table."""
        yield "## Preparing"
        yield ""
        yield (
            "In a new process with all modules loaded. *cold*: $LLMC_CACHE has nothing of the file (zig's cache has "
            "musl, and may have the file's objects of an earlier run). *from the cache*: in another new process after "
            "that. A file is compiled once for all of its functions; a function is ready when its inputs and expected "
            "observations are there. Seconds:"
        )
        yield ""
        yield from format_table(
            ["", "", "number", "median", "95 %", "most", "CPU: median", "95 %", "most"], self._rows()
        )

    def _rows(self) -> Iterator[list[str]]:
        for name, files in (("cold", self.cold), ("from the cache", self.cached)):
            yield ["a file compiled", name, *_format(file.compiled for file in files)]
            yield ["a function ready", name, *_format(one for file in files for one in file.functions)]
            yield ["its first verdict", name, *_format(one for file in files for one in file.first_verdicts)]


def _format(durations: Iterator[Duration]) -> list[str]:
    every = list(durations)
    columns = [[duration.wall for duration in every], [duration.cpu for duration in every]]
    figures = ([*format_spread(seconds, 1, 3), f"{max(seconds, default=0):,.3f}"] for seconds in columns)
    return [str(len(every)), *itertools.chain(*figures)]


def call_in_process(function: Callable[..., Result], *args: object) -> Result:
    """The result of a function that runs in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def prepare_file(path: Path, names: Sequence[str]) -> PreparedFile:
    """Compile a file and prepare functions of it in this process, which has done nothing else."""
    _load_modules()
    reference, compiled = _time(lambda: _compile(read_case(path)))
    prepared, verdicts = [], []
    for name in names:
        harness, ready = _time(lambda name=name: prepare(reference, name))
        text = reference.texts.assembly(name, "O2")
        prepared.append(ready)
        verdicts.append(_time(lambda harness=harness, text=text: harness.judge(text, explain=False))[1])
    return PreparedFile(compiled, prepared, verdicts)


def prepare(reference: Reference, name: str, examples: int = JudgeSettings().examples) -> Harness:
    """A harness with its suite."""
    harness = Harness(reference, name, JudgeSettings(examples))
    harness.find_unjudgeable_reason()
    return harness


def _compile(case: Case) -> Reference:
    reference = CachedReference(case, Toolchain())
    reference.golden  # noqa: B018
    return reference


def _load_modules() -> None:
    """Judge a function of one line, which imports everything and builds what a machine builds once."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="llmc-speed-") as folder:
        path = Path(folder, "warm_up.c")
        path.write_text(_WARM_UP, encoding="utf-8")
        reference = _compile(read_case(path))
        prepare(reference, "warm_up", 10).judge(reference.texts.assembly("warm_up", "O2"))


def _time(call: Callable[[], Result]) -> tuple[Result, Duration]:
    cpu, start = read_cpu_seconds(), time.perf_counter()
    result = call()
    return result, Duration(time.perf_counter() - start, read_cpu_seconds() - cpu)
