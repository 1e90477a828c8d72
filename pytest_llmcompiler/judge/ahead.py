"""Functions that will be judged soon are prepared by judge processes that have nothing else to do."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pytest_llmcompiler.errors import CaseError, JudgeError
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.program.case import Case


class ComingFunction(NamedTuple):
    """A function of a case that candidates will be judged for."""

    case: Case
    name: str

    @property
    def key(self) -> tuple[Path, str]:
        """The same for the same function."""
        return self.case.path, self.name


class AheadPreparer:
    """Prepares functions before their first candidates come: as many ahead as there are judge processes.

    One process is left to judge. So nothing is prepared ahead where there is only one.
    """

    def __init__(self, judge: JudgeClient, functions: Sequence[ComingFunction]) -> None:
        """`functions` are in the order in which they come."""
        self._judge, self._jobs = judge, judge.pool.most_workers
        self._functions = list({function.key: function for function in functions}.values())
        self._positions = {function.key: position for position, function in enumerate(self._functions)}
        self._position = -1
        """Of the function that is judged now."""
        self._asked = 0
        """How many functions, from the first, were asked for."""
        self._threads = ThreadPoolExecutor(max(1, self._jobs - 1), "llmc-prepare")

    def begin(self, key: tuple[Path, str]) -> None:
        """Candidates of the function with a key come now: prepare the next functions."""
        self._position = self._positions.get(key, self._position)
        end = min(self._position + 1 + self._jobs, len(self._functions))
        for position in range(max(self._asked, self._position + 1), end if self._jobs > 1 else 0):
            self._threads.submit(self._prepare, position)
            self._asked = position + 1

    def close(self) -> None:
        """Prepare no further function. What is being prepared ends with the judge."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, position: int) -> None:
        if position <= self._position:  # it is too late
            return
        function = self._functions[position]
        with contextlib.suppress(CaseError, JudgeError):  # the first candidate meets it again
            self._judge.prepare(function.case, function.name)
