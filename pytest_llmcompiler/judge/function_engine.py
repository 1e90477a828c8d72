"""The engine for the candidates of one function, with Python's path where the engine can't serve."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.assembler.keystone_engine import run_keystone
from pytest_llmcompiler.emulator.engine import LeftReason
from pytest_llmcompiler.emulator.engine_candidate import write_candidate
from pytest_llmcompiler.emulator.engine_look import LookRequest
from pytest_llmcompiler.emulator.engine_server import EngineResult, EngineTemplate, open_template
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.judge.engine_suite import ImageKind
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.targets.code import AssembledCode

_Result = TypeVar("_Result")
_Key = tuple[ImageKind, bytes, LookRequest | None]
"""The kind of the image, the identity of the code, and what is looked for."""
_NOTHING = EngineResult((), is_program_left=True, is_inspection_left=True, runs=0, left_runs={})
"""Of no candidate anything is known."""

_USUAL = ImageKind()
_KEPT_RESULTS = 256
"""Candidates of a function of which the result is kept: about 1 KB each, and what is shown of those that fail."""
_KEPT_SHOWN_BYTES = 1 << 14
"""Bytes that are kept of what is shown of one candidate: more than most functions write."""
_ATTEMPTS = 3
"""Templates that may fail one after the other. Then the engine is not asked any more for this function."""


@dataclass
class EngineStatistics:
    """What the engine did for a function."""

    candidates: int = 0
    """Candidates that ran in it, or whose code had run before."""
    settled: int = 0
    """Candidates of which it showed all that a pass needs: Python had nothing to run."""
    shown: int = 0
    """Candidates whose failure it showed: Python had nothing to run either."""
    runs: int = 0
    left_runs: Counter[LeftReason] = field(default_factory=Counter)
    """Runs that were left to Python, by reason."""


@dataclass
class _KnownCandidate:
    """What is known of a candidate."""

    result: EngineResult
    shown: dict[tuple[int, ...], bytes] = field(default_factory=dict)
    """What its left runs show, by what was asked for."""
    _bytes: int = 0

    def keep_shown(self, request: tuple[int, ...], data: bytes) -> None:
        """Keep what a run shows, if there is room for it."""
        if self._bytes + len(data) <= _KEPT_SHOWN_BYTES:
            self.shown[request] = data
            self._bytes += len(data)


class FunctionEngine:
    """Runs candidates in the engine's templates for a function.

    There is a template for each kind of image that candidates need. `build_image` gives the image; it is called when a
    candidate first needs the kind. A template that fails is replaced. What the engine can't do is left to the caller:
    nothing here raises EngineError. `has_looks` tells whether candidates get a second look, `is_first_enough` whether
    only the first input counts on which a candidate shows something else: those behind it are then left without a run.
    """

    def __init__(
        self, build_image: Callable[[ImageKind], bytes], *, has_looks: bool = False, is_first_enough: bool = False
    ) -> None:
        self._build_image, self._has_looks, self._is_first_enough = build_image, has_looks, is_first_enough
        self._templates: dict[ImageKind, EngineTemplate] = {}
        self._failures = 0
        self._last_failure = ""
        self._known: dict[_Key, _KnownCandidate] = {}
        """What is known of candidates, by their code and what was looked for. Those that were asked for last are at the
        end."""
        self._present = _KnownCandidate(_NOTHING)
        """What is known of the candidate of the present sample."""
        self._run_again: Callable[[], object] | None = None
        """Runs the code of the present sample, which has run before, but not in this sample."""
        self.statistics = EngineStatistics()
        self.problem = ""
        """Why the engine did not run the last candidate; empty where it did, or where it can run no such one."""

    @contextlib.contextmanager
    def sample(self) -> Iterator[None]:
        """Assemble and run one candidate inside of this context: both happen in one process, which then ends."""
        try:
            yield
        finally:
            for template in list(self._templates.values()):
                self._guard(template.end_sample)

    def encode(self, text: str, base: int, limits: AssemblerLimits) -> bytes:
        """The bytes of a text, by keystone. Raises KeystoneRefusalError for every failure."""
        template = self._open(_USUAL)
        code = self._guard(lambda: template.encode(text, base, limits)) if template else None
        # Where the child died of the text, Python's path says in words of what.
        return code if code is not None else run_keystone(text, base, limits)

    def run(
        self,
        program: ProgramImage,
        candidate: AssembledCode,
        function: str,
        kind: ImageKind,
        look: LookRequest | None = None,
        *,
        has_glibc_results: bool = False,
        is_own: bool = False,
    ) -> EngineResult | None:
        """What the engine says of a candidate for a program; None where it can't run it.

        A candidate that may have results of glibc's may show on each input what either kind of image expects. One that
        shows the same everywhere gets a second look, if `look` asks for one. What `is_own`, clang's code of the
        function, is no part of the statistics.
        """

        def run_code() -> EngineResult | None:
            image = write_candidate(program, candidate, function)
            if image is None:
                return None
            return self._run_image(kind, image, look, has_glibc_results=has_glibc_results)

        # The code and the look determine what happens: texts with the same code need not run again.
        key = kind, candidate.identity, look
        self.problem = ""
        known = self._known.pop(key, None)
        self._run_again = run_code if known else None
        if known is None:
            result = run_code()
            if result is None:
                return None
            known = _KnownCandidate(result)
        self._known[key] = self._present = known
        if len(self._known) > _KEPT_RESULTS:
            del self._known[next(iter(self._known))]
        if not is_own:
            self._count(replace(known.result, runs=0) if self._run_again else known.result)
        return known.result

    def _run_image(
        self, kind: ImageKind, image: bytes, look: LookRequest | None, *, has_glibc_results: bool
    ) -> EngineResult | None:
        is_first_enough = self._is_first_enough and not has_glibc_results
        result = self._run(kind, image, look, is_first_enough=is_first_enough)
        if result is not None and not is_settled(result) and has_glibc_results:
            return self._run_for_glibc(kind, image, result)
        return result

    def _run(
        self, kind: ImageKind, image: bytes, look: LookRequest | None = None, *, is_first_enough: bool = False
    ) -> EngineResult | None:
        for _ in range(_ATTEMPTS):
            template = self._open(kind)
            if template is None:
                self.problem = self._last_failure
                return None
            try:
                result = template.run(image, look, is_first_enough=is_first_enough)
            except EngineError as error:  # the template is gone: the candidate is no cause of that
                self._fail(error)
                self.close()
                continue
            self._failures = 0
            self.problem = "" if result else "the engine's process for it ended"
            return result
        return None

    def _run_for_glibc(self, kind: ImageKind, image: bytes, first: EngineResult) -> EngineResult:
        """The result of a candidate, joined with what it shows of what is expected of code for glibc."""
        usual = self._templates.get(kind)
        # Only a run of the reference tells what the engine can't compare, and it shows other results than these.
        if usual is None or usual.unsupported:
            return first
        second = self._run(kind._replace(of_glibc=True), image)
        return _join(first, second) if second else first

    def show(self, kind: ImageKind, entry: int, fill: int, registers: Sequence[int]) -> bytes:
        """What a left run of the present sample shows (see `EngineTemplate.show`); nothing where that can't be told."""
        request = entry, fill, *registers
        data = self._present.shown.get(request, b"")
        if data:
            return data
        if self._run_again is not None:  # of the code that has run before, this has not been asked yet
            self._run_again()
            self._run_again = None
        template = self._templates.get(kind)
        data = self._guard(lambda: template.show(entry, fill, registers)) or b"" if template else b""
        self._present.keep_shown(request, data)
        return data

    @property
    def is_usable(self) -> bool:
        """Whether there is an engine, which is started for that."""
        return self._open(_USUAL) is not None

    def start(self) -> None:
        """Start the template of most candidates before the first one comes."""
        self._open(_USUAL)

    def close(self) -> None:
        """End the templates. They are started again when a candidate comes."""
        for template in self._templates.values():
            template.close()
        self._templates.clear()

    def give_up(self) -> None:
        """Let Python's path serve for all further candidates."""
        self.close()
        self._failures = _ATTEMPTS

    def _open(self, kind: ImageKind) -> EngineTemplate | None:
        if kind not in self._templates and self._failures < _ATTEMPTS:
            try:
                has_twin = self._has_looks and not kind.of_glibc
                self._templates[kind] = open_template(self._build_image(kind), has_twin=has_twin)
            except EngineError as error:
                self._fail(error)
        return self._templates.get(kind)

    def _fail(self, error: EngineError) -> None:
        self._failures += 1
        self._last_failure = self.problem = str(error)

    def _guard(self, action: Callable[[], _Result]) -> _Result | None:
        """The result of an action of the template; None where the template fails, which is then given up."""
        try:
            result = action()
        except EngineError as error:
            self._fail(error)
            self.close()
            return None
        self._failures = 0
        return result

    def _count(self, result: EngineResult) -> None:
        statistics = self.statistics
        statistics.candidates += 1
        statistics.settled += is_settled(result)
        statistics.runs += result.runs
        statistics.left_runs.update(result.left_runs)


def _join(first: EngineResult, second: EngineResult) -> EngineResult:
    """What two runs of a candidate show together."""
    left = tuple(number for number in second.left if number in set(first.left))
    return replace(
        second,
        left=left,
        breaches=frozenset(),
        is_program_left=first.is_program_left and second.is_program_left,
        is_inspection_left=first.is_inspection_left and second.is_inspection_left,
        runs=first.runs + second.runs,
        look_inputs=first.look_inputs,
        leads=first.leads,
        instructions=first.instructions,
        uncounted=first.uncounted,
    )


def is_settled(result: EngineResult) -> bool:
    """Whether the engine has shown that a candidate passes."""
    return not (result.left or result.is_program_left or result.is_inspection_left)
