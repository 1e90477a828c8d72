"""Clusters of Ray on this machine, and what the tests of the judge on Ray send to them."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_llmcompiler import Judge, Sample, Verdict

FUNCTIONS = 12
EXAMPLES = 20


@contextmanager
def open_cluster(*nodes: dict[str, Any]) -> Iterator[Any]:
    """A cluster with a head without CPUs, and a node of one CPU for each of `nodes`, to which this process connects."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # a token would be written to the user's home
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "gcs_server_port": port})
        try:
            for node in nodes:
                cluster.add_node(num_cpus=1, **node)
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def list_actors(cluster: Any) -> list[int]:
    """The processes of the judge's actors on a cluster."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
    return [pid for raylet in raylets for pid in _list_children(raylet) if b"JudgeActor" in _read(pid, "cmdline")]


def list_descendants(pid: int) -> set[int]:
    """A process with those below it."""
    return {pid, *(one for child in _list_children(pid) for one in list_descendants(child))}


def is_running(pid: int) -> bool:
    """Whether a process runs: one that has ended may still have a parent to wait for it."""
    return bool(_read(pid, "cmdline"))


def wait_until(is_true: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether something becomes true in time."""
    deadline = time.monotonic() + seconds
    while not (done := bool(is_true())) and time.monotonic() < deadline:
        time.sleep(0.1)
    return done


def make_samples(each: int) -> list[Sample]:
    """So many answers to each of the functions, in a random order."""
    numbers = [(function, number) for number in range(each) for function in range(FUNCTIONS)]
    random.Random(1).shuffle(numbers)
    return [make_sample(function, number) for function, number in numbers]


def make_sample(function: int, number: int) -> Sample:
    """Answers with different numbers all differ. They are right, wrong, no code, no assembly, or crash."""
    name, factor = f"scale{function}", function + 3
    source = f"int {name}(int a, int b) {{ return (int)((unsigned)a * {factor}u + (unsigned)b); }}"
    bodies = (
        f"imull ${factor}, %edi, %eax\n\taddl %esi, %eax\n\tretq",
        f"imull ${factor}, %edi, %eax\n\tretq",
        f"imull ${factor}, %edi, %eax\n\taddl %esi, %eax\n\tnop\n\tretq",
        "movl $1, 8\n\tretq",
        "frobnicate %eax\n\tretq",
    )
    body = bodies[number % len(bodies)]
    return Sample(source, name, f"{name}:\n\tmovl ${number}, %ecx\n\t{body}\n" if number % 7 else f"No, {number}.")


def judge_quietly(samples: list[Sample]) -> list[Verdict]:
    """The verdicts of a judge without Ray, which nobody kills."""
    with Judge(2, examples=EXAMPLES) as judge:
        return list(judge.check_many(samples))


def _list_children(pid: int) -> list[int]:
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in _read_path(path).split()]


def _read(pid: int, name: str) -> bytes:
    return _read_path(Path(f"/proc/{pid}/{name}"))


def _read_path(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""
