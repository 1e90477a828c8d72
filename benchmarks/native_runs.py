"""Measure native runs: agreement with the emulator, verdicts on code with AVX, and runs a second.

    python benchmarks/native_runs.py [--only agreement|alarms|faults|speed] [--folder DIR …] [--functions 20]
        [--texts 4] [--faults 8] [--examples 100] [--isa x86-64-v3] [--seed 1]

Functions, compilers' texts and seeded faults are drawn of `cases/` and `benchmarks/functions/`, the same for the same
seed.

- agreement: right and wrong code without AVX runs on every input in both engines, and all that is observed is compared
- alarms: right code of gcc and clang for the level; none of it may fail, and none may be inconclusive
- faults: faults that are seeded into clang's vector code, and how many of them fail; beside them those of code without
  AVX, in the emulator and without a second look
- speed: runs a second in both engines, beside compiling and running a program

The exit code is 1 if the engines differ, or if right code fails or is inconclusive.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from engine_equality import draw_functions, list_candidates
from quality import compilers
from quality.faults import generate_faults
from quality.measure import Plan, accept_new_code

from pytest_llmcompiler.emulator.native.support import find_native_level, find_problem
from pytest_llmcompiler.errors import JudgeError
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.settings import JudgeSettings, NativeMode
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.levels import ISA_LEVELS
from pytest_llmcompiler.targets.target import DEFAULT

_FOLDERS = (HERE.parent / "cases", HERE / "functions")
_COMPILERS = ("clang-19 -O3", "clang-19 -O2", "gcc -O3", "gcc -O2 -ftree-vectorize")
_FAULTY_COMPILER = "clang-19 -O3"
_SPEED_SECONDS = 1.0
"""How long runs are repeated for a speed."""
_PROGRAM = "int main(void) { return 0; }\n"


class Runs:
    """What all parts have: options, functions and a judge for each."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.plan = Plan(
            examples=(options.examples,), faults=options.faults, seed=options.seed, target=DEFAULT, texts=options.texts
        )

    def functions(self) -> Iterator[tuple[Reference, str]]:
        """The functions that are drawn and can be judged."""
        options = self._options
        folders = options.folder or [folder for folder in _FOLDERS if folder.is_dir()]
        for reference, function in draw_functions(folders, DEFAULT, options.functions, options.seed):
            if self.harness(reference, function, "off").find_unjudgeable_reason() is None:
                yield reference, function

    def harness(self, reference: Reference, function: str, native: NativeMode) -> Harness:
        """A judge without a second look."""
        options = self._options
        settings = JudgeSettings(options.examples, options.seed, effort=0, native=native, isa=options.isa)
        return Harness(reference, function, settings)

    def vector_texts(self, reference: Reference, function: str, commands: Sequence[str]) -> Iterator[tuple[str, str]]:
        """What compilers make of the file for the level, each with a label."""
        for command in commands:
            if reference.case.is_ir:
                continue
            name, level = command.split(maxsplit=1)
            spec = f"cc:{name} -march={self._options.isa} -w {level}"
            try:
                yield f"{command}", compilers.assembly_by(reference, function, spec, level.split()[0].removeprefix("-"))
            except compilers.CompilerError:
                continue


def measure_agreement(runs: Runs) -> bool:
    """Right and wrong code of the emulator in both engines."""
    kinds: Counter[str] = Counter()
    differences, functions, inputs = [], 0, 0
    for reference, function in runs.functions():
        harness = runs.harness(reference, function, "always")
        functions, inputs = functions + 1, inputs + len(harness.corpus.entries)
        for label, text in list_candidates(reference, function, runs.plan):
            try:
                kinds[harness.judge(text, explain=False).kind] += 1
            except JudgeError as error:
                differences.append(f"{reference.case.name}::{function} {label}: {error}")
                print(differences[-1], flush=True)
    print(f"agreement: {functions} functions, {inputs} inputs, {_format(kinds)}; {len(differences)} differences")
    return not differences


def measure_alarms(runs: Runs) -> bool:
    """Right code with AVX."""
    kinds: Counter[str] = Counter()
    alarms, functions, emulated = [], 0, 0
    for reference, function in runs.functions():
        harness = runs.harness(reference, function, "auto")
        functions += 1
        for label, text in runs.vector_texts(reference, function, _COMPILERS):
            verdict = harness.judge(text, explain=False)
            emulated += "native" not in verdict.detail
            kinds[verdict.kind] += 1
            if not verdict.passed:
                alarms.append(f"{reference.case.name}::{function} {label}: {verdict.kind}: {verdict.message}")
                print(alarms[-1], flush=True)
    print(f"alarms: {functions} functions, {_format(kinds)}, {emulated} of them without AVX; {len(alarms)} no pass")
    return not alarms


