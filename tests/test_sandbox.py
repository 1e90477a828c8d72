"""The sandbox: whatever the child does, the caller gets a result or an exception, and no process or file stays."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmcompiler import landlock, sandbox
from pytest_llmcompiler.errors import ChildDiedError, ChildFaultError, ChildLostError, ChildTimeoutError


def call(function: Any, *args: Any, seconds: int = 10, megabytes: int = 256, is_confined: bool = True) -> Any:
    return sandbox.call(function, *args, seconds=seconds, megabytes=megabytes, is_confined=is_confined)


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


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT])
def test_a_child_that_a_signal_ends(number: signal.Signals) -> None:
    with pytest.raises(ChildDiedError, match=f"ended by {number.name}") as death:
        call(lambda: signal.raise_signal(number))
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
        for descriptor in range(100):
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
    with pytest.raises(ChildLostError, match="did not let its child process finish within 10 s"):
        call(close_and_sleep, seconds=1)
    assert time.monotonic() - start < 30


def test_an_endless_loop() -> None:
    start = time.process_time()
    with pytest.raises(ChildTimeoutError, match=r"not finished after 1 s"):
        call(spin, seconds=1)
    assert time.process_time() - start < 0.5  # it is the child's time that counts


def test_a_child_that_ignores_signals() -> None:
    def ignore_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        spin()

    with pytest.raises(ChildTimeoutError):
        call(ignore_signals, seconds=1)


def test_memory_is_limited() -> None:
    with pytest.raises(ChildDiedError, match="ran out of memory"):
        call(lambda: len(bytearray(200 << 20)), megabytes=100)
    assert call(lambda: len(bytearray(50 << 20)), megabytes=100) == 50 << 20


def test_an_overlong_result_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "RESULT_BYTES", 1 << 20)
    with pytest.raises(ChildDiedError, match="longer than 1 MiB"):
        call(lambda: "x" * (3 << 20))


def test_files_have_a_limited_length() -> None:
    def fill() -> int:
        file = os.memfd_create("file")
        with pytest.raises(OSError, match="File too large"):
            while True:
                os.write(file, bytes(1 << 16))
        return os.fstat(file).st_size

    assert call(fill, is_confined=False) <= sandbox.OUTPUT_BYTES


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


def test_the_kernel_limits_the_time() -> None:
    """It ends a looping child even if the parent was killed, and with SIGKILL where the child handles the first signal."""
    assert call(lambda: resource.getrlimit(resource.RLIMIT_CPU), seconds=2, is_confined=False) == [2, 3]


def test_a_child_that_another_process_kills_is_lost() -> None:
    with pytest.raises(ChildLostError, match="killed from outside"):
        call(lambda: signal.raise_signal(signal.SIGKILL))


def test_a_child_that_loses_a_process_is_lost() -> None:
    def lose() -> None:
        raise ChildLostError("killed")

    with pytest.raises(ChildLostError, match="that its child process started was killed from outside"):
        call(lose)


def test_many_calls_in_a_row() -> None:
    assert [call(lambda i=i: i * i) for i in range(50)] == [i * i for i in range(50)]


REFUSED = {
    "open a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "open a socket": lambda: socket.socket(),
    "connect two sockets": lambda: socket.socketpair(),
    "make a file in memory": lambda: os.memfd_create("file"),
    "fork": lambda: os.fork(),
    "start a program": lambda: os.execv("/bin/true", ["true"]),
    "start a thread": lambda: threading.Thread(target=print).start(),
    "signal its parent": lambda: os.kill(os.getppid(), signal.SIGTERM),
    "look at its parent's memory": lambda: trace(os.getppid()),
    "read a link": lambda: str(Path("/proc/self/exe").readlink()),
    "remove a file": lambda: Path("/nonexistent/file").unlink(),
    "make a folder": lambda: Path("/nonexistent/folder").mkdir(),
    "get more descriptors": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10)),
}


def trace(process: int) -> None:
    """Attach to a process, as a debugger does. Raises PermissionError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.ptrace(16, process, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_kernel_refuses(what: str) -> None:
    with pytest.raises(ChildFaultError, match=r"Errno 1\]|Errno 24|can't start new thread|not allowed to raise"):
        call(REFUSED[what])


def test_what_computing_takes_is_allowed() -> None:
    def compute() -> list[int]:
        memory = mmap.mmap(-1, 1 << 20)
        memory[:4] = b"text"
        time.sleep(0.001)
        return [len(memory), len(os.urandom(4)), os.getpid() > 0, int(time.monotonic()) > 0]

    assert call(compute) == [1 << 20, 4, True, True]


LANDLOCK_REFUSES: dict[str, Callable[[], object]] = {
    "read a file": lambda: Path("/etc/passwd").read_text(),
    "list a folder": lambda: list(Path("/etc").iterdir()),
    "write a file": lambda: Path(tempfile.gettempdir(), "written").write_text("x"),
    "make a folder": lambda: Path(tempfile.gettempdir(), "folder").mkdir(),
    "have a program read a file": lambda: subprocess.run(["/bin/cat", "/etc/passwd"], check=True),
}


@pytest.mark.skipif(landlock.find_missing_reason() is not None, reason="the kernel has no Landlock")
@pytest.mark.parametrize("what", LANDLOCK_REFUSES)
def test_what_landlock_refuses_a_child_that_starts_programs(what: str) -> None:
    with pytest.raises(ChildFaultError, match=r"Permission denied|exit status 1"):
        call(LANDLOCK_REFUSES[what], is_confined=False)


@pytest.mark.skipif(landlock.find_missing_reason() is not None, reason="the kernel has no Landlock")
def test_a_child_that_starts_programs_opens_no_connection() -> None:
    if landlock.find_version() < 4:
        pytest.skip("this version of Landlock knows no connections")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with pytest.raises(ChildFaultError, match="Permission denied"):
            call(lambda: socket.create_connection(address).close(), is_confined=False)


def test_a_child_that_is_not_confined_starts_programs() -> None:
    assert call(lambda: subprocess.run(["/bin/true"]).returncode, is_confined=False) == 0
