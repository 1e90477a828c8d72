"""One judge process, as its client sees it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable

from pytest_llmcompiler.errors import JudgeError
from pytest_llmcompiler.files import cache_folder
from pytest_llmcompiler.judge.messages import Envelope, Reply, Request
from pytest_llmcompiler.subprocesses import build_command

_REPLY_SECONDS = 1800
"""Time limit for a reply. It is a last resort: compiling, linking, generating inputs and running have limits of their
own, which add up to less."""
_ATTEMPTS = 3
"""How often a request is sent, where the process dies of it: a kill from outside loses no sample, and a request that
ends every process is not repeated for ever."""
_CHUNK_BYTES = 1 << 16
"""The most bytes that are read from the process at once: what a pipe of Linux holds."""


class JudgeWorker:
    """A judge process, which is started when a request needs it, and again when it has died.

    One thread at a time may exchange. Any thread may close. What a thread that is interrupted leaves unread is lost
    with the process, so that no reply is taken for that of another request.
    """

    def __init__(self) -> None:
        self.prepared: frozenset[str] = frozenset()
        """The keys of the functions that the process has ready."""
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = bytearray()
        self._lock = threading.Lock()
        """Held to start the process, and to close."""
        self._is_exchanging = self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The number of the process; None where none runs."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def exchange(self, request: Request, on_prepared: Callable[[], None]) -> Reply:
        """Send a request and wait for the reply. `on_prepared` is called when the process says that the function of the
        request is ready, which it says only if it was not so before.

        Raises JudgeError where there is no reply, or where another thread closes.
        """
        item = f"{request['candidate']['case']}::{request['candidate']['function']}"
        line = json.dumps(request).encode() + b"\n"
        self._is_exchanging = True
        try:
            for _ in range(_ATTEMPTS):
                reply = self._send(self._start(item), line, item, on_prepared)
                if reply is not None:
                    return reply
                self._discard()
            raise JudgeError(f"the judge's process died {_ATTEMPTS} times on {item}")
        except BaseException:
            self._discard()
            raise
        finally:
            self._is_exchanging = False

    def close(self) -> None:
        """End the process for good. A thread that waits for a reply gets a JudgeError."""
        with self._lock:
            self._is_closed = True
            if self._process:
                self._process.kill()
        if not self._is_exchanging:  # otherwise the thread that exchanges does it, since it reads the pipe
            self._discard()

    def abandon(self) -> None:
        """Forget the process in a forked child: it is the parent's."""
        process, self._process = self._process, None
        if process:
            process.returncode = 0  # it is no child of this process, which so need not wait for it
            _close_pipes(process)

    def _start(self, item: str) -> subprocess.Popen[bytes]:
        """The running process. Raises JudgeError after `close`."""
        with self._lock:
            if self._is_closed:
                raise JudgeError(f"the judge was closed before there was a verdict on {item}")
            if self._process and self._process.poll() is not None:
                self._discard()
            if self._process is None:
                self._process = subprocess.Popen(
                    build_command("pytest_llmcompiler.judge.server"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, **_environment()},
                    bufsize=0,  # a forked child must not write what its parent has in a buffer
                )
            return self._process

    def _send(
        self, process: subprocess.Popen[bytes], line: bytes, item: str, on_prepared: Callable[[], None]
    ) -> Reply | None:
        """The reply to a request; None where the process dies. Raises JudgeError after the time limit."""
        assert process.stdin
        deadline = time.monotonic() + _REPLY_SECONDS
        with contextlib.suppress(BrokenPipeError):
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(process.stdin.fileno(), rest) :]
        while True:
            text = self._read_line(process, deadline, item)
            if text is None:
                return None
            envelope: Envelope = json.loads(text)
            self.prepared = frozenset(envelope["prepared"])
            if envelope["reply"] is not None:
                return envelope["reply"]
            on_prepared()

    def _read_line(self, process: subprocess.Popen[bytes], deadline: float, item: str) -> bytes | None:
        """The next line of the process; None where it ends before. Raises JudgeError at the deadline."""
        assert process.stdout
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        searched = 0
        while (end := self._unread.find(b"\n", searched)) < 0:
            searched = len(self._unread)
            if not poll.poll(max(0, math.ceil((deadline - time.monotonic()) * 1000))):
                raise JudgeError(f"no reply for {item} within {_REPLY_SECONDS} s")
            chunk = os.read(process.stdout.fileno(), _CHUNK_BYTES)
            if not chunk:
                return None
            self._unread += chunk
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def _discard(self) -> None:
        """End the process, if one runs, and free what belongs to it."""
        process, self._process = self._process, None
        self.prepared = frozenset()
        self._unread.clear()
        if process:
            process.kill()
            process.wait()
            _close_pipes(process)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def _environment() -> dict[str, str]:
    """The variables of the judge's process: hypothesis keeps its files out of the user's folder."""
    return {"HYPOTHESIS_STORAGE_DIRECTORY": str(cache_folder() / "hypothesis")}