def measure_faults(runs: Runs) -> bool:
    """Seeded faults of code with AVX, and of code without."""
    for name in ("auto", "off"):
        kinds: Counter[str] = Counter()
        passed, functions = [], 0
        for reference, function in runs.functions():
            texts = _list_faulty_texts(runs, reference, function, name)
            functions += bool(texts)
            for text in texts:
                for number, (line, fault) in enumerate(_list_faults(reference, function, text, runs.plan)):
                    if number == runs.plan.faults:
                        break
                    verdict = runs.harness(reference, function, name).judge(fault, explain=False)
                    if name == "auto" and "native" not in verdict.detail:
                        continue
                    kinds[verdict.kind] += 1
                    passed += [f"{reference.case.name}::{function} {line}"] if verdict.passed else []
        judged = kinds.total() - kinds["inconclusive"] - kinds["assemble"] - kinds["link"]
        share = 100 * (judged - kinds["pass"]) / max(1, judged)
        label = "with AVX, native" if name == "auto" else "without AVX, emulated"
        print(f"faults {label}: {functions} functions, {_format(kinds)}; {share:.1f} % of {judged} fail")
        print(*(f"  passes: {line}" for line in passed), sep="\n")
    return True


def _list_faulty_texts(runs: Runs, reference: Reference, function: str, native: str) -> list[str]:
    if native == "off":
        return [reference.texts.assembly(function, "O2")]
    texts = [text for _, text in runs.vector_texts(reference, function, [_FAULTY_COMPILER])]
    harness = runs.harness(reference, function, "auto")
    return [text for text in texts if "native" in harness.judge(text, explain=False).detail]


def _list_faults(reference: Reference, function: str, text: str, plan: Plan) -> Iterator[tuple[str, str]]:
    accept = accept_new_code(reference, function, text)
    for fault in generate_faults(text, function, f"{plan.seed} {function}", accept, plan.faults):
        yield f"{fault.kind}: {fault.before} -> {fault.after}", fault.text


def measure_speed(runs: Runs) -> bool:
    """Runs a second on the inputs of functions, with all that surrounds a run."""
    totals: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for reference, function in runs.functions():
        harness = runs.harness(reference, function, "always")
        candidate = harness._assemble(reference.texts.assembly(function, "O2"))
        if not isinstance(candidate, AssembledCode):
            continue
        for name, natively in (("emulated", False), ("native", True)):
            differential = DifferentialRun(harness._suite, candidate, "", natively=natively)
            count, spent = _time_runs(differential, list(harness.corpus.entries.values()))
            totals[name] += count
            seconds[name] += spent
            differential.machine.close()
    for name, count in totals.items():
        print(f"speed {name}: {count / seconds[name]:,.0f} runs a second, one after another from Python")
    print(f"speed compiled and run: {_time_programs():,.0f} programs a second")
    return True


def _time_runs(differential: DifferentialRun, entries: Sequence[object]) -> tuple[int, float]:
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < _SPEED_SECONDS:
        differential._run(entries[count % len(entries)], "garbage")  # type: ignore[arg-type]
        count += 1
    return count, time.perf_counter() - start


def _time_programs() -> float:
    """Programs that gcc compiles and that run, a second."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "main.c", Path(folder) / "main"
        source.write_text(_PROGRAM)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < _SPEED_SECONDS:
            subprocess.run(["gcc", "-O1", "-o", program, source], check=True)
            subprocess.run([program], check=True)
            count += 1
        return count / (time.perf_counter() - start)


def _format(kinds: Counter[str]) -> str:
    return f"{kinds.total()} candidates ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})"


_PARTS = {"agreement": measure_agreement, "alarms": measure_alarms, "faults": measure_faults, "speed": measure_speed}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(_PARTS), action="append")
    parser.add_argument("--folder", type=Path, action="append", help="folders with cases; default: cases and functions")
    parser.add_argument("--functions", type=int, default=20, help="functions to draw; 0: all")
    parser.add_argument("--texts", type=int, default=4, help="texts of compilers for each function; 0: all")
    parser.add_argument("--faults", type=int, default=8, help="seeded faults of each text")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--isa", choices=ISA_LEVELS[2:], default="x86-64-v3")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if find_problem() or find_native_level(options.isa) != options.isa:
        sys.exit(find_problem() or f"this machine's processor is below {options.isa}")
    runs = Runs(options)
    results = [_PARTS[name](runs) for name in options.only or _PARTS]
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
