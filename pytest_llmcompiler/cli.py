"""The command `llmc`, for use outside of pytest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_llmcompiler.errors import (
    AssemblyError,
    CaseError,
    ClangError,
    LinkError,
    LLMCompilerError,
    NativeLinkError,
    NoCodeError,
)
from pytest_llmcompiler.files import replace_file
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.repro.link import link_program


class _UserError(LLMCompilerError):
    """What is wrong with a command, in words."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. Exits with status 1, and a message, where it can't be done; with 2 where it is misspelt."""
    parser = argparse.ArgumentParser("llmc", description="Machine code from language models, outside of pytest.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    link = commands.add_parser(
        "link",
        help="link a program with assembly in the place of one of its functions",
        description="Take a function out of a program and link assembly in its place; everything else is kept.",
    )
    link.add_argument("case", type=Path, metavar="CASE", help="the C or LLVM IR file of the program")
    link.add_argument("--function", required=True, action="append", metavar="NAME", help="the function to replace")
    link.add_argument("--assembly", required=True, type=Path, metavar="FILE", help="its new code")
    link.add_argument("-o", required=True, type=Path, metavar="OUT", dest="output", help="the program to write")
    link.set_defaults(run=_link)
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except (_UserError, CaseError, ClangError, NativeLinkError) as error:
        sys.exit(f"llmc: {error}")


def _link(chosen: argparse.Namespace) -> None:
    function = _one(chosen.function)
    reference = Reference(read_case(chosen.case), Toolchain())
    defined = reference.golden.functions
    if function not in defined:
        known = ", ".join(sorted(defined))
        raise _UserError(f"{chosen.case}: no function {function!r} is defined here; there are: {known}")
    _write(chosen.output, _linked(reference, function, chosen.assembly))


def _linked(reference: Reference, function: str, path: Path) -> bytes:
    """The program with the text of a file in the place of a function; what is wrong with the text names its lines."""
    try:
        written = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _UserError(f"{path}: can't be read: {error}") from error
    try:
        return link_program(reference, function, extract_assembly(Answer(written), function).aligned_text)
    except OSError as error:
        raise _UserError(f"can't link: {error}") from error
    except NoCodeError as error:
        raise _UserError(f"{path}: no assembly: {error}") from error
    except AssemblyError as error:
        place = f":{error.line}:{error.column}" if error.line else ""
        raise _UserError(f"{path}{place}: {error}") from error
    except LinkError as error:
        raise _UserError(f"{path}: {error}") from error


def _one(names: Sequence[str]) -> str:
    if len(names) > 1:
        raise _UserError(f"one function at a time can be replaced, and these are {len(names)}: {', '.join(names)}")
    return names[0]


def _write(path: Path, data: bytes) -> None:
    try:
        with replace_file(path) as part:
            part.write_bytes(data)
            part.chmod(0o755)
    except OSError as error:
        raise _UserError(f"{path}: can't be written: {error.strerror}") from error
