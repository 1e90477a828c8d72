"""How the tests that were published with cases and the verdicts here agree: the lines below the table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from pytest_llmcompiler.judge.verdict import RUN_FAILURES
from pytest_llmcompiler.model.answer import read_question_key
from pytest_llmcompiler.report.records import Record

_MAX_CHARACTERS = 300
"""Characters of an input that are shown."""
_MAX_SHOWN = 5
"""Answers that are shown with their inputs: a few lines each."""


def published_lines(records: Iterable[Record]) -> list[str]:
    """How many answers pass the published tests, and which of these fail here, with the inputs that show it.

    No lines where no answer ran in such tests.
    """
    tested = [record for record in records if "published" in record["detail"]]
    if not tested:
        return []
    held = [record for record in tested if record["detail"]["published"]["holds"]]
    refused = sorted((record for record in held if record["verdict"] in RUN_FAILURES), key=_order)
    lines = [
        f"published tests: {len(held)} of {len(tested)} answers that ran pass them; {len(refused)} of these fail here"
        + (":" if refused else "")
    ]
    lines += [f"  {_describe_refusal(record)}" for record in refused[:_MAX_SHOWN]]
    if len(refused) > _MAX_SHOWN:
        lines.append(f"  and {len(refused) - _MAX_SHOWN} more")
    return [*lines, *_reference_lines(tested)]


def _reference_lines(tested: Sequence[Record]) -> list[str]:
    """How many answers pass here and fail the published tests: the reference fails these too."""
    failing = [
        record for record in tested if not record["detail"]["published"]["holds"] and record["verdict"] == "pass"
    ]
    if not failing:
        return []
    cases = {f"{record['case']}::{record['function']}" for record in failing}
    return [
        f"  {len(failing)} that pass here fail the published tests, as the reference itself does, in "
        f"{len(cases)} {'function' if len(cases) == 1 else 'functions'}: {', '.join(sorted(cases)[:_MAX_SHOWN])}"
    ]


def _order(record: Record) -> tuple[str, int]:
    return str(read_question_key(record)), record["sample"]


def _describe_refusal(record: Record) -> str:
    """One line: the answer, what it does wrong, and on which input."""
    detail = record["detail"]
    input = textwrap.shorten(" ".join(detail.get("input", [])), _MAX_CHARACTERS, placeholder=" …")
    where = f" on {input}" if input else ""
    return f"{read_question_key(record)} sample {record['sample']}: {record['verdict']}: {detail['message']}{where}"
