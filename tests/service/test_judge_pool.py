"""`Judge`: batches in order, duplicates, limits, processes that die, and what the caller does in between."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import pickle
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import is_alive, list_group

from pytest_llmcompiler import CaseError, Judge, JudgeError, Sample, Verdict

SOURCE = "int f(int x) { return x ^ 40; }\nint g(int x) { return x ^ 41; }\n"
LOOP = "unsigned f(unsigned n) { unsigned s = 0; for (unsigned i = 0; i < n; i++) s = s * 31 + i; return s; }\n"
NUMBERS = itertools.count()


def sample(constant: int, function: str = "f", source: str = SOURCE) -> Sample:
    """A sample that there was not before: the same one is judged once."""
    text = f"{function}:\n\tmovl\t%edi, %eax\n\txorl\t${constant}, %eax\n\tretq\n# {next(NUMBERS)}\n"
    return Sample(source, function, text)


def hanging(source: str = SOURCE) -> Sample:
    """A sample that takes some seconds: it is long, and it loops for ever on each input. No other has its code."""
    nops = "\tnop\n" * 100_000
    return Sample(source, "f", f"f:\n{nops}1:\tmovl ${next(NUMBERS)}, %eax\n\tjmp 1b\n")


@pytest.fixture(scope="module")
def shared() -> Iterator[Judge]:
    with Judge(2, examples=5) as judge:
        yield judge


def kinds(verdicts: Iterator[Verdict]) -> list[str]:
    return [verdict.kind for verdict in verdicts]


# -- batches


def test_verdicts_come_in_order_of_an_endless_iterable(shared: Judge) -> None:
    endless = (sample(40 + number % 3, "fg"[number % 2]) for number in itertools.count())
    verdicts = shared.check_many(endless)
    expected = ["pass" if number % 3 == number % 2 else "mismatch" for number in range(30)]
    assert kinds(itertools.islice(verdicts, 30)) == expected


def test_progress_counts_verdicts(shared: Judge) -> None:
    counts: list[int] = []
    assert len(list(shared.check_many([sample(40) for _ in range(3)], counts.append))) == 3
    assert counts == [1, 2, 3]


def test_no_sample_ends_a_batch(shared: Judge) -> None:
    right = sample(40)
    broken = [
        Sample("int f(", "f", right.answer),
        Sample(SOURCE, "f", right.answer, target="vax"),
        Sample(SOURCE, "missing", right.answer),
    ]
    first, *others, last = shared.check_many([right, *broken, right])
    assert first.passed and last.passed
    assert [verdict.kind for verdict in others] == ["inconclusive"] * 3
    assert [verdict.detail["error"]["type"] for verdict in others] == ["CaseError", "ValueError", "CaseError"]
    assert all(verdict.detail["error"]["message"] == verdict.message for verdict in others)
    with pytest.raises(CaseError):
        shared.check(broken[0])
    with pytest.raises(ValueError, match="vax"):
        shared.check(broken[1])


def test_an_exception_of_the_iterable_comes_after_the_verdicts_that_are_due(shared: Judge) -> None:
    def samples() -> Iterator[Sample]:
        yield from (sample(40), sample(41))
        raise OSError("no further samples")

    verdicts = shared.check_many(samples())
    assert kinds(itertools.islice(verdicts, 2)) == ["pass", "mismatch"]
    with pytest.raises(OSError, match="no further"):
        next(verdicts)


def test_the_same_sample_is_judged_once(shared: Judge) -> None:
    same = [sample(40), sample(41)] * 200
    judged = list(shared.check_many(same))
    assert kinds(iter(judged)) == ["pass", "mismatch"] * 200
    assert judged[1] == judged[3] and judged[1].detail is not judged[3].detail, "each can be changed by itself"


def test_a_file_that_changes_is_judged_again(shared: Judge, tmp_path: Path) -> None:
    header, path = tmp_path / "constant.h", tmp_path / "case.c"
    header.write_text("#define CONSTANT 40\n")
    path.write_text('#include "constant.h"\nint f(int x) { return x ^ CONSTANT; }\n')
    same = Sample(path, "f", sample(40).answer)
    assert shared.check(same).passed
    assert shared.check(same).passed
    header.write_text("#define CONSTANT 4100\n")
    assert shared.check(same).kind == "mismatch"


def test_a_new_function_does_not_keep_the_other_processes_idle() -> None:
    """The first function takes far longer to prepare than all the others take to judge."""
    cold = "int f(const int *p, int n) { int s = 0; for (int i = 0; i < n; i++) s += p[i] * i; return s; } // cold\n"
    with Judge(2, examples=5) as judge:
        assert judge.check(sample(40)).passed
        done: list[int] = []
        late = [Sample(cold, "f", f"f: ret # {number}") for number in range(200)]
        batch = judge.check_many([*late, *(sample(40) for _ in range(50))])
        background = judge.check_many([sample(41) for _ in range(20)], done.append)
        assert kinds(background) == ["mismatch"] * 20
        batch.close()


def test_an_abandoned_batch_frees_what_it_queued() -> None:
    with Judge(1, examples=5) as judge:
        assert judge.check(sample(40)).passed
        batch = judge.check_many([sample(40), *(hanging() for _ in range(300))])
        assert next(batch).passed
        batch.close()
        del batch
        gc.collect()
        assert judge.check(sample(40)).passed, "it need not wait for 300 samples that take a second each"


# -- asyncio


def test_asyncio(shared: Judge) -> None:
    async def main() -> list[str]:
        assert (await shared.acheck(sample(40))).passed
        with pytest.raises(CaseError):
            await shared.acheck(Sample("int f(", "f", sample(40).answer))
        batches = [collect(shared.acheck_many([sample(40), sample(41)])) for _ in range(3)]
        return [kind for batch in await asyncio.gather(*batches) for kind in batch]

    assert asyncio.run(main()) == ["pass", "mismatch"] * 3
    assert asyncio.run(main()) == ["pass", "mismatch"] * 3, "another event loop"


async def collect(verdicts: AsyncIterator[Verdict]) -> list[str]:
    return [verdict.kind async for verdict in verdicts]


def test_a_slow_source_holds_up_no_verdict(shared: Judge) -> None:
    async def main() -> list[str]:
        has_verdict = asyncio.Event()

        async def slow() -> AsyncIterator[Sample]:
            yield sample(40)
            await asyncio.wait_for(has_verdict.wait(), 60)
            yield sample(41)

        found = []
        async for verdict in shared.acheck_many(slow()):
            found.append(verdict.kind)
            has_verdict.set()
        return found

    assert asyncio.run(main()) == ["pass", "mismatch"]


def test_an_exception_of_an_async_source_comes_last(shared: Judge) -> None:
    async def source() -> AsyncIterator[Sample]:
        yield sample(40)
        raise OSError("no further samples")

    async def main() -> list[str]:
        found = []
        with pytest.raises(OSError, match="no further"):
            async for verdict in shared.acheck_many(source()):
                found.append(verdict.kind)
        return found

    assert asyncio.run(main()) == ["pass"]


def test_the_event_loop_goes_on_while_samples_are_judged(shared: Judge) -> None:
    async def main() -> int:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(turn())
        assert await collect(shared.acheck_many([sample(40) for _ in range(40)])) == ["pass"] * 40
        other.cancel()
        return turns

    assert asyncio.run(main()) > 40


def test_a_task_that_is_cancelled_leaves_nothing(shared: Judge) -> None:
    async def main() -> str:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(collect(shared.acheck_many([hanging() for _ in range(100)])), 0.1)
        assert len(asyncio.all_tasks()) == 1
        return (await shared.acheck(sample(40))).kind

    assert asyncio.run(main()) == "pass"


# -- limits, and processes that die


def test_a_sample_over_the_time_limit_is_inconclusive_and_no_other_is_touched() -> None:
    slow = [Sample(LOOP, "f", f"f:\n\tmovl\t$-1, %ecx\n1:\tdecl\t%ecx\n\tjmp\t1b\n# {number}\n") for number in range(3)]
    with Judge(2, examples=40, timeout=0.0005) as judge:
        verdicts = list(judge.check_many([slow[0], *slow, slow[0]]))
        assert {verdict.kind for verdict in verdicts} == {"inconclusive"}
        assert [verdict.detail["error"]["type"] for verdict in verdicts] == ["Timeout"] * 5
        assert judge.check(slow[0]).detail["error"]["type"] == "Timeout"
        # Copies that wait share the verdict: to replace a process for each of them would take half an hour.
        copies = list(judge.check_many([slow[1]] * 1000))
        assert {verdict.detail["error"]["type"] for verdict in copies} == {"Timeout"}


def test_a_time_limit_in_an_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    loops = "f:\n\tmovl\t$-1, %ecx\n1:\tdecl\t%ecx\n\tjmp\t1b\n"

    async def main() -> list[str]:
        with Judge(1, examples=40, timeout=0.0005) as judge:
            verdicts = [verdict async for verdict in judge.acheck_many([Sample(LOOP, "f", loops), sample(40)])]
            verdicts.append(await judge.acheck(Sample(LOOP, "f", loops)))
        return [verdict.detail["error"]["type"] for verdict in (verdicts[0], verdicts[2])]

    assert asyncio.run(main()) == ["Timeout", "Timeout"]
    gc.collect()
    assert caplog.records == [], "asyncio complains of nothing"


def test_a_time_limit_of_a_century() -> None:
    with Judge(1, examples=5, timeout=3e9) as judge:
        assert judge.check(sample(40)).passed


@pytest.mark.parametrize("change", [{"answer": None}, {"function": ["f"]}, {"source": None}, {"cflags": [1]}])
def test_a_sample_of_anything_but_text_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        replace(sample(40), **change)


def test_a_sample_of_an_unknown_task_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown task 'assembly': expected one of asm"):
        replace(sample(40), task="assembly")  # type: ignore[arg-type]


def test_preparing_does_not_count_for_the_time_limit() -> None:
    source = "int f(int x) { return x ^ 40; } // prepared without haste\n"
    with Judge(1, examples=100, timeout=60) as judge:
        assert judge.check(sample(40, source=source)).passed


def test_samples_of_processes_that_are_killed_are_judged_again() -> None:
    with Judge(2, examples=5) as judge:
        killed = 0
        verdicts = judge.check_many(sample(40 + number % 2) for number in range(200))
        for number, verdict in enumerate(verdicts):
            assert verdict.kind == ("mismatch" if number % 2 else "pass")
            if number % 40 == 20:
                os.kill(judge._pool.pids[0], signal.SIGKILL)
                killed += 1
        assert killed == 5


def kill_at_work(judge: Judge, ended: threading.Event) -> None:
    """Kill each process as soon as it has a request."""
    while not ended.wait(0.005):
        dispatcher = judge._pool._dispatchers.current
        for worker in list(dispatcher.workers) if dispatcher else []:
            if worker.has_started and worker.sent:
                os.kill(worker.pid, signal.SIGKILL)


def test_a_sample_that_every_process_dies_of_is_an_error() -> None:
    with Judge(1, examples=5) as judge:
        assert judge.check(sample(40)).passed
        ended = threading.Event()
        killer = threading.Thread(target=kill_at_work, args=(judge, ended))
        killer.start()
        try:
            with pytest.raises(JudgeError, match="died 3 times"):
                judge.check(hanging())
            [verdict] = judge.check_many([hanging()])
        finally:
            ended.set()
            killer.join()
        assert (verdict.kind, verdict.detail["error"]["type"]) == ("inconclusive", "JudgeError")
        assert judge.check(sample(40)).passed


# -- the life of a judge


def test_close() -> None:
    judge = Judge(2, examples=5)
    assert judge.check(sample(40)).passed
    [pid] = judge._pool.pids
    batch = judge.check_many([sample(40), *(hanging() for _ in range(300))])
    assert next(batch).passed
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(judge.check, hanging()) for _ in range(2)]
        judge.close()
        for verdict in waiting:
            with pytest.raises(JudgeError, match="closed"):
                verdict.result(30)
    with pytest.raises(JudgeError, match="closed"):
        next(batch)
    judge.close()
    assert not is_alive(pid) and list_group(pid) == []
    for use in (judge.check, lambda one: judge.check_many([one]), lambda one: judge.acheck_many([one])):
        with pytest.raises(JudgeError, match="the judge is closed"):
            use(sample(40))


def test_a_judge_that_nobody_has_ends_its_processes() -> None:
    judge = Judge(1, examples=5)
    assert judge.check(sample(40)).passed
    [pid] = judge._pool.pids
    del judge
    gc.collect()
    assert not is_alive(pid) and list_group(pid) == []


def test_a_pickled_judge_has_the_same_settings() -> None:
    with Judge(1, examples=5, seed=7, timeout=60.0) as judge:
        other = pickle.loads(pickle.dumps(judge))
        with other:
            assert other.__reduce__() == judge.__reduce__()
            assert other.check(sample(40)).passed


@pytest.mark.parametrize(
    "settings", [{"workers": 0}, {"workers": 1.5}, {"timeout": 0}, {"timeout": "1"}, {"effort": -1}]
)
def test_settings_that_make_no_sense(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Judge(**settings)  # type: ignore[arg-type]


def test_threads_share_a_judge(shared: Judge) -> None:
    def check(number: int) -> bool:
        return shared.check(sample(40 + number % 2)).passed == (number % 2 == 0)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM)]
    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(check, range(64)))
    assert handlers == [
        signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM)
    ]
