"""The explanation of a failure: the smallest input that shows it, and where the candidate goes wrong on that."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pytest_llmcompiler.corpus.fuzzer import UndefinedInputError, shrink
from pytest_llmcompiler.emulator.observation import SHORTAGES, UninitialisedFill
from pytest_llmcompiler.emulator.tracing import TracedRun, steps, stores
from pytest_llmcompiler.judge.capture import Reproducer, capture_reproducer
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
from pytest_llmcompiler.values.input import Input

_TRACED = 20_000
"""Instructions, and stores, that are looked at to find out where two ways part."""
_INSTRUCTIONS = 50_000_000
"""What the candidate may execute, about, while a smaller input is looked for."""
_SETTINGS: tuple[UninitialisedFill, ...] = ("zeros", "garbage", "inverse")
_LEVELS = ("O0", "O1", "O2", "O3")

_Failure = tuple[Input, SuiteEntry, Failure]
_Find = Callable[[SuiteEntry], "Failure | None"]


def texts_of(subject: FunctionUnderTest) -> list[AssembledText]:
    """clang's own texts for a function, which a candidate may be like."""
    target = subject.reference.target
    return [AssembledText(f"clang -{level}", *subject.compiled(level), target) for level in _LEVELS]


FACTS = ("input", "line", "parts", "differences")
"""What of an explanation programs can use."""


def _facts(finding: Failure, shown: Sequence[str], spot: Divergence | None) -> dict[str, Any]:
    """What of an explanation programs can use, as JSON: the `input`, line by line in C terms; the `line` of the text in
    which the candidate fails, and that in which its way `parts` from the reference's; the first `differences`, each
    with its place, what was expected and what was observed. What is not known is left out."""
    facts = {
        "input": list(shown),
        "line": finding.line,
        "parts": spot and spot.line,
        "differences": [[one.where, one.expected, one.observed] for one in finding.differences],
    }
    return {name: fact for name, fact in facts.items() if fact}


