"""Replayed answers whose verdict is not the one in their record."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmcompiler.model.answer import read_question_key
from pytest_llmcompiler.report.records import Record

_MAX_LISTED = 50
"""Changed verdicts that are listed one by one: about a screen."""


def changed_verdict_lines(records: Iterable[Record]) -> list[str]:
    """List the verdicts that changed, below a headline with their number; no lines if no record had a verdict."""
    rejudged = [record for record in records if "previous" in record]
    if not rejudged:
        return []
    changed = [record for record in rejudged if record["verdict"] != record["previous"]]
    changed.sort(key=lambda record: (read_question_key(record), record["sample"]))
    lines = [f"judged anew: {len(changed)} of {len(rejudged)} verdicts changed"]
    for record in changed[:_MAX_LISTED]:
        lines.append(
            f"  {read_question_key(record)} sample {record['sample']}: {record['previous']} -> {record['verdict']}"
        )
    if len(changed) > _MAX_LISTED:
        lines.append(f"  and {len(changed) - _MAX_LISTED} more; --llmc-record keeps all of them, as `previous`")
    return lines
