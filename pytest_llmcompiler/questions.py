"""What a session asks: compiled cases, the keys of questions, prompts, and planning ahead."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmcompiler.errors import CaseError, ClangError, ModelError, ResumeError, SettingError
from pytest_llmcompiler.model.answer import Prompt, QuestionKey, Task, get_template_label
from pytest_llmcompiler.model.prompt_builder import build_prompt
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.session import Session

if TYPE_CHECKING:
    from pytest_llmcompiler.model.owner.client import OwnedModel
    from pytest_llmcompiler.program.reference import Reference


class SessionQuestion(NamedTuple):
    """The function, task, pass list and prompt template that make one question: one item of pytest."""

    path: Path
    """The case file."""
    function: str
    task: Task
    passes: str
    """Empty if the task has no pass list."""
    template: str
    """Name or path of the prompt template."""


class PlannedQuestion(NamedTuple):
    """A question and its position in the order in which a session asks."""

    turn: int
    question: SessionQuestion


class Questions:
    """Compiles cases and builds prompts, each once in a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._references: dict[Path, Reference] = {}
        self._prompts: dict[SessionQuestion, Prompt] = {}

    def reference(self, path: Path) -> Reference:
        """The compiled case at `path`. Raises CaseError."""
        if path not in self._references:
            from pytest_llmcompiler.program.reference import Reference

            name = path.relative_to(self.cases_folder(path) or path.parent).as_posix()
            settings = self._session.settings
            case = read_case(path, name, settings.flag_sources, program=settings.programs)
            self._references[path] = Reference(case, self._session.toolchain)
        return self._references[path]

    def cases_folder(self, path: Path) -> Path | None:
        """The folder of `llmc_cases` that holds a file, spelt as in the file's own path; None if no folder does."""
        return next((folder for folder in path.parents if folder.resolve() in self._session.settings.cases), None)

    def key(self, question: SessionQuestion) -> QuestionKey:
        """The key of a question in records."""
        label = get_template_label(question.template) if len(self._session.settings.prompt) > 1 else ""
        task = self._session.toolchain.target.label_task(question.task)
        case = self.reference(question.path).case.name
        return QuestionKey(case, question.function, task, question.passes, label)

    def prompt(self, question: SessionQuestion) -> Prompt:
        """The prompt of a question.

        Raises CaseError or ClangError if the case is at fault, NoCSourceError if the template shows C and the case has
        none.
        """
        with self._session.compiler_lock:
            if question not in self._prompts:
                self._prompts[question] = self._build_prompt(question)
            return self._prompts[question]

    def _build_prompt(self, question: SessionQuestion) -> Prompt:
        template = self._session.templates[question.task, question.template]
        return build_prompt(self.reference(question.path), template, self.key(question), self._session.settings.syntax)

    def plan(self, planned: Sequence[PlannedQuestion]) -> None:
        """Tell the model which questions will come, so that it answers ahead instead of waiting for each.

        Raises ModelError if the model can't be opened, SettingError if the resumed record is of another model.
        """
        from pytest_llmcompiler.model.owner.client import OwnedModel

        session, model = self._session, self._session.model
        if session.resumption and not session.is_worker:  # a worker reports this as an error of each item
            try:
                session.resumption.check_model(model.describe())
            except ResumeError as error:
                raise SettingError(f"--llmc-resume: {error}") from error
        if isinstance(model, OwnedModel):
            threading.Thread(target=self._send_plan, args=(model, planned), daemon=True).start()

    def _send_plan(self, model: OwnedModel, planned: Sequence[PlannedQuestion]) -> None:
        session = self._session
        for turn, question in planned:
            try:
                facts = model.describe(warn=False)  # pytest may turn warnings into errors: none in this thread
                prompt = self.prompt(question)
                with session.compiler_lock:  # the reference compiler makes the draft
                    sent = model.build_question(prompt)
                known = frozenset(session.find_recorded(prompt, facts))
                model.plan(sent, session.settings.samples, turn, known)
            except (CaseError, ClangError, ResumeError):  # the item itself reports this error when it is run
                continue
            except ModelError:
                return
