"""What a test session opens: the model, the judge, the compiler, the record, the report."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.errors import (
    BaselineError,
    ClangError,
    ExportError,
    ModelError,
    ResumeError,
    SettingError,
    TemplateError,
)
from pytest_llmcompiler.model.answer import Model, ModelSettings, Prompt, Sampling, Task
from pytest_llmcompiler.model.llama.resources import count_cores
from pytest_llmcompiler.model.prompt import Template
from pytest_llmcompiler.model.replay import ReplayModel
from pytest_llmcompiler.model.specs import check_spec, has_owner_process, open_model, start_owner
from pytest_llmcompiler.options import SessionSettings
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.report.export import check_export
from pytest_llmcompiler.report.pass_criteria import PassCriteria
from pytest_llmcompiler.report.records import Record, Recorder, RecordSettings
from pytest_llmcompiler.report.resume import Resumption
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.levels import ISA_LEVELS, IsaLevel

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.ahead import AheadPreparer, ComingFunction
    from pytest_llmcompiler.judge.client import JudgeClient
    from pytest_llmcompiler.model.owner.client import OwnedModel, OwnerAddress, OwnerProcess
    from pytest_llmcompiler.report.page import ReportPage
    from pytest_llmcompiler.repro.folder import ReproWriter

_SAMPLING_TEMPERATURE = 0.8
"""The default temperature for several samples of a question. At 0 they would all be the same text."""


class Session:
    """The resources of a test session. Each is opened at its first use; `close` closes those that were opened."""

    def __init__(self, settings: SessionSettings) -> None:
        self.settings = settings
        self.is_worker = False
        """Whether this process is a worker of pytest-xdist."""
        self.process_count = 1
        """The number of processes that run tests: of workers of pytest-xdist, if there are any."""
        self.compiler_lock = threading.Lock()
        """Held by whoever compiles, and by whoever forks: the planner of `Questions` compiles in a thread, and a fork
        at that moment would leave a lock inside LLVM taken for ever in the child."""
        self._owner_address: OwnerAddress | None = None
        self._owner_client: OwnedModel | None = None
        """Connection to the process that owns the model, once there is one. `usage` asks it."""
        self.ahead: AheadPreparer | None = None
        """Prepares functions ahead, after `prepare_ahead`."""
        self._opened = ExitStack()

    def close(self) -> None:
        """Close every resource that was opened, the last one first."""
        self._opened.close()

    def become_worker(self, owner: Sequence[str] | None) -> None:
        """Make this the session of a worker of pytest-xdist.

        `owner` is the address of the process that owns the model. It is None if the model needs no such process.
        """
        self.is_worker = True
        if owner:
            from pytest_llmcompiler.model.owner.client import OwnerAddress

            self._owner_address = OwnerAddress(*owner)

    def check(self) -> None:
        """Raise SettingError for a setting that can't work, such as a file that does not exist.

        Opens no model and runs no compiler.
        """
        settings = self.settings
        checks: dict[str, Callable[[], object]] = {
            "model": lambda: check_spec(settings.model) if settings.model else None,
            "prompt": lambda: self.templates,
            "clang": lambda: self.toolchain.command if settings.clang else None,
            "record": lambda: self.recorder,
            "resume": lambda: self.resumption,
            "baseline": lambda: self.pass_criteria,
            "export": lambda: list(map(check_export, settings.export)),
            "report": lambda: self.page,
        }
        for name, check in checks.items():
            try:
                check()
            except (ModelError, TemplateError, ClangError, BaselineError, ExportError, ResumeError) as error:
                raise SettingError(f"--llmc-{name}: {error}") from error

    def prompt_warnings(self) -> Iterator[str]:
        """Yield a warning for each prompt template that differs from a published one in blanks or punctuation only."""
        for template in self.templates.values() if self.settings.model else ():
            published = template.similar_template
            if published:
                yield (
                    f"--llmc-prompt {template.name} differs from the published prompt {published!r} only in blanks, "
                    f"punctuation or case, and models are sensitive to these: use --llmc-prompt {published} if you "
                    "meant that one"
                )

    @functools.cached_property
    def model(self) -> Model:
        """The model that the settings name. Raises ModelError if it can't be opened."""
        model = self._open_model()
        self._opened.callback(model.close)
        return model

    def _open_model(self) -> Model:
        from pytest_llmcompiler.model.owner.client import OwnedModel

        assert self.settings.model is not None
        if self._owner_address:
            self._owner_client = OwnedModel(self._owner_address)
            return self._owner_client
        model = open_model(self.settings.model, self._model_settings)
        if isinstance(model, ReplayModel):
            model.check_prompts(self.settings.prompt)
        if isinstance(model, OwnedModel):
            self._owner_client = model
        return model

    @functools.cached_property
    def owner(self) -> OwnerProcess:
        """The process that owns the model for all workers of pytest-xdist. Raises ModelError if it can't be started."""
        from pytest_llmcompiler.model.owner.client import OwnedModel

        assert self.settings.model is not None
        owner = start_owner(self.settings.model, self._model_settings)
        self._opened.callback(owner.close)
        self._owner_client = OwnedModel(owner.address)
        return owner

    def usage(self, *, warn: bool = True) -> dict[str, Any] | None:
        """Counts and times of the process that owns the model; None if there is no such process.

        With `warn`, what that process warned of is issued as warnings here. Without, it is kept for the next call.
        """
        try:
            return self._owner_client.usage(warn=warn) if self._owner_client else None
        except ModelError:  # the process has ended
            return None

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn."""
        settings = self.settings
        temperature = settings.temperature
        if temperature is None:
            temperature = _SAMPLING_TEMPERATURE if settings.samples > 1 else 0.0
        return Sampling(temperature, settings.top_p, settings.max_tokens, settings.seed)

    @property
    def _model_settings(self) -> ModelSettings:
        settings = self.settings
        keeps_answers = settings.cache_folder is not None and settings.cache != "off"
        return ModelSettings(
            sampling=self.sampling,
            n_ctx=settings.n_ctx,
            gpu_layers=settings.gpu_layers,
            streams=settings.streams,
            drafts=settings.drafts,
            store=settings.cache_folder / "answers.sqlite" if settings.cache_folder and keeps_answers else None,
            refresh=settings.cache == "refresh",
            log=settings.model_log,
        )

    @functools.cached_property
    def toolchain(self) -> Toolchain:
        """The compiler of cases, for the target of the settings."""
        return Toolchain(self.settings.clang, get_target(self.settings.target))

    @property
    def jobs(self) -> int:
        """The number of judge processes of each process that runs tests."""
        return max(1, (self.settings.jobs or count_cores()) // self.process_count)

    def find_engine_problem(self) -> str:
        """Why verdicts have to do without the engine; empty where they have it. It is built for that, if it is not."""
        from pytest_llmcompiler.emulator.engine_server import find_problem

        return find_problem()

    @property
    def runs_natively(self) -> bool:
        """Whether the settings let code run on the processor itself."""
        native, isa = self.settings.native, self.settings.isa
        return native == "always" or (native == "auto" and isa in ISA_LEVELS[2:])

    def find_native_support(self) -> tuple[IsaLevel, str]:
        """Up to which level code runs natively, and why none does; empty where it does."""
        from pytest_llmcompiler.emulator.native.support import find_native_level, find_problem

        return find_native_level(self.settings.isa), find_problem()

    @functools.cached_property
    def judge(self) -> JudgeClient:
        """The judge, which runs in processes of its own."""
        from pytest_llmcompiler.judge.client import JudgeClient
        from pytest_llmcompiler.judge.settings import JudgeSettings

        settings = self.settings
        judge = JudgeClient(
            JudgeSettings(
                settings.examples,
                settings.seed,
                settings.assembler,
                settings.target,
                settings.min_coverage,
                settings.effort,
                settings.prove,
                native=settings.native,
                isa=settings.isa,
            ),
            self.toolchain,
            workers=self.jobs,
        )
        self._opened.callback(judge.close)
        return judge

    def prepare_ahead(self, functions: Sequence[ComingFunction]) -> None:
        """Have functions prepared before their first answers come; they come in this order. `ahead` is told of each.

        Not where samples are resumed, since functions of which all samples are recorded need no preparation, and not in
        a worker of pytest-xdist, which does not know its order.
        """
        from pytest_llmcompiler.judge.ahead import AheadPreparer

        if self.jobs > 1 and not self.is_worker and not self.settings.resume:
            self.ahead = AheadPreparer(self.judge, functions)
            self._opened.callback(self.ahead.close)

    @functools.cached_property
    def judging_threads(self) -> ThreadPoolExecutor:
        """A thread for each judge process, which waits for its verdicts."""
        threads = ThreadPoolExecutor(self.jobs, "llmc-judge")
        self._opened.callback(threads.shutdown, wait=False, cancel_futures=True)
        return threads

    @functools.cached_property
    def templates(self) -> dict[tuple[Task, str], Template]:
        """The prompt templates by task and name. Raises TemplateError."""
        pairs = itertools.product(self.settings.task, self.settings.prompt)
        return {(task, name): Template.load(name, task) for task, name in pairs}

    @functools.cached_property
    def recorder(self) -> Recorder | None:
        """Appends to the file of `--llmc-record`; None without that flag. Raises SettingError."""
        path = self.settings.record
        if not path:
            return None
        try:
            recorder = Recorder(path)
        except OSError as error:
            raise SettingError(f"--llmc-record: can't write {path}: {error.strerror}") from error
        self._opened.callback(recorder.close)
        return recorder

    @functools.cached_property
    def recorded_settings(self) -> RecordSettings:
        """All settings that answers and verdicts depend on, as records have them."""
        settings = self.settings
        recorded: RecordSettings = {
            "version": version("pytest-llmcompiler"),
            "syntax": settings.syntax,
            "seed": settings.seed,
            "examples": settings.examples,
            "assembler": settings.assembler,
            "target": settings.target,
            "clang": settings.clang,
            "prompt": ",".join(settings.prompt),
        }
        if settings.cflags:
            recorded["cflags"] = settings.cflags
        if settings.min_coverage:
            recorded["min_coverage"] = settings.min_coverage
        if settings.effort != 1:
            recorded["effort"] = settings.effort
        if settings.prove:
            recorded["prove"] = True
        if settings.isa != ISA_LEVELS[0] or settings.native == "always":
            recorded["native"], recorded["isa"] = settings.native, settings.isa
        if settings.programs:
            recorded["programs"] = True
        if settings.link != "directives":
            recorded["link"] = settings.link
        if settings.model and has_owner_process(settings.model):
            sampling = self.sampling
            recorded["temperature"], recorded["top_p"] = sampling.temperature, sampling.top_p
            recorded["max_tokens"], recorded["n_ctx"] = sampling.max_tokens, settings.n_ctx
        return recorded

    @functools.cached_property
    def resumption(self) -> Resumption | None:
        """The samples that the record holds already; None without `--llmc-resume`. Raises ModelError, ResumeError."""
        settings = self.settings
        if not settings.resume or not settings.record:
            return None
        resumption = Resumption(settings.record)
        resumption.check(self.recorded_settings)
        return resumption

    def find_recorded(self, prompt: Prompt, facts: dict[str, Any]) -> dict[int, Record]:
        """The samples of a question that need not be asked again, by sample number.

        `facts` is what the model says of itself. Raises ResumeError if another model gave the recorded answers.
        """
        return self.resumption.samples_of(prompt, facts) if self.resumption else {}

    @functools.cached_property
    def pass_criteria(self) -> PassCriteria:
        """Decides whether an item, and the whole session, passes. Raises BaselineError."""
        settings = self.settings
        pass_criteria = PassCriteria(settings.require, settings.samples, settings.fail_under)
        if settings.baseline:
            pass_criteria.load(settings.baseline, update=settings.update_baseline)
        return pass_criteria

    @functools.cached_property
    def page(self) -> ReportPage | None:
        """The page that `--llmc-report` writes at the end; None without that flag. Raises SettingError."""
        from pytest_llmcompiler.report.page import ReportPage

        path = self.settings.report
        try:
            return ReportPage(path) if path else None
        except OSError as error:
            raise SettingError(f"--llmc-report: can't write {path}: {error.strerror}") from error

    @functools.cached_property
    def repro(self) -> ReproWriter | None:
        """Writes the folders of failing samples; None without `--llmc-artifacts`."""
        from pytest_llmcompiler.repro.folder import ReproWriter

        return ReproWriter(self.settings.artifacts) if self.settings.artifacts else None
