"""End pytest by signals at random moments: what is left, and whether the session can be resumed.

    python benchmarks/kills.py 20 [--seed 1] [--functions 4] [--samples 2]

A quiet session judges answers of the model `tiny` to some functions of cases/small.c. Then each moment is one session
more, which a signal ends: SIGTERM, SIGKILL and SIGINT in turn, without pytest-xdist and with two workers of it in turn,
with an empty cache and with that of the quiet session in turn. The moment is random within the time that the quiet
session took. A second after pytest has ended, every process that the session had started must be gone: workers, judges,
templates, compilers, the owner of the model; and every temporary file. This program is their subreaper (prctl(2)), so
that none can hide. Then `--llmc-resume` finishes the session. Its table and its verdicts must be those of the quiet
session.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from processes import is_alive
from speed import clock
from speed.tables import format_table

_CASE = Path(__file__).resolve().parent.parent / "cases" / "small.c"
_FUNCTIONS = ("letter_index", "sum_of_squares", "length", "common_divisor", "reverse", "digits")
_SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
_PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""
_OF_PYTEST = "pytest-of-"
"""The folder of temporary files that pytest keeps itself."""
_LEFT_SECONDS, _GONE_SECONDS = 1.0, 30.0
"""How long after the end of pytest no process may be left, and how long those that are left are looked at."""


Verdicts = dict[tuple[str, int], str]
"""The verdict of each sample, by function and number."""


class Kill(NamedTuple):
    """One session that a signal ends."""

    signal: signal.Signals
    workers: int
    """Of pytest-xdist; 0 without it."""
    is_cold: bool
    """Whether the cache is empty."""
    share: float
    """The moment, as a share of the time of the quiet session."""


class Outcome(NamedTuple):
    """What became of it."""

    moment: float
    """Seconds from the start of pytest to the signal."""
    judged: int
    """Samples in the record when pytest had ended."""
    end_seconds: float
    """Seconds from the signal to the end of pytest."""
    left: tuple[str, ...]
    """The processes that were left."""
    files: tuple[str, ...]
    """What was left in the folder for temporary files."""
    difference: str
    """How the resumed session differs from the quiet one; empty where it does not."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was left, and the session could be resumed."""
        return not self.left and not self.files and not self.difference


class Place:
    """A folder for sessions over the same functions."""

    def __init__(self, folder: Path, functions: int, samples: int) -> None:
        self._folder = folder
        self._items = [f"small.c::{name}" for name in _FUNCTIONS[:functions]]
        self._samples = samples
        shutil.copy(_CASE, folder / "small.c")
        (folder / "pytest.ini").write_text("[pytest]\n")
        self.warm_cache = folder / "warm"

    def build_command(self, record: str, workers: int, *options: str) -> list[str]:
        """The command of a session."""
        command = [sys.executable, "-m", "pytest", *self._items, f"--llmc-samples={self._samples}"]
        # What is generated beside a sample has a say in its last bits, and other samples are left in a resumed session.
        command += ["--llmc-model=tiny", "--llmc-streams=1"]
        command += [f"--llmc-record={record}", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *options]
        return [*command, f"-n{workers}"] if workers else [*command, "-p", "no:xdist"]

    def start(self, command: Sequence[str], cache: Path, temporary: Path) -> subprocess.Popen[bytes]:
        """A session in a process group of its own, as a shell starts it."""
        temporary.mkdir(exist_ok=True)
        environment = os.environ | {"LLMC_CACHE": str(cache), "TMPDIR": str(temporary)}
        with (self._folder / "output").open("w") as output:
            return subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def run(self, command: Sequence[str], cache: Path, temporary: Path) -> str:
        """The output of a session that nothing disturbs."""
        self.start(command, cache, temporary).wait()
        return (self._folder / "output").read_text()

    def read_verdicts(self, record: str) -> Verdicts:
        """The verdict of each sample. A line that was not written to its end is left out."""
        path = self._folder / record
        verdicts: Verdicts = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                sample = json.loads(line)
            except ValueError:
                continue
            verdicts[sample["function"], sample["sample"]] = sample["verdict"]
        return verdicts

    def path(self, name: str) -> Path:
        """A path in the folder."""
        return self._folder / name


def run_kill(place: Place, number: int, kill: Kill, quiet: Quiet) -> Outcome:
    """End a session, look what is left, and resume it."""
    record, temporary = f"killed-{number}.jsonl", place.path(f"tmp-{number}")
    cache = place.path(f"cold-{number}") if kill.is_cold else place.warm_cache
    moment = kill.share * (quiet.cold_seconds if kill.is_cold else quiet.warm_seconds)
    while True:
        process = place.start(place.build_command(record, kill.workers), cache, temporary)
        time.sleep(moment)
        if not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            break
        process.wait()  # it was faster than the quiet session
        moment /= 2
        place.path(record).unlink(missing_ok=True)
        if kill.is_cold:
            shutil.rmtree(cache, ignore_errors=True)
    os.kill(process.pid, kill.signal)
    start = time.monotonic()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    end_seconds = time.monotonic() - start
    time.sleep(_LEFT_SECONDS)
    left = _watch(start + end_seconds)
    _end_descendants()
    process.wait()
    files = tuple(sorted(entry.name for entry in temporary.iterdir() if not entry.name.startswith(_OF_PYTEST)))
    judged = len(place.read_verdicts(record))
    output = place.run(place.build_command(record, kill.workers, "--llmc-resume"), cache, temporary)
    difference = quiet.compare(place.read_verdicts(record), output)
    if kill.is_cold:
        shutil.rmtree(cache, ignore_errors=True)
    return Outcome(moment, judged, end_seconds, left, files, difference)


