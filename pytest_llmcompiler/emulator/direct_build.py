"""The engine's library and its server from one compilation, without zig's own front end.

That front end first builds a runtime library for the machine, which takes longer than all of the engine, and compiles
the sources anew for each product. Here the bundled clang and linker are called alone: the C library and unicorn are
those of this process, and the server begins with the instructions below instead of a file of the C library's.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from pytest_llmcompiler.errors import ClangError, EngineError
from pytest_llmcompiler.program.clang import glibc_driver, linker_command
from pytest_llmcompiler.program.tool_run import ToolRun
from pytest_llmcompiler.temporary import temporary_folder

COMPILER_FLAGS = ("-march=native", "-DNDEBUG", "-fPIC", "-fvisibility=protected")
"""In front of the engine's own flags: what zig's front end adds, and code that serves a library and a program."""
LINKER_FLAGS = ("-O2", "--gc-sections", "--eh-frame-hdr", "-znow", "--as-needed")
LIBRARY, SERVER = "engine.so", "engine-server"
_USAGE_STATUS = 2
"""The exit status of the server without arguments."""
_SECONDS = 60
"""Time limit of a start of the server, which ends at once."""
_C_LIBRARY = re.compile(r"(/\S*/libc(?:\.so\.6|-2\.\d+\.so))$", re.MULTILINE)
_START = """
    .globl _start
_start:
    xorl %ebp, %ebp
    movq %rdx, %r9
    popq %rsi
    movq %rsp, %rdx
    andq $-16, %rsp
    pushq %rax
    pushq %rsp
    xorl %r8d, %r8d
    xorl %ecx, %ecx
    movq main@GOTPCREL(%rip), %rdi
    call *__libc_start_main@GOTPCREL(%rip)
    hlt
    .section .note.GNU-stack,"",@progbits
"""
"""`__libc_start_main(main, argc, argv, init, fini, rtld_fini, stack_end)`, without init and fini. Source: System V ABI,
AMD64 supplement, section 3.4.1 (process initialization), and Linux Standard Base, libc."""


def build_directly(units: Sequence[Path], flags: Sequence[str], unicorn: Path, folder: Path) -> None:
    """Write `LIBRARY` and `SERVER` to a folder. `unicorn` is the folder of unicorn's package.

    Raises EngineError where this machine is not one for which that is known to work, or where it does not.
    """
    if platform.machine() != "x86_64":
        raise EngineError("the engine is built directly for x86-64 alone")
    library = unicorn / "lib" / "libunicorn.so.2"
    c_library, loader = _find_c_library(), _find_loader()
    compiler = [*glibc_driver(), *COMPILER_FLAGS, *flags, f"-I{unicorn / 'include'}", "-c"]
    linker = [*linker_command(), *LINKER_FLAGS, f"-rpath={library.parent}"]
    with temporary_folder() as objects:
        start = objects / "start.S"
        start.write_text(_START, encoding="utf-8")
        names = {unit: str(objects / f"{unit.stem}.o") for unit in (start, *units)}
        inputs = [*(names[unit] for unit in units), str(library), c_library]
        program = ["-pie", f"--dynamic-linker={loader}", names[start]]
        try:
            _run_side_by_side([[*compiler, str(unit), "-o", name] for unit, name in names.items()])
            _run_side_by_side(
                [
                    [*linker, "-shared", *inputs, "-o", str(folder / LIBRARY)],
                    [*linker, *program, *inputs, "-o", str(folder / SERVER)],
                ]
            )
        except ClangError as error:
            raise EngineError(f"the engine can't be built directly: {error}") from error
    try:
        status = subprocess.run([folder / SERVER], capture_output=True, timeout=_SECONDS).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"the engine, built directly, does not start: {error}") from error
    if status != _USAGE_STATUS:
        raise EngineError(f"the engine, built directly, does not start: status {status}")


def _run_side_by_side(commands: Sequence[Sequence[str]]) -> None:
    """Run commands of the toolchain, as many at a time as there are cores. Raises ClangError."""
    running: list[ToolRun] = []
    for command in commands:
        if len(running) >= len(os.sched_getaffinity(0)):
            running.pop(0).result()
        running.append(ToolRun(command))
    for run in running:
        run.result()


def _find_c_library() -> str:
    """The C library that this process has loaded. Raises EngineError where it is not glibc."""
    try:
        found = _C_LIBRARY.search(Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise EngineError(f"the engine can't be built directly: {error}") from error
    if found is None:
        raise EngineError("the engine is built directly for glibc alone")
    return found[1]


def _find_loader() -> str:
    """The loader of this process's own program. Raises EngineError where it has none."""
    try:
        with Path("/proc/self/exe").open("rb") as program:
            segments = ELFFile(program).iter_segments("PT_INTERP")
            return str(next(segments).get_interp_name())
    except (OSError, ELFError, StopIteration) as error:
        raise EngineError(f"the engine can't be built directly: no loader: {error}") from error
