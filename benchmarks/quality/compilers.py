"""Correct code: what compilers generate for a function, in the form of an answer.

The bundled clang compiles the one function, as it does for prompts. All other texts are of the whole file, compiled
without special flags: so the function comes with the constants, tables and specialised helpers that its compiler chose.
"""

from __future__ import annotations

import functools
import random
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pytest_llmcompiler.errors import ClangError, ModelError
from pytest_llmcompiler.model.answer import Prompt, PromptSource
from pytest_llmcompiler.model.compiler import CompilerModel
from pytest_llmcompiler.program.clang import header_folders
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.target import Target

BUNDLED = "bundled clang, function"
CLANG_LEVELS = ("O0", "O1", "O2", "O3", "Os")
_NAMES_OF_GCC = {"aarch64-linux": "aarch64-linux-gnu-gcc-12", "x86_64-windows": "x86_64-w64-mingw32-gcc"}
_NAMES_OF_ZIG = {"aarch64-linux": "aarch64-linux-musl", "x86_64-windows": "x86_64-windows-gnu"}
_UBUNTU = "-D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection"
"""What Ubuntu's gcc does by default, beside -fPIE."""


class FileCompiler(NamedTuple):
    """A command that compiles whole files, and the levels that it is asked for."""

    command: str
    levels: tuple[str, ...] = CLANG_LEVELS


_NATIVE_COMPILERS: Mapping[str, FileCompiler] = {
    "bundled clang": FileCompiler(f"{sys.executable} -m ziglang cc -target x86_64-linux-gnu -fno-sanitize=all -g0"),
    "clang-16": FileCompiler("clang-16"),
    "clang-19": FileCompiler("clang-19"),
    "clang-19 Intel": FileCompiler("clang-19 -masm=intel", ("O0", "O2")),
    "clang-19 PIC": FileCompiler("clang-19 -fPIC", ("O0", "O2")),
    "gcc": FileCompiler("gcc"),
    "gcc Intel": FileCompiler("gcc -masm=intel"),
    "gcc PIC": FileCompiler("gcc -fPIC", ("O0", "O2")),
    "gcc Ubuntu": FileCompiler(f"gcc {_UBUNTU}", ("O1", "O2", "O3")),
}


class CompilerError(Exception):
    """A compiler that refuses a file; the message is the compiler's first line."""


@functools.cache
def _file_compilers(target: Target) -> Mapping[str, FileCompiler]:
    """The compilers for a target, whether or not they are installed. Cross compilers see the judge's headers."""
    if target.is_native:
        return _NATIVE_COMPILERS
    headers = shlex.join(["-nostdinc", *(f"-isystem{folder}" for folder in header_folders(target))])
    zig = f"{sys.executable} -m ziglang cc -target {_NAMES_OF_ZIG[target.name]} -fno-sanitize=all -g0"
    clang = {name: f"{name} --target={target.triple}" for name in ("clang-16", "clang-19")}
    commands = {"bundled clang": zig, **clang, "gcc": _NAMES_OF_GCC[target.name]}
    return {name: FileCompiler(f"{command} {headers}") for name, command in commands.items()}


def missing(target: Target) -> list[str]:
    """The compilers that are not installed here."""
    commands = dict.fromkeys(compiler.command.split()[0] for compiler in _file_compilers(target).values())
    return [name for name in commands if shutil.which(name) is None]


def variants(target: Target) -> list[tuple[str, str]]:
    """The compilers of this machine for a target, each with its levels."""
    absent = missing(target)
    installed = {
        name: compiler
        for name, compiler in _file_compilers(target).items()
        if compiler.command.split()[0] not in absent
    }
    alone = [(BUNDLED, level) for level in CLANG_LEVELS]
    return alone + [(name, level) for name, compiler in installed.items() for level in compiler.levels]


def draw_variants(target: Target, count: int, seed: str) -> list[tuple[str, str]]:
    """`count` of the variants, the same for the same seed; all of them where `count` is 0."""
    every = variants(target)
    return random.Random(seed).sample(every, min(count, len(every))) if count else every


def assembly(reference: Reference, function: str, compiler: str, level: str) -> str:
    """One compiler's answer. Raises CompilerError."""
    return _read(lambda: _text(reference, function, compiler, level), function)


def assembly_by(reference: Reference, function: str, spec: str, level: str) -> str:
    """The answer of a command, as `--llmc-model` names it, which compiles at a level. Raises CompilerError."""
    return _read(lambda: _compile(reference, function, spec, level), function)


def _read(compile: Callable[[], str], function: str) -> str:
    try:
        text = compile()
    except (ClangError, ModelError) as error:
        raise CompilerError(first_line(str(error))) from error
    if not re.search(rf'^"?{re.escape(function)}"?:', text, re.MULTILINE):
        # Some files define other functions for other compilers, such as builtins in the place of functions.
        raise CompilerError(f"to it, the file has no {function}")
    return text


def _text(reference: Reference, function: str, compiler: str, level: str) -> str:
    if compiler == BUNDLED:
        return reference.texts.assembly(function, level)
    command = _file_compilers(reference.target)[compiler].command
    return _compile(reference, function, f"cc:{command} -w -{level}", level)


def _compile(reference: Reference, function: str, spec: str, level: str) -> str:
    case = reference.case
    source = PromptSource(case.path, case.cflags, lambda: reference.texts.ir(function))
    prompt = Prompt(
        case=case.name,
        function=function,
        task="asm",
        passes=level,
        template="",
        text="",
        reference=lambda: "",
        source=source,
    )
    return next(_open_compiler(spec).answers(prompt, 1)).text


@functools.cache
def _open_compiler(spec: str) -> CompilerModel:
    """The model of a command. It keeps the text of each file."""
    return CompilerModel(spec)


def first_line(message: str) -> str:
    """The line of a compiler's message that says what is wrong, without the folder of the file."""
    lines = [line for line in message.splitlines() if "error" in line] or message.splitlines() or [""]
    return re.sub(r"(?:/[^/\s:]+)+/", "", lines[0].strip())
