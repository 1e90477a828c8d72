"""The explanation of a failure: the smallest input that shows it, and where the candidate diverges on that input."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from pytest_llmcompiler.corpus.probing import UndefinedInputError
from pytest_llmcompiler.corpus.shrink import shrink
from pytest_llmcompiler.emulator.engine_server import EngineResult
from pytest_llmcompiler.emulator.environment import MEMORY_SHORTAGES, OUTPUT_FAILURE, standard_input
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.capture import capture_reproducer
from pytest_llmcompiler.judge.differential import DifferentialRun, Stage
from pytest_llmcompiler.judge.divergence import AssembledText
from pytest_llmcompiler.judge.failing_run import FailingRun
from pytest_llmcompiler.judge.failure import Failure, evidence_line, unstable_failure
from pytest_llmcompiler.judge.format_c import format_bytes
from pytest_llmcompiler.judge.locate_divergence import locate_divergence
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.reproducer import Reproducer
from pytest_llmcompiler.judge.verdict import Kind
from pytest_llmcompiler.values.input import Input

_SHRINKING_INSTRUCTIONS = 50_000_000
"""Instructions that the candidate may execute in all while a smaller input is searched. The limit bounds the time."""
_INSTRUCTIONS_PER_MICROSECOND = 20
"""Instructions in which the host's work for a run is counted: about as many as take as long."""
_MAX_HOST_MICROSECONDS = 1_000_000
"""A failing run for which the host works longer is not run with another fill."""
_FILLS: dict[UninitialisedFill, str] = {
    "zeros": "zeros",
    "garbage": "a pattern of bits",
    "inverse": "the inverse pattern",
    "small": "zeros, and small numbers in registers",
}
"""What uninitialised memory holds, in words, in the order in which the fills are tried."""

_FindFailure = Callable[[SuiteEntry], "Failure | None"]


class Explanation(TypedDict):
    """A failure as JSON, since a process that ran hostile code sends it."""

    kind: Kind
    message: str
    evidence: list[str]
    facts: dict[str, Any]
    """See `FACTS`."""
    reproducer: Reproducer | None


FACTS = ("input", "expected", "observed", "line", "parts", "differences", "program_input")
"""The facts for programs. `input` has the lines of the input in C terms. `expected` and `observed` are what reference
and candidate do at the location of the failure. `line` is the line of the text that fails, `parts` the line at which
the candidate diverges. `differences` has the first ones: location, expected and observed value. `program_input` has
the bytes that a whole program starts from. A fact that is not known is left out."""


def _collect_facts(run: FailingRun, shown: Sequence[str]) -> dict[str, Any]:
    facts = {
        "input": list(shown),
        "expected": run.failure.expected,
        "observed": run.failure.observed,
        "line": run.failure.line,
        "parts": run.divergence and run.divergence.line,
        "differences": [[item.place, item.expected, item.observed] for item in run.failure.differences],
    }
    return {name: fact for name, fact in facts.items() if fact}


