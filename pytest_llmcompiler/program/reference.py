"""What clang makes of a case: the functions under test, their types and inputs, and programs to run."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from pytest_llmcompiler.errors import CaseError, LLMCompilerError
from pytest_llmcompiler.program import signature
from pytest_llmcompiler.program.build import ProgramModule, StartCompiling, start_program
from pytest_llmcompiler.program.case import ArgRule
from pytest_llmcompiler.program.compiled_program import CompiledProgram
from pytest_llmcompiler.program.directive_comments import read_source
from pytest_llmcompiler.program.file_facts import FileFacts
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.program.initial_values import CellValue
from pytest_llmcompiler.program.ir import parse
from pytest_llmcompiler.program.ir_extract import extract
from pytest_llmcompiler.program.ir_perturbation import perturb
from pytest_llmcompiler.program.ir_queries import (
    defined_functions,
    end_pointer_receivers,
    keeps_inner_pointers,
    only_loaded_variables,
    resultless_functions,
)
from pytest_llmcompiler.program.ir_rewrites import split_multiply_add
from pytest_llmcompiler.program.library import add_library
from pytest_llmcompiler.program.pointed_structs import find_pointed_structs
from pytest_llmcompiler.program.runtime_objects import start_compiling, start_with_block_counters, start_with_coverage
from pytest_llmcompiler.program.symbol_facts import SymbolFacts, read_symbol_facts
from pytest_llmcompiler.program.texts import FunctionTexts, ProgramTexts
from pytest_llmcompiler.program.thread_locals import restore_thread_locals
from pytest_llmcompiler.program.tool_run import Background
from pytest_llmcompiler.program.varargs import find_indirect_arguments
from pytest_llmcompiler.program.variable_cells import KnownVariable
from pytest_llmcompiler.values.c_types import (
    Array,
    Function,
    Int,
    Param,
    Pointer,
    Type,
    find_unsupported,
    has_callback,
    has_pointers,
)

_ENVIRONMENT_FUNCTIONS = """
time clock clock_gettime gettimeofday timespec_get times ftime getpid gettid getrandom getentropy arc4random
"""
"""Library functions whose results depend on the environment seed of an input: it chooses clock, process number and
random bytes."""

_INPUT_FUNCTIONS = """
read readv getchar getc fgetc getw gets fgets fread scanf fscanf vscanf vfscanf getline getdelim fgetln
getchar_unlocked getc_unlocked fgetc_unlocked fgets_unlocked fread_unlocked fgetwc getwc getwchar fgetws wscanf fwscanf
"""
"""Library functions that can read standard input, whose text then is part of inputs."""

_ENVIRONMENT_SEEDS = 8
"""Number of different environment seeds for a function that depends on its environment."""
_OUTPUT_ENVIRONMENT_SEEDS = 9
"""The same for a function that writes output. With the last one, standard output can't be written
(`environment.OUTPUT_FAILURE`)."""
_OUTPUT_FUNCTIONS = """
printf vprintf fprintf vfprintf puts putchar putc fputc fputs fwrite write writev fflush
putchar_unlocked putc_unlocked fputc_unlocked fputs_unlocked fwrite_unlocked
"""
"""Library functions whose results tell whether output could be written."""
_MEMORY_ENVIRONMENT_SEEDS = 24
"""Number of different environment seeds for a function that allocates memory. With the last three, an eighth of them,
`malloc` fails (`environment.MEMORY_SHORTAGES`)."""

_ALLOCATING_FUNCTIONS = """
malloc calloc realloc reallocarray aligned_alloc memalign posix_memalign strdup strndup asprintf vasprintf
"""
"""Library functions that fail on inputs where memory is short."""

_WAITING_FUNCTIONS = ("pthread_", "sem_", "mtx_", "cnd_", "thrd_", "call_once")
"""The starts of the names of library functions that may wait for other threads in a loop."""

ERRNO_LOCATION = "__errno_location"
"""musl's function that returns the address of `errno`."""

