"""LLVM's assembler, in a child process: on bad text it prints a message and exits."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.errors import ChildDiedError
from pytest_llmcompiler.program.clang import assembler_command
from pytest_llmcompiler.targets.target import Target

_STDERR = 2


def assemble_in_sandbox(text: str, limits: AssemblerLimits, target: Target) -> bytes:
    """The ELF object of a text. Raises ChildDiedError, whose `stderr` holds LLVM's message, and ChildTimeoutError.

    A child that a signal ended is started once more: on a machine that is short of memory, the system may have killed
    it for the sake of another process.
    """
    seconds, megabytes = limits.llvm_seconds, limits.megabytes
    function, *arguments = build_object_call(target, text, seconds)
    try:
        return bytes(sandbox.call(function, *arguments, seconds=seconds, megabytes=megabytes))
    except ChildDiedError as death:
        if death.signal is None:
            raise
    return bytes(sandbox.call(function, *arguments, seconds=seconds, megabytes=megabytes))


def build_object_call(target: Target, text: str, seconds: float) -> tuple[Callable[..., bytes], Any, Any, Any]:
    """The function that makes the object of a text, and its arguments. To be called in a sandbox only.

    llvmlite assembles for the processor of this machine alone. clang assembles for all others, within `seconds`.
    """
    if target.is_native:
        return assemble_with_llvmlite, create_target_machine(target), target.triple, text
    return assemble_with_clang, assembler_command(target), text, seconds


@lru_cache
def create_target_machine(target: Target) -> Any:
    """LLVM's description of the machine to assemble for."""
    llvm = import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    llvm_target = llvm.Target.from_triple(target.triple)
    return llvm_target.create_target_machine(cpu=target.cpu, reloc="static", codemodel="small")


def assemble_with_llvmlite(machine: Any, triple: str, text: str) -> bytes:
    """The ELF object of a text, as the inline assembly of an empty module. To be called in a sandbox only."""
    llvm = import_module("llvmlite.binding")
    sandbox.forbid_opening_files()
    _exit_at_once()
    # In a string of IR, every other byte than printable ASCII without `"` and `\` is written as `\` and two digits.
    escaped = re.sub(rb"[^ -!#-\[\]-~]", lambda match: b"\\%02X" % match[0][0], text.encode()).decode()
    module = llvm.parse_assembly(f'target triple = "{triple}"\nmodule asm "{escaped}"\n')
    return bytes(machine.emit_object(module))


def _exit_at_once() -> None:
    """Have the process end without the clean-up of its libraries where LLVM exits on bad text: in a forked process,
    clean-up copies the pages of all that it frees, which takes a quarter of the time."""
    library = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # only glibc has on_exit, whose actions get the status
        library.on_exit(library._exit, None)


def assemble_with_clang(command: Sequence[str], text: str, seconds: float) -> bytes:
    """The ELF object of a text by clang, in a process of its own. To be called in a sandbox only: like llvmlite, it
    prints clang's message and exits where the text is bad."""
    process = subprocess.run(
        command,
        input=text.encode(),
        capture_output=True,
        timeout=seconds,
        preexec_fn=sandbox.allow_standard_streams_only,
    )
    if process.returncode:
        os.write(_STDERR, process.stderr)
        os._exit(1)
    return process.stdout
