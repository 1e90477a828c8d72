"""One judge process, as the thread that serves its pool sees it. Nothing here waits."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Iterator

from pytest_llmcompiler.errors import JudgeError
from pytest_llmcompiler.files import cache_folder
from pytest_llmcompiler.judge.source_texts import choose_folder
from pytest_llmcompiler.judge.ticket import Ticket
from pytest_llmcompiler.program.file_cache import FileState
from pytest_llmcompiler.subprocesses import build_command

_CHUNK_BYTES = 1 << 16
"""The most bytes that are read from the process at once: what a pipe of Linux holds."""


class JudgeWorker:
    """A judge process. It is started at once; raises JudgeError where it can't be.

    It is the leader of a process group, so that compilers, the engine and all other children can be ended with it.
    """

    def __init__(self, processes: int) -> None:
        """`processes`: how many its pool may have."""
        command = build_command("pytest_llmcompiler.judge.server", [str(processes)], folder=choose_folder())
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_environment()},
                bufsize=0,  # a forked child must not write what its parent has in a buffer
                start_new_session=True,
            )
        except OSError as error:
            raise JudgeError(f"a judge process can't be started: {error}") from error
        assert self._process.stdin and self._process.stdout
        self.input, self.output = self._process.stdin.fileno(), self._process.stdout.fileno()
        """The descriptors of the pipes to and from the process."""
        os.set_blocking(self.input, False)
        os.set_blocking(self.output, False)
        self._unsent, self._unread = bytearray(), bytearray()
        self.sent: deque[Ticket] = deque()
        """The requests that the process has. It is at work on the first one."""
        self.prepared: frozenset[str] = frozenset()
        """The keys of the functions that the process has ready."""
        self.preparing: str | None = None
        """The key of the function that it was sent a request for, while it does not have that ready."""
        self.last_case = ""
        """The key of the case that it compiled last."""
        self.began = 0.0
        """When it began with the first request, or with what it does for it now."""
        self.has_started = False
        """Whether it is ready for requests."""
        self.is_judging = False
        """Whether it is at work on the text of the first request: it neither starts, nor prepares the function."""
        self.files: dict[str, tuple[FileState, ...]] = {}
        """The files of the functions that it has ready, by key."""

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def was_killed(self) -> bool:
        """Whether a signal has ended it, not an error of its own."""
        return self._process.returncode is not None and self._process.returncode < 0

    @property
    def has_unsent(self) -> bool:
        """Whether the pipe to the process is full, and `flush` is to be called when it is not."""
        return bool(self._unsent)

    def send(self, ticket: Ticket) -> None:
        """Send a request."""
        self.sent.append(ticket)
        self._unsent += ticket.encode()
        self.flush()

    def flush(self) -> None:
        """Write as much as the pipe takes. What a process that has died did not read shows where its output ends."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._unsent:
                del self._unsent[: os.write(self.input, self._unsent)]

    def read(self) -> Iterator[bytes]:
        """The lines that the process has written. Raises EOFError at the end of its output."""
        while True:
            try:
                chunk = os.read(self.output, _CHUNK_BYTES)
            except BlockingIOError:
                return
            if not chunk:
                raise EOFError
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                yield bytes(self._unread + line)
                self._unread.clear()
            self._unread += rest
            if len(chunk) < _CHUNK_BYTES:
                return

    def note_files(self, files: tuple[FileState, ...]) -> None:
        """The function of the first request is ready, and was compiled from these files."""
        self.files[self.sent[0].function] = files
        for function in self.files.keys() - self.prepared:
            del self.files[function]

    def end(self) -> None:
        """End the process with all that it has started, and free what belongs to it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # before it is waited for: its number is not another's
        self._process.kill()  # it may not have become the leader of its group yet
        self._process.wait()
        self._close_pipes()

    def abandon(self) -> None:
        """Forget the process in a forked child: it is the parent's."""
        self._process.returncode = 0  # it is no child of this process, which so need not wait for it
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()


def _environment() -> dict[str, str]:
    """The variables of the judge's process: hypothesis keeps its files out of the user's folder."""
    return {"HYPOTHESIS_STORAGE_DIRECTORY": str(cache_folder() / "hypothesis")}
