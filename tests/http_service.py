"""`llmc serve` as a process on loopback, and a client for it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 240
"""How long a client waits: a cold function on a busy machine takes its time."""
TWICE = "int twice(int x) { return 2 * x; }"
RIGHT = "twice:\n\tleal (%rdi,%rdi), %eax\n\tretq\n"
WRONG = "twice:\n\tmovl %edi, %eax\n\tretq\n"


class Reply(NamedTuple):
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RunningServer:
    """A running `llmc serve`."""

    def __init__(self, process: subprocess.Popen[str], port: int, token: str | None, errors: Path) -> None:
        self.process, self.port, self.token, self._errors = process, port, token, errors

    @property
    def said(self) -> str:
        """What it wrote to standard error."""
        return self._errors.read_text()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request on a connection of its own. An iterable of bytes is sent in chunks."""
        connection = self.connect()
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body, {**self.headers(), **kind, **(headers or {})})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def post(self, path: str, content: object, headers: Mapping[str, str] | None = None) -> Reply:
        return self.ask("POST", path, json.dumps(content).encode(), headers)

    def judge(self, *samples: Mapping[str, Any]) -> Reply:
        return self.post("/judge", {"samples": samples})

    def measure(self) -> dict[str, float]:
        """The numbers of /metrics."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        rows = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in rows}

    def wait_for(self, name: str, value: float) -> None:
        """Wait until a number of /metrics has a value."""
        deadline = time.monotonic() + SECONDS
        while self.measure()[name] != value:
            assert time.monotonic() < deadline, f"{name} is {self.measure()[name]}, not {value}"
            time.sleep(0.05)

    def end(self) -> int:
        """End it as an orchestrator does; the value is the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def list_children(self) -> list[int]:
        return list_children(self.process.pid)


def list_children(process: int) -> list[int]:
    """The children of a process, of all its threads."""
    children: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        children += map(int, path.read_text().split())
    return children


def start(*arguments: str, variables: Mapping[str, str] | None = None) -> tuple[subprocess.Popen[str], Path]:
    """Start `llmc serve`; the file has what it writes to standard error."""
    command = [sys.executable, "-m", "pytest_llmcompiler", "serve", *arguments]
    with tempfile.NamedTemporaryFile("w", suffix=".log", delete=False) as errors:
        process = subprocess.Popen(command, stderr=errors, text=True, env={**os.environ, **(variables or {})})
    return process, Path(errors.name)


@contextmanager
def serve(*arguments: str, token: str | None = None) -> Iterator[RunningServer]:
    """Run `llmc serve` on a free port of loopback."""
    process, errors = start("--port", "0", *arguments, variables={"LLMC_SERVE_TOKEN": token} if token else None)
    try:
        deadline = time.monotonic() + SECONDS
        while not (said := re.search(r"listening at http://127\.0\.0\.1:(\d+)", errors.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, errors.read_text()
            time.sleep(0.05)
        server = RunningServer(process, int(said[1]), token, errors)
        while process.poll() is None:
            try:
                server.ask("GET", "/health")
                break
            except ConnectionError:
                time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.wait()
        errors.unlink()


def sample(answer: str = RIGHT, **fields: Any) -> dict[str, Any]:
    """A sample of `twice`, as JSON."""
    return {"source": TWICE, "function": "twice", "answer": answer, **fields}


def fresh_samples(count: int, name: str) -> list[dict[str, Any]]:
    """Samples of as many functions, which nobody has judged before: each takes a while."""
    return [
        {
            "source": f"int {name}{index}(int x) {{ return x * {index + 3}; }}",
            "function": f"{name}{index}",
            "answer": f"{name}{index}:\n\timull ${index + 3}, %edi, %eax\n\tretq\n",
        }
        for index in range(count)
    ]
