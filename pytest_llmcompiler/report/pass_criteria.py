"""The criteria of a run: which items fail, and whether the session fails as a whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_llmcompiler.errors import BaselineError
from pytest_llmcompiler.report.baseline import (
    SIGNIFICANCE_LEVEL,
    Baseline,
    BaselineCounts,
    Change,
    ChangeKind,
    PairedTest,
    paired_cost_test,
    paired_test,
)
from pytest_llmcompiler.report.cost_estimate import estimate_cost
from pytest_llmcompiler.report.cost_ratios import SIZE, SPEED
from pytest_llmcompiler.report.passk import SampleCounts, estimate

_LISTED: tuple[ChangeKind, ...] = ("worse", "better", "new", "not judged")
"""The changes that are listed item by item."""

_ROUNDING_ERROR = 1e-9
"""How far a mean of floating-point fractions may lie below its exact value. The error of a sum of a million fractions
is below this value, and the share of one sample in a million is above it."""


@dataclass(frozen=True)
class ItemDecision:
    """Whether an item passes."""

    kind: Literal["passed", "known", "failed", "worse"]
    """`known`: too few samples pass, but that does not fail the item (xfail). `worse`: worse than the baseline, which
    fails the item even if enough samples pass."""
    message: str


@dataclass(frozen=True)
class SessionOutcome:
    """Lines for the end of a session, and whether the session fails."""

    lines: Sequence[str]
    failed: bool
    is_better: bool = False
    """Whether something got better than in the baseline."""


class PassCriteria:
    """Decides on items by the required share of passing samples and by the baseline; on sessions by thresholds too."""

    def __init__(self, share: float | None, samples: int, thresholds: Mapping[str, float]) -> None:
        """`share`: the share of an item's judged samples that must pass, and at least one; None: no item fails.

        `samples`: how many samples of an item are asked for. `thresholds`: the least pass@k, as a fraction of 1, and
        the least of measures of speed and size, each by its name: `pass@1`, `speed@O3`.
        """
        self._share, self._samples, self._thresholds = share, samples, thresholds
        self._baseline: Baseline | None = None
        self._updated_path: Path | None = None

    def load(self, path: Path, *, update: bool) -> None:
        """Decide by the baseline at `path`; with `update`, write it at the end and fail no item.

        Raises BaselineError if it can't be read, has another number of samples, or can't be written.
        """
        self._updated_path = path if update else None
        if update and not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BaselineError(f"can't write {path}: {error.strerror}") from error
            self._baseline = Baseline(path.name, self._samples, {})
            return
        self._baseline = Baseline.read(path)
        if self._baseline.samples != self._samples:
            raise BaselineError(
                f"{path} holds {self._baseline.samples} samples an item, and --llmc-samples is {self._samples}: "
                "give that number, or remove the file and write it anew with --llmc-update-baseline"
            )

    def decide(self, item: SampleCounts) -> ItemDecision:
        """Decide on an item that has judged samples."""
        counts, share = BaselineCounts.of(item), self._share or 0
        message = f"{counts} samples pass"
        if self._baseline and not self._updated_path:
            change, name = self._baseline.compare(item, share), self._baseline.name
            if change.kind == "worse":
                return ItemDecision("worse", f"worse than {name}: {change.then} samples passed, now {counts}")
            message += f"; not judged in {name}" if change.kind == "new" else f"; known to {name}"
        if counts.suffice(share):
            return ItemDecision("passed", message)
        return ItemDecision("known" if self._baseline or self._share is None else "failed", message)

    def close(
        self, complete: Sequence[SampleCounts], all_items: Sequence[SampleCounts], model: str, command: str
    ) -> SessionOutcome:
        """Decide on the session, and write the baseline if that is wanted. A failure to write it fails the session.

        The baseline is about the `complete` items, all samples of which were judged; thresholds are about `all_items`.
        `model` is the model's name, `command` the command line of the session.
        """
        parts = [self._check_baseline(complete, model, command), self._check_thresholds(all_items)]
        return SessionOutcome([line for part in parts for line in part.lines], any(part.failed for part in parts))

    def _check_thresholds(self, items: Sequence[SampleCounts]) -> SessionOutcome:
        lines = []
        for name, required in sorted(self._thresholds.items(), key=_order_of_threshold):
            k = name.removeprefix("pass@")
            line = _check_cost(items, name, required) if k == name else _check_pass(items, int(k), required)
            lines += [line] if line else []
        return SessionOutcome(lines, bool(lines))

    def _check_baseline(self, items: Sequence[SampleCounts], model: str, command: str) -> SessionOutcome:
        if not self._baseline or not items:
            return SessionOutcome((), False)
        changes = [self._baseline.compare(item, self._share or 0) for item in items]
        lines = _change_lines(self._baseline.name, changes) if self._baseline.items else []
        if self._updated_path:
            try:
                self._baseline.updated(items).write(self._updated_path, model)
            except BaselineError as error:
                return SessionOutcome([*lines, f"FAIL: {error}"], True)
            return SessionOutcome([*lines, f"{len(items)} items written to {self._updated_path}"], False)
        kinds = {change.kind for change in changes}
        overall = [_check_overall(paired_test(changes)), *(_check_paired_cost(changes, name) for name in (SPEED, SIZE))]
        offer = []
        if kinds & {"better", "new"} or any(outcome.is_better for outcome in overall):
            scope = ", the items that are worse included" if "worse" in kinds else ""
            offer = [f"to update the baseline{scope}: {command} --llmc-update-baseline"]
        has_failed = any(outcome.failed for outcome in overall) or "worse" in kinds
        return SessionOutcome([*lines, *(line for outcome in overall for line in outcome.lines), *offer], has_failed)


def _order_of_threshold(threshold: tuple[str, float]) -> tuple[bool, int, str]:
    """pass@k comes first, by k."""
    name, _ = threshold
    is_pass = name.startswith("pass@")
    return not is_pass, int(name.removeprefix("pass@")) if is_pass else 0, name


def _check_pass(items: Sequence[SampleCounts], k: int, required: float) -> str:
    """The line for a pass@k that is lower than required; empty where it is not."""
    mean = estimate(items, k)
    if mean is None:
        result = f"no item has {'a judged sample' if k == 1 else f'{k} judged samples'}"
    elif mean.value < required - _ROUNDING_ERROR:
        # Rounded down: 79.999 must not read as the 80 that is required.
        result = f"found {math.floor(10_000 * mean.value) / 100:.2f}"
    else:
        return ""
    return f"FAIL: pass@{k} of at least {100 * required:g} percent is required (--llmc-fail-under); {result}"


def _check_cost(items: Sequence[SampleCounts], name: str, required: float) -> str:
    """The line for a speed or size that is lower than required; empty where it is not."""
    mean = estimate_cost(items, name)
    if mean is None:
        result = "no passing sample has it"
    elif mean.value < required - _ROUNDING_ERROR:
        result = f"found {math.floor(10_000 * mean.value) / 10_000:.4f}"
    else:
        return ""
    return f"FAIL: {name} of at least {required:g} is required (--llmc-fail-under); {result}"


def _change_lines(name: str, changes: Sequence[Change]) -> list[str]:
    """A headline with counts, and below it the changed items."""
    counts = Counter(change.kind for change in changes)
    within_chance = sum(change.kind == "same" and change.then != change.now for change in changes)
    parts = [f"{counts[kind]} {kind}" for kind in _LISTED if counts[kind]]
    parts += [f"{within_chance} moved within chance"] if within_chance else []
    lines = [f"against {name}: {', '.join([*parts, str(counts['same'] - within_chance) + ' as before'])}"]
    width = max((len(kind) for kind in _LISTED if counts[kind]), default=0)
    for kind in _LISTED:
        lines += [f"  {kind:{width}}  {change}" for change in sorted(changes, key=str) if change.kind == kind]
    return lines


def _check_overall(test: PairedTest | None) -> SessionOutcome:
    """Whether pass@1 over all items fell by more than chance allows."""
    if test is None or test.then == test.now:
        return SessionOutcome((), False)
    change = f"pass@1 of {test.items} items: {100 * test.then:.1f} percent, now {100 * test.now:.1f}"
    if test.p_value > SIGNIFICANCE_LEVEL:
        return SessionOutcome([change], False)
    return SessionOutcome(
        [f"FAIL: {change}, which chance alone brings about with a probability of {test.p_value:.2g}"], True
    )


def _check_paired_cost(changes: Sequence[Change], name: str) -> SessionOutcome:
    """Whether the speed or size of right answers fell by more than chance allows."""
    test = paired_cost_test(changes, name)
    if test is None or test.then == test.now:
        return SessionOutcome((), False)
    change = f"{name} of {test.items} functions: {test.then:.3f}, now {test.now:.3f}"
    if test.p_value > SIGNIFICANCE_LEVEL:
        return SessionOutcome([change], False, is_better=test.p_value >= 1 - SIGNIFICANCE_LEVEL)
    return SessionOutcome(
        [f"FAIL: {change}, which chance alone brings about with a probability of {test.p_value:.2g}"], True
    )
