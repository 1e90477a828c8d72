"""The child process in which a candidate runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.emulator.native.build import program_path

_SECONDS = 120
"""Limit of the CPU time of a candidate's runs, in seconds. Runs are limited by instructions, so only a fault of the
emulator comes near it."""
_MEGABYTES = 16_384
"""Address space of the process, in MiB: unicorn reserves gigabytes that it never touches."""
_NATIVE_FILE_BYTES = 256 << 20
"""The longest file of the process, in bytes, where candidates may run natively: it has the memory of a program."""


def call_isolated(function: Callable[..., Any], *args: Any, natively: bool) -> Any:
    """The result of a function that runs hostile code, computed in a child process.

    Raises ChildDiedError, ChildTimeoutError and ChildLostError.
    """
    return sandbox.call(
        function,
        *args,
        seconds=_SECONDS,
        megabytes=_MEGABYTES,
        file_bytes=_NATIVE_FILE_BYTES if natively else sandbox.OUTPUT_BYTES,
        is_confined=not natively,
        programs=(program_path(),) if natively else (),
    )
