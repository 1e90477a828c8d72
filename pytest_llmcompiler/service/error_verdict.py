"""Errors as verdicts, for batches that no sample may end, and back."""

from __future__ import annotations

from pytest_llmcompiler.errors import CaseError, JudgeError, JudgeTimeoutError, SettingError
from pytest_llmcompiler.judge.verdict import Verdict

_RAISED = {error.__name__: error for error in (CaseError, JudgeError, SettingError, ValueError)}


def describe_error(error: Exception) -> Verdict:
    """The verdict on a sample that could not be judged."""
    message = str(error)
    kind = "Timeout" if isinstance(error, JudgeTimeoutError) else type(error).__name__
    return Verdict("inconclusive", message, detail={"error": {"type": kind, "message": message}})


def make_error_verdict(message: str) -> Verdict:
    """The verdict on a sample that the harness could not judge."""
    return describe_error(JudgeError(message))


def raise_error(verdict: Verdict) -> Verdict:
    """The verdict. Raises the error that it stands for: CaseError, JudgeError, SettingError or ValueError. A time limit
    is a verdict."""
    error = verdict.detail.get("error")
    if isinstance(error, dict) and error.get("type") in _RAISED:
        raise _RAISED[error["type"]](error["message"])
    return verdict
