"""Run one function in a forked child process that may crash, hang, print or exhaust memory without harm to its parent.

The child runs assemblers, LLVM and the emulator on hostile input, which may take it over: its code then does what the
input wants, with the rights of the user. What limits such a child:

- It has no open files but its result pipe and an output file of limited length in memory.
- Its memory, its CPU time and the length of files that it writes are limited by the kernel.
- It is killed at a deadline of wall-clock time, whatever it does with signals.
- Its result is read as JSON, which can't do anything but be read, and has a limit of its own.
- The kernel gives it no further file, and no system call but those that computing takes (`seccomp.py`). It also refuses
  it files, TCP connections and signals to others by a second part of it (`landlock.py`).
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import faulthandler
import gc
import json
import math
import os
import resource
import select
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pytest_llmcompiler import landlock, seccomp
from pytest_llmcompiler.errors import ChildDiedError, ChildFaultError, ChildLostError, ChildTimeoutError

RESULT_BYTES = 256 << 20
"""A child is killed whose encoded result is longer than this, in bytes. The limit bounds the memory of the parent."""
OUTPUT_BYTES = 1 << 20
"""The longest file that a child can write, in bytes, where nothing else is said. Its output to stdout and stderr is
such a file."""
_CHUNK_BYTES = 1 << 20
"""The most bytes that are read from the result pipe at once."""
_TRACEBACK_CHARACTERS = 100_000
"""The end of a fault's message and traceback that travels to the parent."""
WALL_SECONDS = 10
"""Seconds of wall-clock time that a child has for each second of CPU time: other processes need the cores too, and how
many they are may have no say in a verdict."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
_BYTES_KEY = "$base64"
"""The one key of the JSON object that stands for bytes."""


class _Limits(NamedTuple):
    """What a child may take, as for `call`."""

    seconds: int
    megabytes: int
    file_bytes: int
    is_confined: bool
    programs: Sequence[Path]


def call(
    function: Callable[..., Any],
    *args: Any,
    seconds: int,
    megabytes: int,
    file_bytes: int = OUTPUT_BYTES,
    is_confined: bool = True,
    programs: Sequence[Path] = (),
) -> Any:
    """Return `function(*args)`, computed in a forked child of this process. Other threads of this process must not hold
    what the function needs, such as a lock inside LLVM.

    The result travels as JSON: it may consist of numbers, strings, None, lists, dicts with string keys, and bytes.
    Tuples come back as lists. The child gets at most `seconds` of CPU time, and `megabytes` MiB of address space on
    top of that which this process has now. It can write no file that is longer than `file_bytes`. Only a child that is
    not confined can open files or start programs: those of the toolchain and of the cache, to read them, and these
    `programs`.

    Raises ChildDiedError, ChildTimeoutError at the limit of CPU time, ChildLostError where the machine did not let the
    child finish or the function raises it, and ChildFaultError for any other exception in the function.
    """
    deadline = time.monotonic() + WALL_SECONDS * seconds
    parent = os.getpid()
    seccomp.prepare()
    landlock.find_missing_reason()
    if not is_confined:
        landlock.list_installed()  # which the child would find out anew
    result_read, result_write = os.pipe()
    output = os.memfd_create("sandbox-output")
    try:
        pid = fork()
        if pid == 0:
            limits = _Limits(seconds, megabytes, file_bytes, is_confined, programs)
            _run_child(function, args, parent, result_write, output, limits)
        try:
            os.close(result_write)
            result_write = -1
            data, status = _wait_for_child(pid, result_read, deadline)
        except BaseException:
            _kill_child(pid)
            raise
        printed = os.pread(output, OUTPUT_BYTES, 0).decode("utf-8", "replace")
    finally:
        for descriptor in (result_read, result_write, output):
            if descriptor >= 0:
                os.close(descriptor)
    if status is None:
        raise ChildLostError(f"the machine did not let its child process finish within {WALL_SECONDS * seconds} s")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        raise ChildTimeoutError(seconds)
    return _read_result(data, status, printed)


def fork() -> int:
    """Fork this process, without the warning of Python 3.12 that there are other threads."""
    if threading.active_count() == 1:
        return os.fork()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _run_child(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    parent: int,
    result: int,
    output: int,
    limits: _Limits,
) -> NoReturn:
    """Compute and write the result, and exit without any clean-up, since the objects are the parent's."""
    try:
        gc.disable()
        faulthandler.disable()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_with(parent)
        os.dup2(output, 1)
        os.dup2(output, 2)
        close_descriptors({1, 2, result})
        _set_limits(limits)
        landlock.restrict(() if limits.is_confined else landlock.allow_programs(limits.programs))
        if limits.is_confined:
            _confine()
        message = _build_message(function, args)
        while message:
            message = message[os.write(result, message) :]
        os._exit(0)
    finally:
        os._exit(1)


