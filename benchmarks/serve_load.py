"""`llmc serve` under load: clients at once on loopback, each with one batch after another.

    python benchmarks/serve_load.py [--clients 200] [--seconds 30] [--samples 2] [--requests 20000] [--workers N]
    python benchmarks/serve_load.py --clients 20 --seconds 600 --requests 1000 --kill-every 5

The samples are the recorded answers of tests/faults/git_lfs.jsonl, right and wrong ones; each gets a comment of its
own, so that no two are the same text. Every answer must have a verdict of the recorded kind for each sample. A client
whose request is refused with 429 waits as long as the answer says, and asks again. Each tenth client takes its verdicts
as lines. With `--kill-every`, a judge process or the server itself is killed (SIGKILL) at random times; the server is
started again, and clients ask again where a connection breaks.

At the end stand the requests, the latencies, the memory and what /metrics says. The exit status is 1 where a request
was lost or a verdict was another one.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FAULTS, SOURCE = ROOT / "tests" / "faults" / "git_lfs.jsonl", ROOT / "cases" / "git_lfs.c"
TOKEN = "load-test-of-loopback"
_WAIT_SECONDS = 900
"""How long a client waits for one answer: longer than the whole queue takes, so that a time-out is a lost request."""


@dataclass
class LoadResult:
    """What the clients saw. Shared by all threads."""

    seconds: list[float] = field(default_factory=list)
    """Of each answered request, from its first byte to the last one of the answer, without refusals."""
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)
    refused: int = 0
    broken: int = 0
    """Connections that broke since the server was killed; the requests were sent again."""
    lost: list[str] = field(default_factory=list)
    """Requests without a whole answer, with the reason."""
    changed: list[str] = field(default_factory=list)
    """Verdicts of another kind than the recorded one."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Load:
    """What all clients have to send."""

    size: int
    """Samples of a request."""
    requests: Iterator[int]
    """The numbers of the requests. Read with the lock of the result."""
    end: float
    """The time, of the monotonic clock, after which no further request is sent."""


