"""The job queue: the order of questions, and that every thread gets its answers or the reason why there are none."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, Question
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue


def ask(name: str = "f", draft: str = "") -> Question:
    return Question(case="a.c", function=name, task="asm", passes="O0", text=f"question {name}", draft=draft)


def generate(job: Job) -> Answer:
    return Answer(f"{job.question.function} {job.sample}", job.sample)


def list_texts(answers: Iterator[Answer]) -> list[str]:
    return sorted(answer.text for answer in answers)


def list_names(jobs: Sequence[Job]) -> list[str]:
    return [f"{job.question.function} {job.sample}" for job in jobs]


def take_all(job_queue: JobQueue, most: int = 99) -> list[str]:
    """The names of all samples that are wanted, in their order. Each call of `take` gives those of one question."""
    names: list[str] = []
    while jobs := job_queue.take(most, wait=False):
        assert len({job.question for job in jobs}) == 1 and len(jobs) <= most
        names += list_names(jobs)
    return names


class Background:
    """A call in another thread."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.value: object = None
        self.error: Exception | None = None
        try:
            self.value = self._call()
        except Exception as error:
            self.error = error

    def join(self) -> object:
        """The value of the call. Raises what the call raised."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error
        return self.value


class CountingCondition(threading.Condition):
    """A condition that reports when a thread waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = threading.Semaphore(0)

    def wait_for(self, predicate: Callable[[], object], timeout: float | None = None) -> Any:
        # The lock is held until the thread waits, so whatever changes afterwards is noticed by it.
        self._waiting.release()
        return super().wait_for(predicate, timeout)

    def expect_waiting_thread(self) -> None:
        """Return once a thread waits that no earlier call has returned for."""
        assert self._waiting.acquire(timeout=20)


class MemoryStore:
    """An answer store in memory."""

    def __init__(self, *samples: int) -> None:
        self.stored = {(ask(), sample): Answer(f"stored {sample}", sample) for sample in samples}
        self.lookups: list[tuple[str, list[int]]] = []

    def get(self, question: Question, samples: Sequence[int]) -> dict[int, Answer]:
        self.lookups.append((question.function, list(samples)))
        return {sample: self.stored[question, sample] for sample in samples if (question, sample) in self.stored}

    def put(self, question: Question, answer: Answer) -> None:
        self.stored[question, answer.sample] = answer


def test_a_new_queue_wants_nothing() -> None:
    job_queue = JobQueue()
    assert job_queue.take(9, wait=False) == []
    assert list(job_queue.answers(ask(), 0)) == []
    assert not job_queue.is_closed


def test_planned_samples_are_generated_before_anybody_asks() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 3, 0)
    jobs = job_queue.take(9, wait=False)
    assert list_names(jobs) == ["f 0", "f 1", "f 2"]
    for job in jobs:
        job_queue.deliver(job, generate(job))
    assert list_texts(job_queue.answers(ask(), 3)) == ["f 0", "f 1", "f 2"]
    assert list_texts(job_queue.answers(ask(), 2)) == ["f 0", "f 1"]
    assert take_all(job_queue) == []


def test_known_samples_are_not_generated() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 4, 0, {0, 2})
    jobs = job_queue.take(9, wait=False)
    assert list_names(jobs) == ["f 1", "f 3"]
    for job in jobs:
        job_queue.deliver(job, generate(job))
    assert list_texts(job_queue.answers(ask(), 4, {0, 2})) == ["f 1", "f 3"]
    assert list(job_queue.answers(ask("g"), 2, {0, 1})) == []
    assert take_all(job_queue) == []


def test_a_sample_known_to_one_plan_is_generated_for_another() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 3, 0, known={0})
    job_queue.plan(ask(), 3, 1)
    assert sorted(take_all(job_queue)) == ["f 0", "f 1", "f 2"]


def test_take_returns_at_most_what_it_is_asked_for() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 5, 0)
    assert [list_names(job_queue.take(2, wait=False)) for _ in range(4)] == [
        ["f 0", "f 1"],
        ["f 2", "f 3"],
        ["f 4"],
        [],
    ]


