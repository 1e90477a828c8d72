"""Faults that make a difference and were passed once: a file of lines

    FILE::FUNCTION LEVEL LINE | BEFORE => AFTER | WHAT SHOWS IT

LINE is that of clang's text at the level, from 1, and BEFORE its instruction. `(nothing)` stands for no instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target
from quality.inspected import InspectedError
from quality.measure import Plan

_NOTHING = "(nothing)"
_LINE = re.compile(r"(\S+)::(\S+) (O\d) (\d+) \| (.+?) => (.+?) \| (.+)")


@dataclass(frozen=True)
class KnownMiss:
    """One line of the file."""

    file: str
    function: str
    level: str
    line: int
    before: str
    after: str
    shown_by: str

    def apply(self, text: str) -> str:
        """The text with the fault. Raises InspectedError where the text has another instruction there."""
        lines = text.split("\n")
        present = " ".join(lines[self.line - 1].split("#")[0].split()) if self.line <= len(lines) else ""
        if self.before not in (_NOTHING, present):
            raise InspectedError(f"{self.file}::{self.function} {self.level} has {present!r} in line {self.line}")
        lines[self.line - 1 : self.line - (self.before == _NOTHING)] = [] if self.after == _NOTHING else [self.after]
        return "\n".join(lines)


def read_known_misses(path: Path) -> list[KnownMiss]:
    """The lines of the file, without empty lines and comments (`#`). Raises InspectedError."""
    misses = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise InspectedError(
                f"{path.name}:{number}: expected FILE::FUNCTION LEVEL LINE | BEFORE => AFTER | WHAT SHOWS IT"
            )
        file, function, level, at, *parts = match.groups()
        misses.append(KnownMiss(file, function, level, int(at), *parts))
    return misses


def judge_known_misses(path: Path, files: Mapping[str, Path], plan: Plan) -> Iterator[tuple[str, bool]]:
    """A line for each fault, and whether it is missed with the last effort."""
    harnesses: dict[tuple[str, str], tuple[Reference, dict[float, Harness]]] = {}
    for miss in read_known_misses(path):
        key = miss.file, miss.function
        if key not in harnesses:
            harnesses[key] = _open_harnesses(files[miss.file], miss, plan)
        reference, by_effort = harnesses[key]
        text = miss.apply(reference.texts.assembly(miss.function, miss.level))
        verdicts = {effort: harness.judge(text, explain=False) for effort, harness in by_effort.items()}
        outcomes = ", ".join(f"effort {effort:g}: {_describe(verdict)}" for effort, verdict in verdicts.items())
        fault = f"{miss.file}::{miss.function} {miss.level} {miss.line} | {miss.before} => {miss.after}"
        yield f"{fault}\n    {outcomes}", verdicts[plan.efforts[-1]].passed


def _open_harnesses(path: Path, miss: KnownMiss, plan: Plan) -> tuple[Reference, dict[float, Harness]]:
    reference = Reference(read_case(path, miss.file), Toolchain(target=get_target(plan.target)))
    settings = JudgeSettings(plan.examples[-1], plan.seed, target=plan.target)
    first = Harness(reference, miss.function, settings)
    return reference, {effort: first.with_effort(effort) for effort in plan.efforts}


def _describe(verdict: Verdict) -> str:
    if verdict.passed:
        return "missed"
    source = "second look" if "input" in verdict.detail.get("second_look", {}) else "suite"
    return f"{verdict.kind} by the {source}"
