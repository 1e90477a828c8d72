"""`RayJudge` on a local cluster of several nodes, whose actors and nodes are killed."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from native_code import needs_avx
from ray_clusters import (
    EXAMPLES,
    is_running,
    judge_quietly,
    list_actors,
    list_descendants,
    make_samples,
    open_cluster,
    wait_until,
)

from pytest_llmcompiler import CaseError, JudgeError, Sample, Verdict
from pytest_llmcompiler.rewards import Columns
from pytest_llmcompiler.rewards.ray_data import RayDataJudge
from pytest_llmcompiler.service import actor_schedule
from pytest_llmcompiler.service.ray_actor import ActorPlace, JudgeActor
from pytest_llmcompiler.service.ray_dispatcher import RayDispatcher
from pytest_llmcompiler.service.ray_judge import RayJudge

ray = pytest.importorskip("ray", reason="ray is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "pages" / "ray.md"


@pytest.fixture(scope="module")
def cluster(cache: Path) -> Iterator[Any]:
    """Two machines of one CPU each, which share the folder of the cache."""
    with open_cluster({}, {}) as cluster:
        yield cluster


def test_the_face_is_that_of_a_judge(cluster: Any) -> None:
    samples = make_samples(5)
    broken = Sample("int scale(", "scale", "ret")
    counts: list[int] = []
    with RayJudge(examples=EXAMPLES) as judge:
        assert judge.workers == 2
        verdicts = list(judge.check_many([*samples, broken], counts.append))
        assert verdicts[:-1] == judge_quietly(samples)
        assert verdicts[-1].detail["error"]["type"] == "CaseError"
        assert counts == list(range(1, len(samples) + 2))
        with pytest.raises(CaseError):
            judge.check(broken)

        async def judge_all() -> tuple[list[Verdict], Verdict]:
            return [verdict async for verdict in judge.acheck_many(samples)], await judge.acheck(samples[0])

        assert asyncio.run(judge_all()) == (verdicts[:-1], verdicts[0])
        endless = judge.check_many(samples[0] for _ in iter(int, 1))
        assert [next(endless) for _ in range(3)] == [verdicts[0]] * 3
        processes = {pid for actor in list_actors(cluster) for pid in list_descendants(actor)}
    assert len(processes) >= 4  # two actors with a judge process each
    assert wait_until(lambda: not any(map(is_running, processes)))
    with pytest.raises(JudgeError, match="closed"):
        judge.check(samples[0])


def test_killed_actors_change_no_verdict(cluster: Any) -> None:
    samples = make_samples(50)
    expected = judge_quietly(samples)
    killed: set[int] = set()
    processes: set[int] = set()
    chance = random.Random(2)

    def kill(count: int) -> None:
        """Every hundred verdicts, one of the actors."""
        if count % 100 == 50:
            assert wait_until(lambda: set(list_actors(cluster)) - killed)  # both may be starting again
            actor = chance.choice(sorted(set(list_actors(cluster)) - killed))
            processes.update(list_descendants(actor))
            os.kill(actor, signal.SIGKILL)  # as the kernel ends a process that has too much memory
            killed.add(actor)

    with RayJudge(2, examples=EXAMPLES) as judge:
        judged = list(judge.check_many(samples, kill))
    assert judged == expected
    assert len(killed) == 6
    assert wait_until(lambda: not any(map(is_running, processes)))


def test_a_lost_node_changes_no_verdict(cluster: Any) -> None:
    samples = make_samples(50)
    expected = judge_quietly(samples)
    lost = cluster.add_node(num_cpus=1)
    with RayJudge(3, examples=EXAMPLES) as judge:
        verdicts = judge.check_many(samples)
        judged = [next(verdicts)]
        assert wait_until(lambda: len(list_actors(cluster)) == 3)
        judged += [next(verdicts) for _ in range(50)]
        cluster.remove_node(lost, allow_graceful=False)
        judged += verdicts
    assert judged == expected


def test_an_actor_that_does_not_reply_is_replaced(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_schedule, "SILENT_SECONDS", 15.0)
    samples = make_samples(10)
    expected = judge_quietly(samples)
    with RayJudge(2, examples=EXAMPLES) as judge:
        assert [judge.check(sample) for sample in samples[:2]] == expected[:2]
        assert wait_until(lambda: len(list_actors(cluster)) == 2)
        stopped = list_actors(cluster)
        for actor in stopped:
            os.kill(actor, signal.SIGSTOP)
        assert list(judge.check_many(samples)) == expected
        assert not set(stopped) & set(list_actors(cluster))


class ActorThatDies(JudgeActor):
    """Ends with its process where a sample says so, as the kernel ends one when memory runs out."""

    def judge(self, samples: Any, shipments: Any, is_shipping: bool) -> Any:
        if any(sample.passes == "die" for sample in samples):
            os._exit(1)
        return super().judge(samples, shipments, is_shipping)


def test_a_sample_of_which_every_actor_dies_is_given_up_alone(cluster: Any) -> None:
    samples = make_samples(10)
    module = sys.modules[__name__]  # which is no package that the actors could import
    ray.cloudpickle.register_pickle_by_value(module)
    actor = ray.remote(ActorThatDies).options(num_cpus=1, max_restarts=-1)
    place = ActorPlace(str(Path.cwd()), os.environ["LLMC_CACHE"], "none")
    dispatcher = RayDispatcher(2, lambda: actor.remote({"examples": EXAMPLES}, place))
    try:
        futures = [dispatcher.submit(sample) for sample in samples]
        deadly = dispatcher.submit(replace(samples[20], passes="die"))
        futures += [dispatcher.submit(sample) for sample in samples]
        verdict = deadly.result()
        assert [future.result() for future in futures] == judge_quietly(samples) * 2
    finally:
        dispatcher.close()
        ray.cloudpickle.unregister_pickle_by_value(module)
    assert verdict.kind == "inconclusive"
    assert verdict.detail["error"]["type"] == "JudgeError"
    assert verdict.message.startswith("3 actors ended while they judged the sample")


def test_nobody_waits_for_a_judge_that_was_closed(cluster: Any) -> None:
    judge = RayJudge(2, examples=EXAMPLES)
    verdicts = judge.check_many(make_samples(100))
    next(verdicts)
    judge.close()
    with pytest.raises(JudgeError, match="closed"):
        list(verdicts)


def test_an_actor_that_does_not_start_ends_no_batch_silently(cluster: Any) -> None:
    class ActorWithoutStart:
        def __init__(self) -> None:
            raise RuntimeError("no libraries here")

        def describe(self) -> None: ...

    with pytest.warns(RuntimeWarning, match="does not start"):
        dispatcher = RayDispatcher(1, ray.remote(ActorWithoutStart).options(num_cpus=1).remote)
        verdict = dispatcher.submit(make_samples(1)[0]).result()
        dispatcher.close()
    assert verdict.kind == "inconclusive"
    assert "no libraries here" in verdict.message


@pytest.mark.parametrize("grouped", [False, True])
def test_a_dataset_of_ray(cluster: Any, grouped: bool) -> None:
    samples = make_samples(6)
    rows = [
        {"row": row, "code": sample.source, "function": sample.function, "answer": sample.answer}
        for row, sample in enumerate(samples)
    ]
    dataset = ray.data.from_items(rows)
    given = {"fn_constructor_kwargs": {"columns": Columns(source="code"), "examples": EXAMPLES}, "concurrency": 1}
    if grouped:
        judged = dataset.groupby("function").map_groups(RayDataJudge, **given)
    else:
        judged = dataset.map_batches(RayDataJudge, batch_size=16, **given)
    found = sorted(judged.take_all(), key=lambda row: row["row"])
    expected = judge_quietly(samples)
    assert [row["verdict"] for row in found] == [verdict.kind for verdict in expected]
    assert [row["reward"] for row in found] == [float(verdict.passed) for verdict in expected]
    assert [row["message"] for row in found] == [verdict.message for verdict in expected]
    assert [row["code"] for row in found] == [sample.source for sample in samples]


def test_the_examples_of_the_documentation(cluster: Any) -> None:
    """The comments at the end of an example say what it prints."""
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for text in examples:
        environment = os.environ | {"RAY_ADDRESS": cluster.address}
        command = [sys.executable, "-c", text]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        promised = re.findall(r"^# (.+)$", text, re.MULTILINE)
        printed = [line for line in result.stdout.splitlines() if line.split()[0] in ("pass", "mismatch", "no-answer")]
        assert sorted(printed) == sorted(promised), result.stderr


@needs_avx
def test_actors_run_code_natively(cluster: Any) -> None:
    source = "int twice(int x) { return 2 * x; }"
    code = "twice:\n vmovd %edi, %xmm0\n {} %xmm0, %xmm0, %xmm0\n vmovd %xmm0, %eax\n ret\n"
    samples = [Sample(source, "twice", code.format(name)) for name in ("vpaddd", "vpsubd")]
    with RayJudge(examples=EXAMPLES, native="auto", isa="x86-64-v3") as judge:
        verdicts = list(judge.check_many(samples))
    assert [(verdict.kind, verdict.detail["native"]) for verdict in verdicts] == [("pass", True), ("mismatch", True)]
