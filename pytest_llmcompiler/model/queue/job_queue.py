"""The job queue: samples that are wanted, and answers that wait to be fetched.

Any number of threads ask questions. A backend takes the samples that are wanted next, and delivers each answer as soon
as it is complete. A question that a thread waits for comes before those that are only planned.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, Question


@dataclass(frozen=True)
class Job:
    """One sample of a question, to be generated."""

    question: Question
    sample: int
    """The 0-based number of the sample."""


class AnswerStore(Protocol):
    """Keeps finished answers from session to session."""

    def get(self, question: Question, samples: Sequence[int]) -> dict[int, Answer]:
        """Those of the samples that are stored, by their numbers."""

    def put(self, question: Question, answer: Answer) -> None:
        """Store an answer."""


class _Priority(NamedTuple):
    """The order of questions: the smallest is served first."""

    is_planned: bool
    """False where a thread waits for the question."""
    order: int


@dataclass
class _QueuedQuestion:
    """The state of a question."""

    question: Question
    priority: _Priority
    answers: dict[int, Answer] = field(default_factory=dict)
    """The finished samples by their numbers."""
    wanted: list[int] = field(default_factory=list)
    """The samples that no backend has taken yet, in ascending order."""
    requested: set[int] = field(default_factory=set)
    """The samples that were asked for or planned so far."""
    refusal: PromptTooLongError | ModelError | None = None
    """Why no more samples are generated."""


class JobQueue:
    """Thread-safe. An answer that the answer store has is not generated again."""

    def __init__(self, answer_store: AnswerStore | None = None, changed: threading.Condition | None = None) -> None:
        """`changed` is what threads wait for; None: a new condition."""
        self._answer_store = answer_store
        self._questions: dict[Question, _QueuedQuestion] = {}
        self._order = itertools.count()
        self._changed = changed or threading.Condition()
        self._error: ModelError | None = None
        self._is_closed = False
        self.found_in_store = 0
        """Answers that were found in the answer store."""

    def plan(self, question: Question, samples: int, order: int, known: Collection[int] = ()) -> None:
        """Have the samples number 0 to `samples` - 1 generated when nothing more urgent is wanted.

        The plan with the smallest `order` comes first. `known` are numbers of samples that nobody needs.
        """
        with self._changed:
            self._request(question, samples, _Priority(is_planned=True, order=order), known)

    def answers(self, question: Question, samples: int, known: Collection[int] = ()) -> Iterator[Answer]:
        """Yield the samples number 0 to `samples` - 1 that are not `known`, each as soon as it is finished, in any
        order.

        Raises PromptTooLongError where the question leaves no room for an answer, ModelError where it can't be
        answered, the backend fails or the queue is closed. Answers that are finished all the same come first.
        """
        with self._changed:
            queued = self._request(question, samples, _Priority(is_planned=False, order=next(self._order)), known)
        left = set(range(samples)) - set(known)
        while left:
            with self._changed:
                self._changed.wait_for(lambda: queued.refusal or self._is_closed or left & queued.answers.keys())
                ready = [queued.answers[sample] for sample in sorted(left & queued.answers.keys())]
                if not ready:
                    raise queued.refusal or self._error or ModelError("the model was closed before it had answered")
            for answer in ready:
                left.remove(answer.sample)
                yield answer

    def take(self, most: int, *, wait: bool) -> list[Job]:
        """Take at most `most` samples of the question that comes first; none if none are wanted or the queue is closed.

        With `wait` the call returns once some are wanted, or the queue is closed.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._is_closed or self._find_next())
            queued = None if self._is_closed else self._find_next()
            if queued is None:
                return []
            taken, queued.wanted = queued.wanted[:most], queued.wanted[most:]
            return [Job(queued.question, sample) for sample in taken]

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Return samples that were taken and not generated. Unless their question is refused, others may take them."""
        with self._changed:
            for job in jobs:
                queued = self._questions[job.question]
                if not queued.refusal:
                    queued.wanted = sorted([*queued.wanted, job.sample])
            self._changed.notify_all()

    def deliver(self, job: Job, answer: Answer) -> None:
        """Hand in a finished sample."""
        if self._answer_store:
            self._answer_store.put(job.question, answer)
        with self._changed:
            self._questions[job.question].answers[job.sample] = answer
            self._changed.notify_all()

    def refuse(self, question: Question, reason: PromptTooLongError | ModelError) -> None:
        """Generate no more samples of a question. Threads that wait for them get the reason raised."""
        with self._changed:
            queued = self._questions[question]
            queued.refusal, queued.wanted = reason, []
            self._changed.notify_all()

    def fail(self, error: ModelError) -> None:
        """Generate nothing more. Threads that wait for answers get the error raised."""
        with self._changed:
            self._error = error
            self._is_closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Generate nothing more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is to be generated."""
        return self._is_closed

    def _request(
        self, question: Question, samples: int, priority: _Priority, known: Collection[int]
    ) -> _QueuedQuestion:
        """Note that samples are wanted, and look new ones up in the answer store."""
        queued = self._questions.setdefault(question, _QueuedQuestion(question, priority))
        queued.priority = min(queued.priority, priority)
        new = [sample for sample in range(samples) if sample not in known and sample not in queued.requested]
        if new and not queued.refusal:
            stored = self._answer_store.get(question, new) if self._answer_store else {}
            self.found_in_store += len(stored)
            queued.answers.update(stored)
            queued.wanted += [sample for sample in new if sample not in stored]
            queued.requested.update(new)
        self._changed.notify_all()
        return queued

    def _find_next(self) -> _QueuedQuestion | None:
        """The question to serve next."""
        wanted = (queued for queued in self._questions.values() if queued.wanted)
        return min(wanted, key=lambda queued: queued.priority, default=None)
