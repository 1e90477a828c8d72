"""Runs of the toolchain's commands, which read and write files in memory.

A command starts at once. Its result is waited for where it is asked for, so that several commands, and Python, run side
by side without a thread: a process with threads can't be forked safely.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from pytest_llmcompiler.errors import ClangError

_TIMEOUT_SECONDS = 600
"""Limit of one call of the toolchain. None takes as long by itself, but many processes may share few cores."""
_ADDRESS_BYTES = 4 << 30
"""Address space of each process of the toolchain. A few lines of macros can make clang take all memory there is."""


_Result = TypeVar("_Result")


class ToolOutput(NamedTuple):
    """What a command of the toolchain wrote."""

    stdout: bytes
    stderr: bytes


class ToolRun:
    """A command of the toolchain that has been started."""

    def __init__(
        self,
        command: Sequence[str],
        stdin: bytes | None = None,
        *,
        descriptors: Sequence[int] = (),
        variables: Mapping[str, str] | None = None,
        folder: str | None = None,
    ) -> None:
        """Start the command with a text as its standard input, with open files, more environment variables, and in a
        folder. Raises ClangError."""
        self._name, self._owner = command[0], os.getpid()
        self._output = os.memfd_create("tool-output")
        try:
            with open_in_memory([stdin or b""]) as inputs:
                self._process = subprocess.Popen(
                    command,
                    stdin=inputs[0],
                    stdout=self._output,
                    stderr=subprocess.PIPE,
                    pass_fds=descriptors,
                    env={**os.environ, **variables} if variables else None,
                    cwd=folder,
                )
        except OSError as error:
            os.close(self._output)
            raise ClangError(f"{self._name} can't be run: {error}") from error
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            _limit_memory(self._process.pid)

    def result(self) -> ToolOutput:
        """Wait for the end of the command. To be called once. Raises ClangError with its standard error."""
        try:
            # Nothing but standard error is a pipe. Its end is that of the command.
            _, stderr = self._process.communicate(timeout=_TIMEOUT_SECONDS)
            stdout = read_descriptor(self._output)
        except subprocess.TimeoutExpired as error:
            raise ClangError(f"{self._name} took more than {_TIMEOUT_SECONDS} s") from error
        finally:
            self.cancel()
        if self._process.returncode:
            message = stderr.decode(errors="replace").strip()
            raise ClangError(message or f"{self._name} exited with status {self._process.returncode} and no message")
        return ToolOutput(stdout, stderr)

    def cancel(self) -> None:
        """End the command, if it still runs, and free what it has."""
        if self._output < 0 or self._owner != os.getpid():  # in a forked child the process is the parent's
            return
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()
        os.close(self._output)
        self._output = -1

    def __del__(self) -> None:
        if hasattr(self, "_process"):  # else it could not be started
            self.cancel()


def _limit_memory(process: int) -> None:
    """Limit a process, and those that it will start."""
    _, hard = resource.prlimit(process, resource.RLIMIT_AS)
    limit = _ADDRESS_BYTES if hard == resource.RLIM_INFINITY else min(_ADDRESS_BYTES, hard)
    resource.prlimit(process, resource.RLIMIT_AS, (limit, hard))


class Background(Generic[_Result]):
    """Work of the toolchain that goes on while Python does something else.

    `start` starts it, and returns the function that waits for its end and returns the result.
    """

    def __init__(self, start: Callable[[], Callable[[], _Result]]) -> None:
        self._start, self._owner = start, os.getpid()
        self._finish: Callable[[], _Result] | None = start()

    def result(self) -> _Result:
        """The result, which is not kept. The work is done again for a second call, and in a forked child, to which the
        commands do not belong."""
        finish, self._finish = self._finish, None
        return finish() if finish and self._owner == os.getpid() else self._start()()


def run_tool(
    command: Sequence[str],
    stdin: bytes | None = None,
    *,
    descriptors: Sequence[int] = (),
    variables: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> ToolOutput:
    """Run a command of the toolchain to its end. Raises ClangError with the command's standard error."""
    return ToolRun(command, stdin, descriptors=descriptors, variables=variables, folder=folder).result()


@contextmanager
def open_in_memory(contents: Sequence[bytes]) -> Iterator[list[int]]:
    """Files in memory, as descriptors that are closed at the end of the `with` block. `name_descriptor` gives the name
    by which a command that inherits one opens it."""
    descriptors: list[int] = []
    try:
        for data in contents:
            descriptors.append(os.memfd_create("tool-input"))
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptors[-1], rest) :]
            os.lseek(descriptors[-1], 0, os.SEEK_SET)
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def name_descriptor(descriptor: int) -> str:
    """The name of an inherited open file."""
    return f"/proc/self/fd/{descriptor}"


def read_descriptor(descriptor: int) -> bytes:
    """The contents of an open file in memory."""
    parts, offset = [], 0
    while part := os.pread(descriptor, os.fstat(descriptor).st_size - offset, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
