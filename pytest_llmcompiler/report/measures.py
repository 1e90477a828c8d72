"""What is measured of answers beside their verdicts, task by task: the lines below the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmcompiler.report.records import Record

_Records = Sequence[Record]


def measure_lines(records: Iterable[Record]) -> list[str]:
    """Sum up the measurements in records: those of the tasks other than `asm`, and the sizes that answers claim.

    No lines if nothing was measured. Inconclusive samples are not counted.
    """
    judged = [record for record in records if record["verdict"] not in ("inconclusive", None)]
    labels = dict.fromkeys(record["task"] for record in judged)  # a task, or a task with its target: ir@aarch64-linux
    lines: list[str] = []
    for task, measures in _MEASURES.items():
        for label in labels:
            if label.partition("@")[0] == task:
                samples = [record for record in judged if record["task"] == label]
                lines += [line for measure in measures for line in measure(label, samples)]
    return [*lines, *_claim_lines(judged)]


def _tune_lines(label: str, records: _Records) -> Iterator[str]:
    """How the pass lists that keep the behaviour compare with -Oz, by the size of the object file in bytes."""
    passing = [_measurement(record, "tune", "size", "oz") for record in records if record["verdict"] == "pass"]
    sizes = [(result["size"], result["oz"]) for result in passing if result]
    head = f"{label}: {len(sizes)} of {len(records)} pass lists keep the behaviour"
    if not sizes or not sum(oz for _, oz in sizes):
        yield head
        return
    saved = 100 * (1 - sum(size for size, _ in sizes) / sum(oz for _, oz in sizes))
    side = "above" if saved < 0 else "below"
    smaller = sum(size < oz for size, oz in sizes)
    equal = sum(size == oz for size, oz in sizes)
    percents = [100 * count / len(sizes) for count in (smaller, equal, len(sizes) - smaller - equal)]
    yield (
        f"{head}; their binary size is {abs(saved):.2f} percent {side} that of -Oz in all: "
        f"smaller for {percents[0]:.1f}, equal for {percents[1]:.1f}, larger for {percents[2]:.1f} percent of them"
    )


def _ir_lines(label: str, records: _Records) -> Iterator[str]:
    """How many answers are opt's own IR."""
    compared = [_measurement(record, "ir", "exact", "canonical") for record in records]
    if any(compared):
        exact, canonical = (_format_share(compared, name, len(records)) for name in ("exact", "canonical"))
        yield f"{label}: {exact} percent of samples are opt's own IR, {canonical} but for the names of values"


def _round_trip_lines(label: str, records: _Records) -> Iterator[str]:
    """How many answers to `disassemble` lower to the assembly in the prompt, and the mean BLEU score."""
    compared = [_measurement(record, "round_trip", "exact") for record in records]
    if not any(compared):
        return
    share = _format_share(compared, "exact", len(records))
    line = f"{label}: {share} percent of samples give the same assembly when lowered"
    scores = [result["bleu"] for result in compared if result and "bleu" in result]
    if not scores:
        yield f"{line} (BLEU needs sacrebleu: pip install 'pytest-llmcompiler[bleu]')"
        return
    # An answer that could not be lowered scores 0.
    yield f"{line}, with a mean BLEU of {sum(scores) / len(records):.1f}"


_MEASURES: Mapping[str, Sequence[Callable[[str, _Records], Iterator[str]]]] = {
    "tune": (_tune_lines,),
    "ir": (_ir_lines,),
    "disassemble": (_ir_lines, _round_trip_lines),
}
"""The measurements of each task, in the order of their lines."""


def _claim_lines(records: _Records) -> Iterator[str]:
    """How many of the sizes that answers claim are true."""
    parts = []
    for name, title in (("instructions", "the instruction count"), ("size", "the binary size")):
        claims = [claims[name] for record in records if (claims := _measurement(record, "promised", name))]
        checked = [claim["said"] == claim["is"] for claim in claims if claim["is"] is not None]
        if checked:
            parts.append(f"{title} for {sum(checked)} of {len(checked)}")
    if parts:
        yield f"claimed sizes: answers are right about {', about '.join(parts)}"


def _measurement(record: Record, name: str, *required: str) -> Mapping[str, Any] | None:
    """A member of a record's detail; None if it is missing or lacks one of the `required` keys.

    A record may come from a file that was edited, so nothing about its detail is certain.
    """
    detail: Mapping[str, Any] = record["detail"]
    result = detail.get(name)
    is_usable = isinstance(result, Mapping) and all(isinstance(result.get(key), (int, float, dict)) for key in required)
    return result if is_usable else None


def _format_share(results: Sequence[Mapping[str, Any] | None], name: str, total: int) -> str:
    return f"{100 * sum(bool(result and result[name]) for result in results) / total:.1f}"
