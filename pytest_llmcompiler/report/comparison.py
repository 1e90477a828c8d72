"""Two runs over the same functions, side by side: prompts, models, quantisations, or whatever else tells them apart."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.model.answer import QuestionKey, get_template_label
from pytest_llmcompiler.model.replay import read_records
from pytest_llmcompiler.report.passk import SampleCounts, count_samples, mean_difference


@dataclass(frozen=True)
class RecordedRun:
    """One of the two."""

    name: str
    counts_by_item: Mapping[QuestionKey, SampleCounts]
    """By what the questions have in common in both."""


@dataclass(frozen=True)
class RunComparison:
    """How the second run did, beside the first."""

    first: float
    second: float
    """pass@1, as a fraction of 1, the mean over the questions that both have judged."""
    low: float
    high: float
    """The 95 % interval of the second minus the first."""
    items: int
    functions: int
    better: int
    """Functions of which the second run passes a larger share."""
    worse: int

    @property
    def chance(self) -> float:
        """That functions differ as one-sidedly as this, either way, where each run is better as often as the other.

        The exact form of McNemar's test (Psychometrika 12, 1947): of the functions that differ, the better ones are
        binomial with 1/2. With several samples of a function it is the sign test of the shares that pass.
        """
        differing = self.better + self.worse
        tail = sum(math.comb(differing, few) for few in range(min(self.better, self.worse) + 1))
        return min(1.0, 2 * tail / (1 << differing))


def compared(first: RecordedRun, second: RecordedRun) -> RunComparison | None:
    """Pair the questions of two runs; None where no question has judged samples in both."""
    clusters: dict[tuple[str, str], list[tuple[Fraction, Fraction]]] = defaultdict(list)
    for key, one in first.counts_by_item.items():
        other = second.counts_by_item.get(key)
        if other and one.judged and other.judged:
            clusters[key.case, key.function].append((_share(one), _share(other)))
    if not clusters:
        return None
    pairs = [pair for cluster in clusters.values() for pair in cluster]
    differences = [[then - now for now, then in cluster] for cluster in clusters.values()]
    signs = [sum(cluster) for cluster in differences]
    low, high = mean_difference(differences)
    return RunComparison(
        first=float(sum(one for one, _ in pairs) / len(pairs)),
        second=float(sum(other for _, other in pairs) / len(pairs)),
        low=low,
        high=high,
        items=len(pairs),
        functions=len(clusters),
        better=sum(sign > 0 for sign in signs),
        worse=sum(sign < 0 for sign in signs),
    )


def _share(samples: SampleCounts) -> Fraction:
    return Fraction(samples.passed, samples.judged)


def comparison_lines(first: RecordedRun, second: RecordedRun) -> list[str]:
    """What is printed of two runs."""
    found = compared(first, second)
    if found is None:
        return [f"{second.name} against {first.name}: no question has judged samples in both"]
    alike = found.functions - found.better - found.worse
    moved = 100 * (found.second - found.first)
    lines = [
        f"{second.name} against {first.name}, over {_counted(found.items, 'item')} of "
        f"{_counted(found.functions, 'function')} that both have judged",
        f"  pass@1  {100 * found.first:.1f} percent, then {100 * found.second:.1f}: {moved:+.1f} points "
        f"(95 percent interval over functions {100 * found.low:+.1f} to {100 * found.high:+.1f})",
        f"  better in {_counted(found.better, 'function')}, worse in {found.worse}, alike in {alike}: "
        f"exact McNemar p = {found.chance:.2g}",
    ]
    lines += _verdict_lines(first, second)
    for run, other in ((first, second), (second, first)):
        alone = [key for key in run.counts_by_item if key not in other.counts_by_item]
        if alone:
            lines.append(f"  left out: {_counted(len(alone), 'item')} that {run.name} has alone, such as {alone[0]}")
    return lines


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _verdict_lines(first: RecordedRun, second: RecordedRun) -> list[str]:
    both = [key for key in first.counts_by_item if key in second.counts_by_item]
    counts = [
        [sum(run.counts_by_item[key].verdicts.count(kind) for key in both) for kind in KINDS] for run in (first, second)
    ]
    moved = [f"{kind} {then}, then {now}" for kind, then, now in zip(KINDS, *counts) if then or now]
    return [f"  samples: {'; '.join(moved)}"]


def prompt_lines(counts_by_item: Iterable[SampleCounts], prompts: Sequence[str]) -> list[str]:
    """For each task, each further prompt of a session against its first; nothing where there is one."""
    if len(prompts) == 1:
        return []
    tasks: dict[str, dict[str, dict[QuestionKey, SampleCounts]]] = defaultdict(lambda: defaultdict(dict))
    for one in counts_by_item:
        tasks[one.key.task][one.key.label][one.key._replace(label="")] = one
    lines = []
    for task, runs in tasks.items():
        about = f", task {task}" if len(tasks) > 1 else ""
        first, *others = [RecordedRun(label + about, runs[label]) for label in map(get_template_label, prompts)]
        lines += [line for other in others for line in comparison_lines(first, other)]
    return lines


def file_lines(paths: Sequence[Path]) -> list[str]:
    """The second of two records against the first. Raises ModelError where one can't be read, or was not judged.

    Where each was made with one pass list, or one prompt, and these are not the same, they are what is compared.
    """
    found = [_recorded(path) for path in paths]
    apart = [name for name in _BY if _is_compared(*({getattr(one.key, name) for one in run} for run in found))]
    runs = []
    for path, counts_by_item in zip(paths, found):
        values = {name: str(getattr(counts_by_item[0].key, name)) for name in apart}
        named = f"{path} ({', '.join(values.values())})" if any(values.values()) else str(path)
        runs.append(RecordedRun(named, {one.key._replace(**dict.fromkeys(apart, "")): one for one in counts_by_item}))
    return comparison_lines(*runs)


def _is_compared(first: set[str], second: set[str]) -> bool:
    return len(first) == len(second) == 1 and first != second


_BY = ("passes", "label")
"""What of a question may be what two records are compared by."""


def _recorded(path: Path) -> list[SampleCounts]:
    records = read_records(path)
    samples = max((record["sample"] for record in records), default=0) + 1
    for record in records:
        _check(path, record, samples)
    return count_samples(records)


def _check(path: Path, record: dict[str, Any], samples: int) -> None:
    if record.get("verdict") not in KINDS or not isinstance(record.get("detail"), dict):
        raise ModelError(
            f"{path} holds samples that were not judged: judge them first, with "
            f"`pytest --llmc-model replay:{path} --llmc-samples {samples} --llmc-record judged.jsonl`"
        )
