"""The judge in a process of its own, so that nothing a candidate does reaches the caller.

Requests and replies are JSON objects, one a line, over the process's standard input and output. `JudgeRequest` and
`ListingRequest` are what the client sends; a `VerdictReply`, `ListingReply` or `FailedReply` answers each.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Literal, TypedDict

from pytest_llmcompiler.errors import CaseError, JudgeError
from pytest_llmcompiler.files import cache_folder
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.listing import Listing, ListingLine
from pytest_llmcompiler.judge.reproducer import Reproducer, ReproducibleVerdict
from pytest_llmcompiler.judge.tasks import TaskQuestion, judge_task, judge_task_with_reproducer
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.cached_reference import CachedReference
from pytest_llmcompiler.program.case import Case, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import FlagSources
from pytest_llmcompiler.program.file_cache import FileCache
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.subprocesses import build_command
from pytest_llmcompiler.targets import get_target

_REPLY_SECONDS = 1800
"""Time limit for a reply. It is a last resort: compiling, linking, generating inputs and running have limits of their
own, which add up to less."""
_CACHED = 32
"""Compiled cases, and functions with their corpora, that the process keeps: a few megabytes each."""
_ATTEMPTS = 3
"""How often a request is sent, where the process dies of it: a kill from outside loses no sample, and a request that
ends every process is not repeated for ever."""


class Candidate(TypedDict):
    """The candidate that a request is about, and how its case is compiled."""

    path: str
    """The absolute path of the case."""
    case: str
    """The name of the case in records."""
    function: str
    text: str
    """Assembly, or the answer to another task."""
    clang: str | None
    """The compiler of the case; None for the bundled one."""
    flag_sources: dict[str, Any]
    """The fields of `FlagSources`."""
    settings: dict[str, Any]
    """The fields of `JudgeSettings`."""


class JudgeRequest(TypedDict):
    """Asks for a verdict."""

    action: Literal["judge"]
    candidate: Candidate
    question: dict[str, Any]
    """The fields of `TaskQuestion`."""
    explain: bool
    with_reproducer: bool


class ListingRequest(TypedDict):
    """Asks for the listing of a candidate's code."""

    action: Literal["list"]
    candidate: Candidate


class VerdictReply(TypedDict):
    """Answers a `JudgeRequest`."""

    status: Literal["verdict"]
    verdict: dict[str, Any]
    """The verdict as `Verdict.to_json` writes it."""
    reproducer: Reproducer | None


class ListingReply(TypedDict):
    """Answers a `ListingRequest`."""

    status: Literal["listing"]
    blocks: list[list[tuple[int, str]]] | None
    """The fields of `ListingLine`, by blocks; None where there is no listing."""


class FailedReply(TypedDict):
    """Answers a request that could not be carried out."""

    status: Literal["case-error", "judge-error"]
    """Whether the case is at fault, or the harness."""
    message: str


