"""The toolchain: the bundled clang (ziglang) or a system clang, and the bundled linker and C library."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.elf_file import resolve_debug_relocations
from pytest_llmcompiler.program.included_files import parse_dependencies, without_folders
from pytest_llmcompiler.program.ir_names import spell_plainly
from pytest_llmcompiler.program.ir_rewrites import set_level_attributes
from pytest_llmcompiler.program.tool_run import ToolRun, name_descriptor, open_in_memory, read_descriptor, run_tool
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target
from pytest_llmcompiler.temporary import temporary_folder

_CODE_FLAGS = ("-fno-stack-protector", "-fPIE", "-w")
"""Flags of every compilation, with warnings off: a case is taken as it is."""
_MODULE_FLAGS = ("-fno-sanitize=all", "-g0")
"""Flags for modules of IR."""
_LENIENT_FLAGS = ("-Wno-everything", "-fno-crash-diagnostics")
"""Flags for C files. Warnings are off, those too that clang takes for errors where gcc 12 only warns: of implicit `int`
and functions, of pointers to other types, of a missing result. A crash of clang leaves no files."""
_PLAIN_FLAGS = ("-O0", "-Xclang", "-disable-O0-optnone", "-fno-sanitize=all")
"""Flags for IR that later passes may optimise. zig turns sanitizers on by default."""
_AS_AT_O0 = ("-U__OPTIMIZE__", "-D__NO_INLINE__=1")
_OPTIMISABLE_FLAGS = (
    *("-O1", "-Xclang", "-disable-llvm-passes", *_AS_AT_O0, "-fno-omit-frame-pointer", "-fno-sanitize=all"),
)
"""Flags for IR with the aliasing rules of C's types and the lifetimes of variables, which clang leaves out at -O0. The
macros are those of -O0, so that the file has the same code. So is the use of the frame pointer: most functions become
the same assembly as from the IR at -O0 then, and need no build of their own."""
# -fsanitize=function reads words before the start of the callee. The stubs of callbacks have no such words.
_DEFINED = ("-fno-sanitize=function,shift-base",)
"""What is checked no more. A shift of a 1 into or past the sign bit (`byte << 24`) is undefined in C, but neither gcc
nor clang makes use of that, and in IR it is defined."""
_PROBE_FLAGS = ("-O0", "-fsanitize=undefined,float-cast-overflow", *_DEFINED, "-fsanitize-trap=all")
"""Flags for the probe: undefined behaviour traps."""
_BAD_BYTES = "backslashreplace"
"""How text of clang that is not UTF-8 is decoded: a comment with the name of a file can have any bytes."""
_LINKER_REQUESTS = re.compile(rb"^!llvm\.(?:dependent-libraries|linker\.options) = .*\n?", re.MULTILINE)
"""What `#pragma comment(lib, "…")` becomes: a linker would read the file, and show what it can't read of it."""
BLOCK_COUNTER_FLAG = "-fsanitize-coverage=inline-bool-flag,pc-table,no-prune"
"""The instrumentation that notes whether each block runs, and names its address: `coverage.c`. A counter of eight bits
would be 0 after 256 rounds."""
_LINE_FLAGS = ("-gline-tables-only", "-gdwarf-4")
"""Debug information that has the lines of code and nothing else."""


Syntax = Literal["att", "intel"]
"""The syntax in which assembly is written."""
OptimisationLevel = Literal["O0", "O2", "O3", "Oz"]
"""The levels of clang whose code answers are measured by."""


class CompiledUnit(NamedTuple):
    """A C file as IR."""

    ir: str
    included: tuple[Path, ...]
    """The files that it includes, without the headers of the bundled compiler and of the C library."""


