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


def taken(desk: JobQueue, most: int = 99) -> list[str]:
    """All that is wanted, in its order; each time of one question."""
    found: list[str] = []
    while jobs := desk.take(most, wait=False):
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
    desk = JobQueue()
    assert desk.take(9, wait=False) == []
    assert list(desk.answers(ask(), 0)) == []
    assert not desk.closed


def test_what_is_planned_is_made_before_anybody_asks() -> None:
    desk = JobQueue()
    desk.plan(ask(), 3, 0)
    jobs = desk.take(9, wait=False)
    assert names(jobs) == ["f 0", "f 1", "f 2"]
    for job in jobs:
        desk.deliver(job, made(job))
    assert texts(desk.answers(ask(), 3)) == ["f 0", "f 1", "f 2"]
    assert texts(desk.answers(ask(), 2)) == ["f 0", "f 1"]
    assert taken(desk) == []


def test_samples_that_are_known_elsewhere_are_not_made() -> None:
    desk = JobQueue()
    desk.plan(ask(), 4, 0, {0, 2})
    jobs = desk.take(9, wait=False)
    assert names(jobs) == ["f 1", "f 3"]
    for job in jobs:
        desk.deliver(job, made(job))
    assert texts(desk.answers(ask(), 4, {0, 2})) == ["f 1", "f 3"]
    assert list(desk.answers(ask("g"), 2, {0, 1})) == []
    assert taken(desk) == []


def test_what_others_take_for_known_is_made_for_those_who_do_not() -> None:
    desk = JobQueue()
    desk.plan(ask(), 3, 0, known={0})
    desk.plan(ask(), 3, 1)
    assert sorted(taken(desk)) == ["f 0", "f 1", "f 2"]


def test_no_more_than_asked_for_is_taken() -> None:
    desk = JobQueue()
    desk.plan(ask(), 5, 0)
    assert [names(desk.take(2, wait=False)) for _ in range(4)] == [["f 0", "f 1"], ["f 2", "f 3"], ["f 4"], []]


def test_a_sample_is_made_once_however_often_it_is_wanted() -> None:
    desk = JobQueue()
    desk.plan(ask(), 2, 0)
    desk.plan(ask(draft="f:\n\tret\n"), 2, 1)
    assert taken(desk) == ["f 0", "f 1"]
    desk.plan(ask(), 4, 0)
    desk.plan(ask(), 1, 0)
    assert taken(desk) == ["f 2", "f 3"]


@pytest.mark.parametrize("order", list(itertools.permutations(["c 2", "b 1", "a 0"])))
def test_plans_come_in_their_turns(order: tuple[str, ...]) -> None:
    desk = JobQueue()
    for one in order:
        name, turn = one.split()
        desk.plan(ask(name), 2, int(turn))
    assert taken(desk) == ["a 0", "a 1", "b 0", "b 1", "c 0", "c 1"]


def test_a_plan_that_is_made_again_earlier_comes_earlier() -> None:
    desk = JobQueue()
    desk.plan(ask("a"), 1, 1)
    desk.plan(ask("b"), 1, 2)
    desk.plan(ask("b"), 1, 0)
    desk.plan(ask("a"), 1, 3)
    assert taken(desk) == ["b 0", "a 0"]


def test_what_somebody_waits_for_comes_before_plans() -> None:
    desk = Waited()
    for turn, name in enumerate("abcd"):
        desk.plan(ask(name), 2, turn)
    waiting = []
    for name in ("d", "c"):
        waiting.append(Background(lambda name=name: texts(desk.answers(ask(name), 3))))  # type: ignore[misc]
        desk.waits()
    jobs: list[Job] = []
    while some := desk.take(2, wait=False):
        jobs += some
    assert names(jobs) == ["d 0", "d 1", "d 2", "c 0", "c 1", "c 2", "a 0", "a 1", "b 0", "b 1"]
    for job in jobs:
        desk.deliver(job, made(job))
    assert [one.end() for one in waiting] == [["d 0", "d 1", "d 2"], ["c 0", "c 1", "c 2"]]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_answers_come_in_the_order_in_which_they_are_made(order: tuple[int, ...]) -> None:
    desk = JobQueue()
    desk.plan(ask(), 3, 0)
    jobs = desk.take(3, wait=False)
    answers = desk.answers(ask(), 3)
    given = []
    for sample in order:
        desk.deliver(jobs[sample], made(jobs[sample]))
        given.append(next(answers).sample)
    assert given == list(order)
    assert list(answers) == []


