"""clang as the assembler of another processor: it is stopped where it has said enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.assembler.llvm_engine import assemble_with_clang
from pytest_llmcompiler.errors import AssemblyError, ChildDiedError
from pytest_llmcompiler.program.clang import compile_c
from pytest_llmcompiler.program.static_link import link
from pytest_llmcompiler.targets import get_target

PROGRAM = r"""
#include <stdio.h>
int main(void) {
    char text[16] = {0};
    fread(text, 1, 15, stdin);
    for (int number = 1; number <= 5000; number++)
        fprintf(stderr, "<stdin>:%d:1: %s: a message\n", number, text);
    fputs("object", stdout);
    return *text == 'e';
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A program without shared libraries, which could not be opened."""
    source, path = (tmp_path_factory.mktemp("clang") / name for name in ("clang.c", "clang"))
    source.write_text(PROGRAM)
    path.write_bytes(link([compile_c(source)]))
    path.chmod(0o755)
    return [str(path)]


def run(command: list[str], text: str) -> bytes:
    limits: dict[str, Any] = {"seconds": 20, "megabytes": 512, "is_confined": False, "programs": [Path(command[0])]}
    return bytes(sandbox.call(assemble_with_clang, command, text, **limits))


def test_many_warnings_refuse_no_text(program: list[str]) -> None:
    assert run(program, "warning") == b"object"


def test_many_errors_are_cut_off(program: list[str]) -> None:
    with pytest.raises(ChildDiedError) as death:
        run(program, "error")
    assert death.value.status == 1
    assert death.value.stderr.startswith("<stdin>:1:1: error: a message\n")
    assert len(death.value.stderr) == 1 << 15


def test_the_first_of_many_unknown_instructions() -> None:
    lines = "".join(f"\tunknown{number} x1, x2\n" for number in range(3000))
    with pytest.raises(AssemblyError, match="unrecognized instruction mnemonic") as error:
        assemble(f"f:\n\tadd x0, x0, x1\n{lines}\tret\n", "f", 0x400000, {}, "llvm", target=get_target("aarch64-linux"))
    assert (error.value.line, error.value.column) == (3, 2)
