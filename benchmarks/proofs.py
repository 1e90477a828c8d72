"""Proofs of correct code: which share is proved, what it costs, and whether random runs contradict.

    python benchmarks/proofs.py cases/small.c cases/git_lfs.c
    python benchmarks/proofs.py --functions 1 --seed 1 benchmarks/functions/*.c

For each function, the code of the bundled clang and of the compilers of this machine is judged with proofs. Then proved
answers of other compilers, `--checked` of them, are run on `--runs` random inputs each, in the engine, beside the
reference. A difference that the oracle confirms is an error of the prover, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from quality import compilers

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

VARIANTS = tuple((name, level) for name in (compilers.BUNDLED, "gcc", "clang-19") for level in ("O0", "O2", "O3"))
_TRIVIAL = tuple(f"{compilers.BUNDLED} -{level}" for level in ("O0", "O2", "O3"))
"""Answers that are the reference's own code: runs would compare code with itself, so they check no proof."""


class Proved(NamedTuple):
    """A proved answer."""

    harness: Harness
    name: str
    text: str


def main() -> None:
    """Print the shares, then the runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--functions", type=int, default=0, help="functions that are drawn of each file; 0: all")
    parser.add_argument("--examples", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checked", type=int, default=10)
    parser.add_argument("--runs", type=int, default=100_000)
    options = parser.parse_args()
    passed: Counter[str] = Counter()
    proved: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    milliseconds: list[float] = []
    steps: list[int] = []
    answers: list[Proved] = []
    for harness, name, compiler, text in _list_answers(options):
        verdict, seconds = _judge_timed(harness, text)
        if "proved" not in verdict.detail:
            continue
        passed[compiler] += 1
        milliseconds.append(1000 * seconds)
        steps.append(verdict.detail["proof"]["steps"])
        if verdict.detail["proved"]:
            proved[compiler] += 1
            if not name.endswith(_TRIVIAL):
                answers.append(Proved(harness, name, text))
        else:
            reasons[verdict.detail["proof"]["reason"]] += 1
    if not milliseconds:
        sys.exit("no answer passes")
    for compiler in passed:
        print(f"{compiler:28} {proved[compiler]:4} of {passed[compiler]:4} passes proved")
    print(f"{'all':28} {proved.total():4} of {passed.total():4}, {100 * proved.total() / passed.total():.1f} %")
    print(f"a proof or attempt: median {statistics.median(milliseconds):.0f} ms, {statistics.median(steps):,.0f} steps")
    for reason, count in reasons.most_common(12):
        print(f"  {count:4} x {reason}")
    drawn = random.Random(options.seed).sample(answers, min(options.checked, len(answers)))
    contradicted = [answer.name for answer in drawn if _contradicts(answer, options.runs)]
    sys.exit(1 if contradicted else 0)


def _list_answers(options: argparse.Namespace) -> Iterator[tuple[Harness, str, str, str]]:
    settings = JudgeSettings(options.examples, options.seed, prove=True)
    for path in options.files:
        try:
            reference = Reference(read_case(path, path.name), Toolchain())
            functions = reference.functions
        except LLMCompilerError as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        if options.functions:
            count = min(options.functions, len(functions))
            functions = random.Random(f"{options.seed} {path.name}").sample(functions, count)
        for function in functions:
            harness = Harness(reference, function, settings)
            if harness.find_unjudgeable_reason():
                continue
            for compiler, level in VARIANTS:
                try:
                    text = compilers.assembly(reference, function, compiler, level)
                except (compilers.CompilerError, OSError):
                    continue
                yield harness, f"{path.name}::{function} {compiler} -{level}", f"{compiler} -{level}", text
            harness.engine.close()


def _judge_timed(harness: Harness, text: str):  # type: ignore[no-untyped-def]
    """The verdict, and the seconds that the proof took: with it and without it, one after the other."""
    prover = harness._prover
    assert prover is not None
    seconds = 0.0
    prove = type(prover).prove

    def prove_timed(candidate, passed):  # type: ignore[no-untyped-def]
        nonlocal seconds
        start = time.perf_counter()
        try:
            return prove(prover, candidate, passed)
        finally:
            seconds = time.perf_counter() - start

    prover.prove = prove_timed  # type: ignore[method-assign]
    return harness.judge(text, explain=False), seconds


def _contradicts(answer: Proved, runs: int) -> bool:
    """Whether one of so many random runs fails; prints how many there were."""
    done, seed = 0, 0
    settings = JudgeSettings(30, effort=100.0)
    while done < runs:
        seed += 1
        harness = Harness(answer.harness.reference, answer.harness.function, settings, answer.harness._suite)
        harness._look._seed = seed
        verdict = harness.judge(answer.text, explain=False)
        harness.engine.close()
        inputs = verdict.detail.get("second_look", {}).get("inputs", 0)
        done += inputs
        if not verdict.passed:
            print(f"{answer.name}: proved, and fails: {verdict}")
            return True
        if not inputs or seed >= 40:
            break
    print(f"{answer.name}: {done:,} random runs, no difference")
    return False


if __name__ == "__main__":
    main()
