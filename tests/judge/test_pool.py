"""The pool of judge processes: requests side by side, processes that die, forks, interrupts, and bounded memory."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from faces import CaseOf

from pytest_llmcompiler import JudgeError
from pytest_llmcompiler.judge import prepared
from pytest_llmcompiler.judge.ahead import AheadPreparer, ComingFunction
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.judge.messages import RequestedFunction, describe_function
from pytest_llmcompiler.judge.prepared import PreparedFunctions, find_part
from pytest_llmcompiler.judge.schedule import Schedule
from pytest_llmcompiler.judge.ticket import EncodedRequest, Ticket
from pytest_llmcompiler.judge.worker import JudgeWorker
from pytest_llmcompiler.program.case import Case
from pytest_llmcompiler.program.file_cache import FileState

SOURCE = "int f(int x) { return x ^ 40; }\nint g(int x) { return x ^ 41; }\n"
NUMBERS = itertools.count()


def answer(function: str, constant: int) -> str:
    """A text that there was not before: the same text is judged once."""
    return f"{function}:\n\tmovl\t%edi, %eax\n\txorl\t${constant}, %eax\n\tretq\n# {next(NUMBERS)}\n"


@pytest.fixture
def two() -> Iterator[JudgeClient]:
    """A judge with two processes."""
    with closing(JudgeClient(JudgeSettings(examples=5), workers=2)) as judge:
        yield judge


def test_many_threads_get_their_own_verdicts(two: JudgeClient, case_of: CaseOf) -> None:
    case = case_of(SOURCE)

    def judge(number: int) -> bool:
        function, constant = "fg"[number % 2], 40 + number % 3
        verdict = two.judge(case, function, answer(function, constant), explain=False)
        return verdict.passed == (constant == 40 + number % 2)

    with ThreadPoolExecutor(64) as threads:
        assert all(threads.map(judge, range(80)))
    assert 1 <= len(two.pool.pids) <= 2


def test_processes_that_are_killed_lose_no_sample(two: JudgeClient, case_of: CaseOf) -> None:
    case = case_of(SOURCE)

    def judge(number: int) -> str:
        if number in (5, 17):
            for pid in two.pool.pids:
                os.kill(pid, signal.SIGKILL)
        return two.judge(case, "f", answer("f", 40 + number % 2)).kind

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(judge, range(28))) == ["pass", "mismatch"] * 14


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to judge processes (`judge f`), when a function is ready (`ready f`), and what ends (`end f`)."""
    events: list[str] = []
    send, note_loaded, note_reply = Schedule.send, Schedule.note_loaded, Schedule.note_reply

    def observe_sent(self: Schedule, worker: JudgeWorker, ticket: Ticket) -> None:
        events.append(f"{'prepare' if ticket.request.is_ahead else 'judge'} {name_of(ticket)}")
        send(self, worker, ticket)

    def observe_loaded(self: Schedule, worker: JudgeWorker, keys: list[str], seconds: float) -> None:
        events.append(f"ready {name_of(worker.sent[0])}")
        note_loaded(self, worker, keys, seconds)

    def observe_reply(self: Schedule, worker: JudgeWorker, seconds: float, *, is_verdict: bool) -> Ticket:
        events.append(f"end {name_of(worker.sent[0])}")
        return note_reply(self, worker, seconds, is_verdict=is_verdict)

    monkeypatch.setattr(Schedule, "send", observe_sent)
    monkeypatch.setattr(Schedule, "note_loaded", observe_loaded)
    monkeypatch.setattr(Schedule, "note_reply", observe_reply)
    return events


def name_of(ticket: Ticket) -> str:
    return ticket.request.item.rpartition(":")[2]


def test_a_new_function_is_prepared_by_one_process_while_others_wait(
    two: JudgeClient, case_of: CaseOf, events: list[str]
) -> None:
    case = case_of(SOURCE + "// new\n")
    with ThreadPoolExecutor(6) as threads:
        calls = ["f", "f", "f", "g", "g", "g"]
        kinds = list(threads.map(lambda name: two.judge(case, name, answer(name, 40 + (name == "g"))).kind, calls))
    assert kinds == ["pass"] * 6
    for function in "fg":
        assert events[: events.index(f"ready {function}")].count(f"judge {function}") == 1
    assert set(events[:2]) == {"judge f", "judge g"}, "different functions are prepared side by side"


