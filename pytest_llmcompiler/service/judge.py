"""`Judge`: verdicts on single answers and on batches, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import collections
import functools
import itertools
import os
import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.judge.api import judge_answer, open_case
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.pool import JudgePool
from pytest_llmcompiler.judge.settings import JudgeSettings, check_effort, check_prover
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.llama.resources import count_cores
from pytest_llmcompiler.service.sample import Sample
from pytest_llmcompiler.targets import get_target

_AHEAD = 64
"""Samples of a batch for each worker that are read before the first of them has a verdict: as many as it takes for each
worker to find one whose function it has ready."""


class Judge:
    """Judges samples in a pool of processes. Any number of threads and event loops may use one judge.

    `workers` is the number of processes, all cores by default. `examples`, `seed`, `effort` and `prove` are as for
    `check`. A smaller input that shows a failure is searched for only with `explain`: the search takes most of the time
    that wrong code takes. With `count_agreeing`, `detail["agreeing"]` of code that runs and fails is the number of the
    `detail["inputs"]` on which it does what the reference does. Each of them is run for that, which takes several times
    as long as the verdict.

    The processes end with `close`, at the end of a `with` block, with the judge itself, and with the process that holds
    it, however that ends. A forked child that uses the judge gets processes of its own.

    Raises ValueError for an effort that is no number of 0 or more, SettingError where libraries for proofs are missing.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        examples: int = 100,
        seed: int = 1,
        effort: float = 1.0,
        explain: bool = False,
        prove: bool = False,
        count_agreeing: bool = False,
    ) -> None:
        if prove:
            check_prover()
        self.workers = workers or count_cores()
        self._explain = explain
        self._settings = JudgeSettings(
            examples, seed, effort=check_effort(effort), prove=prove, count_agreeing=count_agreeing
        )
        self._pool = JudgePool(self.workers)
        self._threads: tuple[int, ThreadPoolExecutor] | None = None
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, self._pool.close)

    def check(self, sample: Sample) -> Verdict:
        """The verdict on one sample.

        Raises CaseError where the source is at fault, ValueError for an unknown target, JudgeError where the harness
        is at fault. Whatever is wrong with the answer is a verdict.
        """
        return _judge(self._pool, self._settings, self._explain, sample)

    def check_many(
        self, samples: Iterable[Sample], progress: Callable[[int], object] | None = None
    ) -> Iterator[Verdict]:
        """The verdicts on samples, in their order. `samples` is read as the verdicts are taken, and may be endless.

        `progress` is called after each verdict with their number up to then. No sample ends the batch: where `check`
        raises an error, the verdict is `inconclusive`, and `detail["error"]` has the type and text of the error.
        """
        waiting: collections.deque[Future[Verdict]] = collections.deque()
        rest = iter(samples)
        try:
            for count in itertools.count(1):
                for sample in itertools.islice(rest, _AHEAD * self.workers - len(waiting)):
                    waiting.append(self._submit(sample))
                if not waiting:
                    return
                yield waiting.popleft().result()
                if progress:
                    progress(count)
        finally:
            for future in waiting:
                future.cancel()

    async def acheck(self, sample: Sample) -> Verdict:
        """The verdict on one sample, as `check` gives it, without holding up the event loop. Raises as `check` does."""
        call = functools.partial(_judge, self._pool, self._settings, self._explain, sample)
        return await asyncio.wrap_future(self._open_threads().submit(call))

    async def acheck_many(
        self, samples: Iterable[Sample] | AsyncIterable[Sample], progress: Callable[[int], object] | None = None
    ) -> AsyncIterator[Verdict]:
        """The verdicts on samples, as `check_many` gives them, without holding up the event loop."""
        waiting: collections.deque[Future[Verdict]] = collections.deque()
        rest = samples if isinstance(samples, AsyncIterable) else _iterate(samples)
        count = 0
        try:
            async for sample in rest:
                waiting.append(self._submit(sample))
                if len(waiting) < _AHEAD * self.workers:
                    continue
                yield await asyncio.wrap_future(waiting.popleft())
                count += 1
                if progress:
                    progress(count)
            while waiting:
                yield await asyncio.wrap_future(waiting.popleft())
                count += 1
                if progress:
                    progress(count)
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """End the processes. Samples that wait for a verdict get a JudgeError."""
        self._finalizer()

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, sample: Sample) -> Future[Verdict]:
        call = functools.partial(_judge_safely, self._pool, self._settings, self._explain, sample)
        return self._open_threads().submit(call)

    def _open_threads(self) -> ThreadPoolExecutor:
        """The threads that wait for the processes, in this process: those of a parent did not survive the fork."""
        with self._lock:
            if self._threads is None or self._threads[0] != os.getpid():
                self._threads = os.getpid(), ThreadPoolExecutor(self.workers * 2, "llmc-judge")
            return self._threads[1]


async def _iterate(samples: Iterable[Sample]) -> AsyncIterator[Sample]:
    for sample in samples:
        yield sample


def _judge(pool: JudgePool, settings: JudgeSettings, explain: bool, sample: Sample) -> Verdict:
    """The verdict on a sample. Raises what `Judge.check` raises."""
    client = JudgeClient(replace(settings, target=get_target(sample.target).name), pool=pool)
    case, answer = open_case(sample.source, sample.cflags), Answer(sample.answer, stop=sample.stop)
    return judge_answer(client, case, sample.function, answer, task=sample.task, passes=sample.passes, explain=explain)


def _judge_safely(pool: JudgePool, settings: JudgeSettings, explain: bool, sample: Sample) -> Verdict:
    """The verdict on a sample, whatever happens."""
    try:
        return _judge(pool, settings, explain, sample)
    except (LLMCompilerError, ValueError) as error:
        message, kind = str(error), type(error).__name__
        return Verdict("inconclusive", message, detail={"error": {"type": kind, "message": message}})
