"""A case: one C or LLVM IR file under test, with its `LLMC:` directives.

Directives are comments (`// LLMC: …`, `/* LLMC: … */` or `; LLMC: …`), one a line:

    LLMC: functions NAME, NAME…           only these (`static inline` helpers too)
    LLMC: passes O0, O2                   the pass lists of this file
    LLMC: cflags -std=gnu89 -Iinclude     flags of clang for this file; paths start at its folder
    LLMC: isa x86-64-v3                   the level of the instruction set that the file itself is compiled for
    LLMC: link FILE …                     other C or IR files of the program; `*` and `?` stand for any characters
    LLMC: tests FILE                      a C file whose `main` tests the functions, as it was published with them
    LLMC: tests FILE io                   the same, made from pairs of inputs and outputs
    LLMC: arg FUNCTION.ARG length BUF, …  ARG counts the elements of BUF (and of each further one)
    LLMC: arg FUNCTION.ARG range LO..HI   an integer from LO to HI, both included
    LLMC: arg FUNCTION.ARG elements N     a pointer to N elements (or LO..HI of them)
    LLMC: arg FUNCTION.ARG cstring        a pointer to a NUL-terminated string
    LLMC: arg FUNCTION.ARG non-null       a pointer that is never NULL
    LLMC: program                         the file is one whole program; `case_inputs` has what gives it inputs

ARG and BUF are parameter names, or positions counted from 0.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.files import escape_name
from pytest_llmcompiler.program.case_inputs import GivenInput, find_input_files, is_input_file, parse_literals
from pytest_llmcompiler.program.compile_flags import DIRECTIVE, ISA_DIRECTIVE, FlagSources, read_flags
from pytest_llmcompiler.program.directive_comments import find_directives, read_source
from pytest_llmcompiler.program.flag_words import CompileFlags
from pytest_llmcompiler.targets.levels import ISA_LEVELS, IsaLevel

SUFFIXES = (".c", ".ll")
"""The suffixes of files that can be cases."""


@dataclass(frozen=True)
class ArgRule:
    """The directives for one argument. A field without a directive is None, False or empty."""

    length_of: tuple[str, ...] = ()
    """The parameters whose number of elements this argument is."""
    range: tuple[int, int] | None = None
    """The least and the greatest value of an integer."""
    elements: tuple[int, int] | None = None
    """The least and the greatest number of elements behind a pointer."""
    cstring: bool = False
    """Whether a pointer leads to a NUL-terminated string."""
    non_null: bool = False
    """Whether a pointer is never null."""


TestKind = Literal["asserts", "io"]
"""Published tests: asserts that somebody wrote, or pairs of inputs and outputs."""


@dataclass(frozen=True)
class PublishedTests:
    """The tests that were published with a case. They are a unit of its program, whose `main` is the program's."""

    path: Path
    """The C file."""
    kind: TestKind
    where: str
    """The place of the directive, as `FILE:LINE`."""


@dataclass(frozen=True)
class Case:
    """One file under test."""

    path: Path
    name: str
    """The name in records: the path relative to the cases folder, with forward slashes."""
    functions: tuple[str, ...] = ()
    """The functions that a directive names. Empty for all functions that the file defines, without `static inline`
    ones and `main`."""
    passes: tuple[str, ...] = ()
    """The pass lists that a directive names. Empty for those of the session."""
    args: dict[tuple[str, str], ArgRule] = field(default_factory=dict)
    """The rules by function and parameter. A parameter is a name, or a position as text."""
    lines: dict[str, int] = field(default_factory=dict)
    """The 1-based line of the directive that names a function, or an argument (as FUNCTION.ARG). For messages."""
    compile_flags: tuple[CompileFlags, ...] = ()
    """The flags that clang compiles a C file with, in the order of the command line."""
    flag_sources: FlagSources = field(default_factory=FlagSources)
    """Where flags come from, besides directives."""

    isa: IsaLevel = "x86-64"
    """The level of the instruction set that the case itself is compiled for."""

    links: dict[Path, str] = field(default_factory=dict)
    """The other files of the program that directives name, with the place of the directive as `FILE:LINE`. The
    published tests are among them."""
    tests: PublishedTests | None = None
    """The tests that a directive names."""

    program_place: str = ""
    """The place of the directive that makes the file a whole program, as `FILE:LINE`; empty where there is none."""
    has_program_option: bool = False
    """Whether the case is a whole program where it has a `main`, without a directive."""
    given_inputs: tuple[GivenInput, ...] = ()
    """The standard inputs of directives."""
    arguments: tuple[tuple[bytes, ...], ...] = ()
    """The lists of arguments of directives."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The files of directives, by their names."""

    @property
    def wants_program(self) -> bool:
        """Whether the case is a whole program, if it has a `main`."""
        return bool(self.program_place) or self.has_program_option

    def list_given_inputs(self) -> tuple[GivenInput, ...]:
        """The standard inputs of directives and of files beside the case. Raises CaseError."""
        return (*self.given_inputs, *(find_input_files(self.path) if self._has_neighbours else ()))

    def list_input_files(self) -> tuple[Path, ...]:
        """What decides which files of inputs there are, and what is in them: their folder, and themselves. Nothing
        where the case is no whole program, or is the text of a source."""
        if not (self.wants_program and self._has_neighbours):
            return ()
        files = self.path.parent.glob(f"{glob.escape(self.path.stem)}.*")
        return (self.path.parent, *filter(is_input_file, files))

    @property
    def _has_neighbours(self) -> bool:
        """Whether files beside the case belong to it. The file of a source text lies among those of other sources,
        where a new one is written every moment."""
        return self.flag_sources.has_databases

    @property
    def cflags(self) -> tuple[str, ...]:
        """The flags that clang compiles a C file with, as one command line. Their paths are absolute."""
        return tuple(flag for group in self.compile_flags for flag in group.flags)

    @property
    def flag_files(self) -> tuple[Path, ...]:
        """The files, besides the case, that the flags are written in."""
        return tuple(file for flags in self.compile_flags for file in flags.files)

    @property
    def modes(self) -> tuple[str, ...]:
        """The flags that clang compiles a C file with, but for names of folders and files: they can lie elsewhere."""
        return tuple(flag for flag in self.cflags if not Path(flag).is_absolute())

    @property
    def is_ir(self) -> bool:
        """True for LLVM IR, False for C."""
        return self.path.suffix == ".ll"


