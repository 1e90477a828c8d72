"""Measure the time to prepare a function and the time to judge a sample, over a folder of cases.

    python benchmarks/judge_speed.py [cases]

Each function is judged five times on clang's own code at -O2. Samples that pass are the slowest to judge, except for
the shrinking of failures. The first sample includes the preparation, so preparing takes its time less the median of the
others.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from pytest_llmcompiler.judge.service import Judge
from pytest_llmcompiler.program.case import SUFFIXES, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

SAMPLES = 5


def main() -> None:
    """Print medians and totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("cases"), help="the cases (default: cases)")
    folder = parser.parse_args().folder
    paths = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    if not paths:
        parser.error(f"no .c or .ll file below {folder}")
    judge = Judge()
    first, further = [], []
    for path in paths:
        reference = Reference(read_case(path), Toolchain())
        for function in reference.functions:
            assembly = reference.texts.assembly(function, "O2")
            times = []
            for _ in range(SAMPLES):
                start = time.perf_counter()
                judge.judge(reference.case, function, assembly)
                times.append(time.perf_counter() - start)
            first.append(times[0] - statistics.median(times[1:]))
            further += times[1:]
    judge.close()
    print(f"functions: {len(first)}")
    print(f"preparing a function: median {statistics.median(first):.2f} s, at most {max(first):.2f} s")
    print(f"judging a sample: median {1000 * statistics.median(further):.0f} ms, at most {1000 * max(further):.0f} ms")
    print(f"samples a second: {len(further) / sum(further):.0f}")


if __name__ == "__main__":
    main()
