"""pass@k: the estimator, its mean over functions, and how sure that is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from pytest_llmcompiler.model.answer import QuestionKey, read_question_key

BEFORE_CODE = frozenset(("no-answer", "truncated", "assemble", "link"))
"""Verdicts on answers that did not become machine code."""
_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
_LEAST = {"prompt tokens": 256, "IR instructions": 8}
"""What is smaller is not told apart."""
_T = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157)
"""The 97.5 % quantiles of Student's t for 1 to 9 degrees of freedom."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that of `k` samples drawn from `n`, `c` of which pass, at least one passes.

    The unbiased estimator of Chen et al., "Evaluating Large Language Models Trained on Code" (2021),
    arXiv:2107.03374, section 2.1: 1 - C(n-c, k) / C(n, k). In whole numbers, rounded once, at the end.
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
        """The least and the largest size, of those that are counted together: from above a power of 2 to the next."""
        least = _LEAST[self.unit]
        most = max(least, 1 << (self.number - 1).bit_length())
        return (1 if most == least else most // 2 + 1), most


@dataclass(frozen=True)
class SampleCounts:
    """The samples of one question."""

    key: QuestionKey
    verdicts: tuple[str, ...]
    """One a sample, in the order of the samples."""
    prompt_tokens: int | None
    """Over all samples, each prompt counted as often as it was asked; None where the model doesn't say."""
    answer_tokens: int | None
    """Over all samples."""
    assembled: int
    """How many of the conclusive samples became machine code that links."""
    size: FunctionSize | None = None
    """How large the question is; None where nothing is known of that."""

    @property
    def judged(self) -> int:
        """How many samples have a verdict that counts: all but the inconclusive ones."""
        return len(self.verdicts) - self.verdicts.count("inconclusive")

    @property
    def passed(self) -> int:
        """How many samples passed."""
        return self.verdicts.count("pass")


@dataclass(frozen=True)
class Estimate:
    """A mean pass@k with its 95 % interval, as fractions of 1."""

    value: float
    low: float
    high: float
    left_out: int
    """Questions that have fewer than k judged samples, and so no part in the mean."""


def count_samples(records: Iterable[dict[str, Any]]) -> list[SampleCounts]:
    """Gather records by question, in the order in which questions come.

    Where one sample of a question is there more than once, the last counts.
    """
    return tally_samples((read_question_key(record), record) for record in records)


def tally_samples(samples: Iterable[tuple[QuestionKey, dict[str, Any]]]) -> list[SampleCounts]:
    """The same where questions are known. Of a record what is of a sample alone is needed, and the size in `detail`."""
    questions: dict[QuestionKey, dict[int, dict[str, Any]]] = defaultdict(dict)
    for key, sample in samples:
        questions[key][sample["sample"]] = sample
    return [_tally(key, [found[number] for number in sorted(found)]) for key, found in questions.items()]


def _tally(key: QuestionKey, samples: Sequence[dict[str, Any]]) -> SampleCounts:
    verdicts = tuple(sample["verdict"] for sample in samples)
    coded = sum(verdict not in BEFORE_CODE and verdict != "inconclusive" for verdict in verdicts)
    return SampleCounts(key, verdicts, _tokens(samples, "prompt"), _tokens(samples, "answer"), coded, _size(samples[0]))


def _size(sample: dict[str, Any]) -> FunctionSize | None:
    tokens = (sample.get("tokens") or {}).get("prompt")
    if tokens:
        return FunctionSize("prompt tokens", tokens)
    instructions = sample["detail"].get("instructions")
    return FunctionSize("IR instructions", instructions) if instructions else None


def _tokens(samples: Sequence[dict[str, Any]], kind: str) -> int | None:
    counts = [(sample.get("tokens") or {}).get(kind) for sample in samples]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def estimate(counts_by_item: Sequence[SampleCounts], k: int) -> Estimate | None:
    """The mean pass@k over questions that have at least `k` judged samples; None where none has.

    The interval says where the mean would lie over functions like these, so it must respect that the samples of
    a function, under whatever pass list, are alike: functions are the clusters, questions their members. It is
    Wilson's interval (JASA 22, 1927) on the effective number of independent samples, p(1-p) / v, where v is the
    cluster-robust variance of the mean, with Student's t for the number of functions: the adaptation of Korn and
    Graubard (Survey Methodology 24, 1998) that Dean and Pagano (J. Survey Statistics and Methodology 3, 2015)
    find to hold its level for few clusters and for proportions near 0 and 1. Unlike a bootstrap over functions it
    keeps its width where all pass or all fail, when v is 0 and says nothing: there each function counts as one
    sample. Elsewhere, too, no more samples are counted than there are disjoint groups of `k`, which is what the
    estimator of one question is worth at least (Hoeffding, JASA 58, 1963, section 5).
    """
    counted = [one for one in counts_by_item if one.judged >= k]
    if not counted:
        return None
    clusters: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in counted:
        clusters[one.key.case, one.key.function].append(pass_at_k(one.judged, one.passed, k))
    most = sum(one.judged // k for one in counted)
    mean = math.fsum(math.fsum(values) for values in clusters.values()) / len(counted)
    low, high = _interval(mean, list(clusters.values()), most)
    return Estimate(mean, low, high, len(counts_by_item) - len(counted))


def mean_difference(clusters: Sequence[Sequence[Fraction]]) -> tuple[float, float]:
    """The 95 % interval of the mean of differences between shares (-1 to 1), one list for each function.

    Student's t on the cluster-robust variance, functions being the clusters as in `estimate`. Where the means of all
    functions are the same, that has no width and says nothing: then as many functions may differ, all in one direction,
    as Wilson's interval allows where none of so many was seen to.
    """
    count, members = len(clusters), sum(map(len, clusters))
    mean = sum(sum(values) for values in clusters) / Fraction(members)
    if count == 1:
        return -1.0, 1.0
    squares = sum(sum(value - mean for value in values) ** 2 for values in clusters)
    half = _t_quantile(count - 1) * math.sqrt(count / (count - 1) * squares) / members
    if squares == 0:
        half = _wilson(0.0, count, _Z)[1]
    return max(-1.0, float(mean) - half), min(1.0, float(mean) + half)


def _interval(mean: float, clusters: Sequence[Sequence[float]], most: int) -> tuple[float, float]:
    count = len(clusters)
    if count == 1:
        # One function says nothing about others.
        return 0.0, 1.0
    members = sum(map(len, clusters))
    squares = math.fsum(math.fsum(value - mean for value in values) ** 2 for values in clusters)
    variance = count / (count - 1) * squares / members**2
    if mean in (0.0, 1.0):
        return _wilson(mean, count, _Z)
    effective = min(mean * (1 - mean) / variance, most) if variance > 0 else most
    return _wilson(mean, effective, _t_quantile(count - 1))


def _wilson(p: float, n: float, quantile: float) -> tuple[float, float]:
    square = quantile**2 / n
    middle = (p + square / 2) / (1 + square)
    half = math.sqrt(square * p * (1 - p) + square**2 / 4) / (1 + square)
    return (0.0 if p == 0 else max(0.0, middle - half)), (1.0 if p == 1 else min(1.0, middle + half))


def _t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5 where it is right to 4 digits)."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    third = (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384
    return _Z + first / freedom + second / freedom**2 + third / freedom**3
