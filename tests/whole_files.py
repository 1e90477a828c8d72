"""Whole files, compiled by other compilers: what a model that was given the file would answer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pytest_llmcompiler.program.clang import header_folders
from pytest_llmcompiler.targets import get_target

LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os")
BUILDS = tuple((compiler, level) for compiler in ("gcc", "clang-19") if shutil.which(compiler) for level in LEVELS)
"""The compilers of this machine, each with its levels."""


def compile_whole(path: Path, compiler: str, *flags: str) -> str:
    """The assembly of a C file, without flags that would change what a compiler finds out about it."""
    headers = [f"-isystem{folder}" for folder in header_folders(get_target())]
    command = [compiler, "-S", "-w", "-fno-stack-protector", "-nostdinc", *headers, *flags, str(path), "-o", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
