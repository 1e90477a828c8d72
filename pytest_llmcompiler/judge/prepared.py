"""The functions that a judge process keeps ready, and the memory that they take."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import os
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.messages import RequestedFunction
from pytest_llmcompiler.judge.pool import WORKER_MEGABYTES
from pytest_llmcompiler.judge.program_harness import AnyHarness, ProgramHarness
from pytest_llmcompiler.judge.program_under_test import MAIN
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.model.llama.resources import count_cores, measure_free_memory
from pytest_llmcompiler.program.cached_reference import CachedReference
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import FlagSources
from pytest_llmcompiler.program.file_cache import FileCache, FileState
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target

_MOST_FUNCTIONS = 128
"""Functions that a judge process keeps ready: small ones, since others take more memory than it may have."""
_MEASURE_SECONDS = 1.0
"""How often memory is measured at most, while no function is prepared."""
_MEASURE_SHARE = 0.01
"""The share of the time that measuring may take. To measure takes up to some milliseconds, and far longer on a machine
that has other things to do."""
_ERROR_SECONDS = 1.0
"""How long the error of a case is kept, where its file does not change: a batch may have a thousand answers for it, and
compiling takes a tenth of a second. A header that it needs may come at any time."""
_KEPT_SHARE = 0.75
"""What is kept when functions are let go, as a share of their number: collecting garbage takes a tenth of a second, so
several are let go at once."""


class PreparedFunctions:
    """The functions that were asked for last, each ready to judge, with their compiled cases.

    At most `most_functions`, and fewer where the process has more than `most_megabytes`; None: than `find_part` says of
    the memory that is free now, for a pool of `processes`. The function that was asked for last is always kept.
    """

    def __init__(
        self, most_functions: int = _MOST_FUNCTIONS, most_megabytes: int | None = None, *, processes: int = 1
    ) -> None:
        self._most_functions, self._most_megabytes, self._processes = most_functions, most_megabytes, processes
        self._references: FileCache[Reference] = FileCache(most_functions)
        self._harnesses: dict[str, AnyHarness] = {}
        """By the keys of functions; the one that was asked for last is the last."""
        self._ready: set[str] = set()
        """The keys of those whose inputs are computed."""
        self._next_measurement = 0.0
        self._has_replaced = False
        """Whether there may be garbage in what is frozen: a function of which a newer one has taken the place."""
        self._errors: dict[str, tuple[CaseError, FileState, float]] = {}
        """By the keys of cases: the last error, the file then, and until when it counts."""

    @property
    def keys(self) -> list[str]:
        """The keys of the functions that are ready."""
        return [key for key in self._harnesses if key in self._ready]

    def open(self, function: RequestedFunction) -> AnyHarness:
        """The harness of a function, which may not be ready yet. Raises CaseError."""
        key, reference = function["function_key"], self._compile_case(function)
        harness = self._harnesses.pop(key, None)
        if harness is None or harness.reference is not reference:  # a file of the case has changed
            self._ready.discard(key)
            self._has_replaced = self._has_replaced or harness is not None
            harness = _open_harness(reference, function["function"], JudgeSettings(**function["settings"]))
        self._harnesses[key] = harness
        return harness

    def find(self, function: RequestedFunction) -> AnyHarness | None:
        """The harness of a function that is ready; None for any other."""
        key = function["function_key"]
        harness = self._harnesses.get(key) if key in self._ready else None
        # Where another function of a changed case came first, there is another reference.
        if harness is None or self._references.find_current(function["case_key"]) is not harness.reference:
            return None
        self._harnesses[key] = self._harnesses.pop(key)
        return harness

    def list_files(self, function: RequestedFunction) -> tuple[FileState, ...]:
        """The files that a function was compiled from, as they were then."""
        return self._references.files(function["case_key"])

    def prepare(self, function: RequestedFunction) -> AnyHarness:
        """Make a function ready: the first candidate takes no longer than others. Raises CaseError."""
        harness = self.open(function)
        if harness.find_unjudgeable_reason() is None:
            harness.start()
        self._ready.add(function["function_key"])
        self._next_measurement = 0.0
        if self._has_replaced:
            gc.unfreeze()
            self._has_replaced = False
        # What is ready stays: without this, each full collection looks through all of it.
        gc.collect()
        gc.freeze()
        return harness

    def let_go(self) -> bool:
        """Forget the functions that were asked for the longest time ago, if there are too many or they are too large.
        Returns whether there were any."""
        if time.monotonic() < self._next_measurement:
            return False
        count, start = len(self._harnesses), time.monotonic()
        while len(self._harnesses) > 1 and self._is_too_large():
            kept = max(1, int(len(self._harnesses) * _KEPT_SHARE))
            self._forget(list(self._harnesses)[: len(self._harnesses) - kept])
        now = time.monotonic()
        self._next_measurement = now + max(_MEASURE_SECONDS, (now - start) / _MEASURE_SHARE)
        return len(self._harnesses) < count

    def _is_too_large(self) -> bool:
        process, limit = os.getpid(), self._find_most_bytes()
        if len(self._harnesses) > self._most_functions:
            return True
        # What is resident is quickly known, and never less than the share of the pages.
        return measure_memory(process, _read_resident) > limit and measure_memory(process) > limit

    def _find_most_bytes(self) -> int:
        if self._most_megabytes is not None:
            return self._most_megabytes << 20
        return find_part(self._processes, count_cores(), measure_free_memory())

    def _forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            del self._harnesses[key]
            self._ready.discard(key)
        in_use = {id(harness.reference) for harness in self._harnesses.values()}
        self._references.keep(lambda reference: id(reference) in in_use)
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        _return_free_memory()

    def _compile_case(self, function: RequestedFunction) -> Reference:
        """The reference of a function's case. Raises CaseError."""
        key, path = function["case_key"], Path(function["path"])
        error, state, end = self._errors.get(key, (None, None, 0.0))
        if error and time.monotonic() < end and state == FileState.read(path):
            raise error
        self._errors = {key: one for key, one in self._errors.items() if time.monotonic() < one[2]}

        def compile_case() -> tuple[Reference, Iterable[Path]]:
            sources = FlagSources.from_json(function["flag_sources"])
            case = read_case(path, function["case"], sources, program=function["program"])
            target = get_target(function["settings"]["target"])
            reference = CachedReference(case, Toolchain(function["clang"], target))
            return reference, (*reference.source_files, *case.list_input_files())

        try:
            return self._references.find(key, compile_case)
        except CaseError as error:
            self._errors[key] = error, FileState.read(path), time.monotonic() + _ERROR_SECONDS
            raise


