"""Run one function in a forked child that may die, hang, print, or eat memory without harm."""

from __future__ import annotations

import base64
import contextlib
import faulthandler
import gc
import json
import math
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pytest_llmcompiler.errors import ChildDiedError, ChildFaultError, ChildTimeoutError

RESULT_BYTES = 256 << 20
"""A child whose encoded result is longer than this is killed."""
OUTPUT_BYTES = 1 << 20
"""What a child prints beyond this is lost; no file it writes can become longer."""

_BYTES_KEY = "$base64"


def call(function: Callable[..., Any], *args: Any, seconds: float, megabytes: int) -> Any:
    """Return `function(*args)`, computed in a forked child of this (single-threaded) process.

    The result travels as JSON, since a child that hostile input has corrupted must not hand over anything
    that acts when it is read: numbers, strings, None, lists, dicts with string keys, and bytes; tuples
    come back as lists. The child gets at most `seconds` of wall clock and `megabytes` on top of the address
    space that this process has now. Raises Died, TimedOut, or Fault for an exception in the function.
    """
    deadline = time.monotonic() + seconds
    result_read, result_write = os.pipe()
    output = os.memfd_create("sandbox-output")
    try:
        pid = os.fork()
        if pid == 0:
            _child(function, args, result_write, output, seconds, megabytes)
        try:
            os.close(result_write)
            result_write = -1
            data, status = _wait(pid, result_read, deadline)
        except BaseException:
            _kill(pid)
            raise
        printed = os.pread(output, OUTPUT_BYTES, 0).decode("utf-8", "replace")
    finally:
        for descriptor in (result_read, result_write, output):
            if descriptor >= 0:
                os.close(descriptor)
    if status is None:
        raise ChildTimeoutError(seconds)
    return _result(data, status, printed)


def _child(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    result: int,
    output: int,
    seconds: float,
    megabytes: int,
) -> NoReturn:
    """Compute, write the message, and leave without any clean-up of the parent's objects."""
    try:
        gc.disable()
        faulthandler.disable()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.dup2(output, 1)
        os.dup2(output, 2)
        _close_others(result)
        _limit(seconds, megabytes)
        message = _encode(function, args)
        while message:
            message = message[os.write(result, message) :]
        os._exit(0)
    finally:
        os._exit(1)


def forbid_opening_files() -> None:
    """Make the kernel refuse every further file descriptor to this process, whatever a hostile text asks for."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def allow_standard_streams_only() -> None:
    """Make the kernel refuse every file descriptor but 0, 1 and 2: for a process that is about to start a program."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def _close_others(result: int) -> None:
    """Close what the parent had open: a terminal, its pipes to other processes."""
    with os.scandir("/proc/self/fd") as entries:
        descriptors = {int(entry.name) for entry in entries}
    for descriptor in descriptors - {1, 2, result}:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _limit(seconds: float, megabytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    space = pages * resource.getpagesize() + (megabytes << 20)
    # The CPU limit ends an endless loop whose parent was killed.
    cpu = math.ceil(seconds) + 1
    for kind, value in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, OUTPUT_BYTES),
        (resource.RLIMIT_CPU, cpu),
    ):
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def _encode(function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    try:
        return json.dumps({"value": function(*args)}, default=_encode_bytes).encode()
    except MemoryError:
        return b'{"memory": true}'
    except Exception as error:
        text = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        return json.dumps({"error": text[-100_000:]}).encode()


def _encode_bytes(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return {_BYTES_KEY: base64.b64encode(value).decode()}
    raise TypeError(f"a sandboxed function returned a {type(value).__name__}")


def _decode_bytes(value: dict[str, Any]) -> Any:
    if len(value) == 1 and _BYTES_KEY in value:
        return base64.b64decode(value[_BYTES_KEY])
    return value


def _wait(pid: int, result: int, deadline: float) -> tuple[bytes, int | None]:
    """What the child wrote, and its wait status once reaped: None where it had to be killed for its time."""
    exited = os.pidfd_open(pid)
    try:
        data = bytearray()
        while _ready(result, deadline):
            chunk = os.read(result, 1 << 20)
            if not chunk:
                break
            data += chunk
            if len(data) > RESULT_BYTES:
                return bytes(data), _kill(pid)
        if _ready(exited, deadline):
            return bytes(data), os.waitpid(pid, 0)[1]
    finally:
        os.close(exited)
    _kill(pid)
    return b"", None


def _ready(descriptor: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0, math.ceil((deadline - time.monotonic()) * 1000))))


def _kill(pid: int) -> int:
    """Kill the child and reap it; return its wait status (0 if it was reaped before)."""
    try:
        os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]
    except (ProcessLookupError, ChildProcessError):
        return 0


def _result(data: bytes, status: int, printed: str) -> Any:
    if len(data) > RESULT_BYTES:
        raise ChildDiedError(f"its result is longer than {RESULT_BYTES >> 20} MiB", stderr=printed)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
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
    if "error" in message:
        raise ChildFaultError(str(message["error"]))
    if "value" not in message:
        raise ChildDiedError("ran out of memory", status=0, stderr=printed)
    return message["value"]
