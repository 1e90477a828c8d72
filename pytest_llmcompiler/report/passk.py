"""pass@k: the estimator, its mean over questions, and the confidence interval of that mean."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NamedTuple

from pytest_llmcompiler.model.answer import QuestionKey, read_question_key
from pytest_llmcompiler.report.cost_ratios import average_ratios
from pytest_llmcompiler.report.records import Record

BEFORE_CODE = frozenset(("no-answer", "truncated", "assemble", "link"))
"""The verdicts on answers that did not become machine code."""
NO_CONCLUSION = frozenset(("inconclusive", None))
"""What stands in the place of a verdict on a sample that counts neither as passed nor as failed. None: the judge itself
failed on it, or it was not judged."""
_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: 95 % lie within as many standard deviations of the mean."""
_T = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157)
"""The 97.5 % quantiles of Student's t for 1 to 9 degrees of freedom."""
_FIRST_BUCKET = {"prompt tokens": 256, "IR instructions": 8}
"""The largest size in the first row of the table by sizes. Differences among smaller functions say little."""
_CURVE_POINTS = 40
"""Values of k, about, for which the curve of pass@k has a point: more would not show in its width."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """The probability that at least one of `k` samples drawn from `n` passes, if `c` of the `n` pass.

    The unbiased estimator of Chen et al., "Evaluating Large Language Models Trained on Code" (2021),
    arXiv:2107.03374, section 2.1: 1 - C(n-c, k) / C(n, k). Computed in integers and rounded once, at the end.
    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} samples with {c} passes is not defined")
    draws = math.comb(n, k)
    return (draws - math.comb(n - c, k)) / draws


