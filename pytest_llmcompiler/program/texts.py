"""One function of a case as text: the IR, C and assembly that prompts show and that answers are compared with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from pytest_llmcompiler.errors import CaseError, NoCSourceError, OptimiserError, PassListError, UnfitTemplateError
from pytest_llmcompiler.program import optimiser
from pytest_llmcompiler.program.clang import OptimisationLevel, Syntax, compile_ir, lower_optimised_ir
from pytest_llmcompiler.program.compiled_case import CompiledCase
from pytest_llmcompiler.program.directive_comments import decode_source
from pytest_llmcompiler.program.ir import (
    binary_size,
    count_instructions,
    emit_assembly,
    has_assembler,
    object_size,
    parse,
)
from pytest_llmcompiler.program.ir_contraction import find_contractible_callees
from pytest_llmcompiler.program.ir_extract import extract, normalise
from pytest_llmcompiler.program.short import ShortIR, shorten

_CLANG_LEVELS = ("O0", "O1", "O2", "O3")
"""The levels at which the bundled clang optimises IR. It treats Os and Oz as O2, which does not aim for size."""
_LLC_FLAGS = ("-O2", "-Xclang", "-disable-llvm-passes")
"""The flags that make clang generate code as `llc` does, without running passes."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def _cache_results(
    method: Callable[Concatenate[FunctionTexts, _Arguments], _Result],
) -> Callable[Concatenate[FunctionTexts, _Arguments], _Result]:
    """Keep the result of a method, for each of its arguments, as long as its object lives."""

    @functools.wraps(method)
    def cached(self: FunctionTexts, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        results = self.__dict__.setdefault(f"{method.__name__}()", {})
        key = args, tuple(kwargs.items())
        if key not in results:
            results[key] = method(self, *args, **kwargs)
        result: _Result = results[key]
        return result

    return cached


class FunctionTexts:
    """The texts of the functions of a case. `function` is the name of a function that the case defines."""

    def __init__(self, compiled: CompiledCase) -> None:
        self._compiled = compiled
        self._target = compiled.target

    @_cache_results
    def ir(self, function: str) -> str:
        """The IR of one function, with everything else declared. Prompts show it."""
        return extract(self._compiled.ir, function, self._target)

    def contractible_ir(self, function: str) -> str:
        """The IR of one function with the functions that calculate with floating-point numbers for it, to be inlined:
        a compiler may add a product of one to a number of another without rounding it. That of `ir` where there are
        none."""
        callees = find_contractible_callees(self._compiled.ir, function)
        return extract(self._compiled.ir, function, self._target, inlined=callees)

    @_cache_results
    def short_ir(self, function: str) -> ShortIR:
        """One function in short IR. Raises CaseError where LLVM does not accept the IR of the case."""
        with self._compiled.blame_case():
            return shorten(self.ir(function), function)

    def c_source(self, function: str) -> str:
        """The C file without the bodies of its other functions. Raises NoCSourceError where the case is IR."""
        text = self._read_c()
        for name, (begin, end) in sorted(self._compiled.bodies.items(), key=lambda item: item[1], reverse=True):
            # The text of a header is not part of this file.
            if name != function and name in self._compiled.own_lines:
                text = text[:begin].rstrip() + b";" + text[end:]
        return decode_source(text)

    def _read_c(self) -> bytes:
        case = self._compiled.case
        if case.is_ir:
            raise NoCSourceError(f"{case.path}: the prompt shows C source, and this case is IR")
        return case.path.read_bytes()

    @_cache_results
    def sizes(self, function: str) -> tuple[int, int]:
        """The number of instructions in a function's IR, and the bytes of its object. Prompts state both."""
        text = self.ir(function)
        with self._compiled.blame_case():
            return self._measure(text)

    @_cache_results
    def optimised_sizes(self, function: str, passes: str) -> tuple[int, int]:
        """The number of instructions in the optimised IR, and the bytes of its object. Raises CaseError."""
        with self._compiled.blame_case():
            return self._measure(self.optimised_ir(function, passes))

    def _measure(self, text: str) -> tuple[int, int]:
        count = count_instructions(parse(text))
        if " asm " in text:  # over inline assembly with an error llvmlite ends the process; clang reports the error
            data = compile_ir(text, *_LLC_FLAGS, target=self._target)
            if self.needs_clang(text):
                return count, object_size(data)
        return count, binary_size(text, self._target)

    def needs_clang(self, text: str) -> bool:
        """Whether only clang can generate code for a module: llvmlite would end the process.

        True for inline assembly of a processor that llvmlite has no assembler for.
        """
        return " asm " in text and not has_assembler(self._target.host)

    def assembly(self, function: str, passes: str, syntax: Syntax = "att") -> str:
        """The bundled clang's own assembly of one function, optimised with a pass list. Raises CaseError."""
        if optimiser.optimisation_level(passes) not in _CLANG_LEVELS:
            return self.lowered_assembly(function, passes, syntax)
        with self._compiled.blame_case():
            return self._compiled.toolchain.emit_assembly(self.ir(function), passes, syntax)

    def start_level(self, function: str, level: OptimisationLevel) -> Callable[[], str]:
        """Start to compile one function as clang compiles its file at a level, with everything else declared. Returns
        the function that waits for the assembly. Raises ClangError, CaseError and IRError."""
        compiled = self._compiled
        ir = self.ir(function) if level == "O0" else extract(compiled.optimisable_ir, function, self._target)
        return compiled.toolchain.start_level(ir, level)

    @_cache_results
    def optimised_ir(self, function: str, passes: str) -> str:
        """The IR of one function as `opt` prints it after a pass list. Raises CaseError where LLVM refuses the list."""
        before = self.ir(function)
        try:
            bitcode = optimiser.optimise(before, passes, self._target)
            return optimiser.print_optimised(bitcode, before, self._target)
        except (PassListError, OptimiserError) as error:
            raise CaseError(f"{self._compiled.case.path}: pass list {passes!r}: {error}") from error

    @_cache_results
    def lowered_assembly(self, function: str, passes: str, syntax: Syntax = "att") -> str:
        """The assembly that LLVM emits for the optimised IR."""
        text, level = self.optimised_ir(function, passes), optimiser.optimisation_level(passes)
        if syntax == "intel" or self.needs_clang(text):
            return lower_optimised_ir(text, level, syntax, self._target)
        return emit_assembly(parse(text), level, self._target)


class ProgramTexts(FunctionTexts):
    """The texts of a case that is a whole program: what is asked about `main` is the whole file."""

    def ir(self, function: str) -> str:
        """The IR of the whole file."""
        return normalise(self._compiled.ir, self._target).strip() + "\n"

    def contractible_ir(self, function: str) -> str:
        """The IR of the whole file."""
        return self.ir(function)

    def short_ir(self, function: str) -> ShortIR:
        """Raises UnfitTemplateError: short IR is that of one function."""
        raise UnfitTemplateError(f"{self._compiled.case.path}: the prompt shows short IR, and a whole program has none")

    def start_level(self, function: str, level: OptimisationLevel) -> Callable[[], str]:
        """Start to compile the whole file at a level, as `FunctionTexts` does a function."""
        ir = self._compiled.ir if level == "O0" else self._compiled.optimisable_ir
        return self._compiled.toolchain.start_level(normalise(ir, self._target), level)

    def c_source(self, function: str) -> str:
        """The C file. Raises NoCSourceError where the case is IR."""
        return decode_source(self._read_c())
