"""Faults of model, judge and machine: errors, never verdicts, and nothing judged before is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sessions import (
    LOW,
    PROMPT_MODEL,
    TWICE,
    VEX,
    WRONG,
    assert_no_traceback,
    records,
    replay,
    run,
    text_of,
)


def test_a_model_with_a_fault_is_an_error(project: pytest.Pytester) -> None:
    project.makeconftest(PROMPT_MODEL.replace("yield Answer(prompt.reference())", "yield 1 // 0"))
    result = run(project, "-k", "twice")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(["*conftest.py:10: in answers", "E * ZeroDivisionError: *"])
    assert len(result.outlines) < 100, "the message drowns in pytest's own frames"


def test_a_judge_that_is_killed_loses_no_sample(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import os, signal
        from pytest_llmcompiler.plugin import EVALUATION

        killed = []

        def pytest_runtest_setup(item):
            judge = item.config.stash[EVALUATION].session.judge
            if judge.pid:
                killed.append(judge.pid)
                os.kill(judge.pid, signal.SIGKILL)

        def pytest_unconfigure():
            print("killed", len(killed))
        """
    )
    result = run(project, replay(project, ("twice", WRONG), ("low", LOW)), "--llmc-record=out.jsonl")
    result.assert_outcomes(passed=1, failed=1)
    assert "killed 1" in text_of(result)
    assert [line["verdict"] for line in records(project.path / "out.jsonl")] == ["mismatch", "pass"]


def test_a_killed_session_leaves_no_judge_and_whole_lines(project: pytest.Pytester) -> None:
    loop = "twice:\n1:\tjmp 1b\n"
    model = replay(project, *[loop] * 500)
    args = (sys.executable, "-m", "pytest", model, "-p", "no:xdist", "--llmc-samples=500", "--llmc-record=out.jsonl")
    record = project.path / "out.jsonl"
    process = subprocess.Popen(args, cwd=project.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: record.exists() and record.read_bytes().count(b"\n") >= 3)
        children = (path.read_text().split() for path in Path(f"/proc/{process.pid}/task").glob("*/children"))
        judges = [int(pid) for pids in children for pid in pids]
    finally:
        process.kill()
        process.wait(30)
    assert judges, "the judge has a process of its own"
    wait_until(lambda: not any(map(is_alive, judges)))
    lines = record.read_bytes().split(b"\n")
    assert {json.loads(line)["verdict"] for line in lines[:-1]} == {"hang"}


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_interrupt_keeps_what_is_recorded(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        def pytest_runtest_logreport(report):
            if report.when == "teardown":
                raise KeyboardInterrupt
        """
    )
    result = run(project, replay(project, ("twice", TWICE), ("low", LOW)), "--llmc-record=out.jsonl")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert [line["verdict"] for line in records(project.path / "out.jsonl")] == ["pass"]


def test_nothing_is_left_behind(project: pytest.Pytester) -> None:
    before = {path.name for path in project.path.iterdir()}
    run(project, "-p", "no:cacheprovider", "--llmc-model=reference").assert_outcomes(passed=2)
    after = {path.name for path in project.path.iterdir()}
    # pytester's own, and the caches of a home that is the same folder here.
    assert after - before <= {"runpytest-0", "runpytest-current", "stdout", "stderr", ".cache"}


def test_an_answer_that_comes_again_is_judged_once(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        from pytest_llmcompiler.judge import client

        real = client.JudgeClient.judge

        def judge(self, *args, **settings):
            print("it is judged!")
            return real(self, *args, **settings)

        client.JudgeClient.judge = judge
        """
    )
    model = replay(project, TWICE, WRONG, TWICE, VEX, TWICE, VEX)
    result = run(project, model, "--llmc-samples=6", "--llmc-record=out.jsonl", "-k", "twice", "-s")
    kinds = [line["verdict"] for line in records(project.path / "out.jsonl")]
    assert kinds == ["pass", "mismatch", "pass", "inconclusive", "pass", "inconclusive"]
    assert text_of(result).count("it is judged!") == 4, "what was inconclusive is looked at again"


def test_a_judge_that_fails_loses_no_answer(project: pytest.Pytester) -> None:
    """The sample is an error, its answer is kept, and the other samples are judged."""
    project.makeconftest(
        """
        from pytest_llmcompiler import JudgeError
        from pytest_llmcompiler.judge import client

        real = client.JudgeClient.judge

        def judge(self, case, function, text, *args, **settings):
            if "bad" in text:
                raise JudgeError("the harness is at fault")
            return real(self, case, function, text, *args, **settings)

        client.JudgeClient.judge = judge
        """
    )
    model = replay(project, TWICE, TWICE.replace("\n", " # bad\n", 1), TWICE)
    result = run(project, model, "--llmc-samples=3", "--llmc-record=out.jsonl", "-k", "twice")
    result.assert_outcomes(errors=1, deselected=1)
    assert "the harness is at fault" in text_of(result)
    assert [line["verdict"] for line in records(project.path / "out.jsonl")] == ["pass", None, "pass"]


def test_a_full_disk_ends_the_session_with_one_error(project: pytest.Pytester) -> None:
    result = run(project, replay(project, TWICE, TWICE), "--llmc-record=/dev/full", "--llmc-samples=2")
    assert_no_traceback(result)
    result.assert_outcomes(errors=1)
    words = "*/dev/full: the record of a sample can't be written: No space left on device. *: --llmc-resume goes on *"
    result.stdout.fnmatch_lines([words])