def test_a_sample_is_generated_once_however_often_it_is_wanted() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 2, 0)
    job_queue.plan(ask(draft="f:\n\tret\n"), 2, 1)
    assert take_all(job_queue) == ["f 0", "f 1"]
    job_queue.plan(ask(), 4, 0)
    job_queue.plan(ask(), 1, 0)
    assert take_all(job_queue) == ["f 2", "f 3"]


@pytest.mark.parametrize("order", list(itertools.permutations(["c 2", "b 1", "a 0"])))
def test_plans_are_served_in_their_order(order: tuple[str, ...]) -> None:
    job_queue = JobQueue()
    for plan in order:
        name, number = plan.split()
        job_queue.plan(ask(name), 2, int(number))
    assert take_all(job_queue) == ["a 0", "a 1", "b 0", "b 1", "c 0", "c 1"]


def test_a_second_plan_with_a_smaller_order_moves_a_question_forward() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask("a"), 1, 1)
    job_queue.plan(ask("b"), 1, 2)
    job_queue.plan(ask("b"), 1, 0)
    job_queue.plan(ask("a"), 1, 3)
    assert take_all(job_queue) == ["b 0", "a 0"]


def test_questions_that_a_thread_waits_for_come_before_plans() -> None:
    waiting_threads = CountingCondition()
    job_queue = JobQueue(changed=waiting_threads)
    for order, name in enumerate("abcd"):
        job_queue.plan(ask(name), 2, order)
    askers = []
    for name in ("d", "c"):
        askers.append(Background(lambda name=name: list_texts(job_queue.answers(ask(name), 3))))  # type: ignore[misc]
        waiting_threads.expect_waiting_thread()
    jobs: list[Job] = []
    while some := job_queue.take(2, wait=False):
        jobs += some
    assert list_names(jobs) == ["d 0", "d 1", "d 2", "c 0", "c 1", "c 2", "a 0", "a 1", "b 0", "b 1"]
    for job in jobs:
        job_queue.deliver(job, generate(job))
    assert [asker.join() for asker in askers] == [["d 0", "d 1", "d 2"], ["c 0", "c 1", "c 2"]]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_answers_come_in_the_order_in_which_they_are_finished(order: tuple[int, ...]) -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 3, 0)
    jobs = job_queue.take(3, wait=False)
    answers = job_queue.answers(ask(), 3)
    samples = []
    for sample in order:
        job_queue.deliver(jobs[sample], generate(jobs[sample]))
        samples.append(next(answers).sample)
    assert samples == list(order)
    assert list(answers) == []


def test_every_thread_that_asks_a_question_gets_all_its_answers() -> None:
    waiting_threads = CountingCondition()
    job_queue = JobQueue(changed=waiting_threads)
    askers = []
    for samples in (2, 4, 3):
        askers.append(Background(lambda samples=samples: list_texts(job_queue.answers(ask(), samples))))  # type: ignore[misc]
        waiting_threads.expect_waiting_thread()
    jobs = job_queue.take(9, wait=False)
    assert list_names(jobs) == ["f 0", "f 1", "f 2", "f 3"]
    for job in reversed(jobs):
        job_queue.deliver(job, generate(job))
    assert [asker.join() for asker in askers] == [[f"f {n}" for n in range(samples)] for samples in (2, 4, 3)]


def test_take_waits_until_something_is_wanted() -> None:
    waiting_threads = CountingCondition()
    job_queue = JobQueue(changed=waiting_threads)
    worker = Background(lambda: job_queue.take(9, wait=True))
    waiting_threads.expect_waiting_thread()
    job_queue.plan(ask(), 2, 0)
    assert worker.join() == [Job(ask(), 0), Job(ask(), 1)]


def test_each_sample_goes_to_one_waiting_worker() -> None:
    waiting_threads = CountingCondition()
    job_queue = JobQueue(changed=waiting_threads)
    workers = [Background(lambda: job_queue.take(1, wait=True)) for _ in range(4)]
    for _ in workers:
        waiting_threads.expect_waiting_thread()
    job_queue.plan(ask(), 3, 0)
    job_queue.plan(ask("g"), 1, 1)
    taken = sorted(name for worker in workers for name in list_names(worker.join()))  # type: ignore[arg-type]
    assert taken == ["f 0", "f 1", "f 2", "g 0"]