@dataclass(frozen=True)
class Toolchain:
    """The compiler of cases for a target: the bundled clang, or the system clang that `clang` names."""

    clang: str | None = None
    target: Target = field(default_factory=get_target)

    def emit_ir(self, path: Path, cflags: Sequence[str] = ()) -> str:
        """The IR of the C file at `path` as clang -O0 emits it, without debug information."""
        return _decode_ir(self._compile_c(path, cflags, *_PLAIN_FLAGS, "-g0", "-S", "-emit-llvm"))

    def compile_unit(self, path: Path, cflags: Sequence[str] = ()) -> CompiledUnit:
        """The IR that `emit_ir` gives, with the files that it depends on."""
        with open_in_memory([b""]) as (rule,):
            flags = (*_PLAIN_FLAGS, "-g0", "-S", "-emit-llvm", "-MD", "-MF", name_descriptor(rule), "-MT", "case")
            ir = self._compile_c(path, cflags, *flags, descriptors=[rule])
            files = parse_dependencies(read_descriptor(rule))
        own = (*header_folders(self.target), _compiler_headers())
        return CompiledUnit(_decode_ir(ir), without_folders(files[1:], own))

    def start_optimisable_ir(self, path: Path, cflags: Sequence[str] = ()) -> Callable[[], str]:
        """Start to emit the IR of the C file at `path` as clang hands it to its optimiser at -O2, without debug
        information. Returns the function that waits for it."""
        run = self._start_c(path, cflags, *_OPTIMISABLE_FLAGS, "-g0", "-S", "-emit-llvm")
        return lambda: _decode_ir(run.result().stdout)

    def start_probe_ir(self, path: Path, cflags: Sequence[str] = ()) -> Callable[[], str]:
        """Start to emit the IR of the C file at `path` at -O0, with a trap for every undefined behaviour that UBSan
        detects. Returns the function that waits for it."""
        headers = () if self.target.foreign_system else (f"-I{Path(__file__).with_name('probe_headers')}",)
        run = self._start_c(path, (*cflags, *headers), *_PROBE_FLAGS, "-g0", "-S", "-emit-llvm")
        return lambda: _decode_ir(run.result().stdout)

    def emit_glibc_ir(self, path: Path, cflags: Sequence[str] = ()) -> str:
        """The IR that `emit_ir` gives, but that functions of <ctype.h> have the results of glibc's."""
        return self.emit_ir(path, (*cflags, f"-I{Path(__file__).with_name('glibc_headers')}"))

    def start_debug_image(self, path: Path, cflags: Sequence[str] = ()) -> Callable[[], bytes]:
        """Start to emit an ELF file of the C file at `path` with DWARF, for its types. The DWARF has no relocations.
        Returns the function that waits for it."""
        return self._start_dwarf(path, cflags, *_PLAIN_FLAGS)

    def emit_block_image(self, path: Path, cflags: Sequence[str] = ()) -> bytes:
        """An ELF file of the C file at `path` at -O0 with a counter for each block, and with the lines of its code."""
        ir = _decode_ir(self._compile_c(path, cflags, *_PLAIN_FLAGS, *_LINE_FLAGS, "-S", "-emit-llvm"))
        flags = ("-O0", *_LINE_FLAGS, BLOCK_COUNTER_FLAG, *object_flags(self.target))
        return _link_alone(_start_module(ir, self.target, *flags).result().stdout)

    def emit_declarations(self, path: Path, cflags: Sequence[str] = ()) -> bytes:
        """An ELF file with DWARF that also describes the functions that the file calls and only declares."""
        return self._start_dwarf(path, cflags, "-O1", "-Xclang", "-disable-llvm-passes", "-fno-sanitize=all")()

    def emit_declared_variables(
        self, path: Path, names: Sequence[str], cflags: Sequence[str] = ()
    ) -> tuple[bytes, dict[str, str]]:
        """An ELF file with DWARF that describes variables which the C file at `path` only declares.

        clang describes no such variable itself. So this file has, for each of the names that the end of the C file
        knows, a pointer of its own to the variable's type. The dictionary has the name of each pointer.
        """
        flags = (*_PLAIN_FLAGS, "-ferror-limit=0")
        pointers = {name: f"llmc_declared_{number}" for number, name in enumerate(names)}
        with temporary_folder() as folder:
            source = folder / "declared.c"
            while True:
                lines = (f"#undef {name}\n__typeof__({name}) *{pointer};\n" for name, pointer in pointers.items())
                source.write_text("".join(lines), encoding="utf-8")
                try:
                    data = self._start_dwarf(source, (*cflags, "-include", str(path.resolve())), *flags)()
                    return data, pointers
                except ClangError as error:
                    unknown = set(re.findall(r"use of undeclared identifier '(\w+)'", str(error))) & pointers.keys()
                    if not unknown:
                        raise
                    pointers = {name: pointer for name, pointer in pointers.items() if name not in unknown}

    def _start_dwarf(self, path: Path, cflags: Sequence[str], *flags: str) -> Callable[[], bytes]:
        run = self._start_c(path, cflags, *flags, "-g", "-gdwarf-4", *object_flags(self.target))
        return lambda: _resolve_debug(run.result().stdout)

    def emit_assembly(self, ir: str, passes: str, syntax: Syntax = "att") -> str:
        """The assembly of a module of IR, optimised with a pass list. Raises ClangError."""
        return self.start_assembly(ir, passes, syntax)()

    def start_assembly(self, ir: str, passes: str, syntax: Syntax = "att") -> Callable[[], str]:
        """Start what `emit_assembly` does. Returns the function that waits for the assembly.

        The bundled clang emits it, even where a system clang made the IR. The pass lists are O0 to O3, `default<O2>`
        and `module(default<O2>)`. Raises ClangError for any other.
        """
        match = re.fullmatch(r"(?:module\()?(?:default<)?(O[0123])>?\)?", passes)
        if match is None:
            known = "O0 to O3, default<O2>, module(default<O2>)"
            raise ClangError(f"unknown pass list {passes!r}: expected one of {known}")
        run = _start_module(ir, self.target, *_MODULE_FLAGS, f"-{match[1]}", "-S", f"-masm={syntax}")
        return lambda: run.result().stdout.decode(errors=_BAD_BYTES)

    def start_level(self, ir: str, level: OptimisationLevel) -> Callable[[], str]:
        """Start to emit the assembly of a module as clang makes it at a level, in AT&T syntax. Returns the function
        that waits for it and returns the text. Raises ClangError and IRError.

        `ir` is what clang hands to its optimiser. The bundled clang emits the code, without zig's front end, which
        knows fewer levels. As clang does for a C file, functions lose their frame pointer where they are optimised.
        """
        if level != "O0":
            frame_pointer = "non-leaf" if self.target.triple.startswith("aarch64") else "none"
            ir = set_level_attributes(ir, frame_pointer=frame_pointer, is_for_size=level == "Oz")
        run = _start_module(ir, self.target, *_MODULE_FLAGS, f"-{level}", "-S")
        return lambda: run.result().stdout.decode(errors=_BAD_BYTES)

    def find_bodies(self, path: Path, cflags: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
        """The bodies of the functions in a C file, by name: offsets in bytes of the opening brace and past the closing
        one. Functions that a macro defines are left out."""
        flags = ("-fsyntax-only", "-Xclang", "-ast-dump=json")
        tree = json.loads(run_tool([*self._c_command, *_LENIENT_FLAGS, "-w", *cflags, *flags, str(path)]).stdout)
        bodies = {}
        for node in tree["inner"]:
            body = next((part for part in node.get("inner", ()) if part["kind"] == "CompoundStmt"), None)
            if node["kind"] == "FunctionDecl" and body:
                begin, end = body["range"]["begin"], body["range"]["end"]
                if "offset" in begin and "offset" in end:  # a body from a macro has an expansionLoc instead
                    bodies[node["name"]] = begin["offset"], end["offset"] + end["tokLen"]
        return bodies

    def version(self) -> str:
        """The first line of clang's own version text."""
        return run_tool([*self.command, "--version"]).stdout.decode().splitlines()[0]

    def _compile_c(self, path: Path, cflags: Sequence[str], *flags: str, descriptors: Sequence[int] = ()) -> bytes:
        return self._start_c(path, cflags, *flags, descriptors=descriptors).result().stdout

    def _start_c(self, path: Path, cflags: Sequence[str], *flags: str, descriptors: Sequence[int] = ()) -> ToolRun:
        """Start to compile a C file with its own flags. Where they contradict `flags`, `flags` win: they come last."""
        own = (*_CODE_FLAGS, *self._c_flags, *flags)
        command = [*self._c_command, *_LENIENT_FLAGS, _name_files(path), *cflags, *own, "-o", "-", str(path)]
        return ToolRun(command, descriptors=descriptors)

    def find_front_end(self) -> list[str]:
        """The command that looks for errors in the C files whose names follow, one after the other in one process.

        The driver starts a process for each file, which takes three times as long as reading a short one. Raises
        ClangError.
        """
        flags = (*_LENIENT_FLAGS, *_CODE_FLAGS, *self._c_flags, "-w", "-fsyntax-only", "-###", "-x", "c", "-")
        planned = run_tool([*self._c_command, *flags]).stderr.decode("utf-8", "replace")
        words = shlex.split(next((line for line in planned.splitlines()[::-1] if '"-cc1"' in line), ""))
        if words[-1:] != ["-"]:
            raise ClangError(f"clang does not say how it reads a C file: {planned[-400:].strip()}")
        return words[:-1]

    def compile_file(self, path: Path, *flags: str) -> bytes:
        """What clang writes for a file that is no case. Raises ClangError."""
        with temporary_folder() as folder:  # zig's front end writes no standard output
            output = folder / "output"
            run_tool([*self.command, *_CODE_FLAGS, *flags, "-o", str(output), str(path)])
            return output.read_bytes()

    @property
    def _c_command(self) -> list[str]:
        """The command that compiles the C file of a case. Raises ClangError where the system clang is not found.

        zig's own front end refuses or takes for its own what clang knows, such as `-MD`; it is left out.
        """
        return self.command if self.clang else _bundled_driver(self.target)

    @property
    def _c_flags(self) -> tuple[str, ...]:
        """Flags with which the bundled clang writes the same IR for a C file as zig's front end does."""
        plain = self.clang is None and self.target.foreign_system is None
        return ("-fPIC", "-Xclang", "-dwarf-version=4") if plain else ()

    @property
    def command(self) -> list[str]:
        """The command that calls clang. Raises ClangError where the system clang is not found."""
        if self.clang is None and self.target.foreign_system is None:
            return [_zig(), "cc", "-target", self.target.zig_target]
        if self.clang is None:
            return _bundled_driver(self.target)
        path = shutil.which(self.clang)
        if path is None:
            raise ClangError(f"no clang at {self.clang!r}: correct --llmc-clang, or leave it out for the bundled clang")
        headers = header_folders(self.target)
        return [path, f"--target={self.target.triple}", "-nostdlibinc", *_include_flags(headers)]


def _name_files(path: Path) -> str:
    """The flag by which `__FILE__` is the name of a case as its own folder has it, wherever that folder is."""
    return f"-fmacro-prefix-map={path.parent}{os.sep}="


def lower_optimised_ir(ir: str, level: str | None, syntax: Syntax, target: Target | None = None) -> str:
    """The assembly that the bundled clang emits for a module of IR, without running any pass on it.

    `level` is the optimisation level of code generation. clang knows two: `O0`, and one for all others.
    """
    flags = ("-O0" if level == "O0" else "-O2", "-Xclang", "-disable-llvm-passes")
    return _compile_text(ir, *flags, "-S", f"-masm={syntax}", target=target).decode(errors=_BAD_BYTES)


def compile_ir(ir: str, *flags: str, target: Target | None = None) -> bytes:
    """An ELF object of a module of IR, compiled by the bundled clang at -O0. None is the default target.

    Raises ClangError. For a module that clang itself wrote, the only cause is inline assembly with an error.
    """
    return start_compiling_ir(ir, *flags, target=target).result().stdout


def start_compiling_ir(ir: str, *flags: str, target: Target | None = None) -> ToolRun:
    """Start what `compile_ir` does."""
    return _start_module(
        ir, target or get_target(), *_MODULE_FLAGS, "-O0", *flags, *object_flags(target or get_target())
    )


def object_flags(target: Target) -> tuple[str, ...]:
    """The flags that make clang emit an ELF object for a target."""
    return ("-c", f"--target={target.object_triple}") if target.foreign_system else ("-c",)


def _compile_text(ir: str, *flags: str, target: Target | None) -> bytes:
    # Always the bundled clang: older clangs can't read the IR that llvmlite writes.
    return _start_module(ir, target or get_target(), *_MODULE_FLAGS, *flags).result().stdout


def _start_module(ir: str, target: Target, *flags: str) -> ToolRun:
    """Start to compile a module with the bundled clang, as zig's front end has it done. The front end itself would
    link each object once more, and keep it in its cache for ever."""
    if target.foreign_system:
        command = [*_bundled_driver(target), *_CODE_FLAGS]
    else:
        tuning = (part for feature in target.tuning for part in ("-Xclang", "-target-feature", "-Xclang", feature))
        command = [*_plain_driver(target.zig_target), *_CODE_FLAGS, "-fPIC", *tuning]
    return ToolRun([*command, *flags, "-o", "-", "-x", "ir", "-"], ir.encode(errors=_BAD_BYTES))


def compile_c(path: Path, *flags: str) -> bytes:
    """An ELF object of a C file, compiled by the bundled clang for the bundled C library. Raises ClangError."""
    return Toolchain().compile_file(path, "-fno-sanitize=all", "-fno-pie", *flags, "-c")


def linker_command() -> list[str]:
    """The command that calls the bundled linker alone, which adds no library and no start-up code."""
    return [_zig(), "ld.lld"]


def glibc_driver() -> list[str]:
    """The bundled clang without zig's own front end, with the headers of glibc 2.17 for x86-64. Later versions have
    that interface too, and unicorn's wheel needs as much."""
    root = Path(_zig()).parent / "lib" / "libc" / "include"
    libc = (str(root / name) for name in ("x86-linux-gnu", "generic-glibc", "x86-linux-any", "any-linux-any"))
    headers = _include_flags([_compiler_headers(), *libc])
    return [*_plain_driver("x86_64-unknown-linux-gnu"), *headers, "-D__GLIBC_MINOR__=17"]


def assembler_command(target: Target) -> list[str]:
    """The command that assembles its standard input and writes the object to its standard output."""
    flags = ("-triple", target.triple, "-target-cpu", target.cpu, "-filetype", "obj", "-o", "-", "-")
    return [_zig(), "-cc1as", *flags]


def _decode_ir(data: bytes) -> str:
    """The IR that clang emits, without what a source asks of linkers: programs are linked with the bundled library."""
    return spell_plainly(_LINKER_REQUESTS.sub(b"", data).decode(errors=_BAD_BYTES))


def _resolve_debug(data: bytes) -> bytes:
    """An object of which the debug information has no relocations."""
    resolved = resolve_debug_relocations(data)
    return resolved if resolved is not None else _link_alone(data)


def _link_alone(data: bytes) -> bytes:
    """An object linked without what it refers to, so that it has no relocations."""
    # A hidden symbol that nothing defines is an error in spite of the first flag, a warning with the second.
    flags = ("--unresolved-symbols=ignore-all", "--noinhibit-exec", "-e", "0", "-o", "-")
    with open_in_memory([data]) as (unit,):
        return run_tool([*linker_command(), *flags, name_descriptor(unit)], descriptors=[unit]).stdout


@functools.cache
def _zig() -> str:
    import ziglang

    return str(Path(ziglang.__file__).parent / "zig")


def _bundled_driver(target: Target) -> list[str]:
    """The bundled clang without zig's own front end, which always wants an output file and knows no guest targets."""
    headers, compiler_headers_at = header_folders(target), 1 if target.foreign_system else 0
    headers.insert(compiler_headers_at, _compiler_headers())
    return [*_plain_driver(target.triple), *_include_flags(headers)]


def _plain_driver(triple: str) -> list[str]:
    """The bundled clang without zig's own front end, and without headers."""
    return [_zig(), "clang", f"--target={triple}", "-nostdinc"]


def _compiler_headers() -> str:
    """The folder of the bundled compiler's own headers."""
    return str(Path(_zig()).parent / "lib" / "include")


def _include_flags(folders: Sequence[str]) -> list[str]:
    return [f"-isystem{folder}" for folder in folders]


def header_folders(target: Target) -> list[str]:
    """The folders of musl's headers, those of the architecture first. Before all of them come the headers of a guest,
    or those that add to musl's what programs take from glibc's.

    A system clang needs these too: its headers must fit the C library that is linked.
    """
    root = Path(_zig()).parent / "lib" / "libc" / "include"
    own = target.foreign_system.header_folder if target.foreign_system else Path(__file__).with_name("gnu_headers")
    return [str(own)] + [str(root / name) for name in target.header_folders if (root / name).is_dir()]
