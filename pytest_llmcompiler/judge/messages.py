"""What the clients of judge processes and these processes say to each other: JSON objects, one a line.

A request is followed by an `Envelope` with its reply. A request that needs the function's inputs is followed by one
without a reply before, as soon as the function is prepared.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, TypedDict

from pytest_llmcompiler.judge.reproducer import Reproducer


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


class PrepareRequest(TypedDict):
    """Asks for a function to be prepared, before there is a candidate."""

    action: Literal["prepare"]
    candidate: Candidate
    """Without a text."""


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


class PreparedReply(TypedDict):
    """Answers a `PrepareRequest`."""

    status: Literal["prepared"]


class FailedReply(TypedDict):
    """Answers a request that could not be carried out."""

    status: Literal["case-error", "judge-error"]
    """Whether the case is at fault, or the harness."""
    message: str


Request = JudgeRequest | ListingRequest | PrepareRequest
Reply = VerdictReply | ListingReply | PreparedReply | FailedReply


class Envelope(TypedDict):
    """One line of a judge process."""

    reply: Reply | None
    """None where the line only says that a function is prepared; the reply follows."""
    prepared: list[str]
    """The keys of all functions that the process has ready."""


def build_case_key(candidate: Candidate) -> str:
    """The same text for candidates whose cases are compiled in the same way."""
    target = candidate["settings"]["target"]
    return _digest([candidate["path"], candidate["case"], candidate["clang"], candidate["flag_sources"], target])


def build_function_key(candidate: Candidate) -> str:
    """The same text for candidates that are judged by the same prepared function."""
    return _digest([build_case_key(candidate), candidate["function"], candidate["settings"]])


def _digest(values: list[Any]) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
