"""The baseline: how many samples of each item passed when somebody last accepted the results.

The file is JSON Lines, made for version control: a header, then one line for each item, sorted.

    {"schema": 1, "model": "llm-compiler-7b", "samples": 4}
    {"item": "git_lfs.c::validate[asm-O0]", "passed": 1, "judged": 4, "samples": 4, "speed@O3": 0.4711, "size@Oz": 0.52}
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_llmcompiler.errors import BaselineError
from pytest_llmcompiler.files import replace_file
from pytest_llmcompiler.report.cost_ratios import SIZE, SPEED
from pytest_llmcompiler.report.passk import SampleCounts

_SCHEMA = 1
"""The version of the file's layout."""
SIGNIFICANCE_LEVEL = 0.01
"""The probability with which a test may report a regression where nothing got worse. There are two tests in a run: one
over single items, one over all items together. An item that passed and no longer passes is reported without a test: the
same seed gives the same answers, so chance has no part in it unless the model ignores seeds."""

_DECIMALS = 4
"""Decimals of speed and size in the file."""
_EXACT_DIFFERENCES = 50
"""Differences up to which the distribution of the signed-rank sum is computed exactly."""


@dataclass(frozen=True)
class BaselineCounts:
    """The samples of an item, counted."""

    passed: int
    judged: int
    """How many samples have a conclusive verdict."""
    samples: int
    costs: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Speed and size of the samples that pass, rounded; empty where none has them."""

    @classmethod
    def of(cls, counts: SampleCounts) -> BaselineCounts:
        """The counts of an item of this run."""
        costs = {name: round(counts.costs[name], _DECIMALS) for name in (SPEED, SIZE) if name in counts.costs}
        return cls(counts.passed, counts.judged, len(counts.verdicts), costs)

    def suffice(self, share: float) -> bool:
        """Whether the item passes: at least one sample passes, and at least `share` of the judged ones."""
        return self.passed > 0 and self.passed / self.judged >= share

    def __str__(self) -> str:
        return f"{self.passed} of {self.judged}"


ChangeKind = Literal["worse", "better", "same", "new", "not judged"]


@dataclass(frozen=True)
class Change:
    """An item compared with the baseline."""

    item: str
    kind: ChangeKind
    """`not judged`: all samples are inconclusive, and were not before. `new`: the baseline has no judged sample of
    it."""
    then: BaselineCounts | None
    now: BaselineCounts

    def __str__(self) -> str:
        before = f"{self.then} samples passed, now " if self.then else ""
        return f"{self.item}: {before}{self.now}{'' if before else ' samples pass'}"


@dataclass(frozen=True)
class PairedTest:
    """How a mean over several items changed: pass@1, as fractions of 1, or a measure of speed or size."""

    items: int
    then: float
    now: float
    p_value: float
    """The probability of a mean as low as now, or lower, if nothing got worse."""


class Baseline:
    """The accepted counts of items, by the items' names."""

    def __init__(self, name: str, samples: int, items: dict[str, BaselineCounts]) -> None:
        """`name` is the file's name, for messages; `samples` is the number of samples that each item was asked for."""
        self.name, self.samples, self.items = name, samples, items

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read a file. Raises BaselineError naming the file, and the line that is no part of a baseline."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise BaselineError(f"there is no {path} yet: write it with --llmc-update-baseline") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BaselineError(f"can't read {path}: {error}") from error
        if not lines:
            raise BaselineError(f"{path} is empty: remove it, and write it anew with --llmc-update-baseline")
        samples, items = 0, dict[str, BaselineCounts]()
        for number, line in enumerate(lines, 1):
            try:
                if number == 1:
                    samples = _parse_header(line)
                else:
                    item, counts = _parse_item(line)
                    if item in items:
                        raise ValueError(f"{item} is there twice")
                    items[item] = counts
            except ValueError as error:
                raise BaselineError(f"{path}:{number}: {error}") from error
        return cls(path.name, samples, items)

    def compare(self, item: SampleCounts, share: float) -> Change:
        """Compare an item of this run with the baseline; `share` of its judged samples must pass.

        It is worse if it passed and no longer does, or if fewer samples pass than chance allows: by Fisher's exact
        test, one-sided, at `SIGNIFICANCE_LEVEL` divided by the number of items in the baseline (Bonferroni). The
        divisor is the same whichever of the items are run.
        """
        name, now = str(item.key), BaselineCounts.of(item)
        then = self.items.get(name)
        if then is None or then.judged == 0:
            kind: ChangeKind = "same" if then and now.judged == 0 else "new"
        elif now.judged == 0:
            kind = "not judged"
        elif self._is_worse(then, now, share):
            kind = "worse"
        elif self._is_worse(now, then, share):
            kind = "better"
        else:
            kind = "same"
        return Change(name, kind, then, now)

    def _is_worse(self, then: BaselineCounts, now: BaselineCounts, share: float) -> bool:
        no_longer_passes = then.suffice(share) and not now.suffice(share)
        return no_longer_passes or fisher_p_value(then, now) <= SIGNIFICANCE_LEVEL / max(1, len(self.items))

    def updated(self, items: Iterable[SampleCounts]) -> Baseline:
        """The baseline after a run; items that were not run stay as they are."""
        counts = {str(item.key): BaselineCounts.of(item) for item in items}
        return Baseline(self.name, self.samples, self.items | counts)

    def write(self, path: Path, model: str) -> None:
        """Write the file, whole or not at all. Raises BaselineError."""
        lines: list[dict[str, Any]] = [{"schema": _SCHEMA, "model": model, "samples": self.samples}]
        for item, counts in sorted(self.items.items()):
            numbers = {"passed": counts.passed, "judged": counts.judged, "samples": counts.samples}
            lines.append({"item": item, **numbers, **counts.costs})
        try:
            with replace_file(path) as part:
                part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        except OSError as error:
            raise BaselineError(f"can't write {path}: {error.strerror}") from error


