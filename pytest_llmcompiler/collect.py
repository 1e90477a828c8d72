"""From a .c or .ll file to test items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.fixtures import TopRequest

from pytest_llmcompiler.errors import (
    BaselineError,
    CaseError,
    ClangError,
    CompileError,
    JudgeError,
    LLMCompilerError,
    ModelError,
    PromptTooLongError,
    RecordError,
    ReproFolderError,
    ResumeError,
    TemplateError,
    UnfitTemplateError,
)
from pytest_llmcompiler.evaluation import Evaluation, JudgedSample
from pytest_llmcompiler.files import escape_name
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.verdict import Verdict, harmless
from pytest_llmcompiler.model.answer import Model, Prompt
from pytest_llmcompiler.model.prompt_builder import list_case_questions
from pytest_llmcompiler.program.case import SUFFIXES
from pytest_llmcompiler.questions import SessionQuestion
from pytest_llmcompiler.report.item_report import ItemReport
from pytest_llmcompiler.report.passk import count_samples
from pytest_llmcompiler.report.records import Record

if TYPE_CHECKING:
    from pytest_llmcompiler.program.reference import Reference

_EXPLAINED_ERRORS = (
    *(BaselineError, CaseError, ClangError, JudgeError, ModelError, RecordError, ResumeError, TemplateError),
)
"""Errors whose message is for users: no traceback is shown."""
_MAX_SHOWN = 3
"""Failing samples of an item that are shown in full: about a screen of text."""


def is_case(path: Path, config: pytest.Config, evaluation: Evaluation) -> bool:
    """Whether to collect a file: it lies in a cases folder, or it is named on the command line and a model is given."""
    if path.suffix not in SUFFIXES:
        return False
    if evaluation.questions.cases_folder(path):
        return True
    named = (config.invocation_params.dir / argument.partition("::")[0] for argument in config.args)
    is_named = any(argument.resolve() == path.resolve() for argument in named)
    return evaluation.session.settings.model is not None and is_named


class CaseFile(pytest.File):
    """A case file."""

    evaluation: Evaluation

    def collect(self) -> Iterator[pytest.Item]:
        """Yield an item for each function, task, pass list and prompt template.

        A file that does not compile, or whose directives do not fit it, is one item that fails.
        """
        questions, settings = self.evaluation.questions, self.evaluation.session.settings
        try:
            reference = questions.reference(self.path)
            asked = list(list_case_questions(reference, settings.task, settings.prompt, settings.passes))
        except CaseError as error:
            if self._is_function_named():  # pytest would say no more than that there is no such item
                raise self.CollectError(str(error)) from error
            yield UnusableCaseItem.from_parent(self, name=UnusableCaseItem.NAME, error=error)
            return
        except ClangError as error:
            raise self.CollectError(str(error)) from error
        for question in (SessionQuestion(self.path, *case_question) for case_question in asked):
            name = f"{question.function}[{questions.key(question).variant}]"
            # The id is passed as text, which pytest takes apart into name and parameters. From the name alone
            # pytest 9.2 makes an id without parameters, which --lf does not find again.
            nodeid = f"{self.nodeid}::{name}"
            line = reference.line_of(question.function)
            yield CaseItem.from_parent(self, name=name, nodeid=nodeid, question=question, line=line)

    def _is_function_named(self) -> bool:
        """Whether the command line names an item of this file, and not the one of a file that can't be used."""
        arguments = (argument.partition("::") for argument in self.config.args)
        names = (
            name
            for path, _, name in arguments
            if name and (self.config.invocation_params.dir / path).resolve() == self.path.resolve()
        )
        return any(name != UnusableCaseItem.NAME for name in names)


