"""Measure how right the judge is, over folders of C: false alarms on correct code, and misses on seeded faults.

    python benchmarks/judge_quality.py [--folder DIR …] [--examples 10,50,200] [--only false-alarms|misses]
        [--target aarch64-linux] [--faults 20] [--functions NAME,…] [--jobs 2] [--seed 1] [--json FILE]
        [--cflags='-std=gnu89 -Iinclude'] [--files 40] [--functions-per-file 5] [--texts 8] [--effort 0,1,10]
        [--steering 16] [--resume] [--without reserve,constants]
    python benchmarks/judge_quality.py --reproduce 'cases/sort.c::merge O2 #17'
    python benchmarks/judge_quality.py --known-misses [--effort 0,1,10]

Correct code is the output of several compilers at several levels. Of folders with more code than there is time, files,
functions and texts are drawn, the same for the same seed. A folder with a `compile_commands.json` is a program: the
files are those that it names, compiled with their flags and linked with each other. Faults are seeded into clang's own
code at O0 and O2. A fault that the judge passes is missed, unless it is shown to make no difference: by a proof, or by
a person in `equivalent.txt`. `--known-misses` judges those of `known_misses.txt`, which make a difference and were
passed once. `--without` tells what parts of the search for inputs add. `--resume` goes on with a measurement that was
interrupted: files in the file of `--json` are done.
The exit code is 1 if there is any false alarm or a fault of the harness.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import multiprocessing
import os
import random
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

try:
    import capstone  # noqa: F401
    import z3  # noqa: F401
except ImportError as error:
    sys.exit(f"{error}: judge_quality.py proves with z3 and capstone; install them with `pip install -e .[bench]`")

from quality import tables
from quality.inspected import apply_inspected, read_inspected
from quality.known_misses import judge_known_misses
from quality.measure import Measured, Plan, measure, open_reference, read_results, seed_faults
from quality.parts import PARTS

from pytest_llmcompiler.files import cache_folder
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.settings import check_effort
from pytest_llmcompiler.program.case import SUFFIXES
from pytest_llmcompiler.program.compilation_database import FILE_NAME, list_files
from pytest_llmcompiler.targets import list_target_names
from pytest_llmcompiler.targets.target import DEFAULT

FOLDERS = (HERE.parent / "cases", HERE / "functions")


def main() -> int:
    """The command line."""
    options = _parse_arguments()
    folders = options.folder or [folder for folder in FOLDERS if folder.is_dir()]
    files = dict(_list_files(folders, options.files, options.seed))
    only = options.only
    plan = Plan(
        options.examples,
        options.faults,
        options.seed,
        frozenset(options.functions),
        only != "misses",
        only != "false-alarms",
        options.target,
        options.functions_per_file,
        options.texts,
        tuple(shlex.split(options.cflags)),
        options.effort,
        options.steering,
        options.without,
    )
    if options.without:  # corpora from the usual cache were generated with all parts
        os.environ["LLMC_CACHE"] = str(cache_folder() / f"without-{'-'.join(options.without)}")
    if options.reproduce:
        return _reproduce(options.reproduce, files, plan)
    if options.known_misses:
        missed = 0
        for line, is_missed in judge_known_misses(HERE / "known_misses.txt", files, plan):
            print(line, flush=True)
            missed += is_missed
        print(f"{missed} are missed with effort {plan.efforts[-1]:g}")
        return 0
    start = time.perf_counter()
    results = _measure_files(files, plan, options)
    unused = apply_inspected(results, read_inspected(HERE / "equivalent.txt"))
    for line in tables.report(results, plan, unused):
        print(line)
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes with {options.jobs} processes")
    alarms = any(
        tables.is_false_alarm(sample.verdicts[plan.examples[-1]]) for result in results for sample in result.samples
    )
    return int(alarms or any(result.errors for result in results))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the judge's false alarms and misses over folders of C.")
    parser.add_argument("--folder", type=Path, action="append", help="default: cases and benchmarks/functions")
    parser.add_argument(
        "--examples", type=_parse_numbers, default=(JudgeSettings().examples,), help="one number or several: 10,50"
    )
    parser.add_argument(
        "--target", choices=list_target_names(), default=DEFAULT, help=f"what code is for (default {DEFAULT})"
    )
    parser.add_argument("--only", choices=("false-alarms", "misses"))
    parser.add_argument("--faults", type=int, default=20, help="wanted for each function and level (default 20)")
    parser.add_argument(
        "--steering",
        type=int,
        default=0,
        metavar="N",
        help="also so many faults a function and level of the kinds by which suites are chosen, in their own table",
    )
    parser.add_argument("--functions", type=lambda text: text.split(","), default=(), help="only these")
    parser.add_argument("--cflags", default="", help="flags of clang for all files, beside their own directives")
    parser.add_argument("--files", type=int, default=0, help="files to draw of each folder (default all)")
    parser.add_argument(
        "--functions-per-file", type=int, default=0, help="functions to draw of each file (default: all)"
    )
    parser.add_argument("--texts", type=int, default=0, help="correct texts to draw for each function (default all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all that is found, a line for each file when it is done")
    parser.add_argument("--resume", action="store_true", help="measure only the files that --json's file does not have")
    parser.add_argument(
        "--effort",
        type=_parse_efforts,
        default=(JudgeSettings().effort,),
        help="of the second look: one number or several, 0,1,10",
    )
    parser.add_argument(
        "--without",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="PARTS",
        help=f"leave out parts of how inputs are found: {', '.join(PARTS)}",
    )
    parser.add_argument("--known-misses", action="store_true", help="judge the faults of known_misses.txt, and end")
    parser.add_argument(
        "--reproduce", metavar="FAULT", help="show one fault and its verdict: 'FILE::FUNCTION LEVEL #N'"
    )
    return parser.parse_args()


def _parse_numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _parse_efforts(text: str) -> tuple[float, ...]:
    return tuple(check_effort(float(part)) for part in text.split(","))


def _list_files(folders: Sequence[Path], count: int, seed: int) -> Iterator[tuple[str, Path]]:
    """The files of the folders, each with the name that reports use. `count` are drawn of each folder; 0: all."""
    for folder in folders:
        root = folder.resolve()
        paths = sorted(_list_project(root) if (root / FILE_NAME).is_file() else root.rglob("*"))
        paths = [path for path in paths if path.suffix in SUFFIXES]
        if count:
            paths = sorted(random.Random(seed).sample(paths, min(count, len(paths))))
        for path in paths:
            yield f"{root.name}/{path.relative_to(root).as_posix()}", path


def _list_project(root: Path) -> list[Path]:
    """The files in a folder that its compilation database names."""
    return [path for path in list_files(root) if path.is_relative_to(root)]


def _measure_files(files: dict[str, Path], plan: Plan, options: argparse.Namespace) -> list[Measured]:
    """Measure each file in a process of its own, the largest first. The results are sorted by name."""
    results = read_results(options.json) if options.resume else []
    left = files.keys() - {result.name for result in results}
    record = options.json or Path(os.devnull)
    with ThreadPoolExecutor(options.jobs) as pool, record.open("a" if options.resume else "w") as lines:
        order = sorted(left, key=lambda name: (-files[name].stat().st_size, name))
        waiting = {pool.submit(_measure_file, name, files[name], plan): name for name in order}
        try:
            for done in as_completed(waiting):
                results.append(done.result())
                print(json.dumps(dataclasses.asdict(results[-1])), file=lines, flush=True)
                progress = _format_progress(results[-1], plan)
                print(f"[{len(results)}/{len(files)}] {progress}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:  # print the tables of the files that are done
            print(f"interrupted: {len(results)} of {len(files)} files are done")
            for future in waiting:
                future.cancel()
    return sorted(results, key=lambda result: result.name)


def _measure_file(name: str, path: Path, plan: Plan) -> Measured:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(measure, name, path, plan).result()
        except Exception as error:
            return Measured(name, errors=[f"{name}: {type(error).__name__}: {error}"])


def _format_progress(result: Measured, plan: Plan) -> str:
    count = plan.examples[-1]
    alarms = sum(tables.is_false_alarm(sample.verdicts[count]) for sample in result.samples)
    missed = sum(tables.sort_of(one, count) == "missed" for one in result.seeded)
    return (
        f"{result.name}: {result.functions} functions, {alarms} false alarms of {len(result.samples)}, "
        f"{missed} missed of {len(result.seeded)} faults, {len(result.errors)} errors, "
        f"{sum(result.seconds.values()):.0f} s"
    )


def _reproduce(wanted: str, files: dict[str, Path], plan: Plan) -> int:
    match = re.match(r"(.+?)::(\S+) (O\d) #(\d+)", wanted)
    if not match or match[1] not in files:
        sys.exit(f"no such fault: {wanted!r} (expected 'FILE::FUNCTION LEVEL #N', with FILE as the lists name it)")
    name, function, level, number = match.groups()
    reference = open_reference(name, files[name], plan)
    text = reference.texts.assembly(function, level)
    faults = list(seed_faults(reference, function, level, name, plan))
    if int(number) >= len(faults):
        sys.exit(f"{function} has {len(faults)} faults at {level}")
    fault = faults[int(number)]
    print(text)
    print(
        *difflib.unified_diff(text.split("\n"), fault.text.split("\n"), "correct", "fault", n=3, lineterm=""), sep="\n"
    )
    print(f"\n{fault.kind}, line {fault.line}: {fault.before} => {fault.after}")
    settings = JudgeSettings(plan.examples[-1], plan.seed, target=plan.target, effort=plan.efforts[-1])
    harness = Harness(reference, function, settings)
    print(harness.judge(fault.text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
