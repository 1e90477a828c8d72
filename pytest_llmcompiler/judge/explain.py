"""The explanation of a failure: the smallest input that shows it, and where the candidate goes wrong on that."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pytest_llmcompiler.corpus.fuzzer import UndefinedInputError, shrink
from pytest_llmcompiler.emulator.environment import MEMORY_SHORTAGES
from pytest_llmcompiler.emulator.tracing import TracedRun, trace_instructions, trace_stores
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.capture import capture_reproducer
from pytest_llmcompiler.judge.differential import DifferentialRun, Stage
from pytest_llmcompiler.judge.divergence import (
    AssembledText,
    Divergence,
    WriteContext,
    alike,
    common,
    find_divergence,
    find_wrong_write,
)
from pytest_llmcompiler.judge.failure import Failure
from pytest_llmcompiler.judge.format_c import format_input
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.reproducer import Reproducer
from pytest_llmcompiler.values.input import Input

_TRACED = 20_000
"""Instructions, and stores, that are looked at to find out where two ways part."""
_INSTRUCTIONS = 50_000_000
"""What the candidate may execute, about, while a smaller input is looked for."""
_SETTINGS: tuple[UninitialisedFill, ...] = ("zeros", "garbage", "inverse")
_LEVELS = ("O0", "O1", "O2", "O3")

_Failure = tuple[Input, SuiteEntry, Failure]
_Find = Callable[[SuiteEntry], "Failure | None"]


def texts_of(under_test: FunctionUnderTest) -> list[AssembledText]:
    """clang's own texts for a function, which a candidate may be like."""
    target = under_test.reference.target
    return [AssembledText(f"clang -{level}", *under_test.compiled(level), target) for level in _LEVELS]


FACTS = ("input", "line", "parts", "differences")
"""What of an explanation programs can use."""


def _facts(failure: Failure, shown: Sequence[str], divergence: Divergence | None) -> dict[str, Any]:
    """What of an explanation programs can use, as JSON: the `input`, line by line in C terms; the `line` of the text in
    which the candidate fails, and that in which its way `parts` from the reference's; the first `differences`, each
    with its place, what was expected and what was observed. What is not known is left out."""
    facts = {
        "input": list(shown),
        "line": failure.line,
        "parts": divergence and divergence.line,
        "differences": [[one.where, one.expected, one.observed] for one in failure.differences],
    }
    return {name: fact for name, fact in facts.items() if fact}


