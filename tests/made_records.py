"""Records that are made up, for counts that can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def made(function: str, sample: int, verdict: str | None, **more: Any) -> dict[str, Any]:
    """A record of `a.c`; `more` are members of its detail."""
    return {
        "schema": 1,
        "case": "a.c",
        "function": function,
        "task": "asm",
        "passes": "O0",
        "sample": sample,
        "answer": f"{function}: ret # {sample}",
        "tokens": {"prompt": 100 * len(function), "answer": 7},
        "model": {"backend": "replay", "name": "mine"},
        "verdict": verdict,
        "detail": {"message": "", "evidence": [], **more},
    }


def made_samples(function: str, verdicts: str, **more: Any) -> list[dict[str, Any]]:
    """A record for each of the verdicts, which blanks divide."""
    return [made(function, number, verdict, **more) for number, verdict in enumerate(verdicts.split())]


def cost(instructions: int, size: int) -> dict[str, Any]:
    """The cost of an answer beside clang's: 400, 200, 100 and 150 instructions, 80, 60, 90 and 40 bytes."""
    counts = {"O0": (400, 80), "O2": (200, 60), "O3": (100, 90), "Oz": (150, 40)}
    references = {level: {"instructions": count, "bytes": length} for level, (count, length) in counts.items()}
    return {"cost": {"instructions": instructions, "bytes": size, "references": references}}


def asserts(holds: bool) -> dict[str, Any]:
    """What the tests that came with a case say."""
    return {"published": {"tests": "asserts", "holds": holds}}


def write(path: Path, records: Iterable[dict[str, Any]], end: str = "") -> Path:
    """Write a file of records, with `end` behind them."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + end)
    return path
