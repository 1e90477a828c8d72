"""Compare the engine's verdicts with those of Python's path alone, on right and on wrong code.

    python benchmarks/engine_equality.py [--folder DIR …] [--functions 40] [--texts 4] [--faults 12] [--seed 1]
        [--target x86_64-windows]

Functions, compilers' texts and seeded faults are drawn, the same for the same seed; `--functions 0` takes all. The exit
code is 1 if any verdict differs.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from quality import compilers
from quality.measure import Plan, seed_faults

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import SUFFIXES, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target, list_target_names
from pytest_llmcompiler.targets.target import DEFAULT

_FOLDERS = (HERE.parent / "cases", HERE / "functions")


@dataclass
class Comparison:
    """What was compared, and what differed."""

    functions: int = 0
    inputs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Candidates by the kind of their verdict."""
    settled: int = 0
    """Candidates for which Python had nothing to run."""
    candidates_run: int = 0
    """Candidates that ran in the engine."""
    runs: int = 0
    left_of_passing: Counter[str] = field(default_factory=Counter)
    """Runs of passing candidates that were left to Python, by reason."""
    runs_of_passing: int = 0
    differences: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The comparison as text."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
        yield f"{self.functions} functions, {self.inputs} inputs, {self.kinds.total()} candidates: {kinds}"
        yield f"{self.candidates_run} candidates ran in the engine, {self.runs} runs; {self.settled} passed by it alone"
        left = ", ".join(f"{count} {reason}" for reason, count in self.left_of_passing.most_common()) or "none"
        share = 100 * self.left_of_passing.total() / max(1, self.runs_of_passing)
        yield f"runs of passing candidates that were left to Python: {share:.2f} % of {self.runs_of_passing} ({left})"
        yield f"differences: {len(self.differences)}"
        yield from self.differences


def compare_function(comparison: Comparison, reference: Reference, function: str, plan: Plan) -> None:
    """Judge texts and faults of a function with the engine and without it."""
    settings = JudgeSettings(examples=plan.examples[-1], seed=plan.seed, target=plan.target, effort=0)
    with_engine, without = Harness(reference, function, settings), Harness(reference, function, settings)
    without.engine.give_up()
    if with_engine.find_unjudgeable_reason():
        return
    comparison.functions += 1
    comparison.inputs += len(with_engine.corpus.entries)
    for label, text in list_candidates(reference, function, plan):
        statistics = with_engine.engine.statistics
        before = statistics.candidates, statistics.settled, statistics.runs, statistics.left_runs.copy()
        first, second = with_engine.judge(text, explain=False), without.judge(text, explain=False)
        runs = statistics.runs - before[2]
        comparison.kinds[second.kind] += 1
        comparison.candidates_run += statistics.candidates - before[0]
        comparison.settled += statistics.settled - before[1]
        comparison.runs += runs
        if second.passed:
            comparison.left_of_passing.update(statistics.left_runs - before[3])
            comparison.runs_of_passing += runs
        if not is_same(first, second):
            words = f"{first.kind} {first.message!r} instead of {second.kind} {second.message!r}"
            comparison.differences.append(f"{reference.case.name}::{function} {label}: {words}")


def is_same(first: Verdict, second: Verdict) -> bool:
    """Whether two verdicts say the same."""
    return first.to_json() == second.to_json()


def list_candidates(reference: Reference, function: str, plan: Plan) -> Iterator[tuple[str, str]]:
    """Texts of compilers, and seeded faults, each with a label."""
    for compiler, level in compilers.draw_variants(reference.target, plan.texts, f"{plan.seed} {function}"):
        if reference.case.is_ir and compiler != compilers.BUNDLED:
            continue
        try:
            yield f"{compiler} -{level}", compilers.assembly(reference, function, compiler, level)
        except compilers.CompilerError:
            continue
    for level in ("O0", "O2"):
        for number, fault in enumerate(seed_faults(reference, function, level, reference.case.name, plan)):
            if number == plan.faults:
                break
            yield f"{level} #{number} {fault.kind}", fault.text


def draw_functions(folders: list[Path], target: str, count: int, seed: int) -> Iterator[tuple[Reference, str]]:
    """Functions of all files, each with its reference; `count` of them are drawn, or all where it is 0."""
    paths = sorted(path for folder in folders for path in folder.iterdir() if path.suffix in SUFFIXES)
    references = [Reference(read_case(path, path.name), Toolchain(target=get_target(target))) for path in paths]
    every = [(number, function) for number, reference in enumerate(references) for function in reference.functions]
    drawn = sorted(random.Random(seed).sample(every, count)) if count else every
    for number, function in drawn:
        yield references[number], function


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, action="append", help="folders with cases; default: cases and functions")
    parser.add_argument("--functions", type=int, default=40, help="functions to draw; 0: all")
    parser.add_argument("--texts", type=int, default=4, help="texts of compilers for each function; 0: all")
    parser.add_argument("--faults", type=int, default=12, help="seeded faults at each level of each function")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=list_target_names(), default=DEFAULT)
    options = parser.parse_args()
    plan = Plan(
        examples=(options.examples,),
        faults=options.faults,
        seed=options.seed,
        target=options.target,
        texts=options.texts,
    )
    comparison = Comparison()
    folders = options.folder or [folder for folder in _FOLDERS if folder.is_dir()]
    for reference, function in draw_functions(folders, options.target, options.functions, options.seed):
        compare_function(comparison, reference, function, plan)
    print("\n".join(comparison.lines()))
    return bool(comparison.differences)


if __name__ == "__main__":
    sys.exit(main())
