"""The program that runs whole programs of candidates: the C library alone, with a place for their `main`.

A candidate that is a whole program brings all functions and variables of its own, as an object file does that is linked
with the C library. So nothing of the case is in the program that it runs in. That program is the same for all cases of
a target: it is linked once, and kept in the cache folder.
"""

from __future__ import annotations

import functools
import zlib

from pytest_llmcompiler.cache_files import CacheFile, describe_libraries, describe_package
from pytest_llmcompiler.program.build import ProgramModule, start_program
from pytest_llmcompiler.program.image import ProgramImage, ProgramSegment, Symbol
from pytest_llmcompiler.program.ir import parse
from pytest_llmcompiler.program.library import add_library
from pytest_llmcompiler.program.runtime_objects import start_compiling
from pytest_llmcompiler.program.stand_ins import DeclaredVariable
from pytest_llmcompiler.targets.target import Target
from pytest_llmcompiler.values.pickled import PickleFormat

_MODULE = """
@stdin = external global ptr
@stdout = external global ptr
@stderr = external global ptr
declare i32 @fgetc(ptr)
declare i32 @fputc(i32, ptr)
declare void @abort()
define i32 @main(i32 %argc, ptr %argv) {
  %input = load ptr, ptr @stdin
  %output = load ptr, ptr @stdout
  %errors = load ptr, ptr @stderr
  %character = call i32 @fgetc(ptr %input)
  %first = call i32 @fputc(i32 %character, ptr %output)
  %second = call i32 @fputc(i32 %character, ptr %errors)
  call void @abort()
  ret i32 0
}
"""
"""A program that never runs: a jump to the candidate's code takes the place of its `main`. What it calls keeps the
streams of the C library in the program."""


@functools.cache
def load_host_program(target: Target) -> ProgramImage:
    """The program for a target. Raises ClangError."""
    libraries = describe_libraries("llvmlite", "ziglang")
    format = PickleFormat((ProgramImage, ProgramSegment, Symbol, DeclaredVariable), (), [target])
    file = CacheFile("programs", (describe_package(), libraries, target.name, "host", *format.describe()))
    data = file.read()
    try:
        program = format.load(data) if data is not None else None
    except Exception:  # unpickling a broken file can raise any exception
        program = None
    if not isinstance(program, ProgramImage):
        program = _build(target)
        file.write(format.dump(program, zlib.Z_BEST_SPEED))
    return program


def _build(target: Target) -> ProgramImage:
    source = ProgramModule(_MODULE, parse(_MODULE), target)
    return add_library(start_program(source, lambda text: start_compiling(text, target), tuple)())
