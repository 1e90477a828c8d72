"""One folder of the cache for several machines, and files that are sent where there is none."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest
from caches import new_cache, without_compiler

from pytest_llmcompiler import CaseError, Judge, Sample
from pytest_llmcompiler.emulator import engine_build
from pytest_llmcompiler.service.shared_cache import CacheMarker, list_missing, read_used_files, store_files

SAMPLE = Sample(
    "unsigned mix(unsigned a, unsigned b) { return (a ^ b) * 2654435761u + (a >> 7); }",
    "mix",
    "mix:\n\tmovl %edi, %eax\n\tretq\n",
)
MACHINES = 3


def judge_at(barrier: object, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    """What each machine does: all begin at the same moment."""
    with Judge(1, examples=20) as judge:
        barrier.wait()  # type: ignore[attr-defined]
        verdict = judge.check(SAMPLE)
    results.put((verdict.kind, verdict.evidence, verdict.detail))


def list_files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in ("cases", "programs", "corpora", "suites", "images", "builds")
        for path in (folder / kind).glob("*")
    }


def test_machines_that_prepare_a_function_at_the_same_moment_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_cache(tmp_path, monkeypatch)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(MACHINES), context.Queue()
    machines = [context.Process(target=judge_at, args=(barrier, results)) for _ in range(MACHINES)]
    for machine in machines:
        machine.start()
    verdicts = [results.get(timeout=120) for _ in machines]
    for machine in machines:
        machine.join()
    assert verdicts[0][0] == "mismatch"
    assert verdicts[1:] == verdicts[:-1]
    files = list_files(folder)
    assert [Path(name).name for name in files if Path(name).name.startswith(".")] == []
    assert len([name for name in files if name.startswith("corpora/")]) == 1
    assert len([name for name in files if name.startswith("suites/")]) == 1
    with Judge(1, examples=20) as judge:  # what they left is whole
        verdict = judge.check(SAMPLE)
    assert (verdict.kind, verdict.evidence, verdict.detail) == verdicts[0]
    assert list_files(folder) == files


def test_the_files_of_a_function_are_enough_for_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = new_cache(tmp_path / "one", monkeypatch)
    start = time.time_ns()
    with Judge(1, examples=20) as judge:
        first = judge.check(SAMPLE)
    files = read_used_files(start)
    assert {name.partition("/")[0] for name in files} >= {"cases", "corpora", "suites"}
    assert files == list_files(one)

    monkeypatch.setenv("LLMC_CACHE", str(one))  # `new_cache` links the engine of the folder that is set
    two = new_cache(tmp_path / "two", monkeypatch)
    assert sorted(list_missing(files)) == sorted(files)
    store_files(files)
    assert list_missing(files) == []
    monkeypatch.setenv("PYTHONPATH", without_compiler(tmp_path))
    with Judge(1, examples=20) as judge:
        assert judge.check(SAMPLE) == first
        with pytest.raises(CaseError):
            judge.check(replace(SAMPLE, source=f"{SAMPLE.source} int more;"))
    assert list_files(two) == files


def test_a_marker_is_seen_in_the_same_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path / "new"))
    marker = CacheMarker()
    assert marker.path.parent == tmp_path / "new"
    assert marker.path.exists()
    marker.close()
    assert not marker.path.exists()


def test_machines_of_another_kind_have_an_engine_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    engine_build.server_path.cache_clear()
    own = engine_build.server_path()
    try:
        monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.17"))
        engine_build.server_path.cache_clear()
        other = engine_build.server_path()
    finally:
        engine_build.server_path.cache_clear()
    assert other.parent.parent == own.parent.parent
    assert other != own
