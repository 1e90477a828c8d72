"""An HTTP server for tests that sends prepared replies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], Any]
"""Status, headers, and body: bytes, or an object to send as JSON."""

MODELS: Reply = (200, {}, {"data": [{"id": "m"}]})


def completion(text: str = "f:\n\tret\n", **fields: Any) -> Reply:
    """A reply with one answer."""
    return 200, {}, {"choices": [{"text": text, "finish_reason": "stop", **fields}]}


def completions(count: int) -> Reply:
    """A reply with several answers, whose texts are their numbers."""
    return 200, {}, {"choices": [{"text": f"{number}", "finish_reason": "stop"} for number in range(count)]}


def send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    """Write a reply."""
    status, headers, content = reply
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(data)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


class Script:
    """The replies of a server: those listed, one after another, then those that `rest` computes from a request.

    `requests` records the path, the headers and the JSON of each request.
    """

    def __init__(
        self, *replies: Reply | Callable[[BaseHTTPRequestHandler], None], rest: Callable[[Any], Reply] | None
    ) -> None:
        self.replies = list(replies)
        self.rest = rest
        self.requests: list[tuple[str, dict[str, str], Any]] = []

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = json.loads(body) if body else None
        self.requests.append((handler.path, headers, request))
        reply = self.replies.pop(0) if self.replies or not self.rest else self.rest(request)
        if callable(reply):
            reply(handler)
            return
        send(handler, reply)

    def sent(self, field: str) -> list[Any]:
        """The value of a field in each request but the first, which asks for the models; None where it has none."""
        return [request.get(field) for _, _, request in self.requests[1:]]


@contextmanager
def serve(
    *replies: Reply | Callable[[BaseHTTPRequestHandler], None],
    rest: Callable[[Any], Reply] | None = None,
    port: int = 0,
) -> Iterator[tuple[str, Script]]:
    """Run a server on localhost. The value is the URL of its API and its script. Port 0 is any free one."""
    script = Script(*replies, rest=rest)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.handle(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection with no answer."""
    handler.close_connection = True
