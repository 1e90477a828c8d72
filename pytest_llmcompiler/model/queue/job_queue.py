"""The desk: questions that wait for answers, and answers that wait to be fetched.

Any number of threads ask; one backend takes the samples that are wanted next and delivers them as they are made.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, Question


@dataclass(frozen=True)
class Job:
    """One sample of a question, to be made."""

    question: Question
    sample: int


class AnswerStore(Protocol):
    """Where finished answers are kept from session to session."""

    def get(self, question: Question, samples: Sequence[int]) -> dict[int, Answer]:
        """Those of the samples that are there."""

    def put(self, question: Question, answer: Answer) -> None:
        """Keep an answer."""


@dataclass
class _QueuedQuestion:
    """All that is known of a question."""

    question: Question
    place: tuple[int, int]
    """Its turn: what somebody waits for comes before what is only planned, and each in its order."""
    answers: dict[int, Answer] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    """Samples that nobody makes yet, in order."""
    queued: set[int] = field(default_factory=set)
    """Samples that were asked for or planned so far."""
    refusal: PromptTooLongError | ModelError | None = None


class JobQueue:
    """Thread-safe. What `answer_store` holds already is never made again."""

    def __init__(self, answer_store: AnswerStore | None = None) -> None:
        self._answer_store = answer_store
        self._files: dict[Question, _QueuedQuestion] = {}
        self._turn = itertools.count()
        self._changed = threading.Condition()
        self._fault: ModelError | None = None
        self._closed = False
        self.found = 0
        """Answers that were on the shelf."""

    def plan(self, question: Question, samples: int, turn: int, known: Collection[int] = ()) -> None:
        """Have samples made when nothing more urgent is wanted; the smaller `turn`, the earlier.

        `known` are numbers of samples that nobody needs.
        """
        with self._changed:
            self._want(question, samples, (1, turn), known)

    def answers(self, question: Question, samples: int, known: Collection[int] = ()) -> Iterator[Answer]:
        """Yield the samples number 0 to `samples` - 1 that are not `known`, each as soon as it is made, in whatever
        order that is.

        Raises PromptTooLong where the question leaves no room for an answer, ModelError where it can't be answered, the
        backend fails or the desk is closed. What is made or found all the same comes first.
        """
        with self._changed:
            file = self._want(question, samples, (0, next(self._turn)), known)
        left = set(range(samples)) - set(known)
        while left:
            with self._changed:
                self._changed.wait_for(lambda: file.refusal or self._closed or left & file.answers.keys())
                ready = [file.answers[sample] for sample in sorted(left & file.answers.keys())]
                if not ready:
                    raise file.refusal or self._fault or ModelError("the model was closed before it had answered")
            for answer in ready:
                left.remove(answer.sample)
                yield answer

    def take(self, most: int, *, wait: bool) -> list[Job]:
        """Up to `most` samples of the question whose turn it is; none if nothing is wanted, or once the desk is closed.

        With `wait`, it waits until there are some.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closed or self._next())
            file = None if self._closed else self._next()
            if file is None:
                return []
            taken, file.waiting = file.waiting[:most], file.waiting[most:]
            return [Job(file.question, sample) for sample in taken]

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Samples that were taken and are not made: somebody else may take them, unless the question is refused."""
        with self._changed:
            for job in jobs:
                file = self._files[job.question]
                if not file.refusal:
                    file.waiting = sorted([*file.waiting, job.sample])
            self._changed.notify_all()

    def deliver(self, job: Job, answer: Answer) -> None:
        """Hand in a finished sample."""
        if self._answer_store:
            self._answer_store.put(job.question, answer)
        with self._changed:
            self._files[job.question].answers[job.sample] = answer
            self._changed.notify_all()

    def refuse(self, question: Question, reason: PromptTooLongError | ModelError) -> None:
        """Nothing more will be made for a question."""
        with self._changed:
            file = self._files[question]
            file.refusal, file.waiting = reason, []
            self._changed.notify_all()

    def fail(self, fault: ModelError) -> None:
        """Nothing more will be made at all: everybody who waits is told why."""
        with self._changed:
            self._fault = fault
            self._closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more is to be made."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing more is to be made."""
        return self._closed

    def _want(
        self, question: Question, samples: int, place: tuple[int, int], known: Collection[int]
    ) -> _QueuedQuestion:
        file = self._files.setdefault(question, _QueuedQuestion(question, place))
        file.place = min(file.place, place)
        new = [sample for sample in range(samples) if sample not in known and sample not in file.queued]
        if new and not file.refusal:
            found = self._answer_store.get(question, new) if self._answer_store else {}
            self.found += len(found)
            file.answers.update(found)
            file.waiting += [sample for sample in new if sample not in found]
            file.queued.update(new)
        self._changed.notify_all()
        return file

    def _next(self) -> _QueuedQuestion | None:
        return min((file for file in self._files.values() if file.waiting), key=lambda file: file.place, default=None)
