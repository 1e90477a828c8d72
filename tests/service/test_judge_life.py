"""Processes around a judge: those that fork it, exit with it or are killed, and what is left of it then."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import list_group

from pytest_llmcompiler.judge import source_texts
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.service import questions
from pytest_llmcompiler.service.sample import Sample

BEGIN = """
import itertools, multiprocessing, os, signal, sys, threading, time
from pytest_llmcompiler import Judge, Sample
numbers = itertools.count()
def sample(constant, function="f"):
    source = "int f(int x) { return x ^ 40; } int cold(int x) { return x ^ %d; }" % os.getpid()
    text = f"{function}: movl %edi, %eax; xorl ${constant}, %eax; ret # {os.getpid()} {next(numbers)}"
    return Sample(source, function, text)
def hanging():
    return Sample("int f(int x) { return x ^ 40; }", "f", f"f: movl ${next(numbers)}, %eax; jmp f")
def kinds(judge, count=4):
    return [verdict.kind for verdict in judge.check_many(sample(40 + number % 2) for number in range(count))]
"""
_SECONDS = 1.0
"""How long processes may stay after their parent was killed."""


def run(*lines: str, seconds: float = 120) -> str:
    """What a script prints. Python 3.12 and later warn of every fork of a process with threads."""
    command = [sys.executable, "-W", "ignore:This process", "-c", "\n".join((BEGIN, *lines))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    return done.stdout.strip()


@contextmanager
def running(*lines: str) -> Iterator[subprocess.Popen[str]]:
    """A script that runs."""
    command = [sys.executable, "-c", "\n".join((BEGIN, *lines))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def find_left(pids: list[int], seconds: float) -> list[int]:
    """The processes of judge processes' groups that are still there after some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(list_group, pids)):
        time.sleep(0.02)
    return [pid for leader in pids for pid in list_group(leader)]


@pytest.mark.parametrize(
    "work",
    [
        "for verdict in judge.check_many(sample(40) for _ in itertools.count()): pass",
        "for verdict in judge.check_many(hanging() for _ in itertools.count()): pass",
        "for verdict in judge.check_many(sample(40, 'cold') for _ in itertools.count()): pass",
        "threads = [threading.Thread(target=kinds, args=(judge, 10**6)) for _ in range(4)]\n"
        "for thread in threads: thread.start()",
        "pid = os.fork()  # the child holds the pipes' other ends\nif pid == 0: time.sleep(5); os._exit(0)\nkinds(judge, 10**6)",
        "time.sleep(60)",
    ],
    ids=["judging", "hanging", "preparing", "threads", "forked", "idle"],
)
def test_nothing_is_left_where_the_parent_is_killed(work: str) -> None:
    start = (
        "judge = Judge(2, examples=5); kinds(judge, 30)",
        "from pytest_llmcompiler.judge.source_texts import choose_folder",
        "print(choose_folder(), *judge._pool.pids, flush=True)",
    )
    with running(*start, work) as process:
        assert process.stdout
        folder, *words = process.stdout.readline().split()
        pids = [int(word) for word in words]
        assert pids and Path(folder).exists()
        time.sleep(0.7)
        assert any(len(list_group(pid)) > 1 for pid in pids), "the engine runs"
        process.kill()
        process.wait()
        assert find_left(pids, _SECONDS) == []
        assert not Path(folder).exists()


def test_source_texts_that_no_request_names_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_texts, "_MOST_UNHELD_BYTES", 10)
    texts = source_texts.SourceTexts()
    held, request = texts.write("int held; "), source_texts.SourceTexts()  # any object
    texts.hold(str(held), request)
    texts.hold("/none/of/these.c", request)
    paths = [texts.write(f"int text{number};") for number in range(3)]
    assert [path.exists() for path in (held, *paths)] == [True, False, False, True]
    assert texts.write("int text0;") == paths[0] and paths[0].read_text() == "int text0;"
    assert len(texts) == 2
    del request
    texts.write("int text1;")
    assert [path.exists() for path in (held, *paths)] == [False, False, True, False]


def test_a_judge_keeps_the_source_texts_of_its_latest_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_texts, "_MOST_UNHELD_BYTES", 0)
    monkeypatch.setattr(questions, "_KEPT_CHARACTERS", 100)
    monkeypatch.setattr(source_texts, "_TEXTS", source_texts.SourceTexts())
    encoded = questions.EncodedQuestions(JudgeSettings(), explain=False)
    for number in range(20):
        encoded.encode(Sample(f"int f{number:02}(void) {{ return {number}; }}", f"f{number:02}", ""))
    assert source_texts.count_sources() == 4  # 3 of 32 characters, and one whose question has just gone


def test_a_thread_that_ends_takes_no_process_with_it() -> None:
    """PR_SET_PDEATHSIG is sent when the thread ends that started a process."""
    assert (
        run(
            "judge = Judge(2, examples=5)",
            "for _ in range(2):",
            "    thread = threading.Thread(target=kinds, args=(judge, 30)); thread.start(); thread.join()",
            "pids = sorted(judge._pool.pids)",
            "time.sleep(0.2)",
            "assert kinds(judge) == ['pass', 'mismatch'] * 2",
            "print(set(pids) <= set(judge._pool.pids))",
            "judge.close()",
        )
        == "True"
    )


