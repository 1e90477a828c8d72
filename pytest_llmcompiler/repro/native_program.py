"""The files of a reproducer that make a native program: objects, `input.c`, the runner, `run`, commands for gdb."""

from __future__ import annotations

import functools
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_llmcompiler.assembler.assemble import build_linkable_object
from pytest_llmcompiler.assembler.linkage import DEBUG_FILE_NAME, Linkage
from pytest_llmcompiler.emulator.native.build import SHARED_HEADER
from pytest_llmcompiler.judge.reproducer import Reproducer
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case_symbols import collect_case_symbols
from pytest_llmcompiler.program.clang import compile_c
from pytest_llmcompiler.program.glibc import find_glibc_objects
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.program.static_link import link
from pytest_llmcompiler.repro.c_source import ReproSurroundings, format_source
from pytest_llmcompiler.repro.folder_files import FolderFiles
from pytest_llmcompiler.repro.link import ProgramRest, compile_without, describe_surroundings, linkage_with_thunks
from pytest_llmcompiler.targets import get_target

_FREESTANDING = ("-O1", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-sanitize=all", "-fno-pie", "-w")
"""Flags of the runner, which must not call the C library: the program may define any of its names."""
_RUNNER_FILES = {
    Path(__file__).with_name("runner.c"): "runs reference and candidate on the input, and prints the differences",
    Path(__file__).with_name("runner.h"): "what input.c and runner.c share",
    SHARED_HEADER: "how code runs on the processor itself, as in the judge",
}
_LINKING = ("--gc-sections", "--compress-debug-sections=zlib")
_LINK_SCRIPT = f"""
import pathlib, sys
from pytest_llmcompiler.program.static_link import link
program = pathlib.Path("run")
program.write_bytes(link([pathlib.Path(name).read_bytes() for name in sys.argv[1:]], *{_LINKING!r}))
program.chmod(0o755)
"""
_ENVIRONMENT_FUNCTION = re.compile(r"clock\w*|time|gettimeofday|timespec_get|times|getpid|gettid|getrandom|getentropy")
"""Library functions whose results the judge derives from the input, and that a native run gets from the machine."""


@dataclass(frozen=True)
class FailingCandidate:
    """A candidate that failed, in the place of a function of a case."""

    reference: Reference
    function: str
    assembly: str
    verdict: Verdict

    @property
    def reference_symbol(self) -> str:
        """The name under which the program keeps the function's own code."""
        return f"{self.function}__reference"


class NativeProgramWriter:
    """Writes native programs into folders. The compiled rest of the latest function's program is kept, because samples
    of one function follow each other."""

    def __init__(self) -> None:
        self._rest_key: tuple[Path, str] | None = None
        self._rest: ProgramRest | None = None

    def write_object(self, files: FolderFiles, candidate: FailingCandidate) -> None:
        """Write the object of a candidate that never ran. Raises AssemblyError and LinkError."""
        linkage = Linkage(candidate.function, candidate.reference.golden.aliases)
        files.write("candidate.o", _build_object(candidate, linkage), "its object")

    def write_program(self, files: FolderFiles, candidate: FailingCandidate, reproducer: Reproducer) -> Iterator[str]:
        """Write the program that shows the failure, and yield notes on what it can't show.

        Raises CaseError, ClangError, AssemblyError, LinkError, NativeLinkError and ReproSourceError where there is no
        program, and LookupError, TypeError, ValueError, AttributeError or OverflowError where the reproducer makes no
        sense.
        """
        function, kept_as = candidate.function, candidate.reference_symbol
        rest = self._compile_rest(candidate)
        surroundings = describe_surroundings(candidate.reference, function, kept_as, rest, candidate.assembly)
        linkage = linkage_with_thunks(candidate.reference, surroundings)
        candidate_object = _build_object(candidate, linkage)
        files.write("candidate.o", candidate_object, "its object")
        files.write("program.ll", rest.ir, f"the program with {function} only declared, and its own code as {kept_as}")
        if "fault" in reproducer:
            yield f"There is no `run`: the judge could not capture the failure.\n{reproducer['fault']}"
            return
        glibc = find_glibc_objects(candidate_object)
        for name, data in glibc.items():
            files.write(name, data, "functions of glibc that the candidate names")
        input_object = _write_sources(files, candidate, reproducer, surroundings, tuple(glibc))
        objects = [candidate_object, rest.object, input_object, _runner_object(), *glibc.values()]
        files.write("run", link(objects, *_LINKING), "shows the failure", executable=True)
        files.write("break.gdb", _format_breakpoint(reproducer), "stops a debugger where the candidate goes wrong")
        yield from reproducer["notes"]
        yield from _native_limits(candidate, reproducer)

    def _compile_rest(self, candidate: FailingCandidate) -> ProgramRest:
        key = candidate.reference.case.path, candidate.function
        if self._rest is None or self._rest_key != key:
            self._rest = compile_without(candidate.reference, candidate.function, candidate.reference_symbol)
            self._rest_key = key
        return self._rest


def _build_object(candidate: FailingCandidate, linkage: Linkage) -> bytes:
    case = collect_case_symbols(candidate.reference)
    return build_linkable_object(candidate.assembly, candidate.reference.golden.addresses, linkage, case=case)


def _write_sources(
    files: FolderFiles,
    candidate: FailingCandidate,
    reproducer: Reproducer,
    surroundings: ReproSurroundings,
    libraries: tuple[str, ...],
) -> bytes:
    """Write the C files and the script that builds `run` from them and from `libraries`, which are objects. Returns the
    object of `input.c`."""
    source = format_source(reproducer, surroundings, candidate.verdict)
    files.write("input.c", source, f"the input of {candidate.function}")
    for path, description in _RUNNER_FILES.items():
        files.write(path.name, path.read_text(encoding="utf-8"), description)
    files.write("build.sh", _format_build_script(libraries), "builds `run` again", executable=True)
    return compile_c(files.folder / "input.c", *_FREESTANDING, "-g0")


def _native_limits(candidate: FailingCandidate, reproducer: Reproducer) -> Iterator[str]:
    """What a native run can't show as the emulator did."""
    mentioned = candidate.reference.mentioned_globals(candidate.function)
    if any(_ENVIRONMENT_FUNCTION.fullmatch(name) for name in mentioned):
        yield (
            "In the emulator the clock, random bytes and the number of the process are part of the input; "
            "here they are the machine's."
        )
    if reproducer["whole_program"]:
        yield "The name of the program is `./run`, and it runs on the process's own stack."


def _format_breakpoint(reproducer: Reproducer) -> str:
    """Commands for gdb that run the candidate alone up to the line where it goes wrong."""
    line, ignored_hits = int(reproducer["breakpoint"]["line"]), int(reproducer["breakpoint"]["ignored_hits"])
    commands = [
        "set pagination off",
        "set confirm off",
        "set environment LLMC_DEBUG=1",
        f"break {DEBUG_FILE_NAME}:{line}",
    ]
    if ignored_hits:
        commands.append(f"ignore $bpnum {ignored_hits}")
    return "\n".join((*commands, "run")) + "\n"


def _format_build_script(libraries: tuple[str, ...]) -> str:
    """A script that builds `run` from the other files, with this package and its toolchain."""
    objects = " ".join(("candidate.o", "program.o", "input.o", "runner.o", *libraries))
    clang = f"-m ziglang cc -target {get_target().zig_target}"
    return "\n".join((
        "#!/bin/sh",
        "# Needs pytest-llmcompiler, which wrote this file: PYTHON=... names a Python that has it.",
        'set -e; cd "$(dirname "$0")"',
        f'[ -n "$PYTHON" ] || PYTHON={shlex.quote(sys.executable)}',
        f'"$PYTHON" {clang} {" ".join(_FREESTANDING)} -c runner.c -o runner.o',
        f'"$PYTHON" {clang} {" ".join(_FREESTANDING)} -c input.c -o input.o',
        f'"$PYTHON" {clang} -O0 -w -fno-sanitize=all -c program.ll -o program.o',
        f'"$PYTHON" -c {shlex.quote(_LINK_SCRIPT)} {objects}',
    )) + "\n"  # fmt: skip


@functools.cache
def _runner_object() -> bytes:
    return compile_c(Path(__file__).with_name("runner.c"), *_FREESTANDING, "-g0", f"-I{SHARED_HEADER.parent}")