class Judge:
    """A client of the judge's process, which is started when it is first needed and again when it dies.

    Thread-safe; one sample is judged at a time. A forked child starts a process of its own.
    """

    def __init__(self, settings: JudgeSettings | None = None, toolchain: Toolchain | None = None) -> None:
        self._settings = settings or JudgeSettings()
        self._clang = toolchain.clang if toolchain else None
        self._process: subprocess.Popen[str] | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The number of the judge's process; None where none runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def judge(
        self, case: Case, function: str, text: str, question: TaskQuestion | None = None, *, explain: bool = True
    ) -> Verdict:
        """Judge one candidate for a function of a case. `text` is assembly, unless `question` says that it is an answer
        to another task. Without `explain`, no smaller input is searched for.

        Raises CaseError where the case is at fault, JudgeError where the harness is.
        """
        candidate = self._candidate(case, function, text)
        return self._judge(candidate, question, explain=explain, with_reproducer=False).verdict

    def judge_with_reproducer(
        self, case: Case, function: str, text: str, question: TaskQuestion | None = None, *, explain: bool = True
    ) -> ReproducibleVerdict:
        """Judge as `judge` does, and capture what a native program needs to show the same failure. Raises as `judge`
        does."""
        candidate = self._candidate(case, function, text)
        return self._judge(candidate, question, explain=explain, with_reproducer=True)

    def listing(self, case: Case, function: str, assembly: str) -> Listing | None:
        """The code of a candidate, block by block; None where it does not assemble, or is too long for a listing.

        Raises as `judge` does.
        """
        reply = self._exchange({"action": "list", "candidate": self._candidate(case, function, assembly)})
        if reply["status"] != "listing":
            raise JudgeError(f"the judge's process replied with a {reply['status']}")
        blocks = reply["blocks"]
        return [[ListingLine(*line) for line in block] for block in blocks] if blocks is not None else None

    def close(self) -> None:
        """End the judge's process, where one runs. The next request starts another."""
        if self._process and self._owner == os.getpid():  # in a forked child the process is the parent's
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _candidate(self, case: Case, function: str, text: str) -> Candidate:
        return {
            "path": str(case.path.absolute()),  # where a link leads, quoted includes are others
            "case": case.name,
            "function": function,
            "text": text,
            "clang": self._clang,
            "flag_sources": case.flag_sources.to_json(),
            "settings": asdict(self._settings),
        }

    def _judge(
        self, candidate: Candidate, question: TaskQuestion | None, *, explain: bool, with_reproducer: bool
    ) -> ReproducibleVerdict:
        request: JudgeRequest = {
            "action": "judge",
            "candidate": candidate,
            "question": asdict(question or TaskQuestion()),
            "explain": explain,
            "with_reproducer": with_reproducer,
        }
        reply = self._exchange(request)
        if reply["status"] != "verdict":
            raise JudgeError(f"the judge's process replied with a {reply['status']}")
        return ReproducibleVerdict(Verdict.from_json(reply["verdict"]), reply["reproducer"])

    def _exchange(self, request: JudgeRequest | ListingRequest) -> VerdictReply | ListingReply:
        """Send a request and wait for the reply. Raises CaseError and JudgeError."""
        if self._owner != os.getpid():  # in a forked child the process, and whoever holds the lock, are the parent's
            self._process, self._owner, self._lock = None, os.getpid(), threading.Lock()
        with self._lock:
            try:
                reply = self._send(request)
            except BaseException:  # after an interrupt the reply would be taken for that of the next request
                self.close()
                raise
        if reply["status"] == "case-error":
            raise CaseError(reply["message"])
        if reply["status"] == "judge-error":
            raise JudgeError(reply["message"])
        return reply

    def _send(self, request: JudgeRequest | ListingRequest) -> VerdictReply | ListingReply | FailedReply:
        item = f"{request['candidate']['case']}::{request['candidate']['function']}"
        for _ in range(_ATTEMPTS):
            process = self._start()
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], _REPLY_SECONDS)
            if not ready:
                self.close()
                raise JudgeError(f"no reply for {item} within {_REPLY_SECONDS} s")
            line = process.stdout.readline()
            if line.endswith("\n"):
                reply: VerdictReply | ListingReply | FailedReply = json.loads(line)
                return reply
            self.close()
        raise JudgeError(f"the judge's process died {_ATTEMPTS} times on {item}")

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                build_command("pytest_llmcompiler.judge.service"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_environment()},
                encoding="utf-8",
            )
        return self._process


# -- the judge's process


_REFERENCES: FileCache[Reference] = FileCache(_CACHED)
_open_harness = functools.lru_cache(_CACHED)(Harness)


def _answer(request: JudgeRequest | ListingRequest) -> VerdictReply | ListingReply | FailedReply:
    candidate = request["candidate"]
    try:
        harness = _harness_of(candidate)
        if request["action"] == "list":
            return {"status": "listing", "blocks": _json_blocks(harness.listing(candidate["text"]))}
        question, explain = TaskQuestion(**request["question"]), request["explain"]
        if request["with_reproducer"]:
            judged = judge_task_with_reproducer(harness, question, candidate["text"], explain=explain)
        else:
            judged = ReproducibleVerdict(judge_task(harness, question, candidate["text"], explain=explain))
        return {"status": "verdict", "verdict": judged.verdict.to_json(), "reproducer": judged.reproducer}
    except CaseError as error:
        return {"status": "case-error", "message": str(error)}
    except Exception:
        return {"status": "judge-error", "message": traceback.format_exc()}


def _harness_of(candidate: Candidate) -> Harness:
    return _open_harness(_compile_case(candidate), candidate["function"], JudgeSettings(**candidate["settings"]))


def _compile_case(candidate: Candidate) -> Reference:
    """The reference of a candidate's case. Raises CaseError."""
    path, target = Path(candidate["path"]), candidate["settings"]["target"]
    sources = FlagSources.from_json(candidate["flag_sources"])

    def compile_case() -> tuple[Reference, Iterable[Path]]:
        case = read_case(path, candidate["case"], sources)
        reference = CachedReference(case, Toolchain(candidate["clang"], get_target(target)))
        return reference, reference.source_files

    return _REFERENCES.find((path, candidate["case"], candidate["clang"], target, sources), compile_case)


def _json_blocks(listing: Listing | None) -> list[list[tuple[int, str]]] | None:
    return [[(line.number, line.text) for line in block] for block in listing] if listing is not None else None


def _environment() -> dict[str, str]:
    """The variables of the judge's process: hypothesis keeps its files out of the user's folder."""
    return {"HYPOTHESIS_STORAGE_DIRECTORY": str(cache_folder() / "hypothesis")}


def serve(requests: IO[str], replies: IO[str]) -> None:
    """Answer requests until they end."""
    for line in requests:
        replies.write(json.dumps(_answer(json.loads(line))) + "\n")
        replies.flush()


def main() -> None:
    """Serve on standard input and output; whatever else prints goes to standard error."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, replies)
