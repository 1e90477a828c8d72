"""What one server takes from its clients."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmcompiler.errors import SettingError


@dataclass(frozen=True)
class ServiceLimits:
    """The limits of one server. Raises SettingError where they contradict each other."""

    body_bytes: int = 16 << 20
    """The longest body of a request. 1,024 samples of 8 KiB of source and answer each fit."""
    samples: int = 1024
    """The most samples of one request."""
    queue: int = 8192
    """The most samples of all requests that wait for a verdict at one time."""
    connections: int = 512
    """The most connections at one time. One more is answered with 503 and closed."""
    body_seconds: float = 60.0
    """Seconds that a client has to send a body, and from the connection on to send a request."""
    send_seconds: float = 30.0
    """Seconds that a client has, at the end of the server, to read an answer that is ready."""

    def __post_init__(self) -> None:
        if self.samples > self.queue:
            raise SettingError(
                f"a request may have {self.samples} samples, and only {self.queue} may wait: "
                "raise --max-queue or lower --max-samples"
            )
