"""The baseline: how each item did when somebody last looked and found that good enough, and what got worse since.

The file is JSON Lines, made for version control: a header, then one line an item, sorted.

    {"schema": 1, "model": "llm-compiler-7b", "samples": 4}
    {"item": "git_lfs.c::validate[asm-O0]", "passed": 1, "judged": 4, "samples": 4}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_llmcompiler.errors import BaselineError
from pytest_llmcompiler.files import replace_file
from pytest_llmcompiler.report.passk import SampleCounts

_SCHEMA = 1
LEVEL = 0.01
"""How often a test may find that something got worse where nothing did: once for all items, once for the whole. That an
item which passed does not now is no test, and chance can do it where the same seed gives other answers."""


@dataclass(frozen=True)
class BaselineCounts:
    """The samples of an item: how many there are, how many have a verdict that counts, how many pass."""

    passed: int
    judged: int
    samples: int

    @classmethod
    def of(cls, tally: SampleCounts) -> BaselineCounts:
        """The counts of an item of this run."""
        return cls(tally.passed, tally.judged, len(tally.verdicts))

    def suffice(self, share: float) -> bool:
        """Whether the item passes: at least one sample, and `share` of those that count."""
        return self.passed > 0 and self.passed / self.judged >= share

    def __str__(self) -> str:
        return f"{self.passed} of {self.judged}"


Kind = Literal["worse", "better", "same", "new", "not judged"]


@dataclass(frozen=True)
class Change:
    """An item against the baseline."""

    item: str
    kind: Kind
    """`not judged`: all samples are inconclusive, and were not before. `new`: the baseline knows nothing of it."""
    then: BaselineCounts | None
    now: BaselineCounts

    def __str__(self) -> str:
        before = f"{self.then} samples passed, now " if self.then else ""
        return f"{self.item}: {before}{self.now}{'' if before else ' samples pass'}"


@dataclass(frozen=True)
class PairedTest:
    """How pass@1 over several items moved, as fractions of 1."""

    items: int
    then: float
    now: float
    chance: float
    """That it is as low as this, or lower, if nothing got worse."""


class Baseline:
    """What is known of items, by their names."""

    def __init__(self, name: str, samples: int, items: dict[str, BaselineCounts]) -> None:
        """`name` is what messages call it; `samples` is the number of samples that each item was asked for."""
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
                    samples = _header(line)
                else:
                    item, counts = _entry(line)
                    if item in items:
                        raise ValueError(f"{item} is there twice")
                    items[item] = counts
            except ValueError as error:
                raise BaselineError(f"{path}:{number}: {error}") from error
        return cls(path.name, samples, items)

    def compare(self, now: SampleCounts, share: float) -> Change:
        """Hold an item against what is known of it; `share` of its samples must pass.

        It is worse if it passed and does not now, or if fewer samples pass than chance allows: by Fisher's exact test,
        one-sided, at `LEVEL` divided by the number of items (Bonferroni), whichever of them are run.
        """
        then, counts = self.items.get(str(now.key)), BaselineCounts.of(now)
        if then is None or then.judged == 0:
            kind: Kind = "same" if then and counts.judged == 0 else "new"
        elif counts.judged == 0:
            kind = "not judged"
        elif self._is_worse(then, counts, share):
            kind = "worse"
        elif self._is_worse(counts, then, share):
            kind = "better"
        else:
            kind = "same"
        return Change(str(now.key), kind, then, counts)

    def _is_worse(self, then: BaselineCounts, now: BaselineCounts, share: float) -> bool:
        fell = then.suffice(share) and not now.suffice(share)
        return fell or chance(then, now) <= LEVEL / max(1, len(self.items))

    def updated(self, counts_by_item: Iterable[SampleCounts]) -> Baseline:
        """What is known after a run; items that were not run stay as they are."""
        return Baseline(
            self.name, self.samples, self.items | {str(one.key): BaselineCounts.of(one) for one in counts_by_item}
        )

    def write(self, path: Path, model: str) -> None:
        """Write the file, whole or not at all. Raises BaselineError."""
        lines: list[dict[str, Any]] = [{"schema": _SCHEMA, "model": model, "samples": self.samples}]
        for item, counts in sorted(self.items.items()):
            lines.append({"item": item, "passed": counts.passed, "judged": counts.judged, "samples": counts.samples})
        try:
            with replace_file(path) as part:
                part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        except OSError as error:
            raise BaselineError(f"can't write {path}: {error.strerror}") from error


def chance(then: BaselineCounts, now: BaselineCounts) -> float:
    """The chance that so few samples pass now, or fewer, where a sample passes as often as then.

    Fisher's exact test, one-sided: of all that pass, then and now, those of now are drawn at random. Both must have
    judged samples.
    """
    passed = then.passed + now.passed
    least = max(0, passed - then.judged)
    ways = _log_comb(then.judged + now.judged, passed)
    terms = (_log_comb(now.judged, x) + _log_comb(then.judged, passed - x) - ways for x in range(least, now.passed + 1))
    return min(1.0, math.fsum(map(math.exp, terms)))


def _log_comb(items: int, drawn: int) -> float:
    """The logarithm of the number of ways to draw; its factorials are too long to multiply where samples are many."""
    return math.lgamma(items + 1) - math.lgamma(drawn + 1) - math.lgamma(items - drawn + 1)


def shift(changes: Sequence[Change]) -> PairedTest | None:
    """How pass@1 over the items that are judged now and then moved; None where there is none.

    The chance is that of the Mantel-Haenszel test (J. National Cancer Institute 22, 1959), one-sided and with
    continuity correction: each item is a stratum of its own, so that easy items are compared with themselves.
    """
    pairs = [(one.then, one.now) for one in changes if one.then and one.then.judged and one.now.judged]
    if not pairs:
        return None
    excess = variance = 0.0
    for then, now in pairs:
        total, passed = then.judged + now.judged, then.passed + now.passed
        excess += now.passed - now.judged * passed / total
        variance += now.judged * then.judged * passed * (total - passed) / (total**2 * (total - 1))
    probability = math.erfc(-(excess + 0.5) / math.sqrt(2 * variance)) / 2 if variance else 1.0
    before = math.fsum(then.passed / then.judged for then, _ in pairs) / len(pairs)
    after = math.fsum(now.passed / now.judged for _, now in pairs) / len(pairs)
    return PairedTest(len(pairs), before, after, probability)


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, found {line[:40]}")
    return found


def _header(line: str) -> int:
    """The number of samples. Raises ValueError."""
    found = _parsed(line)
    if found.get("schema") != _SCHEMA or "samples" not in found:
        raise ValueError(f'expected the header of a baseline, {{"schema": {_SCHEMA}, …, "samples": N}}')
    return _whole(found, "samples")


def _entry(line: str) -> tuple[str, BaselineCounts]:
    """An item and its counts. Raises ValueError."""
    found = _parsed(line)
    item = found.get("item")
    if not isinstance(item, str):
        raise ValueError("expected the name of an item as 'item'")
    counts = BaselineCounts(*(_whole(found, name) for name in ("passed", "judged", "samples")))
    if not counts.passed <= counts.judged <= counts.samples:
        raise ValueError(f"{item} can't have {counts.passed} of {counts.judged} of {counts.samples} samples")
    return item, counts


def _whole(found: dict[str, Any], name: str) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a whole number as {name!r}, found {value!r}")
    return value
