"""IR of unknown origin to assembly, by LLVM, in a process that may die of it.

Whatever the IR holds, inline assembly that reads files too, LLVM is given no file, and limits of time and memory. What
it writes is assembly of unknown origin, as any model's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler.gas import parse_assembly
from pytest_llmcompiler.assembler.llvm_engine import build_object_call
from pytest_llmcompiler.errors import (
    AssemblyError,
    ChildDiedError,
    ChildTimeoutError,
    IRError,
    LinkError,
    LoweringError,
    SandboxError,
    UnsupportedError,
)
from pytest_llmcompiler.lowering.canonical import canonical
from pytest_llmcompiler.program.ir import (
    binary_size,
    count_instructions,
    data_layout,
    emit_assembly,
    emit_object,
    object_size,
    parse,
    read_bitcode,
)
from pytest_llmcompiler.targets.target import Target

SECONDS, MEGABYTES = 20.0, 1024
"""What LLVM may take for an answer."""

_PLACE = re.compile(r"<string>:(\d+):(\d+): error: ")
_FEATURES = re.compile(r'"(?:target-(?:features|cpu)|tune-cpu)"="[^"\n]*"')
"""What asks for code of another processor than the target's."""
_QUOTED = re.compile(r'"[^"\n]*"')
_ASSEMBLY = re.compile(r'^module asm|\basm (?:sideeffect |alignstack |inteldialect |unwind )*""', re.MULTILINE)
_LOCAL = re.compile(r"(?<![\w.$])\.L[\w.$]+")
_ENDING = re.compile(r"(?:LLVM ERROR|error): ([^\n]+)")


class LoweredModule(NamedTuple):
    """What LLVM makes of a module."""

    assembly: str
    """AT&T on x86-64."""
    instructions: int
    """Of IR, in all its functions."""
    size: int
    """Bytes of text and data of its object file."""
    canonical: str
    """Its text without the names of values."""
    holds_assembly: bool
    """Whether there is assembly in the module."""


def lower_module(source: str | bytes, level: str | None, target: Target) -> LoweredModule:
    """Lower IR, given as text or as bitcode, as clang would at a level. Raises RefusedError."""
    _warm(level, target)
    try:
        made = sandbox.call(_lower, source, level, target, seconds=SECONDS, megabytes=MEGABYTES)
    except ChildTimeoutError as error:
        raise LoweringError(f"LLVM makes no code of it: {error}") from None
    except ChildDiedError as death:
        said = _ENDING.search(death.stderr)
        raise LoweringError(f"LLVM makes no code of it: {said[1] if said else death.reason}") from None
    if "refused" in made:
        raise _refused(made["refused"], source if isinstance(source, str) else "")
    return LoweredModule(**made)


@functools.cache
def _warm(level: str | None, target: Target) -> None:
    """Have here all that each child needs, which may open no file and would need longer."""
    module = "define void @f() {\n  ret void\n}\n"
    emit_assembly(parse(module), level, target)
    binary_size(module, target)


def _lower(source: str | bytes, level: str | None, target: Target) -> dict[str, Any]:
    """Only for a sandbox."""
    sandbox.forbid_opening_files()
    try:
        text = source if isinstance(source, str) else read_bitcode(source)
        module = parse(text)
        if not target.accepted_triples.fullmatch(module.triple):
            return {"refused": f"its target triple is {module.triple!r}, and the code is to run on {target.triple}"}
        layout = data_layout(target)

        def again() -> Any:  # what has been made code of is no good any more
            fresh = parse(_FEATURES.sub("", text))
            fresh.triple, fresh.data_layout = target.triple, layout
            return fresh

        return {
            "assembly": emit_assembly(again(), level, target),
            "instructions": count_instructions(module),
            "size": object_size(emit_object(again(), target)),
            "holds_assembly": _ASSEMBLY.search(_QUOTED.sub('""', str(module))) is not None,
            "canonical": canonical(module, target),
        }
    except IRError as error:
        return {"refused": str(error)}
    except UnicodeDecodeError:  # llvmlite reads every name as UTF-8
        return {"refused": "a name in it is no text in UTF-8"}


def _refused(message: str, source: str) -> LoweringError:
    """LLVM's message, with the place that it names or that the line it quotes has in the text."""
    message = message.removeprefix("LLVM IR parsing error\n")
    place = _PLACE.match(message)
    if place:
        return LoweringError(message[place.end() :].split("\n")[0], int(place[1]), int(place[2]))
    quoted = [line.strip() for line in message.splitlines()[1:5] if line.strip()]
    lines = [line.partition(";")[0].strip() for line in source.splitlines()]
    place_of = next((lines.index(line) + 1 for line in quoted if lines.count(line) == 1), 0)
    return LoweringError(message, place_of, 1 if place_of else 0)


def size_of(assembly: str, target: Target) -> int | None:
    """Bytes of text and data of the object that LLVM's assembler makes of a text as it is; None where it makes none."""
    _warm(None, target)
    try:
        unit = parse_assembly(assembly, target.dialect)
        syntax = target.dialect.syntax_directives.get(unit.syntax, "")
        # Private data of the program is nobody's in this text alone, and LLVM wants local symbols to be somebody's.
        placed = _LOCAL.sub(lambda name: name[0] if name[0] in unit.labels else f"x{name[0][1:]}", unit.source)
        object_call = build_object_call(target, f"{syntax}\n{placed}\n", SECONDS)
        return int(sandbox.call(_size_of, *object_call, seconds=SECONDS, megabytes=MEGABYTES))
    except (AssemblyError, LinkError, UnsupportedError, SandboxError):
        return None


def _size_of(make: Callable[..., bytes], *args: Any) -> int:
    return object_size(make(*args))
