"""`llmc serve`: from the options of the command line to a running server, and its end."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import SettingError
from pytest_llmcompiler.service.http.app import JudgeApplication
from pytest_llmcompiler.service.http.confinement import confine
from pytest_llmcompiler.service.http.connections import build_protocol
from pytest_llmcompiler.service.http.faces import Face
from pytest_llmcompiler.service.http.gate import is_loopback
from pytest_llmcompiler.service.http.limits import ServiceLimits
from pytest_llmcompiler.service.judge import Judge
from pytest_llmcompiler.temporary import make_folder

TOKEN_VARIABLE = "LLMC_SERVE_TOKEN"
"""The environment variable that has the token where no file has it."""
_LEAST_TOKEN = 16
"""The fewest characters of a token: one that is shorter could be guessed."""
_LOOK_SECONDS = 0.05
"""How often a server that ends looks whether all is answered."""
_ENDS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class ServerSettings:
    """How one server runs."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 is any free port."""
    token_file: Path | None = None
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    judge: dict[str, Any] = field(default_factory=dict)
    """The arguments of `Judge`."""


def read_settings(options: argparse.Namespace, *, count_agreeing: bool) -> ServerSettings:
    """The settings in parsed arguments; `count_agreeing` is as for `Judge`. Raises SettingError."""
    names = ("workers", "examples", "seed", "effort", "explain", "timeout", "native", "isa")
    return ServerSettings(
        options.host,
        options.port,
        options.token_file,
        ServiceLimits(options.max_body << 20, options.max_samples, options.max_queue),
        {name: getattr(options, name) for name in names} | {"count_agreeing": count_agreeing},
    )


def run_server(settings: ServerSettings, faces: Sequence[Face], constants: Mapping[str, object]) -> int:
    """Serve until a signal ends it, with routes besides those of the server itself.

    Returns the exit status: 0 where all that was taken is answered, otherwise 1. Raises SettingError where a setting is
    at fault, the port is in use, or a library is missing.
    """
    try:
        import prometheus_client  # noqa: F401
        import pydantic  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        missing = f"`llmc serve` needs {error.name}: pip install 'pytest-llmcompiler[serve]'"
        raise SettingError(missing) from error
    token = _read_token(settings)
    listener = _listen(settings)
    temporary = make_folder()
    try:
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        unconfined = confine(temporary)  # before there is a thread or process that it would not hold for
        with listener, Judge(**settings.judge) as judge:
            _announce(settings, listener, token, unconfined)
            application = JudgeApplication(judge, settings.limits, token, faces, constants)
            return _RunningServer(application, settings.limits).run(listener)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _RunningServer:
    """A running server. The first signal refuses new work and ends the server when all is answered, a second one ends
    it at once."""

    def __init__(self, application: JudgeApplication, limits: ServiceLimits) -> None:
        import uvicorn

        self._application, self._limits = application, limits
        application.on_start = self._catch_signals
        self._is_forced = False
        self._ending: asyncio.Task[None] | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._application.gate,
                http=build_protocol(limits, application.metrics),
                lifespan="on",
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=1,  # `_end` has waited for the answers
            )
        )
        application.metrics.count_connections = self._server.server_state.connections.__len__

    def run(self, listener: socket.socket) -> int:
        self._server.run(sockets=[listener])
        return 1 if self._is_forced else 0

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _ENDS:
            loop.add_signal_handler(number, self._note_signal)

    def _note_signal(self) -> None:
        if self._ending is None:
            self._application.admission.is_closing = True
            self._ending = asyncio.get_running_loop().create_task(self._end())
        else:
            self._is_forced = self._server.force_exit = self._server.should_exit = True

    async def _end(self) -> None:
        """End the server when every sample has its verdict, and every client had time to read it."""
        admission = self._application.admission
        print(f"llmc serve: ending, {admission.waiting} samples still wait", file=sys.stderr, flush=True)
        while admission.waiting:
            await asyncio.sleep(_LOOK_SECONDS)
        deadline = time.monotonic() + self._limits.send_seconds
        while admission.answering and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
        self._server.should_exit = True


def _read_token(settings: ServerSettings) -> str | None:
    """The token; None where none is asked for. Raises SettingError."""
    token: str | None
    if settings.token_file:
        try:
            token = settings.token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise SettingError(f"{settings.token_file}: the token can't be read: {error}") from error
        origin = str(settings.token_file)
    else:
        token, origin = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
    _forget_variable()
    if token is None:
        if not is_loopback(settings.host):
            raise SettingError(
                f"a server at {settings.host} can be reached from other machines, so it needs a token: "
                f"--token-file FILE, or the variable {TOKEN_VARIABLE}"
            )
        return None
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingError(f"{origin}: a token has {_LEAST_TOKEN} or more visible ASCII characters")
    return token


def _forget_variable() -> None:
    """Remove the token from the environment of this process and its children, and from what /proc shows of it."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    address = getenv(TOKEN_VARIABLE.encode())
    if address:
        ctypes.memset(address, 0, len(ctypes.string_at(address)))
    os.environ.pop(TOKEN_VARIABLE, None)


def _listen(settings: ServerSettings) -> socket.socket:
    """The socket of the server. Raises SettingError where the address is taken or is none of this machine."""
    place = f"{settings.host}, port {settings.port}"
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        hint = "; name another one with --port" if "in use" in (error.strerror or "") else ""
        raise SettingError(f"can't listen at {place}: {error.strerror}{hint}") from error


def _announce(settings: ServerSettings, listener: socket.socket, token: str | None, unconfined: str | None) -> None:
    """Say on standard error where the server is, and what protects it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    lines = [f"listening at http://{host}:{listener.getsockname()[1]}", "a token is needed" if token else "no token"]
    lines.append(f"not confined: {unconfined}" if unconfined else "confined by Landlock")
    print(f"llmc serve: {', '.join(lines)}", file=sys.stderr, flush=True)