def test_all_who_ask_a_question_get_all_of_its_answers() -> None:
    desk = Waited()
    askers = []
    for samples in (2, 4, 3):
        askers.append(Background(lambda samples=samples: texts(desk.answers(ask(), samples))))  # type: ignore[misc]
        desk.waits()
    jobs = desk.take(9, wait=False)
    assert names(jobs) == ["f 0", "f 1", "f 2", "f 3"]
    for job in reversed(jobs):
        desk.deliver(job, made(job))
    assert [asker.end() for asker in askers] == [[f"f {n}" for n in range(samples)] for samples in (2, 4, 3)]


def test_one_who_takes_waits_until_something_is_wanted() -> None:
    desk = Waited()
    worker = Background(lambda: desk.take(9, wait=True))
    desk.waits()
    desk.plan(ask(), 2, 0)
    assert worker.end() == [Job(ask(), 0), Job(ask(), 1)]


def test_each_sample_goes_to_one_of_those_who_wait() -> None:
    desk = Waited()
    workers = [Background(lambda: desk.take(1, wait=True)) for _ in range(4)]
    for _ in workers:
        desk.waits()
    desk.plan(ask(), 3, 0)
    desk.plan(ask("g"), 1, 1)
    found = sorted(name for worker in workers for name in names(worker.end()))  # type: ignore[arg-type]
    assert found == ["f 0", "f 1", "f 2", "g 0"]


@pytest.mark.parametrize("end", [JobQueue.close, lambda desk: desk.fail(ModelError("broken"))], ids=["close", "fail"])
def test_nobody_takes_anything_once_it_is_over(end: Callable[[JobQueue], None]) -> None:
    desk = Waited()
    worker = Background(lambda: desk.take(9, wait=True))
    desk.waits()
    end(desk)
    assert worker.end() == []
    desk.plan(ask(), 1, 0)
    assert desk.take(9, wait=True) == desk.take(9, wait=False) == []
    assert desk.closed


def test_what_is_put_back_is_taken_by_the_next_in_its_old_order() -> None:
    desk = JobQueue()
    desk.plan(ask("a"), 4, 0)
    desk.plan(ask("b"), 1, 1)
    jobs = desk.take(3, wait=False)
    desk.deliver(jobs[1], made(jobs[1]))
    desk.put_back([jobs[2], jobs[0]])
    desk.put_back([])
    assert taken(desk, 2) == ["a 0", "a 2", "a 3", "b 0"]


def test_what_is_put_back_wakes_those_who_wait() -> None:
    desk = Waited()
    desk.plan(ask(), 1, 0)
    jobs = desk.take(1, wait=False)
    worker = Background(lambda: desk.take(1, wait=True))
    desk.waits()
    desk.put_back(jobs)
    assert worker.end() == jobs


def test_a_refusal_is_told_to_all_who_ask_and_ends_the_question() -> None:
    desk = Waited()
    desk.plan(ask("long"), 4, 0)
    asker = Background(lambda: list(desk.answers(ask("long"), 4)))
    desk.waits()
    jobs = desk.take(2, wait=False)
    desk.refuse(ask("long"), PromptTooLongError(9, 8))
    desk.put_back(jobs)
    for late in (asker.end, lambda: next(desk.answers(ask("long"), 9))):
        with pytest.raises(PromptTooLongError) as caught:
            late()
        assert (caught.value.prompt_tokens, caught.value.context) == (9, 8)
    desk.plan(ask("short"), 1, 1)
    assert taken(desk) == ["short 0"]


def test_a_fault_is_told_to_all_after_what_was_made() -> None:
    desk = Waited()
    desk.plan(ask(), 2, 0)
    job, _ = desk.take(2, wait=False)
    desk.deliver(job, made(job))
    asker = Background(lambda: list(desk.answers(ask("g"), 1)))
    desk.waits()
    desk.fail(ModelError("broken"))
    answers = desk.answers(ask(), 2)
    assert next(answers).text == "f 0"
    for late in (lambda: next(answers), asker.end, lambda: next(desk.answers(ask("h"), 1))):
        with pytest.raises(ModelError, match=r"^broken$"):
            late()


