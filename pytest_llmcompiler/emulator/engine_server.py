"""The engine's processes: a server, a template for each function, a child for each sample (see `engine/server.c`)."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.assembler.keystone_engine import find_library
from pytest_llmcompiler.assembler.operands import KeystoneRefusalError
from pytest_llmcompiler.emulator.engine import LeftReason
from pytest_llmcompiler.emulator.engine_build import server_path
from pytest_llmcompiler.emulator.engine_look import MAX_LEADS, MAX_REACHING, Lead, LookRequest, read_leads
from pytest_llmcompiler.errors import EngineError

_OPEN, _READY, _TEXT, _CODE, _CANDIDATE, _RESULT, _END, _FAILED, _LEFT, _SHOW, _SHOWN = range(1, 12)
"""The kinds of frames, as in `server.c`."""
_RUN_SECONDS = 120.0
"""Time limit of a candidate's runs. Runs are limited by the code that they execute: only a fault of unicorn comes near
it."""
_OPEN_SECONDS = 120.0
"""Time limit of a template's start: it loads the program, and runs the reference on all inputs."""
_MAX_FAILED_STARTS = 3
"""Starts of the server that may fail in a process, for lack of memory perhaps, before no further one is tried."""
_GRACE_SECONDS = 10.0
"""Time that a template may take beyond that of its child."""
_REASONS: tuple[LeftReason, ...] = get_args(LeftReason)
_BREACH_ONLY = 1 << 31
"""A bit beside the number of an input that is left, as in `server.c`."""
_MAX_FRAME_BYTES = 64 << 20
"""Bytes of the largest reply that is read. The longest code and the longest list of inputs are far smaller."""


@dataclass(frozen=True)
class EngineResult:
    """What the engine says of a candidate. Whatever is left has to be run by Python."""

    left: tuple[int, ...]
    """The numbers of the inputs on which the candidate was not shown to do the same."""
    is_program_left: bool
    """Whether the whole program was not shown to do the same."""
    is_inspection_left: bool
    """Whether the inspection was not done, or noticed something."""
    runs: int
    """Runs of the candidate in the engine."""
    left_runs: dict[LeftReason, int]
    """How many of them were left, by reason."""
    breaches: frozenset[int] = frozenset()
    """The inputs among `left` on which the candidate does the same, and breaks a rule of the calling convention."""
    look_inputs: int = 0
    """Inputs of the second look that the reference and the candidate both ran on."""
    leads: tuple[Lead, ...] = ()
    """Those on which they differ."""
    reaching: tuple[Lead, ...] = ()
    """Those on which the reference takes an edge that it takes on no input of the suite."""
    instructions: int = 0
    """Instructions that the candidate executed on the inputs of the suite, but for those of `uncounted`."""
    uncounted: tuple[int, ...] = ()
    """The numbers of the inputs on which it is not known how many these are."""


