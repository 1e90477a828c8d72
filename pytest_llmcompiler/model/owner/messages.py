"""What the owner process and its clients say to each other.

The owner process gets its configuration as a line of JSON on standard input. Requests and replies are pickled objects
on a Unix socket. A request is followed by any number of values, and then by an `End` or an error.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_llmcompiler.errors import LLMCompilerError, ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import ModelSettings, Sampling

Action = Literal["describe", "plan", "answers", "usage"]


@dataclass(frozen=True)
class OwnerConfiguration:
    """What an owner process is started for."""

    spec: str
    """The path of a GGUF file, or the URL of a server."""
    socket: str
    """The path of the socket on which clients come."""
    settings: ModelSettings

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> OwnerConfiguration:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        settings = fields["settings"]
        paths = {name: settings[name] and Path(settings[name]) for name in ("store", "log")}
        sampling = Sampling(**settings["sampling"])
        return cls(fields["spec"], fields["socket"], ModelSettings(**{**settings, **paths, "sampling": sampling}))


@dataclass(frozen=True)
class Request:
    """A request of a client."""

    action: Action
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ReplyValue:
    """A value of a reply: a fact, or one answer of several."""

    value: Any


@dataclass(frozen=True)
class End:
    """The reply is complete."""


@dataclass(frozen=True)
class ErrorReply:
    """The request failed. Errors cross the socket as data: an exception may hold objects that can't be pickled."""

    message: str
    counts: tuple[int, int] | None = None
    """For a prompt that is too long: its tokens, and those of the context."""

    @classmethod
    def from_error(cls, error: ModelError | PromptTooLongError) -> ErrorReply:
        """The reply for an error."""
        counts = (error.prompt_tokens, error.context) if isinstance(error, PromptTooLongError) else None
        return cls(str(error), counts)

    def to_error(self) -> LLMCompilerError:
        """The error to raise in the client."""
        return PromptTooLongError(*self.counts) if self.counts else ModelError(self.message)


Reply = ReplyValue | End | ErrorReply