_NAME = r"[A-Za-z_$.][\w$.]*"
_MAX_SHOWN = 200
"""Characters of a pattern that an error shows."""
_FORMS = (
    "`functions NAME, …`, `passes O0, …`, `cflags FLAG …`, `isa LEVEL`, `link FILE …`, `tests FILE`, "
    "`arg FUNCTION.ARG length BUF, …`, `arg FUNCTION.ARG range LO..HI`, "
    "`arg FUNCTION.ARG elements N` (or LO..HI), `arg FUNCTION.ARG cstring`, `arg FUNCTION.ARG non-null`, `program`, "
    '`stdin "TEXT"`, `argv "TEXT" …`, `file "NAME" "CONTENTS"`'
)


def read_case(
    path: Path, name: str | None = None, flag_sources: FlagSources | None = None, *, program: bool = False
) -> Case:
    """Read the directives of the file at `path`.

    `name` is the name in records; None is the file's own name. `flag_sources` is where flags of clang come from,
    besides the file's own directives. With `program`, a file with a `main` is one whole program. Raises CaseError for a
    file that can't be read and for an unknown directive.
    """
    if path.suffix not in SUFFIXES:
        raise CaseError(f"{path}: a case is a .c or .ll file, not {path.suffix or 'a file without suffix'}")
    source = read_source(path)
    sources = flag_sources or FlagSources()
    case = Case(
        path,
        escape_name(name or path.name),
        compile_flags=() if path.suffix == ".ll" else read_flags(path, sources),
        flag_sources=sources,
        has_program_option=program,
    )
    for number, text in find_directives(path, source):
        case = _add_input(case, number, text) or _add_directive(case, number, " ".join(text.split()))
    return case


def _add_input(case: Case, line: int, text: str) -> Case | None:
    """The case with one more directive about the inputs of a whole program; None for any other directive. Raises
    CaseError."""
    where = f"{case.path}:{line}"
    word, rest = (*text.split(maxsplit=1), "", "")[:2]
    if word == "program" and not rest:
        return replace(case, program_place=where)
    if word == "stdin":
        given = GivenInput(where, b"".join(parse_literals(rest, where)))
        return replace(case, given_inputs=(*case.given_inputs, given))
    if word == "argv":
        arguments = tuple(parse_literals(rest, where))
        if any(b"\0" in argument for argument in arguments):
            raise CaseError(f"{where}: an argument can't hold a zero byte")
        return replace(case, arguments=(*case.arguments, arguments))
    if word == "file":
        name, *contents = parse_literals(rest, where)
        return replace(case, files=case.files | {name.decode("utf-8", "surrogateescape"): b"".join(contents)})
    return None


def _add_directive(case: Case, line: int, text: str) -> Case:
    """The case with one more directive. Raises CaseError."""
    where = f"{case.path}:{line}"
    word, _, rest = text.partition(" ")
    if word == "functions":
        names = tuple(_parse_names(rest, where))
        lines = dict.fromkeys(names, line) | case.lines
        return replace(case, functions=case.functions + names, lines=lines)
    if word == "passes":
        return replace(case, passes=case.passes + tuple(_parse_passes(rest, where)))
    if word == "arg":
        function, parameter, rule = _parse_arg(rest, where)
        lines = {function: line} | case.lines | {f"{function}.{parameter}": line}
        old_rule = case.args.get((function, parameter), ArgRule())
        return replace(case, args=case.args | {(function, parameter): _merge_rules(old_rule, rule)}, lines=lines)
    if word == DIRECTIVE:  # `read_flags` has them
        if case.is_ir:
            raise CaseError(f"{where}: flags of clang are for C files, and this case is IR")
        return case
    if word == ISA_DIRECTIVE:
        if rest not in ISA_LEVELS:
            raise CaseError(f"{where}: expected one of {', '.join(ISA_LEVELS)}, found `{rest}`")
        return replace(case, isa=rest)
    if word == "link":
        files = _find_linked_files(case.path, rest, where)
        return replace(case, links=case.links | {path: where for path in files if path not in case.links})
    if word == "tests":
        tests = _find_tests(case, rest, where)
        return replace(case, tests=tests, links=case.links | {tests.path: where})
    raise _unknown_directive(where, text)


