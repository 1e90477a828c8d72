"""What came of answers that had been judged before, when a record was replayed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_llmcompiler.model.answer import read_question_key

_LISTED = 50


def changed_verdict_lines(records: Iterable[dict[str, Any]]) -> list[str]:
    """The verdicts that are not what they were, and how many were looked at; nothing where no record had a verdict."""
    again = [record for record in records if "previous" in record]
    if not again:
        return []
    changed = [record for record in again if record["verdict"] != record["previous"]]
    changed.sort(key=lambda one: (read_question_key(one), one["sample"]))
    lines = [f"judged anew: {len(changed)} of {len(again)} verdicts changed"]
    for one in changed[:_LISTED]:
        lines.append(f"  {read_question_key(one)} sample {one['sample']}: {one['previous']} -> {one['verdict']}")
    if len(changed) > _LISTED:
        lines.append(f"  and {len(changed) - _LISTED} more; --llmc-record keeps all of them, as `previous`")
    return lines
