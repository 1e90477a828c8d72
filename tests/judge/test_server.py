"""What a judge process does with requests, and what it says of each."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
from faces import CaseOf

from pytest_llmcompiler.judge import server, tasks
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.judge.messages import AnswerRequest, describe_function
from pytest_llmcompiler.judge.ticket import EncodedRequest, Ticket
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import Case

RIGHT = "f:\n\tleal\t1(%rdi), %eax\n\tretq\n"
WRONG = "f:\n\tleal\t2(%rdi), %eax\n\tretq\n"


def request(case: Case, text: str, *, explain: bool = True) -> bytes:
    described: AnswerRequest = {
        "action": "answer",
        "function": describe_function(case, "f", None, asdict(JudgeSettings(examples=5))),
        "task": "asm",
        "passes": "O0",
        "stop": "eos",
        "explain": explain,
    }
    return Ticket(EncodedRequest(described), text).encode()


class _LateRequests(io.RawIOBase):
    """A pipe into which each request is written when the one before it is answered."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests, self._rest = requests, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._rest or next(self._requests, b"")
        size = min(len(data), len(buffer))
        buffer[:size], self._rest = data[:size], data[size:]
        return size


def run_server(requests: Iterable[bytes]) -> list[str]:
    """What the process says, line by line."""
    replies = io.BytesIO()
    server.serve(io.BufferedReader(_LateRequests(iter(requests))), replies, 1)
    return replies.getvalue().decode().splitlines()


def serve(requests: Iterable[bytes]) -> list[str]:
    """What the process says, line by line, with the kind of a verdict in its place."""
    said = []
    for line in run_server(requests):
        reply = json.loads(line[1:]) if line[0] in "FDR" else {}
        said.append(line[0] + (f" {reply['verdict']['verdict']}" if "verdict" in reply else reply.get("status", "")))
    return said


def test_a_process_says_what_it_does(case_of: CaseOf) -> None:
    case = case_of("int f(int x) { return x + 1; }\n")
    nothing = request(case, "I can't.")
    assert serve([nothing, request(case, RIGHT), request(case, WRONG), nothing]) == [
        "K",
        *("F no-answer", "B", "P", "F pass", "F mismatch", "F no-answer"),
    ], "a text is looked for before the function is prepared"


def test_a_file_that_changes_is_prepared_again(case_of: CaseOf) -> None:
    case = case_of("int f(int x) { return x + 1; } // changes\n")

    def requests() -> Iterator[bytes]:
        yield request(case, WRONG)
        case.path.write_text("int f(int x) { return x + 2; }\n")
        yield request(case, WRONG)
        case.path.write_text("int f(int x) { return }\n")
        yield request(case, WRONG)
        case.path.write_text("int f(int x) { return x + 2; }\n")
        yield request(case, WRONG)

    prepared = ["B", "P", "F pass"]
    assert serve(requests()) == ["K", "B", "P", "F mismatch", *prepared, "B", "Rcase-error", *prepared]


def test_code_with_other_comments_gets_the_same_verdict_and_does_not_run_again(
    case_of: CaseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, judged = case_of("int f(int x) { return x + 1; } // comments\n"), list[str]()

    def judge_task(harness: Any, question: Any, text: str, **options: Any) -> Verdict:
        judged.append(text)
        return tasks.judge_task(harness, question, text, **options)

    monkeypatch.setattr(server, "judge_task", judge_task)
    crash = "f:\n\tmovl\t8, %eax\n\tretq\n"
    texts = [
        RIGHT,
        f"{RIGHT}# more\n",
        RIGHT.replace("\n", " # f\n", 1),
        crash,
        crash.replace("\tretq", "\tretq # end"),
    ]
    texts += [crash.replace("%eax\n", f"%eax # {word}\n") for word in ("one", "two")]
    texts += [RIGHT.replace("1", "01"), f"{RIGHT}\tnop\n"]
    refused = [RIGHT.replace("\tretq", f"\t{bad}\n\tretq") for bad in ("foo", "call\tg")]
    texts += [text for one in refused for text in (one, f"{one}# bad\n")]
    verdicts = [
        json.loads(line[1:])["verdict"] for line in run_server(request(case, one, explain=False) for one in texts)[3:]
    ]
    assert judged == [texts[number] for number in (0, 3, 5, 6, 7, 8, 9, 11)], "a line that is quoted counts as it is"
    kinds = [verdict["verdict"] for verdict in verdicts]
    assert kinds == [*("pass",) * 3, *("crash",) * 4, "pass", "pass", *("assemble",) * 2, *("link",) * 2]
    assert verdicts[0] == verdicts[1] == verdicts[2] and verdicts[3] == verdicts[4]
    quotes = [line for verdict in verdicts[3:7] for line in verdict["detail"]["evidence"] if "line 2" in line]
    assert [line.split("movl 8, %eax")[1] for line in quotes] == ["", "", " # one", " # two"]


def test_an_inconclusive_verdict_is_doubtful(case_of: CaseOf, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = Verdict("inconclusive", "its process was killed")
    monkeypatch.setattr(server, "judge_task", lambda *arguments, **options: killed)
    case = case_of("int f(int x) { return x + 1; }\n")
    assert serve([request(case, RIGHT)])[-1] == "D inconclusive"
