"""How many rows a second `llmc import` takes.

    python benchmarks/import_speed.py [--rows 2000]

The rows are different functions with asserts, as LLM4Decompile's are: each is a case and a file of tests, which clang
both reads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests")]

from dataset_rows import ALL_BELOW, ALL_BELOW_TESTS

from pytest_llmcompiler.importers.importing import import_dataset


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How many rows a second llmc import takes.")
    parser.add_argument("--rows", type=int, default=2000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        with source.open("w") as lines:
            for number in range(rows):
                code = ALL_BELOW.replace(">= limit", f">= limit + {number}")
                lines.write(
                    json.dumps({"task_id": number, "type": "O0", "c_func": code, "c_test": ALL_BELOW_TESTS}) + "\n"
                )
        start = time.perf_counter()
        summary = import_dataset("llm4decompile", source, Path(folder) / "out")
        seconds = time.perf_counter() - start
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    work = sum(one.ru_utime + one.ru_stime for one in usage)
    print(f"{summary.taken} of {rows} rows in {seconds:.1f} s on {len(os.sched_getaffinity(0))} cores")
    print(f"{work:.1f} s of processor time: {1000 * work / rows:.1f} ms a row")


if __name__ == "__main__":
    main()
