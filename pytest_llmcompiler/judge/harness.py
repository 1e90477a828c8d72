"""The harness: one function of one case, ready to judge any number of candidates."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from pytest_llmcompiler.assembler.job import Encoder
from pytest_llmcompiler.assembler.keystone_engine import run_keystone
from pytest_llmcompiler.corpus.fuzzer import Corpus
from pytest_llmcompiler.corpus.shrink import warm_up_shrinking
from pytest_llmcompiler.emulator.engine_look import Lead, LookRequest
from pytest_llmcompiler.emulator.engine_server import EngineResult
from pytest_llmcompiler.errors import (
    AssemblyError,
    ChildDiedError,
    ChildLostError,
    ChildTimeoutError,
    EngineError,
    JudgeError,
    LinkError,
    UnsupportedError,
)
from pytest_llmcompiler.judge.agreeing import count_agreeing
from pytest_llmcompiler.judge.assembling import assemble_or_judge
from pytest_llmcompiler.judge.cost import CostMeter, PassingRun
from pytest_llmcompiler.judge.coverage import pass_verdict
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.divergence import AssembledText
from pytest_llmcompiler.judge.engine_agreement import find_disagreement
from pytest_llmcompiler.judge.engine_suite import ImageKind, build_image
from pytest_llmcompiler.judge.explain import FACTS, Explanation, FailureExplainer
from pytest_llmcompiler.judge.failure import quote_line
from pytest_llmcompiler.judge.format_c import format_input
from pytest_llmcompiler.judge.function_engine import FunctionEngine, is_settled
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.isolated import call_isolated
from pytest_llmcompiler.judge.listing import Listing, list_code
from pytest_llmcompiler.judge.locate_divergence import compile_texts, prepare_texts
from pytest_llmcompiler.judge.native_look import look
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.proof import Prover, add_proof
from pytest_llmcompiler.judge.published_tests import PublishedResult, describe_run
from pytest_llmcompiler.judge.refuting_inputs import list_refuting
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.second_look import LookedInput, SecondLook, add_evidence, decode_lead, describe_look
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.judge.shown_run import ShownRun
from pytest_llmcompiler.judge.suite import Suite
from pytest_llmcompiler.judge.verdict import RUN_FAILURES, Verdict
from pytest_llmcompiler.judge.whole_program import WholeProgram
from pytest_llmcompiler.program.case import TestKind
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.input import Input

_PRIVATE = "the function is local to the answer, and its compiler may have fitted it to the answer's own calls"
"""Why a failure of a local function of a whole file proves nothing. What it does wrong shows in the functions that call
it, since these use the answer's own one."""


