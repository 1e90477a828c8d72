"""The self-test of unicorn, with the library itself and with builds of it that do something else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import unicorn

from pytest_llmcompiler.emulator.self_test import find_faults

LIBRARY = Path(unicorn.__file__).parent / "lib"
IDLE = """
int uc_emu_start(void *uc, unsigned long begin, unsigned long end, unsigned long timeout, unsigned long count)
{ return 0; }
"""
NO_HOOK = """
int uc_hook_add(void *uc, void *hook, int kind, void *action, void *data, unsigned long begin, unsigned long end, ...)
{ return 0; }
"""
CHECK = "from pytest_llmcompiler.emulator.self_test import check_emulator; check_emulator(); print('fit')"
JUDGE = (
    "from pytest_llmcompiler import JudgeError, check\n"
    "try:\n    print(check('int f(int x) { return x; }', 'f', 'f:\\n\\tmovl %edi, %eax\\n\\tretq\\n').kind)\n"
    "except JudgeError as error:\n    print(str(error).strip().splitlines()[-1])\n"
)


def run(code: str, cache: Path, library: Path | None = None) -> str:
    environment = {**os.environ, "LLMC_CACHE": str(cache), **({"LIBUNICORN_PATH": str(library)} if library else {})}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    return (result.stdout + result.stderr).strip().splitlines()[-1]


def build(folder: Path, code: str) -> Path:
    """A library that is unicorn but for the functions that `code` defines."""
    folder.mkdir()
    (folder / "other.c").write_text(code)
    command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-o", str(folder / "libunicorn.so.2")]
    command += [
        str(folder / "other.c"),
        "-Wl,--no-as-needed",
        f"-L{LIBRARY}",
        "-l:libunicorn.so.2",
        f"-Wl,-rpath,{LIBRARY}",
    ]
    subprocess.run(command, check=True)
    return folder


def test_the_installed_unicorn_is_fit() -> None:
    assert list(find_faults()) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (IDLE, "`add` of x86_64-linux leaves 0x7fffffff in rax, not 0x80000000"),
        (NO_HOOK, "`read` of x86_64-linux faults with (None, 1), not with ((3735879688, 8), 1)"),
    ],
)
def test_another_build_is_noticed_before_it_judges(tmp_path: Path, code: str, fault: str) -> None:
    library = build(tmp_path / "lib", code)
    for _ in range(2):  # a failure is not kept
        message = run(CHECK, tmp_path / "cache", library)
        assert message.startswith("pytest_llmcompiler.errors.EmulatorError: unicorn 2.")
        assert f"({library}/libunicorn.so.2) can't judge: {fault}; pip install 'unicorn>=2.1.4,<2.2'" in message
    assert f"can't judge: {fault}" in run(JUDGE, tmp_path / "cache", library)


def test_success_is_kept_for_the_file_of_the_library(tmp_path: Path) -> None:
    assert run(CHECK, tmp_path / "cache") == "fit"
    assert len(list((tmp_path / "cache" / "emulator").iterdir())) == 1
    assert run(CHECK, tmp_path / "cache") == "fit"
    assert "can't judge" in run(CHECK, tmp_path / "cache", build(tmp_path / "lib", IDLE))
