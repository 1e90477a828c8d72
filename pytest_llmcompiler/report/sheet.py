"""The sheet of one question: what the report's page shows of it. Made where its samples are judged, so that only
compressed text travels and is kept."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Sheet = dict[str, Any]
"""Plain JSON, which xdist carries from a worker: `key` (case, function, task, passes), the `model`'s facts, `samples`
(records without what is long) and `text`, the long rest packed by `pack`."""

_SHORT = ("sample", "verdict", "tokens", "seconds")


def make_sheet(
    prompt: tuple[tuple[str, str, str, str], str],
    records: Sequence[dict[str, Any]],
    reference: tuple[str, str] | None,
    blocks: Callable[[int | None], Any],
) -> Sheet:
    """What a page shows of a question: its key and text, the records of its samples, and the reference's pass list and
    assembly. `blocks` gives the listing of the sample of that index, or of the reference, as JSON or None.

    Samples that share an answer share its text and listing.
    """
    key, text = prompt
    answers: dict[str, int] = {}
    listings = []
    for index, record in enumerate(records):
        if record["answer"] not in answers:
            answers[record["answer"]] = len(answers)
            listings.append(blocks(index))
    long = {
        "prompt": text,
        "reference": reference and {"passes": reference[0], "text": reference[1], "blocks": blocks(None)},
        "answers": [{"text": answer, "blocks": listing} for answer, listing in zip(answers, listings)],
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
        "key": list(key),
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