@pytest.mark.parametrize(
    "end", [JobQueue.close, lambda job_queue: job_queue.fail(ModelError("broken"))], ids=["close", "fail"]
)
def test_nothing_is_taken_from_a_closed_or_failed_queue(end: Callable[[JobQueue], None]) -> None:
    waiting_threads = CountingCondition()
    job_queue = JobQueue(changed=waiting_threads)
    worker = Background(lambda: job_queue.take(9, wait=True))
    waiting_threads.expect_waiting_thread()
    end(job_queue)
    assert worker.join() == []
    job_queue.plan(ask(), 1, 0)
    assert job_queue.take(9, wait=True) == job_queue.take(9, wait=False) == []
    assert job_queue.is_closed


def test_samples_that_are_put_back_keep_their_place() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask("a"), 4, 0)
    job_queue.plan(ask("b"), 1, 1)
    jobs = job_queue.take(3, wait=False)
    job_queue.deliver(jobs[1], generate(jobs[1]))
    job_queue.put_back([jobs[2], jobs[0]])
    job_queue.put_back([])
    assert take_all(job_queue, 2) == ["a 0", "a 2", "a 3", "b 0"]


def test_samples_that_are_put_back_wake_waiting_workers() -> None:
    waiting_threads = CountingCondition()
    job_queue = JobQueue(changed=waiting_threads)
    job_queue.plan(ask(), 1, 0)
    jobs = job_queue.take(1, wait=False)
    worker = Background(lambda: job_queue.take(1, wait=True))
    waiting_threads.expect_waiting_thread()
    job_queue.put_back(jobs)
    assert worker.join() == jobs


def test_a_refusal_is_raised_for_all_who_ask_and_ends_the_question() -> None:
    waiting_threads = CountingCondition()
    job_queue = JobQueue(changed=waiting_threads)
    job_queue.plan(ask("long"), 4, 0)
    asker = Background(lambda: list(job_queue.answers(ask("long"), 4)))
    waiting_threads.expect_waiting_thread()
    jobs = job_queue.take(2, wait=False)
    job_queue.refuse(ask("long"), PromptTooLongError(9, 8))
    job_queue.put_back(jobs)
    for ask_late in (asker.join, lambda: next(job_queue.answers(ask("long"), 9))):
        with pytest.raises(PromptTooLongError) as error:
            ask_late()
        assert (error.value.prompt_tokens, error.value.context) == (9, 8)
    job_queue.plan(ask("short"), 1, 1)
    assert take_all(job_queue) == ["short 0"]


def test_an_error_is_raised_for_all_after_the_finished_answers() -> None:
    waiting_threads = CountingCondition()
    job_queue = JobQueue(changed=waiting_threads)
    job_queue.plan(ask(), 2, 0)
    job, _ = job_queue.take(2, wait=False)
    job_queue.deliver(job, generate(job))
    asker = Background(lambda: list(job_queue.answers(ask("g"), 1)))
    waiting_threads.expect_waiting_thread()
    job_queue.fail(ModelError("broken"))
    answers = job_queue.answers(ask(), 2)
    assert next(answers).text == "f 0"
    for ask_late in (lambda: next(answers), asker.join, lambda: next(job_queue.answers(ask("h"), 1))):
        with pytest.raises(ModelError, match=r"^broken$"):
            ask_late()


def test_no_thread_waits_for_a_closed_queue() -> None:
    waiting_threads = CountingCondition()
    job_queue = JobQueue(changed=waiting_threads)
    job_queue.plan(ask(), 1, 0)
    (job,) = job_queue.take(9, wait=False)
    job_queue.deliver(job, generate(job))
    asker = Background(lambda: list(job_queue.answers(ask("g"), 1)))
    waiting_threads.expect_waiting_thread()
    job_queue.close()
    assert list_texts(job_queue.answers(ask(), 1)) == ["f 0"]
    for ask_late in (asker.join, lambda: list(job_queue.answers(ask(), 2))):
        with pytest.raises(ModelError, match="closed before it had answered"):
            ask_late()


