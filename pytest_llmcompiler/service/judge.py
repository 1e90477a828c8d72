"""`Judge`: verdicts on single answers and on batches, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from pytest_llmcompiler.errors import JudgeError, JudgeTimeoutError, LLMCompilerError
from pytest_llmcompiler.judge.pool import JudgePool, read_reply
from pytest_llmcompiler.judge.settings import JudgeSettings, check_effort, check_prover
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.llama.resources import count_cores
from pytest_llmcompiler.service.questions import EncodedQuestions
from pytest_llmcompiler.service.sample import Sample
from pytest_llmcompiler.service.window import Window

_AT_ONCE = 16
"""Samples that are read, or verdicts that are given out, until other tasks of an event loop get their turn."""


class Judge:
    """Judges samples in a pool of processes. Any number of threads and event loops may use one judge.

    `workers` is the number of processes, all cores by default. `examples`, `seed`, `effort` and `prove` are as for
    `check`. A smaller input that shows a failure is searched for only with `explain`: the search takes most of the time
    that wrong code takes. With `count_agreeing`, `detail["agreeing"]` of code that runs and fails is the number of the
    `detail["inputs"]` on which it does what the reference does. Each of them is run for that, which takes several times
    as long as the verdict.

    `timeout` is a limit for each sample, in seconds of wall-clock time: where it is reached, the verdict is
    `inconclusive`, with the type `Timeout` in `detail["error"]`, and the process is replaced. The time begins when a
    process has the sample and has prepared its function. Preparing has limits of its own. Without `timeout` a sample is
    limited by the instructions that its code may execute.

    The same answer to the same question is judged once, while it is judged and for some time after: tens of thousands
    of verdicts are kept. A process that dies is replaced, and the sample that it judged is judged again, twice at most.

    The processes end with `close`, at the end of a `with` block, with the judge itself, and with the process that holds
    it, however that ends. A child process has to use a judge in its own way: a forked one may use that of its parent,
    and gets processes of its own; a judge that is pickled becomes another one with the same settings.

    Raises ValueError for a number of processes below 1, for an effort that is no number of 0 or more and for a time
    limit that is no number above 0; SettingError where libraries for proofs are missing.
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
        timeout: float | None = None,
    ) -> None:
        if prove:
            check_prover()
        self.workers = count_cores() if workers is None else _check_workers(workers)
        self._timeout = _check_timeout(timeout)
        self._explain = explain
        self._settings = JudgeSettings(
            examples, seed, effort=check_effort(effort), prove=prove, count_agreeing=count_agreeing
        )
        self._questions = EncodedQuestions(self._settings, explain=explain)
        self._pool = JudgePool(self.workers)
        self._is_closed = False

    def check(self, sample: Sample) -> Verdict:
        """The verdict on one sample.

        Raises CaseError where the source is at fault, ValueError for an unknown target, JudgeError where the harness
        is at fault, and after `close`. Whatever is wrong with the answer is a verdict.
        """
        future = self._submit(sample)
        try:
            return _read_verdict(self._pool.wait(future))
        except JudgeTimeoutError as error:
            return _describe_error(error)

    def check_many(
        self, samples: Iterable[Sample], progress: Callable[[int], object] | None = None
    ) -> Iterator[Verdict]:
        """The verdicts on samples, in their order. `samples` is read as the verdicts are taken, and may be endless.

        `progress` is called with the number of verdicts, before each is given out. No sample ends the batch: where
        `check` raises an error, the verdict is `inconclusive`, and `detail["error"]` has the type and text of the
        error. What `samples` raises is raised after the verdicts on all samples before.

        Raises JudgeError where the judge is closed.
        """
        self._check_open()
        return self._check_many(iter(samples), progress)

    def _check_many(self, samples: Iterator[Sample], progress: Callable[[int], object] | None) -> Iterator[Verdict]:
        window = Window(self.workers)
        failure: Exception | None = None
        is_at_end = False
        count = 0
        try:
            while True:
                while not (is_at_end or window.is_full or window.has_next):
                    try:
                        self._add(window, next(samples))
                    except StopIteration:
                        is_at_end = True
                    except Exception as error:
                        failure, is_at_end = error, True
                if not window:
                    break
                verdict = self._read_next(window)
                count += 1
                if progress:
                    progress(count)
                yield verdict
            if failure:
                raise failure
        finally:
            self._pool.forget(window.take_all())

    async def acheck(self, sample: Sample) -> Verdict:
        """The verdict on one sample, as `check` gives it, without holding up the event loop. Raises as `check` does."""
        future = self._submit(sample)
        try:
            return _read_verdict(read_reply(await asyncio.wrap_future(future)))
        except JudgeTimeoutError as error:
            return _describe_error(error)
        finally:
            self._pool.forget([future])

    def acheck_many(
        self, samples: Iterable[Sample] | AsyncIterable[Sample], progress: Callable[[int], object] | None = None
    ) -> AsyncIterator[Verdict]:
        """The verdicts on samples, as `check_many` gives them, without holding up the event loop. A verdict is given
        out as soon as it is there, however long `samples` takes to give the next one. An iterable that is not
        asynchronous is read in the event loop."""
        self._check_open()
        return self._acheck_many(samples, progress)

    async def _acheck_many(
        self, samples: Iterable[Sample] | AsyncIterable[Sample], progress: Callable[[int], object] | None
    ) -> AsyncIterator[Verdict]:
        window, has_changed = Window(self.workers), asyncio.Event()
        reader = asyncio.ensure_future(self._read_samples(samples, window, has_changed))
        reader.add_done_callback(lambda _: has_changed.set())
        count = 0
        try:
            while True:
                while not (window or reader.done()):
                    has_changed.clear()
                    await has_changed.wait()
                if not window:
                    break
                if not window.has_next:
                    await asyncio.wait([asyncio.wrap_future(window.first)])
                elif count % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                verdict = self._read_next(window)
                has_changed.set()
                count += 1
                if progress:
                    progress(count)
                yield verdict
            await reader  # raises what `samples` raised
        finally:
            self._pool.forget(window.take_all())
            reader.cancel()
            await asyncio.wait([reader])

    async def _read_samples(
        self, samples: Iterable[Sample] | AsyncIterable[Sample], window: Window, has_changed: asyncio.Event
    ) -> None:
        """Add samples to a window, as far as there is room. `has_changed` is set when one came or went."""
        async for sample in samples if isinstance(samples, AsyncIterable) else _iterate(samples):
            self._add(window, sample)
            has_changed.set()
            while window.is_full:
                has_changed.clear()
                await has_changed.wait()

    def close(self) -> None:
        """End the processes for good. Calls that wait for a verdict raise JudgeError."""
        self._is_closed = True
        self._pool.close(for_good=True)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        settings = self._settings
        return _open_judge, (
            self.workers,
            {
                "examples": settings.examples,
                "seed": settings.seed,
                "effort": settings.effort,
                "explain": self._explain,
                "prove": settings.prove,
                "count_agreeing": settings.count_agreeing,
                "timeout": self._timeout,
            },
        )

    def _check_open(self) -> None:
        if self._is_closed:
            raise JudgeError("the judge is closed")

    def _submit(self, sample: Sample) -> Future[bytes]:
        """Have a sample judged. Raises CaseError for a source that can't be read, ValueError for an unknown target,
        JudgeError after `close`."""
        self._check_open()
        return self._pool.submit(self._questions.encode(sample), sample.answer, self._timeout)

    def _add(self, window: Window, sample: Sample) -> None:
        """Have a sample of a batch judged."""
        try:
            future = self._submit(sample)
        except (LLMCompilerError, ValueError) as error:
            self._check_open()
            future = Future()
            future.set_exception(error)
        window.add(future, len(sample.answer))

    def _read_next(self, window: Window) -> Verdict:
        """Wait for the next verdict of a batch."""
        if window.owner != os.getpid():
            raise JudgeError("this batch was begun in another process, of which this one is a fork")
        try:
            return _read_verdict(read_reply(window.first.result()))
        except (LLMCompilerError, ValueError) as error:
            self._check_open()
            return _describe_error(error)
        finally:
            if window.has_next:  # otherwise the wait was interrupted, and the sample is to be forgotten
                window.remove_first()


def _open_judge(workers: int, settings: dict[str, Any]) -> Judge:
    return Judge(workers, **settings)


async def _iterate(samples: Iterable[Sample]) -> AsyncIterator[Sample]:
    """The samples, while other tasks have their turns."""
    for number, sample in enumerate(samples):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        yield sample


def _check_workers(workers: int) -> int:
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"expected a number of processes of 1 or more, found {workers!r}")
    return workers


def _check_timeout(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise ValueError(f"expected a time limit in seconds above 0, found {timeout!r}")
    return float(timeout)


def _read_verdict(reply: Any) -> Verdict:
    return Verdict.from_json(reply["verdict"])


def _describe_error(error: Exception) -> Verdict:
    """The verdict on a sample that could not be judged."""
    message = str(error)
    kind = "Timeout" if isinstance(error, JudgeTimeoutError) else type(error).__name__
    return Verdict("inconclusive", message, detail={"error": {"type": kind, "message": message}})
