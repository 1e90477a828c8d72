"""One file of C, measured: every function's correct variants and seeded faults, judged."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.errors import AssemblyError, CaseError, LinkError, UnsupportedError
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.target import DEFAULT
from quality import compilers, faults_aarch64
from quality.asserts import assert_inputs, seen_by_assert
from quality.equivalence import Text, equivalent
from quality.faults import Fault, chosen, faults
from quality.interface import entry_of

FAULT_LEVELS = ("O0", "O2")


@dataclass(frozen=True)
class Plan:
    """What to measure. The lists are about the last of `examples`; the others only give a row of a table each."""

    examples: tuple[int, ...]
    faults: int
    """How many faults are wanted for a function and level."""
    seed: int
    functions: frozenset[str] = frozenset()
    """The functions to measure; empty: all."""
    false_alarms: bool = True
    misses: bool = True
    target: str = DEFAULT


@dataclass(frozen=True)
class Judged:
    """A verdict in short."""

    kind: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Sample:
    """A correct variant and what was said of it, by number of examples."""

    function: str
    compiler: str
    level: str
    verdicts: dict[int, Judged]


@dataclass(frozen=True)
class Seeded:
    """A fault and what was said of it, by number of examples."""

    function: str
    level: str
    number: int
    kind: str
    line: int
    before: str
    after: str
    verdicts: dict[int, Judged]
    asserts: bool
    """Whether fixed asserts catch it."""
    proof: str
    """How it was shown to be equivalent; empty where it was not, or where nobody asked."""


@dataclass
class Measured:
    """All that was found out about a file."""

    name: str
    functions: int = 0
    refused: str = ""
    """The compiler's message, where it does not compile."""
    samples: list[Sample] = field(default_factory=list)
    seeded: list[Seeded] = field(default_factory=list)
    no_answer: list[str] = field(default_factory=list)
    """Compilers that refuse the file, and why."""
    unjudgeable: dict[str, str] = field(default_factory=dict)
    """Functions that can't be judged, and why."""
    errors: list[str] = field(default_factory=list)
    """Faults of the harness."""
    corpora: dict[int, list[float]] = field(default_factory=dict)
    """Seconds that the corpus of each function took, by number of examples."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What each stage took."""


def measure(name: str, path: Path, plan: Plan) -> Measured:
    """Measure a file. What goes wrong with one function is an entry in `errors`."""
    found = Measured(name)
    try:
        reference = Reference(read_case(path, name), Toolchain(target=get_target(plan.target)))
        functions = [function for function in reference.functions if function in (plan.functions or {function})]
        reference.golden  # noqa: B018
    except CaseError as error:
        found.refused = compilers.first_line(str(error).replace(f"{path}: ", "", 1))
        return found
    for function in functions:
        found.functions += 1
        try:
            _Function(found, reference, function, plan).measure()
        except Exception:
            found.errors.append(f"{name}::{function}: {_last_lines(traceback.format_exc())}")
    return found


def _last_lines(text: str) -> str:
    lines = text.strip().splitlines()
    place = next((line.strip() for line in reversed(lines) if line.startswith("  File ")), "")
    place = place.replace('File "', "").replace('"', "").rpartition("/")[2]
    return f"{lines[-1]} ({place})"


