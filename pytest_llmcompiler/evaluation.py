"""Ask, judge, record; and at the end of a session count, compare and write."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmcompiler.errors import CaseError, ClangError, ExportError, JudgeError, NoCodeError, TruncatedError
from pytest_llmcompiler.judge.api import judge_answer, judge_answer_with_reproducer
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.sample_queue import JudgedAnswer, SampleQueue
from pytest_llmcompiler.judge.taught_inputs import TaughtInputs
from pytest_llmcompiler.judge.verdict import KINDS, Kind, Verdict
from pytest_llmcompiler.model.answer import Answer, Model, Prompt
from pytest_llmcompiler.model.extract.assembly import find_judged_assembly
from pytest_llmcompiler.model.replay import ReplayModel, read_answer
from pytest_llmcompiler.program.clang import Syntax
from pytest_llmcompiler.questions import Questions, SessionQuestion
from pytest_llmcompiler.report.comparison import prompt_lines
from pytest_llmcompiler.report.export import export
from pytest_llmcompiler.report.item_report import ItemReport, ReferenceListing, build_item_report
from pytest_llmcompiler.report.passk import count_samples
from pytest_llmcompiler.report.records import Record, build_record
from pytest_llmcompiler.report.rejudged import changed_verdict_lines
from pytest_llmcompiler.session import Session

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.client import JudgeClient
    from pytest_llmcompiler.judge.listing import Listing
    from pytest_llmcompiler.program.case import Case
    from pytest_llmcompiler.program.reference import Reference
    from pytest_llmcompiler.report.page import ReportPage


_PATIENCE = 0.1
"""How long a verdict is waited for before the next answer is, as a share of the time that the last answer took. A slow
model's answers so are recorded one by one, and a fast model's are judged side by side."""


class JudgedSample(NamedTuple):
    """An answer, its verdict, and the record of both."""

    answer: Answer
    judged: ReproducibleVerdict
    record: Record

    @property
    def verdict(self) -> Verdict:
        """The verdict alone."""
        return self.judged.verdict


class Evaluation:
    """Asks the model the questions of a session, has the answers judged, and records them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.questions = Questions(session)
        self.results = SessionResults(session)
        self.running: list[Record] = []
        """The records of the item that is being judged in this process."""

    def prepare_ahead(self, questions: Sequence[SessionQuestion]) -> None:
        """Have functions prepared before their first answers come. `questions` are in the order in which they come."""
        from pytest_llmcompiler.judge.ahead import ComingFunction

        cases = ((self.questions.reference(question.path).case, question.function) for question in questions)
        self.session.prepare_ahead([ComingFunction(*function) for function in cases])

    def judge_samples(self, model: Model, reference: Reference, prompt: Prompt) -> Iterator[JudgedSample]:
        """Ask a question and judge the answers. Each record is written before its sample is yielded.

        Samples of a resumed record are neither asked nor judged again. A JudgeError on one sample is raised after all
        other samples are judged; that sample is recorded without a verdict. Raises ResumeError if the resumed record is
        of another model, ModelError if the model fails.
        """
        facts = model.describe()
        recorded = self.session.find_recorded(prompt, facts)
        known = {number: verdict for number, record in recorded.items() if (verdict := _recorded_verdict(record))}
        fault: JudgeError | None = None
        answers = self._answers(model, prompt, recorded)
        for answer, outcome in self._judge_side_by_side(reference, prompt, answers, known):
            judged = outcome if isinstance(outcome, ReproducibleVerdict) else None
            if judged and answer.sample in known:
                yield JudgedSample(answer, judged, recorded[answer.sample])
                continue
            if isinstance(outcome, JudgeError):
                fault = outcome
            verdict = judged.verdict if judged else None
            previous = _replayed_verdict(model, prompt, answer)
            record = build_record(prompt, answer, facts, verdict, self.session.recorded_settings, previous)
            if self.session.recorder:
                self.session.recorder.write(record)
            if judged:
                yield JudgedSample(answer, judged, record)
        if fault:
            raise fault

    def _judge_side_by_side(
        self, reference: Reference, prompt: Prompt, answers: Iterator[Answer], known: Mapping[int, Verdict]
    ) -> Iterator[JudgedAnswer]:
        """Have answers judged as they arrive, and yield them in their order. `known` are the verdicts of samples that
        are judged already. An error of the model is raised after the answers before it are judged."""
        judge, repro = self.session.judge, self.session.repro  # opened here, not in a thread
        if self.session.ahead:
            self.session.ahead.begin((reference.case.path, prompt.function))
        captures = repro is not None and reference.target.is_native
        ask = partial(_judge, judge, reference.case, prompt, captures)
        queue = SampleQueue(self.session.judging_threads, ask)
        taught = TaughtInputs(ask)
        error: BaseException | None = None
        try:
            while True:
                start = time.monotonic()
                answer, error = _take_next(answers)
                if answer is None:
                    break
                if answer.sample in known:
                    queue.add_judged(answer, ReproducibleVerdict(known[answer.sample]))
                else:
                    queue.add(answer)
                for judged in queue.take(_PATIENCE * (time.monotonic() - start)):
                    yield taught.judge(judged, is_final=judged.answer.sample in known)
            for judged in queue.take():
                yield taught.judge(judged, is_final=judged.answer.sample in known)
        finally:
            queue.cancel()
        if error:
            raise error

    def _answers(self, model: Model, prompt: Prompt, recorded: Mapping[int, Record]) -> Iterator[Answer]:
        """Yield the recorded answers, then those that the model has yet to give."""
        from pytest_llmcompiler.model.owner.client import OwnedModel

        samples = self.session.settings.samples
        known = frozenset(number for number in recorded if number < samples)
        for number in sorted(known):
            yield read_answer(recorded[number])
        if len(known) == samples:
            return
        if isinstance(model, OwnedModel):
            yield from model.answers(prompt, samples, known)
        else:
            yield from (answer for answer in model.answers(prompt, samples) if answer.sample not in known)

    def write_artifacts(self, path: Path, prompt: Prompt, sample: JudgedSample) -> None:
        """Write the folder of a failing sample of the case at `path`, if folders are wanted. Raises
        ReproFolderError."""
        if self.session.repro:
            reference = self.questions.reference(path)
            with self.session.compiler_lock:  # it forks
                self.session.repro.keep(reference, prompt, sample.answer, sample.judged)

    def item_report(self, reference: Reference, prompt: Prompt, samples: Sequence[JudgedSample]) -> ItemReport:
        """What the report's page shows of a question."""
        own = _reference_assembly(reference, prompt, self.session.settings.syntax)
        beside: ReferenceListing | None = None
        if own:
            passes, text = own
            beside = {"passes": passes, "text": text, "blocks": self._listing(reference, prompt, lambda: text)}

        def candidate_listing(index: int) -> Listing | None:
            answer, _, record = samples[index]
            return self._listing(reference, prompt, lambda: find_judged_assembly(answer, prompt, record["detail"]))

        return build_item_report(prompt, [sample.record for sample in samples], beside, candidate_listing)

    def _listing(self, reference: Reference, prompt: Prompt, assembly: Callable[[], str]) -> Listing | None:
        """The code blocks of some assembly; None if it has none, or if they can't be found."""
        try:
            return self.session.judge.listing(reference.case, prompt.function, assembly())
        except (NoCodeError, TruncatedError, CaseError, JudgeError):  # the verdict is shown without the listing
            return None


