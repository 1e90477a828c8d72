"""A request on its way through the pool."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from concurrent.futures import Future

from pytest_llmcompiler.judge.messages import Request
from pytest_llmcompiler.judge.source_texts import hold_source

_NUMBERS = itertools.count()


class EncodedRequest:
    """A request as it is sent, without the text that it is about. Answers to one question share it."""

    def __init__(self, request: Request) -> None:
        self.function = request["function"]["function_key"]
        """The key of the function."""
        self.case = request["function"]["case_key"]
        """The key of the case."""
        self.is_ahead = request["action"] == "prepare"
        """Whether nobody waits for the reply: the function is only to be prepared."""
        self.item = f"{request['function']['case']}::{request['function']['function']}"
        """The function's name in messages."""
        hold_source(request["function"]["path"], self)
        self.json = json.dumps(request).encode()
        self._digest = hashlib.blake2b(self.json, digest_size=20)

    def hash_text(self, data: bytes) -> bytes:
        """A digest of the request about a text, which is given in UTF-8."""
        digest = self._digest.copy()
        digest.update(data)
        return digest.digest()


class Ticket:
    """A request about a text, with those who wait for its reply."""

    def __init__(self, request: EncodedRequest, text: str, seconds: float | None = None) -> None:
        """`seconds` is the time limit."""
        self.request, self.seconds = request, seconds
        self._text = text.encode("utf-8", "surrogatepass")
        self.number = next(_NUMBERS)
        """Its place in the order of arrival."""
        self.key = request.hash_text(self._text)
        """The same for the same request about the same text."""
        self.futures: list[Future[bytes]] = [Future()]
        """One for each that waits. The result is a `Reply` as JSON."""
        self.deaths = 0
        """How many processes died at work on it."""
        self.is_done = False
        self.is_doubled = False
        """Whether a second process was sent it too, since the first is at work on another for long."""

    @property
    def function(self) -> str:
        """The key of the function."""
        return self.request.function

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for the reply."""
        return not all(future.cancelled() for future in self.futures)

    def split(self) -> Ticket | None:
        """The same request again, for all that wait for its reply but the first; None where there are no others."""
        rest = [future for future in self.futures[1:] if not future.cancelled()]
        del self.futures[1:]
        if not rest:
            return None
        ticket = copy.copy(self)
        ticket.number, ticket.futures = next(_NUMBERS), rest
        ticket.deaths, ticket.is_done, ticket.is_doubled = 0, False, False
        return ticket

    def encode(self) -> bytes:
        """The request as a judge process reads it: a line with the bytes of the text and the request, and the text."""
        return b"%d %b\n%b" % (len(self._text), self.request.json, self._text)

    def resolve(self, reply: bytes) -> None:
        """Give the reply to all that wait."""
        self.is_done = True
        for future in self.futures:
            if future.set_running_or_notify_cancel():
                future.set_result(reply)

    def fail(self, error: Exception) -> None:
        """Raise an error for all that wait."""
        self.is_done = True
        for future in self.futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
