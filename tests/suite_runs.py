"""Sessions over the cases of this repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CASES = ROOT / "cases"


def run_suite(folder: Path, *args: str) -> list[dict[str, Any]]:
    """Run pytest over the suite in a process of its own; the records of all samples. Fails where anything failed."""
    record = folder / "record.jsonl"
    command = [sys.executable, "-m", "pytest", "cases", "-q", "-rfEs", "-p", "no:cacheprovider", "--tb=short", *args]
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
        command += ["-n", "2", "--dist", "loadfile"]
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, f"--llmc-record={record}"], cwd=ROOT, env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    return [json.loads(line) for line in record.read_text().splitlines()]


def verdicts(records: list[dict[str, Any]]) -> Counter[str]:
    return Counter(record["verdict"] for record in records)


def functions(records: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(record["case"], record["function"]) for record in records}
