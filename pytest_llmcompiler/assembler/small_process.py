"""A small process that forks the children in which assemblers run, beside a process that has grown large.

A fork copies the tables of all pages of a process, and afterwards both copy each page that one of them writes to: a
judge process with a hundred functions takes ten times as long for it as the child takes for its text. So such a process
forks once, while it is still small, and has the other one fork from then on. What runs in the children, and their
limits, are the same.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.errors import ChildLostError, SandboxError

_Result = TypeVar("_Result")
_GRACE_SECONDS = 10.0
"""Time that the process may take beyond the limit of its child."""
_SIZE = struct.Struct("<Q")


class SmallProcess:
    """The process. It is forked at once, and ends with the thread that forks it. Thread-safe."""

    def __init__(self) -> None:
        self._owner, self._lock = os.getpid(), threading.Lock()
        self._connection, theirs = socket.socketpair()
        self._pid = sandbox.fork()
        if self._pid == 0:
            _serve(theirs, self._owner)
        theirs.close()
        self._has_ended = False

    @property
    def is_usable(self) -> bool:
        """Whether the process runs, and belongs to this one: a forked child must not use its parent's."""
        return self._owner == os.getpid() and not self._has_ended

    def call(self, function: Callable[..., _Result], *args: Any, seconds: float) -> _Result:
        """The result of a function of a module, called in the process, where it forks a child with so many seconds of
        CPU time. Arguments, result and errors are pickled: no byte of them may be written by hostile code itself.

        Raises SandboxError as the function does, ChildLostError where the process does not answer, and OSError or
        EOFError where it is gone.
        """
        with self._lock:
            try:
                self._connection.settimeout(sandbox.WALL_SECONDS * seconds + _GRACE_SECONDS)
                _send(self._connection, (function, args))
                result, failure = _receive(self._connection)
            except TimeoutError:
                self.close()
                raise ChildLostError("the process that forks for assemblers does not answer") from None
            except (OSError, EOFError):
                self.close()
                raise
        if failure is not None:
            raise _rebuild(*failure)
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        if self.is_usable:
            self._has_ended = True
            self._connection.close()
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


_PRESENT: list[SmallProcess] = []
"""That of this process, if it has started one."""


def start_small_process() -> None:
    """Have all further children for assemblers forked by a process that is forked now."""
    _PRESENT[:] = [SmallProcess()]


def call_in_small_process(function: Callable[..., _Result], *args: Any, seconds: float) -> _Result:
    """The result of a function of a module that forks a child with so many seconds of CPU time: called in the small
    process where there is one, else in this one. Raises SandboxError as the function does."""
    process = next((one for one in _PRESENT if one.is_usable), None)
    if process is not None:
        try:
            return process.call(function, *args, seconds=seconds)
        except (OSError, EOFError):
            pass  # it was killed
    return function(*args)


def _serve(connection: socket.socket, parent: int) -> NoReturn:
    """Call what the parent asks for, until it ends."""
    try:
        sandbox.end_with(parent)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        sandbox.close_descriptors({0, 1, 2, connection.fileno()})
        while True:
            function, args = _receive(connection)
            reply: tuple[Any, Any]
            try:
                reply = function(*args), None
            except SandboxError as error:
                reply = None, (type(error), error.args, vars(error))
            _send(connection, reply)
    finally:
        os._exit(0)


def _rebuild(kind: type[SandboxError], args: tuple[Any, ...], facts: dict[str, Any]) -> SandboxError:
    """An error of the other process. Some kinds take other arguments than those that they keep."""
    error = kind.__new__(kind)
    error.args = args
    vars(error).update(facts)
    return error


def _send(connection: socket.socket, value: Any) -> None:
    data = pickle.dumps(value)
    connection.sendall(_SIZE.pack(len(data)) + data)


def _receive(connection: socket.socket) -> Any:
    (size,) = _SIZE.unpack(_receive_bytes(connection, _SIZE.size))
    return pickle.loads(_receive_bytes(connection, size))


def _receive_bytes(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("the process that forks for assemblers has ended")
        data += part
    return bytes(data)
