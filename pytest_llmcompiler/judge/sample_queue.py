"""Answers to one question, judged side by side; their verdicts come out in the order of the answers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmcompiler.errors import JudgeError
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.model.answer import Answer


class JudgedAnswer(NamedTuple):
    """An answer, and its verdict or the fault of the harness because of which it has none."""

    answer: Answer
    outcome: ReproducibleVerdict | JudgeError


@dataclass
class _WaitingAnswer:
    answer: Answer
    verdict: Future[ReproducibleVerdict]
    is_copy: bool
    """Whether the verdict is that of an earlier answer with the same text."""


class SampleQueue:
    """Judges answers in the threads of an executor.

    Models repeat themselves, and the same answer has the same verdict: copies of an answer share one, unless it is
    inconclusive or missing. Then each copy is judged by itself.
    """

    def __init__(self, threads: Executor, judge: Callable[[Answer], ReproducibleVerdict]) -> None:
        self._threads, self._judge = threads, judge
        self._waiting: deque[_WaitingAnswer] = deque()
        self._verdicts: dict[tuple[str, str], Future[ReproducibleVerdict]] = {}
        """By text and stop reason."""

    def add(self, answer: Answer) -> None:
        """Have an answer judged."""
        key = answer.text, answer.stop
        verdict = self._verdicts.get(key)
        is_copy = verdict is not None and not (verdict.done() and _is_doubtful(verdict))
        if verdict is None or not is_copy:
            verdict = self._verdicts[key] = self._submit(answer)
        self._waiting.append(_WaitingAnswer(answer, verdict, is_copy))

    def add_judged(self, answer: Answer, verdict: ReproducibleVerdict) -> None:
        """Add an answer whose verdict is known."""
        known: Future[ReproducibleVerdict] = Future()
        known.set_result(verdict)
        self._waiting.append(_WaitingAnswer(answer, known, is_copy=False))

    def take(self, seconds: float | None = None) -> Iterator[JudgedAnswer]:
        """Yield the first answers as they are judged, for at most so many seconds; without a limit all answers.

        Raises CaseError where the case is at fault.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._waiting:
            first = self._waiting[0]
            try:
                first.verdict.exception(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except FutureTimeoutError:
                return
            if first.is_copy and _is_doubtful(first.verdict):
                self._judge_copies_again(first.verdict)
                continue
            self._waiting.popleft()
            yield JudgedAnswer(first.answer, _get_outcome(first.verdict))

    def cancel(self) -> None:
        """Judge none of the answers whose turn has not come."""
        for waiting in self._waiting:
            waiting.verdict.cancel()

    def _judge_copies_again(self, doubtful: Future[ReproducibleVerdict]) -> None:
        for waiting in self._waiting:
            if waiting.verdict is doubtful:
                waiting.verdict, waiting.is_copy = self._submit(waiting.answer), False

    def _submit(self, answer: Answer) -> Future[ReproducibleVerdict]:
        return self._threads.submit(self._judge, answer)


def _get_outcome(verdict: Future[ReproducibleVerdict]) -> ReproducibleVerdict | JudgeError:
    try:
        return verdict.result()
    except JudgeError as error:
        return error


def _is_doubtful(verdict: Future[ReproducibleVerdict]) -> bool:
    """Whether a finished verdict may be another one the next time."""
    return verdict.exception() is not None or not verdict.result().verdict.conclusive
