"""The report on one item: what the page of `--llmc-report` shows of a question.

It is built where the samples are judged, so that only compressed text travels between processes and is kept.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from pytest_llmcompiler.model.answer import Prompt, StopReason
from pytest_llmcompiler.report.records import Record, RecordCost, RecordDetail, RecordModel, TokenCounts

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.listing import Listing
    from pytest_llmcompiler.judge.verdict import Kind


class ReferenceListing(TypedDict):
    """Clang's own assembly of the function, which the page shows beside an answer."""

    passes: str
    text: str
    blocks: Listing | None


class SampleRow(TypedDict):
    """A sample as the page's table shows it."""

    sample: int
    verdict: Kind | None
    tokens: TokenCounts
    seconds: float | None
    message: str
    instructions: int | None
    published: bool | None
    """Whether the tests that came with the case hold; None if it came without."""
    cost: RecordCost | None


class ItemReport(TypedDict):
    """Plain JSON: pytest-xdist carries it from a worker."""

    key: list[str]
    """The members of the item's `QuestionKey`."""
    model: RecordModel
    samples: list[SampleRow]
    text: str
    """The long texts: an `ItemTexts`, packed by `pack`."""


class SampleTexts(TypedDict):
    """What the view of a sample shows beside its answer."""

    sample: int
    answer: int
    """Index in the `answers` of the item."""
    stop: StopReason
    seed: int | None
    detail: RecordDetail


class AnswerTexts(TypedDict):
    """An answer, which several samples may share."""

    text: str
    lowered: str | None
    """The assembly that LLVM made of it, if it is not assembly itself."""
    blocks: Listing | None


class ItemTexts(TypedDict):
    """The texts of an item, which the page unpacks when somebody opens one of its samples."""

    prompt: str
    reference: ReferenceListing | None
    answers: list[AnswerTexts]
    samples: list[SampleTexts]


def build_item_report(
    prompt: Prompt,
    records: Sequence[Record],
    reference: ReferenceListing | None,
    listing: Callable[[int], Listing | None],
) -> ItemReport:
    """Build the report on the item of a prompt. `listing` returns the listing of the record with that index.

    Samples with the same answer share its text and its listing.
    """
    indices: dict[str, int] = {}
    answers: list[AnswerTexts] = []
    for number, record in enumerate(records):
        text = record["answer"]
        if text not in indices:
            indices[text] = len(answers)
            answers.append({"text": text, "lowered": record["detail"].get("lowered"), "blocks": listing(number)})
    texts: ItemTexts = {
        "prompt": prompt.text,
        "reference": reference,
        "answers": answers,
        "samples": [_sample_texts(record, indices[record["answer"]]) for record in records],
    }
    return {
        "key": list(prompt.key),
        "model": records[0]["model"],
        "samples": [_sample_row(record) for record in records],
        "text": pack(texts),
    }


def _sample_texts(record: Record, answer: int) -> SampleTexts:
    return {
        "sample": record["sample"],
        "answer": answer,
        "stop": record["stop"],
        "seed": record["seed"],
        "detail": record["detail"],
    }


def _sample_row(record: Record) -> SampleRow:
    published = record["detail"].get("published")
    return {
        "sample": record["sample"],
        "verdict": record["verdict"],
        "tokens": record["tokens"],
        "seconds": record["seconds"],
        "message": record["detail"].get("message", ""),
        "instructions": record["detail"].get("instructions"),
        "published": published["holds"] if published else None,
        "cost": record["detail"].get("cost"),
    }


def pack(value: Any) -> str:
    """JSON, deflated (zlib's format, RFC 1950), in base64: a browser unpacks it with `DecompressionStream`."""
    return base64.b64encode(zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 9)).decode()