class FunctionSize(NamedTuple):
    """The size of a function, as the model sees it."""

    unit: Literal["prompt tokens", "IR instructions"]
    number: int

    @property
    def bucket(self) -> tuple[int, int]:
        """The smallest and largest size of the table row that holds this size: powers of 2 bound the rows."""
        first = _FIRST_BUCKET[self.unit]
        largest = max(first, 1 << (self.number - 1).bit_length())
        return (1 if largest == first else largest // 2 + 1), largest


class CountedSample(NamedTuple):
    """The part of a sample that is counted."""

    number: int
    verdict: str | None
    prompt_tokens: int | None
    answer_tokens: int | None
    instructions: int | None
    """The size of the function, in IR instructions."""
    cost: object = None
    """The fact `cost` of its verdict; None where there is none."""


@dataclass(frozen=True)
class SampleCounts:
    """The samples of one question, counted."""

    key: QuestionKey
    verdicts: tuple[str | None, ...]
    """One for each sample, in the order of the samples' numbers."""
    prompt_tokens: int | None
    """Sum over all samples: a prompt counts as often as it was asked. None if the model does not count."""
    answer_tokens: int | None
    """Sum over all samples; None if the model does not count."""
    assembled: int
    """How many of the conclusive samples became machine code that links."""
    size: FunctionSize | None = None
    """The size of the question; None if it is unknown."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """Speed and size of the samples that pass, by measure (`cost_ratios`): geometric means."""

    @property
    def judged(self) -> int:
        """How many samples have a conclusive verdict."""
        return len(self.verdicts) - sum(map(self.verdicts.count, NO_CONCLUSION))

    @property
    def passed(self) -> int:
        """How many samples pass."""
        return self.verdicts.count("pass")


@dataclass(frozen=True)
class Estimate:
    """A mean pass@k with its 95 % confidence interval, as fractions of 1."""

    value: float
    low: float
    high: float
    left_out: int
    """How many questions have fewer than k judged samples. They are not part of the mean."""
    standard_error: float | None
    """Of the mean, with functions as clusters; None if there is one function only."""


def count_samples(records: Iterable[Record]) -> list[SampleCounts]:
    """Count records by question, in the order in which questions come first.

    If the same sample of a question comes twice, the last one counts.
    """
    return count_by_question((read_question_key(record), _counted(record)) for record in records)


def _counted(record: Record) -> CountedSample:
    tokens = record.get("tokens") or {}
    return CountedSample(
        number=record["sample"],
        verdict=record.get("verdict"),
        prompt_tokens=tokens.get("prompt"),
        answer_tokens=tokens.get("answer"),
        instructions=record.get("detail", {}).get("instructions"),
        cost=record.get("detail", {}).get("cost"),
    )


def count_by_question(samples: Iterable[tuple[QuestionKey, CountedSample]]) -> list[SampleCounts]:
    """Count samples whose questions are known, as `count_samples` does."""
    questions: dict[QuestionKey, dict[int, CountedSample]] = defaultdict(dict)
    for key, sample in samples:
        questions[key][sample.number] = sample
    return [_count(key, [numbered[number] for number in sorted(numbered)]) for key, numbered in questions.items()]


def _count(key: QuestionKey, samples: Sequence[CountedSample]) -> SampleCounts:
    verdicts = tuple(sample.verdict for sample in samples)
    return SampleCounts(
        key=key,
        verdicts=verdicts,
        prompt_tokens=_sum_known(sample.prompt_tokens for sample in samples),
        answer_tokens=_sum_known(sample.answer_tokens for sample in samples),
        assembled=sum(verdict not in BEFORE_CODE and verdict not in NO_CONCLUSION for verdict in verdicts),
        size=_size(samples[0]),
        costs=average_ratios(sample.cost for sample in samples if sample.verdict == "pass"),
    )


def _size(sample: CountedSample) -> FunctionSize | None:
    if sample.prompt_tokens:
        return FunctionSize("prompt tokens", sample.prompt_tokens)
    return FunctionSize("IR instructions", sample.instructions) if sample.instructions else None


def _sum_known(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def estimate(counts_by_item: Sequence[SampleCounts], k: int) -> Estimate | None:
    """The mean pass@k over questions that have at least `k` judged samples; None if no question has.

    The interval is about functions like these: where would their mean lie? Samples of one function are alike, under
    whatever pass list, so functions are the clusters and questions their members. The interval is Wilson's (JASA 22,
    1927) on the effective number of independent samples, p(1-p) / v, where v is the cluster-robust variance of the
    mean, with Student's t for the number of functions. This is the adaptation of Korn and Graubard (Survey Methodology
    24, 1998), which Dean and Pagano (J. Survey Statistics and Methodology 3, 2015) find to hold its level for few
    clusters and for proportions near 0 and 1.

    Where all pass or all fail, v is 0 and says nothing: there each function counts as one sample. A bootstrap over
    functions would give an interval of no width. Elsewhere the effective number is at most the number of disjoint
    groups of `k` samples, which bounds the variance of the estimator of one question (Hoeffding, JASA 58, 1963, section
    5).
    """
    counted = [counts for counts in counts_by_item if counts.judged >= k]
    if not counted:
        return None
    clusters: dict[tuple[str, str], list[float]] = defaultdict(list)
    for counts in counted:
        clusters[counts.key.case, counts.key.function].append(pass_at_k(counts.judged, counts.passed, k))
    groups = sum(counts.judged // k for counts in counted)
    mean = math.fsum(math.fsum(values) for values in clusters.values()) / len(counted)
    variance = _variance(mean, list(clusters.values()))
    low, high = _interval(mean, variance, len(clusters), groups)
    return Estimate(
        mean, low, high, len(counts_by_item) - len(counted), None if variance is None else math.sqrt(variance)
    )


def pass_at_k_curve(counts_by_item: Sequence[SampleCounts], ks: Iterable[int] = ()) -> list[tuple[int, Estimate]]:
    """pass@k for k from 1 to the most judged samples that a question has, and for each of `ks` up to there.

    Of many k some are left out, evenly. There are no points without judged samples.
    """
    largest = max((counts.judged for counts in counts_by_item), default=0)
    spread = {math.ceil(largest * number / _CURVE_POINTS) for number in range(1, _CURVE_POINTS + 1)}
    chosen = sorted({1, *spread, *ks} & set(range(1, largest + 1)))
    estimates = ((k, estimate(counts_by_item, k)) for k in chosen)
    return [(k, mean) for k, mean in estimates if mean]


def mean_difference(clusters: Sequence[Sequence[Fraction]]) -> tuple[float, float]:
    """The 95 % interval of the mean of differences between shares (-1 to 1), one list for each function.

    Student's t on the cluster-robust variance; functions are the clusters, as in `estimate`. If all functions have the
    same mean, the variance is 0 and says nothing. Then the half width is the upper limit of Wilson's interval for 0 of
    as many functions: that share of functions may differ, all in one direction, and none of them be among those seen.
    """
    count, members = len(clusters), sum(map(len, clusters))
    mean = sum(sum(values) for values in clusters) / Fraction(members)
    if count == 1:
        return -1.0, 1.0
    squares = sum(sum(value - mean for value in values) ** 2 for values in clusters)
    half = t_quantile(count - 1) * math.sqrt(count / (count - 1) * squares) / members
    if squares == 0:
        half = _wilson(0.0, count, _Z)[1]
    return max(-1.0, float(mean) - half), min(1.0, float(mean) + half)


def _variance(mean: float, clusters: Sequence[Sequence[float]]) -> float | None:
    """The cluster-robust variance of the mean; None if there is one cluster only."""
    count, members = len(clusters), sum(map(len, clusters))
    if count == 1:
        return None
    squares = math.fsum(math.fsum(value - mean for value in values) ** 2 for values in clusters)
    return count / (count - 1) * squares / members**2


def _interval(mean: float, variance: float | None, functions: int, groups: int) -> tuple[float, float]:
    if variance is None:  # one function says nothing about others
        return 0.0, 1.0
    if mean in (0.0, 1.0):
        return _wilson(mean, functions, _Z)
    effective = min(mean * (1 - mean) / variance, groups) if variance > 0 else groups
    return _wilson(mean, effective, t_quantile(functions - 1))


def _wilson(p: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval for a share `p` of `n` samples; `quantile` sets its level."""
    square = quantile**2 / n
    middle = (p + square / 2) / (1 + square)
    half = math.sqrt(square * p * (1 - p) + square**2 / 4) / (1 + square)
    return (0.0 if p == 0 else max(0.0, middle - half)), (1.0 if p == 1 else min(1.0, middle + half))


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: from the table, and above 9 degrees of freedom by the expansion in
    Abramowitz and Stegun, 26.7.5, which is right to 4 digits there."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    third = (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384
    return _Z + first / freedom + second / freedom**2 + third / freedom**3
