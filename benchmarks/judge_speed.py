"""Measure what a verdict costs, beside compiling and running the answer and beside a loop of hypothesis in Python.

    python benchmarks/judge_speed.py [--cases 30] [--sample 15] [--seed 1] [--only PART …] [--jobs N]

The functions are drawn of `cases/` and `benchmarks/functions/`, the same for the same seed. The parts:

- preparing: a function made ready for the first time, and from the cache
- verdicts: passing, failing and explained answers, beside other ways to judge the same answers
- engine: runs a second, and the share of runs that fell back to Python
- cores: verdicts a second on one core and more
- memory: of the judge's processes
- growth: larger functions, more inputs, larger objects

All contenders judge the same answers in turn, in one run, so that their times can be compared on a busy machine too.
The tables are Markdown. Files go to a temporary folder; the user's cache is not used.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

try:
    import capstone  # noqa: F401
    import z3  # noqa: F401
except ImportError as error:
    sys.exit(f"{error}: judge_speed.py seeds faults as judge_quality.py does; install `pip install -e .[bench]`")

from speed.answers import MeasuredFunction, draw_functions
from speed.engine import EnginePart
from speed.growth import GrowthPart
from speed.preparing import PreparingPart
from speed.verdicts import VerdictPart
from speed.workers import CoresPart, MemoryPart

from pytest_llmcompiler.judge.api import shared_judge

PARTS = ("preparing", "verdicts", "engine", "cores", "memory", "growth")
FOLDERS = (HERE.parent / "cases", HERE / "functions")


def main() -> None:
    """The command line."""
    options = _parse_arguments()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="llmc-speed-") as folder:
        os.environ["LLMC_CACHE"] = folder
        functions = [
            function
            for path, count in zip(FOLDERS, (options.cases, options.sample))
            if count != 0 and path.is_dir()
            for function in draw_functions(path, max(count, 0), options.seed)
        ]
        _show(_describe_machine(functions, options.seed))
        _measure(functions, options)
        shared_judge().close()
    _show([f"{(time.perf_counter() - start) / 60:.1f} minutes"])


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=30, help="functions of cases/ (default 30; -1: all)")
    parser.add_argument(
        "--sample", type=int, default=15, help="functions of benchmarks/functions/ (default 15; -1: all)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the draw, and of the seeded faults (default 1)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="the most cores to measure (default: all)"
    )
    return parser.parse_args()


def _measure(functions: Sequence[MeasuredFunction], options: argparse.Namespace) -> None:
    """Measure the parts and print each as soon as it is done. Preparing is the first, while the cache is empty."""
    if "preparing" in options.only:
        preparing = PreparingPart()
        preparing.measure(functions)
        _show(preparing.report())
    if "verdicts" in options.only:
        verdicts = VerdictPart(options.seed)
        for number, function in enumerate(functions, 1):
            print(f"[{number}/{len(functions)}] {function.path.name}::{function.name}", file=sys.stderr, flush=True)
            verdicts.measure(function)
        _show(verdicts.report())
    if "engine" in options.only:
        engine = EnginePart()
        engine.measure(functions)
        _show(engine.report())
    if "cores" in options.only:
        cores = CoresPart(options.jobs)
        cores.measure(functions)
        _show(cores.report())
    if "memory" in options.only:
        memory = MemoryPart()
        memory.measure(functions)
        _show(memory.report())
    if "growth" in options.only:
        growth = GrowthPart()
        growth.measure()
        _show(growth.report())


def _describe_machine(functions: Sequence[MeasuredFunction], seed: int) -> list[str]:
    counts = {folder.name: sum(function.folder == folder.name for function in functions) for folder in FOLDERS}
    drawn = ", ".join(f"{count} of {name}/" for name, count in counts.items())
    return [
        "# What a verdict costs",
        "",
        f"{len(functions)} functions ({drawn}; seed {seed}). {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}.",
    ]


def _show(lines: Iterable[str]) -> None:
    print(*lines, "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