class UnusableCaseItem(pytest.Item):
    """The one item of a case that can't be used. It fails with the reason."""

    NAME = "compile"

    def __init__(self, *, error: CaseError, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._error = error
        self.user_properties.append(("llmc_unusable", self.kind))

    @property
    def kind(self) -> str:
        """The kind of the fault: one of the compiler's, or `directive`."""
        return self._error.kind if isinstance(self._error, CompileError) else "directive"

    def runtest(self) -> None:
        """Fail with the reason."""
        raise self._error

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The reason alone."""
        return harmless(str(excinfo.value)) if excinfo.value is self._error else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, int | None, str]:
        """The place of the fault: the file, its first line, and a title."""
        return escape_name(str(self.path)), 0, f"{self.NAME} {escape_name(self.path.name)}"


class SamplesFailedError(LLMCompilerError):
    """Too few samples of an item pass."""


class BelowBaselineError(SamplesFailedError):
    """Fewer samples of an item pass than in the baseline."""


class _FixtureItem(pytest.Item):
    """An item that takes fixtures although it has no Python function.

    pytest has no public way to do that. `pytest.Function` takes fixtures, but it builds its node id from the name
    alone, and pytest 9.2 does not find such an id again if the name has brackets (see `CaseFile.collect`). So this
    class does what pytest's own doctest items do. All private names of pytest that the plugin needs are here; they are
    the same in pytest 8.2 to 9.2.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.obj = None  # plugins look here for the function of an item
        self._fixtureinfo = self.session._fixturemanager.getfixtureinfo(node=self, func=None, cls=None)
        self.fixturenames = self._fixtureinfo.names_closure
        self.funcargs: dict[str, object] = {}
        self._request = TopRequest(self, _ispytest=True)  # type: ignore[arg-type]

    def fill_fixtures(self) -> None:
        """Set up the fixtures that every test uses (autouse)."""
        self._request._fillfixtures()

    def get_fixture(self, name: str) -> Any:
        """Set up a fixture, and return its value."""
        return self._request.getfixturevalue(name)

    def is_overridden(self, name: str) -> bool:
        """Whether a fixture of the plugin is overridden for this item: by a conftest.py or by another plugin."""
        return len(self.session._fixturemanager.getfixturedefs(name, self) or ()) > 1


class CaseItem(_FixtureItem):
    """One question about one function.

    The set-up phase asks the model and judges the answers, so an error of the harness is reported as an error. The call
    phase passes or fails by the verdicts.
    """

    def __init__(self, *, question: SessionQuestion, line: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.question, self._line = question, line
        self.records: list[Record] = []
        self.item_report: ItemReport | None = None
        self._verdicts: list[Verdict] = []

    def setup(self) -> None:
        """Ask the model and judge the answers. Skips the item if it can't be asked or no answer can be judged."""
        self.fill_fixtures()
        try:
            model = self.get_fixture("llmc_model")
        except pytest.skip.Exception as skipped:
            # Raised again from here: pytest's summary merges skips of the same line, and a fixture has one for each
            # item.
            pytest.skip(str(skipped.msg))
        evaluation = self._evaluation
        self._verdicts, self.records, self.item_report = [], [], None
        evaluation.running = self.records
        _ = evaluation.session.pass_criteria  # an unreadable baseline is an error, and no failure of the item
        try:
            self._judge(model)
        except (UnfitTemplateError, PromptTooLongError) as error:
            pytest.skip(str(error))
        except RecordError as error:  # no later sample could be recorded either
            self.session.shouldstop = str(error)
            raise
        self.user_properties += self._properties()
        if not self._verdicts:
            pytest.skip(f"{evaluation.session.settings.model} holds no answer for {self.name}")
        if not any(verdict.conclusive for verdict in self._verdicts):
            pytest.skip(f"inconclusive: {self._verdicts[0].message}")

    def _judge(self, model: Model) -> None:
        evaluation = self._evaluation
        prompt, reference = evaluation.questions.prompt(self.question), evaluation.questions.reference(self.path)
        judged: list[JudgedSample] = []
        try:
            for sample in evaluation.judge_samples(model, reference, prompt):
                self.records.append(sample.record)
                # Without its reproducer, which is large and which nothing but the folder needs.
                judged.append(sample._replace(judged=ReproducibleVerdict(sample.verdict)))
                self._write_artifacts(prompt, sample)
                if sample.verdict.passed and sample.verdict.evidence:
                    self.add_report_section("call", "coverage", "\n".join(sample.verdict.evidence))
                if "warning" in sample.verdict.detail:
                    self.warn(pytest.PytestWarning(harmless(str(sample.verdict.detail["warning"]))))
        except Exception:  # an error of model or harness: the samples judged before it are shown all the same
            self._build_report(reference, prompt, judged)
            raise
        self._build_report(reference, prompt, judged)
        self._verdicts = [sample.verdict for sample in sorted(judged, key=lambda sample: sample.answer.sample)]

    def _build_report(self, reference: Reference, prompt: Prompt, judged: Sequence[JudgedSample]) -> None:
        if self._evaluation.session.settings.report and judged:
            self.item_report = self._evaluation.item_report(reference, prompt, judged)

    def _write_artifacts(self, prompt: Prompt, sample: JudgedSample) -> None:
        """Write the folder of a failing sample, if folders are wanted. An error there is a warning: the verdict
        holds."""
        try:
            self._evaluation.write_artifacts(self.path, prompt, sample)
        except ReproFolderError as error:
            self.warn(pytest.PytestWarning(str(error)))

    def _properties(self) -> Iterator[tuple[str, object]]:
        """Properties for JUnit's file and for other reports."""
        kinds = [verdict.kind for verdict in self._verdicts]
        yield "llmc_verdicts", ",".join(kinds)
        yield from ((f"llmc_count_{kind}", count) for kind, count in sorted(Counter(kinds).items()))
        judged = len(kinds) - kinds.count("inconclusive")
        if judged:
            yield "llmc_pass@1", kinds.count("pass") / judged
        if self.records:
            yield "llmc_model", str(self.records[0]["model"].get("name"))

    def left_out_flags(self) -> list[tuple[str, str]]:
        """The flags of the case that are left out, each with the reason."""
        case = self._evaluation.questions.reference(self.path).case
        return [(flag, reason) for flags in case.compile_flags for flag, reason in flags.left_out]

    @property
    def asks_own_model(self) -> bool:
        """Whether the item asks the model of the settings: no fixture of the user's replaces `llmc_model`."""
        return not self.is_overridden("llmc_model")

    def runtest(self) -> None:
        """Pass or fail by the verdicts, the required share of passing samples, and the baseline."""
        [counts] = count_samples(self.records)
        decision = self._evaluation.session.pass_criteria.decide(counts)
        if decision.kind == "known":
            pytest.xfail(decision.message)  # returns under --runxfail
        if decision.kind == "worse":
            raise BelowBaselineError(decision.message)
        if decision.kind != "passed":
            raise SamplesFailedError(decision.message)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The verdicts of a failing item; pytest's own text for anything else."""
        if isinstance(excinfo.value, (SamplesFailedError, pytest.xfail.Exception)):
            return "\n".join(self._failure_lines(excinfo.value))
        return super().repr_failure(excinfo, style)

    def repr_setup_error(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
        """The message of an error that is for users; for any other error the frames outside of pytest."""
        if isinstance(excinfo.value, _EXPLAINED_ERRORS):
            return str(excinfo.value)
        own = excinfo.traceback.filter(lambda entry: not {"_pytest", "pluggy"} & set(Path(entry.path).parts))
        excinfo.traceback = own or excinfo.traceback
        return excinfo.getrepr(style="short")

    def reportinfo(self) -> tuple[str, int | None, str]:
        """The place of the function: the file, the line from 0, the name."""
        return escape_name(str(self.path)), self._line - 1, self.name

    @property
    def _evaluation(self) -> Evaluation:
        assert isinstance(self.parent, CaseFile)
        return self.parent.evaluation

    def _failure_lines(self, reason: BaseException) -> Iterable[str]:
        evaluation, samples = self._evaluation, sorted(record["sample"] for record in self.records)
        repro = evaluation.session.repro
        failed = [(number, verdict) for number, verdict in zip(samples, self._verdicts) if not verdict.passed]
        if len(self._verdicts) > 1:
            counts = Counter(verdict.kind for verdict in self._verdicts)
            yield f"{reason} ({', '.join(f'{count} {kind}' for kind, count in counts.most_common())})"
        elif isinstance(reason, BelowBaselineError):
            yield str(reason)
        for number, verdict in failed[:_MAX_SHOWN]:
            if len(self._verdicts) > 1:
                yield f"sample {number}:"
            yield str(verdict)
            if repro and verdict.conclusive:
                yield f"  kept      {repro.folder_of(evaluation.questions.prompt(self.question), number)}"
        if len(failed) > _MAX_SHOWN:
            yield f"… and {len(failed) - _MAX_SHOWN} more failing samples; --llmc-record FILE.jsonl keeps all of them"
