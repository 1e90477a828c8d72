"""What clang makes of a case: its IR, the types of its functions, and programs to run."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from pytest_llmcompiler.errors import CaseError, ClangError, IRError, NoCSourceError, OptimiserError, PassListError
from pytest_llmcompiler.program import ir, optimiser, signature
from pytest_llmcompiler.program.case import ArgRule, Case
from pytest_llmcompiler.program.clang import (
    Syntax,
    Toolchain,
    bridge,
    compile_ir,
    compile_watched,
    link,
    lowered_by_clang,
    undefined_symbols,
)
from pytest_llmcompiler.program.image import ProgramSegment, Symbol, read_elf
from pytest_llmcompiler.program.short import ShortIR, shorten
from pytest_llmcompiler.targets.target import Target
from pytest_llmcompiler.values.c_types import Function, Int, Param, Pointer, Type, calls_back, unsupported

if TYPE_CHECKING:
    import llvmlite.binding as llvm

# Compilers call these on their own account (a loop becomes memset, printf becomes puts), so every program has them.
_KEPT = (
    *("memcpy", "memmove", "memset", "memcmp", "bcmp", "mempcpy", "memchr", "strlen", "strnlen", "strcmp", "strncmp"),
    *("strcpy", "stpcpy", "strncpy", "strcat", "strncat", "strchr", "strrchr", "strstr", "puts", "putchar", "printf"),
    *("sprintf", "snprintf", "fputs", "fputc", "fwrite", "putc", "malloc", "calloc", "realloc", "free", "exit"),
    *("abs", "labs", "sqrt", "sqrtf", "fabs", "fabsf", "floor", "ceil", "round", "trunc", "fmod", "fmodf", "fmin"),
    *(
        "fmax",
        "abort",
        "pow",
        "exp",
        "log",
        "exp2",
        "ldexp",
        "sin",
        "cos",
        "__stack_chk_fail",
        "__udivti3",
        "__umodti3",
        "__divti3",
    ),
    *("__modti3", "__multi3", "__popcountdi2", "__popcountsi2", "setvbuf", "stdout"),
)


_SALTED = frozenset(
    (
        *("time", "clock", "clock_gettime", "gettimeofday", "timespec_get", "times", "ftime", "getpid", "gettid"),
        *("getrandom", "getentropy", "arc4random"),
    )
)
"""Library functions whose results are part of the input."""

_SALTS, _MEMORY_SALTS = 8, 24
"""How many salts there are, and how many for functions that ask for memory, some of which find too little."""

_ALLOCATING = frozenset(
    (
        *("malloc", "calloc", "realloc", "reallocarray", "aligned_alloc", "memalign", "posix_memalign", "strdup"),
        *("strndup", "asprintf", "vasprintf"),
    )
)
"""Those that find no memory on some inputs."""

_CLANG_S = ("O0", "O1", "O2", "O3")
"""Levels that the bundled clang knows of IR. It takes Os and Oz for O2, whose size is no size to compare with."""
_AS_LLC = ("-O2", "-Xclang", "-disable-llvm-passes")

ERRNO = "__errno_location"
"""The C library's function that gives the address of its error number."""

_LARGEST_INPUT = 4096
"""Bytes of a global variable above which it keeps its initial value."""


@dataclass(frozen=True)
class ProgramImage:
    """A whole linked program: the case, musl, and stubs for what only declarations are known of."""

    target: Target
    segments: tuple[ProgramSegment, ...]
    entry: int
    symbols: dict[str, Symbol]
    """What code of the program can name."""
    library: dict[str, Symbol]
    """The functions and variables of the C library, as that itself names them."""
    aliases: dict[str, str]
    """Other names that assembly uses: `.L.str` for the private global `.str`."""
    globals: tuple[str, ...]
    """The writable global variables of the case itself, in the order of the file."""
    stubs: tuple[str, ...]
    """Functions that the case declares and nobody defines."""
    functions: frozenset[str]
    """The functions that the case itself defines."""
    local: frozenset[str]
    """Those of them that no other file can call, and nothing through a pointer."""
    narrow: frozenset[str]
    """The library functions of the case that return an `int` or less: the upper half of the register is undefined."""
    pads: tuple[int, ...]
    """Where the `ir.PAD` bytes around each constant begin, which belong to nothing."""

    @property
    def has_main(self) -> bool:
        """Whether the case is a whole program."""
        return "main" in self.functions

    @functools.cached_property
    def addresses(self) -> dict[str, int]:
        """Every name that a candidate may refer to, and its address."""
        table = {name: symbol.address for name, symbol in self.symbols.items()}
        return table | {alias: table[name] for alias, name in self.aliases.items() if name in table}