_MAX_INPUT_GLOBAL_BYTES, _MAX_PLAIN_GLOBAL_BYTES = 4096, 1 << 16
"""Size of the largest global variable that is part of an input as a whole: of one with pointers in it, and of one
without."""
_MAX_PART_BYTES, _MAX_PART_POINTERS = 1024, 16
"""Of a larger array, and of one that the case only declares, so many bytes, or elements with pointers, are part of an
input. The rest has its initial value, which mostly is zero: a loop that looks for a last element finds one, and inputs
stay small."""


class Reference(CompiledProgram):
    """A case with its functions under test and its compiled programs. Each part is computed at its first use."""

    @functools.cached_property
    def texts(self) -> FunctionTexts:
        """The functions as text: IR, C and assembly. Of a whole program, the whole file."""
        return ProgramTexts(self) if self.is_program else FunctionTexts(self)

    @functools.cached_property
    def is_program(self) -> bool:
        """Whether the case is judged as a whole program, whose one item is `main`.

        Raises CaseError where a directive says so and the file has no `main`.
        """
        if not self.case.wants_program:
            return False
        has_main = "main" in defined_functions(self.module)
        if self.case.program_place and not has_main:
            raise CaseError(f"{self.case.program_place}: the file defines no main, so it is no whole program")
        return has_main

    # -- functions and types

    @functools.cached_property
    def functions(self) -> tuple[str, ...]:
        """The functions under test: of a whole program, `main`. Raises CaseError where a directive does not fit the
        file."""
        if self.is_program:
            return ("main",)
        defined = defined_functions(self.module)
        for name in (*self.case.functions, *(function for function, _ in self.case.args)):
            if name not in defined:
                where = f"{self.case.path}:{self.case.lines[name]}"
                raise CaseError(f"{where}: no function {name!r} is defined here; there are: {', '.join(defined)}")
        for function, _ in self.case.args:
            self.argument_rules(function)
        if self.case.functions:
            return tuple(name for name in defined if name in self.case.functions)
        helpers = {"main"} if self.case.is_ir else {"main", *self._inline_helpers}
        own = defined if self.case.is_ir else self.own_lines
        return tuple(name for name in defined if name in own and name not in helpers)

    def line_of(self, function: str) -> int:
        """The 1-based line on which a function is defined."""
        if not self.case.is_ir:
            return self.own_lines[function]
        source = read_source(self.case.path)
        header = re.search(rf'^define\b.*@"?{re.escape(function)}"?\(', source, re.M)
        return source.count("\n", 0, header.start()) + 1 if header else 1

    @functools.cached_property
    def signatures(self) -> Mapping[str, Function]:
        """The types of every function that is defined."""
        if self.case.is_ir:
            return signature.signatures_from_ir(self.module, self.vector_sizes)
        indirect_arguments = find_indirect_arguments(self.program_module)
        types = signature.signatures_from_dwarf(self.debug_image, self.vector_sizes, indirect_arguments)
        types |= {
            name: replace(types[name], result=None) for name in resultless_functions(self.module) if name in types
        }
        pointed = find_pointed_structs(self.program_module, types)
        types |= signature.add_pointed_structs(self.debug_image, types, pointed, self.vector_sizes)
        return types | signature.add_unnamed_types(self.program_module, types)

    @functools.cached_property
    def variables(self) -> Mapping[str, Type]:
        """The types of the variables of static storage in C files, and of those that the program only declares.

        IR has no C types: there only the declared variables have types.
        """
        return {**self.defined_variables, **self._declared_variables}

    @functools.cached_property
    def _declared_variables(self) -> dict[str, Type]:
        return self.declaration_types([variable.name for variable in self.golden.declared_variables])

    @functools.cached_property
    def external_functions(self) -> dict[str, Function]:
        """The types of the functions that the program only declares."""
        types = self.function_declarations(self.golden.stubs)
        receivers = end_pointer_receivers(self.program_module) if types else frozenset()
        return {name: replace(type, ends=name in receivers) for name, type in types.items()}

    @functools.cached_property
    def keeps_inner_pointers(self) -> bool:
        """Whether code of the program may keep a pointer to the middle or the end of a local variable."""
        return keeps_inner_pointers(self.program_ir)

    @functools.cached_property
    def _inline_helpers(self) -> frozenset[str]:
        """The `static inline` functions of a C file. They are not under test unless a directive names them."""
        source = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", read_source(self.case.path))
        heads = re.findall(r"\b(?:static\s+inline|inline\s+static)\b[^;{()]*?(\w+)\s*\(", source)
        return frozenset(heads)

    # -- inputs

    def argument_rules(self, function: str) -> dict[int, ArgRule]:
        """The directives for a function's arguments, by position. Raises CaseError where one does not fit."""
        params = self.signatures[function].params
        positions = {param.name: index for index, param in enumerate(params)}
        positions |= {str(index): index for index in range(len(params))}
        rules = {name: rule for (owner, name), rule in self.case.args.items() if owner == function}
        for name, rule in rules.items():
            where = f"{self.case.path}:{self.case.lines[f'{function}.{name}']}"
            for mentioned in (name, *rule.length_of):
                if mentioned not in positions:
                    known = ", ".join(param.name for param in params) or "none"
                    raise CaseError(f"{where}: {function} has no parameter {mentioned!r}; there are: {known}")
            misfit = _find_misfit(rule, params[positions[name]], [params[positions[buf]] for buf in rule.length_of])
            if misfit:
                raise CaseError(f"{where}: {misfit}")
        return {positions[name]: rule for name, rule in rules.items()}

    def environment_seeds(self, function: str) -> int:
        """The number of different environment seeds that inputs of a function have.

        It is 1 unless the function depends on its environment: on results of functions that the case only declares, on
        the clock, on the initial value of `errno`, or on whether memory can be allocated or output be written.
        """
        names = self.mentioned_globals(function)
        if not names.isdisjoint(set(_ALLOCATING_FUNCTIONS.split()) - self.golden.functions):
            return _MEMORY_ENVIRONMENT_SEEDS
        if not names.isdisjoint(set(_OUTPUT_FUNCTIONS.split()) - self.golden.functions):
            return _OUTPUT_ENVIRONMENT_SEEDS
        calls_out = bool(self.golden.stubs) or any(map(has_callback, self.signatures[function].params))
        depends = calls_out or self.uses_errno(function) or not names.isdisjoint(_ENVIRONMENT_FUNCTIONS.split())
        return _ENVIRONMENT_SEEDS if depends else 1

    def reads_standard_input(self, function: str) -> bool:
        """Whether a function may read standard input."""
        return not self.mentioned_globals(function).isdisjoint(_INPUT_FUNCTIONS.split())

    def may_loop_uncounted(self, function: str) -> bool:
        """Whether a function may be in loops of which the probe counts no steps: those of inline assembly, and those in
        which the C library waits for other threads, of which there are none."""
        waits = any(name.startswith(_WAITING_FUNCTIONS) for name in self.mentioned_globals(function))
        return waits or " asm " in self.program_ir

    def uses_errno(self, function: str) -> bool:
        """Whether a function reads or sets `errno`."""
        return ERRNO_LOCATION in self.mentioned_globals(function)

    def input_globals(self, function: str) -> dict[str, Type]:
        """The global variables that are part of a function's input: it can reach them, and other code can change them.

        Variables that are too large and those of types that inputs can't have are left out. Of an array that is too
        large, or that the case only declares, the first elements are part of the input.
        """
        names = self.mentioned_globals(function) - self._constant_variables
        names -= {name for name, variable in self.known_variables(function).items() if variable.is_constant}
        sizes = {name: self.golden.symbols[name].size for name in self.golden.globals if name in names}
        declared = {
            name: _input_part(self._declared_variables[name]) for name in sizes if name in self._declared_variables
        }
        defined = {
            name: self._input_type(name)
            for name, size in sizes.items()
            if name in self.variables and name not in declared and self.variables[name].size == size
        }
        return {
            name: type
            for name, type in (*defined.items(), *declared.items())
            if 0 < type.size <= min(_most_bytes(type), sizes[name]) and not find_unsupported(type)
        }

    def fixed_globals(self, function: str) -> list[str]:
        """The global variables that a function can reach and that are no part of its inputs: they are too large, or of
        a type that inputs can't have, such as `long double`. Of a large array whose first elements are part of inputs
        it is the rest: `v[1024…]`."""
        names = self.mentioned_globals(function) - self._constant_variables
        return [
            text
            for name in self.golden.globals
            if name in names and name in self.variables
            for text in self._describe_fixed(name)
        ]

    def _describe_fixed(self, name: str) -> Iterator[str]:
        type, part = self.variables[name], self._input_type(name)
        if part.size > _most_bytes(part) or find_unsupported(part):
            yield name
        elif isinstance(part, Array) and part.size < type.size and name not in self._declared_variables:
            yield f"{name}[{part.count}…]"

    def _input_type(self, name: str) -> Type:
        """The type of the part of a defined variable that inputs have: all of it, unless it is too large."""
        type = self.variables[name]
        return type if type.size <= _most_bytes(type) else _input_part(type)

    @functools.cached_property
    def _constant_variables(self) -> frozenset[str]:
        return only_loaded_variables(self.program_module)

    # -- values that can't happen

    @functools.cached_property
    def facts(self) -> FileFacts:
        """What a compiler can find out about a function from the rest of the file."""
        return FileFacts(self.program_ir, self.target)

    def known_variables(self, function: str) -> dict[str, KnownVariable]:
        """What is known of the values that local variables have when a function is called, by name."""
        if function not in self.known:
            names = self.mentioned_globals(function) & self.facts.local_variables
            names -= self._constant_variables
            known = {name: self.facts.values(function).variable(name) for name in sorted(names)}
            self.known[function] = {name: variable for name, variable in known.items() if variable is not None}
        return self.known[function]

    @functools.cached_property
    def known(self) -> dict[str, dict[str, KnownVariable]]:
        """What `known_variables` has returned so far, by function."""
        return {}

    def assembly_with_facts(self, function: str) -> str:
        """The bundled clang's assembly of a function at -O2, compiled with what the rest of the file says."""
        with self.blame_case():
            text = self.facts.ir_for(function)
            # Passes may add constants: a `printf` becomes `puts` of a text without the line break. They are the
            # function's own, as no other code of the program has them.
            known = {value.name for value in self.module.global_variables}
            added = {value.name for value in parse(text).global_variables} - known
            text = extract(text, function, self.target, added)
            return self.toolchain.emit_assembly(restore_thread_locals(text, self.thread_locals), "O2")

    def possible_values(self, variable: str) -> tuple[CellValue, ...] | None:
        """The values that a local variable can have, the initial one first; None where it may have others.

        A variable that is stored to in parts may have others.
        """
        known = self.facts.values("").variable(variable) if variable in self.facts.local_variables else None
        return known.cells[0].values if known and known.is_complete and len(known.cells) == 1 else None

    @functools.cached_property
    def symbol_facts(self) -> SymbolFacts:
        """What the linker of candidates needs to know of the program's symbols."""
        return read_symbol_facts(self.program_module, self.golden, self.facts.local_variables, self.possible_values)

    def keep(self) -> None:
        """Store what was compiled for later processes. This class stores nothing."""

    # -- programs

    def start_golden(self) -> None:
        """Start to compile what every function under test needs, in the background. Errors show where it is used."""
        with contextlib.suppress(LLMCompilerError):
            if not self.case.is_ir and "signatures" not in vars(self):
                _ = self._debug
            if "golden" not in vars(self):
                _ = self._golden_build

    def start_probe(self) -> None:
        """Start to compile what running the probe and builds at -O2 needs, in the background. Errors show where it is
        used."""
        with contextlib.suppress(LLMCompilerError):
            if "probe" not in vars(self):
                for file in (self, *(unit.compiled for unit in self.units)):
                    file.start_probe_ir()
            if not self.case.is_ir and "optimisable_ir" not in vars(self):
                _ = self._optimisable

    def start_block_counters(self) -> None:
        """Start to compile `block_counters` in the background. Errors show where it is used."""
        with contextlib.suppress(LLMCompilerError):
            if "block_counters" not in vars(self):
                _ = self._block_build

    def start_probe_program(self) -> None:
        """Start to compile the probe itself in the background. Errors show where it is used."""
        with contextlib.suppress(LLMCompilerError):
            if "probe" not in vars(self):
                _ = self._probe_build

    @functools.cached_property
    def golden(self) -> ProgramImage:
        """The program, compiled at -O0.

        A target with fused multiply-add gets a multiplication and an addition instead. C leaves open which is used, so
        a difference between the two is no fault of a candidate.
        """
        with self.blame_case():
            return self._golden_build.result()

    @functools.cached_property
    def _golden_build(self) -> Background[ProgramImage]:
        return self._start_build(lambda text: start_compiling(split_multiply_add(text), self.target))

    def glibc_assembly(self, function: str) -> str:
        """The assembly of a function of a C file, compiled at -O0, in which functions of <ctype.h> have the results of
        glibc's. Raises CaseError."""
        with self.blame_case():
            text = self.toolchain.emit_glibc_ir(self.case.path, self.case.cflags)
            return self.toolchain.emit_assembly(extract(text, function, self.target), "O0")

    @functools.cached_property
    def golden_with_library(self) -> ProgramImage:
        """The golden program with the rest of the C library beside it."""
        return add_library(self.golden)

    @functools.cached_property
    def perturbed(self) -> ProgramImage:
        """The program without any optimisation, in which all that C leaves open is chosen in another way.

        Its instructions are selected as at -O2, so that a fault of either way shows as a difference.
        """
        flags = ("-O2", "-Xclang", "-disable-llvm-passes")
        with self.blame_case():
            return self._start_build(
                lambda text: start_compiling(perturb(split_multiply_add(text)), self.target, *flags)
            ).result()

    @functools.cached_property
    def probe(self) -> ProgramImage:
        """The program with instrumentation for coverage and comparisons.

        Undefined behaviour traps in code of C files. For IR there is no sanitizer.
        """
        with self.blame_case():
            return self._probe_build.result()

    @functools.cached_property
    def _probe_build(self) -> Background[ProgramImage]:
        text = self.program_probe_ir
        source = ProgramModule(text, parse(text), self.target)
        return Background(lambda: start_program(source, lambda text: start_with_coverage(text, self.target), tuple))

    @functools.cached_property
    def block_counters(self) -> ProgramImage:
        """The program at -O0 with a counter for each block of its code. It shows which code an input reaches."""
        with self.blame_case():
            return self._block_build.result()

    @functools.cached_property
    def _block_build(self) -> Background[ProgramImage]:
        return self._start_build(lambda text: start_with_block_counters(text, self.target), unread=tuple)

    def _start_build(
        self, start: StartCompiling, unread: Callable[[], Collection[str]] | None = None
    ) -> Background[ProgramImage]:
        """Start a build of the program from its IR. `unread` is as for `start_program`."""
        known = unread or (lambda: self.facts.unread_variables)
        return Background(lambda: start_program(self._program, start, known))

    @functools.cached_property
    def _program(self) -> ProgramModule:
        return ProgramModule(self.program_ir, self.program_module, self.target)

    @functools.cached_property
    def block_image(self) -> bytes:
        """An ELF file with the same blocks of a C file's code, and the lines from which they come."""
        with self.blame_case():
            return self.toolchain.emit_block_image(self.case.path, self.case.cflags)