class SessionResults:
    """The records of a whole session, those of workers of pytest-xdist included, and what is made of them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.records: list[Record] = []
        """The records of all samples."""
        self._complete: list[Record] = []
        """The records of the items of which all samples were judged."""
        self._has_run = False
        """Whether an item was run, here or in a worker."""
        self.unusable: dict[str, list[str]] = {}
        """The case files that can't be used, by the kind of their fault."""
        self.left_out: dict[tuple[str, str], set[str]] = {}
        """The case files by each flag that is left out and the reason."""
        self.closing_lines: list[str] = []
        """Lines to print below the table. `finish` sets them."""

    def add(self, records: Sequence[Record], *, complete: bool) -> None:
        """Add the records of an item. `complete`: these are all its samples."""
        self._has_run = True
        self.records += records
        if complete:
            self._complete += records

    def add_unusable(self, case: str, kind: str) -> None:
        """Add a case file that can't be used, with the kind of its fault."""
        self.unusable.setdefault(kind, []).append(case)

    def add_left_out(self, case: str, flags: Iterable[tuple[str, str]]) -> None:
        """Add flags of a case file that are left out, with the reasons."""
        for flag, reason in flags:
            self.left_out.setdefault((flag, reason), set()).add(case)

    def finish(self, command: str) -> bool:
        """Write page, baseline and export, and return whether the session passes.

        `command` is the command line of this session, which messages repeat.
        """
        session = self._session
        if not self._has_run or not (self.records or session.settings.model):
            return True
        if session.page:
            self._write_page(session.page)
        models = ", ".join(sorted({str(record["model"].get("name")) for record in self.records}))
        counts_by_item = count_samples(self.records)
        outcome = session.pass_criteria.close(count_samples(self._complete), counts_by_item, models, command)
        self.closing_lines = [
            *changed_verdict_lines(self.records),
            *prompt_lines(counts_by_item, session.settings.prompt),
            *outcome.lines,
        ]
        return self._write_exports() and not outcome.failed

    def _write_exports(self) -> bool:
        """Write the files of `--llmc-export`; False if one of them can't be written."""
        settings, lines = self._session.settings, list[str]()
        for file in settings.export:
            try:
                export(self.records, file, settings.pass_k)
            except ExportError as error:
                lines.append(f"FAIL: {error}")
        self.closing_lines += lines
        return not lines

    def _write_page(self, page: ReportPage) -> None:
        """Write the page, or warn that it can't be written: the verdicts are printed all the same."""
        settings = self._session.settings
        facts: dict[str, Any] = {}
        with suppress(ClangError):
            facts["reference"] = self._session.toolchain.version()
        facts["inputs a function"] = settings.examples
        facts["seed"] = settings.seed
        facts["effort"] = f"{settings.effort:g}"
        if settings.prove:
            tried = [record["detail"]["proved"] for record in self.records if "proved" in record["detail"]]
            facts["proved"] = f"{sum(tried)} of {len(tried)} passes"
        try:
            page.write(facts, settings.pass_k)
        except OSError as error:
            warnings.warn(f"--llmc-report: can't write {page.path}: {error.strerror}", UserWarning, stacklevel=2)


