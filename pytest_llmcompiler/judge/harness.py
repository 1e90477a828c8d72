"""The bench: one function of one case, ready to judge any number of candidates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.corpus.fuzzer import Corpus
from pytest_llmcompiler.errors import AssemblyError, ChildDiedError, ChildTimeoutError, LinkError, UnsupportedError
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.divergence import AssembledText
from pytest_llmcompiler.judge.explain import FACTS, Explanation, texts_of
from pytest_llmcompiler.judge.failure import quoted
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.listing import Listing, list_code
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.suite import Suite
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.target import DEFAULT
from pytest_llmcompiler.values.input import Input

_RUN_SECONDS, _RUN_MEGABYTES = 120.0, 8192
"""Only a fault of the emulator gets near these: runs are limited by instructions. (unicorn reserves gigabytes.)"""


@dataclass(frozen=True)
class JudgeSettings:
    """How to judge. What verdicts depend on is here and in the case."""

    examples: int = 100
    """Inputs that are generated for a function."""
    seed: int = 1
    assembler: Literal["keystone", "llvm"] = "keystone"
    target: str = DEFAULT
    """What code is judged for, see `target.names`."""


class Harness:
    """Everything that judging a function needs, made once. Raises CaseError where the case itself is at fault."""

    def __init__(self, reference: Reference, function: str, settings: JudgeSettings) -> None:
        self.reference, self.function = reference, function
        self._under_test, self._settings = FunctionUnderTest(reference, function), settings
        self._suite = Suite(self._under_test, settings.examples, settings.seed)

    @property
    def corpus(self) -> Corpus[SuiteEntry]:
        """The inputs, smallest first, each with what the reference shows on it."""
        return self._suite.corpus

    @property
    def from_main(self) -> list[Input]:
        """What the program's own `main` passes, in the order of its calls."""
        return self._suite.from_main

    def limited(self, inputs: Collection[Input]) -> Harness:
        """A bench that judges on these inputs of the corpus alone, and never on the whole program."""
        other = Harness(self._under_test.reference, self._under_test.function, self._settings)
        other._suite = self._suite.limited(inputs)
        return other

    def judge(self, assembly: str, *, explain: bool = True, reproducer: bool = False) -> Verdict:
        """Judge the text of a candidate. What goes wrong inside is a verdict; what goes wrong here is raised.

        Without `explain`, no smaller input is looked for, which takes most of the time that wrong code takes. With
        `reproducer`, the verdict on code that ran has the scene of its failure.
        """
        reason = self.unjudgeable()
        if reason:
            return Verdict("inconclusive", reason)
        try:
            candidate = self._under_test.assembled(assembly, self._settings.assembler)
        except UnsupportedError as error:
            return Verdict("inconclusive", str(error))
        except AssemblyError as error:
            place = f"line {error.line}, column {error.column}: " if error.line else ""
            position = {"line": error.line, "column": error.column}
            return Verdict("assemble", f"{place}{error}", tuple(quoted(assembly, error.line)), position)
        except LinkError as error:
            return Verdict("link", str(error))
        start = candidate.symbols[self._under_test.function]
        if not any(s.is_executable and s.address <= start < s.address + len(s.data) for s in candidate.segments):
            return Verdict("link", f"{self._under_test.function} is defined, but not as code of this text")
        detail = {"assembler": candidate.assembler, "fallback": candidate.fallback_reason, **self._suite.counts()}
        return self._tried(DifferentialRun(self._suite, candidate, assembly), detail, explain, reproducer)

    def listing(self, assembly: str) -> Listing | None:
        """The code of a candidate, block by block; None where it does not assemble, or there is too much of it."""
        try:
            candidate = self._under_test.assembled(assembly, self._settings.assembler)
        except (UnsupportedError, AssemblyError, LinkError):
            return None
        reference = self._under_test.reference
        names = {at: name for name, at in reference.golden.addresses.items()}
        return list_code(candidate, names, reference.target.processor)

    def unjudgeable(self) -> str | None:
        """Why no candidate can be judged; None where any can. It leaves everything made that a trial needs."""
        reason = self._under_test.unjudgeable()
        if reason:
            return reason
        try:
            self._suite.prepare()
        except UnsupportedError as error:
            return str(error)
        return self._suite.unjudgeable()

    def _tried(self, differential: DifferentialRun, detail: dict[str, Any], explain: bool, reproducer: bool) -> Verdict:
        try:
            failure = _isolated(differential.first_failure)
        except (ChildDiedError, ChildTimeoutError) as error:
            return Verdict("inconclusive", f"the emulator gave up on it: {error}", detail=detail)
        if failure is None:
            return Verdict("pass", detail=detail)
        texts = self._texts if explain else None
        try:
            found = _isolated(Explanation(differential, texts, reproducer=reproducer).of, *failure)
        except (ChildDiedError, ChildTimeoutError):
            found = _isolated(Explanation(differential, None).of, *failure)
        detail |= {name: fact for name, fact in found["facts"].items() if name in FACTS}
        return Verdict(found["kind"], found["message"], tuple(found["evidence"]), detail, found.get("reproducer"))

    @functools.cached_property
    def _texts(self) -> list[AssembledText]:
        return texts_of(self._under_test)


def _isolated(function: Callable[..., Any], *args: Any) -> Any:
    return sandbox.call(function, *args, seconds=_RUN_SECONDS, megabytes=_RUN_MEGABYTES)
