from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_llmcompiler import check, check_file
from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import FlagSources, read_flags
from pytest_llmcompiler.program.flag_words import CompileFlags
from pytest_llmcompiler.program.reference import Reference

EXAMPLES = 20


needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def compile_natively(path: Path, *flags: str, folder: Path | None = None) -> str:
    """The assembly of the system's compiler."""
    command = ["gcc", "-w", "-S", *flags, str(path), "-o", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout


def compile_with_clang(path: Path, *flags: str) -> str:
    """The assembly of the bundled clang."""
    toolchain = Toolchain()
    return toolchain.emit_assembly(toolchain.emit_ir(path, flags), "O2")


def write_lanes(folder: Path, directive: str = "") -> Path:
    """A case that needs a folder of headers and a macro."""
    (folder / "include dir").mkdir()
    (folder / "include dir" / "config.h").write_text(
        "#ifndef WIDTH\n#error WIDTH has to be given\n#endif\ntypedef unsigned char lane[WIDTH];\n"
    )
    case = folder / "lanes.c"
    case.write_text(
        f'{directive}\n#include "config.h"\n'
        "int lane_sum(const lane values)\n{\n    int sum = 0;\n    for (int i = 0; i < WIDTH; i++)\n"
        "        sum += values[i];\n    return sum;\n}\n"
    )
    return case


@needs_gcc
def test_a_directive_names_flags_and_their_paths_start_at_its_file(tmp_path: Path) -> None:
    case = write_lanes(tmp_path, "// LLMC: cflags '-Iinclude dir' -DWIDTH=8")
    assert read_case(case).cflags == ("-I", str(tmp_path / "include dir"), "-DWIDTH=8")
    assembly = compile_natively(case, f"-I{tmp_path / 'include dir'}", "-DWIDTH=8", "-O2")
    assert check_file(case, "lane_sum", assembly, examples=EXAMPLES).passed
    shorter = compile_natively(case, f"-I{tmp_path / 'include dir'}", "-DWIDTH=7", "-O2")
    assert check_file(case, "lane_sum", shorter, examples=EXAMPLES).kind == "mismatch"


def test_the_flags_of_a_file_that_is_no_case(tmp_path: Path) -> None:
    unit = tmp_path / "unit.c"
    unit.write_text("// LLMC: cflags -std=gnu89\n/* LLMC: cflags -I ../x -include y.h */\n")
    flags = [(flags.flags, flags.origin) for flags in read_flags(unit)]
    folder = str(tmp_path.parent / "x")
    assert flags == [(("-std=gnu89",), f"{unit}:1"), (("-I", folder, "-include", "y.h"), f"{unit}:2")]


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("// LLMC: cflags", "expected flags of clang, such as"),
        ("// LLMC: cflags -D", "the flag -D lacks its value"),
        ("// LLMC: cflags std=c89", "expected a flag of clang, found `std=c89`"),
        ("// LLMC: cflags -D'X", "can't read the flags `-D'X`: No closing quotation"),
    ],
)
def test_unusable_directives(tmp_path: Path, directive: str, message: str) -> None:
    case = tmp_path / "case.c"
    case.write_text(f"int x;\n{directive}\n")
    with pytest.raises(CaseError) as caught:
        read_case(case)
    assert str(caught.value).startswith(f"{case}:2: {message}")


OLD = """
scale(x, y)
    int x;
{
    if (y < 0)
        abort();
    return x * y;
}
"""


@needs_gcc
def test_definitions_of_c_before_prototypes(tmp_path: Path) -> None:
    case = tmp_path / "old.c"
    case.write_text(f"// LLMC: cflags -std=gnu89{OLD}")
    for level in ("-O0", "-O2"):
        assembly = compile_natively(case, "-std=gnu89", level)
        assert check_file(case, "scale", assembly, examples=EXAMPLES).passed
    wrong = compile_natively(case, "-std=gnu89", "-O2").replace("imull", "addl")
    assert check_file(case, "scale", wrong, examples=EXAMPLES).kind == "mismatch"


