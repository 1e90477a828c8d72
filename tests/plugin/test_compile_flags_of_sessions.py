"""Flags of clang in the settings of a session, and what the end of a session says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sessions import assert_no_traceback, put, run, run_here, text_of

LANES = (
    '#include "config.h"\nint lane_sum(const lane values)\n{\n    int sum = 0;\n'
    "    for (int i = 0; i < WIDTH; i++)\n        sum += values[i];\n    return sum;\n}\n"
)
CONFIG = "#ifndef WIDTH\n#error WIDTH has to be given\n#endif\ntypedef unsigned char lane[WIDTH];\n"


@pytest.fixture
def lanes(project: pytest.Pytester) -> pytest.Pytester:
    """A project whose only case needs a folder of headers and a macro."""
    (project.path / "cases/a.c").unlink()
    put(project, "cases/lanes.c", LANES)
    put(project, "my include/config.h", CONFIG)
    (project.path / "elsewhere").mkdir()
    return project


def collect(project: pytest.Pytester, *args: str) -> str:
    result = run_here(project, "--collect-only", "-q", *args)
    assert_no_traceback(result)
    return text_of(result)


IS_COMPILED, IS_NOT = "lanes.c::lane_sum[asm-O0]", "lanes.c::compile"


def test_paths_start_where_the_flags_are_written(lanes: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert IS_NOT in collect(lanes)
    for name, settings in (
        ("tox.ini", "[pytest]\nllmc_cases = cases\nllmc_cflags = '-Imy include' -DWIDTH=8\n"),
        (
            "pyproject.toml",
            '[tool.pytest.ini_options]\nllmc_cases = ["cases"]\nllmc_cflags = ["-Imy include", "-DWIDTH=8"]\n',
        ),
    ):
        (lanes.path / "tox.ini").unlink(missing_ok=True)
        put(lanes, name, settings)
        monkeypatch.chdir(lanes.path)
        assert IS_COMPILED in collect(lanes)
        monkeypatch.chdir(lanes.path / "elsewhere")
        assert IS_COMPILED in collect(lanes, "../cases/lanes.c")
        assert IS_NOT in collect(lanes, "../cases/lanes.c", "--llmc-cflags=-I'my include' -DWIDTH=8")
        assert IS_COMPILED in collect(lanes, "../cases/lanes.c", "--llmc-cflags=-I'../my include' -DWIDTH=8")
        assert IS_NOT in collect(lanes, "../cases/lanes.c", "--llmc-cflags=")


def test_settings_that_can_not_be_used(lanes: pytest.Pytester) -> None:
    for flag, message in (
        ("--llmc-cflags=-D", "--llmc-cflags: the flag -D lacks its value"),
        ("--llmc-cflags=-I'x", "--llmc-cflags: can't read the flags"),
        ("--llmc-cflags=std=c99", "--llmc-cflags: expected a flag of clang, found `std=c99`"),
        ("--llmc-compile-commands=elsewhere", "--llmc-compile-commands: there is no compile_commands.json at "),
    ):
        result = run_here(lanes, "--collect-only", flag)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert message in text_of(result)
        assert_no_traceback(result)


def write_database(folder: Path, file: Path, *flags: str) -> None:
    folder.mkdir(exist_ok=True)
    entry = {"directory": str(folder), "file": str(file), "arguments": ["cc", *flags, "-c", str(file)]}
    (folder / "compile_commands.json").write_text(json.dumps([entry]))


def test_a_build_and_what_is_left_out_of_its_flags(lanes: pytest.Pytester) -> None:
    put(lanes, "cases/bad.c", "int f(int x) { return y; }\n")
    put(lanes, "cases/flag.c", "// LLMC: cflags -fno-such-flag\nint f(int x) { return x; }\n")
    put(lanes, "cases/nested.c", "int f(int x) { int g(void) { return x; } return g(); }\n")
    put(lanes, "cases/unfinished.c", "int f(int x) { return x;\n")
    build = lanes.path / "out"
    write_database(build, lanes.path / "cases/lanes.c", "-I../my include", "-DWIDTH=8", "-march=native", "-O3", "-Wfoo")
    put(lanes, "tox.ini", "[pytest]\nllmc_cases = cases\nllmc_compile_commands = out\n")
    result = run(lanes, "--llmc-model=reference")
    result.assert_outcomes(passed=1, failed=4)
    result.stdout.fnmatch_lines(["*cases/flag.c:1: clang: error: unknown argument: '-fno-such-flag'"])
    result.stdout.fnmatch_lines(
        [
            "4 files could not be compiled:",
            "  1 x gcc's own C: cases/nested.c",
            "  1 x syntax error: cases/unfinished.c",
            "  1 x unknown name or type: cases/bad.c",
            "  1 x unsupported flag: cases/flag.c",
            "flags of compilers that are left out:",
            "  -march=native (code is judged for the oldest processor of the target):",
            "    cases/lanes.c",
        ]
    )
