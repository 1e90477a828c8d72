"""The calls by which a run reads standard input, as far as they say what they read: the demands of a program.

A generator of inputs learns from them what comes next: where `scanf("%d %d", …)` finds no text any more, two numbers
are missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pytest_llmcompiler.emulator.machine import Machine

_MAX_CALLS = 400
"""Calls of a run that are kept: a generator asks for a few more tokens each time."""
_MAX_FORMAT_BYTES = 256

_FORMATS = {"scanf": 0, "__isoc99_scanf": 0, "__isoc23_scanf": 0}
"""Functions that read standard input, with the argument that is their format."""
_STREAM_FORMATS = {"fscanf": 1, "__isoc99_fscanf": 1, "__isoc23_fscanf": 1}
"""The same for functions whose first argument is the stream."""
_LINES = {"gets": None, "fgets": 2, "getdelim": 3}
"""Functions that read a line, with the argument that is the stream. `getline` calls `getdelim`."""
_CHARACTERS = {"getchar": None, "getc": 0, "fgetc": 0, "getchar_unlocked": None, "fread": 3}
"""Functions that read characters."""
_TEXT_FORMATS = {"sscanf": 1, "__isoc99_sscanf": 1, "__isoc23_sscanf": 1}
"""Functions that read a text, which may be a line of standard input."""
_NUMBER_PARSERS = ("atoi", "atol", "atoll", "strtol", "strtoul", "strtoll", "strtoull", "atof", "strtod", "strtof")


class InputCall(NamedTuple):
    """A call that reads standard input."""

    format: bytes
    """The format of `scanf`; `line` and `text` for functions that read a line or characters."""
    unread: bytes
    """What was left of standard input at the call."""


LINE, TEXT = b"line", b"text"


class InputCalls:
    """Records the calls of a machine's runs. To be built before the machine's first run."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._guest = machine, machine.guest
        self.calls: list[InputCall] = []
        """The calls of the last run that read standard input, in their order."""
        self.line_formats: dict[bytes, None] = {}
        """The formats by which texts are read, of all runs."""
        self._watched: set[int] = set()
        """The addresses of the functions: several names may be those of one."""
        self.parses_numbers = False
        """Whether a run made a number of a text."""
        for name, argument in _FORMATS.items():
            self._watch(name, functools.partial(self._on_format, argument, None))
        for name, argument in _STREAM_FORMATS.items():
            self._watch(name, functools.partial(self._on_format, argument, 0))
        for kind, functions in ((LINE, _LINES), (TEXT, _CHARACTERS)):
            self._watch_all(kind, functions)
        self._watch("read", self._on_read_descriptor)
        for name, argument in _TEXT_FORMATS.items():
            self._watch(name, functools.partial(self._on_text_format, argument))
        for name in _NUMBER_PARSERS:
            self._watch(name, self._on_number)

    def reset(self) -> None:
        """Forget the calls of the last run."""
        self.calls = []

    def _watch_all(self, kind: bytes, functions: Mapping[str, int | None]) -> None:
        for name, stream in functions.items():
            self._watch(name, functools.partial(self._on_read, kind, stream))

    def _watch(self, name: str, action: Callable[[int], None]) -> None:
        symbol = self._machine.program.library.get(name)
        if symbol is not None and symbol.address not in self._watched:
            self._watched.add(symbol.address)
            self._guest.watch(symbol.address, symbol.address, action)

    def _on_format(self, argument: int, stream: int | None, _: int) -> None:
        if self._reads_input(stream):
            self._add(self._read_format(argument))

    def _on_read(self, kind: bytes, stream: int | None, _: int) -> None:
        if self._reads_input(stream):
            self._add(kind)

    def _on_read_descriptor(self, _: int) -> None:
        if self._guest.library_argument(0) == 0:
            self._add(TEXT)

    def _on_text_format(self, argument: int, _: int) -> None:
        if len(self.line_formats) < _MAX_CALLS:
            self.line_formats[self._read_format(argument)] = None

    def _on_number(self, _: int) -> None:
        self.parses_numbers = True

    def _reads_input(self, stream: int | None) -> bool:
        return stream is None or self._guest.library_argument(stream) == self._guest.streams[0]

    def _read_format(self, argument: int) -> bytes:
        return self._guest.read_string(self._guest.library_argument(argument), _MAX_FORMAT_BYTES)

    def _add(self, format: bytes) -> None:
        if len(self.calls) < _MAX_CALLS:
            self.calls.append(InputCall(format, self._machine.unread_input()))
