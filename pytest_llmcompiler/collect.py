"""From a .c or .ll file to test items."""

from __future__ import annotations

import itertools
import os
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
    JudgeError,
    LLMCompilerError,
    ModelError,
    NoCSourceError,
    PromptTooLongError,
    ResumeError,
    TemplateError,
)
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.verdict import Verdict, harmless
from pytest_llmcompiler.model.answer import Answer, Model, Prompt, has_pass_list
from pytest_llmcompiler.program.case import SUFFIXES
from pytest_llmcompiler.report.item_report import ItemReport
from pytest_llmcompiler.report.passk import count_samples
from pytest_llmcompiler.session import Session, SessionQuestion

if TYPE_CHECKING:
    from pytest_llmcompiler.program.reference import Reference

_FOR_PEOPLE = (BaselineError, CaseError, ClangError, JudgeError, ModelError, ResumeError, TemplateError)
"""Faults whose message says it all."""
_SHOWN = 3
"""Failing samples of an item that are shown in full."""


def is_case(path: Path, config: pytest.Config, session: Session) -> bool:
    """Whether a file is to be collected: in a cases folder, or named on the command line where a model is given."""
    if path.suffix not in SUFFIXES:
        return False
    if session.root(path):
        return True
    named = (config.invocation_params.dir / argument.partition("::")[0] for argument in config.args)
    return session.settings.model is not None and any(other.resolve() == path.resolve() for other in named)


class CaseFile(pytest.File):
    """A file under test."""

    llmc: Session

    def collect(self) -> Iterator[CaseItem]:
        """An item for each function, task, pass list and prompt."""
        try:
            reference = self.llmc.reference(self.path)
            functions = reference.functions
        except (CaseError, ClangError) as error:
            raise self.CollectError(str(error)) from error
        lists = reference.case.passes or self.llmc.settings.passes
        for function, task, prompt in itertools.product(functions, self.llmc.settings.task, self.llmc.settings.prompt):
            for passes in lists if has_pass_list(task) else ("",):
                question = SessionQuestion(self.path, function, task, passes, prompt)
                name = f"{function}[{self.llmc.key(question).variant}]"
                # Left to itself, pytest from 9.2 on takes the brackets for a part of the name, and --lf finds nothing.
                nodeid = f"{self.nodeid}::{name}"
                line = reference.line_of(function)
                yield CaseItem.from_parent(self, name=name, nodeid=nodeid, question=question, line=line)


class SamplesFailedError(LLMCompilerError):
    """Too few samples of an item passed."""


class BelowBaselineError(SamplesFailedError):
    """Fewer samples passed than the baseline has it."""


