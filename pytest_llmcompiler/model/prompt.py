"""The text that asks: versioned templates with fields.

A shipped template never changes once it is released, since models are sensitive to every character and
records name the template that was used: a change gets a new name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmcompiler.errors import TemplateError
from pytest_llmcompiler.model.answer import Task

FIELDS: dict[str, str] = {
    "ir": "the LLVM IR of the function",
    "asm": "its assembly, for the task `disassemble` alone",
    "ir_count": "the number of IR instructions in it",
    "bin_size": "the size in bytes of the object that it compiles to (text and data)",
    "passes": "the pass list of the question: no field of the task `tune`, which asks for one",
    "function": "the name of the function",
    "c": "the C file, with other functions only declared",
    "short_ir": "the function optimised, without what code does not depend on, under other names",
}
"""What a template may use, each as `{name}`; a literal brace is written twice."""

_PIECE = re.compile(r"\{\{|\}\}|\{(\w+)\}|[{}]")


@dataclass(frozen=True)
class Template:
    """A prompt with holes."""

    name: str
    """What the user calls it: a shipped name, or the path of the file."""
    text: str
    task: Task = "asm"

    @classmethod
    def load(cls, spec: str, task: Task = "asm") -> Template:
        """Load the shipped template called `spec` for a task, or else the file of that path.

        One newline at the end of the file is not part of the template: editors put it there.
        Raises TemplateError where there is no such template, or where it uses a field that is unknown, or that the task
        does not have.
        """
        shipped = _shipped(task)
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
        """Put `fields` into the holes, all in one pass: braces inside a value stay as they are.

        Raises KeyError for a field that the template uses and `fields` lacks.
        """

        def fill(piece: re.Match[str]) -> str:
            return str(fields[piece[1]]) if piece[1] else piece[0][0]

        return _PIECE.sub(fill, self.text)

    @property
    def fields(self) -> frozenset[str]:
        """What it uses of `FIELDS`."""
        return frozenset(piece[1] for piece in _PIECE.finditer(self.text) if piece[1] in FIELDS)

    @property
    def similar_template(self) -> str | None:
        """The shipped template that this one differs from in blanks, punctuation or case alone, if any."""
        for name, path in _shipped(self.task).items():
            published = path.read_text(encoding="utf-8").removesuffix("\n")
            if published != self.text and _words(published) == _words(self.text):
                return name
        return None

    def _check(self) -> None:
        for piece in _PIECE.finditer(self.text):
            if piece[1] not in FIELDS and piece[0] not in ("{{", "}}"):
                self._reject(piece)
        shown = ("asm",) if self.task == "disassemble" else ("ir", "c", "short_ir")
        if self.fields.isdisjoint(shown):
            fields = " or ".join(f"{{{name}}}" for name in shown)
            raise TemplateError(
                f"{self.name}: the template never shows the code: it has no {fields}, for task {self.task}"
            )
        foreign = self.fields.intersection(_NOT_OF.get(self.task, ("asm",)))
        if foreign:
            raise TemplateError(f"{self.name}: {{{min(foreign)}}} is no field of the task {self.task}")

    def _reject(self, piece: re.Match[str]) -> None:
        line = self.text.count("\n", 0, piece.start()) + 1
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        what = f"unknown field {piece[0]}" if piece[1] else f"a single {piece[0]!r}"
        raise TemplateError(f"{self.name}:{line}: {what}; known are {known}, and a literal brace is written twice")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


_NOT_OF: dict[Task, tuple[str, ...]] = {
    "ir": ("asm", "short_ir"),
    "tune": ("asm", "passes", "short_ir"),
    "disassemble": ("ir", "c", "short_ir", "ir_count", "bin_size"),
}
"""Fields that a task does not have: they would be its answer. Where none are named, that is the assembly."""


def _shipped(task: Task) -> dict[str, Path]:
    """The templates of the package for a task by their names: `meta` is the file `meta-asm.txt` where that is asm."""
    files = sorted((Path(__file__).parent / "templates").glob(f"*-{task}.txt"))
    return {file.name.removesuffix(f"-{task}.txt"): file for file in files}
