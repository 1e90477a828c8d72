"""A program, linked natively with a candidate in the place of one of its functions."""

from __future__ import annotations

import io
from dataclasses import dataclass

from pytest_llmcompiler.assembler.assemble import build_linkable_object, build_undefined_error, find_called_symbols
from pytest_llmcompiler.assembler.linkage import Linkage
from pytest_llmcompiler.errors import ClangError, IRError, NativeLinkError
from pytest_llmcompiler.program.clang import compile_ir, link, undefined_symbols
from pytest_llmcompiler.program.ir_extract import remove_function
from pytest_llmcompiler.program.ir_rewrites import PADDED_PREFIX, externalise, pad_constants
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.repro.c_source import ReproSurroundings, thunk


@dataclass(frozen=True)
class ProgramRest:
    """A program without one of its functions: what is left of it, as IR and as an ELF object."""

    ir: str
    object: bytes


def linked(reference: Reference, function: str, text: str) -> bytes:
    """The executable of a case with a text in the place of a function, everything else as the case has it.

    Raises CaseError where the case is at fault, AssemblyError and LinkError where the text is, LinkingError where there
    is no program to be had.
    """
    if not reference.golden.has_main:
        path = reference.case.path
        raise NativeLinkError(f"{path} defines no main, so there is no program to link: add one that calls {function}")
    golden = reference.golden
    own = build_linkable_object(text, golden.addresses, Linkage(function, golden.aliases))
    try:
        return link([own, without(reference, function).object])
    except ClangError as error:
        names = undefined_symbols(error)
        theirs = [name for name in names if name in golden.stubs or name in _declared(reference)]
        if theirs:
            what = ", ".join(map(repr, theirs))
            raise NativeLinkError(
                f"{reference.case.path} only declares {what}: a program needs a definition"
            ) from error
        if names:
            raise build_undefined_error(text, names) from error
        raise NativeLinkError(str(error)) from error


def without(reference: Reference, function: str, kept_as: str | None = None) -> ProgramRest:
    """A case without one of its functions, whose own code is kept under another name where one is given.

    Raises LinkingError where the case can't do without.
    """
    try:
        text = remove_function(externalise(reference.ir), function, kept_as)
        if kept_as is not None:
            text = pad_constants(text)
        return ProgramRest(text, compile_ir(text))
    except (IRError, ClangError) as error:
        raise NativeLinkError(f"{reference.case.path} can't do without its own {function}: {error}") from error


def surroundings(reference: Reference, function: str, kept_as: str, rest: ProgramRest, text: str) -> ReproSurroundings:
    """What stands around a text in the place of a function, whose own code is kept under another name."""
    golden = reference.golden
    known = (golden.addresses.keys() | golden.functions) - golden.local - {function, *golden.stubs, *golden.aliases}
    return ReproSurroundings(
        *(function, kept_as, _pads(rest.object), golden.stubs, tuple(sorted(_declared(reference)))),
        *(golden.narrow, tuple(sorted(find_called_symbols(text) & known)), golden.functions),
    )


def watching(reference: Reference, around: ReproSurroundings) -> Linkage:
    """How a text is linked with its surroundings."""
    names = {**reference.golden.aliases, **{name: thunk(name) for name in around.watched}}
    return Linkage(around.function, names, has_line_section=True)


def _declared(reference: Reference) -> set[str]:
    """The variables that a case only declares and nobody defines."""
    declared = {value.name for value in reference.module.global_variables if value.is_declaration}
    return declared & set(reference.golden.globals)


def _pads(data: bytes) -> dict[str, int]:
    """The variables of an object that hold a constant with pads around it, and their sizes."""
    from elftools.elf.elffile import ELFFile

    table = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    return {one.name: one["st_size"] for one in table.iter_symbols() if one.name.startswith(PADDED_PREFIX)}