class FailureExplainer:
    """Explains the failures of one candidate.

    With `texts`, clang's texts for the function, a smaller input and the divergence are searched; without them the
    failure is reported as it was found. With `reproducer`, the explanation has all that a native program needs to show
    the same failure.
    """

    def __init__(
        self, differential: DifferentialRun, texts: Sequence[AssembledText] | None, *, reproducer: bool = False
    ) -> None:
        self._differential, self._texts, self._captures = differential, texts, reproducer

    def explain_first(self, engine: EngineResult | None) -> Explanation | None:
        """Find and explain the first failure of what the `engine` left; None where the candidate passes."""
        failure = self._differential.first_failure(engine)
        return self.explain(*failure) if failure else None

    def explain(self, stage: Stage, index: int) -> Explanation:
        """Explain the failure of a stage. `index` is the input's number in the corpus; the whole program has none."""
        run = self._fail_whole_program() if stage == "program" else self._fail_on_input(stage, index)
        failure = run.failure
        shown = run.format_input(self._differential.suite.under_test.signature.params)
        labels = ["input", *("" for _ in shown[1:])]
        is_captured = self._captures and failure.kind != "inconclusive"
        return {
            "kind": failure.kind,
            "message": failure.message,
            "evidence": [*map(evidence_line, labels, shown), *failure.evidence],
            "facts": _collect_facts(run, shown),
            "reproducer": self._capture(run) if is_captured else None,
        }

    def _capture(self, run: FailingRun) -> Reproducer:
        try:
            return capture_reproducer(self._differential, run)
        except Exception:  # the verdict stands without a reproducer
            return {"fault": traceback.format_exc()}

    def _fail_whole_program(self) -> FailingRun:
        failure = self._differential.whole_program_failure() or unstable_failure()
        return FailingRun(stage="program", failure=failure)

    def _fail_on_input(self, stage: Stage, index: int) -> FailingRun:
        differential = self._differential
        find = differential.failure if stage == "input" else differential.inspection_failure
        input, entry = list(differential.suite.corpus.entries.items())[index]
        failure = find(entry)
        if failure is None:
            return FailingRun(stage=stage, failure=unstable_failure(), input=input, entry=entry)
        run = FailingRun(stage=stage, failure=failure, input=input, entry=entry)
        if self._texts is not None and failure.kind != "inconclusive":
            run = self._shrink(find, run, input)
            if run.failure.kind != "inconclusive" and stage == "input":
                run = self._with_divergence(run, self._texts)
        return self._with_circumstances(run)

    def _shrink(self, find: _FindFailure, first: FailingRun, start: Input) -> FailingRun:
        """The failing run on the smallest input that shows the same kind of failure."""
        suite = self._differential.suite
        runs: dict[Input, FailingRun] = {start: first}
        # Instructions are counted, and no time is measured, so that the result does not depend on the host's speed.
        instructions_left = _SHRINKING_INSTRUCTIONS - _INSTRUCTIONS_PER_MICROSECOND * self._host_microseconds()

        def fails(input: Input) -> bool:
            nonlocal instructions_left
            known = suite.corpus.entries.get(input)
            try:
                entry = known or suite.oracle.preview(input)
                instructions_left -= entry.limit if first.failure.kind == "hang" else entry.expected.executed_bytes
                if instructions_left < 0:
                    return False
                failure = find(entry)
                instructions_left -= _INSTRUCTIONS_PER_MICROSECOND * self._host_microseconds()
                # Most inputs do not fail, and the preview compares more than the entry does. Only a mismatch may lie in
                # bytes that the entry does not compare, and hide a failure of another kind.
                if known is None and failure and failure.kind in ("mismatch", first.failure.kind):
                    entry = suite.oracle.accept(input)
                    failure = find(entry)
            except UndefinedInputError:
                return False
            if failure is None or failure.kind != first.failure.kind:
                return False
            runs[input] = replace(first, failure=failure, input=input, entry=entry)
            return True

        return runs[shrink(suite.strategy, start, suite.examples, suite.seed, fails)]

    def _host_microseconds(self) -> int:
        """About how long the host worked for the last run, beside executing instructions."""
        machine = self._differential.machine
        return machine.host_microseconds + machine.mapping_microseconds

    def _with_divergence(self, run: FailingRun, texts: Sequence[AssembledText]) -> FailingRun:
        """The run with the divergence, and with evidence where the failure depends on uninitialised values."""
        if run.entry is None:
            return run
        failure = run.failure
        divergence = locate_divergence(self._differential, texts, run.entry, failure)
        evidence = [*failure.evidence, *self._uninitialised_evidence(run.entry, failure)]
        if divergence:
            evidence.append(evidence_line("diverges", divergence.description))
        return replace(run, failure=replace(failure, evidence=tuple(evidence)), divergence=divergence)

    def _uninitialised_evidence(self, entry: SuiteEntry, failure: Failure) -> Iterator[str]:
        """A line where the candidate passes on the same input with another uninitialised fill."""
        if failure.kind == "abi" or self._host_microseconds() > _MAX_HOST_MICROSECONDS:
            return
        others = (fill for fill in _FILLS if fill != failure.uninitialised)
        passing = next((fill for fill in others if self._differential.passes(entry, fill)), None)
        if passing:
            yield evidence_line(
                "uninit",
                "reads uninitialised stack or registers, or memory beside a constant: "
                f"fails where that holds {_FILLS[failure.uninitialised]}, passes where it holds {_FILLS[passing]}",
            )

    def _with_circumstances(self, run: FailingRun) -> FailingRun:
        """The run with evidence of what is unusual in the input's surroundings."""
        lines = []
        if run.entry is not None and run.entry.layout.is_4gib_aligned:
            lines.append(evidence_line("layout", "objects begin at multiples of 4 GiB"))
        if run.entry is not None and run.entry.layout.crossing:
            lines.append(evidence_line("layout", "objects lie across a multiple of 64 KiB"))
        bug = run.entry.bug if run.entry is not None and run.stage == "input" else None
        message = run.failure.message
        if bug:
            text = f"-O2 is wrong on this input ({bug.place}: {bug.observed}), a bug of clang; what -O0 does counts"
            lines.append(evidence_line("clang", text))
            if (bug.location, bug.observed) == (run.failure.location, run.failure.observed):
                message += ", as the bundled clang -O2 wrongly has it"
        if run.entry is not None and run.input is not None and run.entry.expected.out_of_memory:
            lines.append(evidence_line("malloc", MEMORY_SHORTAGES[run.input.environment_seed]))
        if run.input is not None and run.input.environment_seed == OUTPUT_FAILURE:
            lines.append(evidence_line("stdout", "can't be written, as on a full disk"))
        if run.entry is not None and 0 in run.entry.expected.output and run.entry.layout.standard_input is None:
            text = format_bytes(standard_input(run.entry.layout.environment_seed))
            lines.append(evidence_line("stdin", text))
        failure = replace(run.failure, message=message, evidence=(*lines, *run.failure.evidence))
        return replace(run, failure=failure)
