"""The confined process: how it is started, told to run, waited for and ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import time
import weakref
from collections.abc import Sequence

from pytest_llmcompiler.emulator.native.build import program_path
from pytest_llmcompiler.emulator.native.messages import (
    EVENT_BYTES,
    Event,
    Mapping,
    read_event,
    write_mapping,
    write_setup,
)
from pytest_llmcompiler.errors import ChildLostError, EngineError

_START_SECONDS = 10.0
"""Time for the process to start, in seconds. It takes a millisecond."""
_WALL_FACTOR = 60.0
"""A run may take so many times its processor time until it is given up: then the machine is too busy to tell."""
_LEAST_WAIT = 0.005
"""Seconds between two looks at the clock of a process that has nearly used up its time."""
_FIRST_FREE = 3
"""The first descriptor behind the standard streams."""
_PROCESSOR_CLOCK = 2
"""The kind of clock that counts a process's time on processors, in the number of a clock (Linux's posix-timers.h)."""


class ProcessEndedError(EngineError):
    """The confined process is gone: foreign code ended it, or said what is no event."""


class OutOfTimeError(EngineError):
    """Foreign code has run for longer than it may; the process is killed."""


class ConfinedProcess:
    """A process that runs foreign code, from its start to its end."""

    def __init__(self, memory: int, mappings: Sequence[Mapping], thread_pointer: int) -> None:
        """`memory` is the descriptor of the memory file. Raises EngineError, and ChildLostError as `wait` does."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        with theirs:
            self._pid = _spawn(theirs.fileno(), memory)
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self._clock = ~self._pid << 3 | _PROCESSOR_CLOCK
        self._end = weakref.finalize(self, _end, self._pid, ours, os.getpid())
        try:
            self._send(write_setup(thread_pointer, len(mappings), os.getpid()))
            for mapping in mappings:
                self._send(write_mapping(mapping))
            self.wait(_START_SECONDS)
        except EngineError as error:
            self.close()
            raise EngineError(f"the confined process does not start: {error}") from error

    @property
    def pid(self) -> int:
        """Its process number; 0 when it is gone."""
        return self._pid

    def order(self, message: bytes) -> None:
        """Send an order. Raises ProcessEndedError and ChildLostError."""
        self._send(message)

    def wait(self, seconds: float) -> Event:
        """The next event, before the process has used so many seconds of a processor.

        Raises OutOfTimeError, and ProcessEndedError where the process ends or says what is no event. Raises
        ChildLostError where the machine did not let it go on, or another process killed it.
        """
        most = _WALL_FACTOR * seconds
        give_up = time.monotonic() + most
        left, start = seconds, self._used_seconds()
        while not self._poll.poll(max(left, _LEAST_WAIT) * 1000):
            left = seconds - (self._used_seconds() - start)
            if left <= 0:
                self.close()
                raise OutOfTimeError("its time is used up")
            if time.monotonic() > give_up:
                self.close()
                raise ChildLostError(f"the machine did not let the confined process finish within {most:.2g} s")
        try:
            event = read_event(self._socket.recv(EVENT_BYTES + 1))
        except OSError:
            event = None
        if event is None:
            raise self._reap()
        return event

    def close(self) -> None:
        """Kill the process."""
        self._reap()

    def _send(self, message: bytes) -> None:
        try:
            self._socket.send(message)
        except OSError:
            raise self._reap() from None

    def _used_seconds(self) -> float:
        with contextlib.suppress(OSError):
            return time.clock_gettime(self._clock)
        return 0.0

    def _reap(self) -> ProcessEndedError | ChildLostError:
        """The error that says how the process ended. One that still runs is killed: it says what it must not."""
        if not self._pid:
            return ProcessEndedError("it ended in an earlier run")
        has_ended = any(events & select.POLLHUP for _, events in self._poll.poll(0))  # it can't close its socket
        status = self._end() or 0
        self._pid = 0
        if not os.WIFSIGNALED(status):
            return ProcessEndedError(f"it ends with status {os.WEXITSTATUS(status)}")
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and has_ended:
            return ChildLostError("the confined process was killed from outside, perhaps since memory is short")
        return ProcessEndedError(f"it ends with {signal.Signals(number).name}")


def _end(pid: int, ours: socket.socket, owner: int) -> int:
    """Kill and reap a process of this one, and close the socket to it. Returns its status."""
    if owner != os.getpid():  # a forked child has the objects, and neither the process nor the descriptor
        ours.detach()
        return 0
    with ours, contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, 0)[1]
    return 0


def _spawn(theirs: int, memory: int) -> int:
    """Start the program with two descriptors. It has no other one of this process."""
    descriptors: list[int] = []
    try:
        path = str(program_path())
        for descriptor in (theirs, memory):  # away from the numbers that they get
            descriptors.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE))
        actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(descriptors)]
        return os.posix_spawn(path, ["confined"], {}, file_actions=actions)
    except OSError as error:
        raise EngineError(f"the confined process can't be started: {error}") from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