def test_an_error_after_the_end_is_the_one_that_is_raised() -> None:
    job_queue = JobQueue()
    job_queue.close()
    job_queue.fail(ModelError("broken"))
    with pytest.raises(ModelError, match=r"^broken$"):
        next(job_queue.answers(ask(), 1))


# The answer store.


def test_stored_answers_are_not_generated() -> None:
    answer_store = MemoryStore(0, 2, 5)
    job_queue = JobQueue(answer_store)
    job_queue.plan(ask(), 4, 0)
    assert job_queue.found_in_store == 2
    jobs = job_queue.take(9, wait=False)
    assert list_names(jobs) == ["f 1", "f 3"]
    for job in jobs:
        job_queue.deliver(job, generate(job))
    assert list_texts(job_queue.answers(ask(), 4)) == ["f 1", "f 3", "stored 0", "stored 2"]
    job_queue.plan(ask(), 6, 0)
    assert (job_queue.found_in_store, take_all(job_queue)) == (3, ["f 4"])


def test_each_sample_is_looked_up_once() -> None:
    answer_store = MemoryStore(0, 1, 2)
    job_queue = JobQueue(answer_store)
    job_queue.plan(ask(), 2, 0)
    job_queue.plan(ask("g"), 1, 1)
    assert list_texts(job_queue.answers(ask(), 2)) == ["stored 0", "stored 1"]
    assert list_texts(job_queue.answers(ask(), 3)) == ["stored 0", "stored 1", "stored 2"]
    assert answer_store.lookups == [("f", [0, 1]), ("g", [0]), ("f", [2])]
    assert job_queue.found_in_store == 3


def test_an_answer_is_stored_before_it_is_yielded() -> None:
    answer_store = MemoryStore()
    job_queue = JobQueue(answer_store)
    job_queue.plan(ask(), 2, 0)
    for job in job_queue.take(9, wait=False):
        job_queue.deliver(job, generate(job))
    for answer in job_queue.answers(ask(), 2):
        assert answer_store.stored[ask(), answer.sample] == answer
    assert job_queue.found_in_store == 0


@pytest.mark.parametrize(
    "end", [JobQueue.close, lambda job_queue: job_queue.fail(ModelError("broken"))], ids=["close", "fail"]
)
def test_a_closed_or_failed_queue_still_yields_stored_answers(end: Callable[[JobQueue], None]) -> None:
    job_queue = JobQueue(MemoryStore(0, 1))
    end(job_queue)
    assert list_texts(job_queue.answers(ask(), 2)) == ["stored 0", "stored 1"]
    with pytest.raises(ModelError):
        list(job_queue.answers(ask(), 3))


def test_an_error_of_the_answer_store_is_raised_for_the_one_who_asks() -> None:
    class DamagedStore(MemoryStore):
        def get(self, question: Question, samples: Sequence[int]) -> dict[int, Answer]:
            if question.function == "bad":
                raise ModelError("damaged")
            return super().get(question, samples)

    job_queue = JobQueue(DamagedStore(0))
    for _ in range(2):
        with pytest.raises(ModelError, match="damaged"):
            next(job_queue.answers(ask("bad"), 1))
    assert list_texts(job_queue.answers(ask(), 1)) == ["stored 0"]


def test_many_threads_ask_and_many_generate() -> None:
    job_queue = JobQueue(MemoryStore(0, 3))

    def work() -> None:
        while jobs := job_queue.take(2, wait=True):
            job_queue.put_back(jobs[1:])
            job_queue.deliver(jobs[0], generate(jobs[0]))

    workers = [Background(work) for _ in range(3)]
    askers = [
        Background(lambda name=name: list_texts(job_queue.answers(ask(name), 20)))  # type: ignore[misc]
        for name in "fgh" * 2
    ]
    received = [asker.join() for asker in askers]
    job_queue.close()
    for worker in workers:
        worker.join()
    stored = {"f 0": "stored 0", "f 3": "stored 3"}
    for name, texts in zip("fgh" * 2, received):
        assert texts == sorted(stored.get(f"{name} {n}", f"{name} {n}") for n in range(20))
    assert job_queue.found_in_store == 2
