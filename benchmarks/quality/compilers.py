"""Correct code: what compilers generate for a function, in the form of an answer.

The bundled clang compiles the one function. A system's clang or gcc compiles the whole file, and its whole text is the
answer: so the function comes with the constants and jump tables that it needs, and a name that the program defines too
means the program's. Where the compiler takes IR, static functions and variables become visible to other modules first:
a compiler that sees every use of them may change their calling convention and contents, which no answer for a single
function may.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import gcc_answers

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.target import Target

BUNDLED = "bundled clang"
CLANG_LEVELS = ("O0", "O1", "O2", "O3", "Os")
GCC_LEVELS = ("O0", "O1", "O2", "O3")
_SYSTEM_CLANGS = ("clang-16", "clang-19")


class CompilerError(Exception):
    """A compiler that refuses a file; the message is the compiler's first line."""


def missing() -> list[str]:
    """The compilers that are not installed here."""
    return [name for name in (*_SYSTEM_CLANGS, "gcc") if shutil.which(name) is None]


def variants(target: Target) -> list[tuple[str, str]]:
    """The compilers of this machine for a target, each with its levels."""
    if not target.is_native:
        return [(BUNDLED, level) for level in CLANG_LEVELS]
    clangs = [BUNDLED, *(name for name in _SYSTEM_CLANGS if shutil.which(name))]
    gccs = ["gcc AT&T", "gcc Intel"] if shutil.which("gcc") else []
    return [
        *((name, level) for name in clangs for level in CLANG_LEVELS),
        *((name, level) for name in gccs for level in GCC_LEVELS),
    ]


def assembly(reference: Reference, function: str, compiler: str, level: str) -> str:
    """One compiler's answer. Raises CompilerError."""
    text = _text(reference, function, compiler, level)
    if not re.search(rf'^"?{re.escape(function)}"?:', text, re.MULTILINE):
        # Some files define other functions for other compilers, such as builtins in the place of functions.
        raise CompilerError(f"to it, the file has no {function}")
    return text


def _text(reference: Reference, function: str, compiler: str, level: str) -> str:
    try:
        if compiler == BUNDLED:
            return reference.texts.assembly(function, level)
        if compiler.startswith("gcc"):
            return _gcc(reference, level, compiler.endswith("Intel"))
        return _system_clang(compiler, reference.case.path, level)
    except (ClangError, gcc_answers.GccError, subprocess.CalledProcessError) as error:
        message = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise CompilerError(first_line(message)) from error


def first_line(message: str) -> str:
    """The line of a compiler's message that says what is wrong, without the folder of the file."""
    lines = [line for line in message.splitlines() if "error" in line] or message.splitlines() or [""]
    return re.sub(r"(?:/[^/\s:]+)+/", "", lines[0].strip())


@functools.lru_cache(maxsize=16)
def _gcc(reference: Reference, level: str, intel: bool) -> str:
    return gcc_answers.assembly(reference.case.path, reference.golden.globals, level=level, intel=intel)


@functools.lru_cache(maxsize=16)
def _system_clang(name: str, path: Path, level: str) -> str:
    visible = "\n".join(map(_visible, Toolchain(name).emit_ir(path).splitlines()))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "module.ll"
        source.write_text(visible, encoding="utf-8")
        command = [name, f"-{level}", "-S", "-fPIE", "-fno-stack-protector", "-w", "-g0", "-o", "-", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def _visible(line: str) -> str:
    """The definition with external linkage, so that the compiler does not know all of its uses."""
    return re.sub(r'^(@(?:[-\w$.]+|"[^"]*") = |define )internal ', r"\1dso_local ", line)
