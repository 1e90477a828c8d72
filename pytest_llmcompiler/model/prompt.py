"""Prompt templates: texts with fields.

A released template never changes, since models are sensitive to every character and records name the template. A
changed template gets a new name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pytest_llmcompiler.errors import TemplateError
from pytest_llmcompiler.model.answer import Task

FIELDS: dict[str, str] = {
    "ir": "the LLVM IR of the function",
    "asm": "its assembly; for the task `disassemble` alone",
    "ir_count": "the number of IR instructions in it",
    "bin_size": "the size in bytes of text and data of the object that it compiles to",
    "passes": "the pass list of the question; the task `tune` has none, since it asks for one",
    "function": "the name of the function",
    "c": "the C file, with other functions only declared",
    "short_ir": "the optimised IR in a short canonical form with canonical names; for small models",
}
"""The fields of templates, each written as `{name}`, and what they hold. A literal brace is written twice."""

_MARK = re.compile(r"\{\{|\}\}|\{(\w+)\}|[{}]")


@dataclass(frozen=True)
class Template:
    """A prompt with fields."""

    name: str
    """The name of a shipped template, or the path of a file."""
    text: str
    task: Task = "asm"

    @classmethod
    def load(cls, spec: str, task: Task = "asm") -> Template:
        """Load the shipped template called `spec` for a task, else the file at that path.

        One newline at the end of the file is not part of the template: editors add it. Raises TemplateError where there
        is no such template, or where it uses a field that is unknown or that the task does not have.
        """
        shipped = _list_shipped(task)
        source = shipped.get(spec) or Path(spec).expanduser()
        try:
            text = source.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            names = ", ".join(shipped)
            raise TemplateError(
                f"no prompt template {spec!r}: not a shipped one ({names}), and not a readable text file: {error}"
            ) from error
        template = cls(spec, text.removesuffix("\n"), task)
        template._check()
        return template

    def render(self, fields: Mapping[str, str | int]) -> str:
        """Replace all fields by their values in one pass, so that braces in a value are kept.

        Raises KeyError for a field that the template uses and `fields` lacks.
        """

        def replace(mark: re.Match[str]) -> str:
            return str(fields[mark[1]]) if mark[1] else mark[0][0]

        return _MARK.sub(replace, self.text)

    @property
    def fields(self) -> frozenset[str]:
        """The fields that the template uses."""
        return frozenset(mark[1] for mark in _MARK.finditer(self.text) if mark[1] in FIELDS)

    @property
    def similar_template(self) -> str | None:
        """The name of the shipped template that differs from this one in whitespace, punctuation or case alone; None
        where there is none."""
        for name, path in _list_shipped(self.task).items():
            published = path.read_text(encoding="utf-8").removesuffix("\n")
            if published != self.text and _split_words(published) == _split_words(self.text):
                return name
        return None

    def _check(self) -> None:
        """Raise TemplateError for a template that can't be used for its task."""
        for mark in _MARK.finditer(self.text):
            if mark[1] not in FIELDS and mark[0] not in ("{{", "}}"):
                self._reject(mark)
        code_fields = ("asm",) if self.task == "disassemble" else ("ir", "c", "short_ir")
        if self.fields.isdisjoint(code_fields):
            fields = " or ".join(f"{{{name}}}" for name in code_fields)
            raise TemplateError(
                f"{self.name}: the template never shows the code: it has no {fields}, for task {self.task}"
            )
        forbidden = self.fields.intersection(_FORBIDDEN_FIELDS.get(self.task, ("asm",)))
        if forbidden:
            raise TemplateError(f"{self.name}: {{{min(forbidden)}}} is no field of the task {self.task}")

    def _reject(self, mark: re.Match[str]) -> NoReturn:
        line = self.text.count("\n", 0, mark.start()) + 1
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        fault = f"unknown field {mark[0]}" if mark[1] else f"a single {mark[0]!r}"
        raise TemplateError(f"{self.name}:{line}: {fault}; known are {known}, and a literal brace is written twice")


def _split_words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


_FORBIDDEN_FIELDS: dict[Task, tuple[str, ...]] = {
    "ir": ("asm", "short_ir"),
    "tune": ("asm", "passes", "short_ir"),
    "disassemble": ("ir", "c", "short_ir", "ir_count", "bin_size"),
}
"""For each task the fields that would give its answer away, or that its prompt has no use for. A task that is not
listed may not use `asm`."""


def _list_shipped(task: Task) -> dict[str, Path]:
    """The shipped templates of a task by their names. For the task asm `meta` is the file `meta-asm.txt`."""
    files = sorted((Path(__file__).parent / "templates").glob(f"*-{task}.txt"))
    return {file.name.removesuffix(f"-{task}.txt"): file for file in files}
