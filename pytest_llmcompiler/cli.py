"""The command `llmc`: the judge, the comparison, the linker and the server outside of pytest.

A module that loads LLVM or the emulator is imported by the command that needs it, so that `llmc --help` is quick.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmcompiler import __version__
from pytest_llmcompiler.errors import (
    AssemblyError,
    CaseError,
    ClangError,
    DatasetError,
    JudgeError,
    LinkError,
    LLMCompilerError,
    ModelError,
    NativeLinkError,
    NoCodeError,
    SettingError,
)
from pytest_llmcompiler.files import replace_file
from pytest_llmcompiler.service.http.arguments import (
    add_native_arguments,
    add_server_arguments,
    parse_count,
    parse_effort,
)
from pytest_llmcompiler.targets import list_target_names
from pytest_llmcompiler.targets.target import DEFAULT

if TYPE_CHECKING:
    from pytest_llmcompiler.program.reference import Reference

IMPORT_FORMATS = ("exebench", "llm4decompile", "decompile-bench", "supercoder", "anghabench", "ir", "jsonl")
"""The formats of data sets that `llmc import` reads."""
_PASS, _FAIL, _ERROR, _INCONCLUSIVE = 0, 1, 2, 3
"""Exit statuses of `llmc judge`. argparse also exits with 2 for a command that it can't parse."""
_EXIT_STATUSES = "exit status: 0 pass, 1 any other verdict, 2 no verdict because of an error, 3 inconclusive"


class _UserError(LLMCompilerError):
    """A command can't be carried out; the message says why."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Exits with a message and status 2 for a command line that can't be parsed. Exits with a message if the command can't
    be carried out: with status 2 for `judge`, whose status 1 is a verdict, otherwise with status 1.
    """
    options = _build_parser().parse_args(arguments)
    try:
        options.run(options)
    except (_UserError, CaseError, ClangError, DatasetError, ModelError, NativeLinkError, SettingError) as error:
        _exit_with(f"llmc: {error}", options.error_status)
    except JudgeError as error:  # its message may be the traceback of the judge's process
        _exit_with(f"llmc: the judge failed: {str(error).strip().splitlines()[-1]}", options.error_status)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports SIGINT: 128 + 2