def find_part(processes: int, cores: int, free: int) -> int:
    """The bytes that a judge process may take, of a pool of `processes` on a machine with so many cores and so many
    bytes of free memory. Half of that is shared by all processes: a machine with room for all functions of a batch does
    not load them again and again. A process that is alone in its pool may have others beside it, such as the actors of
    Ray, of which there are as many as cores."""
    return max(WORKER_MEGABYTES << 20, free // (2 * (processes if processes > 1 else cores)))


def _open_harness(reference: Reference, function: str, settings: JudgeSettings) -> AnyHarness:
    """The harness of a function, or of the whole program where that is what the case is. Raises CaseError."""
    if not reference.is_program:
        return Harness(reference, function, settings)
    if function != MAIN:
        raise CaseError(f"{reference.case.path}: this is a whole program, whose function is main, not {function}")
    return ProgramHarness(reference, settings)


def _read_share(pid: int) -> int:
    """The bytes of a process that are not of files. A page that forked processes share counts for each in part. The
    kernel walks through all pages for that, which takes milliseconds."""
    words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return int(words[words.index("Pss_Anon:") + 1]) << 10


def _read_resident(pid: int) -> int:
    """The bytes of a process that are not of files, with all that it shares."""
    _, resident, of_files, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    return (resident - of_files) * resource.getpagesize()


def measure_memory(pid: int, read: Callable[[int], int] = _read_share) -> int:
    """The memory of a process and of its descendants, in bytes: without the pages of files, such as the libraries that
    all judge processes have in common."""
    try:
        anonymous = read(pid)
        children = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (OSError, ValueError):  # it has ended; or a kernel before 5.4, where only the number of functions counts
        return 0
    return anonymous + sum(measure_memory(int(child), read) for child in itertools.chain.from_iterable(children))


def _return_free_memory() -> None:
    """Return freed memory to the system. Without this, glibc keeps what lies between blocks that are in use."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
