"""Data sets that are files of code: AnghaBench's C, and IR as Compiler-R1 and others have it.

AnghaBench (github.com/brenocfg/AnghaBench) is a folder of C files, each with one function and what it needs, as a tool
made it up: `8cc/extr_buffer.c_buf_append.c`.

IR is a folder of .ll files, or rows with the text in one of the columns `ir`, `llvm_ir`, `IR_Original`, `ll_code` and
`code`, or in a question as Compiler-R1 asks it: a block of IR in `question` or
`extra_info.question`, with the pass list of the answer in `answer` or `target_pass_sequence`.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

from pytest_llmcompiler.importers.c_text import list_functions
from pytest_llmcompiler.importers.columns import check_text, find_text, find_value, require_text
from pytest_llmcompiler.importers.imported import ImportedAnswer, ImportedCase, Row, RowError

_IR_COLUMNS = ("text", "ir", "llvm_ir", "IR_Original", "ll_code", "original_ir", "code")
_BLOCK = re.compile(r"```(?:llvm|ll|ir)?[ \t]*\n(.*?)(?:```|\Z)", re.S)
_ANSWER, _ANSWER_END = "<answer>", "</answer>"
_PASS = re.compile(r"-{0,2}[a-zA-Z][\w<>;=,()-]*")
_FUNCTION = re.compile(r"^define\b", re.M)


def read_angha(row: Row) -> ImportedCase:
    """The case of a C file. Raises RowError."""
    text = check_text(require_text(row.data, "text"), "the file")
    name = _name_file(row)
    # The name of the file ends with that of the function. A directive asks for it even where it is `static inline`.
    functions = (one for one in list_functions(text) if name.endswith(f"_{one}"))
    return ImportedCase(name=name, text=text, functions=tuple(functions)[:1])


def read_ir(row: Row) -> ImportedCase:
    """The case of a file or row with IR. Raises RowError."""
    text = find_text(row.data, *_IR_COLUMNS) or _find_block(find_text(row.data, "question", "extra_info.question"))
    if not _FUNCTION.search(text):
        raise RowError("no IR that defines a function is found")
    passes = _find_passes(row)
    answers = (ImportedAnswer(f"-p '{passes}'", "dataset", task="tune", passes=""),) if passes else ()
    return ImportedCase(name=_name_file(row), text=text, suffix=".ll", answers=answers)


def _name_file(row: Row) -> str:
    path = find_value(row.data, "path", "filename", "Filename", "extra_info.filename")
    return str(PurePosixPath(path).with_suffix("")) if isinstance(path, str) and path else f"{row.number:06d}"


def _find_block(question: str) -> str:
    block = _BLOCK.search(question)
    # Compiler-R1 leaves the block open: behind the IR stands a line about its size.
    return re.sub(r"^(?:Initial|The) .*count.*$", "", block[1], flags=re.M) if block else ""


def _find_passes(row: Row) -> str:
    """The pass list of a row's answer, as one text for opt; empty where there is none."""
    value = find_value(row.data, "target_pass_sequence", "PassSequence")
    if value is None:
        # A model's last answer counts, whatever it says before.
        _, _, behind = find_text(row.data, "answer", "extra_info.answer").rpartition(_ANSWER)
        value = behind.partition(_ANSWER_END)[0].strip() if _ANSWER_END in behind else None
    if isinstance(value, str):
        try:
            value = json.loads(value.replace("'", '"'))
        except (ValueError, RecursionError):
            return ""
    if not isinstance(value, list) or not all(isinstance(one, str) and _PASS.fullmatch(one) for one in value):
        return ""
    return ",".join(one.lstrip("-") for one in value)