_Arguments = ParamSpec("_Arguments")
_Made = TypeVar("_Made")


def _kept(
    make: Callable[Concatenate[Reference, _Arguments], _Made],
) -> Callable[Concatenate[Reference, _Arguments], _Made]:
    """Keep what a method makes, for each of its arguments: what `cached_property` is where there are none."""

    @functools.wraps(make)
    def made(self: Reference, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Made:
        found = self.__dict__.setdefault(f"{make.__name__}()", {})
        key = args, tuple(kwargs.items())
        if key not in found:
            found[key] = make(self, *args, **kwargs)
        kept: _Made = found[key]
        return kept

    return made


class Reference:
    """A case, compiled. Everything is made when it is first asked for, and kept."""

    def __init__(self, case: Case, toolchain: Toolchain) -> None:
        self.case = case
        self.toolchain = toolchain
        self.target = toolchain.target

    @functools.cached_property
    def ir(self) -> str:
        """The IR of the whole file. Raises CaseError with the compiler's message where it is refused."""
        with self._blamed():
            if not self.case.is_ir:
                return self.toolchain.ir(self.case.path)
            text = self.case.path.read_text(encoding="utf-8")
            ir.parse(text)
            return ir.retargeted(text, self.target)

    @property
    def placeless_ir(self) -> str:
        """The same without what says where the file lies."""
        return re.sub(r"^(?:; ModuleID|source_filename) = .*\n", "", self.ir, flags=re.M)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest, in hexadecimal, that is another one where the file, its headers or its compiler are others."""
        digest = hashlib.sha256(self.case.path.read_bytes())
        digest.update(self.placeless_ir.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @functools.cached_property
    def module(self) -> llvm.ModuleRef:
        """The IR of the whole file, parsed; for reading only."""
        return ir.parse(self.ir)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """What a tool says against the case is the case's fault."""
        try:
            yield
        except (ClangError, IRError) as error:
            raise CaseError(f"{self.case.path}: {error}") from error

    @functools.cached_property
    def functions(self) -> tuple[str, ...]:
        """The functions under test. Raises CaseError where a directive does not fit the file."""
        defined = ir.defined_functions(self.module)
        for name in (*self.case.functions, *(function for function, _ in self.case.args)):
            if name not in defined:
                where = f"{self.case.path}:{self.case.lines[name]}"
                raise CaseError(f"{where}: no function {name!r} is defined here; there are: {', '.join(defined)}")
        for function, _ in self.case.args:
            self.rules(function)
        if self.case.functions:
            return tuple(name for name in defined if name in self.case.functions)
        helpers = {"main"} if self.case.is_ir else {"main", *self._helpers}
        own = defined if self.case.is_ir else self._lines
        return tuple(name for name in defined if name in own and name not in helpers)

    def line_of(self, function: str) -> int:
        """The 1-based line on which a function is defined."""
        if not self.case.is_ir:
            return self._lines[function]
        source = self.case.path.read_text(encoding="utf-8")
        found = re.search(rf'^define\b.*@"?{re.escape(function)}"?\(', source, re.M)
        return source.count("\n", 0, found.start()) + 1 if found else 1

    @functools.cached_property
    def signatures(self) -> Mapping[str, Function]:
        """The types of every function that is defined."""
        if self.case.is_ir:
            return signature.from_ir(self.module)
        return signature.from_dwarf(self._debug_image)

    @functools.cached_property
    def _debug_image(self) -> bytes:
        with self._blamed():
            return self.toolchain.debug_image(self.case.path)

    @functools.cached_property
    def _lines(self) -> dict[str, int]:
        return signature.own_functions(self._debug_image)

    @functools.cached_property
    def variables(self) -> Mapping[str, Type]:
        """The types of the variables of a C file that live as long as the program. IR has no such types."""
        return {} if self.case.is_ir else signature.variables(self._debug_image)

    def rules(self, function: str) -> dict[int, ArgRule]:
        """What directives say of a function's arguments, by position. Raises CaseError where one does not fit."""
        params = self.signatures[function].params
        positions = {param.name: index for index, param in enumerate(params)}
        positions |= {str(index): index for index in range(len(params))}
        rules = {name: rule for (owner, name), rule in self.case.args.items() if owner == function}
        for name, rule in rules.items():
            where = f"{self.case.path}:{self.case.lines[f'{function}.{name}']}"
            for other in (name, *rule.length_of):
                if other not in positions:
                    known = ", ".join(param.name for param in params) or "none"
                    raise CaseError(f"{where}: {function} has no parameter {other!r}; there are: {known}")
            misfit = _misfit(rule, params[positions[name]], [params[positions[other]] for other in rule.length_of])
            if misfit:
                raise CaseError(f"{where}: {misfit}")
        return {positions[name]: rule for name, rule in rules.items()}

    def environment_seeds(self, function: str) -> int:
        """How many salts there are for a function: more than one where what it does depends on what only they decide,
        which is the results of functions that are not there, the clock, what the C library's error number is at first,
        and whether there is memory."""
        names = ir.mentioned(self.module, function)
        if not names.isdisjoint(_ALLOCATING - self.golden.functions):
            return _MEMORY_SALTS
        outside = bool(self.golden.stubs) or any(map(calls_back, self.signatures[function].params))
        return _SALTS if outside or self.minds_errno(function) or not names.isdisjoint(_SALTED) else 1

    def minds_errno(self, function: str) -> bool:
        """Whether a function looks at the C library's error number, or sets it."""
        return ERRNO in ir.mentioned(self.module, function)

    def inputs_of(self, function: str) -> dict[str, Type]:
        """The global variables that are part of a function's input: what it can reach, and anyone can change."""
        names = ir.mentioned(self.module, function) - self._unwritten
        sizes = {name: self.golden.symbols[name].size for name in self.golden.globals if name in names}
        return {
            name: self.variables[name]
            for name, size in sizes.items()
            if name in self.variables and self.variables[name].size == size <= _LARGEST_INPUT
            if not unsupported(self.variables[name])
        }

    @functools.cached_property
    def _unwritten(self) -> frozenset[str]:
        return ir.only_loaded(self.module)

    @functools.cached_property
    def externals(self) -> dict[str, Function]:
        """The types of the functions that the case only declares."""
        if not self.golden.stubs:
            return {}
        with self._blamed():
            dwarf = None if self.case.is_ir else self.toolchain.declarations(self.case.path)
        ends = ir.given_ends(self.module)
        types = signature.declared(self.module, self.golden.stubs, dwarf)
        return {name: replace(type, ends=name in ends) for name, type in types.items()}

    @functools.cached_property
    def _helpers(self) -> frozenset[str]:
        """The `static inline` functions of a C file."""
        source = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", self.case.path.read_text(encoding="utf-8"))
        heads = re.findall(r"\b(?:static\s+inline|inline\s+static)\b[^;{()]*?(\w+)\s*\(", source)
        return frozenset(heads)

    @_kept
    def extracted(self, function: str) -> str:
        """The IR of one function, everything else declared: what a prompt holds."""
        return ir.extract(self.ir, function, self.target)

    @_kept
    def short(self, function: str) -> ShortIR:
        """One function in short IR. Raises CaseError where LLVM does not accept the IR of the case."""
        with self._blamed():
            return shorten(self.extracted(function), function)

    def source(self, function: str) -> str:
        """The C file with the bodies of its other functions left out: what a prompt holds. Raises NoSource for IR."""
        if self.case.is_ir:
            raise NoCSourceError(f"{self.case.path}: the prompt shows C, and this case is IR")
        text = self.case.path.read_bytes()
        for name, (begin, end) in sorted(self._bodies.items(), key=lambda one: one[1], reverse=True):
            if name != function and name in self._lines:  # what a header defines is not in this text
                text = text[:begin].rstrip() + b";" + text[end:]
        return text.decode("utf-8", "replace")

    @functools.cached_property
    def _bodies(self) -> dict[str, tuple[int, int]]:
        with self._blamed():
            return self.toolchain.bodies(self.case.path)

    @_kept
    def sizes(self, function: str) -> tuple[int, int]:
        """The number of instructions in a function's IR and the bytes of its object, as prompts state them."""
        text = self.extracted(function)
        with self._blamed():
            return self._sizes(text)

    def _sizes(self, text: str) -> tuple[int, int]:
        count = ir.instruction_count(text)
        if " asm " in text:  # llvmlite ends the process over inline assembly with a fault; clang only refuses it
            made = compile_ir(text, *_AS_LLC, target=self.target)
            if self.is_beyond_llvmlite(text):
                return count, ir.object_size(made)
        return count, ir.binary_size(text, self.target)

    def is_beyond_llvmlite(self, text: str) -> bool:
        """Whether a module holds assembly of a processor that llvmlite has no assembler for: it ends the process."""
        return " asm " in text and not self.target.host.is_native

    def assembly(self, function: str, passes: str, syntax: Syntax = "att") -> str:
        """The bundled clang's own assembly of one function, optimised with a pass list. Raises CaseError."""
        if optimiser.level_of(passes) not in _CLANG_S:
            return self.lowered(function, passes, syntax)
        with self._blamed():
            return self.toolchain.assembly(self.extracted(function), passes, syntax)

    @_kept
    def optimised(self, function: str, passes: str) -> str:
        """The IR of one function as opt makes it with a pass list. Raises CaseError for a list that LLVM refuses."""
        before = self.extracted(function)
        try:
            return optimiser.printed(optimiser.optimised(before, passes, self.target), before, self.target)
        except (PassListError, OptimiserError) as error:
            raise CaseError(f"{self.case.path}: pass list {passes!r}: {error}") from error

    @_kept
    def optimised_sizes(self, function: str, passes: str) -> tuple[int, int]:
        """The number of instructions in that, and the bytes of its object. Raises CaseError."""
        with self._blamed():
            return self._sizes(self.optimised(function, passes))

    @_kept
    def lowered(self, function: str, passes: str, syntax: Syntax = "att") -> str:
        """The assembly that LLVM makes of that."""
        text, level = self.optimised(function, passes), optimiser.level_of(passes)
        if syntax == "intel" or self.is_beyond_llvmlite(text):
            return lowered_by_clang(text, level, syntax, self.target)
        return ir.emit_assembly(ir.parse(text), level, self.target)

    @functools.cached_property
    def golden(self) -> ProgramImage:
        """The program as it is, compiled without optimisation. Where the target multiplies and adds in one step, it
        does so in two: C leaves that open, and what differs then is nothing to hold anyone to."""
        with self._blamed():
            return _build(self.ir, self.target, lambda text: [compile_ir(ir.unfused(text), target=self.target)])

    @functools.cached_property
    def probe(self) -> ProgramImage:
        """The program that tells where a run went. Undefined behaviour traps in it, where the case is C: IR has no
        sanitizer to ask."""
        with self._blamed():
            if self.case.is_ir:
                return _build(self.ir, self.target, self._watched)
            strict = ir.with_bounded_pointers(ir.without_path(self.toolchain.probe_ir(self.case.path)))
            return _build(ir.with_plain_copies(strict), self.target, self._watched)

    def _watched(self, text: str) -> list[bytes]:
        return compile_watched(text, self.target)


def _misfit(rule: ArgRule, param: Param, buffers: list[Param]) -> str | None:
    """Why a rule can't hold for a parameter; None where it can."""
    if (rule.range or rule.length_of) and not isinstance(param.type, Int):
        return f"{param.name} is a {param.type.name}: only an integer has a range or counts elements"
    if (rule.elements or rule.cstring or rule.non_null) and not isinstance(param.type, Pointer):
        return f"{param.name} is a {param.type.name}: only a pointer has elements, is a string, or is not null"
    no_buffer = next((buffer for buffer in buffers if not isinstance(buffer.type, Pointer)), None)
    return (
        f"{no_buffer.name} is a {no_buffer.type.name}, no pointer whose elements can be counted" if no_buffer else None
    )


def _build(text: str, target: Target, compiled: Callable[[str], list[bytes]]) -> ProgramImage:
    module = ir.parse(text)
    functions = frozenset(ir.defined_functions(module))
    local = ir.only_called(module, text)
    main = "main" in functions
    visible = ir.padded(ir.externalised(text))
    guest = target.foreign_system
    code = compiled(ir.prefixed(visible, guest) if guest else visible) + ([bridge(target)] if guest else [])
    stubs: list[str] = []
    data: set[str] = set()
    try:
        image = link([*code, _support(target, main, stubs)], target=target)
    except ClangError as error:
        stubs = [name.removeprefix(target.symbol_prefix) for name in undefined_symbols(error)]
        if not stubs:
            raise
        data = {value.name for value in module.global_variables} & set(stubs)
        stubs = [name for name in stubs if name not in data]
        image = link([*code, _support(target, main, stubs, data)], target=target)
    private = [value.name for value in module.global_variables if value.linkage.name == "private"]
    unread = ir.only_stored(module)
    variables = [
        value.name
        for value in module.global_variables
        if not value.is_declaration and not value.name.startswith("llvm.") and not _is_constant(value)
        if value.name not in unread
    ]
    segments, entry, everything = read_elf(image)
    symbols, library = _sides(everything, segments, functions, target)
    around = [symbols.pop(name) for name in list(symbols) if name.startswith(ir.PADDED)]
    pads = tuple(pad for one in around for pad in (one.address, one.address + one.size - ir.PAD))
    variables = [name for name in (*variables, *sorted(data)) if name in symbols]  # thread-local ones are not
    aliases = {f".L{name}": name for name in private}
    narrow = ir.narrow(module).difference(stubs)
    return ProgramImage(
        target,
        segments,
        entry,
        symbols,
        library,
        aliases,
        tuple(variables),
        tuple(stubs),
        functions,
        local,
        narrow,
        pads,
    )


def _sides(
    everything: dict[str, Symbol], segments: tuple[ProgramSegment, ...], functions: frozenset[str], target: Target
) -> tuple[dict[str, Symbol], dict[str, Symbol]]:
    """What code of the program can name, and what the library itself does."""
    prefix = target.symbol_prefix
    if not prefix:
        return everything, {name: symbol for name, symbol in everything.items() if name not in functions}
    code = [range(part.address, part.address + len(part.data)) for part in segments if part.is_executable]
    named = {name.removeprefix(prefix): symbol for name, symbol in everything.items() if name.startswith(prefix)}
    library = {name: symbol for name, symbol in everything.items() if not name.startswith(prefix)}
    shared = {
        name: symbol
        for name, symbol in library.items()
        if name == "main" or not any(symbol.address in part for part in code)
    }
    return shared | named, library


def _is_constant(value: llvm.ValueRef) -> bool:
    return re.match(r"\S+ = [^{\[%]*\bconstant ", str(value)) is not None


def _support(target: Target, has_main: bool, stubs: list[str], data: Iterable[str] = ()) -> bytes:
    """An object that keeps library functions in the program, and stands in for what is missing."""
    names = [name for name in (*_KEPT, *target.runtime_functions) if target.foreign_system or name not in stubs]
    lines = [f"declare void @{name}()" for name in names]
    pointers = ", ".join(f"ptr @{name}" for name in names)
    lines.append(f"@llmc.kept = global [{len(names)} x ptr] [{pointers}]")
    lines.append('@llvm.used = appending global [1 x ptr] [ptr @llmc.kept], section "llvm.metadata"')
    lines += [f'define void @"{target.symbol_prefix}{name}"() align 16 {{\n ret void\n}}' for name in stubs]
    lines += [f'@"{name}" = global [4096 x i8] zeroinitializer, align 16' for name in sorted(data)]
    if not has_main:
        lines.append("define i32 @main() {\n ret i32 0\n}")
    return ir.emit_object("\n".join(lines), target.host)