def test_a_closed_desk_lets_nobody_wait() -> None:
    desk = Waited()
    desk.plan(ask(), 1, 0)
    (job,) = desk.take(9, wait=False)
    desk.deliver(job, made(job))
    asker = Background(lambda: list(desk.answers(ask("g"), 1)))
    desk.waits()
    desk.close()
    assert texts(desk.answers(ask(), 1)) == ["f 0"]
    for late in (asker.end, lambda: list(desk.answers(ask(), 2))):
        with pytest.raises(ModelError, match="closed before it had answered"):
            late()


def test_a_fault_after_the_end_is_the_one_that_is_told() -> None:
    desk = JobQueue()
    desk.close()
    desk.fail(ModelError("broken"))
    with pytest.raises(ModelError, match=r"^broken$"):
        next(desk.answers(ask(), 1))


# The shelf.


def test_what_is_on_the_shelf_is_not_made() -> None:
    shelf = Memory(0, 2, 5)
    desk = JobQueue(shelf)
    desk.plan(ask(), 4, 0)
    assert desk.found == 2
    jobs = desk.take(9, wait=False)
    assert names(jobs) == ["f 1", "f 3"]
    for job in jobs:
        desk.deliver(job, made(job))
    assert texts(desk.answers(ask(), 4)) == ["f 1", "f 3", "kept 0", "kept 2"]
    desk.plan(ask(), 6, 0)
    assert (desk.found, taken(desk)) == (3, ["f 4"])


def test_the_shelf_is_asked_once_for_each_sample() -> None:
    shelf = Memory(0, 1, 2)
    desk = JobQueue(shelf)
    desk.plan(ask(), 2, 0)
    desk.plan(ask("g"), 1, 1)
    assert texts(desk.answers(ask(), 2)) == ["kept 0", "kept 1"]
    assert texts(desk.answers(ask(), 3)) == ["kept 0", "kept 1", "kept 2"]
    assert shelf.asked == [("f", [0, 1]), ("g", [0]), ("f", [2])]
    assert desk.found == 3


def test_what_is_made_goes_to_the_shelf_before_it_is_given() -> None:
    shelf = Memory()
    desk = JobQueue(shelf)
    desk.plan(ask(), 2, 0)
    for job in desk.take(9, wait=False):
        desk.deliver(job, made(job))
    for answer in desk.answers(ask(), 2):
        assert shelf.kept[ask(), answer.sample] == answer
    assert desk.found == 0


@pytest.mark.parametrize("end", [JobQueue.close, lambda desk: desk.fail(ModelError("broken"))], ids=["close", "fail"])
def test_what_is_on_the_shelf_is_given_when_all_else_is_over(end: Callable[[JobQueue], None]) -> None:
    desk = JobQueue(Memory(0, 1))
    end(desk)
    assert texts(desk.answers(ask(), 2)) == ["kept 0", "kept 1"]
    with pytest.raises(ModelError):
        list(desk.answers(ask(), 3))


def test_a_shelf_that_can_t_be_read_is_told_to_the_one_who_asks() -> None:
    class Damaged(Memory):
        def get(self, question: Question, samples: Sequence[int]) -> dict[int, Answer]:
            if question.function == "bad":
                raise ModelError("damaged")
            return super().get(question, samples)

    desk = JobQueue(Damaged(0))
    for _ in range(2):
        with pytest.raises(ModelError, match="damaged"):
            next(desk.answers(ask("bad"), 1))
    assert texts(desk.answers(ask(), 1)) == ["kept 0"]


def test_many_threads_ask_and_many_make() -> None:
    desk = JobQueue(Memory(0, 3))

    def work() -> None:
        while jobs := desk.take(2, wait=True):
            desk.put_back(jobs[1:])
            desk.deliver(jobs[0], made(jobs[0]))

    workers = [Background(work) for _ in range(3)]
    askers = [
        Background(lambda name=name: texts(desk.answers(ask(name), 20)))  # type: ignore[misc]
        for name in "fgh" * 2
    ]
    told = [asker.end() for asker in askers]
    desk.close()
    for worker in workers:
        worker.end()
    kept = {"f 0": "kept 0", "f 3": "kept 3"}
    for name, one in zip("fgh" * 2, told):
        assert one == sorted(kept.get(f"{name} {n}", f"{name} {n}") for n in range(20))
    assert desk.found == 2