class Harness:
    """All that judging one function needs, prepared once. Raises CaseError where the case itself is at fault."""

    def __init__(
        self, reference: Reference, function: str, settings: JudgeSettings, suite: Suite | None = None
    ) -> None:
        """`suite` has the inputs; None: those of the settings."""
        self.reference, self.function = reference, function
        self._under_test, self._settings = FunctionUnderTest(reference, function, settings.native_level), settings
        self._suite = suite or Suite(self._under_test, settings.examples, settings.seed)
        # The engine has no reference to the harness, and its templates end with it.
        self.engine = FunctionEngine(
            functools.partial(_read_image, self._suite),
            has_looks=settings.effort > 0 or settings.prove,
            is_first_enough=not settings.count_agreeing,
        )
        """Runs what is only asked whether it shows the same."""
        if self._under_test.native.needs_processor:
            self.engine.give_up()
        self._prover = Prover(self._under_test) if settings.prove else None
        self._look = SecondLook(self._suite, settings.effort, settings.seed)
        self._costs = CostMeter(self._suite, settings.assembler, self._run_passing)

    def start(self) -> None:
        """Start what the first candidate would wait for."""
        self.engine.start()

    @property
    def corpus(self) -> Corpus[SuiteEntry]:
        """The inputs, smallest first, each with the expected observation."""
        return self._suite.corpus

    @property
    def from_main(self) -> list[Input]:
        """The inputs that the program's own `main` passes, in the order of its calls."""
        return self._suite.from_main

    def restrict(self, inputs: Collection[Input]) -> Harness:
        """A harness that judges on these inputs of the corpus alone, without the whole program and a second look."""
        settings = replace(self._settings, effort=0, prove=False)
        return Harness(self.reference, self.function, settings, self._suite.restrict(inputs))

    def with_effort(self, effort: float) -> Harness:
        """A harness with the same inputs and another effort of the second look."""
        return Harness(self.reference, self.function, replace(self._settings, effort=effort), self._suite)

    def judge(self, assembly: str, *, explain: bool = True, taught: Sequence[Lead] = ()) -> Verdict:
        """Judge the text of a candidate. Whatever is wrong with the candidate is a verdict; a fault of the harness is
        raised.

        Without `explain`, no smaller input is searched for. That search takes most of the time that wrong code takes.
        `taught` are inputs of the second look that failed other candidates; where there is one, it tries them too.
        """
        return self._judge(assembly, taught, explain=explain, capture=False).verdict

    def judge_with_reproducer(
        self, assembly: str, *, explain: bool = True, taught: Sequence[Lead] = ()
    ) -> ReproducibleVerdict:
        """Judge as `judge` does, and capture the reproducer of a failure of code that ran."""
        return self._judge(assembly, taught, explain=explain, capture=True)

    def listing(self, assembly: str) -> Listing | None:
        """The code of a candidate, block by block; None where it does not assemble, or is too long for a listing."""
        try:
            candidate = self._under_test.assemble_candidate(assembly, self._settings.assembler)
        except (UnsupportedError, AssemblyError, LinkError, ChildLostError):
            return None
        names = {address: name for name, address in self.reference.golden.addresses.items()}
        return list_code(candidate, names, self.reference.target.processor)

    def find_unjudgeable_reason(self) -> str | None:
        """Why no candidate can be judged; None where any can. Afterwards the suite is built."""
        reason = self._under_test.find_unjudgeable_reason()
        if reason:
            return reason
        try:
            self._suite.prepare()
            self.reference.keep()
        except UnsupportedError as error:
            return str(error)
        return self._suite.find_unjudgeable_reason()

    def _judge(self, assembly: str, taught: Sequence[Lead], *, explain: bool, capture: bool) -> ReproducibleVerdict:
        detail: dict[str, Any] = {}
        try:
            return self._judge_undisturbed(assembly, taught, detail, explain=explain, capture=capture)
        except ChildLostError as error:
            return ReproducibleVerdict(Verdict("inconclusive", str(error), detail=detail))

    def _judge_undisturbed(
        self, assembly: str, taught: Sequence[Lead], detail: dict[str, Any], *, explain: bool, capture: bool
    ) -> ReproducibleVerdict:
        """Judge as `judge` does, and fill in the `detail` as it becomes known. Raises ChildLostError where the machine
        did not let a process finish."""
        reason = self.find_unjudgeable_reason()
        if reason:
            return ReproducibleVerdict(Verdict("inconclusive", reason))
        with self.engine.sample():
            candidate = self._assemble(assembly, encode=self.engine.encode)
            if isinstance(candidate, Verdict):
                return ReproducibleVerdict(candidate)
            natively = self._under_test.native.applies_to(candidate)
            request = self._look.build_request(candidate, taught)
            result = None if natively else self._run_engine(candidate, request)
            detail |= {"assembler": candidate.assembler, "fallback": candidate.fallback_reason, **self._suite.counts()}
            detail |= {"native": True} if natively else {}
            differential = DifferentialRun(self._suite, candidate, assembly)
            settled = result is not None and is_settled(result)
            if settled:
                judged = ReproducibleVerdict(pass_verdict(detail, self._settings.min_coverage))
            else:
                shown = self._open_shown(differential) if result is not None and not (explain or capture) else None
                judged = self._run(differential, result, detail, explain=explain, capture=capture, shown=shown)
        if self._settings.native == "always" and not natively:
            self._compare_engines(differential)
        leads: Sequence[Lead] | None = None
        if result and (settled or judged.verdict.passed) and self._look.has_looked(result):
            detail["second_look"], leads = describe_look(result), result.leads
        elif request and not result and judged.verdict.passed and self.engine.problem:
            warning = f"{self.function}: a sample that passes got no second look: {self.engine.problem}"
            detail["warning"] = "\n".join(filter(None, (detail.get("warning"), warning)))
            judged = judged._replace(verdict=replace(judged.verdict, detail=judged.verdict.detail | detail))
        elif natively and judged.verdict.passed and request is not None:
            detail["second_look"], leads = self._look_natively(differential, request)
        if leads is not None:
            looked = self._skip_passed(self._look.list_inputs(leads, taught), differential)
            inputs = itertools.chain(looked, self._list_texts(differential, detail))
            failed = self._run_on(inputs, differential, detail, explain=explain, capture=capture)
            if failed:
                return self._add_published(failed, differential)
            judged = judged._replace(verdict=replace(judged.verdict, detail=judged.verdict.detail | detail))
        judged = self._add_proof(judged, differential, detail, explain=explain, capture=capture)
        if judged.verdict.passed:
            cost = self._costs.describe(PassingRun(differential, result))
            judged = judged._replace(verdict=replace(judged.verdict, detail=judged.verdict.detail | cost))
        return self._add_published(judged, differential)

    def _run_passing(self, assembly: str) -> PassingRun | None:
        """The runs of a text of clang's own on the suite, without a second look; None where it does not pass."""
        with self.engine.sample():
            candidate = self._assemble(assembly, encode=self.engine.encode)
            if isinstance(candidate, Verdict):
                return None
            result = self._run_engine(candidate, None, is_own=True)
        differential = DifferentialRun(self._suite, candidate, assembly)
        if result is None or not is_settled(result):
            judged = self._run(differential, result, {}, explain=False, capture=False)
            if not judged.verdict.passed:
                return None
        return PassingRun(differential, result)

    def _look_natively(
        self, passed: DifferentialRun, request: LookRequest
    ) -> tuple[dict[str, int], Sequence[Lead] | None]:
        """The fact `second_look` of a candidate that runs natively, and the leads; none where the look fails.

        Raises ChildLostError.
        """
        self._under_test.prepare_machine()
        _ = self._under_test.possible_values  # which the child may need, and can't compile for
        try:
            found = self._call_isolated(passed, look, passed, request)
        except (ChildDiedError, ChildTimeoutError):
            return {"inputs": 0, "leads": 0}, None
        leads = [lead for lead in map(decode_lead, found["leads"]) if lead]
        return {"inputs": found["inputs"], "leads": len(leads)}, leads

    def _compare_engines(self, emulated: DifferentialRun) -> None:
        """Raise JudgeError where a candidate that the emulator can run runs otherwise on the processor itself."""
        if not self._under_test.native.is_possible:
            return
        native = DifferentialRun(emulated.suite, emulated.candidate, emulated.assembly, natively=True)
        self._under_test.prepare_machine()
        self._suite.prepare_to_run()
        try:
            found = self._call_isolated(native, find_disagreement, emulated, native)
        except (ChildDiedError, ChildTimeoutError, ChildLostError):
            return  # as for the verdict, an engine that gives up on a candidate says nothing of it
        if found is None:
            return
        shown = format_input(list(self.corpus.entries)[found["index"]], self._under_test.signature.params)
        line = found["line"] or 0
        place = " ".join(("at", *quote_line(emulated.assembly, line)[0].split()[1:])) if line else "at the end of a run"
        what = ", ".join(found["registers"] or found["what"])
        raise JudgeError(f"emulator and processor differ {place} (emulator, processor: {what}) for {' '.join(shown)}")

    def _add_published(self, judged: ReproducibleVerdict, differential: DifferentialRun) -> ReproducibleVerdict:
        """A verdict with whether the tests that were published with the case hold, where there are any."""
        tests, program = self.reference.case.tests, self._suite.whole_program
        if tests is None or program is None:
            return judged
        if judged.verdict.kind == "pass":  # the whole program shows what it shows with the reference in it
            published = describe_run(tests.kind, program, program.expected)
        else:
            self._under_test.prepare_machine()
            try:
                published = self._call_isolated(differential, _run_published, differential, tests.kind, program)
            except (ChildDiedError, ChildTimeoutError, ChildLostError):
                return judged
        if published is None:
            return judged
        verdict = judged.verdict
        return judged._replace(verdict=replace(verdict, detail=verdict.detail | {"published": published}))

    def _add_proof(
        self,
        judged: ReproducibleVerdict,
        differential: DifferentialRun,
        detail: dict[str, Any],
        *,
        explain: bool,
        capture: bool,
    ) -> ReproducibleVerdict:
        """A verdict with what came of the attempt to prove a candidate that passes, where proofs are wanted."""
        if self._prover is None or judged.verdict.kind != "pass":
            return judged
        result = self._prover.prove(differential.candidate, judged.verdict)
        if result["proved"]:
            self._check_proof(differential, result["level"])
        elif result["refutation"]:
            leads = list_refuting(result["refutation"], list(self.corpus.entries), self._under_test)
            inputs = self._look.list_inputs(leads, (), "proof")
            failed = self._run_on(inputs, differential, detail, explain=explain, capture=capture)
            if failed:
                return failed
        return judged._replace(verdict=add_proof(judged.verdict, result))

    def _check_proof(self, proved: DifferentialRun, level: str) -> None:
        """Raise JudgeError where a candidate that is proved fails an input of a further second look."""
        look = SecondLook(self._suite, 1.0, self._settings.seed + 1)
        with self.engine.sample():
            request = look.build_request(proved.candidate, ())
            result = self._run_engine(proved.candidate, request)
        if not (result and look.has_looked(result)):
            return
        detail = {"second_look": describe_look(result)}
        # A proof rests on clang's code: where that is wrong, the proof is no fault of the prover.
        inputs = (one for one in look.list_inputs(result.leads, ()) if not one.shows_compiler_bug)
        failed = self._run_on(inputs, proved, detail, explain=False, capture=False)
        if failed and failed.verdict.kind != "hang":  # a proof counts no instructions
            claim = f"{self.function} is proved to be equal to clang -{level}, and an input shows that it is not"
            raise JudgeError(f"{claim}: {failed.verdict.kind}: {failed.verdict.message}")

    def _run_on(
        self,
        inputs: Iterable[LookedInput],
        passed: DifferentialRun,
        detail: dict[str, Any],
        *,
        explain: bool,
        capture: bool,
    ) -> ReproducibleVerdict | None:
        """The verdict on a candidate that passes the suite and fails an input of the second look; None for any other.

        What can't be judged on such an input changes nothing: the candidate passes all inputs that others pass.
        """
        weaker: ReproducibleVerdict | None = None
        for looked in inputs:
            if self._look.has_passed(passed.candidate, looked.lead):
                continue
            differential = DifferentialRun(looked.suite, passed.candidate, passed.assembly)
            judged = self._run(differential, None, detail, explain=explain, capture=capture)
            if judged.verdict.passed:
                self._look.note_pass(passed.candidate, looked.lead)
            if judged.verdict.kind in RUN_FAILURES:
                judged = judged._replace(verdict=add_evidence(judged.verdict, looked))
                if judged.verdict.kind != "abi":  # as in DifferentialRun.first_failure
                    return judged
                weaker = weaker or judged
        return weaker

    def _skip_passed(self, inputs: Iterator[LookedInput], passed: DifferentialRun) -> Iterator[LookedInput]:
        """The inputs of leads on which a candidate is to be judged. Most that fail one fail the first; most that pass
        the first pass all. So all others run in one process, and those that are passed are left out."""
        new = (one for one in inputs if not self._look.has_passed(passed.candidate, one.lead))
        yield from itertools.islice(new, 1)
        others = list(new)
        if len(others) > 1:
            entries = {input: entry for one in others for input, entry in one.suite.corpus.entries.items()}
            run = DifferentialRun(self._suite.with_inputs(entries), passed.candidate, passed.assembly)
            self._under_test.prepare_machine()
            with contextlib.suppress(ChildDiedError, ChildTimeoutError, ChildLostError):  # then one by one
                passing = set(map(list(entries).__getitem__, self._call_isolated(run, run.list_passing)))
                for one in others:
                    if passing.issuperset(one.suite.corpus.entries):
                        self._look.note_pass(passed.candidate, one.lead)
        yield from (one for one in others if not self._look.has_passed(passed.candidate, one.lead))

    def _list_texts(self, passed: DifferentialRun, detail: dict[str, Any]) -> Iterator[LookedInput]:
        """The inputs with the candidate's own numbers and words in standard input on which it seems to differ."""
        previewed = self._look.preview_texts(passed.candidate)
        if not previewed:
            return
        detail["second_look"]["inputs"] += len(previewed)
        run = DifferentialRun(self._suite.with_inputs(previewed), passed.candidate, passed.assembly)
        self._under_test.prepare_machine()
        try:
            failing = self._call_isolated(run, run.list_failing)
        except (ChildDiedError, ChildTimeoutError, ChildLostError):
            return
        detail["second_look"]["leads"] += len(failing)
        inputs = list(previewed)
        yield from self._look.accept_inputs([inputs[index] for index in failing])

    def _run_engine(
        self, candidate: AssembledCode, look: LookRequest | None, *, is_own: bool = False
    ) -> EngineResult | None:
        """What the engine says of a candidate; None where it can't run it."""
        program, kind = self._under_test.program_for(candidate), self._image_kind(candidate)
        has_glibc_results = self._under_test.has_glibc_results(candidate)
        return self.engine.run(
            program, candidate, self.function, kind, look, has_glibc_results=has_glibc_results, is_own=is_own
        )

    def _image_kind(self, candidate: AssembledCode) -> ImageKind:
        return ImageKind(with_library=self._under_test.program_for(candidate) is not self.reference.golden)

    def _open_shown(self, differential: DifferentialRun) -> ShownRun | None:
        """The differential run by what the engine shows of left runs; None where that is not enough to judge."""
        candidate = differential.candidate
        if candidate.binding_alternatives or self._under_test.has_glibc_results(candidate):
            return None
        show = functools.partial(self.engine.show, self._image_kind(candidate))
        return ShownRun(self._suite, candidate, differential.assembly, show)

    def _explain_shown(self, shown: ShownRun, engine: EngineResult | None) -> Explanation | None:
        """The first failure as it is found, by what the engine shows of it; None where a machine in a child has to run
        the candidate."""
        try:
            explained = FailureExplainer(shown, None).explain_first(engine)
        except EngineError:
            return None
        self.engine.statistics.shown += explained is not None
        return explained

    def _passes_otherwise(self, failed: DifferentialRun) -> bool:
        """Whether a text that failed passes with another meaning of the names of its static variables, which are its
        own business."""
        for number in range(1, failed.candidate.binding_alternatives + 1):
            other = self._assemble(failed.assembly, number)
            if isinstance(other, Verdict):
                continue
            runs = [DifferentialRun(suite, other, failed.assembly) for suite in {failed.suite, self._suite}]
            with contextlib.suppress(ChildDiedError, ChildTimeoutError):
                if all(self._call_isolated(run, run.first_failure) is None for run in runs):
                    return True
        return False

    def _assemble(
        self, assembly: str, binding_number: int = 0, encode: Encoder = run_keystone
    ) -> AssembledCode | Verdict:
        """The code of a candidate, or the verdict on a text that gives no code for the function."""
        assemble = functools.partial(
            self._under_test.assemble_candidate,
            assembler=self._settings.assembler,
            binding_number=binding_number,
            encode=encode,
        )
        return assemble_or_judge(assemble, self.function, assembly)

    def _run(
        self,
        differential: DifferentialRun,
        engine: EngineResult | None,
        detail: dict[str, Any],
        *,
        explain: bool,
        capture: bool,
        shown: ShownRun | None = None,
    ) -> ReproducibleVerdict:
        """Run what the engine left of a candidate, and explain its first failure, in processes of their own, where what
        is `shown` of it is not enough. Raises ChildLostError."""
        try:
            explained = self._explain_shown(shown, engine) if shown else None
            explained = explained or self._run_isolated(differential, engine, explain=explain, capture=capture)
            if explained is None and engine and engine.left and shown is None:
                # The engine looks at all bits of an address; the emulator alone takes the upper 12 for zeros.
                shown = self._open_shown(differential)
                explained = self._explain_shown(shown, engine) if shown else None
        except (ChildDiedError, ChildTimeoutError) as error:
            return ReproducibleVerdict(Verdict("inconclusive", f"the emulator gave up on it: {error}", detail=detail))
        if explained is None:
            return ReproducibleVerdict(pass_verdict(detail, self._settings.min_coverage))
        facts = {name: fact for name, fact in explained["facts"].items() if name in FACTS}
        verdict = Verdict(explained["kind"], explained["message"], tuple(explained["evidence"]), detail | facts)
        if differential.candidate.is_private and self.reference.facts.values(self.function).may_be_fitted(
            self.function
        ):
            verdict = replace(verdict, kind="inconclusive", message=f"{_PRIVATE} ({verdict.message})")
        if self._settings.count_agreeing and verdict.kind in RUN_FAILURES:
            verdict = replace(verdict, detail=verdict.detail | self._count_agreeing(differential, engine, shown))
        return ReproducibleVerdict(verdict, explained["reproducer"])

    def _count_agreeing(
        self, differential: DifferentialRun, engine: EngineResult | None, shown: ShownRun | None
    ) -> dict[str, int]:
        """The fact `agreeing` of a candidate that fails; empty where it can't be counted."""
        if differential.suite is not self._suite:  # a second look, which only candidates that pass the suite get
            return {"agreeing": len(self.corpus.entries)}
        count = None
        if shown:
            with contextlib.suppress(EngineError):
                return _to_fact(count_agreeing(shown, engine))
        self._under_test.prepare_machine()
        with contextlib.suppress(ChildDiedError, ChildTimeoutError, ChildLostError):
            count = self._call_isolated(differential, count_agreeing, differential, engine)
        return _to_fact(count)

    def _run_isolated(
        self, differential: DifferentialRun, engine: EngineResult | None, *, explain: bool, capture: bool
    ) -> Explanation | None:
        """The explanation of a candidate's first failure; None where it passes. One child runs and explains, where
        nothing has to be done in between. Raises ChildDiedError and ChildTimeoutError where the child that runs ends.
        """
        self._under_test.prepare_machine()
        self._suite.prepare_to_run()
        is_prepared = not (explain or capture) or self._suite.is_ready_to_explain
        if is_prepared and not differential.candidate.binding_alternatives:
            explainer = FailureExplainer(differential, self._texts if explain else None, reproducer=capture)
            with contextlib.suppress(ChildDiedError, ChildTimeoutError):  # explaining may be what it died of
                return cast("Explanation | None", self._call_isolated(differential, explainer.explain_first, engine))
        failure = self._call_isolated(differential, differential.first_failure, engine)
        if failure is None or self._passes_otherwise(differential):
            return None
        if explain or capture:
            self._prepare_to_explain()
        texts = self._texts if explain else None
        try:
            explained = self._call_isolated(
                differential, FailureExplainer(differential, texts, reproducer=capture).explain, *failure
            )
        except (ChildDiedError, ChildTimeoutError):
            explained = self._call_isolated(differential, FailureExplainer(differential, None).explain, *failure)
        return cast(Explanation, explained)

    def _prepare_to_explain(self) -> None:
        """Do once what each child that explains a failure would do again."""
        self._suite.prepare_to_explain()
        self.reference.keep()
        warm_up_shrinking()
        prepare_texts(self._under_test, self._texts)

    def _call_isolated(self, differential: DifferentialRun, function: Callable[..., Any], *args: Any) -> Any:
        """The result of a function that runs hostile code, that of a differential run, computed in a child process."""
        return call_isolated(function, *args, natively=differential.runs_natively)

    @functools.cached_property
    def _texts(self) -> list[AssembledText]:
        return compile_texts(self._under_test)


def _run_published(differential: DifferentialRun, kind: TestKind, program: WholeProgram) -> PublishedResult | None:
    return describe_run(kind, program, differential.machine.run_program(program.limit))


def _to_fact(agreeing: int | None) -> dict[str, int]:
    return {} if agreeing is None else {"agreeing": agreeing}


def _read_image(suite: Suite, kind: ImageKind) -> bytes:
    """The image of a suite, from the cache where it is one that most candidates need."""
    return build_image(suite, kind) if any(kind) else suite.image(lambda suite: build_image(suite, kind))
