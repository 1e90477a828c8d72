"""Records from several files as those of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmcompiler.errors import ModelError, ResultsError
from pytest_llmcompiler.model.answer import QuestionKey, read_question_key
from pytest_llmcompiler.report.records import DamagedLine, Record, read_undamaged_records
from pytest_llmcompiler.report.resume import MODEL_IDENTITY

_MAX_NAMED = 10
"""Damaged lines that a message names."""


class ReadRecords(NamedTuple):
    """What files of records hold."""

    records: tuple[Record, ...]
    """One for each sample, in the order in which samples first come."""
    damaged: tuple[DamagedLine, ...]
    """The lines that are no records."""


def read_files(paths: Sequence[Path], *, skips_damaged: bool) -> ReadRecords:
    """Read the records of a run from its files. If a sample comes twice, the last one counts.

    Raises ResultsError if a file can't be read, if lines are damaged and `skips_damaged` is false, and if two files
    have the same sample of different models.
    """
    samples: dict[tuple[QuestionKey, int], tuple[Record, Path]] = {}
    damaged: list[DamagedLine] = []
    shared: dict[str, Any] = {}
    for path in paths:
        try:
            records, faults = read_undamaged_records(path)
        except ModelError as error:
            raise ResultsError(str(error)) from error
        damaged += faults
        for record in records:
            _share_members(record, shared)
            sample = read_question_key(record), record["sample"]
            earlier = samples.get(sample)
            if earlier and earlier[1] != path:
                _check_same_model(sample, earlier, (record, path))
            samples[sample] = record, path
    if damaged and not skips_damaged:
        raise ResultsError(_describe_damage(damaged))
    return ReadRecords(tuple(record for record, _ in samples.values()), tuple(damaged))


def _share_members(record: Record, shared: dict[str, Any]) -> None:
    """Make records share equal settings and models, which otherwise are most of the memory of a record."""
    members: dict[str, Any] = record  # type: ignore[assignment]
    for name in ("settings", "model"):
        value = members.get(name)
        if value is not None and value == shared.get(name):
            members[name] = shared[name]
        else:
            shared[name] = value


def _check_same_model(
    sample: tuple[QuestionKey, int], earlier: tuple[Record, Path], later: tuple[Record, Path]
) -> None:
    """Raise ResultsError if two records of a sample are of different models: neither replaces the other."""
    first, second = (_identify_model(record) for record, _ in (earlier, later))
    for name in first.keys() & second.keys():
        if first[name] != second[name]:
            key, number = sample
            raise ResultsError(
                f"{earlier[1]} and {later[1]} both have sample {number} of {key}, of different models ({name} "
                f"{first[name]!r} and {second[name]!r}): read each on its own, and use `compare`"
            )


def _identify_model(record: Record) -> Mapping[str, object]:
    model: Mapping[str, object] = record.get("model") or {}
    return {name: model[name] for name in MODEL_IDENTITY if name in model}


def _describe_damage(damaged: Sequence[DamagedLine]) -> str:
    lines = [str(line) for line in damaged[:_MAX_NAMED]]
    if len(damaged) > _MAX_NAMED:
        lines.append(f"and {len(damaged) - _MAX_NAMED} more lines")
    return "\n".join([*lines, "Results.read(…, skip_damaged=True) leaves such lines out"])