@pytest.mark.parametrize("ending", ["pass", "judge.close()", "sys.exit(0)", "del judge, batch", "judge = None"])
def test_the_interpreter_ends_with_samples_queued(ending: str) -> None:
    printed = run(
        "judge = Judge(2, examples=5); kinds(judge, 30)",
        "batch = judge.check_many(hanging() for _ in itertools.count())",
        "threading.Thread(target=lambda: next(batch), daemon=True).start()",
        "judge.check(sample(40))",
        "threading.excepthook = lambda _: None",
        "print(*judge._pool.pids, flush=True)",
        ending,
        seconds=60,
    )
    pids = [int(word) for word in printed.split()]
    assert pids and find_left(pids, _SECONDS) == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing(method: str, tmp_path: Path) -> None:
    """A child creates a judge, uses that of its parent where it is forked, or is given one."""
    script = tmp_path / "script.py"
    script.write_text(
        BEGIN
        + f"""
def work(judge, queue):
    with Judge(1, examples=5) as own:
        queue.put([kinds(own), kinds(judge), sorted(judge._pool.pids + own._pool.pids)])

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with Judge(2, examples=5) as judge:
        assert kinds(judge) == ["pass", "mismatch"] * 2
        queue = context.Queue()
        children = [context.Process(target=work, args=(judge, queue)) for _ in range(2)]
        for child in children: child.start()
        found = [queue.get() for _ in children]
        for child in children: child.join()
        assert all(result[:2] == [["pass", "mismatch"] * 2] * 2 for result in found), found
        assert len({{pid for result in found for pid in result[2]}} | set(judge._pool.pids)) >= 5
        assert kinds(judge) == ["pass", "mismatch"] * 2
        print(*(pid for result in found for pid in result[2]))
"""
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert find_left([int(word) for word in done.stdout.split()], _SECONDS) == []


def test_a_fork_while_other_threads_judge() -> None:
    assert (
        run(
            "judge = Judge(2, examples=5); kinds(judge)",
            "results = []",
            "threads = [threading.Thread(target=lambda: results.append(kinds(judge, 60))) for _ in range(3)]",
            "for thread in threads: thread.start()",
            "for _ in range(3):",
            "    time.sleep(0.1)",
            "    pid = os.fork()",
            "    if pid == 0:",
            "        os._exit(0 if kinds(judge) == ['pass', 'mismatch'] * 2 else 1)",
            "    assert os.waitpid(pid, 0)[1] == 0",
            "for thread in threads: thread.join()",
            "print([result == ['pass', 'mismatch'] * 30 for result in results])",
            "judge.close()",
        )
        == "[True, True, True]"
    )


def test_a_forked_child_writes_source_texts_of_its_own() -> None:
    """Those of its parent end with the parent."""
    assert (
        run(
            "import shutil",
            "from pytest_llmcompiler.judge.source_texts import choose_folder",
            "judge = Judge(1, examples=5); folder = choose_folder()",
            "one = Sample('int f(int x) { return x ^ N; }', 'f', 'f: movl %edi, %eax; xorl $9, %eax; ret', cflags=('-DN=9',))",
            "assert judge.check(one).passed",
            "pid = os.fork()",
            "if pid == 0:",
            "    shutil.rmtree(folder)",
            "    print(judge.check(one).kind, flush=True); judge.close(); os._exit(0)",
            "os.waitpid(pid, 0)",
            "judge.close()",
        )
        == "pass"
    )


def test_a_batch_of_the_parent_is_refused_in_a_forked_child() -> None:
    assert (
        run(
            "judge = Judge(2, examples=5); batch = judge.check_many(sample(40) for _ in range(100)); next(batch)",
            "pid = os.fork()",
            "if pid == 0:",
            "    try: next(batch)",
            "    except Exception as error: print(type(error).__name__, flush=True)",
            "    os._exit(0)",
            "os.waitpid(pid, 0)",
            "assert next(batch).passed",
            "judge.close()",
        )
        == "JudgeError"
    )


def test_an_interrupt_ends_the_work_and_the_judge_goes_on() -> None:
    assert (
        run(
            "judge = Judge(1, examples=5); kinds(judge)",
            "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()",
            "try:",
            "    for _ in range(100): judge.check(hanging())",
            "except KeyboardInterrupt:",
            "    print(judge.check(sample(40)).kind)",
            "judge.close()",
        )
        == "pass"
    )


def test_processes_that_nobody_can_start_are_an_error() -> None:
    assert (
        run(
            "sys.executable = '/nowhere/python'",
            "judge = Judge(2, examples=5)",
            "[verdict] = judge.check_many([sample(40)])",
            "print(verdict.kind, verdict.detail['error']['type'])",
            "judge.close()",
        )
        == "inconclusive JudgeError"
    )
