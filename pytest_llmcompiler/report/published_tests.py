"""What the tests that came with a case say of answers, beside the verdicts on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_llmcompiler.judge.verdict import KINDS, Kind


@dataclass(frozen=True)
class PublishedRow:
    """The samples with one verdict, counted by what the published tests say of them."""

    kind: Kind
    hold: int
    """How many pass all tests that came with the case."""
    fail: int
    """How many fail one of them."""


@dataclass(frozen=True)
class PublishedTable:
    """The verdicts on samples of cases that came with tests, against what these tests say."""

    rows: tuple[PublishedRow, ...]
    """One for each verdict that a sample has, in the order of the pipeline."""

    @property
    def samples(self) -> int:
        """The samples for which there is both: a verdict, and a result of the tests."""
        return sum(row.hold + row.fail for row in self.rows)

    @property
    def hold(self) -> int:
        """How many samples pass the tests that came with the case."""
        return sum(row.hold for row in self.rows)

    @property
    def refused(self) -> int:
        """How many of those have another verdict than `pass`, and a conclusive one: the tests miss what it shows."""
        return sum(row.hold for row in self.rows if is_refusal(row.kind))


def is_refusal(verdict: str | None) -> bool:
    """Whether a verdict says that an answer is wrong."""
    return verdict not in ("pass", "inconclusive", None)


def count_published_tests(samples: Iterable[tuple[str | None, bool | None]]) -> PublishedTable:
    """Count samples, each given as its verdict and whether the published tests hold; None where there is none."""
    counts: dict[tuple[str | None, bool | None], int] = {}
    for sample in samples:
        counts[sample] = counts.get(sample, 0) + 1
    rows = (PublishedRow(kind, counts.get((kind, True), 0), counts.get((kind, False), 0)) for kind in KINDS)
    return PublishedTable(tuple(row for row in rows if row.hold or row.fail))
