"""The harness of a whole program: ready to judge any number of candidates for all of it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from pytest_llmcompiler.emulator.engine_look import Lead
from pytest_llmcompiler.errors import (
    ChildDiedError,
    ChildLostError,
    ChildTimeoutError,
)
from pytest_llmcompiler.judge.assembling import assemble_or_judge
from pytest_llmcompiler.judge.code_cost import CostCounts, measure_bytes
from pytest_llmcompiler.judge.contraction import has_contractions
from pytest_llmcompiler.judge.cost import compile_levels, describe_costs
from pytest_llmcompiler.judge.coverage import pass_verdict
from pytest_llmcompiler.judge.explain import FACTS, Explanation
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.isolated import call_isolated
from pytest_llmcompiler.judge.listing import Listing, list_code
from pytest_llmcompiler.judge.program_look import ProgramLook
from pytest_llmcompiler.judge.program_run import ProgramDifferentialRun
from pytest_llmcompiler.judge.program_suite import ProgramSuite
from pytest_llmcompiler.judge.program_under_test import MAIN, ProgramUnderTest
from pytest_llmcompiler.judge.published_tests import describe_output_runs
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.judge.verdict import RUN_FAILURES, Verdict
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssembledCode


class ProgramHarness:
    """All that judging one whole program needs, prepared once. Its function is `main`."""

    def __init__(self, reference: Reference, settings: JudgeSettings) -> None:
        self.reference, self.function = reference, MAIN
        self._settings = settings
        self.under_test = ProgramUnderTest(reference, settings.native_level)
        self.suite = ProgramSuite(self.under_test, settings.examples, settings.seed)
        self._look = ProgramLook(self.suite, settings.effort)

    def start(self) -> None:
        """Build what children of this process inherit, before the first candidate comes."""
        self.under_test.prepare_machine()

    def find_unjudgeable_reason(self) -> str | None:
        """Why no candidate can be judged; None where any can. Afterwards the suite is built. Raises CaseError."""
        reason = self.under_test.find_unjudgeable_reason() or self.suite.unjudgeable_reason
        if reason is None:
            self.reference.keep()
        return reason

    def judge(self, assembly: str, *, explain: bool = True, taught: Sequence[Lead] = ()) -> Verdict:
        """Judge the text of a candidate. Whatever is wrong with the candidate is a verdict; a fault of the harness is
        raised.

        Without `explain`, no smaller input is searched for. `taught` is of no use here: it names inputs of functions.
        """
        detail: dict[str, Any] = {}
        try:
            return self._judge(assembly, detail, explain=explain)
        except ChildLostError as error:
            return Verdict("inconclusive", str(error), detail=detail)

    def _judge(self, assembly: str, detail: dict[str, Any], *, explain: bool) -> Verdict:
        """Judge as `judge` does, and fill in the `detail` as it becomes known. Raises ChildLostError where the machine
        did not let a process finish."""
        reason = self.find_unjudgeable_reason()
        if reason:
            return Verdict("inconclusive", reason)
        candidate = self._assemble(assembly)
        if isinstance(candidate, Verdict):
            return candidate
        detail |= {"assembler": candidate.assembler, "fallback": candidate.fallback_reason, **self.suite.counts}
        run = ProgramDifferentialRun(self.suite, candidate, assembly)
        detail |= {"native": True} if run.runs_natively else {}
        if has_contractions(candidate, self.under_test.native):
            _ = self.under_test.contracted_variants  # children can't compile
        try:
            explained, instructions = self._run(run, explain=explain)
        except (ChildDiedError, ChildTimeoutError) as error:
            return Verdict("inconclusive", f"the emulator gave up on it: {error}", detail=detail)
        if explained is None:
            explained = self._look_further(candidate, assembly, detail, explain=explain)
        if explained is None:
            counted = None if run.runs_natively else instructions
            cost = describe_costs(self._measure(candidate, counted), self._reference_costs)
            return self._add_published(pass_verdict(detail | cost, self._settings.min_coverage), run)
        facts = {name: fact for name, fact in explained["facts"].items() if name in FACTS}
        verdict = Verdict(explained["kind"], explained["message"], tuple(explained["evidence"]), detail | facts)
        if self._settings.count_agreeing and verdict.kind in RUN_FAILURES:
            self.under_test.prepare_machine()
            with contextlib.suppress(ChildDiedError, ChildTimeoutError, ChildLostError):
                verdict.detail["agreeing"] = _call_isolated(run, run.count_agreeing)
        return self._add_published(verdict, run)

    def _look_further(
        self, candidate: AssembledCode, assembly: str, detail: dict[str, Any], *, explain: bool
    ) -> Explanation | None:
        """The first failure of a candidate that passes the suite on inputs that are made for it, which `detail` gets
        the number of. What can't be judged there is no failure."""
        if self._settings.effort <= 0:
            return None
        looked = self._look.preview(candidate)
        fact = detail["second_look"] = {"inputs": len(looked), "leads": 0}
        if not looked:
            return None
        self.under_test.prepare_machine()
        try:
            run = ProgramDifferentialRun(self.suite, candidate, assembly, looked)
            failing = _call_isolated(run, run.list_failing)
            fact["leads"] = len(failing)
            accepted = self._look.accept(looked[index] for index in failing)
            run = ProgramDifferentialRun(self.suite, candidate, assembly, accepted)
            explained, _ = self._run(run, explain=explain) if accepted else (None, 0)
        except (ChildDiedError, ChildTimeoutError, ChildLostError):
            return None
        return explained if explained and explained["kind"] in RUN_FAILURES else None

    def _add_published(self, verdict: Verdict, run: ProgramDifferentialRun) -> Verdict:
        """A verdict with whether the program writes what the case says, where it says that of any input."""
        tests = self.suite.list_output_tests()
        if not tests:
            return verdict
        entries, outputs = [entry for entry, _ in tests], [test for _, test in tests]
        if verdict.kind == "pass":  # the program writes what it writes with the reference in it
            published = describe_output_runs(outputs, [entry.expected for entry in entries])
        else:
            self.under_test.prepare_machine()
            try:
                published = _call_isolated(run, lambda: describe_output_runs(outputs, run.run_on(entries)))
            except (ChildDiedError, ChildTimeoutError, ChildLostError):
                return verdict
        return replace(verdict, detail=verdict.detail | {"published": published}) if published else verdict

    def judge_with_reproducer(
        self, assembly: str, *, explain: bool = True, taught: Sequence[Lead] = ()
    ) -> ReproducibleVerdict:
        """Judge as `judge` does. There is no reproducer of a whole program: its input is in the verdict."""
        return ReproducibleVerdict(self.judge(assembly, explain=explain, taught=taught))

    def listing(self, assembly: str) -> Listing | None:
        """The code of a candidate, block by block; None where it does not assemble, or is too long for a listing."""
        try:
            candidate = self._assemble(assembly)
        except ChildLostError:
            return None
        if isinstance(candidate, Verdict):
            return None
        names = {address: name for name, address in self.under_test.host.addresses.items()}
        return list_code(candidate, names, self.reference.target.processor)

    def _assemble(self, assembly: str) -> AssembledCode | Verdict:
        """The code of a candidate, or the verdict on a text that gives no code for the program."""
        assemble = functools.partial(self.under_test.assemble_candidate, assembler=self._settings.assembler)
        return assemble_or_judge(assemble, MAIN, assembly)

    def _run(self, run: ProgramDifferentialRun, *, explain: bool) -> tuple[Explanation | None, int]:
        """Run a candidate and explain its first failure, each in a process of its own. Returns also how many
        instructions a candidate without a failure executes."""
        self.under_test.prepare_machine()
        _ = self.suite.entries
        if not explain:
            explained, instructions = _call_isolated(run, run.explain_first, shrinks=False)
            return cast("Explanation | None", explained), instructions
        index, instructions = _call_isolated(run, run.count_if_passing)
        if index is None:
            return None, instructions
        self.suite.oracle.open()
        try:
            return cast(Explanation, _call_isolated(run, run.explain, index, shrinks=True)), 0
        except (ChildDiedError, ChildTimeoutError):  # explaining may be what it died of
            return cast(Explanation, _call_isolated(run, run.explain, index, shrinks=False)), 0

    def _measure(self, candidate: AssembledCode, instructions: int | None) -> CostCounts:
        return CostCounts(instructions, measure_bytes(candidate, (), self.reference.target.processor))

    @functools.cached_property
    def _reference_costs(self) -> Mapping[str, CostCounts]:
        """What clang's own code of the program costs, by level."""
        return self.suite.reference_costs(self._settings.assembler, self._measure_references)

    def _measure_references(self) -> dict[str, CostCounts | None]:
        costs: dict[str, CostCounts | None] = {}
        for level, text in compile_levels(self.reference, MAIN):
            with contextlib.suppress(ChildDiedError, ChildTimeoutError, ChildLostError):
                candidate = self._assemble(text)
                if isinstance(candidate, Verdict):
                    costs[level] = None
                    continue
                run = ProgramDifferentialRun(self.suite, candidate, text)
                explained, instructions = self._run(run, explain=False)
                counted = None if run.runs_natively else instructions
                costs[level] = self._measure(candidate, counted) if explained is None else None
        return costs


AnyHarness = Harness | ProgramHarness
"""What judges candidates: of a function, or of a whole program."""


def _call_isolated(run: ProgramDifferentialRun, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """The result of a function that runs hostile code, that of a differential run, computed in a child process."""
    return call_isolated(functools.partial(function, **options), *args, natively=run.runs_natively)
