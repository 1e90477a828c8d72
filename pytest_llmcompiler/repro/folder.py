"""The folders of failing samples: prompt, answer, and a native program that shows the failure."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_llmcompiler.assembler.linkage import DEBUG_FILE_NAME
from pytest_llmcompiler.errors import (
    AssemblyError,
    CaseError,
    ClangError,
    LinkError,
    NativeLinkError,
    NoCodeError,
    ReproFolderError,
    ReproSourceError,
    TruncatedError,
)
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.verdict import RUN_FAILURES, Verdict
from pytest_llmcompiler.model.answer import Answer, Prompt, QuestionKey
from pytest_llmcompiler.model.extract.assembly import find_judged_assembly
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.repro.folder_files import TITLE, FolderFiles
from pytest_llmcompiler.repro.native_program import FailingCandidate, NativeProgramWriter
from pytest_llmcompiler.repro.whole_program import write_whole_program
from pytest_llmcompiler.temporary import temporary_folder

_MAX_NAME = 80
"""Characters of a name that stand in a path. With a digest behind them they fit the 255 bytes of file systems."""
_NO_PROGRAM_ERRORS = (CaseError, ClangError, NativeLinkError, ReproSourceError, AssemblyError, LinkError)
"""The errors after which a folder has no program."""


@dataclass(frozen=True)
class _FailingSample:
    """A sample that failed, with its question, its verdict and the reference of its case."""

    reference: Reference
    prompt: Prompt
    answer: Answer
    judged: ReproducibleVerdict


class ReproWriter:
    """Writes the folders below one folder, one for each failing sample: `CASE/FUNCTION/TASK-PASSES/sample-N`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._programs = NativeProgramWriter()
        self._first_folders: dict[tuple[QuestionKey, str, str], Path] = {}
        """The folder of each answer, by the question, the answer and why the answer ended."""

    def folder_of(self, prompt: Prompt, sample: int) -> Path:
        """The path of the folder of a sample."""
        case = [_path_part(part) for part in prompt.case.split("/")]
        task = _path_part(prompt.key.variant)
        return self._root.joinpath(*case, _path_part(prompt.function), task, f"sample-{sample}")

    def keep(self, reference: Reference, prompt: Prompt, answer: Answer, judged: ReproducibleVerdict) -> None:
        """Write the folder of a sample that failed. Remove the folder of an earlier session where it did not.

        The same answer to the same question again becomes a link to its first folder. Raises ReproFolderError where the
        file system refuses.
        """
        folder = self.folder_of(prompt, answer.sample)
        verdict = judged.verdict
        try:
            if verdict.passed or not verdict.conclusive:
                _remove_folder(folder)
                return
            is_resumed = verdict.kind in RUN_FAILURES and judged.reproducer is None and reference.target.is_native
            is_resumed = is_resumed and not reference.is_program  # which has no reproducer
            if is_resumed and folder.exists():
                return  # the folder was written in the session that judged the sample
            folder.parent.mkdir(parents=True, exist_ok=True)
            key = prompt.key, answer.text, answer.stop
            first = self._first_folders.get(key, folder)
            if first == folder:
                self._write_folder(folder, _FailingSample(reference, prompt, answer, judged))
                self._first_folders[key] = folder
            else:
                _remove_folder(folder)
                folder.symlink_to(first.name)
        except OSError as error:
            raise ReproFolderError(f"--llmc-artifacts: can't write {folder}: {error.strerror or error}") from error

    def _write_folder(self, folder: Path, sample: _FailingSample) -> None:
        """Write a folder beside its place and rename it, so that a folder is always whole."""
        with temporary_folder(beside=folder) as temporary:
            unfinished = temporary / folder.name
            unfinished.mkdir()
            files, prompt = FolderFiles(unfinished), sample.prompt
            files.write("prompt.txt", prompt.text, "what the model was asked")
            files.write("answer.txt", sample.answer.text, "what it answered")
            ir = sample.reference.texts.ir(prompt.function)
            files.write("function.ll", ir, "the function's IR, as in the prompt")
            notes = self._write_code(files, sample)
            files.write_readme(f"{prompt.key}, sample {sample.answer.sample}", str(sample.judged.verdict), notes)
            _remove_folder(folder)
            unfinished.rename(folder)

    def _write_code(self, files: FolderFiles, sample: _FailingSample) -> list[str]:
        """Write the assembly and, as far as there is one, the program. Returns notes for the README.txt."""
        notes: list[str] = []
        try:
            notes += self._write_candidate(files, sample)
        except (NoCodeError, TruncatedError) as error:
            notes.append(f"There is no `run`: {error}.")
        except _NO_PROGRAM_ERRORS as error:
            notes.append(f"There is no `run`: {error}")
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            # The process that captured the reproducer ran hostile code: any value may be of any type.
            notes.append(f"There is no `run`: the reproducer can't be read: {error!r}")
        return notes

    def _write_candidate(self, files: FolderFiles, sample: _FailingSample) -> Iterator[str]:
        reference, prompt, (verdict, reproducer) = sample.reference, sample.prompt, sample.judged
        assembly = find_judged_assembly(sample.answer, prompt, verdict.detail)
        source = "the assembly in the answer, on the same lines"
        lowered = "the assembly that LLVM makes of the answer"
        files.write(DEBUG_FILE_NAME, assembly, source if prompt.task == "asm" else lowered)
        if not reference.target.is_native:
            raise NativeLinkError(f"the code is for {reference.target.name}, which this machine does not run.")
        if reference.is_program:
            if verdict.kind in RUN_FAILURES:
                write_whole_program(files, reference, DEBUG_FILE_NAME, verdict.detail)
                yield from _note_processor()
            return
        candidate = FailingCandidate(reference, prompt.function, assembly, verdict)
        if reproducer is not None:
            yield from self._programs.write_program(files, candidate, reproducer)
            yield from _note_processor()
        else:
            self._programs.write_object(files, candidate)
            yield f"There is no `run`: {_missing_reproducer(verdict)}."


def _note_processor() -> Iterator[str]:
    """Say that the program is for another machine than this one, if it is."""
    if platform.machine() != "x86_64":
        yield f"The program is for x86-64 Linux, and this machine is {platform.machine()}: take the folder to another."


def _missing_reproducer(verdict: Verdict) -> str:
    """Why there is no reproducer of a verdict."""
    if verdict.kind in RUN_FAILURES:
        return "it was judged in an earlier session, or the judge gave up before it knew all that is needed"
    return verdict.message


def _path_part(text: str) -> str:
    """A name as one part of a path: readable, of limited length, and different for different names."""
    plain = re.sub(r"[^A-Za-z0-9._+=-]+", "-", text).strip("-")
    if plain == text and text.strip(".") and len(text) <= _MAX_NAME:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain.strip('.')[:_MAX_NAME] or 'x'}-{digest}"


def _remove_folder(folder: Path) -> None:
    """Remove the folder of an earlier session. Raises OSError where something else is in its place."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        readme = folder / "README.txt"
        if not readme.is_file() or not readme.read_bytes().startswith(TITLE.encode()):
            raise FileExistsError(0, "something is there that was not written here", os.fspath(folder))
        shutil.rmtree(folder)