class EngineServer:
    """The server. It is started at once, and ends with this process. Raises EngineError where it can't be started."""

    def __init__(self) -> None:
        self._control, control = socket.socketpair()
        self._owner = os.getpid()
        command = [str(server_path()), str(control.fileno()), str(find_library() or "")]
        # Functions of libraries are bound at the start: each child would look up again those that it calls first.
        environment = {**os.environ, "LD_BIND_NOW": "1"}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(control.fileno(),),
                env=environment,
            )
        except OSError as error:
            self._control.close()
            raise EngineError(f"the engine can't be started: {error}") from error
        finally:
            control.close()

    @property
    def is_usable(self) -> bool:
        """Whether the server runs, and belongs to this process: a forked child must not use its parent's."""
        return self._owner == os.getpid() and self._process.poll() is None

    def open_template(self, image: bytes, *, has_twin: bool = False) -> EngineTemplate:
        """A template for a function, from the image of its program and suite. Only one with a twin, a second machine
        for the reference, can take a second look at candidates. Raises EngineError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"t"], [theirs.fileno()])
            return EngineTemplate(ours, image, has_twin=has_twin)
        except OSError as error:
            ours.close()
            raise EngineError(f"the engine's server does not answer: {error}") from error

    def close(self) -> None:
        """End the server. Its templates end when they are closed."""
        self._control.close()
        if self._owner == os.getpid():
            self._process.kill()
            self._process.wait()


class EngineTemplate:
    """A process that judges candidates for one function. Every method raises EngineError where the process is gone."""

    def __init__(self, connection: socket.socket, image: bytes, *, has_twin: bool) -> None:
        self._socket = connection
        self._has_child = False
        """Whether the present sample may have a child: one that has shown the same has ended."""
        self._deadline = 0.0
        """Until when the present sample may run."""
        connection.settimeout(_OPEN_SECONDS)
        self._send(_OPEN, struct.pack("<I", has_twin) + image)
        kind, data = self._receive()
        if kind != _READY or len(data) != 12:
            raise EngineError("the engine can't load the function")
        self.inputs, self.unsupported, self._reserve = struct.unpack("<3I", data)
        """How many inputs the suite has, on how many of them the engine can't even run the reference, and how many
        further ones the image has for second looks."""

    def encode(self, text: str, base: int, limits: AssemblerLimits) -> bytes | None:
        """The bytes of a text at an address, by keystone, in a new child; None where the child died of it. Raises
        KeystoneRefusalError where keystone refuses the text."""
        self.end_sample()
        request = struct.pack("<Q", base) + text.encode()
        self._has_child = True
        kind, data = self._ask(_TEXT, request, limits.keystone_seconds)
        if kind == _FAILED:
            raise KeystoneRefusalError(f"keystone: {data.decode(errors='replace')}")
        return data if kind == _CODE else None

    def run(
        self, candidate: bytes, look: LookRequest | None = None, *, is_first_enough: bool = False
    ) -> EngineResult | None:
        """Run a candidate on the suite, in the child that assembled it; None where the child died of it. Where the
        candidate shows the same, `look` tells which further inputs are tried. With `is_first_enough`, all inputs behind
        the first one that shows something else are left without a run."""
        self._has_child, self._deadline = False, time.monotonic() + _RUN_SECONDS
        request = look.encode() if look else b""
        head = struct.pack("<2I", is_first_enough, len(request))
        kind, data = self._ask(_CANDIDATE, head + request + candidate, _RUN_SECONDS)
        self._has_child = kind == _LEFT
        return self._read_result(data) if kind in (_RESULT, _LEFT) else None

    def show(self, entry: int, fill: int, registers: Sequence[int]) -> bytes:
        """What a left run of the present sample shows, which is repeated, on an input and with a fill. `registers` are
        unicorn's numbers of those that are read. Nothing where that can't be told. `engine_machine` reads it."""
        seconds = self._deadline - time.monotonic()
        if not self._has_child or seconds <= 0:
            return b""
        request = struct.pack(f"<3I{len(registers)}I", entry, fill, len(registers), *registers)
        kind, data = self._ask(_SHOW, request, seconds)
        self._has_child = kind == _SHOWN
        return data if kind == _SHOWN else b""

    def end_sample(self) -> None:
        """End the child of a sample that is not run, or fails."""
        if self._has_child:
            self._has_child = False
            self._send(_END, b"")

    def close(self) -> None:
        """End the process."""
        self._socket.close()

    def _ask(self, kind: int, data: bytes, seconds: float) -> tuple[int, bytes]:
        self._socket.settimeout(seconds + _GRACE_SECONDS)
        self._send(kind, struct.pack("<I", round(seconds * 1000)) + data)
        return self._receive()

    def _send(self, kind: int, data: bytes) -> None:
        try:
            self._socket.sendall(struct.pack("<2I", kind, len(data)) + data)
        except OSError as error:
            raise EngineError(f"the engine does not answer: {error}") from error

    def _receive(self) -> tuple[int, bytes]:
        kind, size = struct.unpack("<2I", self._receive_bytes(8))
        if size > _MAX_FRAME_BYTES:
            raise EngineError("the engine's reply is too long")
        return kind, self._receive_bytes(size)

    def _receive_bytes(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self._socket.recv(size - len(data))
            except OSError as error:
                raise EngineError(f"the engine does not answer: {error}") from error
            if not part:
                raise EngineError("the engine's process ended")
            data += part
        return bytes(data)

    def _read_result(self, data: bytes) -> EngineResult | None:
        """A result, which hostile code may have written; None where it is none."""
        with contextlib.suppress(struct.error):
            is_program_left, is_inspection_left, count = struct.unpack_from("<3I", data)
            left = struct.unpack_from(f"<{min(count, self.inputs)}I", data, 12)
            runs, _, *by_reason = struct.unpack_from(f"<{2 + len(_REASONS)}Q", data, 12 + 4 * len(left))
            at = 12 + 4 * len(left) + 8 * (2 + len(_REASONS))
            instructions, count = struct.unpack_from("<QI", data, at)
            uncounted = struct.unpack_from(f"<{min(count, self.inputs)}I", data, at + 12)
            at += 12 + 4 * len(uncounted)
            (look_inputs,) = struct.unpack_from("<I", data, at)
            bases = self.inputs + self._reserve
            leads, at = read_leads(data, at + 4, bases, MAX_LEADS)
            reaching, _ = read_leads(data, at, bases, MAX_REACHING)
            breaches = frozenset(number & ~_BREACH_ONLY for number in left if number & _BREACH_ONLY)
            left = tuple(number & ~_BREACH_ONLY for number in left)
            if all(number < self.inputs for number in (*left, *uncounted)):
                reasons = {name: number for name, number in zip(_REASONS, by_reason, strict=True) if number}
                lefts = left, bool(is_program_left), bool(is_inspection_left)
                looked = look_inputs, leads, reaching
                return EngineResult(*lefts, runs, reasons, breaches, *looked, instructions, uncounted)
        return None


class _Server:
    """The server of this process, once somebody asked for it."""

    def __init__(self) -> None:
        self._server: EngineServer | None = None
        self._problem = ""
        """Why the last start failed."""
        self._failed_starts = 0

    def get(self) -> EngineServer:
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise EngineError(self._problem)
        if self._server is None or not self._server.is_usable:
            try:
                self._server = EngineServer()
            except EngineError as error:
                self._problem = str(error)
                self._failed_starts += 1
                raise
        return self._server


_SERVER = _Server()


def find_problem() -> str:
    """Why there can be no engine; empty where there can. It is built and started for that, and ended again."""
    try:
        EngineServer().close()
    except EngineError as error:
        return str(error)
    return ""


def has_engine() -> bool:
    """Whether this process has an engine. Its server is started for that, and kept."""
    try:
        _SERVER.get()
    except EngineError:
        return False
    return True


def open_template(image: bytes, *, has_twin: bool = False) -> EngineTemplate:
    """A template in the server of this process. Raises EngineError."""
    return _SERVER.get().open_template(image, has_twin=has_twin)
