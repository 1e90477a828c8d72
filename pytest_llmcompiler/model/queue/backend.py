"""The protocol of a backend: what generates answers, be it a model in this process or a server."""

from __future__ import annotations

from typing import Any, Protocol

from pytest_llmcompiler.model.queue.job_queue import JobQueue


class Backend(Protocol):
    """One object generates the answers of a whole session."""

    def describe(self) -> dict[str, Any]:
        """JSON-serialisable facts for the report header and the records: at least `backend` and `name`."""

    def identity(self) -> dict[str, Any]:
        """JSON-serialisable: all facts that an answer depends on beside its question, its number and the sampling."""

    def usage(self) -> dict[str, float]:
        """What it did so far, as far as it knows: `tokens` written, `from_draft` of them proposed by drafts, seconds
        `busy` and `idle`."""

    def work(self, job_queue: JobQueue) -> None:
        """Generate what the job queue wants until it is closed. Raises ModelError where that can't go on."""

    def close(self) -> None:
        """Free what it holds. Called once `work` has returned."""
