"""The C library that comes with the package is that of the bundled compiler, and programs link with it."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
import ziglang
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.c_library import find_archives, list_library_names
from pytest_llmcompiler.program.clang import compile_c
from pytest_llmcompiler.program.static_link import link, undefined_symbols
from pytest_llmcompiler.targets import get_target

ZIG = Path(ziglang.__file__).parent
MUSL = ZIG / "lib" / "libc" / "musl"
SAMPLE = ("stdio/vfprintf.c", "stdlib/strtod.c", "time/strftime.c", "regex/regexec.c", "env/__libc_start_main.c")
"""Sources of musl. zig compiles those of a few folders, of which these are not, with -O3."""
FLAGS = """
-fno-PIE -fno-PIC -gdwarf-4 -nostdinc -DNDEBUG -mred-zone -fno-omit-frame-pointer -fno-stack-protector -fno-builtin
-ffunction-sections -fdata-sections -fasynchronous-unwind-tables -std=c99 -ffreestanding -fexcess-precision=standard
-frounding-math -ffp-contract=off -fno-strict-aliasing -D_XOPEN_SOURCE=700 -Os -w -c
"""
"""What zig's front end compiles them with (`ZIG_VERBOSE_CC=1`), as far as it changes the code."""


def read_members(archive: str) -> dict[str, bytes]:
    """The objects of an archive by the last part of their names; of several with one name the last."""
    data, at, names, members = Path(archive).read_bytes(), 8, b"", {}
    while at < len(data):
        name, size = data[at : at + 16].decode().strip(), int(data[at + 48 : at + 58])
        content = data[at + 60 : at + 60 + size]
        if name == "//":
            names = content
        elif name != "/":
            long = names[int(name[1:]) :].partition(b"/\n")[0].decode() if name[1:].isdecimal() else name.rstrip("/")
            members[long.rpartition("/")[2]] = content
        at += 60 + size + size % 2
    return members


def read_sections(data: bytes) -> dict[str, bytes]:
    """The contents of the sections of an object that are loaded."""
    sections = ELFFile(io.BytesIO(data)).iter_sections()
    return {section.name: section.data() for section in sections if section["sh_flags"] & SH_FLAGS.SHF_ALLOC}


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
def test_the_library_is_what_the_compiler_makes_of_its_sources(processor: str, tmp_path: Path) -> None:
    members = read_members(find_archives(get_target(f"{processor}-linux"))[0])
    musl = [
        MUSL / f"arch/{processor}",
        MUSL / "arch/generic",
        *(MUSL / f"src/{name}" for name in ("include", "internal")),
    ]
    libc = [ZIG / "lib" / "libc" / "include" / name for name in (f"{processor}-linux-musl", "generic-musl")]
    folders = [*musl, MUSL / "include", *libc]
    command = [
        ZIG / "zig",
        "clang",
        "-target",
        f"{processor}-linux-musl",
        *FLAGS.split(),
        *(f"-I{folder}" for folder in folders),
    ]
    runs = []
    for name in SAMPLE:
        output = tmp_path / f"{Path(name).stem}.o"
        runs.append((output, subprocess.Popen([*command, MUSL / "src" / name, "-o", output])))
    for output, run in runs:
        assert run.wait() == 0
        assert read_sections(output.read_bytes()) == read_sections(members[output.name]), output.name


def test_a_program_runs(tmp_path: Path) -> None:
    source, program = tmp_path / "main.c", tmp_path / "main"
    source.write_text('#include <stdio.h>\nint main(void) { return printf("%.3f %s\\n", 2.5, "text") - 11; }\n')
    program.write_bytes(link([compile_c(source)]))
    program.chmod(0o755)
    assert subprocess.run([program], check=True, capture_output=True).stdout == b"2.500 text\n"


def test_all_missing_symbols_are_named(tmp_path: Path) -> None:
    names = [f"missing{number}" for number in range(30)]
    source = tmp_path / "main.c"
    source.write_text("".join(f"int {name}(void);\n" for name in names))
    with source.open("a") as file:
        file.write(f"int main(void) {{ return {' + '.join(f'{name}()' for name in names)}; }}\n")
    with pytest.raises(ClangError) as error:
        link([compile_c(source)])
    assert undefined_symbols(error.value) == names
    assert {"printf", "malloc", "__udivti3"} <= list_library_names(get_target())