def _exit_with(message: str, status: int) -> None:
    if status == 1:
        sys.exit(message)
    print(message, file=sys.stderr)
    sys.exit(status)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "llmc",
        description="Judge, compare and link machine code from language models, outside of pytest.",
        epilog="`llmc COMMAND --help` shows an example of each command.",
    )
    parser.add_argument("--version", action="version", version=f"llmc {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_judge(commands)
    _add_compare(commands)
    _add_link(commands)
    _add_serve(commands)
    _add_import(commands)
    return parser


_Commands = argparse._SubParsersAction  # argparse gives its type no public name


def _add_judge(commands: _Commands[argparse.ArgumentParser]) -> None:
    judge = commands.add_parser(
        "judge",
        help="judge assembly for a function of a C or LLVM IR file",
        description="Run assembly beside the clang-compiled function on generated inputs, and print the verdict with "
        "its evidence.",
        epilog="example:\n"
        "  llmc judge cases/git_lfs.c --function validate --assembly validate.s\n"
        f"  llmc judge sum.c --function sum --json < answer.txt\n\n{_EXIT_STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    judge.add_argument("case", type=Path, metavar="CASE", help="the C or LLVM IR file of the function")
    judge.add_argument(
        "--function", type=_read_name, required=True, metavar="NAME", help="the function that the assembly implements"
    )
    judge.add_argument(
        "--assembly",
        default="-",
        metavar="FILE",
        help="the assembly, or a model's answer with assembly in it; - is standard input (default: -)",
    )
    judge.add_argument(
        "--target",
        choices=list_target_names(),
        default=DEFAULT,
        metavar="NAME",
        help=f"processor and system of the code: {', '.join(list_target_names())} (default: {DEFAULT})",
    )
    judge.add_argument(
        "--examples", type=parse_count, default=100, metavar="N", help="inputs to generate (default: 100)"
    )
    judge.add_argument(
        "--effort",
        type=parse_effort,
        default=1.0,
        metavar="FACTOR",
        help="code that passes all inputs is looked at once more, on inputs made for it: 1 takes at most as long "
        "again, 0 leaves it out (default: 1)",
    )
    judge.add_argument(
        "--prove",
        action="store_true",
        help="try to prove that code which passes is equal to the reference on every input; needs "
        "pytest-llmcompiler[prove]",
    )
    add_native_arguments(judge, "auto")
    judge.add_argument(
        "--program",
        action="store_true",
        help="the assembly is the whole program; --function is main. The same as the directive `LLMC: program`",
    )
    judge.add_argument(
        "--cflags",
        metavar="FLAGS",
        help="flags of clang for a C file, as one argument: --cflags='-std=gnu89 -Iinclude'",
    )
    judge.add_argument(
        "--json", action="store_true", help="print one JSON object: `verdict` and `detail` as in records"
    )
    judge.set_defaults(run=_judge, error_status=_ERROR)


def _add_compare(commands: _Commands[argparse.ArgumentParser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="compare two records of sessions",
        description="Compare the second of two records (pytest --llmc-record) with the first, over the items that both "
        "have judged: pass@1, the difference with its 95 % interval, and a paired test.",
        epilog="example:\n  llmc compare before.jsonl after.jsonl",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument("first", type=Path, metavar="A.jsonl")
    compare.add_argument("second", type=Path, metavar="B.jsonl")
    compare.set_defaults(run=_compare, error_status=1)


def _add_link(commands: _Commands[argparse.ArgumentParser]) -> None:
    link = commands.add_parser(
        "link",
        help="link a program with assembly in the place of one of its functions",
        description="Remove a function from a program and link assembly in its place. Everything else stays.",
        epilog="example:\n  llmc link cases/git_lfs.c --function validate --assembly validate.s -o git_lfs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    link.add_argument("case", type=Path, metavar="CASE", help="the C or LLVM IR file of the program")
    link.add_argument(
        "--function", type=_read_name, required=True, action="append", metavar="NAME", help="the function to replace"
    )
    link.add_argument("--assembly", required=True, type=Path, metavar="FILE", help="its new code")
    link.add_argument("-o", required=True, type=Path, metavar="OUT", dest="output", help="the program to write")
    link.set_defaults(run=_link, error_status=1)


def _add_serve(commands: _Commands[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="judge answers that are sent over HTTP",
        description="Judge batches of answers that are sent over HTTP: POST /judge, GET /health, GET /metrics. "
        "Needs pytest-llmcompiler[serve].",
        epilog="example:\n  llmc serve --host 0.0.0.0 --token-file token",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_server_arguments(serve)
    serve.add_argument(
        "--column",
        type=_parse_column,
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="for /openrlhf and /verify: the dataset's column for a field of a sample, such as source=code",
    )
    serve.add_argument(
        "--staged", action="store_true", help="for /openrlhf and /verify: rewards by stage, not 1 for `pass` alone"
    )
    serve.set_defaults(run=_serve, error_status=1)


def _add_import(commands: _Commands[argparse.ArgumentParser]) -> None:
    importing = commands.add_parser(
        "import",
        help="turn a data set into a folder of cases",
        description="Turn a data set into a folder of cases, with a record of the answers that it holds and a manifest "
        "of what was taken and what was not.",
        epilog="example:\n"
        "  llmc import llm4decompile decompile-eval.json humaneval\n"
        "  llmc import jsonl rows.jsonl.gz mine --columns source=code,function=name,tests=test",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    importing.add_argument("format", choices=IMPORT_FORMATS, metavar="FORMAT", help=", ".join(IMPORT_FORMATS))
    importing.add_argument(
        "source", type=Path, metavar="FILE", help="the file of rows, or a folder of such files or of C or IR files"
    )
    importing.add_argument("target", type=Path, metavar="DIR", help="the folder to write, which must be new or empty")
    importing.add_argument(
        "--columns",
        metavar="FIELD=COLUMN,…",
        help="for the format jsonl: the columns of the rows, such as source=code,function=name",
    )
    importing.set_defaults(run=_import, error_status=1)


def _read_name(text: str) -> str:
    """A name of the command line, in UTF-8 as source files are, whatever the locale says. Python decodes it by that."""
    try:
        return os.fsencode(text).decode()
    except UnicodeDecodeError:
        return text


def _parse_column(text: str) -> tuple[str, str]:
    from pytest_llmcompiler.rewards.columns import Columns

    field, _, column = text.partition("=")
    known = [field.name for field in dataclasses.fields(Columns)]
    if field not in known or not column:
        raise argparse.ArgumentTypeError(f"expected FIELD=COLUMN with one of {', '.join(known)}, found {text!r}")
    return field, column


def _judge(options: argparse.Namespace) -> None:
    from pytest_llmcompiler.judge.api import check_file
    from pytest_llmcompiler.program.flag_words import split_words
    from pytest_llmcompiler.report.cost_ratios import describe_cost

    assembly = _read_standard_input() if options.assembly == "-" else _read_bytes(Path(options.assembly))
    verdict = check_file(
        options.case,
        options.function,
        assembly.decode("utf-8", "replace"),
        examples=options.examples,
        target=options.target,
        effort=options.effort,
        prove=options.prove,
        cflags=split_words(options.cflags, "--cflags") if options.cflags else (),
        native=options.native,
        isa=options.isa,
        program=options.program,
    )
    if options.json:
        _print(json.dumps({"case": str(options.case), "function": options.function, **verdict.to_json()}))
    else:
        cost = describe_cost(verdict.detail.get("cost"))
        _print(str(verdict) + (f"\n  cost      {cost}" if cost else ""))
    sys.exit(_PASS if verdict.passed else _FAIL if verdict.conclusive else _INCONCLUSIVE)


def _compare(options: argparse.Namespace) -> None:
    from pytest_llmcompiler.report.comparison import compare_files

    _print("\n".join(compare_files(options.first, options.second)))


def _link(options: argparse.Namespace) -> None:
    from pytest_llmcompiler.program.case import read_case
    from pytest_llmcompiler.program.clang import Toolchain
    from pytest_llmcompiler.program.reference import Reference

    if len(options.function) > 1:
        names = ", ".join(options.function)
        raise _UserError(f"one function at a time can be replaced, and these are {len(options.function)}: {names}")
    [function] = options.function
    reference = Reference(read_case(options.case), Toolchain())
    defined = reference.golden.functions
    if function not in defined:
        names = ", ".join(sorted(defined))
        raise _UserError(f"{options.case}: no function {function!r} is defined here; there are: {names}")
    _write_program(options.output, _link_file(reference, function, options.assembly))


def _link_file(reference: Reference, function: str, path: Path) -> bytes:
    """The program with the assembly of a file in the place of a function. Errors name the file and the line in it."""
    from pytest_llmcompiler.model.answer import Answer
    from pytest_llmcompiler.model.extract.assembly import extract_assembly
    from pytest_llmcompiler.repro.link import link_program

    try:
        text = _read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _UserError(f"{path}: can't be read: {error}") from error
    try:
        return link_program(reference, function, extract_assembly(Answer(text), function).aligned_text)
    except OSError as error:
        raise _UserError(f"can't link: {error}") from error
    except NoCodeError as error:
        raise _UserError(f"{path}: no assembly: {error}") from error
    except AssemblyError as error:
        location = f":{error.line}:{error.column}" if error.line else ""
        raise _UserError(f"{path}{location}: {error}") from error
    except LinkError as error:
        raise _UserError(f"{path}: {error}") from error


def _import(options: argparse.Namespace) -> None:
    from pytest_llmcompiler.importers.importing import describe_summary, import_dataset
    from pytest_llmcompiler.importers.table import parse_columns

    if (options.format == "jsonl") != (options.columns is not None):
        raise _UserError("--columns names the columns of the format jsonl, and of no other")
    columns = parse_columns(options.columns) if options.columns is not None else None
    summary = import_dataset(options.format, options.source, options.target, columns)
    _print("\n".join(describe_summary(summary)))
    if not summary.cases:
        raise _UserError(f"no row could be taken; {options.target / 'manifest.jsonl'} says why")


def _serve(options: argparse.Namespace) -> None:
    from pytest_llmcompiler.rewards.columns import Columns
    from pytest_llmcompiler.rewards.routes import CONSTANTS, build_faces
    from pytest_llmcompiler.service.http.command import read_settings, run_server

    faces = build_faces(Columns(**dict(options.column)), "staged" if options.staged else None)
    # A reward by stage depends on the share of inputs on which code that runs and fails is right.
    sys.exit(run_server(read_settings(options, count_agreeing=options.staged), faces, CONSTANTS))


def _print(text: str) -> None:
    """Print to standard output. A reader that has closed its end of a pipe, such as `head`, is no error."""
    try:
        sys.stdout.write(_spell(text, sys.stdout.encoding) + "\n")
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer goes nowhere. Otherwise the interpreter tries again, and fails, when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise _UserError(f"can't write to standard output: {error.strerror}") from error


def _spell(text: str, encoding: str | None) -> str:
    """A text with escapes for the characters that an encoding lacks."""
    return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")


def _read_standard_input() -> bytes:
    if sys.stdin is None:
        raise _UserError("standard input is closed; name a file with --assembly FILE")
    if sys.stdin.isatty():
        print("llmc: type or paste the assembly, and end it with Ctrl-D", file=sys.stderr)
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise _UserError(f"can't read standard input: {error.strerror}") from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _UserError(f"{path}: can't be read: {error.strerror}") from error


def _write_program(path: Path, program: bytes) -> None:
    try:
        with replace_file(path) as part:
            part.write_bytes(program)
            part.chmod(0o755)
    except OSError as error:
        raise _UserError(f"{path}: can't be written: {error.strerror}") from error
