"""What the engine itself does: the time of a run, and the runs that it leaves to Python."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_llmcompiler.emulator.engine import Engine
from pytest_llmcompiler.emulator.engine_candidate import write_candidate
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.engine_suite import ImageKind, build_image
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.judge.suite import Suite
from speed.answers import MeasuredFunction, open_harness, open_reference
from speed.tables import format_spread, format_table

_ROUNDS = 9
"""How often the suite runs in the engine; the median counts."""


@dataclass
class EnginePart:
    """The engine over all functions. It runs in this process, on compilers' own texts."""

    run_seconds: list[float] = field(default_factory=list)
    """Of one run on clang -O2's text, by function."""
    python_seconds: list[float] = field(default_factory=list)
    """Of the same run on the Python machine."""
    candidates: int = 0
    settled: int = 0
    """Candidates of which Python had nothing to run."""
    runs: int = 0
    left: Counter[str] = field(default_factory=Counter)
    """Runs that were left to Python, by reason."""
    without: int = 0
    """Functions that the engine does not take."""

    def measure(self, functions: Sequence[MeasuredFunction]) -> None:
        """Judge the correct texts of all functions, and time runs of each."""
        for function in functions:
            texts = list(function.list_correct_texts())
            harness = open_harness(function)
            for text in texts:
                harness.judge(text)
            counts = harness.engine.statistics
            self.candidates += len(texts)
            self.settled += counts.settled
            self.runs += counts.runs
            self.left.update(counts.left_runs)
            if texts:
                self._time_runs(function)

    def _time_runs(self, function: MeasuredFunction) -> None:
        reference = open_reference(function.path)
        under_test = FunctionUnderTest(reference, function.name)
        suite = Suite(under_test, JudgeSettings().examples, JudgeSettings().seed)
        suite.prepare()
        text, candidate = under_test.assemble_reference("O2")
        image = write_candidate(under_test.program_for(candidate), candidate, function.name)
        try:
            engine = Engine.open(build_image(suite, ImageKind()))
        except EngineError:
            image = None
        if image is None:
            self.without += 1
            return
        engine.load_candidate(image)
        numbers = range(engine.entry_count)
        self.run_seconds.append(_time_round(lambda: [engine.run(number) for number in numbers]) / len(numbers))
        engine.close()
        differential, entries = DifferentialRun(suite, candidate, text), list(suite.corpus.entries.values())
        seconds = _time_round(lambda: [differential.passes(entry, "garbage") for entry in entries], 1)
        self.python_seconds.append(seconds / len(entries))

    def report(self) -> Iterator[str]:
        """The figures."""
        yield "## The engine"
        yield ""
        if not self.run_seconds:
            yield "No engine: all runs are made in Python."
            return
        rows = [
            ["a run in the engine", *format_spread(self.run_seconds, 1e-6), _format_rate(self.run_seconds)],
            ["the same in Python", *format_spread(self.python_seconds, 1e-6), _format_rate(self.python_seconds)],
        ]
        yield from format_table(["over functions", "CPU µs, median", "95 %", "runs a second, median"], rows)
        yield ""
        share = self.left.total() / max(self.runs, 1)
        yield f"- of {self.candidates} right answers Python had nothing to run for {self.settled}"
        yield f"- of {self.runs:,} runs {self.left.total():,} were left to Python ({share:.2%})"
        yield from (f"- {reason}: {count:,} runs" for reason, count in self.left.most_common())
        if self.without:
            yield f"- the engine does not take {self.without} functions"


def _time_round(call: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """The median CPU time of a call, after one that is not timed."""
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def _format_rate(seconds: Sequence[float]) -> str:
    return f"{1 / statistics.median(seconds):,.0f}"