def write_database(folder: Path, *entries: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    database = folder / "compile_commands.json"
    database.write_text(json.dumps(entries))
    return database


COMMAND = (
    "/usr/bin/cc -DWIDTH=8 -I'../include dir' -std=gnu11 -O3 -g -Wall -Werror=foo -MD -MT x.o -MF x.d -fPIC -flto "
    "-fconserve-stack -fsanitize=address -march=native -pipe -o x.o -c ../lanes.c"
)
KEPT = ("-DWIDTH=8", "-I", "INCLUDE", "-std=gnu11")


@pytest.mark.parametrize("form", ["command", "arguments"])
@pytest.mark.parametrize("place", [".", "build", "../build"])
def test_the_flags_of_a_build(tmp_path: Path, form: str, place: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    case = write_lanes(project)
    line: object = COMMAND if form == "command" else shlex.split(COMMAND)
    entry = {"directory": str(project / "build"), "file": "../lanes.c", form: line}
    write_database(project / place, {"directory": "/", "file": "other.c", "command": "cc -DOTHER other.c"}, entry)
    [flags] = read_flags(case)
    assert flags.flags == tuple(str(project / "include dir") if flag == "INCLUDE" else flag for flag in KEPT)
    assert [flag for flag, _ in flags.left_out] == ["-march=native"]
    assert flags.origin.endswith("compile_commands.json: ../lanes.c")
    if form == "command":
        assembly = compile_with_clang(case, *flags.flags)
        assert check_file(case, "lane_sum", assembly, examples=EXAMPLES).passed


def test_a_database_that_is_named_and_the_order_of_flags(tmp_path: Path) -> None:
    case = write_lanes(tmp_path, "// LLMC: cflags -DWIDTH=3")
    entry = {"directory": ".", "file": str(case), "arguments": ["cc", "-DWIDTH=1", "-c", "lanes.c"]}
    near = write_database(tmp_path, entry)
    away = write_database(tmp_path / "away", {**entry, "arguments": ["cc", "-I", "x"]})
    common = (CompileFlags(("-DWIDTH=2",), "here"),)
    assert read_case(case, flag_sources=FlagSources(common)).cflags == ("-DWIDTH=1", "-DWIDTH=2", "-DWIDTH=3")
    named = read_case(case, flag_sources=FlagSources(common, away)).cflags
    assert named == ("-I", str(away.parent / "x"), "-DWIDTH=2", "-DWIDTH=3")
    assert read_case(case, flag_sources=FlagSources(common, away.parent)).cflags == named
    assert read_case(case, flag_sources=FlagSources(common, near, has_databases=False)).cflags[0] == "-DWIDTH=2"


def test_response_files_of_a_build(tmp_path: Path) -> None:
    case = write_lanes(tmp_path)
    (tmp_path / "flags.rsp").write_text("'-Iinclude dir' @more.rsp\n")
    (tmp_path / "more.rsp").write_text('-DNAME="\\"x y\\""\n-O2')
    write_database(tmp_path, {"directory": str(tmp_path), "file": "lanes.c", "command": "cc @flags.rsp lanes.c"})
    [flags] = read_flags(case)
    assert flags.flags == ("-I", str(tmp_path / "include dir"), '-DNAME="x y"')
    assert [file.name for file in flags.files] == ["compile_commands.json", "flags.rsp", "more.rsp"]
    (tmp_path / "more.rsp").write_text("@flags.rsp")
    with pytest.raises(CaseError, match=r"response files name each other: @flags\.rsp"):
        read_flags(case)
    (tmp_path / "more.rsp").unlink()
    with pytest.raises(CaseError, match=r"flags\.rsp: the response file .*more\.rsp can't be read: No such file"):
        read_flags(case)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is no JSON: "),
        ("\xff", "is no JSON: "),
        ("{}", "expected a list of entries"),
        ('[{"file": "lanes.c", "directory": "."}]', "entry 0 has no texts `directory` and `file`"),
        ('[{"file": "lanes.c", "directory": ".", "arguments": "cc"}]', "entry 0 has no texts"),
        ('[{"file": "lanes.c", "directory": ".", "command": "cc \\"x"}]', ": lanes.c: can't read the command: No clos"),
    ],
)
def test_databases_that_can_not_be_read(tmp_path: Path, text: str, message: str) -> None:
    case = write_lanes(tmp_path)
    database = tmp_path / "compile_commands.json"
    database.write_text(text, encoding="latin-1")
    with pytest.raises(CaseError) as caught:
        read_case(case)
    assert str(caught.value).startswith(f"{database}") and message in str(caught.value)


