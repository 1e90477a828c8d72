"""What a judge process does with requests: the same text is judged once, as long as it means the same."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from faces import CaseOf

from pytest_llmcompiler.judge import server
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.judge.tasks import TaskQuestion, judge_task
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import Case

RIGHT = "f:\n\tleal\t1(%rdi), %eax\n\tretq\n"
WRONG = "f:\n\tleal\t2(%rdi), %eax\n\tretq\n"


def request(case: Case, text: str, *, explain: bool = True) -> str:
    candidate = {
        "path": str(case.path),
        "case": case.name,
        "function": "f",
        "text": text,
        "clang": None,
        "flag_sources": case.flag_sources.to_json(),
        "settings": asdict(JudgeSettings(examples=5)),
    }
    question = asdict(TaskQuestion())
    return json.dumps(
        {"action": "judge", "candidate": candidate, "question": question, "explain": explain, "with_reproducer": False}
    )


def serve(requests: Iterator[str]) -> list[dict[str, Any]]:
    """The verdicts that answer the requests."""
    replies = io.StringIO()
    server.serve(requests, replies)  # type: ignore[arg-type]
    envelopes = map(json.loads, replies.getvalue().splitlines())
    return [envelope["reply"]["verdict"] for envelope in envelopes if envelope["reply"]]


def test_the_same_text_is_judged_once(case_of: CaseOf, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []
    verdicts = iter([Verdict("inconclusive", "its process was killed")])

    def observe(harness: Any, question: Any, text: str, *, explain: bool) -> Verdict:
        judged.append(text)
        return next(verdicts, None) or judge_task(harness, question, text, explain=explain)

    monkeypatch.setattr(server, "judge_task", observe)
    case = case_of("int f(int x) { return x + 1; }\n")

    def requests() -> Iterator[str]:
        yield from [request(case, RIGHT)] * 3
        yield from [request(case, WRONG), request(case, WRONG), request(case, WRONG, explain=False)]
        case.path.write_text("int f(int x) { return x + 2; }\n")
        yield from [request(case, WRONG)] * 2

    kinds = [verdict["verdict"] for verdict in serve(requests())]
    assert kinds == ["inconclusive", "pass", "pass", "mismatch", "mismatch", "mismatch", "pass", "pass"]
    assert judged == [RIGHT, RIGHT, WRONG, WRONG, WRONG], (
        "an inconclusive verdict, or one without explanation, is judged"
    )