class CaseItem(pytest.Item):
    """A question about a function: asked of the model and judged in the set-up, so that a fault of the harness is an
    error; failed or passed in the test itself."""

    def __init__(self, *, question: SessionQuestion, line: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.question, self._line = question, line
        self.records: list[dict[str, Any]] = []
        self.item_report: ItemReport | None = None
        self._verdicts: list[Verdict] = []
        # As pytest's own doctest items do, which have no function either.
        self.obj = None
        self._fixtureinfo = self.session._fixturemanager.getfixtureinfo(node=self, func=None, cls=None)
        self.fixturenames = self._fixtureinfo.names_closure
        self.funcargs: dict[str, object] = {}
        self._request = TopRequest(self, _ispytest=True)  # type: ignore[arg-type]

    def setup(self) -> None:
        """Get the samples and their verdicts."""
        self._request._fillfixtures()
        try:
            model = self._request.getfixturevalue("llmc_model")
        except pytest.skip.Exception as skipped:
            # Skipped from here and not from the fixture, items share one line in pytest's summary.
            pytest.skip(str(skipped.msg))
        session = self._file.llmc
        self._verdicts, self.records, self.item_report = [], [], None
        session.running = self.records
        _ = session.pass_criteria  # a baseline that can't be read is no failure of the item's
        try:
            self._judge(session, model)
        except (NoCSourceError, PromptTooLongError) as error:
            pytest.skip(str(error))
        self.user_properties += self._properties()
        if not self._verdicts:
            pytest.skip(f"{session.settings.model} holds no answer for {self.name}")
        if not any(verdict.conclusive for verdict in self._verdicts):
            pytest.skip(f"inconclusive: {self._verdicts[0].message}")

    def _judge(self, session: Session, model: Model) -> None:
        prompt, reference = session.prompt(self.question), session.reference(self.path)
        judged = []
        try:
            for answer, reproducible, record in session.samples(model, reference, prompt):
                verdict = reproducible.verdict
                self.records.append(record)
                judged.append((answer, verdict))
                self._keep(session, prompt, answer, reproducible)
                if "warning" in verdict.detail:
                    self.warn(pytest.PytestWarning(harmless(str(verdict.detail["warning"]))))
        except Exception:  # a fault of the model or of the harness takes nothing away of what was judged before
            self._show(session, reference, prompt, judged)
            raise
        self._show(session, reference, prompt, judged)
        self._verdicts = [verdict for _, verdict in sorted(judged, key=lambda one: one[0].sample)]

    def _show(
        self, session: Session, reference: Reference, prompt: Prompt, judged: Sequence[tuple[Answer, Verdict]]
    ) -> None:
        """Have what was judged shown in the report, where one is wanted."""
        if session.settings.report and judged:
            self.item_report = session.item_report(reference, prompt, [answer for answer, _ in judged], self.records)

    def _properties(self) -> Iterator[tuple[str, object]]:
        """What goes to JUnit's file and the like."""
        kinds = [verdict.kind for verdict in self._verdicts]
        yield "llmc_verdicts", ",".join(kinds)
        yield from ((f"llmc_count_{kind}", count) for kind, count in sorted(Counter(kinds).items()))
        judged = len(kinds) - kinds.count("inconclusive")
        if judged:
            yield "llmc_pass@1", kinds.count("pass") / judged
        if self.records:
            yield "llmc_model", str(self.records[0]["model"].get("name"))

    def _keep(self, session: Session, prompt: Prompt, answer: Answer, judged: ReproducibleVerdict) -> None:
        """Write the folder of a failing sample, where it is wanted. That it can't be done is no reason to fail."""
        if session.repro is None:
            return
        from pytest_llmcompiler.errors import ReproFolderError

        try:
            session.keep(session.reference(self.path), prompt, answer, judged)
        except ReproFolderError as error:
            self.warn(pytest.PytestWarning(str(error)))

    @property
    def asks_own_model(self) -> bool:
        """Whether it asks the model of the settings, and not one that a fixture of the user's puts in its place."""
        return len(self.session._fixturemanager.getfixturedefs("llmc_model", self) or ()) == 1

    def runtest(self) -> None:
        """Hold the verdicts against what is required, and against the baseline."""
        [samples] = count_samples(self.records)
        decision = self._file.llmc.pass_criteria.rule(samples)
        if decision.kind == "known":
            pytest.xfail(decision.words)  # returns under --runxfail
        if decision.kind == "worse":
            raise BelowBaselineError(decision.words)
        if decision.kind != "passed":
            raise SamplesFailedError(decision.words)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The verdicts for a failing item; for all else what pytest would say."""
        if isinstance(excinfo.value, (SamplesFailedError, pytest.xfail.Exception)):
            return "\n".join(self._failure(excinfo.value))
        return super().repr_failure(excinfo, style)

    def explained(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
        """A fault in the set-up: its message where that says it all, else the frames that are not pytest's own."""
        if isinstance(excinfo.value, _FOR_PEOPLE):
            return str(excinfo.value)
        own = excinfo.traceback.filter(lambda entry: not {"_pytest", "pluggy"} & set(Path(entry.path).parts))
        excinfo.traceback = own or excinfo.traceback
        return excinfo.getrepr(style="short")

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Where the item comes from."""
        return self.path, self._line - 1, self.name

    @property
    def _file(self) -> CaseFile:
        assert isinstance(self.parent, CaseFile)
        return self.parent

    def _failure(self, reason: BaseException) -> Iterable[str]:
        session, samples = self._file.llmc, sorted(record["sample"] for record in self.records)
        failed = [(index, verdict) for index, verdict in enumerate(self._verdicts) if not verdict.passed]
        if len(self._verdicts) > 1:
            counts = Counter(verdict.kind for verdict in self._verdicts)
            yield f"{reason} ({', '.join(f'{count} {kind}' for kind, count in counts.most_common())})"
        elif isinstance(reason, BelowBaselineError):
            yield str(reason)
        for index, verdict in failed[:_SHOWN]:
            if len(self._verdicts) > 1:
                yield f"sample {samples[index]}:"
            yield str(verdict)
            if session.repro and verdict.conclusive:
                yield f"  kept      {session.repro.place(session.prompt(self.question), samples[index])}"
        if len(failed) > _SHOWN:
            yield f"… and {len(failed) - _SHOWN} more failing samples; --llmc-record FILE.jsonl keeps all of them"
