"""What `GET /metrics` says, in the text format of Prometheus."""

from __future__ import annotations

import typing
from collections.abc import Callable

from pytest_llmcompiler.judge.source_texts import count_sources
from pytest_llmcompiler.judge.verdict import KINDS, Kind
from pytest_llmcompiler.service.http.admission import Admission
from pytest_llmcompiler.service.http.refusals import Reason

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""The bounds of the histograms: from a verdict on a warm function to one that waits behind a long queue."""


class ServiceMetrics:
    """The numbers of one server. A sample that was taken is judged, abandoned or in the queue:

    `llmc_samples_total` = sum of `llmc_verdicts_total` + `llmc_abandoned_samples_total` + `llmc_queue_samples`.
    """

    def __init__(self, admission: Admission, workers: int) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.count_connections: Callable[[], int] = lambda: 0
        """How many connections there are; given by whoever has them."""
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("llmc_requests", "Requests with an answer", ["path", "status"], registry=registry)
        self._refused = Counter("llmc_refused_requests", "Requests that were refused", ["reason"], registry=registry)
        self._samples = Counter("llmc_samples", "Samples that were taken", registry=registry)
        self._verdicts = Counter("llmc_verdicts", "Verdicts by kind", ["verdict"], registry=registry)
        self._abandoned = Counter(
            "llmc_abandoned_samples", "Samples without a verdict, since their client left", registry=registry
        )
        self._verdict_seconds = Histogram(
            "llmc_verdict_seconds",
            "Seconds from the arrival of a sample to its verdict",
            buckets=_SECONDS,
            registry=registry,
        )
        self._request_seconds = Histogram(
            "llmc_request_seconds",
            "Seconds from the arrival of a request to the end of its answer",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        waiting = Gauge("llmc_queue_samples", "Samples that wait for a verdict", registry=registry)
        waiting.set_function(lambda: admission.waiting)
        requests = Gauge(
            "llmc_waiting_requests", "Requests that were taken and have no whole answer", registry=registry
        )
        requests.set_function(lambda: admission.answering)
        connections = Gauge("llmc_connections", "Connections of clients", registry=registry)
        connections.set_function(lambda: self.count_connections())
        sources = Gauge("llmc_source_files", "Source texts that are kept as files", registry=registry)
        sources.set_function(count_sources)
        Gauge("llmc_queue_limit", "The most samples that may wait", registry=registry).set(admission.limit)
        Gauge("llmc_workers", "Judge processes at most", registry=registry).set(workers)
        for kind in KINDS:
            self._verdicts.labels(kind)
        for reason in typing.get_args(Reason):
            self._refused.labels(reason)

    def note_request(self, path: str, status: int, seconds: float) -> None:
        """A request got its answer."""
        self._requests.labels(path, str(status)).inc()
        self._request_seconds.labels(path).observe(seconds)

    def note_refusal(self, reason: Reason) -> None:
        """A request is refused."""
        self._refused.labels(reason).inc()

    def note_taken(self, count: int) -> None:
        """Samples have places in the queue."""
        self._samples.inc(count)

    def note_verdict(self, kind: Kind, seconds: float) -> None:
        """A sample has its verdict."""
        self._verdicts.labels(kind).inc()
        self._verdict_seconds.observe(seconds)

    def note_abandoned(self, count: int) -> None:
        """Samples get no verdict."""
        self._abandoned.inc(count)

    def format(self) -> tuple[bytes, str]:
        """The text, and its media type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_LATEST
