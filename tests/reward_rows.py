"""What the tests of rewards share: a question, right and wrong answers to it, and the row of a dataset that asks it."""

from __future__ import annotations

from pytest_llmcompiler.rewards import Columns

SOURCE = "int next(int x) { return x + 1; }"
RIGHT = "next:\n\tleal 1(%rdi), %eax\n\tret\n"
WRONG = "next:\n\tleal 2(%rdi), %eax\n\tret\n"
UNASSEMBLED = "next:\n\tfrobnicate %eax\n\tret\n"
NO_CODE = "I can't do that."
BROKEN_SOURCE = "int next(int x) { return x +"
"""It does not compile, so no answer can be judged."""
ROW = {"code": SOURCE, "name": "next"}
COLUMNS = Columns(source="code", function="name")