@needs_gcc
def test_a_changed_header_or_database_is_noticed(tmp_path: Path) -> None:
    case = tmp_path / "scale.c"
    case.write_text('#include "factor.h"\nint scale(unsigned char x) { return x * FACTOR; }\n')
    header = tmp_path / "my headers" / "factor.h"
    header.parent.mkdir()
    header.write_text("#define FACTOR 3\n")
    entry = {"directory": str(tmp_path), "file": "scale.c", "arguments": ["cc", "-Imy headers", "scale.c"]}
    write_database(tmp_path, entry)
    three = compile_natively(case, "-Imy headers", folder=tmp_path)
    assert check_file(case, "scale", three, examples=EXAMPLES).passed
    header.write_text("#define FACTOR 5\n")
    assert check_file(case, "scale", three, examples=EXAMPLES).kind == "mismatch"
    five = compile_natively(case, "-Imy headers", folder=tmp_path)
    assert check_file(case, "scale", five, examples=EXAMPLES).passed
    header.write_text("#ifndef FACTOR\n#define FACTOR 5\n#endif\n")
    write_database(tmp_path, {**entry, "arguments": ["cc", "-DFACTOR=3", "-Imy headers", "scale.c"]})
    assert check_file(case, "scale", three, examples=EXAMPLES).passed
    header.unlink()
    with pytest.raises(CaseError, match=r"'factor\.h' file not found"):
        check_file(case, "scale", three, examples=EXAMPLES)


def test_a_flag_that_clang_refuses_is_blamed_on_its_origin(tmp_path: Path) -> None:
    case = tmp_path / "case.c"
    case.write_text("// LLMC: cflags -DX -std=gnu77\nint f(int x) { return x; }\n")
    with pytest.raises(CaseError) as caught:
        check_file(case, "f", "f: ret")
    assert str(caught.value).startswith(f"{case}:1: error: invalid value 'gnu77' in '-std=gnu77'")


def test_headers_of_source_text_are_not_found_without_flags(tmp_path: Path) -> None:
    source = '#include "x.h"\nint f(int x) { return x + ONE; }\n'
    with pytest.raises(CaseError, match=r"(?s)'x\.h' file not found.*LLMC: cflags -IFOLDER"):
        check(source, "f", "f: ret")
    (tmp_path / "x.h").write_text("#define ONE 1\n")
    assembly = "f:\n leal 1(%rdi), %eax\n ret\n"
    assert check(source, "f", assembly, examples=EXAMPLES, cflags=["-I", str(tmp_path)]).passed
    assert check(source, "f", assembly, examples=EXAMPLES, cflags=[f"-I{tmp_path}"]).passed


@pytest.mark.parametrize("folder", ["a b", "x$y", "n#1", "caf\udce9", "quote'\"s", "colon:s"])
def test_included_files_have_any_names(tmp_path: Path, folder: str) -> None:
    header = tmp_path / folder / "own.h"
    header.parent.mkdir()
    header.write_text("#include <stdint.h>\n#define ONE 1\n")
    case = header.with_name("case.c")
    case.write_text('#include "own.h"\nint f(int x) { return x + ONE; }\n')
    reference = Reference(read_case(case), Toolchain())
    assert reference.included == (header,)
    before = reference.fingerprint
    header.write_text("#include <stdint.h>\n#define ONE 1 /* the same */\n")
    assert Reference(read_case(case), Toolchain()).fingerprint != before


def test_flags_are_part_of_a_fingerprint_and_folders_are_not(tmp_path: Path) -> None:
    case = write_lanes(tmp_path)

    def fingerprint(*flags: str) -> str:
        sources = FlagSources((CompileFlags(("-DWIDTH=8", *flags), "here"),))
        return Reference(read_case(case, flag_sources=sources), Toolchain()).fingerprint

    folder = tmp_path / "include dir"
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert fingerprint("-I", str(folder)) == fingerprint("-I", str(copy))
    assert fingerprint("-I", str(folder)) != fingerprint("-I", str(folder), "-fwrapv")
