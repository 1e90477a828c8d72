"""IR of unknown origin becomes assembly, by LLVM, in a process that may die of it.

The IR is hostile: it may crash LLVM, or hold inline assembly that reads files. The process can open no file, and has
limits of time and memory. The assembly that it returns is as untrusted as a model's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler.gas import parse_assembly
from pytest_llmcompiler.assembler.llvm_engine import build_object_call
from pytest_llmcompiler.assembler.quoted_names import add_quotes
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
from pytest_llmcompiler.letters import name_part
from pytest_llmcompiler.lowering.canonical import canonicalise_module
from pytest_llmcompiler.program.ir import (
    binary_size,
    count_instructions,
    data_layout,
    emit_assembly,
    emit_object,
    has_assembler,
    object_size,
    parse,
    read_bitcode,
)
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.targets.target import Target

_SECONDS, _SECONDS_PER_MEBIBYTE = 5, 20
"""CPU time that LLVM may take for one answer, and for each MiB of it. A usual answer takes milliseconds; some make LLVM
hang, such as a load of an integer of 8 million bits."""
MEGABYTES = 1024
"""Memory that LLVM may take for one answer, in MiB, on top of the calling process's."""

_POSITION = re.compile(r"<string>:(\d+):(\d+): error: ")
_PROCESSOR_ATTRIBUTE = re.compile(r'"(?:target-(?:features|cpu)|tune-cpu)"="[^"\n]*"')
"""Attributes that ask for the code of another processor than the target's."""
_EXTENSION = re.compile(r"\+(?:s?sse3|sse4\.[12]|popcnt|aes|pclmul|crc32|cx16)")
"""Extensions of x86-64 that code for the target may use. Without them LLVM can't compile their intrinsics."""
_QUOTED = re.compile(r'"[^"\n]*"')
_INLINE_ASSEMBLY = re.compile(r'^module asm|\basm (?:sideeffect |alignstack |inteldialect |unwind )*""', re.MULTILINE)
"""Inline assembly in IR whose strings are empty."""
_LOCAL_LABEL = re.compile(rf"(?<![\w.$])\.L{name_part('.$')}+")
_LAST_WORDS = re.compile(r"(?:LLVM ERROR|error): ([^\n]+)")
"""The message that LLVM prints before it ends its process."""
_QUOTED_LINES = slice(1, 5)
"""The lines of a message in which LLVM quotes the line at fault."""


def limit_seconds(text: str | bytes) -> int:
    """CPU time that LLVM may take for a module or a pass list over it."""
    return _SECONDS + (_SECONDS_PER_MEBIBYTE * len(text) >> 20)


class LoweredModule(NamedTuple):
    """A module, and the code that LLVM makes of it."""

    assembly: str
    """In AT&T syntax on x86-64."""
    instruction_count: int
    """Instructions of IR in all functions."""
    object_bytes: int
    """The size of text and data in the object file."""
    canonical_ir: str
    """The IR without the names of values."""
    has_assembly: bool
    """Whether the module contains assembly: inline, or at its top level."""


def lower_module(source: str | bytes, level: str | None, target: Target) -> LoweredModule:
    """Lower IR as clang would at an optimisation level. `source` is text or bitcode. Raises LoweringError."""
    _warm_up(level, target)
    try:
        answer = sandbox.call(_lower, source, level, target, seconds=limit_seconds(source), megabytes=MEGABYTES)
    except ChildTimeoutError as error:
        raise LoweringError(f"LLVM makes no code of it: {error}") from None
    except ChildDiedError as death:
        last_words = _LAST_WORDS.search(death.stderr)
        reason = last_words[1] if last_words else death.reason
        raise LoweringError(f"LLVM makes no code of it: {reason}") from None
    if "refusal" in answer:
        raise _locate_refusal(answer["refusal"], source if isinstance(source, str) else "")
    return LoweredModule(**answer)


@functools.cache
def _warm_up(level: str | None, target: Target) -> None:
    """Load and initialise LLVM in this process: the children, which fork from it, can open no file."""
    module = "define void @f() {\n  ret void\n}\n"
    emit_assembly(parse(module), level, target)
    binary_size(module, target)


def _keep_extensions(attribute: re.Match[str]) -> str:
    extensions = ",".join(_EXTENSION.findall(attribute[0]))
    return f'"target-features"="{extensions}"' if extensions else ""


def _lower(source: str | bytes, level: str | None, target: Target) -> dict[str, Any]:
    """The fields of a LoweredModule, or a `refusal`. To be called in a sandbox only."""
    try:
        text = source if isinstance(source, str) else read_bitcode(source)
        module = parse(text)
        if not target.accepted_triples.fullmatch(module.triple):
            return {"refusal": f"its target triple is {module.triple!r}, and the code is to run on {target.triple}"}
        layout = data_layout(target)

        def parse_again() -> Any:
            """A fresh module for the target: LLVM changes a module while it makes code of it."""
            fresh = parse(_PROCESSOR_ATTRIBUTE.sub(_keep_extensions, text))
            fresh.triple, fresh.data_layout = target.triple, layout
            return fresh

        return {
            "assembly": emit_assembly(parse_again(), level, target),
            "instruction_count": count_instructions(module),
            "object_bytes": object_size(emit_object(parse_again(), target)),
            "has_assembly": _INLINE_ASSEMBLY.search(_QUOTED.sub('""', print_ir(module))) is not None,
            "canonical_ir": canonicalise_module(module, target),
        }
    except IRError as error:
        return {"refusal": str(error)}
    except UnicodeDecodeError:  # llvmlite reads every name as UTF-8.
        return {"refusal": "a name in it is not valid UTF-8"}


def _locate_refusal(message: str, source: str) -> LoweringError:
    """The error for LLVM's message, at the position that it names, or at the one line of the text that it quotes."""
    message = message.removeprefix("LLVM IR parsing error\n")
    position = _POSITION.match(message)
    if position:
        return LoweringError(message[position.end() :].split("\n")[0], int(position[1]), int(position[2]))
    quoted = [line.strip() for line in message.splitlines()[_QUOTED_LINES] if line.strip()]
    lines = [line.partition(";")[0].strip() for line in source.splitlines()]
    number = next((lines.index(line) + 1 for line in quoted if lines.count(line) == 1), 0)
    return LoweringError(message, number, 1 if number else 0)


def measure_object(assembly: str, target: Target) -> int | None:
    """Bytes of text and data in the object that LLVM's assembler makes of an answer; None where it makes none."""
    _warm_up(None, target)
    try:
        parsed = parse_assembly(assembly, target.dialect)
        syntax = target.dialect.syntax_directives.get(parsed.syntax, "")
        # The text may refer to private data of the program by a local label. LLVM wants local labels to be defined, so
        # those that are not get another first letter.
        text = _LOCAL_LABEL.sub(lambda name: name[0] if name[0] in parsed.labels else f"x{name[0][1:]}", parsed.source)
        text = "\n".join(map(add_quotes, text.split("\n")))
        object_call = build_object_call(target, f"{syntax}\n{text}\n")
        size = sandbox.call(
            _measure_object,
            *object_call,
            seconds=limit_seconds(text),
            megabytes=MEGABYTES,
            is_confined=has_assembler(target),
        )
        return int(size)
    except (AssemblyError, LinkError, UnsupportedError, SandboxError):
        return None


def _measure_object(build_object: Callable[..., bytes], *arguments: Any) -> int:
    return object_size(build_object(*arguments))
