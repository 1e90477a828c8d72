"""The questions about a folder of cases, as data that a framework's data set and log can hold."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.errors import CaseError, ClangError
from pytest_llmcompiler.model.answer import TASKS, QuestionKey, StopReason, Task
from pytest_llmcompiler.model.prompt import Template
from pytest_llmcompiler.model.prompt_builder import CaseQuestion, build_prompt, list_case_questions
from pytest_llmcompiler.program.case import SUFFIXES, read_case, split_passes
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import FlagSources
from pytest_llmcompiler.program.flag_words import parse_flags
from pytest_llmcompiler.service.sample import Sample
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import DEFAULT

if TYPE_CHECKING:
    from pytest_llmcompiler.program.reference import Reference
    from pytest_llmcompiler.service.judge import Judge


@dataclass(frozen=True)
class FolderQuestion:
    """One question about a function of a folder of cases. `to_json` is all that a verdict on an answer needs."""

    id: str
    """The name of the question in reports of the plugin: `git_lfs.c::validate[asm-O0]`."""
    text: str = field(repr=False)
    """The prompt, as the plugin asks it."""
    path: str
    """The case file, absolute."""
    function: str
    task: Task
    passes: str
    """The pass list; empty for `tune`."""
    target: str
    cflags: tuple[str, ...] = ()
    """Flags of clang for the case, beside its directives and its compilation database."""
    symbol_names: Mapping[str, str] = field(default_factory=dict)
    """For each symbol that the prompt renames: its name in the prompt and its name in the case."""

    def build_sample(self, answer: str, stop: StopReason = "eos") -> Sample:
        """An answer to the question, to be judged. `stop` is why the model ended it."""
        from pytest_llmcompiler.program.short import restore_names

        text = restore_names(answer, self.symbol_names) if self.symbol_names else answer
        return Sample(Path(self.path), self.function, text, self.task, self.passes, self.target, self.cflags, stop=stop)

    def to_json(self) -> dict[str, Any]:
        """The question without its prompt, as JSON."""
        return {name: value for name, value in asdict(self).items() if name != "text"} | {"cflags": list(self.cflags)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> FolderQuestion:
        """The question that `to_json` wrote, without its prompt. Other keys are ignored. Raises KeyError."""
        known = {name: facts[name] for name in cls.__dataclass_fields__ if name != "text"}
        return cls(**{**known, "text": "", "cflags": tuple(known["cflags"])})


def list_folder_questions(
    cases: str | Path,
    *,
    task: str = "asm",
    passes: str | Sequence[str] = "O0",
    target: str = DEFAULT,
    prompt: str = "meta",
    cflags: str | Sequence[str] = (),
) -> list[FolderQuestion]:
    """The questions that the plugin asks about the C and IR files below a folder, or about one file.

    `task` is one task, `passes` one or more pass lists, `prompt` the name of a shipped template or the path of one's
    own; `cflags` are flags of clang for every C file, whose paths start at the current folder. Hidden files and folders
    are left out.

    Raises ValueError for an unknown task, target or template. Raises CaseError where there is no case, and where cases
    can't be used: one that is left out in silence would make the results of two machines differ.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: expected one of {', '.join(TASKS)}")
    root = Path(cases).expanduser().absolute()
    questions, faults = [], []
    ask = _Asking(
        root if root.is_dir() else root.parent,
        Template.load(prompt, task),
        tuple(split_passes(passes if isinstance(passes, str) else ",".join(passes))),
        Toolchain(None, get_target(target)),
        tuple(shlex.split(cflags) if isinstance(cflags, str) else cflags),
    )
    for path in _find_cases(root):
        try:
            questions += ask.list_questions(path)
        except (CaseError, ClangError) as error:
            faults.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    if faults:
        raise CaseError("\n".join((f"{len(faults)} cases of {root} can't be used:", *faults)))
    if not questions:
        raise CaseError(f"{root} has no function to ask for: expected .c or .ll files in it")
    return questions


def _find_cases(root: Path) -> list[Path]:
    """The case files below a folder, in the order of their names; of a file, the file itself."""
    if root.is_file():
        return [root]
    files = (path for path in root.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts))


@dataclass(frozen=True)
class _Asking:
    """What all questions about a folder have in common."""

    folder: Path
    template: Template
    passes: tuple[str, ...]
    toolchain: Toolchain
    cflags: tuple[str, ...]

    def list_questions(self, path: Path) -> list[FolderQuestion]:
        """The questions about a case. Raises CaseError and ClangError."""
        from pytest_llmcompiler.program.reference import Reference

        flags = FlagSources((parse_flags(self.cflags, Path.cwd(), "cflags"),) if self.cflags else ())
        reference = Reference(read_case(path, path.relative_to(self.folder).as_posix(), flags), self.toolchain)
        return list(self._ask(reference))

    def _ask(self, reference: Reference) -> Iterator[FolderQuestion]:
        template = self.template
        for asked in list_case_questions(reference, [template.task], [template.name], self.passes):
            yield self._build_question(reference, asked)

    def _build_question(self, reference: Reference, asked: CaseQuestion) -> FolderQuestion:
        target, case = self.toolchain.target, reference.case
        key = QuestionKey(case.name, asked.function, target.label_task(asked.task), asked.passes)
        prompt = build_prompt(reference, self.template, key, "att")
        return FolderQuestion(
            id=str(key),
            text=prompt.text,
            path=str(case.path),
            function=asked.function,
            task=asked.task,
            passes=asked.passes,
            target=target.name,
            cflags=self.cflags,
            symbol_names=prompt.symbol_names,
        )


@functools.cache
def open_judge(examples: int, seed: int, effort: float) -> Judge:
    """The judge that all scorers with these settings share. It ends with the process."""
    from pytest_llmcompiler.service.judge import Judge

    return Judge(examples=examples, seed=seed, effort=effort, explain=True)
