"""A campaign: thousands of hostile answers judged, and what that did to the judge and to the machine."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batches.endurance import State, list_temporary, look_at

from attacks.other_tasks import corrupt_module, write_passes
from attacks.texts import WRITERS, corrupt
from pytest_llmcompiler import Judge, Sample
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target

SOURCE = """#include <stdlib.h>
#include <string.h>
int total;
int add(int x, int y) { return total += (int)((unsigned)x + (unsigned)y); }
unsigned count(const char *text) { unsigned n = 0; while (*text) n += *text++ == 'a'; return n; }
void *keep(unsigned char size) { char *p = malloc(size + 1); if (p) memset(p, 0, size + 1); return p; }
double scale(double x, int n) { double r = x; while (n-- > 0 && n < 50) r *= 0.5; return r; }
int apply(int (*f)(int), int x) { return f(x) + 1; }
"""
FUNCTIONS = ("add", "count", "keep", "scale", "apply")
_TARGETS = ("x86_64-linux",) * 6 + ("aarch64-linux", "x86_64-windows")
"""Three answers of four are for the target that most people have."""
_TASKS = ("asm",) * 7 + ("ir", "disassemble", "tune")
_LEVELS = ("O0", "O2")
_FRAMES = (
    "{}",
    "<code>\n{}</code>\n",
    "```asm\n{}```\n",
    "<code>\n{}",
    "{}\n</think>\n<code>\n{}</code>",
    '{{"asm": "{}"}}',
)


@dataclass(frozen=True)
class Attack:
    """One hostile answer."""

    kind: str
    sample: Sample


@dataclass
class Findings:
    """What a campaign found."""

    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    """Verdicts by kind of answer."""
    errors: list[tuple[int, str]] = field(default_factory=list)
    """Answers that the judge had an error of its own on: number and message."""
    leaks: list[int] = field(default_factory=list)
    """Answers whose verdict holds what is in the canary."""
    seconds: list[tuple[float, int]] = field(default_factory=list)
    """How long each answer took, and its number."""
    states: list[State] = field(default_factory=list)
    """What the judge held, from the first tenth of the campaign to its end."""
    canary: str = ""
    """What happened to the canary; empty where nothing did."""
    connections: int = 0
    """How many connections came to a port of this machine that answers name."""


class Canary:
    """A file that no answer may read or change, and a port that none may reach."""

    def __init__(self, folder: Path) -> None:
        self.path, self.secret = folder / "canary.txt", f"secret {secrets.token_hex(16)}"
        self.path.write_text(f'.ascii "{self.secret}"\n')
        os.utime(self.path, (1, 1))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def describe_damage(self) -> str:
        """What is not as it was; empty where all is."""
        if [path.name for path in self.path.parent.iterdir()] != [self.path.name]:
            return f"the folder holds {sorted(path.name for path in self.path.parent.iterdir())}"
        state = self.path.stat()
        if (state.st_atime, state.st_mtime) != (1, 1):
            return "the file was read or written"
        return "" if self.path.read_text() == f'.ascii "{self.secret}"\n' else "the file has other contents"

    def count_connections(self) -> int:
        """How many came to the port."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.accept()[0].close()
                count += 1
        return count

    def close(self) -> None:
        """Close the port."""
        self._socket.close()


class AttackSource:
    """Writes the attacks of a campaign: the same for the same seed, and each by its number alone."""

    def __init__(self, folder: Path, canary: Canary, seed: int) -> None:
        self._path, self._canary, self._seed = folder / "attacked.c", canary, seed
        self._path.write_text(SOURCE)
        self._texts: dict[tuple[str, str, str], str] = {}

    def write(self, number: int) -> Attack:
        """The attack of a number."""
        rng = random.Random(f"{self._seed} {number}")
        function, task = rng.choice(FUNCTIONS), rng.choice(_TASKS)
        target = rng.choice(_TARGETS) if task == "asm" else _TARGETS[0]
        kind, text = self._write_text(rng, function, task, target)
        text = text.replace("@CANARY@", str(self._canary.path))
        frame = rng.choice(_FRAMES) if task == "asm" else "{}"
        return Attack(kind, Sample(self._path, function, frame.replace("{}", text), task, target=target))

    def _write_text(self, rng: random.Random, function: str, task: str, target: str) -> tuple[str, str]:
        if task == "tune":
            return "pass lists", write_passes(rng, function)
        if task in ("ir", "disassemble"):
            return "modules", corrupt_module(rng, self._right(function, "ir", target))
        kind = rng.choice(("corrupted", "corrupted", *WRITERS))
        if kind == "corrupted":
            return kind, corrupt(rng, self._right(function, rng.choice(_LEVELS), target))
        return kind, WRITERS[kind](rng, function)

    def _right(self, function: str, form: str, target: str) -> str:
        key = function, form, target
        if key not in self._texts:
            texts = Reference(read_case(self._path), Toolchain(None, get_target(target))).texts
            self._texts[key] = texts.ir(function) if form == "ir" else texts.assembly(function, form)
        return self._texts[key]


def run_campaign(judge: Judge, source: AttackSource, canary: Canary, numbers: Sequence[int]) -> Findings:
    """Judge the attacks of these numbers, as many at a time as the judge has processes."""
    findings, rest, lock = Findings(), iter(numbers), threading.Lock()
    start, before = time.monotonic(), list_temporary()

    def work() -> None:
        while True:
            with lock:
                number = next(rest, None)
                if number is None:
                    return
                attack = source.write(number)
            begun = time.monotonic()
            verdict = next(iter(judge.check_many([attack.sample])))
            seconds = time.monotonic() - begun
            with lock:
                findings.verdicts.setdefault(attack.kind, Counter())[verdict.kind] += 1
                findings.seconds.append((seconds, number))
                if "error" in verdict.detail:
                    findings.errors.append((number, f"{verdict.detail['error']['type']}: {verdict.message}"))
                if canary.secret in repr(verdict):
                    findings.leaks.append(number)
                if len(findings.seconds) % max(1, len(numbers) // 10) == 0:
                    findings.states.append(look_at(time.monotonic() - start, len(findings.seconds), before))

    threads = [threading.Thread(target=work) for _ in range(judge.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    findings.canary, findings.connections = canary.describe_damage(), canary.count_connections()
    return findings
