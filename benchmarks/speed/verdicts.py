"""The seconds of verdicts beside those of other ways to tell whether an answer is right, on the same answers."""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pytest_llmcompiler.judge.api import check_file
from speed.answers import FreshTexts, MeasuredFunction
from speed.clock import Seconds
from speed.compile_and_run import CompileAndRun
from speed.driver import NotExpressibleError
from speed.hypothesis_loop import HypothesisLoop
from speed.tables import format_spread, format_table, percentile

ROUNDS = 3
"""How often each contender judges each answer, in turn with the others."""
PASSING, ALONE = "passing", "passing, the function's text alone"
AGAIN = "passing, the function's text alone, its code judged before"
FAILING, EXPLAINED = "failing, not explained", "failing, explained"
COMPILED, RELINKED, LOOP = "compile and run", "the same, driver compiled ahead", "hypothesis, fresh engines"


@dataclass
class FunctionTimes:
    """The seconds of each contender on one function."""

    folder: str
    contenders: dict[str, Seconds] = field(default_factory=lambda: defaultdict(Seconds))

    def median(self, contender: str) -> float | None:
        """The median wall time of one answer; None where the contender can't judge the function."""
        return statistics.median(self.contenders[contender].wall) if contender in self.contenders else None


class VerdictPart:
    """Measures function after function, and reports."""

    def __init__(self, seed: int) -> None:
        self._seed, self._fresh = seed, FreshTexts()
        self._times: list[FunctionTimes] = []
        self._left_out: dict[str, int] = defaultdict(int)

    def measure(self, function: MeasuredFunction) -> None:
        """Let all contenders judge the answers to a function in turn."""
        passing = list(function.list_correct_texts())
        if not passing:
            self._left_out["no compiler's text passes, or the function can't be judged"] += 1
            return
        failing = list(function.list_failing_texts(self._seed))
        times = FunctionTimes(function.folder)
        with tempfile.TemporaryDirectory(prefix="llmc-speed-") as folder:
            calls = [
                *((PASSING, partial(self._judge, function, text)) for text in passing),
                (ALONE, partial(self._judge, function, min(passing, key=len))),
                (AGAIN, partial(self._judge, function, min(passing, key=len), has_new_code=False)),
                *((FAILING, partial(self._judge, function, text, explain=False)) for text in failing),
                *((EXPLAINED, partial(self._judge, function, text)) for text in failing),
                *self._open_contenders(function, Path(folder), passing),
            ]
            for _ in range(ROUNDS):
                for contender, call in calls:
                    times.contenders[contender].measure(call)
        self._times.append(times)

    def _judge(self, function: MeasuredFunction, text: str, *, explain: bool = True, has_new_code: bool = True) -> None:
        renew = self._fresh.renew_code if has_new_code else self._fresh.renew
        check_file(function.path, function.name, renew(text), explain=explain)

    def _open_contenders(
        self, function: MeasuredFunction, folder: Path, texts: Sequence[str]
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        """The calls of the other contenders that find, as the judge does, that the answers are right."""
        try:
            compiled = CompileAndRun(function, folder)
        except NotExpressibleError as error:
            self._left_out[f"{COMPILED}: {error}"] += 1
            return
        right = [text for text in texts if compiled.passes(text)]
        if not right:
            self._left_out[f"{COMPILED}: five asserts do not hold natively"] += 1
        for text in right:
            yield COMPILED, partial(compiled.passes, text)
            yield RELINKED, partial(compiled.passes_with_compiled_driver, text)
        try:
            loop = HypothesisLoop(function, folder)
            right = [text for text in texts if loop.passes(text)]
        except NotExpressibleError as error:
            self._left_out[f"{LOOP}: {error}"] += 1
            return
        if not right:
            self._left_out[f"{LOOP}: the answers need the C library"] += 1
        for text in right:
            yield LOOP, partial(loop.passes, text)

    def report(self) -> Iterator[str]:
        """The tables."""
        yield "## Verdicts"
        yield ""
        yield (
            "Through `check_file()`, the function prepared. Milliseconds of wall clock for one answer: median and 95th "
            "percentile over functions, of the median of each function's answers and rounds. CPU is the mean over all "
            "calls, with all processes that take part."
        )
        yield ""
        yield from format_table(["", "functions", "median ms", "95 % ms", "CPU ms"], self._rows())
        yield ""
        yield "How many times as long another way takes as a passing verdict on the same function:"
        yield ""
        heading = ["", "functions of", "functions", "median", "at the slow end (5 %)", "by CPU"]
        yield from format_table(heading, self._ratio_rows())
        yield ""
        yield from (f"- left out, {reason}: {count} functions" for reason, count in sorted(self._left_out.items()))

    def _rows(self) -> Iterator[list[str]]:
        for contender in (PASSING, ALONE, AGAIN, FAILING, EXPLAINED, COMPILED, RELINKED, LOOP):
            measured = [times.contenders[contender] for times in self._times if contender in times.contenders]
            calls = sum(len(seconds.wall) for seconds in measured)
            cpu = sum(seconds.cpu for seconds in measured) / max(calls, 1)
            medians = [statistics.median(seconds.wall) for seconds in measured]
            yield [contender, str(len(measured)), *format_spread(medians, 1e-3), f"{1000 * cpu:,.1f}"]

    def _ratio_rows(self) -> Iterator[list[str]]:
        folders = list(dict.fromkeys(times.folder for times in self._times))
        for contender in (COMPILED, RELINKED, LOOP):
            for folder in (*folders, None) if len(folders) > 1 else folders:
                of_folder = [times for times in self._times if folder in (times.folder, None)]
                yield [contender, folder or "all", *_format_ratios(of_folder, contender)]


def _format_ratios(times: Sequence[FunctionTimes], contender: str) -> list[str]:
    pairs = [(one.contenders[PASSING], one.contenders[contender]) for one in times if contender in one.contenders]
    if not pairs:
        return ["0", "–", "–", "–"]
    ratios = [statistics.median(other.wall) / statistics.median(own.wall) for own, other in pairs]
    own_cpu, other_cpu = (sum(pair[side].cpu / len(pair[side].wall) for pair in pairs) for side in (0, 1))
    figures = (statistics.median(ratios), percentile(ratios, 0.05), other_cpu / max(own_cpu, 1e-9))
    return [str(len(pairs)), *(f"{figure:.2f}" for figure in figures)]
