"""Measure batches of answers: how many a second, beside the engine alone and beside compiling and running them.

    python benchmarks/throughput.py [--functions 20] [--answers 400] [--workers 1 2] [--seed 1] [--only PART …]
    python benchmarks/throughput.py --soak 1800
    python benchmarks/throughput.py --kill

The functions are drawn of `cases/` and `benchmarks/functions/`. Half of the answers are code of clang and gcc at
several levels, four in ten have a seeded fault, one in ten is hostile: loops, jumps out of the program, endless texts,
no code. Each answer is a text that there was not before. The parts:

- mixed: the answers to all functions, mixed, in one batch
- new: the same with an instruction of its own behind the code of each answer, which never runs: no code comes twice
- one: one function with all the answers, as GRPO has them
- many: all functions with 8 answers each, function after function, from the cache and not from the memory of a process
- single: the time of one answer, judged one at a time by each process
- same: the same answer again and again, which is the cost of a batch without judging
- engine: the same answers in one process, with nothing around the verdict
- compile: the same answers in a pool of processes that compile and run them with five asserts

The whole measurement of docs/pages/measured.md is `--functions 100 --answers 10000`. The tables are Markdown. The cache
of the user is used, so that a second run need not prepare the functions again.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

try:
    import capstone  # noqa: F401
    import z3  # noqa: F401
except ImportError as error:
    sys.exit(f"{error}: throughput.py seeds faults as judge_quality.py does; install `pip install -e .[bench]`")

from batches.answers import BatchSource, FunctionAnswers, collect_answers
from batches.endurance import Soak, compare_with_kills
from batches.rates import CompileAndRunPool, Rate, describe_latency, measure_batch, measure_engine, measure_single
from speed.answers import MeasuredFunction, draw_functions
from speed.preparing import call_in_process
from speed.tables import format_table

from pytest_llmcompiler import Judge

PARTS = ("mixed", "new", "one", "many", "single", "same", "engine", "compile")
FOLDERS = (HERE.parent / "cases", HERE / "functions")
_MANY = 8
"""Answers of each function in the part `many`."""
_COMPILED = 400
"""The most answers that are compiled and run, or judged by the engine alone: some hundred say what one costs."""


def main() -> None:
    """The command line."""
    options = _parse_arguments()
    with tempfile.TemporaryDirectory(prefix="llmc-throughput-") as folder:
        # What is left in it is of this run: others may use the machine's own folder.
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        _run(options)


def _run(options: argparse.Namespace) -> None:
    answers = [collect_answers(function, options.seed) for function in _draw(options.functions, options.seed)]
    _show(_describe(answers, options))
    if options.soak:
        _show(_soak(answers, options))
    elif options.kill:
        _show(_kill(answers, options))
    else:
        _measure(answers, options)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=20, help="functions (default 20)")
    parser.add_argument("--answers", type=int, default=400, help="answers of a batch (default 400)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of processes (default 1 2)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw, and of the seeded faults (default 1)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="judge for so long, and look at what is held")
    parser.add_argument("--kill", action="store_true", help="kill processes at random, and compare the verdicts")
    return parser.parse_args()


def _draw(count: int, seed: int) -> list[MeasuredFunction]:
    """So many functions of both folders."""
    every = [function for folder in FOLDERS for function in draw_functions(folder, 0, seed)]
    chosen = set(random.Random(seed).sample(range(len(every)), min(count, len(every))))
    return [function for number, function in enumerate(every) if number in chosen]


def _describe(answers: Sequence[FunctionAnswers], options: argparse.Namespace) -> Iterator[str]:
    yield "# Batches of answers"
    yield ""
    texts = [sum(len(one.texts[kind]) for one in answers) for kind in ("right", "wrong", "hostile")]
    yield (
        f"{len(answers)} functions with {texts[0]} right, {texts[1]} wrong and {texts[2]} hostile texts, seed "
        f"{options.seed}. {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}."
    )


def _measure(answers: Sequence[FunctionAnswers], options: argparse.Namespace) -> None:
    rates: list[tuple[str, str, Rate]] = []
    latencies: list[list[str]] = []
    for workers in options.workers:
        _measure_judge(answers, workers, options, rates, latencies)
    if "engine" in options.only:
        samples = BatchSource(answers, options.seed).draw(min(options.answers, _COMPILED))
        rates.append(("the engine alone", "1", call_in_process(measure_engine, samples)))
    if "compile" in options.only:
        _measure_compiling(answers, options, rates)
    if rates:
        _show(["## Answers a second", "", *_format_rates(rates)])
    if latencies:
        heading = ["processes", "median, ms", "99 %, ms"]
        _show(["## One answer at a time, by each process", "", *format_table(heading, latencies)])


def _measure_judge(
    answers: Sequence[FunctionAnswers],
    workers: int,
    options: argparse.Namespace,
    rates: list[tuple[str, str, Rate]],
    latencies: list[list[str]],
) -> None:
    """The parts that one judge with so many processes has."""
    source = BatchSource(answers, options.seed)
    with Judge(workers) as judge:
        if "many" in options.only:  # first: no process has anything ready
            warm = measure_batch(judge, source.draw_by_function(1)) if workers == options.workers[0] else None
            if warm:
                rates.append(("each function once: inputs from the cache, or new", str(workers), warm))
            with Judge(workers) as new:
                rates.append(
                    ("8 answers to each function", str(workers), measure_batch(new, source.draw_by_function(_MANY)))
                )
        if {"mixed", "new", "one", "single", "same"} & set(options.only):
            measure_batch(judge, source.draw_by_function(2))
        if "mixed" in options.only:
            rates.append(("all functions mixed", str(workers), measure_batch(judge, source.draw(options.answers))))
        if "new" in options.only:
            new = source.draw(options.answers, has_new_code=True)
            rates.append(("all mixed, no code twice", str(workers), measure_batch(judge, new)))
        if "one" in options.only:
            one = BatchSource(answers[len(answers) // 2 :][:1], options.seed + 1)
            rates.append(("one function", str(workers), measure_batch(judge, one.draw(max(1, options.answers // 10)))))
        if "single" in options.only:
            seconds = measure_single(judge, source.draw(max(1, options.answers // 4)))
            latencies.append([str(workers), *describe_latency(seconds)])
        if "same" in options.only:
            same = source.draw(1) * options.answers
            measure_batch(judge, same[:1])
            rates.append(("the same answer", str(workers), measure_batch(judge, same)))


def _measure_compiling(
    answers: Sequence[FunctionAnswers], options: argparse.Namespace, rates: list[tuple[str, str, Rate]]
) -> None:
    samples = BatchSource(answers, options.seed).draw(min(options.answers, _COMPILED))
    with tempfile.TemporaryDirectory(prefix="llmc-throughput-") as folder:
        contender = CompileAndRunPool([one.function for one in answers], Path(folder))
        for workers in options.workers:
            rates.append(("compile and run, five asserts", str(workers), contender.measure(samples, workers)))


def _format_rates(rates: Iterable[tuple[str, str, Rate]]) -> Iterator[str]:
    rows = []
    for name, workers, rate in rates:
        memory = [f"{rate.memory.proportional:,.0f}", f"{rate.memory.largest:,.0f}"] if rate.memory else ["", ""]
        kinds = ", ".join(f"{count} {kind}" for kind, count in rate.kinds)
        times = [f"{1000 * seconds / rate.answers:,.2f}" for seconds in (rate.cpu, rate.own_cpu)]
        row = [
            name,
            workers,
            f"{rate.answers:,}",
            "" if rate.codes is None else f"{rate.codes:,}",
            f"{rate.seconds:,.1f}",
            f"{rate.a_second:,.0f}",
            *times,
            *memory,
            kinds,
        ]
        rows.append(row)
    heading = ["batch", "processes", "answers", "different", "seconds", "answers a second", "CPU ms an answer"]
    heading += ["of the process that asks", "memory, MiB (PSS)", "largest process", "verdicts"]
    yield from format_table(heading, rows)


def _soak(answers: Sequence[FunctionAnswers], options: argparse.Namespace) -> Iterator[str]:
    yield f"## {options.soak:,.0f} seconds"
    yield ""
    with Judge(options.workers[-1]) as judge:
        rows = []
        for state in Soak(judge, BatchSource(answers, options.seed)).run(options.soak):
            numbers = [state.seconds, state.verdicts, state.memory, state.own_memory, state.descriptors]
            numbers += [state.processes, state.zombies, state.temporary, state.parts]
            rows.append([f"{number:,.0f}" for number in numbers])
            print(f"{state.seconds:,.0f} s: {state.verdicts:,} verdicts", file=sys.stderr, flush=True)
    heading = ["seconds", "verdicts", "memory, MiB (PSS)", "of the process that asks (RSS)", "open files", "processes"]
    yield from format_table([*heading, "zombies", "temporary files", "unfinished cache files"], rows)


def _kill(answers: Sequence[FunctionAnswers], options: argparse.Namespace) -> Iterator[str]:
    start = time.perf_counter()
    samples = BatchSource(answers, options.seed).draw(options.answers)
    killed, different = compare_with_kills(lambda: Judge(options.workers[-1]), samples, options.seed)
    yield (
        f"{len(samples):,} answers, judged in quiet and while {killed} processes were killed at random: "
        f"{len(different)} verdicts differ. {time.perf_counter() - start:,.0f} s."
    )
    for quiet, disturbed in different[:10]:
        yield f"- {quiet.kind}: {quiet.message} / {disturbed.kind}: {disturbed.message}"


def _show(lines: Iterable[str]) -> None:
    print(*lines, "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
