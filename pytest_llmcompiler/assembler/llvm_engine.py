"""LLVM's assembler, in a child process: on bad text it prints a message and exits."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import resource
import signal
import subprocess
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.assembler.small_process import call_in_small_process
from pytest_llmcompiler.errors import ChildLostError
from pytest_llmcompiler.program.clang import assembler_command
from pytest_llmcompiler.program.ir import has_assembler
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target

_STDERR = 2
_MESSAGE_BYTES = 1 << 15
"""The most bytes of clang's messages: some hundred errors, of which the first one is shown."""


def assemble_in_sandbox(text: str, limits: AssemblerLimits, target: Target) -> bytes:
    """The ELF object of a text. Raises ChildDiedError, whose `stderr` holds LLVM's message, ChildTimeoutError and
    ChildLostError.

    A child that is lost is started once more: on a machine that is short of memory, the system may have killed it for
    the sake of another process.
    """
    seconds = limits.llvm_seconds + limits.llvm_seconds_per_mebibyte * (len(text) >> 20)
    try:
        return call_in_small_process(_assemble, text, seconds, limits.megabytes, target.name, seconds=seconds)
    except ChildLostError:
        return call_in_small_process(_assemble, text, seconds, limits.megabytes, target.name, seconds=seconds)


def _assemble(text: str, seconds: int, megabytes: int, target_name: str) -> bytes:
    """The ELF object of a text, made in a child of this process. Raises SandboxError."""
    target = get_target(target_name)
    function, *arguments = build_object_call(target, text)
    is_confined = has_assembler(target)
    return bytes(sandbox.call(function, *arguments, seconds=seconds, megabytes=megabytes, is_confined=is_confined))


def build_object_call(target: Target, text: str) -> tuple[Any, ...]:
    """The function that makes the object of a text, and its arguments. To be called in a sandbox only.

    llvmlite assembles for the processor of this machine alone. clang assembles for all others, and a confined sandbox
    can't start it.
    """
    if has_assembler(target):
        return assemble_with_llvmlite, create_target_machine(target), target.triple, text
    return assemble_with_clang, assembler_command(target), text


@functools.lru_cache
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


def assemble_with_clang(command: Sequence[str], text: str) -> bytes:
    """The ELF object of a text by clang, in a process of its own. To be called in a sandbox only.

    Like llvmlite, it prints the message and exits where the text is bad. It ends by the signal that ends clang, which
    inherits the limit of CPU time.
    """
    status, product, messages = _run_clang(command, text, _MESSAGE_BYTES)
    if status == -signal.SIGXFSZ and b"error:" not in messages:  # so many warnings are no reason to refuse a text
        status, product, messages = _run_clang(command, text, sandbox.OUTPUT_BYTES)
    if status == -signal.SIGXFSZ:
        status = 1
    if status < 0:
        os.kill(os.getpid(), -status)
    if status:
        os.write(_STDERR, messages)
        os._exit(1)
    return product


def _run_clang(command: Sequence[str], text: str, message_bytes: int) -> tuple[int, bytes, bytes]:
    """The status of clang, the object, and the messages; SIGXFSZ ends it where these are longer than `message_bytes`.

    clang reads on behind an error. For each of thousands of unknown instructions it would look which other one was
    meant, which takes seconds.
    """

    def limit() -> None:
        sandbox.allow_standard_streams_only()
        resource.setrlimit(resource.RLIMIT_FSIZE, (message_bytes, message_bytes))

    messages = os.memfd_create("messages")
    try:
        done = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, stderr=messages, preexec_fn=limit)
        return done.returncode, done.stdout, os.pread(messages, message_bytes, 0)
    finally:
        os.close(messages)
