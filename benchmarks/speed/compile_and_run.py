"""The contender that published evaluations use: gcc assembles and links the answer with five asserts, and the program
runs."""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.repro.link import compile_without
from speed.answers import MeasuredFunction, open_harness
from speed.driver import NotExpressibleError, write_driver

_RUN_SECONDS = 10
"""Time limit of a program, wall clock."""
_FILE_BYTES = 64 << 20
"""The longest file that a command may write. `.fill 4000000000, 8, 1` would fill the disk."""


def strip_for_gas(text: str) -> str:
    """The text without the directives that only clang knows."""
    return re.sub(r"^\s*\.addrsig.*\n", "", text, flags=re.MULTILINE)


class CompileAndRun:
    """The driver of one function and the rest of its program. Both are written once, and the rest is compiled once.

    Raises NotExpressibleError where there is no driver.
    """

    def __init__(self, function: MeasuredFunction, folder: Path) -> None:
        self._folder = folder
        harness = open_harness(function)
        source = write_driver(harness)
        (folder / "driver.c").write_text(source, encoding="utf-8")
        try:
            (folder / "rest.o").write_bytes(compile_without(harness.reference, function.name).object)
        except LLMCompilerError as error:
            raise NotExpressibleError(str(error)) from error
        names = [function.name, *(name for input in harness.corpus.entries for name, _ in input.globals)]
        self._visible = "".join(f'\t.globl "{name}"\n' for name in dict.fromkeys(names))
        self._command("gcc", "-w", "-c", "driver.c", "-o", "driver.o")

    def copy_to(self, folder: Path) -> CompileAndRun:
        """The same in another folder, so that several processes can run it side by side."""
        for name in ("driver.c", "driver.o", "rest.o"):
            shutil.copy(self._folder / name, folder)
        other = copy.copy(self)
        other._folder = folder
        return other

    def passes(self, text: str) -> bool:
        """Whether all asserts hold. The driver is compiled with the answer, as published harnesses do."""
        return self._passes(text, "driver.c")

    def passes_with_compiled_driver(self, text: str) -> bool:
        """The same with the driver compiled ahead."""
        return self._passes(text, "driver.o")

    def _passes(self, text: str, driver: str) -> bool:
        (self._folder / "answer.s").write_text(strip_for_gas(text) + self._visible, encoding="utf-8")
        # The first definition of a name counts: the driver's main, then the answer, then the file's own code.
        objects = (driver, "answer.s", "rest.o")
        if self._command("gcc", "-w", "-no-pie", "-z", "muldefs", *objects, "-o", "program", "-lm"):
            return False
        return self._command("./program") == 0

    def _command(self, *words: str) -> int:
        """The exit status of a command; -1 at the time limit, when it is ended with all that it has started."""
        process = subprocess.Popen(
            ["prlimit", f"--fsize={_FILE_BYTES}", *words],
            cwd=self._folder,
            env={**os.environ, "TMPDIR": str(self._folder)},  # what gcc leaves when it is killed goes with the folder
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(_RUN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return -1