def end_with(parent: int) -> None:
    """Have the kernel kill this process with its parent: with the thread that forked it, which waits for its result."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _confine() -> None:
    """Make the kernel refuse this process every further file descriptor, and all that computing does not take."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    seccomp.give_up_system_calls()


def allow_standard_streams_only() -> None:
    """Make the kernel refuse every file descriptor but 0, 1 and 2: for a process that is about to start a program."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def close_descriptors(kept: Set[int]) -> None:
    """Close all other descriptors: the parent's terminal, files and pipes."""
    with os.scandir("/proc/self/fd") as entries:
        descriptors = {int(entry.name) for entry in entries}
    for descriptor in descriptors - kept:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _set_limits(limits: _Limits) -> None:
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    values = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + (limits.megabytes << 20),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits.file_bytes,
    }
    for kind, value in values.items():
        value = _limit_by(kind, value)
        resource.setrlimit(kind, (value, value))
    # SIGXCPU comes first, which the parent knows by, and SIGKILL a second later where the child has a handler for it.
    most = _limit_by(resource.RLIMIT_CPU, limits.seconds + 1)
    resource.setrlimit(resource.RLIMIT_CPU, (min(limits.seconds, most), most))


def _limit_by(kind: int, value: int) -> int:
    """A limit that is not above the hard limit of this process."""
    hard = resource.getrlimit(kind)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _build_message(function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """The child's message: its result, the text of an exception, or the note that memory ran out or that the machine
    did not let it finish."""
    try:
        return json.dumps({"value": function(*args)}, default=_encode_bytes).encode()
    except MemoryError:
        return b'{"memory": true}'
    except ChildLostError:
        return b'{"lost": true}'
    except Exception as error:
        text = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        return json.dumps({"error": text[-_TRACEBACK_CHARACTERS:]}).encode()


def _encode_bytes(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return {_BYTES_KEY: base64.b64encode(value).decode()}
    raise TypeError(f"a sandboxed function returned a {type(value).__name__}")


def _decode_bytes(value: dict[str, Any]) -> Any:
    if len(value) == 1 and _BYTES_KEY in value:
        return base64.b64decode(value[_BYTES_KEY])
    return value


def _wait_for_child(pid: int, result: int, deadline: float) -> tuple[bytes, int | None]:
    """The bytes of the child's message, and its wait status: None where it was killed at the deadline.

    The child is reaped in each case.
    """
    exit_descriptor = os.pidfd_open(pid)
    try:
        data = bytearray()
        while _wait_until_readable(result, deadline):
            chunk = os.read(result, _CHUNK_BYTES)
            if not chunk:
                break
            data += chunk
            if len(data) > RESULT_BYTES:
                return bytes(data), _kill_child(pid)
        if _wait_until_readable(exit_descriptor, deadline):
            return bytes(data), os.waitpid(pid, 0)[1]
    finally:
        os.close(exit_descriptor)
    _kill_child(pid)
    return b"", None


def _wait_until_readable(descriptor: int, deadline: float) -> bool:
    """Wait for data or the end of a pipe, or for the end of a process; False at the deadline."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0, math.ceil((deadline - time.monotonic()) * 1000))))


def _kill_child(pid: int) -> int:
    """Kill the child and reap it. Returns its wait status, 0 if it was reaped before."""
    try:
        os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]
    except (ProcessLookupError, ChildProcessError):
        return 0


def _read_result(data: bytes, status: int, printed: str) -> Any:
    """The result in a child's message. Raises ChildDiedError, ChildLostError and ChildFaultError."""
    if len(data) > RESULT_BYTES:
        raise ChildDiedError(f"its result is longer than {RESULT_BYTES >> 20} MiB", stderr=printed)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL:
            raise ChildLostError("its child process was killed from outside, perhaps since memory is short")
        raise ChildDiedError(f"ended by {signal.Signals(number).name}", signal=number, stderr=printed)
    if status != 0:
        code = os.WEXITSTATUS(status)
        raise ChildDiedError(f"exited with status {code}", status=code, stderr=printed)
    try:
        message = json.loads(data, object_hook=_decode_bytes)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise ChildDiedError("left no readable result", status=0, stderr=printed)
    if "lost" in message:
        raise ChildLostError("a process that its child process started was killed from outside, or got too little time")
    if "error" in message:
        raise ChildFaultError(str(message["error"]))
    if "value" not in message:
        raise ChildDiedError("ran out of memory", status=0, stderr=printed)
    return message["value"]
