"""The functions that are measured, and answers to them: correct texts of compilers, and texts with a seeded fault."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from quality import compilers
from quality.measure import Plan, seed_faults

from pytest_llmcompiler.judge.api import check_file
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.case import SUFFIXES, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

FAULTS = 2
"""Failing answers of each function."""
_TRIED_FAULTS = 8
"""Faults that are tried until so many fail: some make no difference."""
_COMPILERS = ((compilers.BUNDLED, "O2"), ("gcc", "O0"), ("gcc", "O2"))


@dataclass(frozen=True)
class MeasuredFunction:
    """One function of a file."""

    folder: str
    """The folder of the sample, as the report names it."""
    path: Path
    name: str

    def list_correct_texts(self) -> Iterator[str]:
        """The texts of clang -O2, gcc -O0 and gcc -O2, as far as these compile the file and the texts pass."""
        reference = open_reference(self.path)
        for compiler, level in _COMPILERS:
            if reference.case.is_ir and compiler != compilers.BUNDLED:
                continue
            try:
                text = compilers.assembly(reference, self.name, compiler, level)
            except (compilers.CompilerError, FileNotFoundError):
                continue
            if check_file(self.path, self.name, text).kind == "pass":
                yield text

    def list_failing_texts(self, seed: int) -> Iterator[str]:
        """Texts of clang -O2 with a seeded fault that the judge catches."""
        plan = Plan((JudgeSettings().examples,), _TRIED_FAULTS, seed)
        faults = seed_faults(open_reference(self.path), self.name, "O2", self.path.name, plan)
        texts = (fault.text for fault in itertools.islice(faults, _TRIED_FAULTS))
        failing = (text for text in texts if self._fails(text))
        yield from itertools.islice(failing, FAULTS)

    def _fails(self, text: str) -> bool:
        return check_file(self.path, self.name, text, explain=False).kind in ("mismatch", "crash", "hang", "abi")


@functools.lru_cache(maxsize=4)
def open_reference(path: Path) -> Reference:
    """The reference of a file; functions of one file follow each other."""
    return Reference(read_case(path), Toolchain())


@functools.lru_cache(maxsize=4)
def open_harness(function: MeasuredFunction) -> Harness:
    """A harness of the function in this process, which contenders take their inputs from."""
    return Harness(open_reference(function.path), function.name, JudgeSettings())


def draw_functions(folder: Path, count: int, seed: int) -> list[MeasuredFunction]:
    """Functions of a folder in the order of its files: `count` of them, the same for the same seed; 0: all."""
    every = [
        MeasuredFunction(folder.name, path, name)
        for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
        for name in open_reference(path).functions
    ]
    drawn = set(random.Random(seed).sample(range(len(every)), min(count, len(every))) if count else range(len(every)))
    return [function for number, function in enumerate(every) if number in drawn]


def group_by_file(functions: Sequence[MeasuredFunction]) -> Iterator[tuple[Path, list[MeasuredFunction]]]:
    """The functions of each file."""
    for path, group in itertools.groupby(functions, lambda function: function.path):
        yield path, list(group)


class FreshTexts:
    """Makes each text a new one by a comment, so that no cache of verdicts or objects can answer for it."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def renew(self, text: str) -> str:
        """The text with a comment that no text had before."""
        return text.replace("\n", f"\t# {next(self._numbers)}\n", 1)

    def renew_code(self, text: str) -> str:
        """The text with an instruction that no text had before, behind all of its code: it never runs, and the code is
        new to the judge."""
        return f"{self.renew(text)}\n\t.text\n\tmovl\t${next(self._numbers)}, %eax\n"
