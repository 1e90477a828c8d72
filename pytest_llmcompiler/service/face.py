"""What all judges have in common: batches of samples, in a loop or in an event loop."""

from __future__ import annotations

import abc
import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from pytest_llmcompiler.errors import JudgeError, LLMCompilerError
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.service.error_verdict import describe_error
from pytest_llmcompiler.service.sample import Sample
from pytest_llmcompiler.service.window import Window

_AT_ONCE = 16
"""Samples that are read, or verdicts that are given out, until other tasks of an event loop get their turn."""
Reply = TypeVar("Reply")
"""What a sample's future has in the end."""
Self = TypeVar("Self", bound="JudgeFace[Any]")


class JudgeFace(abc.ABC, Generic[Reply]):
    """Judges batches of samples with `workers` processes."""

    workers: int
    _is_closed = False

    @abc.abstractmethod
    def close(self) -> None:
        """End the processes for good. Calls that wait for a verdict raise JudgeError."""

    @abc.abstractmethod
    def _submit(self, sample: Sample) -> Future[Reply]:
        """Have a sample judged. Raises CaseError for a source that can't be read, ValueError for an unknown target,
        JudgeError after `close`."""

    @abc.abstractmethod
    def _read(self, future: Future[Reply]) -> Verdict:
        """Wait for a verdict. Raises CaseError, JudgeError, ValueError."""

    @abc.abstractmethod
    def _forget(self, futures: Iterable[Future[Reply]]) -> None:
        """Nobody waits for these verdicts any more."""

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
        window = Window[Reply](self.workers)
        failure: Exception | None = None
        is_at_end = False
        count = 0
        try:
            while True:
                while not (is_at_end or window.is_full or window.has_next):
                    try:
                        sample = next(samples)
                        window.add(self._try_to_submit(sample), len(sample.answer))
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
            self._forget(window.take_all())

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
        window, has_changed = Window[Reply](self.workers), asyncio.Event()
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
                    await _wait_for(window.first)
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
            self._forget(window.take_all())
            reader.cancel()
            await asyncio.wait([reader])

    async def _read_samples(
        self, samples: Iterable[Sample] | AsyncIterable[Sample], window: Window[Reply], has_changed: asyncio.Event
    ) -> None:
        """Add samples to a window, as far as there is room. `has_changed` is set when one came or went."""
        async for sample in samples if isinstance(samples, AsyncIterable) else _iterate(samples):
            if self._is_quick(sample):
                future = self._try_to_submit(sample)
            else:
                future = await asyncio.to_thread(self._try_to_submit, sample)
            window.add(future, len(sample.answer))
            has_changed.set()
            while window.is_full:
                has_changed.clear()
                await has_changed.wait()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise JudgeError("the judge is closed")

    def _is_quick(self, sample: Sample) -> bool:
        """Whether `_submit` takes no longer than an event loop may be held up."""
        return True

    def _try_to_submit(self, sample: Sample) -> Future[Reply]:
        """Have a sample of a batch judged. What is wrong with its question is raised by the future."""
        try:
            return self._submit(sample)
        except (LLMCompilerError, ValueError) as error:
            self._check_open()
            future: Future[Reply] = Future()
            future.set_exception(error)
            return future

    def _read_next(self, window: Window[Reply]) -> Verdict:
        """Wait for the next verdict of a batch."""
        if window.owner != os.getpid():
            raise JudgeError("this batch was begun in another process, of which this one is a fork")
        try:
            return self._read(window.first)
        except (LLMCompilerError, ValueError) as error:
            self._check_open()
            return describe_error(error)
        finally:
            if window.has_next:  # otherwise the wait was interrupted, and the sample is to be forgotten
                window.remove_first()


async def _wait_for(future: Future[Any]) -> None:
    """Wait until there is a verdict, or an error in its place, which is not raised here."""
    waited = asyncio.wrap_future(future)
    await asyncio.wait([waited])
    if not waited.cancelled():
        waited.exception()  # otherwise asyncio logs that nobody asked for it


async def _iterate(samples: Iterable[Sample]) -> AsyncIterator[Sample]:
    """The samples, while other tasks have their turns."""
    for number, sample in enumerate(samples):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        yield sample
