"""What a run has to reach: which items fail, and whether the session fails as a whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_llmcompiler.errors import BaselineError
from pytest_llmcompiler.report.baseline import LEVEL, Baseline, BaselineCounts, Change, Kind, PairedTest, shift
from pytest_llmcompiler.report.passk import SampleCounts, estimate

_LISTED: tuple[Kind, ...] = ("worse", "better", "new", "not judged")
"""The changes that are told item by item."""

_ROUNDING = 1e-9
"""A mean of fractions may be a hair below what it is."""


@dataclass(frozen=True)
class ItemDecision:
    """What becomes of one item."""

    kind: Literal["passed", "known", "failed", "worse"]
    """`known`: its samples don't suffice, and that fails nothing. `worse` fails it even if they do."""
    words: str


@dataclass(frozen=True)
class SessionOutcome:
    """What is said at the end, and whether the session fails for it."""

    lines: Sequence[str]
    failed: bool


class PassCriteria:
    """Rules items by the share of samples that is required and by the baseline, and sessions by thresholds."""

    def __init__(self, share: float | None, samples: int, thresholds: Mapping[int, float]) -> None:
        """`share`: of the judged samples of an item, so many must pass; None where no item fails.

        `samples`: so many are asked for. `thresholds`: the least pass@k by k, as fractions of 1.
        """
        self._share, self._samples, self._thresholds = share, samples, thresholds
        self._baseline: Baseline | None = None
        self._rewritten: Path | None = None

    def load(self, path: Path, *, update: bool) -> None:
        """Rule by the baseline at `path`; with `update`, write it at the end and fail nothing.

        Raises BaselineError where it can't be read, was made with another number of samples, or can't be written.
        """
        self._rewritten = path if update else None
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

    def rule(self, item: SampleCounts) -> ItemDecision:
        """What becomes of an item that has judged samples."""
        counts, share = BaselineCounts.of(item), self._share or 0
        words = f"{counts} samples pass"
        if self._baseline and not self._rewritten:
            change, name = self._baseline.compare(item, share), self._baseline.name
            if change.kind == "worse":
                return ItemDecision("worse", f"worse than {name}: {change.then} samples passed, now {counts}")
            words += f"; not judged in {name}" if change.kind == "new" else f"; known to {name}"
        if counts.suffice(share):
            return ItemDecision("passed", words)
        return ItemDecision("known" if self._baseline or self._share is None else "failed", words)

    def close(
        self, complete: Sequence[SampleCounts], everything: Sequence[SampleCounts], model: str, command: str
    ) -> SessionOutcome:
        """The end of a session. `complete` are the items whose samples are all judged, which is what a baseline is
        about; thresholds are about all. `command` is what was typed, `model` the model's name.

        Writes the baseline if that is wanted; the session fails where that fails.
        """
        parts = [self._held_against_baseline(complete, model, command), self._held_against_thresholds(everything)]
        return SessionOutcome([line for part in parts for line in part.lines], any(part.failed for part in parts))

    def _held_against_thresholds(self, items: Sequence[SampleCounts]) -> SessionOutcome:
        lines = []
        for k, least in sorted(self._thresholds.items()):
            found = estimate(items, k)
            if found is None:
                said = f"no item has {'a judged sample' if k == 1 else f'{k} judged samples'}"
            elif found.value < least - _ROUNDING:
                said = f"found {math.floor(10_000 * found.value) / 100:.2f}"  # never rounded up to what is required
            else:
                continue
            lines.append(f"FAIL: pass@{k} of at least {100 * least:g} percent is required (--llmc-fail-under); {said}")
        return SessionOutcome(lines, bool(lines))

    def _held_against_baseline(self, items: Sequence[SampleCounts], model: str, command: str) -> SessionOutcome:
        if not self._baseline or not items:
            return SessionOutcome((), False)
        changes = [self._baseline.compare(one, self._share or 0) for one in items]
        listed = _listed(self._baseline.name, changes) if self._baseline.items else []
        if self._rewritten:
            try:
                self._baseline.updated(items).write(self._rewritten, model)
            except BaselineError as error:
                return SessionOutcome([*listed, f"FAIL: {error}"], True)
            return SessionOutcome([*listed, f"{len(items)} items written to {self._rewritten}"], False)
        whole, kinds = _whole(shift(changes)), {one.kind for one in changes}
        offer = []
        if kinds & {"better", "new"}:
            all_of_it = ", what got worse included" if "worse" in kinds else ""
            offer = [f"take it over{all_of_it}: {command} --llmc-update-baseline"]
        return SessionOutcome([*listed, *whole.lines, *offer], whole.failed or "worse" in kinds)


def _listed(name: str, changes: Sequence[Change]) -> list[str]:
    counts = Counter(one.kind for one in changes)
    moved = sum(one.kind == "same" and one.then != one.now for one in changes)
    told = [f"{counts[kind]} {kind}" for kind in _LISTED if counts[kind]]
    told += [f"{moved} moved within chance"] if moved else []
    lines = [f"against {name}: {', '.join([*told, str(counts['same'] - moved) + ' as before'])}"]
    width = max((len(kind) for kind in _LISTED if counts[kind]), default=0)
    for kind in _LISTED:
        lines += [f"  {kind:{width}}  {one}" for one in sorted(changes, key=str) if one.kind == kind]
    return lines


def _whole(moved: PairedTest | None) -> SessionOutcome:
    """What is said of pass@1 over all items."""
    if moved is None or moved.then == moved.now:
        return SessionOutcome((), False)
    words = f"pass@1 of {moved.items} items: {100 * moved.then:.1f} percent, now {100 * moved.now:.1f}"
    if moved.chance > LEVEL:
        return SessionOutcome([words], False)
    return SessionOutcome(
        [f"FAIL: {words}, which chance alone brings about with a probability of {moved.chance:.2g}"], True
    )
