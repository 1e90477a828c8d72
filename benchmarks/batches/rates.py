"""Answers a second: of a judge, of its engine alone, and of compiling and running in a pool of processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speed.answers import MeasuredFunction, open_reference
from speed.clock import Memory, read_cpu_seconds, read_memory
from speed.compile_and_run import CompileAndRun
from speed.driver import NotExpressibleError
from speed.tables import percentile

from batches.answers import count_codes
from pytest_llmcompiler import Judge, Sample, Verdict
from pytest_llmcompiler.errors import LLMCompilerError, NoCodeError
from pytest_llmcompiler.judge.api import extract_code
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.settings import JudgeSettings, TaskQuestion
from pytest_llmcompiler.judge.tasks import judge_task
from pytest_llmcompiler.model.answer import Answer


@dataclass(frozen=True)
class Rate:
    """How long some answers took."""

    answers: int
    seconds: float
    cpu: float
    """CPU seconds of all processes."""
    own_cpu: float = 0.0
    """CPU seconds of the process that asks."""
    kinds: tuple[tuple[str, int], ...] = ()
    """How many answers have each verdict."""
    memory: Memory | None = None
    codes: int | None = None
    """How many different texts the answers have, comments left out; None where nobody counted."""

    @property
    def a_second(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def measure_batch(judge: Judge, samples: Sequence[Sample]) -> Rate:
    """Judge a batch."""
    start, cpu, own = time.perf_counter(), read_cpu_seconds(), time.process_time()
    kinds = Counter(verdict.kind for verdict in judge.check_many(samples))
    seconds, own = time.perf_counter() - start, time.process_time() - own
    cpu = read_cpu_seconds() - cpu
    return Rate(len(samples), seconds, cpu, own, tuple(kinds.most_common()), read_memory(), count_codes(samples))


def measure_single(judge: Judge, samples: Sequence[Sample]) -> list[float]:
    """The seconds of each sample, judged one at a time by as many threads as there are processes."""
    seconds: list[float] = []
    rest = iter(samples)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                sample = next(rest, None)
            if sample is None:
                return
            start = time.perf_counter()
            judge.check(sample)
            seconds.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work) for _ in range(judge.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


def measure_engine(samples: Sequence[Sample]) -> Rate:
    """Judge samples in this process, with nothing around the verdict. Functions are prepared before."""
    harnesses: dict[tuple[object, str], Harness] = {}
    for sample in samples:
        assert isinstance(sample.source, Path)
        key = sample.source, sample.function
        if key not in harnesses:
            harness = Harness(open_reference(sample.source), sample.function, JudgeSettings())
            if harness.find_unjudgeable_reason() is None:
                harness.engine.start()
                _judge_here(harness, sample)
            harnesses[key] = harness
    start, cpu = time.perf_counter(), read_cpu_seconds()
    kinds = Counter(_judge_here(harnesses[sample.source, sample.function], sample).kind for sample in samples)
    return Rate(len(samples), time.perf_counter() - start, read_cpu_seconds() - cpu, 0.0, tuple(kinds.most_common()))


def _judge_here(harness: Harness, sample: Sample) -> Verdict:
    try:
        text = extract_code(Answer(sample.answer), sample.function, sample.task).aligned_text
    except NoCodeError as error:
        return Verdict("no-answer", str(error))
    return judge_task(harness, TaskQuestion(sample.task, sample.passes), text, explain=False)


class CompileAndRunPool:
    """The same answers in a pool of processes that compile and run them with five asserts, as published evaluations do.
    Functions for which such a driver can't be written are left out."""

    def __init__(self, functions: Sequence[MeasuredFunction], folder: Path) -> None:
        self._contenders: dict[tuple[Path, str], CompileAndRun] = {}
        for number, function in enumerate(functions):
            place = folder / str(number)
            place.mkdir()
            with contextlib.suppress(NotExpressibleError, LLMCompilerError):
                self._contenders[function.path, function.name] = CompileAndRun(function, place)

    def measure(self, samples: Sequence[Sample], processes: int) -> Rate:
        """Compile and run the samples of functions that have a driver."""
        keys = ((sample.source, sample.function) for sample in samples)
        jobs = [(self._contenders[key], one.answer) for key, one in zip(keys, samples) if key in self._contenders]
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            pool.map(_warm_up, range(processes))
            start, cpu = time.perf_counter(), read_cpu_seconds()
            passed = sum(pool.imap(_compile_and_run, jobs, chunksize=4))
            seconds, cpu = time.perf_counter() - start, read_cpu_seconds() - cpu
        return Rate(len(jobs), seconds, cpu, 0.0, (("pass", passed),))


def _warm_up(number: int) -> int:
    return number


def _compile_and_run(job: tuple[CompileAndRun, str]) -> bool:
    contender, text = job
    with tempfile.TemporaryDirectory(prefix="llmc-run-") as folder:
        return contender.copy_to(Path(folder)).passes(text)


def describe_latency(seconds: Sequence[float]) -> list[str]:
    """Median and 99th percentile in milliseconds."""
    return [f"{1000 * statistics.median(seconds):,.1f}", f"{1000 * percentile(seconds, 0.99):,.1f}"]
