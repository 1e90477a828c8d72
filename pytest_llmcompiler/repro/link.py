"""Native linking: a program with a candidate in the place of one of its functions."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmcompiler.assembler.assemble import build_linkable_object, build_undefined_error, find_called_symbols
from pytest_llmcompiler.assembler.linkage import Linkage
from pytest_llmcompiler.errors import ClangError, IRError, NativeLinkError
from pytest_llmcompiler.program import ir_extract
from pytest_llmcompiler.program.case_symbols import collect_case_symbols
from pytest_llmcompiler.program.clang import compile_ir
from pytest_llmcompiler.program.elf_file import ElfFile
from pytest_llmcompiler.program.glibc import find_glibc_objects
from pytest_llmcompiler.program.ir_rewrites import PADDED_PREFIX, externalise, pad_constants
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.program.static_link import link, undefined_symbols
from pytest_llmcompiler.repro.c_source import ReproSurroundings, thunk_symbol


@dataclass(frozen=True)
class ProgramRest:
    """A program without one of its functions."""

    ir: str
    object: bytes
    """The compiled IR, an ELF object."""


def link_program(reference: Reference, function: str, text: str) -> bytes:
    """Link a case with a text in the place of a function, and everything else as the case has it. Returns the
    executable.

    Raises CaseError where the case is at fault, AssemblyError and LinkError where the text is, NativeLinkError where
    the case is no program or can't be linked.
    """
    golden = reference.golden
    if not golden.has_main:
        path = reference.case.path
        raise NativeLinkError(f"{path} defines no main, so there is no program to link: add one that calls {function}")
    linkage = Linkage(function, golden.aliases)
    candidate = build_linkable_object(text, golden.addresses, linkage, case=collect_case_symbols(reference))
    try:
        return link([candidate, compile_without(reference, function).object, *find_glibc_objects(candidate).values()])
    except ClangError as error:
        undefined = undefined_symbols(error)
        stand_ins = {*golden.stubs, *(variable.name for variable in golden.declared_variables)}
        declared = [name for name in undefined if name in stand_ins]
        if declared:
            names = ", ".join(map(repr, declared))
            raise NativeLinkError(
                f"{reference.case.path} only declares {names}: a program needs a definition"
            ) from error
        if undefined:
            raise build_undefined_error(text, undefined) from error
        raise NativeLinkError(str(error)) from error


def compile_without(reference: Reference, function: str, kept_as: str | None = None) -> ProgramRest:
    """A case without one of its functions. With `kept_as`, the function's own code stays under that name, and constants
    get padding around them, which the runner fills with garbage.

    Thread-local variables are as the case has them. Raises NativeLinkError where the function can't be removed.
    """
    try:
        text = ir_extract.remove_function(externalise(reference.threaded_ir), function, kept_as)
        if kept_as is not None:
            text = pad_constants(text)
        return ProgramRest(text, compile_ir(text))
    except (IRError, ClangError) as error:
        raise NativeLinkError(f"{reference.case.path} can't do without its own {function}: {error}") from error


def describe_surroundings(
    reference: Reference, function: str, kept_as: str, rest: ProgramRest, text: str
) -> ReproSurroundings:
    """The program around a candidate, in which the function's own code is kept under the name `kept_as`."""
    golden = reference.golden
    symbols = golden.addresses.keys() | golden.functions
    callable_symbols = symbols - golden.local - {function, *golden.stubs, *golden.aliases}
    return ReproSurroundings(
        function=function,
        reference=kept_as,
        pads=_find_pads(rest.object),
        stubs=golden.stubs,
        declared_variables=golden.declared_variables,
        thread_locals=reference.thread_locals,
        int_functions=golden.narrow,
        checked_functions=tuple(sorted(find_called_symbols(text) & callable_symbols)),
        functions=golden.functions,
    )


def linkage_with_thunks(reference: Reference, surroundings: ReproSurroundings) -> Linkage:
    """How a candidate is linked so that its calls go through the thunks of its surroundings."""
    thunks = {name: thunk_symbol(name) for name in surroundings.checked_functions}
    return Linkage(surroundings.function, {**reference.golden.aliases, **thunks}, has_line_section=True)


def _find_pads(data: bytes) -> dict[str, int]:
    """The variables of an object file that hold a constant with padding around it, and their sizes in bytes."""
    return {symbol.name: symbol.size for symbol in ElfFile(data).symbols if symbol.name.startswith(PADDED_PREFIX)}
