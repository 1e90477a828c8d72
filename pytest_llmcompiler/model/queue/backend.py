"""What makes answers: a model in this process, or a server."""

from __future__ import annotations

from typing import Any, Protocol

from pytest_llmcompiler.model.queue.job_queue import JobQueue


class Backend(Protocol):
    """One object makes the answers of a whole session."""

    def describe(self) -> dict[str, Any]:
        """JSON-serialisable facts for the report header and the records: at least `backend` and `name`."""

    def identity(self) -> dict[str, Any]:
        """JSON-serialisable: all that an answer depends on beside its question, its number and the sampling."""

    def usage(self) -> dict[str, float]:
        """What it did so far, where it knows: `tokens` written, `from_draft` of them, seconds `busy` and `idle`."""

    def work(self, job_queue: JobQueue) -> None:
        """Make what the desk wants until it is closed. Raises ModelError where that can't go on."""

    def close(self) -> None:
        """Free what is held. Called when `work` has returned."""
