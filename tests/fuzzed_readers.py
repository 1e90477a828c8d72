"""Readers of texts that others write, and pieces of which hypothesis puts together texts for each.

Each reader takes any text. It ends with a value, or with an error of the package that names the place.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from pytest_llmcompiler.assembler.gas import parse_assembly
from pytest_llmcompiler.errors import (
    AssemblyError,
    CaseError,
    LinkError,
    ModelError,
    NoCodeError,
    PassListError,
    TemplateError,
    TruncatedError,
)
from pytest_llmcompiler.importers.imported import Row, RowError
from pytest_llmcompiler.importers.importing import FORMATS, _screen
from pytest_llmcompiler.importers.row_files import BadRow, read_rows
from pytest_llmcompiler.judge.published_tests import _strip_lines
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.model.extract.claims import find_claimed_sizes
from pytest_llmcompiler.model.extract.ir import extract_ir
from pytest_llmcompiler.model.extract.passes import extract_passes
from pytest_llmcompiler.model.prompt import Template
from pytest_llmcompiler.model.replay import ReplayModel
from pytest_llmcompiler.program.case import read_case, split_passes
from pytest_llmcompiler.program.optimiser import _check_pipeline
from pytest_llmcompiler.targets import get_target


class Reader(NamedTuple):
    """A reader, with what is likely to mean something to it."""

    read: Callable[[str, Path], None]
    """Reads a text, with a folder for files. Raises AssertionError where an error does not name its place."""
    pieces: tuple[str, ...]

    def read_alone(self, text: str) -> None:
        """Read a text, with an empty folder."""
        with tempfile.TemporaryDirectory() as folder:
            self.read(text, Path(folder))


def texts(reader: Reader, most: int = 12) -> st.SearchStrategy[str]:
    """Texts for a reader: pieces, repeated pieces, and anything between them."""
    piece = st.sampled_from(reader.pieces)
    repeated = st.builds(lambda text, count: text * count, piece, st.sampled_from((2, 3, 40, 300)))
    part = st.one_of(piece, piece, repeated, st.text(max_size=6), st.sampled_from((" ", "\n", "\t", "\r\n", "\0")))
    return st.lists(part, max_size=most).map("".join)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    return path


def _read_answer(text: str, _: Path) -> None:
    by_name = functools.partial(extract_assembly, function="f"), functools.partial(extract_ir, function="f")
    for stop, read in itertools.product(("eos", "length"), (*by_name, extract_passes)):
        try:
            code = read(Answer(text, stop=stop))  # type: ignore[arg-type]
        except (NoCodeError, TruncatedError) as error:
            assert str(error)
        else:
            assert code.text.strip()
    find_claimed_sizes(text)


def _read_assembly(text: str, _: Path) -> None:
    lines = text.count("\n") + text.count("\r") + 1
    for target in ("x86_64-linux", "aarch64-linux", "x86_64-windows"):
        try:
            parse_assembly(text, get_target(target).dialect)
        except AssemblyError as error:
            assert 0 <= error.line <= lines and str(error)
        except LinkError as error:
            assert str(error)


def _read_case(text: str, folder: Path) -> None:
    path = _write(folder / "case.c", text)
    try:
        case = read_case(path)
        case.list_given_inputs()
    except CaseError as error:
        assert str(error).startswith(str(folder)), str(error)


def _read_inputs(text: str, folder: Path) -> None:
    (folder / "case.c").write_text("int main(void) { return 0; }\n")
    for name in ("case.in", "case.out"):
        _write(folder / name, text)
    case = read_case(folder / "case.c", program=True)
    [given] = case.list_given_inputs()
    assert given.data == given.output
    _strip_lines(given.data)


def _read_records(text: str, folder: Path) -> None:
    path = _write(folder / "records.jsonl", text)
    try:
        ReplayModel(path)
    except ModelError as error:
        assert re.match(rf"{re.escape(str(path))}:\d+: ", str(error)), str(error)


def _read_template(text: str, folder: Path) -> None:
    path = _write(folder / "template.txt", text)
    for task in ("asm", "ir", "tune", "disassemble"):
        try:
            template = Template.load(str(path), task)  # type: ignore[arg-type]
            template.render(dict.fromkeys(template.fields, "x"))
        except TemplateError as error:
            assert str(path) in str(error), str(error)


def _read_passes(text: str, _: Path) -> None:
    for passes in split_passes(text):
        try:
            _check_pipeline(passes)
        except PassListError as error:
            assert str(error)


def _read_rows(text: str, folder: Path) -> None:
    path = _write(folder / "rows.jsonl", text)
    for row in read_rows(path):
        if isinstance(row, BadRow):
            assert row.place.startswith("rows.jsonl") and row.reason
            continue
        for read in FORMATS.values():
            read_row(read, row)


def read_row(read: Callable[[Row], object], row: Row) -> None:
    """Read a row as a case. Raises AssertionError where an error has no words."""
    try:
        case = read(row)
        _screen(case)  # type: ignore[arg-type]
    except (RowError, RecursionError) as error:
        assert str(error)


_CODE = (
    "f:\n",
    "\tretq\n",
    "\tmovl\t%edi, %eax\n",
    "<code>",
    "</code>",
    "```asm\n",
    "```\n",
    "```",
    "<think>",
    "</think>",
)
_IR = ("define i32 @f(i32 %x) {\n", "  ret i32 %x\n}\n", "target triple = ", "declare ", "!0 = !{}\n", "; ModuleID\n")
_PASSES = ("opt -p ", "-passes=", "'", '"', "default<O2>", "module(", ")", "function<eager-inv>(", "sroa,", "-Oz", "`")
_LISTINGS = ("0000000000000000 <f>:\n", "   0:\t89 f8\tmov    %edi,%eax\n", "+", "-", "> ", "  1 | ", "&lt;", "\\n")
_GAS = (
    *(
        "f:",
        "1:",
        ".Lx:",
        "\tjmp\t1b\n",
        "\tcall\tg@PLT\n",
        "\tmovl\t",
        "%eax",
        "(%rdi,%rsi,4)",
        "$",
        "-",
        "+",
        "(",
        ")",
    ),
    *(
        ".text\n",
        ".data\n",
        ".section\t",
        '.rodata,"a",@progbits\n',
        ".globl f\n",
        ".byte ",
        ".zero ",
        "4294967296",
        ",",
    ),
    *(
        ".ascii ",
        '"',
        "\\",
        "\\x",
        "\\777",
        ".set x, ",
        ".size f, .-f\n",
        ".p2align 4\n",
        "#",
        "/*",
        "*/",
        ";",
        "=",
        "0x",
    ),
    *(
        ".quad ",
        ".if ",
        ".rept 3\n",
        ".endr\n",
        ".macro m\n",
        ".endm\n",
        ".cfi_startproc\n",
        ".intel_syntax noprefix\n",
    ),
    *(
        "mov eax, dword ptr [rdi + 4*rsi]\n",
        "_TEXT SEGMENT\n",
        "f PROC\n",
        "f ENDP\n",
        "x DD ",
        "DUP (",
        "END\n",
        "w0, ",
    ),
    *(
        "ldr x0, [x1, #8]!\n",
        ":lo12:",
        "{v0.4s}",
        "global f\n",
        "section .text\n",
        "%define a b\n",
        "times 3 nop\n",
        "1f",
    ),
)
_DIRECTIVES = (
    *(
        f"// LLMC: {words} "
        for words in ("arg f.x range", "arg f.x elements", "arg f.x length", "link", "tests", "stdin")
    ),
    *(f"// LLMC: {words} " for words in ("functions", "passes", "file", "argv", "cflags", "isa", "program\n//")),
    *(
        "// LLMC: ",
        "LLMC:",
        "llmc:",
        "/* LLMC: ",
        "*/",
        "\n",
        "functions ",
        "f",
        ",",
        "passes ",
        "O2",
        "default<O2>",
        "(",
    ),
    *(
        "arg f.x ",
        "arg ",
        "range ",
        "0",
        "007",
        "-1",
        "..",
        "0x",
        "99999999999999999999",
        "length ",
        "elements ",
        "cstring",
    ),
    *(
        "non-null",
        "link ",
        "*.c",
        "/",
        "..",
        "**",
        "tests ",
        " io",
        "program",
        "stdin ",
        '"',
        '"3\\n"',
        "\\x",
        "\\777",
        "\\q",
    ),
    *(
        "argv ",
        "file ",
        '"name"',
        "cflags ",
        "-O2",
        "-DX=",
        "'",
        "-I",
        "isa ",
        "x86-64-v3",
        "int f(int x) { return x; }\n",
    ),
    "9" * 5000,
)
_JSON_MARKS = ("{", "}", "[", "]", ":", ",")
_RECORD = {"schema": 1, "case": "a.c", "function": "f", "task": "asm", "passes": "O0", "sample": 0, "answer": "f: ret"}
_RECORDS = (
    *(
        json.dumps(_RECORD) + "\n",
        *_JSON_MARKS,
        '"case": "a.c"',
        '"sample": ',
        "1e999",
        "-1",
        "NaN",
        "null",
    ),
    *(
        '"task": "asm"',
        '"answer": ',
        '"\\ud800"',
        '"stop": "length"',
        '"tokens": {',
        "\n",
        '"prompt": ',
        "9" * 5000,
        "true",
    ),
)
_TEMPLATES = (
    "{ir}",
    "{asm}",
    "{c}",
    "{short_ir}",
    "{passes}",
    "{{",
    "}}",
    "{",
    "}",
    "{unknown}",
    "{0}",
    "[INST] ",
    "{ir!r}",
)
_ROW = {
    "func_def": "int f(int x) { return x; }",
    "fname": "f",
    "synth_io_pairs": {"dummy_funcs": [], "dummy_funcs_seed": []},
}
_ROWS = (
    *(
        json.dumps(_ROW) + "\n",
        *_JSON_MARKS,
        '"func_def": ',
        '"c_func": ',
        '"c_test": ',
        '"ir": ',
        '"task_id"',
    ),
    *(
        '"int f(void) { return 1; }"',
        '"int main() { assert(f() == 1); }"',
        '"define i32 @f() {"',
        "null",
        "1e999",
        "\n",
    ),
    *(
        '{"text": {"code": "int f(void);"}}\n',
        '"inputs": ["',
        '"outputs": ["',
        '"question": ',
        '"answer": ',
        "9" * 5000,
        "\\",
    ),
)
READERS: Mapping[str, Reader] = {
    "answers": Reader(_read_answer, (*_CODE, *_IR, *_PASSES, *_LISTINGS)),
    "assembly": Reader(_read_assembly, _GAS),
    "directives": Reader(_read_case, _DIRECTIVES),
    "input files": Reader(_read_inputs, ("1 2 3\n", " ", "\r\n", "\0", "\x1a", "\n")),
    "records": Reader(_read_records, _RECORDS),
    "templates": Reader(_read_template, _TEMPLATES),
    "pass lists": Reader(
        _read_passes, (*_PASSES, "print", "internalize", "profile-file=", ",", ">", "<", "extract-blocks")
    ),
    "rows": Reader(_read_rows, _ROWS),
}
"""The readers by what they read."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(_ROWS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
"""JSON's values."""
COLUMNS = (
    *("answer", "asm", "c_code", "c_func", "c_test", "code", "cpp", "file", "filename", "fname", "func", "func_def"),
    *(
        "func_dep",
        "func_name",
        "index",
        "inputs",
        "ir",
        "language",
        "model",
        "name",
        "opt",
        "outputs",
        "path",
        "question",
    ),
    *(
        "synth_io_pairs",
        "real_io_pairs",
        "target_pass_sequence",
        "task",
        "task_id",
        "test",
        "text",
        "type",
        "synth_deps",
    ),
)
"""The names of columns that importers look for."""
