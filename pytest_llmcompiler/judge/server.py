"""What a judge process does: it answers requests, one after another, on standard input and output."""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from typing import IO

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.judge.listing import Listing
from pytest_llmcompiler.judge.messages import Envelope, Reply, Request
from pytest_llmcompiler.judge.prepared import PreparedFunctions
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.tasks import TaskQuestion, judge_task, judge_task_with_reproducer


def serve(requests: IO[str], replies: IO[str]) -> None:
    """Answer requests until they end."""
    functions = PreparedFunctions()

    def write(reply: Reply | None) -> None:
        envelope: Envelope = {"reply": reply, "prepared": functions.keys}
        replies.write(json.dumps(envelope) + "\n")
        replies.flush()

    for line in requests:
        request: Request = json.loads(line)
        try:
            if request["action"] != "list" and functions.prepare(request["candidate"]):
                write(None)
            reply = _answer(request, functions)
        except CaseError as error:
            reply = {"status": "case-error", "message": str(error)}
        except Exception:
            reply = {"status": "judge-error", "message": traceback.format_exc()}
        functions.let_go()
        write(reply)


def _answer(request: Request, functions: PreparedFunctions) -> Reply:
    if request["action"] == "prepare":
        return {"status": "prepared"}
    harness, text = functions.open(request["candidate"]), request["candidate"]["text"]
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
