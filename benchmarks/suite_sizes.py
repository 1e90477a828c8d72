"""How many inputs suites have, over functions of folders of C.

    python benchmarks/suite_sizes.py [--folder DIR …] [--functions-per-file 1] [--examples 100] [--seed 1] [--json FILE]

Functions are drawn, the same for the same seed. The last line has the median and the 90th percentile of the inputs of a
suite, of the reserve, and of the bytes of code that the reference executes on the whole suite, which is what a verdict
costs. Ctrl-C ends it and prints what is done. `--json` writes a line for each function, so that two states of the
package can be compared function by function.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.case import SUFFIXES, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

HERE = Path(__file__).resolve().parent
FOLDERS = (HERE.parent / "cases", HERE / "functions")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Count the inputs of suites.")
    parser.add_argument("--folder", type=Path, action="append", help="default: cases and benchmarks/functions")
    parser.add_argument("--functions-per-file", type=int, default=1)
    parser.add_argument("--examples", type=int, default=JudgeSettings().examples)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write a line for each function")
    options = parser.parse_args()
    rows = []
    with contextlib.suppress(KeyboardInterrupt):  # what is done is printed
        for row in _measure(options.folder or FOLDERS, options.functions_per_file, options.examples, options.seed):
            rows.append(row)
            print(f"{row['function']}: {row['inputs']} inputs, reserve {row['reserve']}", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    parts = [f"{name}: {_describe([row[name] for row in rows])}" for name in ("inputs", "reserve", "executed_bytes")]
    print(f"{len(rows)} functions; median, 90 %: {'; '.join(parts)}")


def _measure(folders: Sequence[Path], count: int, examples: int, seed: int) -> Iterator[dict[str, int]]:
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES):
        reference = Reference(read_case(path, path.name), Toolchain())
        functions = list(reference.functions)
        drawn = random.Random(f"{seed} {path.name}").sample(functions, min(count, len(functions)))
        for function in drawn:
            try:
                corpus = Harness(reference, function, JudgeSettings(examples, seed)).corpus
            except LLMCompilerError as error:
                print(f"{path.name}::{function}: {error}", file=sys.stderr)
                continue
            yield {
                "function": f"{path.name}::{function}",
                "inputs": len(corpus.entries),
                "reserve": len(getattr(corpus, "reserve", ())),
                "executed_bytes": sum(entry.expected.executed_bytes for entry in corpus.entries.values()),
            }


def _describe(values: Sequence[int]) -> str:
    if len(values) < 2:
        return ", ".join(map(str, values)) or "none"
    return f"{statistics.median(values):,.0f}, {statistics.quantiles(values, n=10)[-1]:,.0f}"


if __name__ == "__main__":
    main()
