"""The desk: who is served first, and that everybody gets what is made, or is told why not."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, Question
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue


def ask(name: str = "f", draft: str = "") -> Question:
    return Question("a.c", name, "asm", "O0", f"question {name}", draft)


def made(job: Job) -> Answer:
    return Answer(f"{job.question.function} {job.sample}", job.sample)


def texts(answers: Iterator[Answer]) -> list[str]:
    return sorted(one.text for one in answers)


def names(jobs: Sequence[Job]) -> list[str]:
    return [f"{job.question.function} {job.sample}" for job in jobs]


def taken(job_queue: JobQueue, most: int = 99) -> list[str]:
    """All that is wanted, in its order; each time of one question."""
    found: list[str] = []
    while jobs := job_queue.take(most, wait=False):
        assert len({job.question for job in jobs}) == 1 and len(jobs) <= most
        found += names(jobs)
    return found


class Background:
    """What a call in another thread gives, or raises."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.value: object = None
        self.fault: Exception | None = None
        try:
            self.value = self._call()
        except Exception as fault:
            self.fault = fault

    def end(self) -> object:
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.fault:
            raise self.fault
        return self.value


class Waited(JobQueue):
    """Tells when somebody has come to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = threading.Semaphore(0)
        wait_for = self._changed.wait_for

        def noted(predicate: Callable[[], object], timeout: float | None = None) -> object:
            # The lock is held from here until it waits, so whoever changes something comes after that.
            self._waiting.release()
            return wait_for(predicate, timeout)

        self._changed.wait_for = noted  # type: ignore[method-assign,assignment]

    def waits(self) -> None:
        """Return when somebody waits whom this has not told of yet."""
        assert self._waiting.acquire(timeout=20)


class Memory:
    """A shelf."""

    def __init__(self, *samples: int) -> None:
        self.kept = {(ask(), sample): Answer(f"kept {sample}", sample) for sample in samples}
        self.asked: list[tuple[str, list[int]]] = []

    def get(self, question: Question, samples: Sequence[int]) -> dict[int, Answer]:
        self.asked.append((question.function, list(samples)))
        return {sample: self.kept[question, sample] for sample in samples if (question, sample) in self.kept}

    def put(self, question: Question, answer: Answer) -> None:
        self.kept[question, answer.sample] = answer


def test_nothing_is_wanted_of_a_new_desk() -> None:
    job_queue = JobQueue()
    assert job_queue.take(9, wait=False) == []
    assert list(job_queue.answers(ask(), 0)) == []
    assert not job_queue.closed


def test_what_is_planned_is_made_before_anybody_asks() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 3, 0)
    jobs = job_queue.take(9, wait=False)
    assert names(jobs) == ["f 0", "f 1", "f 2"]
    for job in jobs:
        job_queue.deliver(job, made(job))
    assert texts(job_queue.answers(ask(), 3)) == ["f 0", "f 1", "f 2"]
    assert texts(job_queue.answers(ask(), 2)) == ["f 0", "f 1"]
    assert taken(job_queue) == []


def test_samples_that_are_known_elsewhere_are_not_made() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 4, 0, {0, 2})
    jobs = job_queue.take(9, wait=False)
    assert names(jobs) == ["f 1", "f 3"]
    for job in jobs:
        job_queue.deliver(job, made(job))
    assert texts(job_queue.answers(ask(), 4, {0, 2})) == ["f 1", "f 3"]
    assert list(job_queue.answers(ask("g"), 2, {0, 1})) == []
    assert taken(job_queue) == []


def test_what_others_take_for_known_is_made_for_those_who_do_not() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 3, 0, known={0})
    job_queue.plan(ask(), 3, 1)
    assert sorted(taken(job_queue)) == ["f 0", "f 1", "f 2"]


def test_no_more_than_asked_for_is_taken() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 5, 0)
    assert [names(job_queue.take(2, wait=False)) for _ in range(4)] == [["f 0", "f 1"], ["f 2", "f 3"], ["f 4"], []]


def test_a_sample_is_made_once_however_often_it_is_wanted() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 2, 0)
    job_queue.plan(ask(draft="f:\n\tret\n"), 2, 1)
    assert taken(job_queue) == ["f 0", "f 1"]
    job_queue.plan(ask(), 4, 0)
    job_queue.plan(ask(), 1, 0)
    assert taken(job_queue) == ["f 2", "f 3"]


@pytest.mark.parametrize("order", list(itertools.permutations(["c 2", "b 1", "a 0"])))
def test_plans_come_in_their_turns(order: tuple[str, ...]) -> None:
    job_queue = JobQueue()
    for one in order:
        name, turn = one.split()
        job_queue.plan(ask(name), 2, int(turn))
    assert taken(job_queue) == ["a 0", "a 1", "b 0", "b 1", "c 0", "c 1"]


def test_a_plan_that_is_made_again_earlier_comes_earlier() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask("a"), 1, 1)
    job_queue.plan(ask("b"), 1, 2)
    job_queue.plan(ask("b"), 1, 0)
    job_queue.plan(ask("a"), 1, 3)
    assert taken(job_queue) == ["b 0", "a 0"]


def test_what_somebody_waits_for_comes_before_plans() -> None:
    job_queue = Waited()
    for turn, name in enumerate("abcd"):
        job_queue.plan(ask(name), 2, turn)
    waiting = []
    for name in ("d", "c"):
        waiting.append(Background(lambda name=name: texts(job_queue.answers(ask(name), 3))))  # type: ignore[misc]
        job_queue.waits()
    jobs: list[Job] = []
    while some := job_queue.take(2, wait=False):
        jobs += some
    assert names(jobs) == ["d 0", "d 1", "d 2", "c 0", "c 1", "c 2", "a 0", "a 1", "b 0", "b 1"]
    for job in jobs:
        job_queue.deliver(job, made(job))
    assert [one.end() for one in waiting] == [["d 0", "d 1", "d 2"], ["c 0", "c 1", "c 2"]]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_answers_come_in_the_order_in_which_they_are_made(order: tuple[int, ...]) -> None:
    job_queue = JobQueue()
    job_queue.plan(ask(), 3, 0)
    jobs = job_queue.take(3, wait=False)
    answers = job_queue.answers(ask(), 3)
    given = []
    for sample in order:
        job_queue.deliver(jobs[sample], made(jobs[sample]))
        given.append(next(answers).sample)
    assert given == list(order)
    assert list(answers) == []


def test_all_who_ask_a_question_get_all_of_its_answers() -> None:
    job_queue = Waited()
    askers = []
    for samples in (2, 4, 3):
        askers.append(Background(lambda samples=samples: texts(job_queue.answers(ask(), samples))))  # type: ignore[misc]
        job_queue.waits()
    jobs = job_queue.take(9, wait=False)
    assert names(jobs) == ["f 0", "f 1", "f 2", "f 3"]
    for job in reversed(jobs):
        job_queue.deliver(job, made(job))
    assert [asker.end() for asker in askers] == [[f"f {n}" for n in range(samples)] for samples in (2, 4, 3)]


def test_one_who_takes_waits_until_something_is_wanted() -> None:
    job_queue = Waited()
    worker = Background(lambda: job_queue.take(9, wait=True))
    job_queue.waits()
    job_queue.plan(ask(), 2, 0)
    assert worker.end() == [Job(ask(), 0), Job(ask(), 1)]


def test_each_sample_goes_to_one_of_those_who_wait() -> None:
    job_queue = Waited()
    workers = [Background(lambda: job_queue.take(1, wait=True)) for _ in range(4)]
    for _ in workers:
        job_queue.waits()
    job_queue.plan(ask(), 3, 0)
    job_queue.plan(ask("g"), 1, 1)
    found = sorted(name for worker in workers for name in names(worker.end()))  # type: ignore[arg-type]
    assert found == ["f 0", "f 1", "f 2", "g 0"]


@pytest.mark.parametrize(
    "end", [JobQueue.close, lambda job_queue: job_queue.fail(ModelError("broken"))], ids=["close", "fail"]
)
def test_nobody_takes_anything_once_it_is_over(end: Callable[[JobQueue], None]) -> None:
    job_queue = Waited()
    worker = Background(lambda: job_queue.take(9, wait=True))
    job_queue.waits()
    end(job_queue)
    assert worker.end() == []
    job_queue.plan(ask(), 1, 0)
    assert job_queue.take(9, wait=True) == job_queue.take(9, wait=False) == []
    assert job_queue.closed


def test_what_is_put_back_is_taken_by_the_next_in_its_old_order() -> None:
    job_queue = JobQueue()
    job_queue.plan(ask("a"), 4, 0)
    job_queue.plan(ask("b"), 1, 1)
    jobs = job_queue.take(3, wait=False)
    job_queue.deliver(jobs[1], made(jobs[1]))
    job_queue.put_back([jobs[2], jobs[0]])
    job_queue.put_back([])
    assert taken(job_queue, 2) == ["a 0", "a 2", "a 3", "b 0"]


def test_what_is_put_back_wakes_those_who_wait() -> None:
    job_queue = Waited()
    job_queue.plan(ask(), 1, 0)
    jobs = job_queue.take(1, wait=False)
    worker = Background(lambda: job_queue.take(1, wait=True))
    job_queue.waits()
    job_queue.put_back(jobs)
    assert worker.end() == jobs


def test_a_refusal_is_told_to_all_who_ask_and_ends_the_question() -> None:
    job_queue = Waited()
    job_queue.plan(ask("long"), 4, 0)
    asker = Background(lambda: list(job_queue.answers(ask("long"), 4)))
    job_queue.waits()
    jobs = job_queue.take(2, wait=False)
    job_queue.refuse(ask("long"), PromptTooLongError(9, 8))
    job_queue.put_back(jobs)
    for late in (asker.end, lambda: next(job_queue.answers(ask("long"), 9))):
        with pytest.raises(PromptTooLongError) as caught:
            late()
        assert (caught.value.prompt_tokens, caught.value.context) == (9, 8)
    job_queue.plan(ask("short"), 1, 1)
    assert taken(job_queue) == ["short 0"]


def test_a_fault_is_told_to_all_after_what_was_made() -> None:
    job_queue = Waited()
    job_queue.plan(ask(), 2, 0)
    job, _ = job_queue.take(2, wait=False)
    job_queue.deliver(job, made(job))
    asker = Background(lambda: list(job_queue.answers(ask("g"), 1)))
    job_queue.waits()
    job_queue.fail(ModelError("broken"))
    answers = job_queue.answers(ask(), 2)
    assert next(answers).text == "f 0"
    for late in (lambda: next(answers), asker.end, lambda: next(job_queue.answers(ask("h"), 1))):
        with pytest.raises(ModelError, match=r"^broken$"):
            late()


def test_a_closed_desk_lets_nobody_wait() -> None:
    job_queue = Waited()
    job_queue.plan(ask(), 1, 0)
    (job,) = job_queue.take(9, wait=False)
    job_queue.deliver(job, made(job))
    asker = Background(lambda: list(job_queue.answers(ask("g"), 1)))
    job_queue.waits()
    job_queue.close()
    assert texts(job_queue.answers(ask(), 1)) == ["f 0"]
    for late in (asker.end, lambda: list(job_queue.answers(ask(), 2))):
        with pytest.raises(ModelError, match="closed before it had answered"):
            late()


def test_a_fault_after_the_end_is_the_one_that_is_told() -> None:
    job_queue = JobQueue()
    job_queue.close()
    job_queue.fail(ModelError("broken"))
    with pytest.raises(ModelError, match=r"^broken$"):
        next(job_queue.answers(ask(), 1))


# The shelf.


def test_what_is_on_the_shelf_is_not_made() -> None:
    answer_store = Memory(0, 2, 5)
    job_queue = JobQueue(answer_store)
    job_queue.plan(ask(), 4, 0)
    assert job_queue.found == 2
    jobs = job_queue.take(9, wait=False)
    assert names(jobs) == ["f 1", "f 3"]
    for job in jobs:
        job_queue.deliver(job, made(job))
    assert texts(job_queue.answers(ask(), 4)) == ["f 1", "f 3", "kept 0", "kept 2"]
    job_queue.plan(ask(), 6, 0)
    assert (job_queue.found, taken(job_queue)) == (3, ["f 4"])


def test_the_shelf_is_asked_once_for_each_sample() -> None:
    answer_store = Memory(0, 1, 2)
    job_queue = JobQueue(answer_store)
    job_queue.plan(ask(), 2, 0)
    job_queue.plan(ask("g"), 1, 1)
    assert texts(job_queue.answers(ask(), 2)) == ["kept 0", "kept 1"]
    assert texts(job_queue.answers(ask(), 3)) == ["kept 0", "kept 1", "kept 2"]
    assert answer_store.asked == [("f", [0, 1]), ("g", [0]), ("f", [2])]
    assert job_queue.found == 3


def test_what_is_made_goes_to_the_shelf_before_it_is_given() -> None:
    answer_store = Memory()
    job_queue = JobQueue(answer_store)
    job_queue.plan(ask(), 2, 0)
    for job in job_queue.take(9, wait=False):
        job_queue.deliver(job, made(job))
    for answer in job_queue.answers(ask(), 2):
        assert answer_store.kept[ask(), answer.sample] == answer
    assert job_queue.found == 0


@pytest.mark.parametrize(
    "end", [JobQueue.close, lambda job_queue: job_queue.fail(ModelError("broken"))], ids=["close", "fail"]
)
def test_what_is_on_the_shelf_is_given_when_all_else_is_over(end: Callable[[JobQueue], None]) -> None:
    job_queue = JobQueue(Memory(0, 1))
    end(job_queue)
    assert texts(job_queue.answers(ask(), 2)) == ["kept 0", "kept 1"]
    with pytest.raises(ModelError):
        list(job_queue.answers(ask(), 3))


def test_a_shelf_that_can_t_be_read_is_told_to_the_one_who_asks() -> None:
    class Damaged(Memory):
        def get(self, question: Question, samples: Sequence[int]) -> dict[int, Answer]:
            if question.function == "bad":
                raise ModelError("damaged")
            return super().get(question, samples)

    job_queue = JobQueue(Damaged(0))
    for _ in range(2):
        with pytest.raises(ModelError, match="damaged"):
            next(job_queue.answers(ask("bad"), 1))
    assert texts(job_queue.answers(ask(), 1)) == ["kept 0"]


def test_many_threads_ask_and_many_make() -> None:
    job_queue = JobQueue(Memory(0, 3))

    def work() -> None:
        while jobs := job_queue.take(2, wait=True):
            job_queue.put_back(jobs[1:])
            job_queue.deliver(jobs[0], made(jobs[0]))

    workers = [Background(work) for _ in range(3)]
    askers = [
        Background(lambda name=name: texts(job_queue.answers(ask(name), 20)))  # type: ignore[misc]
        for name in "fgh" * 2
    ]
    told = [asker.end() for asker in askers]
    job_queue.close()
    for worker in workers:
        worker.end()
    kept = {"f 0": "kept 0", "f 3": "kept 3"}
    for name, one in zip("fgh" * 2, told):
        assert one == sorted(kept.get(f"{name} {n}", f"{name} {n}") for n in range(20))
    assert job_queue.found == 2