class Explanation:
    """What is told of a trial's failure. Without `texts` to hold against the candidate's, it is told as it was found:
    on no smaller input, and without a word of where the candidate goes wrong. With `reproducer`, all that it takes to
    do the same elsewhere is told too."""

    def __init__(
        self, differential: DifferentialRun, texts: Sequence[AssembledText] | None, *, reproducer: bool = False
    ) -> None:
        self._differential, self._texts, self._reproducer = differential, texts, reproducer

    def of(self, stage: Stage, index: int) -> dict[str, Any]:
        """What goes wrong at a stage, on the input of that number or the smallest that shows the same, as JSON:
        the kind, the message, the evidence, and of that the facts for programs (see `_facts`)."""
        divergence, made, entry = None, None, None
        if stage == "program":
            failure, shown = self._differential.as_program(), ["the whole program, from main on"]
        else:
            failure, shown, divergence, made, entry = self._on_input(stage, index)
        if failure is None:
            failure = Failure("inconclusive", "it fails on an input once and not again")
        heads = ["  input     ", *(" " * 12 for _ in shown)]
        told: dict[str, Any] = {
            "kind": failure.kind,
            "message": failure.message,
            "evidence": [*(head + line for head, line in zip(heads, shown)), *failure.evidence],
            "facts": _facts(failure, shown, divergence),
        }
        if self._reproducer and failure.kind != "inconclusive":
            told["reproducer"] = self._capture(stage, failure, divergence, made, entry)
        return told

    def _capture(
        self,
        stage: Stage,
        failure: Failure,
        divergence: Divergence | None,
        made: Input | None,
        entry: SuiteEntry | None,
    ) -> Reproducer:
        try:
            return capture_reproducer(self._differential, stage, failure, divergence, made, entry)
        except Exception:  # a verdict is worth more than its scene
            return {"fault": traceback.format_exc()}

    def _on_input(
        self, stage: Stage, index: int
    ) -> tuple[Failure | None, list[str], Divergence | None, Input, SuiteEntry]:
        find = self._differential.failure if stage == "input" else self._differential.inspection
        suite = self._differential.suite
        made, entry = list(suite.corpus.entries.items())[index]
        failure, divergence = find(entry), None
        if self._texts is not None and failure and failure.kind != "inconclusive":
            made, entry, failure = self._smallest(find, (made, entry, failure))
            if failure.kind != "inconclusive" and stage == "input":
                divergence = self._parting(entry, failure, self._texts)
                more = *self._on_garbage(entry, failure), *([f"  parts     {divergence.words}"] if divergence else ())
                failure = replace(failure, evidence=(*failure.evidence, *more))
        at = ["  placed    its objects begin at multiples of 4 GiB"] if entry.layout.is_4gib_aligned else []
        at += [f"  malloc    {MEMORY_SHORTAGES[made.environment_seed]}"] if entry.expected.out_of_memory else []
        if failure and at:
            failure = replace(failure, evidence=(*at, *failure.evidence))
        return failure, list(format_input(made, suite.under_test.signature.params)), divergence, made, entry

    def _smallest(self, find: _Find, first: _Failure) -> _Failure:
        """The smallest input that shows the same kind of failure."""
        suite = self._differential.suite
        made, _, failure = first
        found: dict[Input, _Failure] = {made: first}
        left = _INSTRUCTIONS

        def fails(other: Input) -> bool:
            nonlocal left
            try:
                entry = suite.corpus.entries.get(other) or suite.oracle.accept(other)
            except UndefinedInputError:
                return False
            left -= entry.limit if failure.kind == "hang" else entry.expected.executed_bytes
            if left < 0:  # counted and not timed, so that the answer does not depend on the machine
                return False
            again = find(entry)
            if again is None or again.kind != failure.kind:
                return False
            found[other] = other, entry, again
            return True

        return found[shrink(suite.strategy, made, suite.examples, suite.seed, fails)]

    def _on_garbage(self, entry: SuiteEntry, failure: Failure) -> Iterator[str]:
        """Whether it is garbage that a failure depends on."""
        others = (
            ()
            if failure.kind == "abi"
            else (uninitialised for uninitialised in _SETTINGS if uninitialised != failure.uninitialised)
        )
        fine = next(
            (uninitialised for uninitialised in others if self._differential.passes(entry, uninitialised)), None
        )
        if fine:
            held, instead = (
                "zeros" if uninitialised == "zeros" else "other values"
                for uninitialised in (failure.uninitialised, fine)
            )
            yield (
                f"  unset     something is read before it is set, or beside a constant: the unused stack and registers "
                f"held {held} here, and with {'yet others' if held == instead else instead} there this input passes"
            )

    def _parting(self, entry: SuiteEntry, failure: Failure, texts: Sequence[AssembledText]) -> Divergence | None:
        """Where the candidate's way parts from the reference's, as far as that can be said."""
        mine = AssembledText(
            "the candidate",
            self._differential.assembly,
            self._differential.candidate,
            self._differential.machine.program.target,
        )
        look = TracedRun(entry.layout, entry.call, entry.limit, failure.uninitialised)
        similar = [text for text in texts if alike(mine, text)]
        if similar:
            trace = trace_instructions(self._differential.machine, look, _TRACED)
            pairs = [(text, (trace, self._traced(text, look))) for text in similar]
            text, traces = max(pairs, key=lambda pair: common(mine, *pair))
            return find_divergence(mine, text, traces)
        if failure.kind != "abi":
            return self._wrong_store(mine, entry, look, failure.kind == "mismatch")
        return None

    def _traced(self, text: AssembledText, look: TracedRun) -> list[int]:
        under_test = self._differential.suite.under_test
        return trace_instructions(under_test.machine(under_test.reference.golden, text.assembled), look, _TRACED)

    def _wrong_store(self, mine: AssembledText, entry: SuiteEntry, look: TracedRun, ended: bool) -> Divergence | None:
        under_test = self._differential.suite.under_test
        golden = under_test.reference.golden
        machines = self._differential.machine, under_test.machine(golden)
        made, wanted = (trace_stores(machine, look, _TRACED) for machine in machines)
        places = {name: (golden.symbols[name].address, golden.symbols[name].size) for name in golden.globals}
        return find_wrong_write(
            mine, machines, (made, wanted), WriteContext(entry.frame, entry.dont_care, places, ended)
        )
