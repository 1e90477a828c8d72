"""What `opt` does: a pass list over a module of IR.

It is done by the bundled linker, whose link-time optimiser takes any pipeline as text (`ld.lld --lto-newpm-passes`,
https://lld.llvm.org/) and is of the same LLVM as llvmlite, which writes IR that an older `opt` does not read.
"""

from __future__ import annotations

import re
import resource
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from pytest_llmcompiler.errors import OptimiserError, PassListError
from pytest_llmcompiler.program import ir
from pytest_llmcompiler.program.clang import linker
from pytest_llmcompiler.targets.target import Target

_LEVEL = re.compile(r"(module\()?(default<)?(O[0123sz])(?(2)>)(?(1)\))")
_LONGEST = 16_384
"""Characters of a pass list: a kernel takes no argument of more than eight times that."""
_OUTSIDE = re.compile(r"\b(view-[\w-]+|dot-[\w-]+)|(filename)\s*=", re.IGNORECASE)
"""Passes that open windows or write files of their own, and parameters that name files."""


def level_of(passes: str) -> str | None:
    """`O2` for `O2`, `default<O2>` and `module(default<O2>)`; None for any other pass list."""
    match = _LEVEL.fullmatch(passes)
    return match[3] if match else None


def optimised(
    text: str, passes: str, target: Target | None = None, *, seconds: float = 60.0, megabytes: int = 8192
) -> bytes:
    """Run a pass list (`O2`, or any that `opt -passes=` takes) over a module of IR, which is for the target where it
    names none; the result is bitcode.

    Whatever the list makes LLVM try ends after so many seconds, or with so much memory, in a process without
    environment in a folder of its own. Raises PassListError, OptimiserError, and IRError where the module is no IR.
    """
    level = level_of(passes)
    pipeline = f"default<{level}>" if level else passes
    _check(pipeline)
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        (Path(folder) / "module.bc").write_bytes(ir.bitcode(text, target))
        # Only with what is saved on the way do values keep their names, as they do in opt.
        flags = ("-r", "--threads=1", "--lto-emit-llvm", "--save-temps=opt", f"--lto-newpm-passes={pipeline}")
        status, said = _limited([*linker(), *flags, "module.bc", "-o", "made"], folder, seconds, megabytes)
        made = list(Path(folder).glob("made.*.opt.bc"))
        if status == 0 and made:
            return made[0].read_bytes()
    if (_UNKNOWN in said) and not made:
        raise PassListError(said.partition(_UNKNOWN)[2].strip().removeprefix(f"'{pipeline}': "))
    raise OptimiserError(f"LLVM does not get through the passes: {_ending(status, said, seconds)}")


_UNKNOWN = "unable to parse pass pipeline description "


def _check(pipeline: str) -> None:
    if not pipeline.strip():
        raise PassListError("an empty pass list")
    if len(pipeline) > _LONGEST or "\0" in pipeline:
        raise PassListError(f"a pass list has at most {_LONGEST} characters, none of them 0")
    outside = _OUTSIDE.search(pipeline)
    if outside and outside[1]:
        raise PassListError(f"the pass '{outside[1]}' reaches out of the compiler and is not run")
    if outside:
        raise PassListError(f"a pass with a parameter '{outside[2]}' reads or writes a file and is not run")


def _limited(command: list[str], folder: str, seconds: float, megabytes: int) -> tuple[int, str]:
    """Run a command with limits: its exit status, or less the signal that ended it, and what it printed last."""
    said = Path(folder) / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={"PATH": "/"}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    for kind, value in (
        (resource.RLIMIT_AS, megabytes << 20),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ProcessLookupError):  # it is done already
            resource.prlimit(process.pid, kind, (value, value))
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        status = _TIMED_OUT
    except BaseException:
        process.kill()
        process.wait()
        raise
    return status, said.read_bytes()[-_SAID:].decode("utf-8", "replace")


_FILE_BYTES = 64 << 20
_SAID = 65_536
_TIMED_OUT = 256
"""No exit status and no signal."""


def _ending(status: int, said: str, seconds: float) -> str:
    if status == _TIMED_OUT:
        return f"not finished after {seconds:g} s"
    fault = re.search(r"^(?:LLVM ERROR|ld\.lld: error|error): (.+)", said, re.M)
    how = f"ended by signal {-status}" if status < 0 else f"exited with status {status}"
    return f"{how}: {fault[1]}" if fault else how


def printed(bitcode: bytes, before: str, target: Target) -> str:
    """An optimised module as `opt -S` prints it: what was in the module `before` has the place that it had there."""
    text = ir.printed(bitcode)
    places = {name: place for place, name in enumerate(_NAME.findall(before))}

    def place(part: str) -> int:
        name = _NAME.search(part)
        return places.get(name[1], len(places)) if name else -1

    heads, *functions = _FUNCTION.split(text)
    *functions, last = functions
    last, *ends = _END.split(last, maxsplit=1)
    lines = sorted(heads.splitlines(), key=place)
    ends = ["\n".join(sorted(end.splitlines(), key=place)) for end in ends]
    moved = "\n\n".join(["\n".join(lines), *sorted([*functions, last], key=place), *ends])
    source = re.search(r"^source_filename = .*\n", before, re.M)
    moved = re.sub(r"^source_filename = .*\n", lambda _: source[0] if source else "", moved, flags=re.M)
    return ir.normalised(str(ir.parse(moved)), target).strip() + "\n"


_NAME = re.compile(r'^(?:(?:define|declare)\b[^@\n]*)?(@(?:"[^"\n]*"|[-\w$.]+)|![A-Za-z][\w.]*)(?=[ (])', re.MULTILINE)
"""What a module is made of: functions, global variables and named metadata."""
_FUNCTION = re.compile(r"\n\n(?=(?:; Function Attrs:[^\n]*\n)?(?:define|declare)\b)")
_END = re.compile(r"\n\n(?=attributes #|![\w.]+ = )")