class Explanation:
    """What is told of a trial's failure. Without `texts` to hold against the candidate's, it is told as it was found:
    on no smaller input, and without a word of where the candidate goes wrong. With `scene`, all that it takes to do
    the same elsewhere is told too."""

    def __init__(self, trial: DifferentialRun, texts: Sequence[AssembledText] | None, *, scene: bool = False) -> None:
        self._trial, self._texts, self._scene = trial, texts, scene

    def of(self, stage: Stage, index: int) -> dict[str, Any]:
        """What goes wrong at a stage, on the input of that number or the smallest that shows the same, as JSON:
        the kind, the message, the evidence, and of that the facts for programs (see `_facts`)."""
        spot, made, entry = None, None, None
        if stage == "program":
            finding, shown = self._trial.as_program(), ["the whole program, from main on"]
        else:
            finding, shown, spot, made, entry = self._on_input(stage, index)
        if finding is None:
            finding = Failure("inconclusive", "it fails on an input once and not again")
        heads = ["  input     ", *(" " * 12 for _ in shown)]
        told: dict[str, Any] = {
            "kind": finding.kind,
            "message": finding.message,
            "evidence": [*(head + line for head, line in zip(heads, shown)), *finding.evidence],
            "facts": _facts(finding, shown, spot),
        }
        if self._scene and finding.kind != "inconclusive":
            told["scene"] = self._scene_of(stage, finding, spot, made, entry)
        return told

    def _scene_of(
        self, stage: Stage, finding: Failure, spot: Divergence | None, made: Input | None, entry: SuiteEntry | None
    ) -> Reproducer:
        try:
            return capture_reproducer(self._trial, stage, finding, spot, made, entry)
        except Exception:  # a verdict is worth more than its scene
            return {"fault": traceback.format_exc()}

    def _on_input(
        self, stage: Stage, index: int
    ) -> tuple[Failure | None, list[str], Divergence | None, Input, SuiteEntry]:
        find = self._trial.finding if stage == "input" else self._trial.inspection
        standard = self._trial.standard
        made, entry = list(standard.corpus.entries.items())[index]
        finding, spot = find(entry), None
        if self._texts is not None and finding and finding.kind != "inconclusive":
            made, entry, finding = self._smallest(find, (made, entry, finding))
            if finding.kind != "inconclusive" and stage == "input":
                spot = self._parting(entry, finding, self._texts)
                more = *self._on_garbage(entry, finding), *([f"  parts     {spot.words}"] if spot else ())
                finding = replace(finding, evidence=(*finding.evidence, *more))
        at = ["  placed    its objects begin at multiples of 4 GiB"] if entry.placed.low else []
        at += [f"  malloc    {SHORTAGES[made.salt]}"] if entry.expected.refused else []
        if finding and at:
            finding = replace(finding, evidence=(*at, *finding.evidence))
        return finding, list(format_input(made, standard.subject.signature.params)), spot, made, entry

    def _smallest(self, find: _Find, first: _Failure) -> _Failure:
        """The smallest input that shows the same kind of failure."""
        standard = self._trial.standard
        made, _, finding = first
        found: dict[Input, _Failure] = {made: first}
        left = _INSTRUCTIONS

        def fails(other: Input) -> bool:
            nonlocal left
            try:
                entry = standard.corpus.entries.get(other) or standard.oracle.accept(other)
            except UndefinedInputError:
                return False
            left -= entry.limit if finding.kind == "hang" else entry.expected.length
            if left < 0:  # counted and not timed, so that the answer does not depend on the machine
                return False
            again = find(entry)
            if again is None or again.kind != finding.kind:
                return False
            found[other] = other, entry, again
            return True

        return found[shrink(standard.strategy, made, standard.examples, standard.seed, fails)]

    def _on_garbage(self, entry: SuiteEntry, finding: Failure) -> Iterator[str]:
        """Whether it is garbage that a failure depends on."""
        others = () if finding.kind == "abi" else (unset for unset in _SETTINGS if unset != finding.unset)
        fine = next((unset for unset in others if self._trial.passes(entry, unset)), None)
        if fine:
            held, instead = ("zeros" if unset == "zeros" else "other values" for unset in (finding.unset, fine))
            yield (
                f"  unset     something is read before it is set, or beside a constant: the unused stack and registers "
                f"held {held} here, and with {'yet others' if held == instead else instead} there this input passes"
            )

    def _parting(self, entry: SuiteEntry, finding: Failure, texts: Sequence[AssembledText]) -> Divergence | None:
        """Where the candidate's way parts from the reference's, as far as that can be said."""
        mine = AssembledText(
            "the candidate", self._trial.assembly, self._trial.candidate, self._trial.machine.program.target
        )
        look = TracedRun(entry.placed, entry.call, entry.limit, finding.unset)
        similar = [text for text in texts if alike(mine, text)]
        if similar:
            trace = steps(self._trial.machine, look, _TRACED)
            pairs = [(text, (trace, self._traced(text, look))) for text in similar]
            text, traces = max(pairs, key=lambda pair: common(mine, *pair))
            return find_divergence(mine, text, traces)
        if finding.kind != "abi":
            return self._wrong_store(mine, entry, look, finding.kind == "mismatch")
        return None

    def _traced(self, text: AssembledText, look: TracedRun) -> list[int]:
        subject = self._trial.standard.subject
        return steps(subject.machine(subject.reference.golden, text.assembled), look, _TRACED)

    def _wrong_store(self, mine: AssembledText, entry: SuiteEntry, look: TracedRun, ended: bool) -> Divergence | None:
        subject = self._trial.standard.subject
        golden = subject.reference.golden
        machines = self._trial.machine, subject.machine(golden)
        made, wanted = (stores(machine, look, _TRACED) for machine in machines)
        places = {name: (golden.symbols[name].address, golden.symbols[name].size) for name in golden.globals}
        return find_wrong_write(mine, machines, (made, wanted), WriteContext(entry.frame, entry.loose, places, ended))
