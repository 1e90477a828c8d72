"""The toolchain: the bundled clang (ziglang) or a system clang, and the bundled linker and C library."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target

_CODE = ("-fno-stack-protector", "-fPIE", "-w")
_PLAIN = ("-O0", "-Xclang", "-disable-O0-optnone", "-fno-sanitize=all")
# -fsanitize=function reads words in front of the callee, which the stubs of callbacks do not have.
_PROBE = (
    *("-O0", "-fsanitize=undefined,float-cast-overflow", "-fno-sanitize=function"),
    "-fsanitize-trap=all",
)
_WATCHED = "-fsanitize-coverage=inline-8bit-counters,trace-cmp,trace-gep,trace-pc"
_SECONDS = 600  # the very first link builds musl


Syntax = Literal["att", "intel"]
"""How assembly is written."""


@dataclass(frozen=True)
class Toolchain:
    """What compiles a case for a target: the bundled clang, or the system clang named by `clang`."""

    clang: str | None = None
    target: Target = field(default_factory=get_target)

    def ir(self, path: Path) -> str:
        """The IR of the C file at `path` as clang -O0 makes it, without debug information."""
        return self._compile(path, *_PLAIN, "-g0", "-S", "-emit-llvm").decode()

    def probe_ir(self, path: Path) -> str:
        """The same with every undefined behaviour that UBSan knows turned into a trap."""
        return self._compile(path, *_PROBE, "-g0", "-S", "-emit-llvm").decode()

    def debug_image(self, path: Path) -> bytes:
        """An ELF file of the C file at `path` with DWARF, for its types. It is linked, so that nothing is relocated."""
        return self._described(path, *_PLAIN)

    def declarations(self, path: Path) -> bytes:
        """The same with the functions that the file only declares, so far as it calls them."""
        return self._described(path, "-O1", "-Xclang", "-disable-llvm-passes", "-fno-sanitize=all")

    def _described(self, path: Path, *flags: str) -> bytes:
        data = self._compile(path, *flags, "-g", "-gdwarf-4", *_objects(self.target))
        with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
            unit, image = Path(folder) / "unit.o", Path(folder) / "image"
            unit.write_bytes(data)
            _run([*linker(), "--unresolved-symbols=ignore-all", "-e", "0", str(unit), "-o", str(image)])
            return image.read_bytes()

    def assembly(self, ir: str, passes: str, syntax: Syntax = "att") -> str:
        """The assembly of a module of IR, optimised with a pass list.

        The bundled clang makes it, whichever clang made the IR.
        Lists are O0 to O3, `default<O2>` and `module(default<O2>)`. Raises ClangError for any other.
        """
        match = re.fullmatch(r"(?:module\()?(?:default<)?(O[0123])>?\)?", passes)
        if match is None:
            known = "O0 to O3, default<O2>, module(default<O2>)"
            raise ClangError(f"unknown pass list {passes!r}: expected one of {known}")
        return _from_ir(ir, f"-{match[1]}", "-S", f"-masm={syntax}", target=self.target).decode()

    def bodies(self, path: Path) -> dict[str, tuple[int, int]]:
        """Where the bodies of functions are in a C file: name -> offsets in bytes, from the opening brace to past the
        closing one. Functions that a macro makes are left out."""
        command = self.command if self.clang else _bundled_driver(self.target)
        tree = json.loads(_run([*command, "-w", "-fsyntax-only", "-Xclang", "-ast-dump=json", str(path)]))
        found = {}
        for node in tree["inner"]:
            body = next((part for part in node.get("inner", ()) if part["kind"] == "CompoundStmt"), None)
            if node["kind"] == "FunctionDecl" and body:
                begin, end = body["range"]["begin"], body["range"]["end"]
                if "offset" in begin and "offset" in end:  # in a macro there is an expansionLoc instead
                    found[node["name"]] = begin["offset"], end["offset"] + end["tokLen"]
        return found

    def version(self) -> str:
        """The first line of clang's own version text."""
        return _run([*self.command, "--version"]).decode().splitlines()[0]

    def _compile(self, path: Path, *flags: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
            output = Path(folder) / "output"
            _run([*self.command, *_CODE, *flags, "-o", str(output), str(path)])
            return output.read_bytes()

    @property
    def command(self) -> list[str]:
        """How clang is called. Raises ClangError where there is none."""
        if self.clang is None and self.target.foreign_system is None:
            return [_zig(), "cc", "-target", self.target.zig_target]
        if self.clang is None:
            return _bundled_driver(self.target)
        found = shutil.which(self.clang)
        if found is None:
            raise ClangError(f"no clang at {self.clang!r}: correct --llmc-clang, or leave it out for the bundled one")
        return [found, f"--target={self.target.triple}", "-nostdlibinc", *_includes(_musl_headers(self.target))]


def lowered_by_clang(ir: str, level: str | None, syntax: Syntax, target: Target | None = None) -> str:
    """The assembly of a module of IR that is optimised already, as the bundled clang has it at a level such as `O0`: it
    is all the same above that."""
    flags = ("-O0" if level == "O0" else "-O2", "-Xclang", "-disable-llvm-passes")
    return _from_ir(ir, *flags, "-S", f"-masm={syntax}", target=target).decode()


def compile_ir(ir: str, *flags: str, target: Target | None = None) -> bytes:
    """An ELF object of a module of IR, made by the bundled clang without optimisation; for the default target unless
    another is given, as in all of these.

    Raises ClangError: for a module of clang's own making, that is inline assembly with a fault.
    """
    return _from_ir(ir, "-O0", *flags, *_objects(target or get_target()), target=target)


def compile_watched(ir: str, target: Target | None = None) -> list[bytes]:
    """The same with code that tells where a run went and what it compared, and the object of `probe.c`, which that
    code calls."""
    target = target or get_target()
    return [compile_ir(ir, _WATCHED, target=target), _watch_object(target)]


@functools.cache
def _watch_object(target: Target) -> bytes:
    source = Path(__file__).with_name("probe.c")
    return Toolchain(target=target)._compile(source, "-O1", "-fno-sanitize=all", "-g0", *_objects(target))


def _objects(target: Target) -> tuple[str, ...]:
    """How clang is told to make an ELF object of code for a target."""
    return ("-c", f"--target={target.object_triple}") if target.foreign_system else ("-c",)


@functools.cache
def bridge(target: Target) -> bytes:
    """The object by which a guest's code calls the C library of its host."""
    assert target.foreign_system is not None
    flags = ("-O1", "-fno-builtin", "-fno-sanitize=all", "-g0", "-c")
    return Toolchain(target=target.host)._compile(target.foreign_system.library_wrapper, *flags)


def _from_ir(ir: str, *flags: str, target: Target | None) -> bytes:
    # The bundled clang, whichever made the IR: llvmlite writes IR that older ones do not read.
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        source = Path(folder) / "module.ll"
        source.write_text(ir, encoding="utf-8")
        return Toolchain(target=target or get_target())._compile(source, "-fno-sanitize=all", "-g0", *flags)


def compile_c(path: Path, *flags: str) -> bytes:
    """An ELF object of a C file, made by the bundled clang for the bundled C library. Raises ClangError."""
    return Toolchain()._compile(path, "-fno-sanitize=all", "-fno-pie", *flags, "-c")


def link(objects: Sequence[bytes], *flags: str, target: Target | None = None) -> bytes:
    """Link ELF objects with the bundled musl into a static, position-dependent executable, without debug information
    unless a flag asks for it.

    Raises ClangError with the linker's message. The first call on a machine builds musl, which takes a minute or two;
    zig keeps it in its own cache.
    """
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        inputs = []
        for number, data in enumerate(objects):
            path = Path(folder) / f"{number}.o"
            path.write_bytes(data)
            inputs.append(str(path))
        output = Path(folder) / "program"
        compiler = Toolchain(target=(target or get_target()).host).command
        _run([*compiler, "-static", "-no-pie", *(flags or ("-g0",)), "-o", str(output), *inputs])
        return output.read_bytes()


def linker() -> list[str]:
    """How the bundled linker itself is called, which makes what it is told to and adds no library."""
    return [_zig(), "ld.lld"]


def assembler(target: Target) -> list[str]:
    """The command that assembles its standard input, and writes the object to its standard output."""
    flags = ("-triple", target.triple, "-target-cpu", target.cpu, "-filetype", "obj", "-o", "-", "-")
    return [_zig(), "-cc1as", *flags]


def undefined_symbols(error: ClangError) -> list[str]:
    """The symbols that a failed `link` missed, in the order in which the linker names them."""
    return list(dict.fromkeys(re.findall(r"undefined symbol: (\S+)", str(error))))


def _run(command: list[str]) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ClangError(f"{command[0]} can't be run: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ClangError(f"{command[0]} took more than {_SECONDS} s") from error
    if done.returncode:
        raise ClangError(done.stderr.decode(errors="replace").strip() or f"{command[0]} exited {done.returncode}")
    return done.stdout


@functools.cache
def _zig() -> str:
    import ziglang

    return str(Path(ziglang.__file__).parent / "zig")


def _bundled_driver(target: Target) -> list[str]:
    """The bundled clang itself, which zig's own front end is not: that insists on a file that is made, and knows no
    guests."""
    headers, own = _musl_headers(target), 1 if target.foreign_system else 0
    headers.insert(own, str(Path(_zig()).parent / "lib" / "include"))
    return [_zig(), "clang", f"--target={target.triple}", "-nostdinc", *_includes(headers)]


def _includes(headers: Sequence[str]) -> list[str]:
    return [f"-isystem{folder}" for folder in headers]


def _musl_headers(target: Target) -> list[str]:
    """musl's headers, the architecture's own first: a system clang must see the library that is linked. Before them
    those of a guest."""
    root = Path(_zig()).parent / "lib" / "libc" / "include"
    own = [str(target.foreign_system.header_folder)] if target.foreign_system else []
    return own + [str(root / name) for name in target.header_folders if (root / name).is_dir()]
