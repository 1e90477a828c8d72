"""What a test session holds: the model, the judge, compiled cases, and the records of all samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.judge.judging import judge_answer
from pytest_llmcompiler.judge.verdict import JudgeError, Verdict
from pytest_llmcompiler.model import ModelSettings, check_spec, open_model
from pytest_llmcompiler.model.answer import Answer, Model, ModelError, Prompt, Sampling
from pytest_llmcompiler.model.prompt import Template, TemplateError
from pytest_llmcompiler.options import Settings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import ClangError, Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.report.records import Recorder, record

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.service import Judge

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
        self._references: dict[Path, Reference] = {}

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
        settings = self.settings
        assert settings.model is not None
        temperature = settings.temperature
        if temperature is None:
            temperature = _WARM if settings.samples > 1 else 0.0
        sampling = Sampling(temperature, settings.top_p, settings.max_tokens, settings.seed)
        return open_model(settings.model, ModelSettings(sampling, settings.n_ctx, settings.gpu_layers))

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
        return Template.load(self.settings.prompt)

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

    def prompt(self, reference: Reference, function: str, task: str, passes: str) -> Prompt:
        """The question for one function."""
        count, size = reference.sizes(function)
        fields: dict[str, str | int] = {
            "ir": reference.extracted(function),
            "ir_count": count,
            "bin_size": size,
            "passes": passes,
            "function": function,
        }
        return Prompt(
            *(reference.case.name, function, task, passes, self.template.name, self.template.render(fields)),
            lambda: reference.assembly(function, passes),
        )

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
        for name in ("model", "judge", "_recorder"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