def test_functions_are_prepared_ahead_and_one_process_is_left_to_judge(
    two: JudgeClient, case_of: CaseOf, events: list[str]
) -> None:
    case = case_of("".join(f"int {name}(int x) {{ return x ^ 40; }}\n" for name in "fghij"))
    with closing(AheadPreparer(two, [ComingFunction(case, name) for name in "fghij"])) as ahead:
        ahead.begin((case.path, "f"))
        assert two.judge(case, "f", answer("f", 40)).passed
        deadline = time.monotonic() + 60
        while "end h" not in events:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert two.judge(case, "h", answer("h", 40)).passed
    assert events.index("prepare g") < events.index("end g") < events.index("prepare h")
    assert events.count("ready f") == events.count("ready g") == events.count("ready h") == 1
    assert "prepare i" not in events, "only as many as there are processes"


def test_a_single_process_prepares_nothing_ahead(case_of: CaseOf, events: list[str]) -> None:
    with closing(JudgeClient(JudgeSettings(examples=5), workers=1)) as judge:
        judge.prepare(case_of(SOURCE), "f")
        assert events == [] and judge.pool.pids == []


def test_a_process_is_started_only_if_the_others_are_busy(two: JudgeClient, case_of: CaseOf) -> None:
    for function, constant in (("f", 40), ("g", 41), ("f", 40)):
        assert two.judge(case_of(SOURCE), function, answer(function, constant)).passed
    assert len(two.pool.pids) == 1


def test_another_process_helps_with_a_function_that_two_threads_ask_for(
    two: JudgeClient, case_of: CaseOf, events: list[str]
) -> None:
    """No request waits for long, but together they wait as long as the other process takes to load the function."""
    case = case_of(SOURCE)
    assert two.judge(case, "f", answer("f", 40)).passed
    deadline = time.monotonic() + 60

    def judge(_: int) -> None:
        while events.count("ready f") < 2 and time.monotonic() < deadline:
            assert two.judge(case, "f", answer("f", 40)).passed

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(judge, range(2)))
    assert events.count("ready f") == 2 and len(two.pool.pids) == 2


def test_closing_ends_requests_with_an_error(case_of: CaseOf) -> None:
    case = case_of(SOURCE)
    with closing(JudgeClient(JudgeSettings(examples=5), workers=1)) as judge, ThreadPoolExecutor(4) as threads:
        assert judge.judge(case, "f", answer("f", 40)).passed
        assert judge.pid
        os.kill(judge.pid, signal.SIGSTOP)  # no reply comes before the pool is closed
        function = describe_function(case, "f", None, asdict(JudgeSettings(examples=5)))
        requests = [
            judge.pool.submit(EncodedRequest({"action": "list", "function": function}), text) for text in "abcd"
        ]
        waiting = [threads.submit(judge.pool.wait, request) for request in requests]
        judge.close()
        for reply in waiting:
            with pytest.raises(JudgeError, match="closed"):
                reply.result(30)
        assert judge.pool.pids == []
        assert judge.judge(case, "f", answer("f", 40)).passed


# -- the process that asks


