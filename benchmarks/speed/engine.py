"""What the engine itself counts: runs, and the runs that it left to Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytest_llmcompiler.judge.harness import Harness
from speed.answers import MeasuredFunction, open_harness


@dataclass(frozen=True)
class EngineCounts:
    """The runs of one candidate."""

    runs: int
    seconds: float
    """Of all runs in the engine."""
    fallbacks: Counter[str]
    """Runs that Python made, by reason."""


def judge_and_count(harness: Harness, text: str) -> EngineCounts | None:
    """Judge a text and read the counters of its runs; None where there is no engine."""
    del harness, text
    return None


@dataclass
class EnginePart:
    """Runs a second, and the share that fell back to Python."""

    counts: list[EngineCounts] = field(default_factory=list)
    functions: int = 0

    def measure(self, functions: Sequence[MeasuredFunction]) -> None:
        """Judge the correct texts of all functions in this process."""
        for function in functions:
            self.functions += 1
            for text in function.list_correct_texts():
                counts = judge_and_count(open_harness(function), text)
                if counts is None:
                    return
                self.counts.append(counts)

    def report(self) -> Iterator[str]:
        """The figures."""
        yield "## The engine"
        yield ""
        if not self.counts:
            yield "No engine: all runs are made in Python."
            return
        runs, seconds = sum(one.runs for one in self.counts), sum(one.seconds for one in self.counts)
        reasons = sum((one.fallbacks for one in self.counts), Counter[str]())
        answers = f"{len(self.counts)} answers to {self.functions} functions"
        yield f"{answers}: {runs:,} runs, {runs / seconds:,.0f} a second."
        yield f"Runs that fell back to Python: {reasons.total():,} ({reasons.total() / max(runs, 1):.2%})."
        yield from (f"- {reason}: {count:,}" for reason, count in reasons.most_common())
