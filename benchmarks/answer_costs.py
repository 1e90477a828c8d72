"""Speed and size of clang's own code at each level, judged as if models had written it: does the order come out right,
and are the figures the same each time?

    python benchmarks/answer_costs.py [--folder DIR …] [--functions 10] [--seed 1] [--runs 10] [--compiler NAME:LEVEL …]
    python benchmarks/answer_costs.py --time

Functions are drawn, the same for the same seed; `--functions 0` takes all. Each run has processes of its own, and
another number of them. `--compiler gcc:O2` adds another compiler, which compiles the whole file, as a model; `quality`
knows the names. The exit code is 1 if two runs have different figures, or if the levels are not in their order.
`--time` says instead how long verdicts take.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from quality import compilers

from pytest_llmcompiler import Judge, Sample
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.answer import QuestionKey
from pytest_llmcompiler.program.case import SUFFIXES, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.report.cost_estimate import estimate_cost
from pytest_llmcompiler.report.cost_ratios import MEASURES
from pytest_llmcompiler.report.passk import CountedSample, SampleCounts, count_by_question

HERE = Path(__file__).resolve().parent
_LEVELS = ("O0", "O2", "O3", "Oz")


class Question(NamedTuple):
    """A function of a case, and the answers to it by the name of the model."""

    path: Path
    function: str
    answers: Mapping[str, str]


def draw_questions(folders: Sequence[Path], count: int, seed: int, others: Sequence[str]) -> list[Question]:
    """Functions of the C files of some folders, with clang's code at each level and that of further compilers."""
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES)
    references = [Reference(read_case(path), Toolchain()) for path in paths if path.suffix == ".c" or not others]
    functions = [(reference, name) for reference in references for name in sorted(reference.functions)]
    drawn = random.Random(seed).sample(functions, min(count, len(functions)) if count else len(functions))
    return [_ask(reference, function, others) for reference, function in drawn]


def _ask(reference: Reference, function: str, others: Sequence[str]) -> Question:
    texts = {f"clang -{level}": reference.texts.start_level(function, level)() for level in _LEVELS}
    further = {name: compilers.assembly(reference, function, *name.split(":")) for name in others}
    return Question(reference.case.path, function, texts | further)


def judge_all(questions: Sequence[Question], workers: int) -> dict[str, list[Verdict]]:
    """The verdicts on the answers of each model, by new processes."""
    with Judge(workers) as judge:
        return {
            model: list(judge.check_many(Sample(one.path, one.function, one.answers[model]) for one in questions))
            for model in questions[0].answers
        }


def count(questions: Sequence[Question], verdicts: Sequence[Verdict]) -> list[SampleCounts]:
    """The verdicts on the answers of a model as the table of a session counts them."""
    return count_by_question(
        (
            QuestionKey(one.path.name, one.function, "asm", "O0"),
            CountedSample(0, verdict.kind, None, None, None, verdict.detail.get("cost")),
        )
        for one, verdict in zip(questions, verdicts, strict=True)
    )


def compare(questions: Sequence[Question], runs: int) -> bool:
    """Print the table, and whether all is as it must be."""
    found = [judge_all(questions, 1 + number % 3) for number in range(runs)]
    figures = [
        {model: [verdict.detail.get("cost") for verdict in verdicts] for model, verdicts in run.items()}
        for run in found
    ]
    tables = {model: count(questions, verdicts) for model, verdicts in found[0].items()}
    means = {model: {name: estimate_cost(counts, name) for name in MEASURES} for model, counts in tables.items()}
    shown = ("speed@O0", "speed@O2", "speed@O3", "size@O0", "size@O2", "size@Oz")
    print(f"{'':12} {'pass':>8}" + "".join(f"{name:>18}" for name in shown))
    for model, counts in tables.items():
        passed = f"{sum(item.passed for item in counts)} of {len(counts)}"
        print(f"{model:12} {passed:>8}" + "".join(f"{means[model][name]!s:>18}" for name in shown))
    is_same = all(run == figures[0] for run in figures)
    print(f"{runs} runs with 1 to 3 processes: the figures are {'the same' if is_same else 'DIFFERENT'}")
    return is_same and _are_ordered(means)


def _are_ordered(means: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether each level of clang is at least as fast, or as small, as the one before it."""
    orders = {"speed@O3": ("O0", "O2", "O3"), "size@Oz": ("O0", "O2", "Oz"), "speed@O0": ("O0", "Oz", "O2")}
    for name, levels in orders.items():
        values = [means[f"clang -{level}"][name].value for level in levels]
        is_ordered = all(first <= second for first, second in pairwise(values))
        print(f"{name}: {' <= '.join(f'-{level}' for level in levels)}{'' if is_ordered else ' DOES NOT HOLD'}")
        if not is_ordered:
            return False
    return True


def measure_time(questions: Sequence[Question]) -> None:
    """Print how long verdicts on passing answers take, with costs that are not known yet and with known ones."""
    rows = []
    for one in questions:
        harness = Harness(Reference(read_case(one.path), Toolchain()), one.function, JudgeSettings())
        start = time.perf_counter()
        harness.find_unjudgeable_reason()
        prepared = time.perf_counter() - start
        harness.judge(f"{one.function}:\n\tud2\n", explain=False)  # the engine starts
        text = one.answers["clang -O2"]
        seconds = [prepared]
        for padding in range(6):  # other code each time: the engine does not run the same code twice
            start = time.perf_counter()
            harness.judge(text + padding * "\tnop\n")
            seconds.append(time.perf_counter() - start)
        rows.append((seconds[0], seconds[1], statistics.median(seconds[2:])))
        harness.engine.close()
    for name, values in zip(("preparing a function", "the first pass", "further passes"), zip(*rows), strict=True):
        median, mean = 1000 * statistics.median(values), 1000 * statistics.fmean(values)
        print(f"{name:22} median {median:8.1f} ms, mean {mean:8.1f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, action="append", help="a folder of cases (default: cases)")
    parser.add_argument("--functions", type=int, default=10, help="functions to draw, 0 for all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--compiler", action="append", default=[], help="another compiler and its level: gcc:O2")
    parser.add_argument("--time", action="store_true", help="measure what costs add to a verdict")
    args = parser.parse_args()
    questions = draw_questions(args.folder or [HERE.parent / "cases"], args.functions, args.seed, args.compiler)
    if args.time:
        measure_time(questions)
        return 0
    return 0 if compare(questions, args.runs) else 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # references keep child processes
