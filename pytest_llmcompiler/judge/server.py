"""What a judge process does: it answers requests, one after another, on standard input and output."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
import traceback
import weakref
from typing import IO

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.listing import Listing
from pytest_llmcompiler.judge.messages import Envelope, Reply, Request
from pytest_llmcompiler.judge.prepared import PreparedFunctions
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.settings import TaskQuestion
from pytest_llmcompiler.judge.tasks import judge_task, judge_task_with_reproducer

_KEPT_REPLIES = 64
"""Replies that are kept of each function. Samples of one question are often the same text: of the small model's 360
answers for `cases/small.c` 146 differ."""


def serve(requests: IO[str], replies: IO[str]) -> None:
    """Answer requests until they end."""
    functions = PreparedFunctions()
    kept: weakref.WeakKeyDictionary[Harness, dict[str, Reply]] = weakref.WeakKeyDictionary()

    def write(reply: Reply | None) -> None:
        envelope: Envelope = {"reply": reply, "prepared": functions.keys}
        replies.write(json.dumps(envelope) + "\n")
        replies.flush()

    for line in requests:
        request: Request = json.loads(line)
        try:
            if request["action"] != "list" and functions.prepare(request["candidate"]):
                write(None)
            harness = functions.open(request["candidate"])
            reply = _answer_once(request, harness, kept.setdefault(harness, {}))
        except CaseError as error:
            reply = {"status": "case-error", "message": str(error)}
        except Exception:
            reply = {"status": "judge-error", "message": traceback.format_exc()}
        functions.let_go()
        write(reply)


def _answer_once(request: Request, harness: Harness, kept: dict[str, Reply]) -> Reply:
    """The reply to a request. `kept` has replies to earlier requests for the same harness.

    The case, the settings and the text determine a verdict. An inconclusive one may have come from a process that was
    killed, so it is no use to another sample. Reproducers are large, and rarely asked for.
    """
    key = hashlib.sha256(json.dumps(request).encode()).hexdigest()
    if key in kept:
        return kept[key]
    reply = _answer(request, harness)
    is_final = reply["status"] == "verdict" and reply["verdict"]["verdict"] != "inconclusive"
    if is_final and request["action"] == "judge" and not request["with_reproducer"]:
        if len(kept) >= _KEPT_REPLIES:
            del kept[next(iter(kept))]
        kept[key] = reply
    return reply


def _answer(request: Request, harness: Harness) -> Reply:
    if request["action"] == "prepare":
        if harness.find_unjudgeable_reason() is None:
            harness.engine.start()
        return {"status": "prepared"}
    text = request["candidate"]["text"]
    if request["action"] == "list":
        return {"status": "listing", "blocks": _json_blocks(harness.listing(text))}
    question, explain = TaskQuestion(**request["question"]), request["explain"]
    if request["with_reproducer"]:
        judged = judge_task_with_reproducer(harness, question, text, explain=explain)
    else:
        judged = ReproducibleVerdict(judge_task(harness, question, text, explain=explain))
    return {"status": "verdict", "verdict": judged.verdict.to_json(), "reproducer": judged.reproducer}


def _json_blocks(listing: Listing | None) -> list[list[tuple[int, str]]] | None:
    return [[(line.number, line.text) for line in block] for block in listing] if listing is not None else None


def main() -> None:
    """Serve on standard input and output; whatever else prints goes to standard error."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    gc.collect()
    gc.freeze()  # what the imports made stays: without it each collection looks through all of that
    serve(sys.stdin, replies)
