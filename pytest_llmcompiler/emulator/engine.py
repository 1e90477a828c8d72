"""The engine in this process: runs of a suite that are only asked whether they show the same.

Candidates run here without any bounds but a run's limit: only a child of a judge's process may load one.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pytest_llmcompiler.emulator.engine_build import library_path
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.errors import EngineError

LeftReason = Literal[
    "not left", "unsupported", "fault", "limit", "stack", "hook", "end", "result", "object", "variable", "register",
    "frame", "heap", "errno", "output", "call", "alignment", "system call", "inspection",
]  # fmt: skip
"""Why a run is left to Python, in the order of `LeftReason` in `engine.h`; `not left` for a run that shows the
same."""
_REASONS: tuple[LeftReason, ...] = get_args(LeftReason)
FILL_NUMBERS: Mapping[UninitialisedFill, int] = {
    fill: number for number, fill in enumerate(get_args(UninitialisedFill))
}
"""The fills as the engine numbers them."""


@functools.cache
def _load_library() -> ctypes.CDLL:
    """The engine's functions. Raises EngineError."""
    try:
        library = ctypes.CDLL(str(library_path()))
    except OSError as error:
        raise EngineError(f"the engine can't be loaded: {error}") from error
    functions: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
        "engine_open_image": (ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_uint64)),
        "engine_load_candidate": (ctypes.c_bool, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64)),
        "engine_count_entries": (ctypes.c_uint32, (ctypes.c_void_p,)),
        "engine_run": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int)),
        "engine_run_whole_program": (ctypes.c_int, (ctypes.c_void_p,)),
        "engine_close_image": (None, (ctypes.c_void_p,)),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Engine:
    """A program and its suite in the engine."""

    def __init__(self, handle: int, image: bytes) -> None:
        self._library, self._handle = _load_library(), handle
        self._images = [image]
        """The engine reads the images as long as it is open."""

    @classmethod
    def open(cls, image: bytes) -> Engine:
        """Load a program and its suite. Raises EngineError."""
        handle = _load_library().engine_open_image(image, len(image))
        if not handle:
            raise EngineError("the engine can't load a program")
        return cls(handle, image)

    def load_candidate(self, image: bytes) -> None:
        """Load a candidate in the place of the function under test, once. Raises EngineError."""
        self._images.append(image)
        if not self._library.engine_load_candidate(self._handle, image, len(image)):
            raise EngineError("the engine can't load a candidate")

    @property
    def entry_count(self) -> int:
        """The inputs of the suite."""
        return int(self._library.engine_count_entries(self._handle))

    def run(self, entry: int, fill: UninitialisedFill = "garbage") -> LeftReason:
        """Run an input of the suite, and say why the run is left to Python."""
        if not 0 <= entry < self.entry_count:
            raise EngineError(f"the suite has no input {entry}")
        return _REASONS[int(self._library.engine_run(self._handle, entry, FILL_NUMBERS[fill]))]

    def run_program(self) -> LeftReason:
        """Run the whole program, if the image has it, and say why the run is left to Python."""
        return _REASONS[int(self._library.engine_run_whole_program(self._handle))]

    def close(self) -> None:
        """Free the emulator. No other method may be called afterwards."""
        self._library.engine_close_image(self._handle)
