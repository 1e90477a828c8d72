"""Two runs over the same questions, compared: two prompts, models, quantisations or pass lists."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.model.answer import QuestionKey, get_template_label
from pytest_llmcompiler.report.cost_estimate import estimate_geometric_mean, mean_by_function
from pytest_llmcompiler.report.cost_ratios import SIZE, SPEED
from pytest_llmcompiler.report.passk import SampleCounts, count_samples, mean_difference
from pytest_llmcompiler.report.records import Record, read_records


@dataclass(frozen=True)
class RecordedRun:
    """One of the two runs."""

    name: str
    counts_by_item: Mapping[QuestionKey, SampleCounts]
    """The keys hold only what the questions of both runs have in common."""


@dataclass(frozen=True)
class RunComparison:
    """How the second run did, compared with the first."""

    first: float
    second: float
    """pass@1 as a fraction of 1: the mean over the questions that have judged samples in both runs."""
    low: float
    high: float
    """The 95 % interval of `second` minus `first`."""
    items: int
    functions: int
    better: int
    """Functions of which the second run passes a larger share."""
    worse: int
    """Functions of which the second run passes a smaller share."""

    @property
    def p_value(self) -> float:
        """The probability of at least so one-sided a split of the functions that differ, if the runs are equally good.

        The exact form of McNemar's test (Psychometrika 12, 1947), two-sided: of the functions that differ, the number
        of better ones is binomial with 1/2. With several samples of a function it is the sign test of the shares that
        pass.
        """
        differing = self.better + self.worse
        tail = sum(math.comb(differing, few) for few in range(min(self.better, self.worse) + 1))
        return min(1.0, 2 * tail / (1 << differing))


def compare_runs(first: RecordedRun, second: RecordedRun) -> RunComparison | None:
    """Pair the questions of two runs; None if no question has judged samples in both."""
    clusters: dict[tuple[str, str], list[tuple[Fraction, Fraction]]] = defaultdict(list)
    for key, counts in first.counts_by_item.items():
        paired = second.counts_by_item.get(key)
        if paired and counts.judged and paired.judged:
            clusters[key.case, key.function].append((_pass_share(counts), _pass_share(paired)))
    if not clusters:
        return None
    pairs = [pair for cluster in clusters.values() for pair in cluster]
    differences = [[after - before for before, after in cluster] for cluster in clusters.values()]
    signs = [sum(cluster) for cluster in differences]
    low, high = mean_difference(differences)
    return RunComparison(
        first=float(sum(before for before, _ in pairs) / len(pairs)),
        second=float(sum(after for _, after in pairs) / len(pairs)),
        low=low,
        high=high,
        items=len(pairs),
        functions=len(clusters),
        better=sum(sign > 0 for sign in signs),
        worse=sum(sign < 0 for sign in signs),
    )


def _pass_share(samples: SampleCounts) -> Fraction:
    return Fraction(samples.passed, samples.judged)


def comparison_lines(first: RecordedRun, second: RecordedRun) -> list[str]:
    """The text of a comparison."""
    result = compare_runs(first, second)
    if result is None:
        return [f"{second.name} against {first.name}: no question has judged samples in both"]
    equal = result.functions - result.better - result.worse
    difference = 100 * (result.second - result.first)
    lines = [
        f"{second.name} against {first.name}, over {_count_noun(result.items, 'item')} of "
        f"{_count_noun(result.functions, 'function')} that both have judged",
        f"  pass@1  {100 * result.first:.1f} percent, then {100 * result.second:.1f}: {difference:+.1f} points "
        f"(95 percent interval over functions {100 * result.low:+.1f} to {100 * result.high:+.1f})",
        f"  better in {_count_noun(result.better, 'function')}, worse in {result.worse}, equal in {equal}: "
        f"exact McNemar p = {result.p_value:.2g}",
        _verdict_line(first, second),
        *_cost_lines(first, second),
    ]
    for run, other in ((first, second), (second, first)):
        unpaired = [key for key in run.counts_by_item if key not in other.counts_by_item]
        if unpaired:
            lines.append(
                f"  left out: {_count_noun(len(unpaired), 'item')} that only {run.name} has, such as {unpaired[0]}"
            )
    return lines


def _count_noun(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _verdict_line(first: RecordedRun, second: RecordedRun) -> str:
    paired = [key for key in first.counts_by_item if key in second.counts_by_item]
    before, after = (
        [sum(run.counts_by_item[key].verdicts.count(kind) for key in paired) for kind in KINDS]
        for run in (first, second)
    )
    counts = [f"{kind} {then}, then {now}" for kind, then, now in zip(KINDS, before, after) if then or now]
    return f"  samples: {'; '.join(counts)}"


def _cost_lines(first: RecordedRun, second: RecordedRun) -> Iterator[str]:
    """Speed and size of right answers, over the functions that have one in both runs."""
    for name in (SPEED, SIZE):
        then, now = (mean_by_function(run.counts_by_item.values(), name) for run in (first, second))
        both = [function for function in then if function in now]
        before, after, change = (
            estimate_geometric_mean(values)
            for values in (
                [then[function] for function in both],
                [now[function] for function in both],
                [now[function] - then[function] for function in both],
            )
        )
        if before and after and change:
            yield (
                f"  {name}  {before.value:.2f}, then {after.value:.2f}: {change} times as good in "
                f"{_count_noun(len(both), 'function')} with right answers in both"
            )


def prompt_lines(counts_by_item: Iterable[SampleCounts], prompts: Sequence[str]) -> list[str]:
    """Compare each further prompt template of a session with the first, task by task; no lines if there is only one."""
    if len(prompts) == 1:
        return []
    tasks: dict[str, dict[str, dict[QuestionKey, SampleCounts]]] = defaultdict(lambda: defaultdict(dict))
    for counts in counts_by_item:
        tasks[counts.key.task][counts.key.label][counts.key._replace(label="")] = counts
    lines = []
    for task, runs in tasks.items():
        suffix = f", task {task}" if len(tasks) > 1 else ""
        first, *others = [RecordedRun(label + suffix, runs[label]) for label in map(get_template_label, prompts)]
        lines += [line for other in others for line in comparison_lines(first, other)]
    return lines


def compare_files(first: Path, second: Path) -> list[str]:
    """Compare the second of two records with the first, as `pair_runs` pairs them.

    Raises ModelError if a file can't be read or has unjudged samples.
    """
    return comparison_lines(*pair_runs((str(first), _read_judged(first)), (str(second), _read_judged(second))))


def pair_runs(
    first: tuple[str, Sequence[SampleCounts]], second: tuple[str, Sequence[SampleCounts]]
) -> tuple[RecordedRun, RecordedRun]:
    """Make the questions of two runs comparable. Each is given by its name and its counted samples.

    If each run has a single pass list (or prompt template), and these differ between the two, then they are what is
    compared: questions are paired regardless of them, and the runs' names say them.
    """
    compared = [name for name in _COMPARABLE if _differs(*(_key_values(run, name) for _, run in (first, second)))]
    return _named_run(*first, compared), _named_run(*second, compared)


_COMPARABLE = ("passes", "label")
"""The fields of a question's key by which two records may be compared."""


