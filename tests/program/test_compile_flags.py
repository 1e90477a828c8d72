from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_llmcompiler import check_file
from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.compile_flags import read_flags

EXAMPLES = 20


needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


def compile_natively(path: Path, *flags: str) -> str:
    """The assembly of the system's compiler."""
    command = ["gcc", "-w", "-S", *flags, str(path), "-o", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


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