class _Function:
    """One function while it is measured."""

    def __init__(self, found: Measured, reference: Reference, function: str, plan: Plan) -> None:
        self.found, self.reference, self.function, self.plan = found, reference, function, plan
        self.benches = {
            count: Harness(reference, function, JudgeSettings(count, plan.seed, target=plan.target))
            for count in plan.examples
        }

    def measure(self) -> None:
        """Fill in what is found."""
        text = self.reference.texts.assembly(self.function, "O0")
        with self._timed("corpus"):
            first = {count: _judged(harness, text) for count, harness in self.benches.items()}
            for count, harness in self.benches.items():
                seconds = first[count].seconds - _judged(harness, text).seconds
                self.found.corpora.setdefault(count, []).append(max(0.0, seconds))
        last = first[self.plan.examples[-1]]
        if last.kind == "inconclusive":
            self.found.unjudgeable[self.function] = last.message
        if self.plan.false_alarms:
            with self._timed("correct variants"):
                self.found.samples += self._samples()
        if self.plan.misses and last.kind != "inconclusive":
            for level in FAULT_LEVELS:
                self.found.seeded += self._seeded(level)

    def _timed(self, stage: str) -> _Timed:
        return _Timed(self.found.seconds, stage)

    def _verdicts(self, text: str) -> dict[int, Judged]:
        return {count: _judged(harness, text) for count, harness in self.benches.items()}

    def _samples(self) -> Iterator[Sample]:
        for compiler, level in compilers.variants(self.reference.target):
            if self.reference.case.is_ir and compiler != compilers.BUNDLED:
                continue
            try:
                text = compilers.assembly(self.reference, self.function, compiler, level)
            except compilers.CompilerError as error:
                words = f"{self.found.name}: {compiler} -{level}: {error}"
                if words not in self.found.no_answer:
                    self.found.no_answer.append(words)
                continue
            yield Sample(self.function, compiler, level, self._verdicts(text))

    def _seeded(self, level: str) -> Iterator[Seeded]:
        with self._timed("making faults"):
            made = list(made_faults(self.reference, self.function, level, self.found.name, self.plan))
        harness = self.benches[self.plan.examples[-1]]
        asserts_bench = harness.limited(assert_inputs(harness))
        for number, fault in enumerate(made):
            with self._timed("judging faults"):
                verdicts = self._verdicts(fault.text)
            with self._timed("asserts"):
                passed = verdicts[self.plan.examples[-1]].kind == "pass"
                asserts = not passed and seen_by_assert(asserts_bench.judge(fault.text, explain=False))
            proof = ""
            # What proves knows the instructions of x86-64 alone.
            if self.reference.target.is_native and any(judged.kind == "pass" for judged in verdicts.values()):
                with self._timed("proofs"):
                    proof = proved(self.reference, self.function, level, fault)
            yield Seeded(
                *(self.function, level, number, fault.kind, fault.line, fault.before, fault.after),
                *(verdicts, asserts, proof),
            )


class _Timed:
    """Adds the time of a block to a stage."""

    def __init__(self, seconds: dict[str, float], stage: str) -> None:
        self.seconds, self.stage = seconds, stage

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + time.perf_counter() - self.start


def _judged(harness: Harness, text: str) -> Judged:
    start = time.perf_counter()
    verdict = harness.judge(text, explain=False)
    return Judged(verdict.kind, verdict.message, time.perf_counter() - start)


def made_faults(reference: Reference, function: str, level: str, name: str, plan: Plan) -> Iterator[Fault]:
    """The faults of a function at a level, the same for the same plan."""
    text = reference.texts.assembly(function, level)
    seen = {machine_code(reference, function, text)}

    def accept(mutant: str) -> bool:
        code = machine_code(reference, function, mutant)
        if code is None or code in seen:
            return False
        seen.add(code)
        return True

    seed = f"{plan.seed} {name} {function} {level}"
    if reference.target.name == "aarch64-linux":
        left = faults_aarch64.all_faults(text, function)
        return chosen(text, left, random.Random(seed), accept, plan.faults)
    return faults(text, function, seed, accept, plan.faults)


def proved(reference: Reference, function: str, level: str, fault: Fault) -> str:
    """How a fault is shown to be none; empty where it is not shown."""
    sides = [
        Text(text, assembled(reference, function, text))
        for text in (reference.texts.assembly(function, level), fault.text)
    ]
    return equivalent(*sides, function, fault.changes, entry_of(reference, function))


def assembled(reference: Reference, function: str, text: str) -> AssembledCode:
    """A text in the place of a function."""
    target = reference.target
    return assemble(text, function, target.load_address, reference.golden.addresses, "llvm", target=target)


def machine_code(reference: Reference, function: str, text: str) -> tuple[bytes, ...] | None:
    """The bytes that a text assembles to; None for a text that does not assemble."""
    try:
        made = assembled(reference, function, text)
    except (AssemblyError, LinkError, UnsupportedError):
        return None
    return tuple(segment.data for segment in made.segments)
