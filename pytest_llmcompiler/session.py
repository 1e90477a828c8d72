"""What a test session holds: the model, the judge, compiled cases, and the records of all samples."""

from __future__ import annotations

import functools
import hashlib
import itertools
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmcompiler.errors import (
    BaselineError,
    CaseError,
    ClangError,
    ExportError,
    JudgeError,
    ModelError,
    NoCodeError,
    ResumeError,
    SettingError,
    TemplateError,
    TruncatedError,
)
from pytest_llmcompiler.judge.api import judge_answer, judge_answer_with_reproducer
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.verdict import KINDS, Verdict
from pytest_llmcompiler.model.answer import (
    Answer,
    Model,
    ModelSettings,
    Prompt,
    QuestionKey,
    Sampling,
    Task,
    get_template_label,
    has_pass_list,
)
from pytest_llmcompiler.model.extract.assembly import find_judged_assembly
from pytest_llmcompiler.model.prompt import Template
from pytest_llmcompiler.model.reference import build_reference_answer
from pytest_llmcompiler.model.replay import ReplayModel, read_answer
from pytest_llmcompiler.model.specs import check_spec, has_owner_process, open_model, start_owner
from pytest_llmcompiler.options import SessionSettings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Syntax, Toolchain
from pytest_llmcompiler.report.comparison import prompt_lines
from pytest_llmcompiler.report.export import check_export, export
from pytest_llmcompiler.report.item_report import ItemReport, make_sheet
from pytest_llmcompiler.report.pass_criteria import PassCriteria
from pytest_llmcompiler.report.passk import count_samples
from pytest_llmcompiler.report.records import Recorder, record
from pytest_llmcompiler.report.rejudged import changed_verdict_lines
from pytest_llmcompiler.report.resume import Resumption
from pytest_llmcompiler.targets import get_target

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.listing import Listing
    from pytest_llmcompiler.judge.service import Judge
    from pytest_llmcompiler.model.owner.client import OwnedModel, OwnerAddress, OwnerProcess
    from pytest_llmcompiler.program.reference import Reference
    from pytest_llmcompiler.report.page import ReportPage
    from pytest_llmcompiler.repro.folder import ReproWriter

_RECORDED = ("syntax", "seed", "examples", "assembler", "target", "clang")
_WARM = 0.8
"""The temperature for several samples, which would all be the same at 0."""


class SessionQuestion(NamedTuple):
    """What a question is made of."""

    path: Path
    function: str
    task: Task
    passes: str
    template: str