def _most_bytes(type: Type) -> int:
    """The size up to which a global variable of a type is part of inputs."""
    element = type.element if isinstance(type, Array) else type
    return _MAX_INPUT_GLOBAL_BYTES if has_pointers(element) else _MAX_PLAIN_GLOBAL_BYTES


def _input_part(type: Type) -> Type:
    """The type of the part that inputs vary of an array that is too large, or only declared."""
    if not isinstance(type, Array) or not type.size:
        return type
    most = _MAX_PART_POINTERS if has_pointers(type.element) else max(1, _MAX_PART_BYTES // type.element.size)
    return replace(type, count=min(type.count, most))


def _find_misfit(rule: ArgRule, param: Param, buffers: list[Param]) -> str | None:
    """The reason why a rule can't hold for a parameter; None where it can."""
    if (rule.range or rule.length_of) and not isinstance(param.type, Int):
        return f"{param.name} is a {param.type.name}: only an integer has a range or counts elements"
    if (rule.elements or rule.cstring or rule.non_null) and not isinstance(param.type, Pointer):
        return f"{param.name} is a {param.type.name}: only a pointer has elements, is a string, or is not null"
    for buffer in buffers:
        if not isinstance(buffer.type, Pointer):
            return f"{buffer.name} is a {buffer.type.name}: only a pointer has elements that can be counted"
    return None
