"""Measure the judge on whole programs: false alarms on other compilers' files, and seeded faults that no input shows.

    benchmarks/program_quality.py [--faults 20] [--examples 100] [--isa x86-64-v3] [FILE.c …]

Files are those in `benchmarks/programs` by default. Right answers are what each compiler here makes of a file at five
levels. Faults are those of `judge/mutants.py` of the kinds that adequacy counts, of up to so many in each function of
clang's own assembly at -O2. Some make no difference on any input, and nothing tells which: the share that is found is a
lower bound. With --isa the right answers are for that level, and run natively; there are no faults then.

The exit code is 1 where there is a false alarm.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.judge.mutants import COUNTED_KINDS, seed_mutants
from pytest_llmcompiler.judge.program_harness import ProgramHarness
from pytest_llmcompiler.judge.program_run import ProgramDifferentialRun
from pytest_llmcompiler.judge.program_suite import ProgramSuite
from pytest_llmcompiler.judge.program_under_test import MAIN, ProgramUnderTest
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.levels import ISA_LEVELS, IsaLevel

COMPILERS, LEVELS = ("gcc", "clang-16", "clang-19"), ("-O0", "-O1", "-O2", "-O3", "-Os")


def compile_elsewhere(path: Path, isa: IsaLevel) -> Iterator[tuple[str, str]]:
    """What each compiler here makes of a file for a level of the instruction set, with a name."""
    for compiler in filter(shutil.which, COMPILERS):
        for level in LEVELS:
            command = [compiler, level, f"-march={isa}", "-w", "-S", str(path), "-o", "-"]
            yield (
                f"{compiler} {level}",
                subprocess.run(command, capture_output=True, text=True, check=True).stdout,
            )


def count_found(under_test: ProgramUnderTest, suite: ProgramSuite, faults: int) -> tuple[int, int]:
    """How many seeded faults the suite shows, and how many there are."""
    found = seeded = 0
    text = under_test.reference.texts.assembly(MAIN, "O2")
    for function in sorted(under_test.reference.golden.functions):
        if f"\n{function}:" not in text:  # it is inlined everywhere
            continue
        mutated = seed_mutants(text, function, faults, f"1 {function}")
        code = under_test.assemble_candidate(mutated.text, "llvm") if mutated.mutants else None
        counted = (mutant for mutant in mutated.mutants if mutant.kind in COUNTED_KINDS)
        for mutant in counted if code else ():
            under_test.prepare_machine()
            run = ProgramDifferentialRun(suite, mutant.switch_on(code), mutated.text)
            seeded += 1
            found += sandbox.call(run.first_failure, seconds=120, megabytes=16_384) is not None
    return found, seeded


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the judge on whole programs.")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument(
        "--faults", type=int, default=20, help="faults wanted for each function, of all kinds (default 20)"
    )
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--isa", choices=ISA_LEVELS, default=ISA_LEVELS[0], help="the level that compilers may use")
    options = parser.parse_args()
    files = options.files or sorted(Path(__file__).with_name("programs").glob("*.c"))
    alarms = 0
    print(f"{'program':<18}{'inputs':>7}{'right':>7}{'alarms':>8}{'faults':>8}{'found':>7}")
    for path in files:
        reference = Reference(read_case(path, program=True), Toolchain())
        is_plain = options.isa == ISA_LEVELS[0]
        settings = JudgeSettings(options.examples, native="off" if is_plain else "auto", isa=options.isa)
        harness = ProgramHarness(reference, settings)
        verdicts = [(name, harness.judge(text)) for name, text in compile_elsewhere(path, options.isa)]
        wrong = [(name, verdict) for name, verdict in verdicts if not verdict.passed]
        alarms += len(wrong)
        found, seeded = count_found(harness.under_test, harness.suite, options.faults) if is_plain else (0, 0)
        natively = sum("native" in verdict.detail for _, verdict in verdicts)
        inputs = len(harness.suite.entries)
        print(f"{path.stem:<18}{inputs:>7}{len(verdicts):>7}{len(wrong):>8}{seeded:>8}{found:>7}", flush=True)
        if not is_plain:
            print(f"  {natively} of them run natively")
        for name, verdict in wrong:
            print(f"  {name}: {verdict}")
    sys.exit(bool(alarms))


if __name__ == "__main__":
    main()
