"""What a judge process does: it answers requests, one after another, on standard input and output."""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
import sys
import traceback
from typing import IO, Any

from pytest_llmcompiler.assembler.small_process import start_small_process
from pytest_llmcompiler.emulator.self_test import check_emulator
from pytest_llmcompiler.errors import CaseError, NoCodeError, TruncatedError
from pytest_llmcompiler.judge.api import extract_code
from pytest_llmcompiler.judge.foreign_names import describe_missing_code
from pytest_llmcompiler.judge.listing import Listing
from pytest_llmcompiler.judge.messages import (
    BEGIN,
    DOUBTFUL,
    FINAL,
    KEYS,
    OTHER,
    PREPARED,
    AnswerRequest,
    JudgeRequest,
    PreparedNote,
    Reply,
    Request,
    VerdictReply,
)
from pytest_llmcompiler.judge.prepared import PreparedFunctions
from pytest_llmcompiler.judge.program_harness import AnyHarness
from pytest_llmcompiler.judge.recent_verdicts import RecentVerdicts
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.settings import TaskQuestion
from pytest_llmcompiler.judge.tasks import judge_task, judge_task_with_reproducer
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.claims import find_claimed_sizes

_KEPT_REQUESTS = 256
"""Requests that are kept, a few KiB each: more than functions are."""


def serve(requests: IO[bytes], replies: IO[bytes], processes: int) -> None:
    """Answer requests until they end, as one of at most so many processes of a pool."""
    server = _RequestServer(replies, processes)
    server.start()
    while head := requests.readline():
        size, _, request = head.partition(b" ")
        text = requests.read(int(size))
        if len(text) == int(size):  # else the process that asks has ended
            server.answer(_read_request(request), text.decode("utf-8", "surrogatepass"))


@functools.lru_cache(maxsize=_KEPT_REQUESTS)
def _read_request(data: bytes) -> Request:
    """A request without its text, read once for all answers to a question. Nobody changes it."""
    request: Request = json.loads(data)
    return request


class _RequestServer:
    """Answers requests for the functions that it keeps ready."""

    def __init__(self, replies: IO[bytes], processes: int) -> None:
        self._replies = replies
        self._functions = PreparedFunctions(processes=processes)
        self._verdicts = RecentVerdicts()

    def start(self) -> None:
        """Say that requests are welcome."""
        self._write(KEYS, [])

    def answer(self, request: Request, text: str) -> None:
        """Answer one request about a text."""
        try:
            reply = self._answer(request, text)
        except CaseError as error:
            reply = {"status": "case-error", "message": str(error)}
        except Exception:
            reply = {"status": "judge-error", "message": traceback.format_exc()}
        if self._functions.let_go():
            self._write(KEYS, self._functions.keys)
        self._write(_choose_letter(request, reply), reply)

    def _answer(self, request: Request, text: str) -> Reply:
        check_emulator()
        if request["action"] == "list":
            harness = self._functions.open(request["function"])
            return {"status": "listing", "blocks": _json_blocks(harness.listing(text))}
        if request["action"] == "prepare":
            self._prepare(request)
            return {"status": "prepared"}
        if request["action"] == "answer":
            return self._judge_answer(request, text)
        return self._judge(request, self._prepare(request), TaskQuestion(**request["question"]), text)

    def _judge_answer(self, request: AnswerRequest, answer: str) -> VerdictReply:
        try:
            written = Answer(answer, stop=request["stop"])
            text = extract_code(written, request["function"]["function"], request["task"]).aligned_text
        except NoCodeError as error:
            return _verdict_reply(describe_missing_code(error, request["function"]["function"]))
        except TruncatedError as error:
            return _verdict_reply(Verdict("truncated", str(error)))
        question = TaskQuestion(request["task"], request["passes"], find_claimed_sizes(answer))
        harness = self._prepare(request)
        if request["task"] != "asm" or request["explain"]:
            return self._judge(request, harness, question, text)
        known = self._verdicts.find(harness, question, text)
        if known:
            return known
        reply = self._judge(request, harness, question, text)
        self._verdicts.add(harness, question, text, reply)
        return reply

    def _judge(
        self, request: JudgeRequest | AnswerRequest, harness: AnyHarness, question: TaskQuestion, text: str
    ) -> VerdictReply:
        explain = request["explain"]
        if request["action"] == "judge" and request["with_reproducer"]:
            judged = judge_task_with_reproducer(harness, question, text, explain=explain)
        else:
            judged = ReproducibleVerdict(judge_task(harness, question, text, explain=explain))
        return {"status": "verdict", "verdict": judged.verdict.to_json(), "reproducer": judged.reproducer}

    def _prepare(self, request: Request) -> AnyHarness:
        """The harness of a request's function, made ready if it was not so. Raises CaseError."""
        harness = self._functions.find(request["function"])
        if harness is None:
            self._write(BEGIN)
            harness = self._functions.prepare(request["function"])
            files = [state.to_json() for state in self._functions.list_files(request["function"])]
            note: PreparedNote = {"keys": self._functions.keys, "files": files}
            self._write(PREPARED, note)
        return harness

    def _write(self, letter: bytes, value: Any = None) -> None:
        data = b"" if value is None else json.dumps(value).encode()
        self._replies.write(letter + data + b"\n")
        self._replies.flush()


def _choose_letter(request: Request, reply: Reply) -> bytes:
    """Whether the same request gets the same reply for as long as the files of the case stay the same.

    An inconclusive verdict may come of a process that was killed. Reproducers are large, and rarely asked for.
    """
    if reply["status"] != "verdict" or (request["action"] == "judge" and request["with_reproducer"]):
        return OTHER
    return DOUBTFUL if reply["verdict"]["verdict"] == "inconclusive" else FINAL


def _verdict_reply(verdict: Verdict) -> VerdictReply:
    return {"status": "verdict", "verdict": verdict.to_json(), "reproducer": None}


def _json_blocks(listing: Listing | None) -> list[list[tuple[int, str]]] | None:
    return [[(line.number, line.text) for line in block] for block in listing] if listing is not None else None


def main() -> None:
    """Serve on standard input and output; whatever else prints goes to standard error. The argument is the number of
    processes that the pool may have."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    start_small_process()
    gc.collect()
    gc.freeze()  # what the imports made stays: without it each collection looks through all of that
    # Reading a text makes tens of thousands of objects and hardly a circle: Python's 700 cost a tenth of the time.
    gc.set_threshold(50_000, 10, 10)
    serve(sys.stdin.buffer, replies, int(sys.argv[1]))
    while True:  # the pipe has no other end any more: the process that asks ends, and this one with it
        signal.pause()
