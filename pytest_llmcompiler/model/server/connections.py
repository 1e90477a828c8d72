"""HTTP connections: a short timeout for connecting, none of urllib's redirects."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from email.message import Message
from typing import IO

CONNECT_TIMEOUT = 30.0
"""Seconds for a TCP connection: more than any network takes. An answer may take much longer."""


def build_opener() -> urllib.request.OpenerDirector:
    """An opener for http and https that follows no redirect."""
    return urllib.request.build_opener(_NoRedirectHandler, _HttpHandler, _HttpsHandler)


class _Connection(http.client.HTTPConnection):
    """Waits at most CONNECT_TIMEOUT for the connection, and notices a peer that has vanished while it waits for the
    answer."""

    def connect(self) -> None:
        answer_timeout = self.timeout
        self.timeout = min(answer_timeout or CONNECT_TIMEOUT, CONNECT_TIMEOUT)
        super().connect()
        self.sock.settimeout(answer_timeout)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    pass


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


class _NoRedirectHandler(urllib.request.HTTPRedirectHandler):
    """A redirect would send the API key to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None
