"""One file of C, measured: every function's correct variants and seeded faults, judged."""

from __future__ import annotations

import json
import random
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.errors import AssemblyError, CaseError, LinkError, UnsupportedError
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import CompileFlags, FlagSources
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.target import DEFAULT
from quality import compilers, faults_aarch64
from quality.asserts import choose_assert_inputs, is_seen_by_assert
from quality.equivalence import Text, equivalent
from quality.faults import Fault, choose, generate_faults
from quality.interface import find_entry
from quality.parts import leave_out
from quality.steering import generate_steering_faults

FAULT_LEVELS = ("O0", "O2")


@dataclass(frozen=True)
class Plan:
    """What to measure. The lists use the last number of `examples`; each other number only adds a row to a table."""

    examples: tuple[int, ...]
    faults: int
    """Faults for each function and level, if there are as many."""
    seed: int
    functions: frozenset[str] = frozenset()
    """The functions to measure; empty: all."""
    false_alarms: bool = True
    misses: bool = True
    target: str = DEFAULT
    functions_per_file: int = 0
    """Functions that are drawn of each file; 0: all."""
    texts: int = 0
    """Correct texts that are drawn for each function; 0: all."""
    cflags: tuple[str, ...] = ()
    """Flags that all files are compiled with, beside their own."""
    efforts: tuple[float, ...] = (1.0,)
    """Efforts of the second look. The lists use the last one; each other one only adds a row to a table."""
    steering: int = 0
    """Faults of the kinds by which suites are chosen, for each function and level."""
    without: tuple[str, ...] = ()
    """Parts of how inputs are found that are left out (see `parts`)."""

    def choose_functions(self, name: str, functions: Sequence[str]) -> list[str]:
        """The functions of a file to measure, in the order of the file."""
        wanted = [function for function in functions if function in (self.functions or {function})]
        count = min(self.functions_per_file or len(wanted), len(wanted))
        drawn = set(random.Random(f"{self.seed} {name}").sample(wanted, count))
        return [function for function in wanted if function in drawn]


@dataclass(frozen=True)
class Judged:
    """A verdict and the seconds that it took."""

    kind: str
    message: str
    seconds: float
    by_second_look: bool = False
    """Whether the second look found the input that it is about."""


@dataclass(frozen=True)
class Sample:
    """A correct text and its verdicts, by number of examples."""

    function: str
    compiler: str
    level: str
    verdicts: dict[int, Judged]
    by_effort: dict[float, Judged] = field(default_factory=dict)
    """With the last number of examples, by effort."""


@dataclass(frozen=True)
class Seeded:
    """A fault and its verdicts, by number of examples."""

    function: str
    level: str
    number: int
    kind: str
    line: int
    before: str
    after: str
    verdicts: dict[int, Judged]
    asserts: bool
    """Whether fixed asserts catch the fault."""
    proof: str
    """How the fault was shown to make no difference; empty where it was not shown, or not tried."""
    by_effort: dict[float, Judged] = field(default_factory=dict)
    """With the last number of examples, by effort."""


@dataclass
class Measured:
    """All results for one file."""

    name: str
    functions: int = 0
    refused: str = ""
    """The compiler's message, where the file does not compile."""
    samples: list[Sample] = field(default_factory=list)
    seeded: list[Seeded] = field(default_factory=list)
    steering: list[Seeded] = field(default_factory=list)
    """Faults of the kinds by which suites are chosen."""
    no_answer: list[str] = field(default_factory=list)
    """Compilers that refuse the file, and why."""
    unjudgeable: dict[str, str] = field(default_factory=dict)
    """Functions that can't be judged, and why."""
    errors: list[str] = field(default_factory=list)
    """Faults of the harness."""
    corpora: dict[int, list[float]] = field(default_factory=dict)
    """Seconds to generate the corpus of each function, by number of examples."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage."""


