"""The endpoint of a face: from a request to the verdicts on its samples."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.service.http.admission import Admission, Reservation
from pytest_llmcompiler.service.http.bodies import build_line
from pytest_llmcompiler.service.http.faces import Batch, Face
from pytest_llmcompiler.service.http.limits import ServiceLimits
from pytest_llmcompiler.service.http.metrics import ServiceMetrics
from pytest_llmcompiler.service.http.refusals import (
    FieldFault,
    Receive,
    RefusalError,
    Scope,
    Send,
    send_json,
    send_refusal,
)
from pytest_llmcompiler.service.http.request_body import ClientGoneError, find_header, read_body
from pytest_llmcompiler.service.http.sources import find_file_access
from pytest_llmcompiler.service.judge import Judge
from pytest_llmcompiler.service.sample import Sample

JSON_LINES = "application/x-ndjson"
"""The media type of a streamed answer: one JSON object a line."""


class FaceEndpoint:
    """An ASGI application for one path. A client that leaves frees the places of its samples."""

    def __init__(
        self, face: Face, judge: Judge, limits: ServiceLimits, admission: Admission, metrics: ServiceMetrics
    ) -> None:
        self._face, self._judge, self._limits = face, judge, limits
        self._admission, self._metrics = admission, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._answer(scope, receive, send)
        except RefusalError as refusal:
            self._metrics.note_refusal(refusal.reason)
            await send_refusal(send, refusal)
        except ClientGoneError:
            return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises RefusalError before anything is sent, ClientGoneError before there is a body."""
        body = await read_body(scope, receive, self._limits)
        batch = await asyncio.to_thread(self._read, body)
        is_streamed = self._face.can_stream and (
            batch.is_streamed or JSON_LINES in (find_header(scope, "accept") or "")
        )
        with self._admission.take(len(batch.samples)) as places:
            self._metrics.note_taken(places.left)
            answer = self._send_lines if is_streamed else self._send_whole
            work = asyncio.ensure_future(answer(batch, places, send))
            leaving = asyncio.ensure_future(_wait_until_gone(receive))
            try:
                await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                leaving.cancel()
                if not work.done():
                    work.cancel()
                await asyncio.gather(work, leaving, return_exceptions=True)
                self._metrics.note_abandoned(places.left)
        if not work.cancelled():
            work.result()

    def _read(self, body: bytes) -> Batch:
        """The samples of a body. Raises RefusalError."""
        batch = self._face.read(body)
        if len(batch.samples) > self._limits.samples:
            text = f"a request has at most {self._limits.samples} samples, and this one has {len(batch.samples)}"
            raise RefusalError(413, "batch", text)
        faults = [
            FieldFault(batch.name_field(index, name), reason)
            for index, sample in enumerate(batch.samples)
            for name, reason in find_file_access(sample)
        ]
        if faults:
            raise RefusalError(422, "files", f"{faults[0].field}: {faults[0].message}", faults)
        return batch

    async def _send_whole(self, batch: Batch, places: Reservation, send: Send) -> None:
        verdicts = [verdict async for verdict in self._judge_all(batch.samples, places)]
        await send_json(send, 200, batch.build_answer(verdicts))

    async def _send_lines(self, batch: Batch, places: Reservation, send: Send) -> None:
        """Send a line for each verdict. A client that reads slowly holds no places: its lines wait in memory."""
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def judge() -> None:
            index = 0
            async for verdict in self._judge_all(batch.samples, places):
                lines.put_nowait(json.dumps(build_line(index, verdict), separators=(",", ":")).encode() + b"\n")
                index += 1

        work = asyncio.ensure_future(judge())
        work.add_done_callback(lambda _: lines.put_nowait(None))
        try:
            headers = [(b"content-type", JSON_LINES.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while (line := await lines.get()) is not None:
                await send({"type": "http.response.body", "body": line, "more_body": True})
            await work
            await send({"type": "http.response.body", "body": b""})
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _judge_all(self, samples: Sequence[Sample], places: Reservation) -> AsyncIterator[Verdict]:
        """The verdicts in the order of the samples, each of which frees a place."""
        start = time.monotonic()
        async for verdict in self._judge.acheck_many(samples):
            places.note_verdict()
            self._metrics.note_verdict(verdict.kind, time.monotonic() - start)
            yield verdict


async def _wait_until_gone(receive: Receive) -> None:
    """Wait until the client closes its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
