"""What the clients of judge processes and these processes say to each other, in lines.

A request is one line: a JSON array of the request and the text that it is about. The request is the same object for all
answers to a question, so it is written once for all of them.

A process answers with lines that begin with one letter:

    B            it begins to prepare the function of the request, which was not ready
    P{…}         the function is ready: a `PreparedNote`
    K[…]         the keys of the functions that it has ready are others now
    F{…}         the last line for a request, a `Reply` that may be kept: the same request gets the same one
    D{…}         a `Reply` that may be another one the next time
    R{…}         any other `Reply`

The first line of a process is `K[]`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, TypedDict

from pytest_llmcompiler.judge.reproducer import Reproducer
from pytest_llmcompiler.model.answer import StopReason, Task
from pytest_llmcompiler.program.case import Case

BEGIN, PREPARED, KEYS, FINAL, DOUBTFUL, OTHER = b"B", b"P", b"K", b"F", b"D", b"R"
"""The letters."""


class RequestedFunction(TypedDict):
    """The function that a request is about, and how its case is compiled."""

    path: str
    """The absolute path of the case."""
    case: str
    """The name of the case in records."""
    function: str
    clang: str | None
    """The compiler of the case; None for the bundled one."""
    flag_sources: dict[str, Any]
    """The fields of `FlagSources`."""
    program: bool
    """Whether the case is a whole program where it has a `main`, without a directive."""
    settings: dict[str, Any]
    """The fields of `JudgeSettings`."""
    case_key: str
    """The same for functions whose cases are compiled in the same way."""
    function_key: str
    """The same for candidates that are judged by the same prepared function."""


class JudgeRequest(TypedDict):
    """Asks for a verdict on a text: assembly, IR or a pass list."""

    action: Literal["judge"]
    function: RequestedFunction
    question: dict[str, Any]
    """The fields of `TaskQuestion`."""
    explain: bool
    with_reproducer: bool


class AnswerRequest(TypedDict):
    """Asks for a verdict on a model's answer, in which the text has to be found first."""

    action: Literal["answer"]
    function: RequestedFunction
    task: Task
    passes: str
    stop: StopReason
    explain: bool


class ListingRequest(TypedDict):
    """Asks for the listing of a candidate's code."""

    action: Literal["list"]
    function: RequestedFunction


class PrepareRequest(TypedDict):
    """Asks for a function to be prepared, before there is a candidate."""

    action: Literal["prepare"]
    function: RequestedFunction


class VerdictReply(TypedDict):
    """Answers a `JudgeRequest` and an `AnswerRequest`."""

    status: Literal["verdict"]
    verdict: dict[str, Any]
    """The verdict as `Verdict.to_json` writes it."""
    reproducer: Reproducer | None


class ListingReply(TypedDict):
    """Answers a `ListingRequest`."""

    status: Literal["listing"]
    blocks: list[list[tuple[int, str]]] | None
    """The fields of `ListingLine`, by blocks; None where there is no listing."""


class PreparedReply(TypedDict):
    """Answers a `PrepareRequest`."""

    status: Literal["prepared"]


class FailedReply(TypedDict):
    """Answers a request that could not be carried out."""

    status: Literal["case-error", "judge-error"]
    """Whether the case is at fault, or the harness."""
    message: str


Request = JudgeRequest | AnswerRequest | ListingRequest | PrepareRequest
Reply = VerdictReply | ListingReply | PreparedReply | FailedReply


class PreparedNote(TypedDict):
    """What a process says when a function is ready."""

    keys: list[str]
    """The keys of all functions that the process has ready."""
    files: list[tuple[str, int, int]]
    """The fields of `FileState` of the files that the function is compiled from: while they stay the same, verdicts do
    too."""


def describe_function(case: Case, function: str, clang: str | None, settings: dict[str, Any]) -> RequestedFunction:
    """The function of a request, with its keys."""
    path = str(case.path.absolute())  # where a link leads, quoted includes are others
    flag_sources, program = case.flag_sources.to_json(), case.has_program_option
    case_key = _digest([path, case.name, clang, flag_sources, settings["target"], program])
    function_key = _digest([case_key, function, settings])
    return {
        "path": path,
        "case": case.name,
        "function": function,
        "clang": clang,
        "flag_sources": flag_sources,
        "program": program,
        "settings": settings,
        "case_key": case_key,
        "function_key": function_key,
    }


def _digest(values: list[Any]) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