def read_results(path: Path) -> list[Measured]:
    """The results in a file of JSON lines; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [_read_result(json.loads(line)) for line in lines]


def _read_result(data: dict[str, Any]) -> Measured:
    samples = [Sample(**one | _read_verdicts(one)) for one in data["samples"]]
    faults = {
        name: [Seeded(**one | _read_verdicts(one)) for one in data.get(name, ())] for name in ("seeded", "steering")
    }
    corpora = {int(count): seconds for count, seconds in data["corpora"].items()}
    return Measured(**data | faults | {"samples": samples, "corpora": corpora})


def _read_verdicts(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "verdicts": {int(count): Judged(**one) for count, one in data["verdicts"].items()},
        "by_effort": {float(effort): Judged(**one) for effort, one in data["by_effort"].items()},
    }


def open_reference(name: str, path: Path, plan: Plan) -> Reference:
    """The reference of a file, compiled and linked as a compilation database says if there is one. Raises CaseError."""
    flags = FlagSources((CompileFlags(plan.cflags, "--cflags"),), links_database=True)
    return Reference(read_case(path, name, flags), Toolchain(target=get_target(plan.target)))


def measure(name: str, path: Path, plan: Plan) -> Measured:
    """Measure a file. A fault of the harness on one function is an entry in `errors`."""
    result = Measured(name)
    leave_out(plan.without)
    try:
        reference = open_reference(name, path, plan)
        functions = plan.choose_functions(name, reference.functions)
        reference.golden  # noqa: B018
    except CaseError as error:
        result.refused = compilers.first_line(str(error).replace(f"{path}: ", "", 1))
        return result
    for function in functions:
        result.functions += 1
        try:
            _FunctionMeasurement(result, reference, function, plan).measure()
        except Exception:
            result.errors.append(f"{name}::{function}: {_last_lines(traceback.format_exc())}")
    return result


def _last_lines(text: str) -> str:
    lines = text.strip().splitlines()
    place = next((line.strip() for line in reversed(lines) if line.startswith("  File ")), "")
    place = place.replace('File "', "").replace('"', "").rpartition("/")[2]
    return f"{lines[-1]} ({place})"


class _FunctionMeasurement:
    """The measurement of one function."""

    def __init__(self, result: Measured, reference: Reference, function: str, plan: Plan) -> None:
        self.result, self.reference, self.function, self.plan = result, reference, function, plan
        self.harnesses = {
            count: Harness(
                reference, function, JudgeSettings(count, plan.seed, target=plan.target, effort=plan.efforts[-1])
            )
            for count in plan.examples
        }
        last = self.harnesses[plan.examples[-1]]
        self.by_effort = {effort: last.with_effort(effort) for effort in plan.efforts[:-1]} | {plan.efforts[-1]: last}

    def measure(self) -> None:
        """Judge the correct texts and the seeded faults of the function, and add them to the result."""
        text = self.reference.texts.assembly(self.function, "O0")
        with self._time("corpus"):
            first = {count: _judge(harness, text) for count, harness in self.harnesses.items()}
            for count, harness in self.harnesses.items():
                seconds = first[count].seconds - _judge(harness, text).seconds
                self.result.corpora.setdefault(count, []).append(max(0.0, seconds))
        last = first[self.plan.examples[-1]]
        if last.kind == "inconclusive":
            self.result.unjudgeable[self.function] = last.message
        if self.plan.false_alarms:
            with self._time("correct variants"):
                self.result.samples += self._judge_samples()
        if self.plan.misses and last.kind != "inconclusive":
            for level in FAULT_LEVELS:
                with self._time("making faults"):
                    faults = list(seed_faults(self.reference, self.function, level, self.result.name, self.plan))
                    text = self.reference.texts.assembly(self.function, level)
                    seed = f"{self.plan.seed} {self.result.name} {self.function} {level}"
                    steering = generate_steering_faults(text, self.function, self.plan.steering, seed)
                self.result.seeded += self._judge_faults(level, faults)
                self.result.steering += self._judge_faults(level, steering)

    def _time(self, stage: str) -> _StageTimer:
        return _StageTimer(self.result.seconds, stage)

    def _judge(self, text: str) -> tuple[dict[int, Judged], dict[float, Judged]]:
        """The verdicts by number of examples, and by effort. An effort is tried where all smaller ones pass."""
        by_effort: dict[float, Judged] = {}
        judged: Judged | None = None
        for effort in sorted(self.by_effort):
            if judged is None or judged.kind == "pass":
                judged = _judge(self.by_effort[effort], text)
            by_effort[effort] = judged
        last = self.plan.examples[-1]
        verdicts = {count: _judge(harness, text) for count, harness in self.harnesses.items() if count != last}
        return verdicts | {last: by_effort[self.plan.efforts[-1]]}, by_effort

    def _judge_samples(self) -> Iterator[Sample]:
        seed = f"{self.plan.seed} {self.result.name} {self.function}"
        for compiler, level in compilers.draw_variants(self.reference.target, self.plan.texts, seed):
            if self.reference.case.is_ir and compiler != compilers.BUNDLED:
                continue
            try:
                text = compilers.assembly(self.reference, self.function, compiler, level)
            except compilers.CompilerError as error:
                words = f"{self.result.name}: {compiler} -{level}: {error}"
                if words not in self.result.no_answer:
                    self.result.no_answer.append(words)
                continue
            yield Sample(self.function, compiler, level, *self._judge(text))

    def _judge_faults(self, level: str, faults: Iterable[Fault]) -> Iterator[Seeded]:
        harness = self.harnesses[self.plan.examples[-1]]
        assert_harness = harness.restrict(choose_assert_inputs(harness))
        for number, fault in enumerate(faults):
            with self._time("judging faults"):
                verdicts, by_effort = self._judge(fault.text)
            with self._time("asserts"):
                passed = verdicts[self.plan.examples[-1]].kind == "pass"
                asserts = not passed and is_seen_by_assert(assert_harness.judge(fault.text, explain=False))
            proof = ""
            # The prover knows the instructions of x86-64 alone. Faults that steer are not proved.
            is_provable = self.reference.target.is_native and fault.changes
            if is_provable and any(judged.kind == "pass" for judged in verdicts.values()):
                with self._time("proofs"):
                    proof = prove(self.reference, self.function, level, fault)
            yield Seeded(
                function=self.function,
                level=level,
                number=number,
                kind=fault.kind,
                line=fault.line,
                before=fault.before,
                after=fault.after,
                verdicts=verdicts,
                asserts=asserts,
                proof=proof,
                by_effort=by_effort,
            )


class _StageTimer:
    """Adds the duration of a `with` block to a stage."""

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self.seconds, self.stage = seconds, stage

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + time.perf_counter() - self.start


def _judge(harness: Harness, text: str) -> Judged:
    start = time.perf_counter()
    verdict = harness.judge(text, explain=False)
    seconds = time.perf_counter() - start
    return Judged(verdict.kind, verdict.message, seconds, "input" in verdict.detail.get("second_look", {}))


def accept_new_code(reference: Reference, function: str, text: str) -> Callable[[str], bool]:
    """Whether a mutant assembles, to code that neither the text nor a mutant asked about before has."""
    seen = {encode(reference, function, text)}

    def accept(mutant: str) -> bool:
        code = encode(reference, function, mutant)
        if code is None or code in seen:
            return False
        seen.add(code)
        return True

    return accept


def seed_faults(reference: Reference, function: str, level: str, name: str, plan: Plan) -> Iterator[Fault]:
    """The faults of a function at a level, the same for the same plan."""
    text = reference.texts.assembly(function, level)
    accept = accept_new_code(reference, function, text)
    seed = f"{plan.seed} {name} {function} {level}"
    if reference.target.name == "aarch64-linux":
        left = faults_aarch64.all_faults(text, function)
        return choose(text, left, random.Random(seed), accept, plan.faults)
    return generate_faults(text, function, seed, accept, plan.faults)


def prove(reference: Reference, function: str, level: str, fault: Fault) -> str:
    """How a fault is shown to make no difference; empty where it is not shown."""
    correct, changed = (
        Text(text, assemble_in_place(reference, function, text))
        for text in (reference.texts.assembly(function, level), fault.text)
    )
    return equivalent(correct, changed, function, fault.changes, find_entry(reference, function))


def assemble_in_place(reference: Reference, function: str, text: str) -> AssembledCode:
    """Assemble a text to take the place of a function. Raises what `assemble` raises."""
    target = reference.target
    return assemble(text, function, target.load_address, reference.golden.addresses, "llvm", target=target)


def encode(reference: Reference, function: str, text: str) -> tuple[bytes, ...] | None:
    """The machine code of a text, section by section; None for a text that does not assemble."""
    try:
        code = assemble_in_place(reference, function, text)
    except (AssemblyError, LinkError, UnsupportedError):
        return None
    return tuple(segment.data for segment in code.segments)
