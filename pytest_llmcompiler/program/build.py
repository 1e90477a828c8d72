"""Building a program of a case's IR: compiled, linked with musl, with stubs for functions that nothing defines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.glibc import build_glibc, load_names
from pytest_llmcompiler.program.image import ElfProgram, ProgramImage, Symbol, read_elf
from pytest_llmcompiler.program.ir import emit_object, parse
from pytest_llmcompiler.program.ir_queries import (
    ResultKind,
    defined_functions,
    find_result_kinds,
    is_constant,
    narrow_functions,
    only_called_functions,
    only_stored_variables,
    variadic_functions,
)
from pytest_llmcompiler.program.ir_rewrites import (
    OWN_PREFIX,
    PADDED_PREFIX,
    PADDING_BYTES,
    prepare_module,
)
from pytest_llmcompiler.program.missing_symbols import find_missing_symbols
from pytest_llmcompiler.program.runtime_objects import compile_bridge
from pytest_llmcompiler.program.stand_ins import CONSTANTS_SYMBOL, StandIns, find_stand_ins
from pytest_llmcompiler.program.static_link import link, undefined_symbols
from pytest_llmcompiler.targets.target import Target

if TYPE_CHECKING:
    import llvmlite.binding as llvm

LINKED_FUNCTIONS = """
memcpy memmove memset memcmp bcmp mempcpy memchr strlen strnlen strcmp strncmp
strcpy stpcpy strncpy strcat strncat strchr strrchr strstr puts putchar printf
sprintf snprintf fputs fputc fwrite putc malloc calloc realloc free exit
abs labs sqrt sqrtf fabs fabsf floor ceil round trunc fmod fmodf fmin fmax
abort pow exp log exp2 ldexp sin cos __stack_chk_fail
__udivti3 __umodti3 __divti3 __modti3 __multi3 __popcountdi2 __popcountsi2 setvbuf stdout
"""
"""Library symbols that are linked into every program. Compilers call them on their own (a loop becomes `memset`,
`printf` becomes `puts`), so a candidate may need them where the reference does not."""

_WITHOUT_STREAMS = frozenset(LINKED_FUNCTIONS.split()) - {"fputs", "fputc", "fwrite", "putc", "setvbuf", "stdout"}
"""Those of them to which no `FILE *` is passed."""


_CASE_FUNCTIONS = """
define i32 @tolower(i32 %c) {
  %letter = sub i32 %c, 65
  %is_upper = icmp ult i32 %letter, 26
  %lower = or i32 %c, 32
  %result = select i1 %is_upper, i32 %lower, i32 %c
  ret i32 %result
}
define i32 @toupper(i32 %c) {
  %letter = sub i32 %c, 97
  %is_lower = icmp ult i32 %letter, 26
  %upper = and i32 %c, 95
  %result = select i1 %is_lower, i32 %upper, i32 %c
  ret i32 %result
}
"""
"""Functions of the bundled C library that are wrong there: it returns 255 for EOF, where C has EOF."""


class ProgramModule:
    """The module of a program, with what all builds of the program need to know of it.

    `module` is the parsed text. Raises IRError.
    """

    def __init__(self, text: str, module: llvm.ModuleRef, target: Target) -> None:
        self.module, self.target = module, target
        self.prepared = prepare_module(text, target.foreign_system)
        """The text that is compiled."""
        self._text = text

    @functools.cached_property
    def functions(self) -> frozenset[str]:
        """The functions that it defines."""
        return frozenset(defined_functions(self.module))

    @functools.cached_property
    def local(self) -> frozenset[str]:
        """The local functions that are only called by name."""
        return only_called_functions(self.module, self._text)

    @functools.cached_property
    def narrow(self) -> frozenset[str]:
        """The declared functions that return an integer of up to 32 bits."""
        return narrow_functions(self.module)

    @functools.cached_property
    def result_kinds(self) -> dict[str, ResultKind]:
        """What its functions return, as far as that is a plain value or nothing."""
        return find_result_kinds(self.module)

    @functools.cached_property
    def variadic(self) -> frozenset[str]:
        """Its functions with a prototype that ends with `...`."""
        return variadic_functions(self.module)

    @functools.cached_property
    def aliases(self) -> dict[str, str]:
        """Other names that assembly uses."""
        private = (value.name for value in self.module.global_variables if value.linkage.name == "private")
        return {f".L{name}": name for name in private}

    @functools.cached_property
    def variables(self) -> list[str]:
        """The writable variables that its behaviour can depend on, in the order of the file."""
        unread = only_stored_variables(self.module)
        return [
            value.name
            for value in self.module.global_variables
            if not value.is_declaration and not value.name.startswith("llvm.") and not is_constant(value)
            if value.name not in unread
        ]

    @functools.cached_property
    def kept(self) -> list[str]:
        """The library symbols that are linked into the program. All standard streams are among them where the program
        can use a stream that it is given: it declares more than functions on memory and numbers."""
        values = (*self.module.functions, *self.module.global_variables)
        declared = {value.name for value in values if value.is_declaration}
        names = [*LINKED_FUNCTIONS.split(), *self.target.runtime_functions]
        names += ["__tls_get_addr"] if any(name.startswith("llvm.threadlocal.address") for name in declared) else []
        others = (name for name in declared if not name.startswith(("llvm.", "llmc", "__sanitizer_")))
        return [*names, "stdin", "stderr"] if set(others) - _WITHOUT_STREAMS else names

    def find_absent(self, symbols: Collection[str]) -> Iterator[str]:
        """The weak symbols that it declares and nothing defines."""
        for value in (*self.module.functions, *self.module.global_variables):
            if value.linkage.name == "external_weak" and value.name not in symbols:
                yield value.name


StartCompiling = Callable[[str], Callable[[], list[bytes]]]
"""Starts to compile a prepared module, and returns the function that waits for the objects."""


def start_program(
    source: ProgramModule, start_compiling: StartCompiling, unread: Callable[[], Collection[str]]
) -> Callable[[], ProgramImage]:
    """Start to build a program. The function that is returned waits for the compiler, and links the program.

    No behaviour depends on the variables that `unread` returns. Raises ClangError.
    """
    wait_for_objects = start_compiling(source.prepared)
    return lambda: _link_program(source, wait_for_objects(), unread())


def _link_program(source: ProgramModule, objects: list[bytes], unread: Collection[str]) -> ProgramImage:
    target = source.target
    if target.foreign_system:
        objects = [*objects, compile_bridge(target)]
    elf, stand_ins = _link_with_stand_ins(objects, source)
    symbols, library = _split_symbols(elf, source.functions, target)
    padded = [symbols.pop(name) for name in list(symbols) if name.startswith(PADDED_PREFIX)]
    own = (name for name in source.variables if name not in unread)
    variables = [*own, *(variable.name for variable in stand_ins.variables)]
    return ProgramImage(
        target=target,
        segments=elf.segments,
        entry=elf.entry,
        symbols=symbols,
        library=library,
        aliases=source.aliases,
        globals=tuple(name for name in variables if name in symbols),  # thread-local variables have no address
        stubs=stand_ins.functions,
        declared_variables=stand_ins.variables,
        absent=frozenset(source.find_absent(symbols)),
        constants=symbols.pop(CONSTANTS_SYMBOL, None),
        functions=source.functions,
        local=source.local,
        narrow=source.narrow.difference(stand_ins.functions),
        result_kinds=source.result_kinds,
        variadic=source.variadic,
        paddings=tuple(
            start for symbol in padded for start in (symbol.address, symbol.address + symbol.size - PADDING_BYTES)
        ),
    )


def _link_with_stand_ins(objects: list[bytes], source: ProgramModule) -> tuple[ElfProgram, StandIns]:
    """Link a program, with a stand-in for each symbol that nothing defines."""
    plain = [*objects, _support_object(source, StandIns())]
    missing = find_missing_symbols(plain, source.target)
    if missing:
        with suppress(ClangError):  # the linker then says itself what it misses
            return _define_missing(objects, source, missing)
    try:
        return read_elf(link(plain, target=source.target)), StandIns()
    except ClangError as error:
        missing = undefined_symbols(error)
        if not missing:
            raise
    return _define_missing(objects, source, missing)


def _define_missing(objects: list[bytes], source: ProgramModule, missing: Sequence[str]) -> tuple[ElfProgram, StandIns]:
    """Link a program with what it misses: the rest of glibc's library, and stand-ins."""
    target = source.target
    names = [name.removeprefix(target.symbol_prefix) for name in missing]
    glibc_names = frozenset() if target.foreign_system else load_names().find_known(names)
    if glibc_names:
        objects = [*objects, *build_glibc(glibc_names, target)]
    stand_ins = find_stand_ins(source.module, [name for name in names if name not in glibc_names], target)
    return read_elf(link([*objects, _support_object(source, stand_ins)], target=target)), stand_ins