class LoadClient(threading.Thread):
    """One client, which sends batches over one connection until the time or the number of requests is used up."""

    def __init__(self, server: LoadServer, number: int, load: Load, result: LoadResult) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_WAIT_SECONDS)
        self._server, self._load, self._result = server, load, result
        self._is_streamed = number % 10 == 0

    def run(self) -> None:
        size = self._load.size
        while time.monotonic() < self._load.end:
            with self._result.lock:
                request = next(self._load.requests, None)
            if request is None:
                break
            chosen = [RECORDED[(request * size + index) % len(RECORDED)] for index in range(size)]
            samples = [build_sample(record, f"{request}.{index}") for index, record in enumerate(chosen)]
            try:
                self._judge(chosen, samples)
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self._connection.close()
                with self._result.lock:
                    self._result.lost.append(f"request {request}: {error!r}")
        self._connection.close()

    def _judge(self, chosen: Sequence[dict[str, Any]], samples: list[dict[str, Any]]) -> None:
        """One batch, until it is answered. Raises OSError, HTTPException, ValueError and KeyError."""
        body = json.dumps({"samples": samples, "stream": self._is_streamed})
        while True:
            begin = time.monotonic()
            try:
                response, content = self._send(body)
            except (ConnectionError, http.client.IncompleteRead):
                if not self._server.is_killed:
                    raise
                self._connection.close()
                with self._result.lock:
                    self._result.broken += 1
                time.sleep(0.2)
                continue
            if response.status != 429:
                break
            with self._result.lock:
                self._result.refused += 1
            time.sleep(int(response.headers["Retry-After"]))
        if response.status != 200:
            raise ValueError(f"status {response.status}: {content[:200]!r}")
        seconds = time.monotonic() - begin
        lines = content.splitlines()
        verdicts = list(map(json.loads, lines)) if self._is_streamed else json.loads(content)["verdicts"]
        if len(verdicts) != len(samples):
            raise ValueError(f"{len(verdicts)} verdicts on {len(samples)} samples")
        self._note(chosen, verdicts, seconds)

    def _send(self, body: str) -> tuple[http.client.HTTPResponse, bytes]:
        """One request and its answer. Raises OSError and HTTPException."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        self._connection.request("POST", "/judge", body, headers)
        response = self._connection.getresponse()
        return response, response.read()

    def _note(self, chosen: Sequence[dict[str, Any]], verdicts: Sequence[dict[str, Any]], seconds: float) -> None:
        with self._result.lock:
            self._result.seconds.append(seconds)
            for record, verdict in zip(chosen, verdicts):
                self._result.kinds[verdict["verdict"]] += 1
                if verdict["verdict"] != record["expect"]:
                    self._result.changed.append(f"{record['function']}: {verdict['verdict']}, not {record['expect']}")


RECORDED = [
    record
    for record in map(json.loads, FAULTS.read_text(encoding="utf-8").splitlines())
    if record["stop"] == "eos"  # a sample does not say that a limit of tokens cut the answer
]
SOURCE_TEXT = SOURCE.read_text(encoding="utf-8")


def build_sample(record: dict[str, Any], name: str) -> dict[str, Any]:
    """A recorded answer as a sample; the name makes its text one of its own."""
    answer = record["answer"].replace("</code>", f"\n# {name}\n</code>")
    return {"source": SOURCE_TEXT, "function": record["function"], "answer": answer}


class LoadServer:
    """`llmc serve` as a process, which can be killed and started again at the same port."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self._log = folder / "log"
        (folder / "token").write_text(TOKEN)
        self._arguments = ["--token-file", str(folder / "token"), *arguments]
        self.is_killed = False
        """Whether it was killed once."""
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", "pytest_llmcompiler", "serve", "--port", str(self.port), *self._arguments]
        with self._log.open("wb") as errors:
            self.process = subprocess.Popen(command, stderr=errors, cwd=ROOT)
        while not (found := re.search(r"listening at http://127\.0\.0\.1:(\d+)", self._log.read_text())):
            if self.process.poll() is not None:
                sys.exit(self._log.read_text())
            time.sleep(0.05)
        self.port = int(found[1])

    def kill(self, chooser: random.Random) -> None:
        """Kill one judge process, or, one time of three, the server."""
        self.is_killed = True
        children = [
            int(child)
            for path in Path(f"/proc/{self.process.pid}/task").glob("*/children")
            for child in path.read_text().split()
        ]
        if chooser.random() < 2 / 3 and children:
            os.kill(chooser.choice(children), signal.SIGKILL)
            return
        self.process.kill()
        self.process.wait()
        self.start()

    def ask(self, path: str) -> str:
        """The answer to a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        return connection.getresponse().read().decode()

    def describe(self) -> str:
        """The memory and the open descriptors of the server's own process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kibibytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        descriptors = len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
        return f"the server's own process: {kibibytes / 1024:.0f} MiB, {descriptors} open descriptors"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def print_result(result: LoadResult, seconds: float, samples: int) -> None:
    count = len(result.seconds)
    print(f"{count} requests with {samples} samples each in {seconds:.0f} s: {count * samples / seconds:.0f} samples/s")
    latencies = (f"p{share} {percentile(result.seconds, share / 100):.2f} s" for share in (50, 90, 99))
    print(f"latency of a request: {', '.join(latencies)}, the longest {max(result.seconds, default=math.nan):.2f} s")
    print(f"verdicts: {', '.join(f'{kind} {number}' for kind, number in sorted(result.kinds.items()))}")
    print(f"refused with 429, and asked again: {result.refused}")
    print(f"connections that broke when the server was killed, with requests sent again: {result.broken}")
    print(f"lost: {len(result.lost)}; verdicts of another kind than recorded: {len(result.changed)}")
    for text in [*result.lost, *result.changed][:10]:
        print(f"  {text}")


def run_load(server: LoadServer, clients: int, load: Load, kill_every: float | None) -> LoadResult:
    """All clients at once, until the load is used up."""
    result = LoadResult()
    threads = [LoadClient(server, number, load, result) for number in range(clients)]
    for thread in threads:
        thread.start()
    chooser, kills = random.Random(1), 0
    while kill_every and any(thread.is_alive() for thread in threads):
        time.sleep(chooser.uniform(0.5, 1.5) * kill_every)
        server.kill(chooser)
        kills += 1
    for thread in threads:
        thread.join()
    if kill_every:
        print(f"{kills} processes killed")
    return result


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30, help="no request is sent later")
    parser.add_argument("--samples", type=int, default=2, help="samples of a request")
    parser.add_argument("--requests", type=int, default=20_000, help="requests of all clients, at most")
    parser.add_argument("--workers", help="judge processes")
    parser.add_argument("--kill-every", type=float, metavar="SECONDS", help="mean time between two kills")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    with tempfile.TemporaryDirectory() as folder:
        server = LoadServer(Path(folder), ["--workers", options.workers] if options.workers else [])
        try:
            cold = run_load(server, 1, Load(len(RECORDED), iter([0]), math.inf), None)
            print(f"{len(RECORDED)} samples of functions that nobody has judged: {cold.seconds[0]:.1f} s")
            print(f"before: {server.describe()}")
            begin = time.monotonic()
            numbers = iter(range(1, options.requests + 1))
            load = Load(options.samples, numbers, begin + options.seconds)
            result = run_load(server, options.clients, load, options.kill_every)
            print_result(result, time.monotonic() - begin, options.samples)
            print(f"after: {server.describe()}")
            print(server.ask("/metrics"))
            server.process.terminate()
            print(f"exit status of the server: {server.process.wait(60)}")
        finally:
            server.process.kill()
    sys.exit(1 if result.lost or result.changed else 0)


if __name__ == "__main__":
    main()
