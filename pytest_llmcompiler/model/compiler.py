"""Any compiler as a model: it checks a suite against a second compiler, and a compiler against the judge."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ModelError, NoCSourceError
from pytest_llmcompiler.model.answer import Answer, Prompt
from pytest_llmcompiler.temporary import temporary_folder

_TIMEOUT_SECONDS = 120
"""Limit of one call of the compiler, wall clock: a large file takes seconds."""
_MAX_MESSAGE_LINES = 20
"""Lines of the compiler's messages that an error shows."""
_PASSES = "{passes}"
"""The part of a command that becomes the question's pass list."""


def split_command(spec: str) -> list[str]:
    """The words of the command of `cc:COMMAND` or `cc-ir:COMMAND`. Raises ModelError where it can't be run."""
    kind, _, text = spec.partition(":")
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise ModelError(f"can't read the command of {spec!r}: {error}") from error
    if not command:
        raise ModelError(f"{kind}: names no compiler; an example is {kind}:{'clang' if kind == 'cc-ir' else 'gcc'} -O2")
    if shutil.which(command[0]) is None:
        raise ModelError(f"no compiler at {command[0]!r}, which {kind}: names; install it, or correct the command")
    return command


class CompilerModel:
    """Answers with a compiler's assembly, the same for every sample.

    `spec` is `cc:COMMAND`, which compiles the whole file of the case, or `cc-ir:COMMAND`, which compiles the IR of the
    function alone. The case's own compile flags, `-S`, `-o` and the file are added to the command, which runs in the
    folder of the file. `{passes}` in the command stands for the pass list of the question.

    Raises ModelError for a command that can't be run.
    """

    def __init__(self, spec: str) -> None:
        self._spec, self._command = spec, split_command(spec)
        self._takes_ir = spec.startswith("cc-ir:")
        self._compile_once = functools.cache(self._compile)

    def describe(self) -> dict[str, Any]:
        """The command, and the first line of the compiler's own version text."""
        kind, _, command = self._spec.partition(":")
        return {"backend": kind, "name": command.strip(), "version": _read_version(self._command[0])}

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield the compiler's text `samples` times. Raises ModelError with the compiler's own messages."""
        if prompt.task != "asm":
            raise ModelError(f"{self._spec}: a compiler answers the task asm, not {prompt.task}")
        if prompt.source is None:
            raise ModelError(f"{self._spec}: the prompt for {prompt.function} names no source file")
        if samples <= 0:
            return
        command = tuple(word.replace(_PASSES, prompt.passes) for word in self._command)
        text = self._compile_ir(command, prompt.source.ir()) if self._takes_ir else self._compile_file(command, prompt)
        for sample in range(samples):
            yield Answer(text, sample)

    def close(self) -> None:
        """There is nothing to free."""

    def _compile_ir(self, command: Sequence[str], ir: str) -> str:
        with temporary_folder() as folder:
            (folder / "function.ll").write_text(ir, encoding="utf-8")
            return self._compile(tuple(command), folder, "function.ll")

    def _compile_file(self, command: tuple[str, ...], prompt: Prompt) -> str:
        """The assembly of a case. A local function that the case defines is compiled so that others can call it.

        A compiler drops a local function that it has inlined everywhere, or changes its parameters. It does neither
        where the address of the function is taken, so a declaration behind the file takes it.
        """
        assert prompt.source is not None
        path, function = prompt.source.path.resolve(), prompt.function
        command = *command, *prompt.source.cflags
        try:
            text = self._compile_once(command, path.parent, path.name)
        except ModelError as error:
            if path.suffix == ".c":
                raise
            raise NoCSourceError(f"{path.name} is IR, which {command[0]} does not compile") from error
        if path.suffix != ".c" or re.search(rf'^\s*\.globa?l\s+"?{re.escape(function)}"?\s*$', text, re.MULTILINE):
            return text
        source = f'#include "{path.name}"\nvoid *llmc_taken_address = (void *){function};\n'
        # -iquote for compilers that copy their standard input to another folder, as zig does.
        return self._compile_once((*command, "-iquote", ".", "-x", "c"), path.parent, "-", source)

    def _compile(self, command: tuple[str, ...], folder: Path, name: str, source: str = "") -> str:
        """The assembly of a file, or of `source` where the name is `-`.

        The compiler runs in the file's folder, so that `__FILE__` is the name alone.
        """
        # llc writes assembly unless told otherwise, and refuses -S.
        style = () if Path(command[0]).name.startswith("llc") else ("-S",)
        with temporary_folder() as output_folder:
            output = output_folder / "answer.s"
            call = [*command, *style, "-o", str(output), name]
            try:
                done = subprocess.run(
                    call, cwd=folder, capture_output=True, input=source.encode(), timeout=_TIMEOUT_SECONDS
                )
            except subprocess.TimeoutExpired as error:
                raise ModelError(f"{shlex.join(command)} took more than {_TIMEOUT_SECONDS} s for {name}") from error
            except OSError as error:
                raise ModelError(f"{command[0]} can't be run: {error.strerror}") from error
            if done.returncode or not output.is_file():
                lines = done.stderr.decode("utf-8", "replace").strip().splitlines()[:_MAX_MESSAGE_LINES]
                words = "\n".join(lines) or f"exit status {done.returncode} and no message"
                raise ModelError(f"{shlex.join(command)} does not compile {name}:\n{words}")
            return output.read_text(encoding="utf-8", errors="replace")


def _read_version(program: str) -> str:
    """The first line that a compiler prints for `--version`; empty where it prints none."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter(done.stdout.decode("utf-8", "replace").splitlines()), "")