def _find_linked_files(case: Path, text: str, where: str) -> Iterator[Path]:
    """The files that a directive links with a case: absolute paths, in the order of the directive."""
    try:
        patterns = shlex.split(text)
    except ValueError as error:
        raise CaseError(f"{where}: can't read the file names `{text}`: {error}") from error
    if not patterns:
        raise CaseError(f"{where}: expected files to link, such as `util.c` or `lib/*.c`")
    for pattern in patterns:
        whole = Path(glob.escape(str(case.parent.absolute()))) / pattern
        try:
            names = sorted(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor))))
        except (OSError, ValueError, IndexError, NotImplementedError) as error:  # such as a name that is too long
            raise CaseError(f"{where}: can't look for files `{pattern[:_MAX_SHOWN]}`: {error}") from error
        if not names:
            raise CaseError(f"{where}: no file matches `{pattern[:_MAX_SHOWN]}`; paths start at {case.parent}")
        for path in map(Path, map(os.path.normpath, names)):
            if path.suffix not in SUFFIXES:
                raise CaseError(f"{where}: can link .c and .ll files, not {path.name}")
            if path.resolve() != case.resolve():
                yield path


def _find_tests(case: Case, text: str, where: str) -> PublishedTests:
    """The tests that a directive names. Raises CaseError."""
    if case.tests:
        raise CaseError(f"{where}: {case.tests.where} names tests already, and a program has one `main`")
    kind: TestKind = "io" if text.endswith(" io") else "asserts"
    paths = list(_find_linked_files(case.path, text.removesuffix(" io"), where))
    if len(paths) != 1:
        raise CaseError(f"{where}: expected one C file with tests, found {len(paths)}")
    return PublishedTests(paths[0], kind, where)


def _unknown_directive(where: str, text: str) -> CaseError:
    return CaseError(f"{where}: unknown directive `LLMC: {text}`; the forms are {_FORMS}")


def _parse_names(text: str, where: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(_NAME + r"|\d+", name) for name in names):
        raise CaseError(f"{where}: expected names separated by commas, found `{text}`")
    return names


def _parse_passes(text: str, where: str) -> list[str]:
    names = split_passes(text)
    if not all(names):
        raise CaseError(f"{where}: expected pass lists separated by commas, found `{text}`")
    return names


def split_passes(text: str) -> list[str]:
    """Split pass lists at commas. A comma in brackets is part of a pass list: `O0,function(sroa,instcombine)`."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "(<[") - (character in ")>]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _parse_arg(text: str, where: str) -> tuple[str, str, ArgRule]:
    match = re.fullmatch(rf"({_NAME}?)\.(\w+) +(\S+) *(.*)", text)
    if not match:
        raise _unknown_directive(where, f"arg {text}")
    function, parameter, kind, rest = match.groups()
    if kind == "length":
        return function, parameter, ArgRule(length_of=tuple(_parse_names(rest, where)))
    if kind == "range":
        return function, parameter, ArgRule(range=_parse_bounds(rest, where))
    if kind == "elements":
        low, high = _parse_bounds(rest, where)
        if low < 0:
            raise CaseError(f"{where}: a buffer can't have {low} elements")
        return function, parameter, ArgRule(elements=(low, high))
    if kind == "cstring" and not rest:
        return function, parameter, ArgRule(cstring=True)
    if kind == "non-null" and not rest:
        return function, parameter, ArgRule(non_null=True)
    raise _unknown_directive(where, f"arg {text}")


def _parse_bounds(text: str, where: str) -> tuple[int, int]:
    match = _BOUNDS.fullmatch(text)
    if not match:
        raise CaseError(f"{where}: expected a number or LO..HI, found `{text}`")
    low = int(match[1], 0)
    high = int(match[2], 0) if match[2] else low
    if low > high:
        raise CaseError(f"{where}: the range {low}..{high} is empty")
    return low, high


_NUMBER = r"-?(?:0x[0-9a-fA-F]{1,32}|0|[1-9][0-9]{0,38})"
"""A number of C, but no octal one, which reads like a decimal one. No type has longer ones."""
_BOUNDS = re.compile(rf"({_NUMBER})(?: *\.\. *({_NUMBER}))?")


def _merge_rules(old: ArgRule, new: ArgRule) -> ArgRule:
    """The rule of two directives for one argument. Where both set a field, the new one decides."""
    return ArgRule(
        length_of=new.length_of or old.length_of,
        range=new.range or old.range,
        elements=new.elements or old.elements,
        cstring=new.cstring or old.cstring,
        non_null=new.non_null or old.non_null,
    )
