"""The sheet of one question: what the report's page shows of it. Made where its samples are judged, so that only
compressed text travels and is kept."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.model.answer import Prompt

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.listing import Listing

ItemReport = dict[str, Any]
"""Plain JSON, which xdist carries from a worker: `key` (the members of the question's `Key`), the `model`'s facts,
`samples` (records without what is long) and `text`, the long rest packed by `pack`."""

_SHORT = ("sample", "verdict", "tokens", "seconds")


def make_sheet(
    prompt: Prompt,
    records: Sequence[dict[str, Any]],
    reference: dict[str, Any] | None,
    listing: Callable[[int], Listing | None],
) -> ItemReport:
    """What a page shows of a question. `reference` are the pass list (`passes`), the `text` and the listing (`blocks`)
    of clang's own assembly, where there is any; `listing` makes the listing of the record of that index.

    Samples that share an answer share its text and listing.
    """
    answers: dict[str, int] = {}
    listings, lowered = [], []
    for index, record in enumerate(records):
        if record["answer"] not in answers:
            answers[record["answer"]] = len(answers)
            listings.append(listing(index))
            lowered.append(record["detail"].get("lowered"))
    long = {
        "prompt": prompt.text,
        "reference": reference,
        "answers": [
            {"text": answer, "lowered": assembly, "blocks": blocks}
            for answer, assembly, blocks in zip(answers, lowered, listings)
        ],
        "samples": [
            {
                "sample": record["sample"],
                "answer": answers[record["answer"]],
                **{name: record[name] for name in ("stop", "seed", "detail")},
            }
            for record in records
        ],
    }
    return {
        "key": list(prompt.key),
        "model": records[0]["model"],
        "samples": [
            {
                **{name: record[name] for name in _SHORT},
                "message": record["detail"].get("message", ""),
                "instructions": record["detail"].get("instructions"),
            }
            for record in records
        ],
        "text": pack(long),
    }


def pack(value: Any) -> str:
    """JSON, deflated (zlib's format, RFC 1950), in base64: what a browser unpacks with `DecompressionStream`."""
    return base64.b64encode(zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 9)).decode()