class Quiet(NamedTuple):
    """The session that nothing disturbs."""

    cold_seconds: float
    warm_seconds: float
    verdicts: Verdicts
    table: tuple[str, ...]

    def compare(self, verdicts: Verdicts, output: str) -> str:
        """How a resumed session differs; empty where it does not."""
        for sample in sorted(self.verdicts.keys() | verdicts.keys()):
            if self.verdicts.get(sample) != verdicts.get(sample):
                return f"{sample[0]}, sample {sample[1]}: {self.verdicts.get(sample)}, resumed {verdicts.get(sample)}"
        table = read_table(output)
        return "" if table == self.table else f"another table: {' / '.join(table) or output[-300:]!r}"


def read_table(output: str) -> tuple[str, ...]:
    """The table of verdicts and of pass@k at the end of a session."""
    section = output.rpartition("language model as compiler")[2].partition("short test summary")[0]
    return tuple(line for line in section.splitlines() if re.search(r"pass@|^\s*(asm|all|total)\b", line))


def list_descendants() -> list[int]:
    """The processes that this one and its children have started, without those that have ended."""
    return [pid for pid in clock.list_descendants() if is_alive(pid)]


def _watch(since: float) -> tuple[str, ...]:
    """The processes that are left, each with how long after the end of pytest it has gone."""
    left = {pid: _describe(pid) for pid in list_descendants()}
    seconds = dict.fromkeys(left, "later")
    while "later" in seconds.values() and time.monotonic() < since + _GONE_SECONDS:
        alive = set(list_descendants())
        for pid in left:
            if pid not in alive and seconds[pid] == "later":
                seconds[pid] = f"{time.monotonic() - since:.1f} s"
        time.sleep(0.05)
    return tuple(f"{name} ({seconds[pid]})" for pid, name in left.items())


def _describe(pid: int) -> str:
    """The command of a process, as far as it tells one from another."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "ended"
    module = re.search(r"subprocesses\.py pytest_llmcompiler\.(\S*)", command)
    return module[1] if module else command[:60]


def _end_descendants() -> None:
    """End what is left, so that the next session is alone."""
    for pid in list_descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _reap() -> None:
    """Wait for the orphans that have become children of this process."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def choose_kills(count: int, seed: int) -> Iterator[Kill]:
    """The kinds of ends in turn, at random moments."""
    choice = random.Random(seed)
    for number in range(count):
        yield Kill(_SIGNALS[number % 3], 2 * (number // 3 % 2), number // 6 % 2 == 0, choice.random())


def measure_quiet(place: Place) -> Quiet:
    """Run a session with an empty cache, and one with a full one. The verdicts are those of the first."""
    seconds = []
    outputs = []
    for record in ("quiet.jsonl", "again.jsonl"):
        start = time.monotonic()
        outputs.append(place.run(place.build_command(record, 0), place.warm_cache, place.path("tmp-quiet")))
        seconds.append(time.monotonic() - start)
    verdicts, table = place.read_verdicts("quiet.jsonl"), read_table(outputs[0])
    if not verdicts or not table:
        sys.exit(f"the quiet session failed:\n{outputs[0]}")
    return Quiet(seconds[0], seconds[1], verdicts, table)


def main() -> int:
    """The command line. 1 where something was left, or a session could not be resumed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="moments")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--functions", type=int, default=4, help=f"at most {len(_FUNCTIONS)} (default 4)")
    parser.add_argument("--samples", type=int, default=2)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    clean = 0
    with tempfile.TemporaryDirectory(prefix="llmc-kills-") as folder:
        place = Place(Path(folder), options.functions, options.samples)
        quiet = measure_quiet(place)
        print(f"a quiet session: {quiet.cold_seconds:.1f} s, {quiet.warm_seconds:.1f} s with a full cache")
        print(*quiet.table, "", sep="\n")
        rows = []
        for number, kill in enumerate(choose_kills(options.count, options.seed)):
            outcome = run_kill(place, number, kill, quiet)
            _reap()
            clean += outcome.is_clean
            rows.append(_format_row(kill, outcome, len(quiet.verdicts)))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    heading = ["signal", "xdist", "cache", "at, s", "judged", "ended after, s"]
    heading += ["processes left", "files left", "resumed"]
    print("\n".join(format_table(heading, rows)))
    print(f"\n{clean} of {options.count}: nothing left after {_LEFT_SECONDS:.0f} s, and the same table resumed")
    return int(clean < options.count)


def _format_row(kill: Kill, outcome: Outcome, samples: int) -> list[str]:
    return [
        kill.signal.name,
        str(kill.workers or "no"),
        "empty" if kill.is_cold else "full",
        f"{outcome.moment:.2f}",
        f"{outcome.judged} of {samples}",
        f"{outcome.end_seconds:.2f}",
        ", ".join(outcome.left) or "none",
        ", ".join(outcome.files) or "none",
        outcome.difference or "the same",
    ]


if __name__ == "__main__":
    sys.exit(main())
