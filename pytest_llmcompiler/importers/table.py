"""Rows whose columns the user names: `--columns source=code,function=name`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pytest_llmcompiler.errors import DatasetError
from pytest_llmcompiler.importers.c_text import list_functions
from pytest_llmcompiler.importers.columns import check_text, find_text, find_value, require_text
from pytest_llmcompiler.importers.imported import ImportedAnswer, ImportedCase, Row, RowError
from pytest_llmcompiler.importers.llm4decompile import build_tested_case
from pytest_llmcompiler.model.answer import TASKS, has_pass_list

COLUMN_FIELDS = {
    "source": "C code",
    "ir": "LLVM IR, where there is no C",
    "deps": "declarations that go in front of the C code",
    "function": "the name of the function under test",
    "tests": "C code with a `main` that asserts",
    "answer": "an answer, or a list of them",
    "model": "who wrote the answer",
    "task": "what the answer was asked for: asm, ir, tune or disassemble",
    "passes": "the pass list of the question",
    "id": "what the name of the case begins with",
}
"""What a column can hold."""
_PASSES = re.compile(r"[\w<>;=,()-]+")


def parse_columns(text: str) -> dict[str, str]:
    """The columns of a command line, by field. Raises DatasetError."""
    columns: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        field, _, column = part.partition("=")
        if field not in COLUMN_FIELDS or not column:
            raise DatasetError(
                f"--columns: expected FIELD=COLUMN with one of {', '.join(COLUMN_FIELDS)}, found {part!r}"
            )
        columns[field] = column
    if not columns.keys() & {"source", "ir"}:
        raise DatasetError("--columns must name the column of the code: source=COLUMN for C, ir=COLUMN for LLVM IR")
    return columns


def read_with_columns(columns: Mapping[str, str]) -> Callable[[Row], ImportedCase]:
    """The importer of rows with these columns."""
    return lambda row: _read_row(row, columns)


def _read_row(row: Row, columns: Mapping[str, str]) -> ImportedCase:
    def text_of(field: str) -> str:
        return find_text(row.data, columns[field]) if field in columns else ""

    code = text_of("source")
    if not code.strip():
        code = require_text(row.data, columns.get("ir", columns.get("source", "")))
    is_ir = not text_of("source").strip()
    function, passes = text_of("function").strip(), text_of("passes").strip()
    if passes and not _PASSES.fullmatch(passes):
        raise RowError("passes is no pass list")
    name = "_".join(filter(None, (_read_label(row, columns), function)))
    answers = tuple(_read_answers(row, columns, passes))
    if is_ir:
        functions = (function,) if function else ()
        return ImportedCase(name=name, text=code, suffix=".ll", functions=functions, answers=answers)
    if function and function not in list_functions(code):
        raise RowError("the C code does not define the function that the row names")
    needs = text_of("deps").strip()
    case = build_tested_case(
        name=name,
        text=f"{needs}\n\n{code}" if needs else code,
        tests=text_of("tests"),
        under_test=(function,) if function else (),
        passes=(passes,) if passes else (),
    )
    return ImportedCase(**{**vars(case), "answers": answers})


def _read_label(row: Row, columns: Mapping[str, str]) -> str:
    value = find_value(row.data, columns["id"]) if "id" in columns else None
    return f"{row.number:06d}" if value is None else check_text(str(value)[:200], "id")


def _read_answers(row: Row, columns: Mapping[str, str], passes: str) -> list[ImportedAnswer]:
    value = find_value(row.data, columns["answer"]) if "answer" in columns else None
    texts = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(text, str) for text in texts):
        raise RowError("answer is no text and no list of texts")
    task = (find_text(row.data, columns["task"]) if "task" in columns else "") or "asm"
    if task not in TASKS:
        raise RowError(f"unknown task, expected {', '.join(TASKS)}")
    model = (find_text(row.data, columns["model"]) if "model" in columns else "") or "dataset"
    asked = (passes or "O0") if has_pass_list(task) else ""
    return [ImportedAnswer(check_text(text, "answer"), model[:200], task, asked) for text in texts]
