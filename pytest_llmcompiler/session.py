"""What a test session holds: the model, the judge, compiled cases, and the records of all samples."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.judge.judging import judge_answer
from pytest_llmcompiler.judge.verdict import JudgeError, Verdict
from pytest_llmcompiler.model import check_spec, open_model, start_owner, template_of
from pytest_llmcompiler.model.answer import Answer, Model, ModelError, ModelSettings, Prompt, Sampling
from pytest_llmcompiler.model.prompt import SHORT, Template, TemplateError
from pytest_llmcompiler.options import Settings
from pytest_llmcompiler.program.case import CaseError, read_case
from pytest_llmcompiler.program.clang import ClangError, Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.report.records import Recorder, record

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.service import Judge
    from pytest_llmcompiler.model.client import Address, OwnedModel, Owner

_WARM = 0.8
"""The temperature for several samples, which would all be the same at 0."""


class SettingError(Exception):
    """A setting that leads nowhere; the message names the flag."""


class Session:
    """Everything is opened when it is first needed, and closed by `close`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.records: list[dict[str, Any]] = []
        """The records of all samples of the session, those of xdist's workers included."""
        self.toolchain = Toolchain(settings.clang)
        self.address: Address | None = None
        """Of the model's owner, where another process has started it."""
        self._references: dict[Path, Reference] = {}
        self._prompts: dict[tuple[Path, str, str, str], Prompt] = {}
        self._lock = threading.Lock()
        """Prompts are made here and, ahead of their time, in the planner's thread."""

    def find_owner(self, address: Sequence[str] | None) -> None:
        """Ask the owner at an address for answers, and open no model here."""
        if address:
            from pytest_llmcompiler.model.client import Address

            self.address = Address(*address)

    def check(self) -> None:
        """Raise SettingError for a setting that names what is not there. Opens no model and runs no compiler."""
        settings = self.settings
        checks: dict[str, Callable[[], object]] = {
            "model": lambda: check_spec(settings.model) if settings.model else None,
            "prompt": lambda: self.template,
            "clang": lambda: self.toolchain.command if settings.clang else None,
            "record": lambda: self._recorder,
        }
        for name, check in checks.items():
            try:
                check()
            except (ModelError, TemplateError, ClangError) as error:
                raise SettingError(f"--llmc-{name}: {error}") from error

    @functools.cached_property
    def model(self) -> Model:
        """The model that the settings name. Raises ModelError where it can't be had."""
        assert self.settings.model is not None
        if self.address:
            from pytest_llmcompiler.model.client import OwnedModel

            return OwnedModel(self.address)
        return open_model(self.settings.model, self._model_settings)

    @functools.cached_property
    def owner(self) -> Owner:
        """The process that owns the model for all of xdist's workers. Raises ModelError where it can't be started."""
        assert self.settings.model is not None
        return start_owner(self.settings.model, self._model_settings)

    @property
    def _model_settings(self) -> ModelSettings:
        settings = self.settings
        temperature = settings.temperature
        if temperature is None:
            temperature = _WARM if settings.samples > 1 else 0.0
        return ModelSettings(
            Sampling(temperature, settings.top_p, settings.max_tokens, settings.seed),
            *(settings.n_ctx, settings.gpu_layers, settings.streams, settings.drafts == "on"),
            settings.cache_folder / "answers.sqlite" if settings.cache_folder and settings.cache != "off" else None,
            settings.cache == "refresh",
            settings.model_log,
        )

    def usage(self) -> dict[str, Any] | None:
        """What the process that owns the model did; None where there is none, or it is gone."""
        from pytest_llmcompiler.model.client import OwnedModel

        owner, model = self.__dict__.get("owner"), self.__dict__.get("model")
        try:
            if owner:
                return OwnedModel(owner.address).usage()
            return model.usage() if isinstance(model, OwnedModel) else None
        except ModelError:
            return None

    @functools.cached_property
    def judge(self) -> Judge:
        """The client of the judge's process."""
        from pytest_llmcompiler.judge.bench import Settings as JudgeSettings
        from pytest_llmcompiler.judge.service import Judge

        settings = self.settings
        return Judge(JudgeSettings(settings.examples, settings.seed, settings.assembler), self.toolchain)

    @functools.cached_property
    def template(self) -> Template:
        """The prompt template. Raises TemplateError."""
        return Template.load(self.settings.prompt or template_of(self.settings.model))

    @functools.cached_property
    def _recorder(self) -> Recorder | None:
        path = self.settings.record
        try:
            return Recorder(path) if path else None
        except OSError as error:
            raise SettingError(f"--llmc-record: can't write {path}: {error.strerror}") from error

    def reference(self, path: Path) -> Reference:
        """The compiled case at `path`. Raises CaseError."""
        if path not in self._references:
            self._references[path] = Reference(read_case(path, self._name(path)), self.toolchain)
        return self._references[path]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root(path) or path.parent).as_posix()

    def root(self, path: Path) -> Path | None:
        """The cases folder that holds a file, as the file's own path spells it; None outside of all of them."""
        return next((folder for folder in path.parents if folder.resolve() in self.settings.cases), None)

    def prompt(self, path: Path, function: str, task: str, passes: str) -> Prompt:
        """The question for one function. Raises CaseError or ClangError where the case is at fault."""
        key = path, function, task, passes
        with self._lock:
            if key not in self._prompts:
                self._prompts[key] = self._prompt(*key)
            return self._prompts[key]

    def _prompt(self, path: Path, function: str, task: str, passes: str) -> Prompt:
        reference = self.reference(path)
        count, size = reference.sizes(function)
        fields: dict[str, str | int] = {
            "ir": reference.extracted(function),
            "ir_count": count,
            "bin_size": size,
            "passes": passes,
            "function": function,
        }
        short = reference.short(function) if self.template.is_short else None
        if short:
            fields[SHORT] = short.text
        return Prompt(
            *(reference.case.name, function, task, passes, self.template.name, self.template.render(fields)),
            lambda: reference.assembly(function, passes),
            short.names if short else {},
        )

    def plan(self, wanted: Sequence[tuple[int, tuple[Path, str, str, str]]]) -> None:
        """Tell the model what will be asked, each with its turn, so that it needn't wait to be asked."""
        from pytest_llmcompiler.model.client import OwnedModel

        model = self.model
        if isinstance(model, OwnedModel):
            threading.Thread(target=self._plan, args=(model, wanted), daemon=True).start()

    def _plan(self, model: OwnedModel, wanted: Sequence[tuple[int, tuple[Path, str, str, str]]]) -> None:
        for turn, key in wanted:
            try:
                prompt = self.prompt(*key)
                with self._lock:  # a draft is the work of the same compiler
                    question = model.question(prompt)
                model.plan(question, self.settings.samples, turn)
            except (CaseError, ClangError):  # told where the item itself is run
                continue
            except ModelError:
                return

    def samples(
        self, model: Model, reference: Reference, prompt: Prompt
    ) -> Iterator[tuple[Answer, Verdict, dict[str, Any]]]:
        """Ask and judge: each sample with its verdict and its record, which is written before it is yielded."""
        facts = model.describe()
        fault: JudgeError | None = None
        for answer in model.answers(prompt, self.settings.samples):
            verdict: Verdict | None = None
            try:
                verdict = judge_answer(self.judge, reference.case, prompt.function, answer)
            except JudgeError as error:  # the answer is kept, and the others are judged all the same
                fault = error
            made = record(prompt, answer, facts, verdict)
            if self._recorder:
                self._recorder.write(made)
            if verdict:
                yield answer, verdict, made
        if fault:
            raise fault

    def close(self) -> None:
        """Close what was opened."""
        for name in ("model", "owner", "judge", "_recorder"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
