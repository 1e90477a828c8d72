"""`llmc serve` under load: clients at once on loopback, each with one batch after another.

    python benchmarks/serve_load.py [--clients 200] [--seconds 30] [--samples 2] [--requests 20000] [--workers N]

The samples are the recorded answers of tests/faults/git_lfs.jsonl, right and wrong ones; each gets a comment of its
own, so that no two are the same text. Every answer must have a verdict of the recorded kind for each sample. A client
whose request is refused with 429 waits as long as the answer says, and asks again. Each tenth client takes its verdicts
as lines. At the end stand the requests, the latencies, the memory and what /metrics says. The exit status is 1 where a
request was lost or a verdict was another one.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import itertools
import json
import math
import re
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
    lost: list[str] = field(default_factory=list)
    """Requests without a whole answer, with the reason."""
    changed: list[str] = field(default_factory=list)
    """Verdicts of another kind than the recorded one."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class LoadClient(threading.Thread):
    """One client, which sends batches over one connection until the time or the number of requests is used up."""

    def __init__(
        self, port: int, number: int, size: int, requests: Iterator[int], end: float, result: LoadResult
    ) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_WAIT_SECONDS)
        self._size, self._requests, self._end, self._result = size, requests, end, result
        self._is_streamed = number % 10 == 0

    def run(self) -> None:
        while time.monotonic() < self._end:
            with self._result.lock:
                request = next(self._requests, None)
            if request is None:
                return
            chosen = [RECORDED[(request * self._size + index) % len(RECORDED)] for index in range(self._size)]
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
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
            self._connection.request("POST", "/judge", body, headers)
            response = self._connection.getresponse()
            content = response.read()
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


def start_server(arguments: Sequence[str], log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start `llmc serve` on a free port, and wait until it listens."""
    command = [sys.executable, "-m", "pytest_llmcompiler", "serve", "--port", "0", *arguments]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stderr=errors, cwd=ROOT)
    while not (found := re.search(r"listening at http://127\.0\.0\.1:(\d+)", log.read_text())):
        if process.poll() is not None:
            sys.exit(log.read_text())
        time.sleep(0.05)
    return process, int(found[1])


def ask(port: int, path: str) -> str:
    """The answer to a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
    return connection.getresponse().read().decode()


def measure_memory(process: int) -> tuple[float, int]:
    """MiB of resident memory of one process, and its open descriptors."""
    status = Path(f"/proc/{process}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return resident / 1024, len(list(Path(f"/proc/{process}/fd").iterdir()))


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
    print(f"lost: {len(result.lost)}; verdicts of another kind than recorded: {len(result.changed)}")
    for text in [*result.lost, *result.changed][:10]:
        print(f"  {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--samples", type=int, default=2, help="samples of a request")
    parser.add_argument("--requests", type=int, default=20_000, help="requests of all clients, at most")
    parser.add_argument("--workers", default=None, help="judge processes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "token").write_text(TOKEN)
        arguments = ["--token-file", f"{folder}/token", *(["--workers", options.workers] if options.workers else [])]
        process, port = start_server(arguments, Path(folder) / "log")
        try:
            warm = LoadResult()
            first = LoadClient(port, 1, len(RECORDED), iter([0]), math.inf, warm)
            first.start()
            first.join()
            print(f"{len(warm.kinds)} kinds of verdicts on {len(RECORDED)} samples, cold: {warm.seconds[0]:.1f} s")
            before = measure_memory(process.pid)
            result, begin = LoadResult(), time.monotonic()
            requests = iter(itertools.islice(itertools.count(1), options.requests))
            clients = [
                LoadClient(port, number, options.samples, requests, begin + options.seconds, result)
                for number in range(options.clients)
            ]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            print_result(result, time.monotonic() - begin, options.samples)
            after = measure_memory(process.pid)
            print(
                f"the server's own process: {before[0]:.0f} MiB before, {after[0]:.0f} MiB after; "
                f"{before[1]} and {after[1]} open descriptors"
            )
            print(ask(port, "/metrics"))
            process.terminate()
            print(f"exit status of the server: {process.wait(60)}")
        finally:
            process.kill()
    sys.exit(1 if result.lost or result.changed else 0)


if __name__ == "__main__":
    main()
