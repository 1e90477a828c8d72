"""Running a pass list over a module of IR, as `opt` does.

The bundled linker runs the passes. Its link-time optimiser takes any pipeline as text (`ld.lld --lto-newpm-passes`,
https://lld.llvm.org/) and is of the same LLVM as llvmlite. A system `opt` may be too old to read llvmlite's IR.
"""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.errors import ChildLostError, OptimiserError, PassListError
from pytest_llmcompiler.program.clang import linker_command
from pytest_llmcompiler.program.ir import parse, read_bitcode, write_bitcode
from pytest_llmcompiler.program.ir_extract import normalise
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.targets.target import Target
from pytest_llmcompiler.temporary import temporary_folder

_LEVEL = re.compile(r"(module\()?(default<)?(O[0123sz])(?(2)>)(?(1)\))")
_MAX_PASS_LIST = 16_384
"""Longest pass list, in characters. Linux takes no command-line argument of more than eight times that (128 KiB)."""
_FORBIDDEN = re.compile(r"\b(view-[\w-]+|dot-[\w-]+)|(filename)\s*=", re.IGNORECASE)
"""Passes that open windows or write files, and parameters that name files."""
_UNKNOWN_PIPELINE = "unable to parse pass pipeline description "
"""The words with which the linker rejects a pass list; its reason follows."""
_MAX_FILE_BYTES = 64 << 20
"""Largest file that the optimiser may write."""
_MAX_OUTPUT_BYTES = 65_536
"""Bytes from the end of the optimiser's output that are searched for its error message."""


def optimisation_level(passes: str) -> str | None:
    """`O2` for `O2`, `default<O2>` and `module(default<O2>)`; None for any other pass list."""
    match = _LEVEL.fullmatch(passes)
    return match[3] if match else None


def optimise(
    text: str, passes: str, target: Target | None = None, *, seconds: int = 60, megabytes: int = 8192
) -> bytes:
    """Run a pass list (`O2`, or any that `opt -passes=` takes) over a module of IR; the result is bitcode.

    A module that names no triple is for `target`; None is the default target. The passes run in a process of their own,
    in an empty folder, without environment variables, with `seconds` of CPU time and `megabytes` of memory.
    Raises PassListError, OptimiserError, ChildLostError, and IRError where the module is no IR.
    """
    level = optimisation_level(passes)
    pipeline = f"default<{level}>" if level else passes
    _check_pipeline(pipeline)
    with temporary_folder() as folder:
        (folder / "module.bc").write_bytes(write_bitcode(text, target))
        # Values keep their names, as they do in `opt`, only with --save-temps.
        flags = ("-r", "--threads=1", "--lto-emit-llvm", "--save-temps=opt", f"--lto-newpm-passes={pipeline}")
        command = [*linker_command(), *flags, "module.bc", "-o", "result"]
        status, output = _run_limited(command, folder, seconds, megabytes)
        results = list(folder.glob("result.*.opt.bc"))
        if status == 0 and results:
            return results[0].read_bytes()
    if _UNKNOWN_PIPELINE in output and not results:
        raise PassListError(output.partition(_UNKNOWN_PIPELINE)[2].strip().removeprefix(f"'{pipeline}': "))
    raise OptimiserError(f"LLVM does not get through the passes: {_describe_end(status, output, seconds)}")


def _check_pipeline(pipeline: str) -> None:
    if not pipeline.strip():
        raise PassListError("an empty pass list")
    if len(pipeline) > _MAX_PASS_LIST or "\0" in pipeline:
        raise PassListError(f"a pass list has at most {_MAX_PASS_LIST} characters and no NUL character")
    forbidden = _FORBIDDEN.search(pipeline)
    if forbidden and forbidden[1]:
        raise PassListError(f"the pass '{forbidden[1]}' reaches out of the compiler and is not run")
    if forbidden:
        raise PassListError(f"a pass with the parameter '{forbidden[2]}' reads or writes a file and is not run")


def _run_limited(command: list[str], folder: Path, seconds: int, megabytes: int) -> tuple[int, str]:
    """Run a command with limits of time, memory and file size.

    Returns its exit status, or minus the signal that ended it; and the end of its output. Raises ChildLostError where
    the machine did not let it finish.
    """
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={"PATH": "/"}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    for kind, value in (
        (resource.RLIMIT_AS, megabytes << 20),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds + 1),
    ):
        with suppress(ProcessLookupError):  # the process has ended already
            _limit(process.pid, kind, value)
    try:
        status = _wait(process, sandbox.WALL_SECONDS * seconds)
    except subprocess.TimeoutExpired:
        raise ChildLostError(f"the machine did not let LLVM finish within {sandbox.WALL_SECONDS * seconds} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return status, log.read_bytes()[-_MAX_OUTPUT_BYTES:].decode("utf-8", "replace")


def _limit(process: int, kind: int, value: int) -> None:
    """Set a limit of a process, which may have a lower one already, in a sandbox."""
    _, hard = resource.prlimit(process, kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # The kernel sends SIGXCPU at the lower limit of CPU time, and SIGKILL at the upper one.
    resource.prlimit(process, kind, (value - 1 if kind == resource.RLIMIT_CPU else value, value))


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int:
    """The exit status of a process, as soon as it ends. Popen's own limited wait looks for the end only now and then.

    Raises TimeoutExpired.
    """
    with suppress(OSError):  # an old kernel
        descriptor = os.pidfd_open(process.pid)
        try:
            select.select([descriptor], [], [], seconds)
            seconds = 0
        finally:
            os.close(descriptor)
    return process.wait(seconds)


def _describe_end(status: int, output: str, seconds: int) -> str:
    if status == -signal.SIGXCPU:
        return f"not finished after {seconds} s"
    message = re.search(r"^(?:LLVM ERROR|ld\.lld: error|error): (.+)", output, re.M)
    end = f"ended by signal {-status}" if status < 0 else f"exited with status {status}"
    return f"{end}: {message[1]}" if message else end


def print_optimised(bitcode: bytes, before: str, target: Target) -> str:
    """The text of an optimised module as `opt -S` prints it.

    The linker reorders a module. Each part that was in the module `before` gets its old position back.
    """
    text = read_bitcode(bitcode)
    positions = {name: position for position, name in enumerate(_PART_NAME.findall(before))}

    def position_of(part: str) -> int:
        name = _PART_NAME.search(part)
        return positions.get(name[1], len(positions)) if name else -1

    head, *functions = _FUNCTION_START.split(text)
    *functions, last = functions
    last, *tails = _METADATA_START.split(last, maxsplit=1)
    lines = sorted(head.splitlines(), key=position_of)
    tails = ["\n".join(sorted(tail.splitlines(), key=position_of)) for tail in tails]
    ordered = "\n\n".join(["\n".join(lines), *sorted([*functions, last], key=position_of), *tails])
    source = re.search(r"^source_filename = .*\n", before, re.M)
    ordered = re.sub(r"^source_filename = .*\n", lambda _: source[0] if source else "", ordered, flags=re.M)
    return normalise(print_ir(parse(ordered)), target).strip() + "\n"


_PART_NAME = re.compile(
    r'^(?:(?:define|declare)\b[^@\n]*)?(@(?:"[^"\n]*"|[-\w$.]+)|![A-Za-z][\w.]*)(?=[ (])', re.MULTILINE
)
"""The name of a part of a module: of a function, a global variable or named metadata."""
_FUNCTION_START = re.compile(r"\n\n(?=(?:; Function Attrs:[^\n]*\n)?(?:define|declare)\b)")
_METADATA_START = re.compile(r"\n\n(?=attributes #|![\w.]+ = )")
