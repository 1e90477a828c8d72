"""The sandbox: whatever the child does, the caller gets a result or an exception, and no process or file stays."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.errors import ChildDiedError, ChildFaultError, ChildTimeoutError


def call(function: Any, *args: Any, seconds: float = 10, megabytes: int = 256) -> Any:
    return sandbox.call(function, *args, seconds=seconds, megabytes=megabytes)


def list_descriptors() -> list[int]:
    return sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())


def list_children() -> set[str]:
    """The child processes of this process, ended ones that were not reaped included."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def spin() -> None:
    while True:
        pass


@pytest.fixture(autouse=True)
def check_leftovers() -> Any:
    """No test leaves an open descriptor or a child process behind."""
    descriptors, processes = list_descriptors(), list_children()
    yield
    assert list_descriptors() == descriptors
    assert list_children() <= processes


def test_values_come_back() -> None:
    value = {"numbers": [1, -2.5, None, True], "bytes": b"\x00\xff", "text": "ä\n", "nested": [{"more": b""}]}
    assert call(lambda: value) == value
    assert call(divmod, 7, 3) == [2, 1]


def test_a_large_result_comes_back() -> None:
    assert call(lambda: bytes(5 << 20)) == bytes(5 << 20)


def test_the_parents_memory_is_untouched() -> None:
    numbers = [1]
    assert call(lambda: numbers.append(2) or numbers) == [1, 2]
    assert numbers == [1]


def test_an_exception_is_a_fault_with_the_traceback() -> None:
    def fail() -> None:
        raise KeyError("the key")

    with pytest.raises(ChildFaultError, match=r"(?s)KeyError: 'the key'\n.*Traceback.*in fail"):
        call(fail)


def test_a_result_that_is_not_json_is_a_fault() -> None:
    with pytest.raises(ChildFaultError, match="returned a object"):
        call(object)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_child_that_a_signal_ends(number: signal.Signals) -> None:
    with pytest.raises(ChildDiedError, match=f"ended by {number.name}") as death:
        call(lambda: os.kill(os.getpid(), number))
    assert (death.value.signal, death.value.status) == (number, None)


def test_a_child_that_prints_and_exits() -> None:
    def leave() -> None:
        os.write(2, b"first\n")
        os.write(1, b"last words")
        os._exit(3)

    with pytest.raises(ChildDiedError, match=r"(?s)exited with status 3; it printed: first.*last words") as death:
        call(leave)
    assert (death.value.signal, death.value.status) == (None, 3)
    assert death.value.stderr == "first\nlast words"


def test_output_does_not_reach_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert call(lambda: os.write(1, b"out") + os.write(2, b"err")) == 6
    assert capfd.readouterr() == ("", "")


def test_a_child_that_exits_without_a_result() -> None:
    with pytest.raises(ChildDiedError, match="left no readable result"):
        call(lambda: os._exit(0))


def test_a_child_that_writes_garbage_to_its_result_pipe() -> None:
    def write_garbage() -> None:
        for descriptor in list_descriptors():
            with contextlib.suppress(OSError):
                os.write(descriptor, b"\xff{garbage")
        os._exit(0)

    with pytest.raises(ChildDiedError, match="left no readable result"):
        call(write_garbage)


def test_a_child_that_closes_everything_and_stays() -> None:
    def close_and_sleep() -> None:
        os.closerange(0, 1000)
        time.sleep(60)

    start = time.monotonic()
    with pytest.raises(ChildTimeoutError):
        call(close_and_sleep, seconds=0.3)
    assert time.monotonic() - start < 5


def test_an_endless_loop() -> None:
    start = time.monotonic()
    with pytest.raises(ChildTimeoutError, match=r"not finished after 0\.2 s"):
        call(spin, seconds=0.2)
    assert 0.2 <= time.monotonic() - start < 5


def test_a_child_that_ignores_signals() -> None:
    def ignore_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        spin()

    with pytest.raises(ChildTimeoutError):
        call(ignore_signals, seconds=0.2)


def test_memory_is_limited() -> None:
    with pytest.raises(ChildDiedError, match="ran out of memory"):
        call(lambda: len(bytearray(200 << 20)), megabytes=100)
    assert call(lambda: len(bytearray(50 << 20)), megabytes=100) == 50 << 20


def test_an_overlong_result_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "RESULT_BYTES", 1 << 20)
    with pytest.raises(ChildDiedError, match="longer than 1 MiB"):
        call(lambda: "x" * (3 << 20))


def test_files_have_a_limited_length(tmp_path: Path) -> None:
    target = tmp_path / "file"

    def fill() -> None:
        with target.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    with pytest.raises(ChildFaultError, match="File too large"):
        call(fill)
    assert target.stat().st_size <= sandbox.OUTPUT_BYTES


def test_output_beyond_the_limit_is_lost() -> None:
    def print_endlessly() -> None:
        for _ in range(100):
            try:
                os.write(2, b"x" * (1 << 16))
            except OSError:
                break
        os._exit(1)

    with pytest.raises(ChildDiedError) as death:
        call(print_endlessly)
    assert death.value.stderr == "x" * sandbox.OUTPUT_BYTES


def test_an_interrupt_in_the_caller_ends_the_child() -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            call(time.sleep, 60, seconds=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_child_without_a_parent_has_a_cpu_limit() -> None:
    """The kernel ends a looping child whose parent was killed before the deadline: the limit is rounded up, plus 1 s."""
    assert call(lambda: resource.getrlimit(resource.RLIMIT_CPU)[0], seconds=2.5) == 4


def test_many_calls_in_a_row() -> None:
    assert [call(lambda i=i: i * i) for i in range(50)] == [i * i for i in range(50)]