def _support_object(source: ProgramModule, stand_ins: StandIns) -> bytes:
    """An object that keeps library functions in the program, and defines stand-ins for missing symbols."""
    target = source.target
    names = [name for name in source.kept if target.foreign_system or name not in stand_ins.functions]
    lines = [f"declare void @{name}()" for name in names]
    pointers = ", ".join(f"ptr @{name}" for name in names)
    lines.append(f"@llmc.kept = global [{len(names)} x ptr] [{pointers}]")
    lines.append('@llvm.used = appending global [1 x ptr] [ptr @llmc.kept], section "llvm.metadata"')
    lines += [
        f'define void @"{target.symbol_prefix}{name}"() align 16 {{\n ret void\n}}' for name in stand_ins.functions
    ]
    lines += stand_ins.definitions
    lines += [] if target.foreign_system else [_CASE_FUNCTIONS]
    if "main" not in source.functions:
        lines.append("define i32 @main() {\n ret i32 0\n}")
    return _emit_support("\n".join(lines), target.host)


@functools.lru_cache(maxsize=16)
def _emit_support(text: str, host: Target) -> bytes:
    """The object of a supporting module. Most programs have the same."""
    return emit_object(parse(text), host)


def _split_symbols(
    elf: ElfProgram, functions: Collection[str], target: Target
) -> tuple[dict[str, Symbol], dict[str, Symbol]]:
    """The symbols that code of the program can name, and those of the C library by its own names.

    What a case defines carries a prefix in the ELF file, because the library may define the same names. Of a guest's
    code only the functions do, and all of them.
    """
    prefix = target.symbol_prefix
    if not prefix:
        others = dict(elf.symbols)
        own = {name.removeprefix(OWN_PREFIX): others.pop(name) for name in elf.symbols if name.startswith(OWN_PREFIX)}
        return others | own, {name: symbol for name, symbol in others.items() if name not in functions or name in own}
    code = [range(part.address, part.address + len(part.data)) for part in elf.segments if part.is_executable]
    own = {name.removeprefix(prefix): symbol for name, symbol in elf.symbols.items() if name.startswith(prefix)}
    library = {name: symbol for name, symbol in elf.symbols.items() if not name.startswith(prefix)}
    shared = {
        name: symbol
        for name, symbol in library.items()
        if name == "main" or not any(symbol.address in part for part in code)
    }
    return shared | own, library
