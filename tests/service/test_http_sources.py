"""What the search for file names takes, asked of clang itself: no text that is taken makes clang read a file."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pytest_llmcompiler import Sample, check
from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.service.http.sources import find_file_access

BLANKS = (
    " ",
    "\t",
    "\f",
    "\v",
    "\r",
    "\0",
    "\x01",
    "\u00a0",
    "\u0085",
    "\u180e",
    "\u2003",
    "\u2028",
    "\u3000",
    "\u200b",
    "\ufeff",
    "/**/",
    "/*x\ny*/",
)
LINE_ENDS = [
    f"{mark}{blank}{end}" for mark in ("\\", "??/") for blank in ("", " ", "\f") for end in ("\n", "\r", "\r\n", "\n\r")
]
ODD = (*BLANKS, *LINE_ENDS, "\\u0069", "\\N{LATIN SMALL LETTER I}", "%:", "??=", "#", 'R"(', '"', "'")
COUNT = 1200


def build_variant(chooser: random.Random, file: Path) -> str:
    """An attempt to include a file, with odd characters inside it."""
    up = "../" * 20
    name = chooser.choice([f'"{file}"', f"<{file}>", f'"{up}{file}"', f"<{up}{file}>"])
    word = chooser.choice(["include", "import", "include_next", "embed", "__include_macros"])
    text = list(f"{chooser.choice(['#', '%:', '??='])}{word} {name}")
    for _ in range(chooser.randint(0, 2)):
        text.insert(chooser.randint(0, 10), chooser.choice(ODD))
    return "".join(text)


def is_read(text: str, mode: str, file: Path, source: Path) -> bool:
    """Whether clang reads the file for the text."""
    source.write_bytes(f"int first;\n{text}\nint last;\n".encode())
    try:
        return file in Toolchain().compile_unit(source, (mode,)).included
    except ClangError:
        return False


@pytest.mark.parametrize("mode", ["-std=gnu17", "-std=c99", "-std=gnu23"])
def test_nothing_that_is_taken_reads_a_file(mode: str, tmp_path: Path) -> None:
    file, source, chooser = tmp_path / "secret.h", tmp_path / "case.c", random.Random(mode)
    file.write_text("")
    assert is_read(f'#include "{file}"', mode, file, source)
    assert is_read(f'#inc\\\n\rlude "{file}"', mode, file, source)  # such oddities do reach clang
    variants = [build_variant(chooser, file) for _ in range(COUNT)]
    taken = [text for text in variants if not list(find_file_access(Sample(text, "first", "")))]
    assert taken
    assert [text for text in taken if is_read(text, mode, file, source)] == []


@pytest.mark.parametrize("pragma", ['#pragma comment(lib, "FILE")', '_Pragma("comment(lib, \\"FILE\\")")'])
def test_no_linker_reads_what_a_pragma_names(pragma: str, tmp_path: Path) -> None:
    """It would say what stands in the file: `unknown directive: …`."""
    file = tmp_path / "secret"
    file.write_text("token of the server\n")
    source = f"{pragma.replace('FILE', str(file))}\nint one(void) {{ return 1; }}\n"
    assert check(source, "one", "one: movl $1, %eax\n ret\n", examples=2).kind == "pass"
