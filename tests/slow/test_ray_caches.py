"""`RayJudge` on machines that do not share the folder of the cache."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from caches import new_cache, without_compiler
from ray_clusters import EXAMPLES, judge_quietly, list_actors, make_sample, open_cluster, wait_until

from pytest_llmcompiler import Verdict
from pytest_llmcompiler.service.ray_judge import RayJudge

pytest.importorskip("ray", reason="ray is not installed")


def _without_cost(verdict: Verdict) -> Verdict:
    """clang's own code, to which answers are compared, is measured for the first one that passes, and needs clang."""
    return replace(verdict, detail={key: value for key, value in verdict.detail.items() if key != "cost"})


def test_files_are_sent_to_a_machine_with_a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second machine has no compiler that works: what it judges, the first one has prepared."""
    samples = [make_sample(0, number) for number in range(600)]
    expected = judge_quietly(samples)
    shared = os.environ["LLMC_CACHE"]
    caches = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("LLMC_CACHE", shared)  # where `new_cache` takes the engine from
        caches.append(new_cache(tmp_path / name, monkeypatch))
    monkeypatch.delenv("LLMC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, two = ({"LLMC_CACHE": str(cache)} for cache in caches)
    two["PYTHONPATH"] = without_compiler(tmp_path)
    with open_cluster({"env_vars": one}) as cluster, RayJudge(2, examples=EXAMPLES) as judge:
        assert judge.check(samples[1]) == expected[1]
        cluster.add_node(num_cpus=1, env_vars=two)
        assert wait_until(lambda: len(list_actors(cluster)) == 2)
        judged = judge.check_many(samples * 3)
        assert list(map(_without_cost, judged)) == list(map(_without_cost, expected * 3))
    assert len(list((caches[1] / "suites").iterdir())) == 1
