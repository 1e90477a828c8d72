"""Rows in the shapes of published data sets, with functions of this repository's own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

ALL_BELOW = """\
#include <stdio.h>

int func0(int *values, int size, int limit) {
    for (int i = 0; i < size; i++)
        if (values[i] >= limit)
            return 0;
    return 1;
}
"""
ALL_BELOW_TESTS = """\
#include <assert.h>

int main() {
    int values[] = {1, 2, 4, 10};
    assert(func0(values, 4, 100) == 1);
    assert(func0(values, 4, 5) == 0);
    return 0;
}
"""
RIGHT = """\
func0:
    xorl %eax, %eax
.next:
    cmpl %esi, %eax
    jge .all
    cmpl %edx, (%rdi,%rax,4)
    jge .one
    incl %eax
    jmp .next
.all:
    movl $1, %eax
    ret
.one:
    xorl %eax, %eax
    ret
"""
AT_THE_LIMIT = RIGHT.replace("jge .one", "jg .one")
"""Wrong where an element equals the limit, which the tests never try."""
NEVER_ALL = RIGHT.replace("movl $1, %eax", "xorl %eax, %eax")
"""Wrong in the first test."""

MOVED_DEPS = "typedef struct { int x; float weight; } item_t;\n"
MOVED = "int move(item_t *items, int count, const char *name)\n" + (
    "{\n    int sum = 0;\n    for (int i = 0; i < count; i++) {\n        items[i].x += name[0];\n"
    "        items[i].weight *= 2;\n        sum += items[i].x;\n    }\n    return sum;\n}\n"
)
MOVED_INPUT = {"items": [{"x": 1, "weight": 0.5}, {"x": 2, "weight": 1.5}], "count": 2, "name": "A"}
MOVED_OUTPUT = {"items": [{"x": 66, "weight": 1.0}, {"x": 67, "weight": 3.0}], "count": 2, "name": "A", "returned": 133}
PROGRAM = """\
#include <stdio.h>
int main(void) { int a, b; if (scanf("%d %d", &a, &b) != 2) return 1; printf("%d\\n", a + b); return 0; }
"""
IR = "define i32 @twice(i32 %x) {\n  %y = shl i32 %x, 1\n  ret i32 %y\n}\n"


def decompile_eval_rows() -> list[dict[str, Any]]:
    """Decompile-Eval: a function at four levels."""
    return [
        {
            "task_id": 7,
            "type": level,
            "c_func": ALL_BELOW,
            "c_test": ALL_BELOW_TESTS,
            "input_asm_prompt": "<func0>:\nret\n",
        }
        for level in ("O0", "O1", "O2", "O3")
    ]


def bench_eval_rows() -> list[dict[str, Any]]:
    """Decompile-Bench-Eval: a C function with a header, one of C++, and one of GitHub's without tests."""
    head, _, function = ALL_BELOW.partition("\n\n")
    row = {"index": 3, "func_name": "func0", "func_dep": head, "func": function, "test": ALL_BELOW_TESTS}
    other = {"opt": "O2", "language": "c", "asm": "func0:\nret\n", "ida_pseudo": "", "ghidra_pseudo": ""}
    return [
        row | other,
        row | other | {"language": "cpp"},
        row | other | {"func_dep": "/src/lib/below.c", "test": "", "index": 4, "func_name": "func0(int*, int, int)"},
    ]


def exebench_row(pairs: int = 1, **changes: Any) -> dict[str, Any]:
    """A row as ExeBench's loader makes it."""
    decoded = [
        {"var": list(values), "value": [json.dumps(value) for value in values.values()]}
        for values in (MOVED_INPUT, MOVED_OUTPUT)
    ]
    row = {
        "path": "project/move.c",
        "func_def": MOVED,
        "func_head": MOVED.partition("\n")[0],
        "func_head_types": "int move(item_t *, int, const char *)",
        "fname": "move",
        "signature": ["int", "item_t *", "int", "const char *"],
        "asm": {
            "target": ["angha_gcc_x86_O0", "angha_gcc_arm_O0", "real_gcc_x86_O0"],
            "code": ["move:\n  ret\n", "move:\n  bx lr\n", "x"],
        },
        "synth_deps": MOVED_DEPS,
        "real_deps": None,
        "synth_io_pairs": {
            "input": decoded[:1] * pairs,
            "output": decoded[1:] * pairs,
            "dummy_funcs": [""],
            "dummy_funcs_seed": [0],
        },
        "real_io_pairs": None,
    }
    return row | changes


def raw_exebench_row() -> dict[str, Any]:
    """A row as ExeBench's files have it."""
    code = {"pre_asm": "\t.text\n", "func_asm": "move:\n\tret\n", "post_asm": "", "target": {"impl": "gcc", "o": "3"}}
    return {
        "text": {
            "path": "project/move.c",
            "func_def": MOVED,
            "func_head": MOVED.partition("\n")[0],
            "fname": "move",
            "asm": {"real_gcc_x86_O3": code, "real_gcc_x86_O0": None},
            "angha_deps": None,
            "real_deps": f'# 1 "move.c"\n{MOVED_DEPS}',
            "angha_io_pairs": None,
            "real_io_pairs": [{"input": MOVED_INPUT, "output": MOVED_OUTPUT, "dummy_funcs": None}],
        },
        "meta": {},
    }


def supercoder_row(**changes: Any) -> dict[str, Any]:
    """A row as SuperCoder's scripts write it."""
    extra = {
        "split": "train",
        "index": 5,
        "c_code": PROGRAM,
        "question": "…",
        "answer": "```assembly\nmain:\n  ret\n```",
        "inputs": ["1 2\n", ""],
        "outputs": ["3\n", ""],
        "unoptimized_assembly": "main:\n  ret\n",
    }
    return {
        "data_source": "train",
        "prompt": [{"role": "user", "content": "…"}],
        "ability": "code",
        "reward_model": {"style": "rule", "ground_truth": "main:\n  xorl %eax, %eax\n  ret\n"},
        "extra_info": extra | changes,
    }


def compiler_r1_row() -> dict[str, Any]:
    """A row as Compiler-R1's scripts write it."""
    question = f"Act as a compiler optimization expert.\nThe LLVM IR code is:\n```llvm\n{IR}\nInitial instruction count for this code: 2\n"
    return {
        "extra_info": {"question": question, "answer": '<answer>\n["--sroa", "--instcombine"]\n</answer>'},
        "ability": "compiler_autotuning",
    }


def write_lines(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """A file of JSON Lines, packed as its suffix says. A row that is a text is a line as it stands."""
    data = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A Parquet file."""
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