class Session:
    """Everything is opened when it is first needed, and closed by `close`."""

    def __init__(self, settings: SessionSettings) -> None:
        self.settings = settings
        self.records: list[dict[str, Any]] = []
        """The records of all samples of the session, those of xdist's workers included."""
        self.closing: list[str] = []
        """What is to be said below the table, once `finish` has been called."""
        self._complete: list[dict[str, Any]] = []
        """The records of items whose samples were all judged."""
        self._was_asked = False
        """Whether an item was run, here or in a worker."""
        self.running: list[dict[str, Any]] = []
        """The records of the item that is being judged here."""
        self.is_worker = False
        """Whether this is one of xdist's workers."""
        self.address: OwnerAddress | None = None
        """Of the model's owner, where another process has started it."""
        self._references: dict[Path, Reference] = {}
        self._prompts: dict[SessionQuestion, Prompt] = {}
        self._lock = threading.Lock()
        """Prompts are made here and, ahead of their time, in the planner's thread."""

    def find_owner(self, address: Sequence[str] | None) -> None:
        """This is a worker of xdist's: ask the owner at an address, if there is one, and open no model here."""
        self.is_worker = True
        if address:
            from pytest_llmcompiler.model.owner.client import OwnerAddress

            self.address = OwnerAddress(*address)

    def check(self) -> None:
        """Raise SettingError for a setting that names what is not there. Opens no model and runs no compiler."""
        settings = self.settings
        checks: dict[str, Callable[[], object]] = {
            "model": lambda: check_spec(settings.model) if settings.model else None,
            "prompt": lambda: self.templates,
            "clang": lambda: self.toolchain.command if settings.clang else None,
            "record": lambda: self._recorder,
            "resume": lambda: self._resumption,
            "baseline": lambda: self.pass_criteria,
            "export": lambda: check_export(settings.export) if settings.export else None,
            "report": lambda: self.page,
        }
        for name, check in checks.items():
            try:
                check()
            except (ModelError, TemplateError, ClangError, BaselineError, ExportError, ResumeError) as error:
                raise SettingError(f"--llmc-{name}: {error}") from error

    @functools.cached_property
    def model(self) -> Model:
        """The model that the settings name. Raises ModelError where it can't be had."""
        assert self.settings.model is not None
        if self.address:
            from pytest_llmcompiler.model.owner.client import OwnedModel

            return OwnedModel(self.address)
        model = open_model(self.settings.model, self._model_settings)
        if isinstance(model, ReplayModel):
            model.check_prompts(self.settings.prompt)
        return model

    @functools.cached_property
    def owner(self) -> OwnerProcess:
        """The process that owns the model for all of xdist's workers. Raises ModelError where it can't be started."""
        assert self.settings.model is not None
        return start_owner(self.settings.model, self._model_settings)

    def drifts(self) -> Iterator[str]:
        """What is to be said of prompts that are nearly what models were trained on."""
        for template in self.templates.values() if self.settings.model else ():
            published = template.similar_template
            if published:
                yield (
                    f"--llmc-prompt {template.name} differs from the published prompt {published!r} in blanks, "
                    f"punctuation or case alone, and models are sensitive to these: use --llmc-prompt {published} "
                    "if that is what is meant"
                )

    @property
    def _sampling(self) -> Sampling:
        settings = self.settings
        temperature = settings.temperature
        if temperature is None:
            temperature = _WARM if settings.samples > 1 else 0.0
        return Sampling(temperature, settings.top_p, settings.max_tokens, settings.seed)

    @property
    def _model_settings(self) -> ModelSettings:
        settings = self.settings
        return ModelSettings(
            self._sampling,
            *(settings.n_ctx, settings.gpu_layers, settings.streams, settings.drafts == "on"),
            settings.cache_folder / "answers.sqlite" if settings.cache_folder and settings.cache != "off" else None,
            settings.cache == "refresh",
            settings.model_log,
        )

    def usage(self, *, warn: bool = True) -> dict[str, Any] | None:
        """What the process that owns the model did; None where there is none, or it is gone. What it warns of becomes
        warnings, or is kept for the next time."""
        from pytest_llmcompiler.model.owner.client import OwnedModel

        owner, model = self.__dict__.get("owner"), self.__dict__.get("model")
        try:
            if owner:
                return OwnedModel(owner.address).usage(warn=warn)
            return model.usage(warn=warn) if isinstance(model, OwnedModel) else None
        except ModelError:
            return None

    @functools.cached_property
    def toolchain(self) -> Toolchain:
        """What compiles cases, for the target of the settings."""
        return Toolchain(self.settings.clang, get_target(self.settings.target))

    @functools.cached_property
    def judge(self) -> Judge:
        """The client of the judge's process."""
        from pytest_llmcompiler.judge.harness import JudgeSettings
        from pytest_llmcompiler.judge.service import Judge

        settings = self.settings
        judging = JudgeSettings(settings.examples, settings.seed, settings.assembler, settings.target)
        return Judge(judging, self.toolchain)

    @functools.cached_property
    def templates(self) -> dict[tuple[Task, str], Template]:
        """The prompt templates by tasks and names. Raises TemplateError."""
        asked = itertools.product(self.settings.task, self.settings.prompt)
        return {(task, name): Template.load(name, task) for task, name in asked}

    @functools.cached_property
    def _recorder(self) -> Recorder | None:
        path = self.settings.record
        try:
            return Recorder(path) if path else None
        except OSError as error:
            raise SettingError(f"--llmc-record: can't write {path}: {error.strerror}") from error

    @functools.cached_property
    def pass_criteria(self) -> PassCriteria:
        """What decides whether items, and the session, fail. Raises BaselineError."""
        settings = self.settings
        pass_criteria = PassCriteria(settings.require, settings.samples, settings.fail_under)
        if settings.baseline:
            pass_criteria.load(settings.baseline, update=settings.update_baseline)
        return pass_criteria

    @functools.cached_property
    def _resumption(self) -> Resumption | None:
        """What the record holds already, where the session goes on with it. Raises ModelError or ResumeError."""
        settings = self.settings
        if not settings.resume or not settings.record:
            return None
        resumption = Resumption(settings.record)
        resumption.check(self._recorded_settings)
        return resumption

    @functools.cached_property
    def _recorded_settings(self) -> dict[str, Any]:
        """All settings that answers and verdicts depend on."""
        settings = self.settings
        found: dict[str, Any] = {"version": version("pytest-llmcompiler")}
        found |= {name: getattr(settings, name) for name in _RECORDED}
        found["prompt"] = ",".join(settings.prompt)
        if settings.model and has_owner_process(settings.model):
            sampling = self._sampling
            found |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
            found |= {"max_tokens": sampling.max_tokens, "n_ctx": settings.n_ctx}
        return found

    @functools.cached_property
    def page(self) -> ReportPage | None:
        """The report that is written in the end; None where none is wanted."""
        from pytest_llmcompiler.report.page import ReportPage

        path = self.settings.report
        try:
            return ReportPage(path) if path else None
        except OSError as error:
            raise SettingError(f"--llmc-report: can't write {path}: {error.strerror}") from error

    @functools.cached_property
    def repro(self) -> ReproWriter | None:
        """What writes the folders of failing samples, where they are wanted."""
        from pytest_llmcompiler.repro.folder import ReproWriter

        return ReproWriter(self.settings.artifacts) if self.settings.artifacts else None

    def reference(self, path: Path) -> Reference:
        """The compiled case at `path`. Raises CaseError."""
        if path not in self._references:
            from pytest_llmcompiler.program.reference import Reference

            self._references[path] = Reference(read_case(path, self._name(path)), self.toolchain)
        return self._references[path]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root(path) or path.parent).as_posix()

    def root(self, path: Path) -> Path | None:
        """The cases folder that holds a file, as the file's own path spells it; None outside of all of them."""
        return next((folder for folder in path.parents if folder.resolve() in self.settings.cases), None)

    def key(self, ask: SessionQuestion) -> QuestionKey:
        """What identifies a question in records."""
        label = get_template_label(ask.template) if len(self.settings.prompt) > 1 else ""
        task = self.toolchain.target.label_task(ask.task)
        return QuestionKey(self.reference(ask.path).case.name, ask.function, task, ask.passes, label)

    def prompt(self, ask: SessionQuestion) -> Prompt:
        """The question for one function. Raises CaseError or ClangError where the case is at fault, and NoSource."""
        with self._lock:
            if ask not in self._prompts:
                self._prompts[ask] = self._prompt(ask)
            return self._prompts[ask]

    def _prompt(self, ask: SessionQuestion) -> Prompt:
        _, function, task, passes, name = ask
        reference, template, key = self.reference(ask.path), self.templates[task, name], self.key(ask)
        count, size = reference.texts.sizes(function)
        fields: dict[str, str | int] = {
            "ir": reference.texts.ir(function),
            "ir_count": count,
            "bin_size": size,
            "function": function,
        }
        fields |= {"passes": passes} if has_pass_list(task) else {}
        fields |= (
            {"asm": reference.texts.lowered_assembly(function, passes, self.settings.syntax)}
            if task == "disassemble"
            else {}
        )
        fields |= {"c": reference.texts.c_source(function)} if "c" in template.fields else {}
        short = reference.texts.short_ir(function) if "short_ir" in template.fields else None
        if short:
            fields["short_ir"] = short.text
        text = template.render(fields)
        return Prompt(
            *(key.case, function, task, passes, name, text),
            lambda: build_reference_answer(reference, function, task, passes, self.settings.syntax),
            digest=hashlib.sha256(f"{text}\0{reference.fingerprint}".encode("utf-8", "surrogatepass")).hexdigest(),
            instructions=count,
            label=key.label,
            task_label=key.task,
            symbol_names=short.names if short else {},
        )

    def plan(self, wanted: Sequence[tuple[int, SessionQuestion]]) -> None:
        """Tell the model what will be asked, each with its turn, so that it needn't wait to be asked."""
        from pytest_llmcompiler.model.owner.client import OwnedModel

        model = self.model
        if self._resumption and not self.is_worker:  # a worker of xdist tells it item by item
            try:
                self._resumption.check_model(model.describe())
            except ResumeError as error:
                raise SettingError(f"--llmc-resume: {error}") from error
        if isinstance(model, OwnedModel):
            threading.Thread(target=self._plan, args=(model, wanted), daemon=True).start()

    def _plan(self, model: OwnedModel, wanted: Sequence[tuple[int, SessionQuestion]]) -> None:
        for turn, ask in wanted:
            try:
                facts = model.describe(warn=False)  # a warning may be an error, and that is no matter of this thread's
                prompt = self.prompt(ask)
                with self._lock:  # a draft is the work of the same compiler
                    question = model.question(prompt)
                model.plan(question, self.settings.samples, turn, frozenset(self._recorded(prompt, facts)))
            except (CaseError, ClangError, ResumeError):  # told where the item itself is run
                continue
            except ModelError:
                return

    def samples(
        self, model: Model, reference: Reference, prompt: Prompt
    ) -> Iterator[tuple[Answer, ReproducibleVerdict, dict[str, Any]]]:
        """Ask and judge: each sample with its verdict and its record, which is written before it is yielded.

        What a resumed record holds is neither asked nor judged again. Raises ResumeError where that is another model's.
        """
        facts = model.describe()
        recorded = self._recorded(prompt, facts)
        fault: JudgeError | None = None
        # Models repeat themselves, and the same answer has the same verdict.
        known: dict[tuple[str, str], ReproducibleVerdict] = {}
        for answer in self._answers(model, prompt, recorded):
            same = answer.text, answer.stop
            verdict = _verdict(recorded[answer.sample]) if answer.sample in recorded else None
            if verdict:
                yield answer, ReproducibleVerdict(verdict), recorded[answer.sample]
                continue
            judged: ReproducibleVerdict | None = None
            try:
                judged = known.get(same) or self._judge(reference, prompt, answer)
                if judged.verdict.conclusive:
                    known[same] = judged
            except JudgeError as error:  # the answer is kept, and the others are judged all the same
                fault = error
            previous = _previous(model, prompt, answer)
            verdict = judged.verdict if judged else None
            made = record(prompt, answer, facts, verdict, self._recorded_settings, previous)
            if self._recorder:
                self._recorder.write(made)
            if judged:
                yield answer, judged, made
        if fault:
            raise fault

    def _judge(self, reference: Reference, prompt: Prompt, answer: Answer) -> ReproducibleVerdict:
        case, function = reference.case, prompt.function
        if self.repro and reference.target.is_native:
            return judge_answer_with_reproducer(
                self.judge, case, function, answer, task=prompt.task, passes=prompt.passes
            )
        return ReproducibleVerdict(
            judge_answer(self.judge, case, function, answer, task=prompt.task, passes=prompt.passes)
        )

    def _recorded(self, prompt: Prompt, facts: dict[str, Any]) -> dict[int, dict[str, Any]]:
        return self._resumption.of(prompt, facts) if self._resumption else {}

    def _answers(self, model: Model, prompt: Prompt, recorded: dict[int, dict[str, Any]]) -> Iterator[Answer]:
        """The recorded answers, and then those that the model is still to give."""
        from pytest_llmcompiler.model.owner.client import OwnedModel

        samples = self.settings.samples
        known = frozenset(number for number in recorded if number < samples)
        for number in sorted(known):
            yield read_answer(recorded[number])
        if len(known) == samples:
            return
        if isinstance(model, OwnedModel):
            yield from model.answers(prompt, samples, known)
        else:
            yield from (answer for answer in model.answers(prompt, samples) if answer.sample not in known)

    def collect(self, records: Sequence[dict[str, Any]], *, complete: bool) -> None:
        """Take in the records of an item, wherever it was run; `complete` says whether these are all its samples."""
        self._was_asked = True
        self.records += records
        if complete:
            self._complete += records

    def finish(self, command: str) -> bool:
        """Write what is written at the end, and say whether the session reached what it had to.

        `command` is what was typed.
        """
        if not self._was_asked or not (self.records or self.settings.model):
            return True
        if self.page:
            self._write_page(self.page)
        self.closing = changed_verdict_lines(self.records)
        names = sorted({str(one["model"].get("name")) for one in self.records})
        counts_by_item = count_samples(self.records)
        self.closing += prompt_lines(counts_by_item, self.settings.prompt)
        outcome = self.pass_criteria.close(count_samples(self._complete), counts_by_item, ", ".join(names), command)
        self.closing += outcome.lines
        try:
            if self.settings.export:
                export(self.records, self.settings.export)
        except ExportError as error:
            self.closing.append(f"FAIL: {error}")
            return False
        return not outcome.failed

    def keep(self, reference: Reference, prompt: Prompt, answer: Answer, judged: ReproducibleVerdict) -> None:
        """Write the folder of a failing sample, where that is wanted. Raises FolderError."""
        if self.repro:
            with self._lock:  # it forks, and a fork while the planner compiles would leave a lock of LLVM's taken
                self.repro.keep(reference, prompt, answer, judged)

    def item_report(
        self, reference: Reference, prompt: Prompt, answers: Sequence[Answer], records: Sequence[dict[str, Any]]
    ) -> ItemReport:
        """What the report shows of a question: its answers that are judged, each with its record."""

        def blocks(text: Callable[[], str]) -> Listing | None:
            try:
                return self.judge.listing(reference.case, prompt.function, text())
            except (NoCodeError, TruncatedError, CaseError, JudgeError):  # there is a verdict all the same
                return None

        own = _reference_text(reference, prompt, self.settings.syntax)
        beside = own and {"passes": own[0], "text": own[1], "blocks": blocks(lambda: own[1])}
        return make_sheet(
            *(prompt, records, beside),
            lambda index: blocks(lambda: find_judged_assembly(answers[index], prompt, records[index]["detail"])),
        )

    def _write_page(self, page: ReportPage) -> None:
        """Write the report, or warn that it can't be written."""
        settings = self.settings
        facts: dict[str, Any] = {}
        with suppress(ClangError):
            facts["reference"] = self.toolchain.version()
        facts |= {"inputs a function": settings.examples, "seed": settings.seed}
        try:
            page.write(facts, settings.pass_k)
        except OSError as error:  # the verdicts are to be seen all the same
            warnings.warn(f"--llmc-report: can't write {page.path}: {error.strerror}", UserWarning, stacklevel=2)

    def close(self) -> None:
        """Close what was opened."""
        for name in ("model", "owner", "judge", "_recorder"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()


def _reference_text(reference: Reference, prompt: Prompt, syntax: Syntax) -> tuple[str, str] | None:
    """The pass list and the assembly that an answer is shown beside: clang's own, for the question's pass list where
    clang knows it."""
    for passes in (prompt.passes, "O0"):
        with suppress(CaseError, ClangError):
            return passes, reference.texts.assembly(prompt.function, passes, syntax)
    return None


def _previous(model: Model, prompt: Prompt, answer: Answer) -> str | None:
    """The verdict that a replayed answer had in its record, where it had one."""
    before = model.find_recorded_verdict(prompt, answer.sample) if isinstance(model, ReplayModel) else None
    return before if isinstance(before, str) and before in KINDS else None


def _verdict(record: dict[str, Any]) -> Verdict | None:
    """The verdict of a record; None where there is none, or somebody changed it to what none looks like."""
    with suppress(KeyError, ValueError, TypeError):
        return Verdict.from_json(record)
    return None