def fisher_p_value(then: BaselineCounts, now: BaselineCounts) -> float:
    """The probability that so few samples pass now, or fewer, if a sample passes as often as then.

    Fisher's exact test, one-sided: the samples of now are a random draw from all samples, of which a fixed number
    passes. Both counts must have judged samples.
    """
    passed = then.passed + now.passed
    fewest = max(0, passed - then.judged)
    draws = _log_binomial(then.judged + now.judged, passed)
    terms = (
        _log_binomial(now.judged, x) + _log_binomial(then.judged, passed - x) - draws
        for x in range(fewest, now.passed + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))


def _log_binomial(n: int, k: int) -> float:
    """The logarithm of C(n, k). The factorials themselves are too long to multiply if there are many samples."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def paired_test(changes: Sequence[Change]) -> PairedTest | None:
    """Compare pass@1 over the items that have judged samples now and then; None if there is no such item.

    The p-value is that of the Mantel-Haenszel test (J. National Cancer Institute 22, 1959), one-sided and with
    continuity correction. Each item is a stratum of its own, so that easy items are compared with themselves.
    """
    pairs = [
        (change.then, change.now) for change in changes if change.then and change.then.judged and change.now.judged
    ]
    if not pairs:
        return None
    excess = variance = 0.0
    for then, now in pairs:
        total, passed = then.judged + now.judged, then.passed + now.passed
        excess += now.passed - now.judged * passed / total
        variance += now.judged * then.judged * passed * (total - passed) / (total**2 * (total - 1))
    p_value = math.erfc(-(excess + 0.5) / math.sqrt(2 * variance)) / 2 if variance else 1.0
    before = math.fsum(then.passed / then.judged for then, _ in pairs) / len(pairs)
    after = math.fsum(now.passed / now.judged for _, now in pairs) / len(pairs)
    return PairedTest(len(pairs), before, after, p_value)


def paired_cost_test(changes: Sequence[Change], measure: str) -> PairedTest | None:
    """Compare a measure of speed or size over the functions that have it now and then; None if there is none.

    `then` and `now` are geometric means. The p-value is that of Wilcoxon's signed-rank test (Biometrics Bulletin 1,
    1945), one-sided, on the logarithms of the changes. Functions are its pairs: questions about one are alike.
    """
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for change in changes:
        if change.then and measure in change.then.costs and measure in change.now.costs:
            logarithms = math.log(change.then.costs[measure]), math.log(change.now.costs[measure])
            pairs[change.item.rpartition("[")[0]].append(logarithms)
    if not pairs:
        return None
    before = [math.fsum(then for then, _ in group) / len(group) for group in pairs.values()]
    after = [math.fsum(now for _, now in group) / len(group) for group in pairs.values()]
    p_value = signed_rank_p_value([now - then for then, now in zip(before, after, strict=True)])
    then, now = (math.exp(math.fsum(values) / len(pairs)) for values in (before, after))
    return PairedTest(len(pairs), then, now, p_value)


def signed_rank_p_value(differences: Iterable[float]) -> float:
    """The probability that so much of the differences is negative, or more, if either sign is as likely.

    Differences of 0 are left out, and equal ones share their ranks. For many differences the sum of ranks is taken for
    normally distributed.
    """
    changed = [difference for difference in differences if difference]
    if not changed:
        return 1.0
    ranks = _rank_doubled([abs(difference) for difference in changed])
    positive = sum(rank for rank, difference in zip(ranks, changed, strict=True) if difference > 0)
    if len(ranks) > _EXACT_DIFFERENCES:
        deviation = math.sqrt(sum(rank * rank for rank in ranks)) / 2
        return math.erfc(-(positive + 0.5 - sum(ranks) / 2) / deviation / math.sqrt(2)) / 2
    ways = [1, *[0] * sum(ranks)]
    for rank in ranks:
        ways = [ways[total] + (ways[total - rank] if total >= rank else 0) for total in range(len(ways))]
    return sum(ways[: positive + 1]) / (1 << len(ranks))


def _rank_doubled(values: Sequence[float]) -> list[int]:
    """Twice the rank of each value, from the smallest on. Equal values have the mean of their ranks."""
    ordered = sorted(values)
    return [bisect_left(ordered, value) + bisect_right(ordered, value) + 1 for value in values]


def _parse_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {line[:40]}")
    return value


def _parse_header(line: str) -> int:
    """The number of samples. Raises ValueError."""
    header = _parse_object(line)
    if header.get("schema") != _SCHEMA or "samples" not in header:
        raise ValueError(f'expected the header of a baseline, {{"schema": {_SCHEMA}, …, "samples": N}}')
    return _count(header, "samples")


def _parse_item(line: str) -> tuple[str, BaselineCounts]:
    """The name of an item and its counts. Raises ValueError."""
    entry = _parse_object(line)
    item = entry.get("item")
    if not isinstance(item, str):
        raise ValueError("expected the name of an item as 'item'")
    costs = {name: _ratio(entry, name) for name in (SPEED, SIZE) if name in entry}
    counts = BaselineCounts(_count(entry, "passed"), _count(entry, "judged"), _count(entry, "samples"), costs)
    if not counts.passed <= counts.judged <= counts.samples:
        raise ValueError(f"{item} can't have {counts.passed} of {counts.judged} of {counts.samples} samples")
    return item, counts


def _count(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a whole number as {name!r}, found {value!r}")
    return value


def _ratio(entry: dict[str, Any], name: str) -> float:
    value = entry.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"expected a number above 0 as {name!r}, found {value!r}")
    return float(value)
