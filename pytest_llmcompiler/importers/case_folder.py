"""The folder that an import writes: cases, their tests and inputs, a record of answers, and a manifest.

pytest.ini                     names the folder of cases, so that `pytest DIR` finds them
cases/NAME.c, cases/NAME.ll    a file for each different case
cases/NAME.1.in, NAME.1.out    standard input of a program, and what it should print
tests/NAME.c                   published tests, which no one takes for cases here
answers.jsonl                  a record of the rows' answers, for --llmc-model replay:answers.jsonl
manifest.jsonl                 a line for each row
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import DatasetError
from pytest_llmcompiler.importers.imported import ImportedCase
from pytest_llmcompiler.model.record_layout import SCHEMA
from pytest_llmcompiler.program.case import TestKind

CASES, TESTS, ANSWERS, MANIFEST = "cases", "tests", "answers.jsonl", "manifest.jsonl"
_SETTINGS = f"[pytest]\nllmc_cases = {CASES}\n"
_MAX_NAME = 100
"""Characters of a file's name, without what makes it unique."""


@dataclass
class WrittenCase:
    """A case in the folder. Its text is in the file alone: there may be millions."""

    digest: bytes
    """A digest of what makes a case another one: its text, functions, tests and inputs."""
    path: Path
    first_row: str
    """The place of the row that it was first made from."""
    functions: tuple[str, ...]
    passes: tuple[str, ...]
    is_program: bool
    tests_path: Path | None
    tests_kind: TestKind | None
    header_lines: int = 0
    """The directives in front of its text, one a line."""
    samples: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How many answers are recorded for each function, task and pass list."""

    @property
    def files(self) -> Iterator[Path]:
        """The files that clang reads."""
        yield self.path
        if self.tests_path:
            yield self.tests_path


class CaseFolder:
    """A new folder. Raises DatasetError where it can't be written, or is not empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cases: dict[bytes, WrittenCase] = {}
        """By their digests."""
        self._names: set[str] = set()
        self._tasks, self._passes, self._most_samples = set[str](), set[str](), 1
        """Of the answers: their tasks, the pass lists that the cases do not name, the most answers to one question."""
        try:
            if path.is_dir() and any(path.iterdir()):
                raise DatasetError(f"{path} is not empty: name a new folder")
            (path / CASES).mkdir(parents=True, exist_ok=True)
            (path / TESTS).mkdir()
            (path / "pytest.ini").write_text(_SETTINGS)
            self._answers, self._manifest = (path / ANSWERS).open("w"), (path / MANIFEST).open("w")
        except OSError as error:
            raise DatasetError(f"{path}: can't be written: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self._cases)

    def find(self, case: ImportedCase) -> WrittenCase | None:
        """The case with the same contents that is there already; None where there is none."""
        return self._cases.get(_digest(case))

    def add(self, case: ImportedCase, place: str) -> WrittenCase:
        """Write a new case. Raises OSError."""
        digest = _digest(case)
        name = self._choose_name(case.name, digest)
        path = self.path / CASES / f"{name}{case.suffix}"
        tests_path = self.path / TESTS / f"{name}.c" if case.tests else None
        kind = case.tests.kind if case.tests else None
        written = self._cases[digest] = WrittenCase(
            digest, path, place, case.functions, case.passes, case.is_program, tests_path, kind
        )
        if case.tests and tests_path:
            tests_path.write_text(case.tests.text, encoding="utf-8", newline="\n")
        for number, test in enumerate(case.program_tests, 1):
            _write_text(path.with_name(f"{name}.{number}.in"), test.stdin)
            if test.stdout is not None:
                _write_text(path.with_name(f"{name}.{number}.out"), test.stdout)
        _write_case(written, case.text.rstrip("\n") + "\n")
        return written

    def add_passes(self, written: WrittenCase, passes: Sequence[str]) -> None:
        """Ask for more pass lists of a case. Raises OSError."""
        new = tuple(one for one in passes if one not in written.passes)
        if written.passes and new:
            written.passes = (*written.passes, *new)
            _write_case(written)

    def drop_tests(self, written: WrittenCase) -> None:
        """Leave a case without its tests. Raises OSError."""
        if written.tests_path:
            written.tests_path.unlink()
        written.tests_path, written.tests_kind = None, None
        _write_case(written)

    def drop(self, written: WrittenCase) -> None:
        """Remove a case with its tests and inputs. Raises OSError."""
        del self._cases[written.digest]
        for path in (*written.files, *written.path.parent.glob(f"{written.path.stem}.*.in")):
            path.unlink()
        for path in written.path.parent.glob(f"{written.path.stem}.*.out"):
            path.unlink()

    def record_answer(self, written: WrittenCase, function: str, task: str, passes: str, text: str, model: str) -> None:
        """Write the record of an answer, in which a replay finds it. Raises OSError."""
        key = function, task, passes
        record = {
            "schema": SCHEMA,
            "case": written.path.name,
            "function": function,
            "task": task,
            "passes": passes,
            "sample": written.samples[key],
            "answer": text,
            "stop": "eos",
            "model": {"backend": "import", "name": model},
        }
        written.samples[key] += 1
        self._tasks.add(task)
        self._passes.update([passes] if passes and not written.passes else [])
        self._most_samples = max(self._most_samples, written.samples[key])
        self._answers.write(json.dumps(record) + "\n")

    def suggest_command(self) -> str:
        """The command that judges the recorded answers; where there are none, those of a model."""
        words = ["pytest", str(self.path), "--llmc-model", f"replay:{self.path / ANSWERS}" if self._tasks else "MODEL"]
        if self._tasks - {"asm"}:
            words += ["--llmc-task", ",".join(sorted(self._tasks))]
        if self._passes - {"O0"}:
            words += ["--llmc-passes", ",".join(sorted(self._passes))]
        if self._most_samples > 1:
            words += ["--llmc-samples", str(self._most_samples)]
        return shlex.join(words)

    def note(self, line: dict[str, Any]) -> None:
        """Write a line of the manifest. Raises OSError."""
        self._manifest.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Finish the record and the manifest. Where there are no answers, there is no record."""
        self._answers.close()
        self._manifest.close()
        if not (self.path / ANSWERS).stat().st_size:
            (self.path / ANSWERS).unlink()

    def _choose_name(self, wanted: str, digest: bytes) -> str:
        """A name that is safe on every system, and that no other case of the folder has."""
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", wanted)[:_MAX_NAME].strip(".-_ ") or "case"
        name = plain if plain.lower() not in self._names else f"{plain}_{digest.hex()[:8]}"
        while name.lower() in self._names:
            name += "_"
        self._names.add(name.lower())
        return name


def _write_case(written: WrittenCase, text: str | None = None) -> None:
    """Write the file of a case: its directives, and a text or, where there is none, the one that it has."""
    if text is None:
        text = written.path.read_text(encoding="utf-8").split("\n", written.header_lines)[-1]
    comment = "//" if written.path.suffix == ".c" else ";"
    directives = [f"{comment} LLMC: {directive}\n" for directive in _list_directives(written)]
    written.header_lines = len(directives)
    written.path.write_text("".join(directives) + text, encoding="utf-8", newline="\n")


def _list_directives(written: WrittenCase) -> Iterator[str]:
    if written.is_program:
        yield "program"
    if written.functions:
        yield f"functions {', '.join(written.functions)}"
    if written.passes:
        yield f"passes {', '.join(written.passes)}"
    if written.tests_path:
        yield f"tests ../{TESTS}/{written.tests_path.name}{' io' if written.tests_kind == 'io' else ''}"


def _digest(case: ImportedCase) -> bytes:
    contents = case.text, case.functions, case.tests, case.program_tests, case.is_program
    return hashlib.sha256(repr(contents).encode("utf-8", "surrogatepass")).digest()


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")