def _key_values(run: Sequence[SampleCounts], name: str) -> set[str]:
    """The values of a field of the questions' keys in one run."""
    return {getattr(counts.key, name) for counts in run}


def _differs(first: set[str], second: set[str]) -> bool:
    return len(first) == len(second) == 1 and first != second


def _named_run(name: str, counts_by_item: Sequence[SampleCounts], compared: Sequence[str]) -> RecordedRun:
    values = [str(getattr(counts_by_item[0].key, field)) for field in compared]
    full_name = f"{name} ({', '.join(values)})" if any(values) else name
    without = dict.fromkeys(compared, "")
    return RecordedRun(full_name, {counts.key._replace(**without): counts for counts in counts_by_item})


def _read_judged(path: Path) -> list[SampleCounts]:
    records = read_records(path)
    samples = max((record["sample"] for record in records), default=0) + 1
    for record in records:
        _check_judged(path, record, samples)
    return count_samples(records)


def _check_judged(path: Path, record: Record, samples: int) -> None:
    if record.get("verdict") not in KINDS or not isinstance(record.get("detail"), dict):
        raise ModelError(
            f"{path} holds samples that were not judged: judge them first, with "
            f"`pytest --llmc-model replay:{path} --llmc-samples {samples} --llmc-record judged.jsonl`"
        )