def script(*lines: str) -> subprocess.CompletedProcess[str]:
    begin = (
        "import os, signal, sys, threading, time",
        "from pytest_llmcompiler import check",
        "from pytest_llmcompiler.judge.api import shared_judge",
        "source, right = 'int f(int x) { return x ^ 40; }', 'f: movl %edi, %eax; xorl $40, %eax; ret'",
        "numbers = iter(range(10**9))",
        "def new(text): return f'{text} # {next(numbers)}'  # the same text is judged once",
        "def judge(text): return check(source, 'f', text, examples=5).kind",
        "assert judge(right) == 'pass'",
    )
    code = "\n".join((*begin, *lines))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_the_process_that_asks_loads_no_heavy_library() -> None:
    done = script("print(sorted({'hypothesis', 'keystone', 'llvmlite', 'unicorn'} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


def test_a_fork_while_threads_judge() -> None:
    done = script(
        "kinds = []",
        "def work():",
        "    for number in range(12): kinds.append(judge(new(right.replace('40', str(40 + number % 2)))))",
        "threads = [threading.Thread(target=work) for _ in range(3)]",
        "[thread.start() for thread in threads]",
        "for _ in range(3):",
        "    time.sleep(0.2)",
        "    pid = os.fork()",
        "    if pid == 0:",
        "        os._exit(0 if [judge(new(right)), judge(new('f: ret'))] == ['pass', 'mismatch'] else 1)",
        "    assert os.waitpid(pid, 0)[1] == 0",
        "[thread.join() for thread in threads]",
        "print(kinds.count('pass'), kinds.count('mismatch'))",
    )
    assert done.stdout.strip() == "18 18", done.stderr[-2000:]


def test_an_interrupt_leaves_no_reply_for_the_next_request() -> None:
    done = script(
        "for seconds in (0.0, 0.02, 0.1):",
        "    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))",
        "    try:",
        "        timer.start()",
        "        judge(f'f: jmp f # {seconds}')",
        "        time.sleep(5)",
        "    except KeyboardInterrupt:",
        "        print(judge(right))",
    )
    assert done.stdout.split() == ["pass"] * 3, done.stderr[-2000:]


def test_the_interpreter_ends_while_daemon_threads_judge() -> None:
    done = script(
        "def work():",
        "    while True: judge(new('f: jmp f'))",
        "[threading.Thread(target=work, daemon=True).start() for _ in range(3)]",
        "time.sleep(0.2)",
        "threading.excepthook = lambda arguments: None",
        "print(*shared_judge(5).pool.pids, flush=True)",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    pids = done.stdout.split()
    assert pids and not any(is_judge(int(pid)) for pid in pids)


def is_judge(pid: int) -> bool:
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and b"judge.server" in path.read_bytes()


# -- memory


def describe(case: Case, function: str) -> RequestedFunction:
    return describe_function(case, function, None, asdict(JudgeSettings(examples=5)))


def make_ready(functions: PreparedFunctions, function: RequestedFunction) -> bool:
    """Whether the function was not ready before."""
    is_new = functions.find(function) is None
    if is_new:
        functions.prepare(function)
    return is_new


def test_functions_that_nobody_asks_for_are_let_go(case_of: CaseOf) -> None:
    case = case_of("".join(f"int f{n}(int x) {{ return x ^ {n}; }}\n" for n in range(5)))
    functions = PreparedFunctions(most_functions=4, most_megabytes=1 << 20)  # this process may be large
    for number in range(4):
        assert make_ready(functions, describe(case, f"f{number}"))
        assert not functions.let_go()
    assert len(functions.keys) == 4
    assert not make_ready(functions, describe(case, "f0"))
    assert make_ready(functions, describe(case, "f4"))
    assert functions.let_go()
    assert len(functions.keys) == 3
    assert not make_ready(functions, describe(case, "f0")), "it was asked for a short time ago"
    assert make_ready(functions, describe(case, "f1")), "it was asked for the longest time ago"


def test_all_functions_of_a_file_that_changes_are_prepared_again(case_of: CaseOf) -> None:
    case = case_of("int f(int x) { return x; } int g(int x) { return x; }\n")
    f, g = (describe(case, name) for name in "fg")
    functions = PreparedFunctions(most_megabytes=1 << 20)
    assert make_ready(functions, f) and make_ready(functions, g)
    replaced = [weakref.ref(functions.open(function)) for function in (f, g)]
    case.path.write_text("int f(int x) { return x; } int g(int x) { return x + 10; }\n")
    assert make_ready(functions, f) and make_ready(functions, g)
    assert not make_ready(functions, g)
    assert [harness() for harness in replaced] == [None, None], "nothing of the old ones stays"


def test_files_are_told_as_they_were_when_they_were_compiled(case_of: CaseOf) -> None:
    case = case_of(SOURCE)
    functions, function = PreparedFunctions(), describe(case, "f")
    functions.prepare(function)
    before = FileState.read(case.path)
    case.path.write_text(SOURCE + "// changed\n")
    assert before in functions.list_files(function)
    assert FileState.read(case.path) not in functions.list_files(function)


@pytest.mark.parametrize(
    ("processes", "cores", "free", "expected"),
    [
        (2, 64, 64 << 30, 16 << 30),  # a small pool on a large machine: by its own processes
        (64, 64, 64 << 30, 768 << 20),  # the least, however little is free
        (1, 4, 64 << 30, 8 << 30),  # others may be beside a process that is alone in its pool
        (2, 2, 0, 768 << 20),
    ],
)
def test_processes_of_a_pool_share_half_of_the_free_memory(
    processes: int, cores: int, free: int, expected: int
) -> None:
    assert find_part(processes, cores, free) == expected


def test_functions_are_let_go_above_a_part_of_the_free_memory(case_of: CaseOf, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 800 << 20
    monkeypatch.setattr(prepared, "measure_memory", lambda *_: taken)
    monkeypatch.setattr(prepared, "measure_free_memory", lambda: 4 << 30)
    case = case_of("int f(int x) { return x; } int g(int x) { return x; }\n")
    for processes, kept in ((2, 2), (64, 1)):
        functions = PreparedFunctions(processes=processes)
        for name in "fg":
            functions.prepare(describe(case, name))
            functions.let_go()
        assert len(functions.keys) == kept


def test_functions_are_let_go_for_the_memory_that_they_take(case_of: CaseOf) -> None:
    functions = PreparedFunctions(most_megabytes=1)
    for source, function in ((SOURCE, "f"), (SOURCE, "g")):
        assert make_ready(functions, describe(case_of(source), function))
        functions.let_go()
        assert len(functions.keys) == 1, "the function that was asked for last is kept"
