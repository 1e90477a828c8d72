"""`Judge`: batches of samples, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from pytest_llmcompiler import CaseError, Judge, Sample, Verdict
from pytest_llmcompiler.judge.pool import JudgePool

SOURCE = "int twice(int x) { return 2 * x; }"
RIGHT = "twice:\n\tleal (%rdi,%rdi), %eax\n\tretq\n"
WRONG = "twice:\n\tmovl %edi, %eax\n\tretq\n"


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(2, examples=5) as judge:
        yield judge


def sample(answer: str, source: str = SOURCE) -> Sample:
    return Sample(source, "twice", answer)


def test_a_batch_comes_back_whole_and_in_order(judge: Judge) -> None:
    answers = [RIGHT, WRONG, "no code", RIGHT]
    counts: list[int] = []
    verdicts = judge.check_many(map(sample, answers), counts.append)
    assert [verdict.kind for verdict in verdicts] == ["pass", "mismatch", "no-answer", "pass"]
    assert counts == [1, 2, 3, 4]


def test_a_source_that_does_not_compile_ends_no_batch(judge: Judge) -> None:
    verdicts = list(judge.check_many([sample(RIGHT, "int twice("), sample(RIGHT)]))
    assert [verdict.kind for verdict in verdicts] == ["inconclusive", "pass"]
    assert verdicts[0].detail["error"]["type"] == "CaseError"
    with pytest.raises(CaseError):
        judge.check(sample(RIGHT, "int twice("))


def test_new_questions_and_long_texts_are_not_read_in_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    in_loop: list[bool] = []

    def submit(self: JudgePool, *_: object) -> Future[bytes]:
        in_loop.append(threading.current_thread() is threading.main_thread())
        future = Future[bytes]()
        future.set_result(json.dumps({"status": "verdict", "verdict": Verdict("pass").to_json()}).encode())
        return future

    async def judge_all(judge: Judge) -> None:
        for one in (
            sample(RIGHT),
            sample(WRONG),
            sample(RIGHT + "#" * (1 << 17)),
            sample(RIGHT, SOURCE + " " * (1 << 17)),
        ):
            await judge.acheck(one)
        async for _ in judge.acheck_many([sample(RIGHT), sample("#" * (1 << 17))]):
            pass

    monkeypatch.setattr(JudgePool, "submit", submit)
    with Judge(1) as judge:
        asyncio.run(judge_all(judge))
    assert in_loop == [False, True, False, False, True, False]


def test_an_event_loop_goes_on_while_samples_are_judged(judge: Judge) -> None:
    async def judge_all() -> tuple[list[str], str]:
        kinds = [verdict.kind async for verdict in judge.acheck_many(map(sample, [RIGHT, WRONG]))]
        return kinds, (await judge.acheck(sample(WRONG))).kind

    assert asyncio.run(judge_all()) == (["pass", "mismatch"], "mismatch")
