"""What is measured of answers beside their verdicts, task by task: the lines below the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

_Facts = Sequence[Mapping[str, Any]]


def measure_lines(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines that sum up what the records of tasks other than asm hold, and what answers promise; none where nothing was
    measured. Inconclusive samples count nowhere."""
    judged = [one for one in records if one["verdict"] not in ("inconclusive", None)]
    labels = dict.fromkeys(str(one["task"]) for one in judged)  # which name a target behind the task
    lines: list[str] = []
    for task, measures in _MEASURES.items():
        for label in labels:
            if label.partition("@")[0] == task:
                asked = [one for one in judged if one["task"] == label]
                lines += [line for measure in measures for line in measure(label, asked)]
    return [*lines, *_promises(judged)]


def _tune(label: str, asked: _Facts) -> Iterator[str]:
    found = [_part(one, "tune", "size", "oz") for one in asked if one["verdict"] == "pass"]
    sizes = [(facts["size"], facts["oz"]) for facts in found if facts]
    head = f"{label}: {len(sizes)} of {len(asked)} pass lists keep the behaviour"
    if not sizes or not sum(oz for _, oz in sizes):
        yield head
        return
    saved = 100 * (1 - sum(size for size, _ in sizes) / sum(oz for _, oz in sizes))
    side = "above" if saved < 0 else "below"
    shares = (sum(size < oz for size, oz in sizes), sum(size == oz for size, oz in sizes))
    better, equal, worse = (100 * count / len(sizes) for count in (*shares, len(sizes) - sum(shares)))
    yield (
        f"{head}; their binary size is {abs(saved):.2f} percent {side} that of -Oz in all: "
        f"smaller for {better:.1f}, equal for {equal:.1f}, larger for {worse:.1f} percent of them"
    )


def _ir(label: str, asked: _Facts) -> Iterator[str]:
    found = [_part(one, "ir", "exact", "canonical") for one in asked]
    if any(found):
        exact, canonical = (_share(found, name, len(asked)) for name in ("exact", "canonical"))
        yield f"{label}: {exact} percent of samples are opt's own IR, {canonical} but for the names of values"


def _round_trip(label: str, asked: _Facts) -> Iterator[str]:
    found = [_part(one, "round_trip", "exact") for one in asked]
    if not any(found):
        return
    words = f"{label}: {_share(found, 'exact', len(asked))} percent of samples give the same assembly when lowered"
    scores = [facts["bleu"] for facts in found if facts and "bleu" in facts]
    if not scores:
        yield f"{words} (BLEU needs sacrebleu: pip install 'pytest-llmcompiler[bleu]')"
        return
    # What could not be lowered is like nothing.
    yield f"{words}, with a mean BLEU of {sum(scores) / len(asked):.1f}"


_MEASURES: Mapping[str, Sequence[Callable[[str, _Facts], Iterator[str]]]] = {
    "tune": (_tune,),
    "ir": (_ir,),
    "disassemble": (_ir, _round_trip),
}
"""What is measured of each task, in the order in which it is told."""


def _promises(records: _Facts) -> Iterator[str]:
    words = []
    for name, called in (("instructions", "the instruction count"), ("size", "the binary size")):
        held = [facts[name] for one in records if (facts := _part(one, "promised", name))]
        known = [one["said"] == one["is"] for one in held if one["is"] is not None]
        if known:
            words.append(f"{called} for {sum(known)} of {len(known)}")
    if words:
        yield f"promises: answers are right about {', about '.join(words)}"


def _part(record: Mapping[str, Any], name: str, *needed: str) -> Mapping[str, Any] | None:
    """A part of the detail of a record, where it is there with all that is needed of it."""
    facts = record["detail"].get(name)
    known = isinstance(facts, Mapping) and all(isinstance(facts.get(one), (int, float, dict)) for one in needed)
    return facts if known else None


def _share(found: Sequence[Mapping[str, Any] | None], name: str, total: int) -> str:
    return f"{100 * sum(bool(facts and facts[name]) for facts in found) / total:.1f}"