def _take_next(answers: Iterator[Answer]) -> tuple[Answer | None, BaseException | None]:
    """The next answer, or the error of a model that fails; neither where there is no further answer."""
    try:
        return next(answers, None), None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # pytest's outcomes, such as a skip, are no Exceptions
        return None, error


def _judge(
    judge: JudgeClient,
    case: Case,
    prompt: Prompt,
    captures: bool,
    answer: Answer,
    taught: Sequence[Mapping[str, Any]] = (),
) -> ReproducibleVerdict:
    """The verdict on an answer, with its reproducer if that is wanted."""
    function, task, passes = prompt.function, prompt.task, prompt.passes
    if captures:
        return judge_answer_with_reproducer(judge, case, function, answer, task=task, passes=passes, taught=taught)
    return ReproducibleVerdict(judge_answer(judge, case, function, answer, task=task, passes=passes, taught=taught))


def _reference_assembly(reference: Reference, prompt: Prompt, syntax: Syntax) -> tuple[str, str] | None:
    """A pass list and clang's assembly for it, which the page shows beside an answer.

    The pass list is that of the question, or O0 if clang does not know it; None if clang fails on both.
    """
    for passes in (prompt.passes, "O0"):
        with suppress(CaseError, ClangError):
            return passes, reference.texts.assembly(prompt.function, passes, syntax)
    return None


def _replayed_verdict(model: Model, prompt: Prompt, answer: Answer) -> Kind | None:
    """The verdict that a replayed answer has in its record; None if it has none."""
    previous = model.find_recorded_verdict(prompt, answer.sample) if isinstance(model, ReplayModel) else None
    return next((kind for kind in KINDS if kind == previous), None)


def _recorded_verdict(record: Record) -> Verdict | None:
    """The verdict of a record; None if it has none, or if somebody edited it so that it can't be read."""
    with suppress(KeyError, ValueError, TypeError):
        return Verdict.from_json(record)
    return None
