"""The engine for the candidates of one function, with Python's path where the engine can't serve."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.assembler.keystone_engine import run_keystone
from pytest_llmcompiler.emulator.engine import LeftReason
from pytest_llmcompiler.emulator.engine_candidate import write_candidate
from pytest_llmcompiler.emulator.engine_server import EngineResult, EngineTemplate, open_template
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.targets.code import AssembledCode

_Result = TypeVar("_Result")

_ATTEMPTS = 3
"""Templates that may fail one after the other. Then the engine is not asked any more for this function."""


@dataclass
class EngineStatistics:
    """What the engine did for a function."""

    candidates: int = 0
    """Candidates that ran in it."""
    settled: int = 0
    """Candidates of which it showed all that a pass needs: Python had nothing to run."""
    runs: int = 0
    left_runs: Counter[LeftReason] = field(default_factory=Counter)
    """Runs that were left to Python, by reason."""


class FunctionEngine:
    """Runs candidates in the engine's templates for a function.

    There are up to two templates: one for most candidates, and one for those that name more of the C library than the
    program has. `build_image` and `build_library_image` give the images of the program and the suite for them. They are
    called when a candidate is first to be run. A template that fails is replaced. What the engine can't do is left to
    the caller: nothing here raises EngineError.
    """

    def __init__(self, build_image: Callable[[], bytes], build_library_image: Callable[[], bytes]) -> None:
        self._build_image = {False: build_image, True: build_library_image}
        self._templates: dict[bool, EngineTemplate] = {}
        """The templates without (False) and with the rest of the C library."""
        self._failures = 0
        self.statistics = EngineStatistics()

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
        template = self._open()
        code = self._guard(lambda: template.encode(text, base, limits)) if template else None
        # Where the child died of the text, Python's path says in words of what.
        return code if code is not None else run_keystone(text, base, limits)

    def run(
        self, program: ProgramImage, candidate: AssembledCode, function: str, *, with_library: bool = False
    ) -> EngineResult | None:
        """What the engine says of a candidate; None where it can't run it. `with_library` says whether the program has
        the rest of the C library beside it."""
        image = write_candidate(program, candidate, function)
        template = self._open(with_library) if image is not None else None
        result = self._guard(lambda: template.run(image)) if template and image is not None else None
        if result is not None:
            self._count(result)
        return result

    def start(self) -> None:
        """Start the template before the first candidate comes."""
        self._open()

    def close(self) -> None:
        """End the templates. They are started again when a candidate comes."""
        for template in self._templates.values():
            template.close()
        self._templates.clear()

    def give_up(self) -> None:
        """Let Python's path serve for all further candidates."""
        self.close()
        self._failures = _ATTEMPTS

    def _open(self, with_library: bool = False) -> EngineTemplate | None:
        if with_library not in self._templates and self._failures < _ATTEMPTS:
            try:
                self._templates[with_library] = open_template(self._build_image[with_library]())
            except EngineError:
                self._failures += 1
        return self._templates.get(with_library)

    def _guard(self, action: Callable[[], _Result]) -> _Result | None:
        """The result of an action of the template; None where the template fails, which is then given up."""
        try:
            result = action()
        except EngineError:
            self._failures += 1
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


def is_settled(result: EngineResult) -> bool:
    """Whether the engine has shown that a candidate passes."""
    return not (result.left or result.is_program_left or result.is_inspection_left)
