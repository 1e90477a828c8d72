"""The judge in a process of its own, so that nothing a candidate does reaches the caller.

Requests and replies are JSON objects, one a line, over the process's standard input and output.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from pytest_llmcompiler.corpus.store import cache_folder
from pytest_llmcompiler.errors import CaseError, JudgeError
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.listing import Listing, ListingLine
from pytest_llmcompiler.judge.tasks import TaskQuestion, judge_task
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import Case, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.subprocesses import build_command
from pytest_llmcompiler.targets import get_target

_PATIENCE = 1800
"""Seconds to wait for a verdict: compiling, linking, generating inputs and running have limits of their own."""
_KEPT = 32
"""Cases, and functions with their corpora, that are kept: a few megabytes each."""


class Judge:
    """A client of the judge's process, which is started when it is first needed and again when it dies.

    Thread-safe; one sample is judged at a time.
    """

    def __init__(self, settings: JudgeSettings | None = None, toolchain: Toolchain | None = None) -> None:
        self._settings = settings or JudgeSettings()
        self._clang = toolchain.clang if toolchain else None
        self._process: subprocess.Popen[str] | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The judge's process, where one runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def judge(
        self,
        case: Case,
        function: str,
        text: str,
        question: TaskQuestion | None = None,
        *,
        explain: bool = True,
        reproducer: bool = False,
    ) -> Verdict:
        """Judge one candidate for a function of a case. `text` is assembly, unless `question` says that it is an answer
        to another task. `explain` and `reproducer` are those of `Harness.judge`.

        Raises CaseError where the case is at fault, JudgeError where the harness is.
        """
        reply = self._reply("judge", case, function, text, question, explain=explain, reproducer=reproducer)
        return replace(Verdict.from_json(reply), reproducer=reply["reproducer"])

    def listing(self, case: Case, function: str, assembly: str) -> Listing | None:
        """The code of a candidate, block by block; None where it does not assemble, or there is too much of it.

        Raises as `judge` does.
        """
        blocks = self._reply("list", case, function, assembly)["blocks"]
        return blocks and [[ListingLine(*line) for line in block] for block in blocks]

    def _reply(
        self,
        action: str,
        case: Case,
        function: str,
        text: str,
        question: TaskQuestion | None = None,
        **told: bool,
    ) -> dict[str, Any]:
        request = {
            "action": action,
            "path": str(case.path.resolve()),
            "name": case.name,
            "function": function,
            "text": text,
            "question": asdict(question or TaskQuestion()),
            "clang": self._clang,
            "settings": asdict(self._settings),
            "told": told,
        }
        with self._lock:
            try:
                reply = self._ask(request)
            except BaseException:  # an interrupt leaves a reply behind that belongs to no request
                self.close()
                raise
        if "case_error" in reply:
            raise CaseError(reply["case_error"])
        if "error" in reply:
            raise JudgeError(reply["error"])
        return reply

    def close(self) -> None:
        """End the judge's process."""
        if self._process and self._owner == os.getpid():  # after a fork it is the parent's
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        for _ in range(3):
            process = self._start()
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], _PATIENCE)
            if not ready:
                self.close()
                raise JudgeError(f"no reply for {request['name']}::{request['function']} within {_PATIENCE} s")
            line = process.stdout.readline()
            if line.endswith("\n"):
                reply: dict[str, Any] = json.loads(line)
                return reply
            self.close()
        raise JudgeError(f"the judge's process died three times on {request['name']}::{request['function']}")

    def _start(self) -> subprocess.Popen[str]:
        if self._owner != os.getpid():
            self._process, self._owner, self._lock = None, os.getpid(), threading.Lock()
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                build_command("pytest_llmcompiler.judge.service"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_environment()},
                encoding="utf-8",
            )
        return self._process


@functools.lru_cache(_KEPT)
def _reference(path: Path, name: str, clang: str | None, target: str, stamp: int) -> Reference:
    """A compiled case; `stamp` is the file's time of change, after which it is compiled anew."""
    return Reference(read_case(path, name), Toolchain(clang, get_target(target)))


_bench = functools.lru_cache(_KEPT)(Harness)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        path = Path(request["path"])
        settings = JudgeSettings(**request["settings"])
        reference = _reference(path, request["name"], request["clang"], settings.target, path.stat().st_mtime_ns)
        harness = _bench(reference, request["function"], settings)
        if request["action"] == "list":
            return {"blocks": harness.listing(request["text"])}
        verdict = judge_task(harness, TaskQuestion(**request["question"]), request["text"], **request["told"])
        return {**verdict.to_json(), "reproducer": verdict.reproducer}
    except CaseError as error:
        return {"case_error": str(error)}
    except Exception:
        return {"error": traceback.format_exc()}


def _environment() -> dict[str, str]:
    """hypothesis keeps its files out of the user's folder."""
    return {"HYPOTHESIS_STORAGE_DIRECTORY": str(cache_folder() / "hypothesis")}


def serve(requests: IO[str], replies: IO[str]) -> None:
    """Answer requests until they end."""
    for line in requests:
        replies.write(json.dumps(_answer(json.loads(line))) + "\n")
        replies.flush()


def main() -> None:
    """Serve on standard input and output; whatever else prints goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the session decides when a run is over
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, replies)
