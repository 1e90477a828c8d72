"""`llmc import`: every published shape becomes cases, tests, inputs, answers, and a line of the manifest for each row."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dataset_rows import (
    ALL_BELOW,
    ALL_BELOW_TESTS,
    IR,
    MOVED,
    MOVED_DEPS,
    PROGRAM,
    RIGHT,
    bench_eval_rows,
    compiler_r1_row,
    decompile_eval_rows,
    exebench_row,
    raw_exebench_row,
    supercoder_row,
    write_lines,
    write_parquet,
)

from pytest_llmcompiler.cli import main
from pytest_llmcompiler.model.answer import QuestionKey
from pytest_llmcompiler.model.replay import read_records
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

Import = Callable[..., Path]


@pytest.fixture
def run_import(tmp_path: Path) -> Import:
    """Import a file, and return the new folder."""

    def run(format: str, source: Path, *args: str) -> Path:
        main(["import", format, str(source), str(tmp_path / "out"), *args])
        return tmp_path / "out"

    return run


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def list_cases(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "cases").iterdir())


def open_case(folder: Path, name: str) -> Reference:
    return Reference(read_case(folder / "cases" / name), Toolchain())


def test_levels_of_a_function_are_one_case(run_import: Import, tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text(json.dumps(decompile_eval_rows()))
    folder = run_import("llm4decompile", tmp_path / "eval.json")
    assert list_cases(folder) == ["0007_func0.c"]
    case = open_case(folder, "0007_func0.c").case
    assert case.passes == ("O0", "O1", "O2", "O3")
    assert case.tests is not None
    assert case.tests.kind == "asserts"
    assert [(line["row"], line.get("same_as")) for line in read_manifest(folder)] == [
        ("eval.json:0", None),
        *((f"eval.json:{number}", "eval.json:0") for number in (1, 2, 3)),
    ]


def test_tests_are_linked_and_their_arguments_recorded(run_import: Import, tmp_path: Path) -> None:
    folder = run_import("llm4decompile", write_lines(tmp_path / "eval.jsonl", decompile_eval_rows()))
    reference = open_case(folder, "0007_func0.c")
    assert reference.functions == ("func0",)
    assert reference.golden.has_main


def test_evaluation_set_with_dependencies(run_import: Import, tmp_path: Path) -> None:
    folder = run_import("decompile-bench", write_parquet(tmp_path / "eval.parquet", bench_eval_rows()))
    assert list_cases(folder) == ["0003_func0.c", "0004_func0.c"]
    assert "#include <stdio.h>" in (folder / "cases" / "0003_func0.c").read_text()
    lines = read_manifest(folder)
    assert [line.get("tests") for line in lines] == ["asserts", None, None]
    assert lines[1] == {"row": "eval.parquet:1", "taken": False, "reason": "C++"}


def test_training_set_of_decompile_bench(run_import: Import, tmp_path: Path) -> None:
    """Its rows have code alone; most are C++, and much of it does not compile."""
    code = "int twice(int x) { return 2 * x; }"
    rows = [
        {"name": "twice(int)", "code": code, "asm": "ret", "file": "/src/twice.c"},
        {"name": "Point::norm()", "code": "double Point::norm() { return x; }", "asm": "ret", "file": "/src/point.c"},
        {"name": "f", "code": "int f() { return 1; }", "asm": "ret", "file": "/src/f.cpp"},
        {"name": "g", "code": "foo_t g(foo_t x) { return x; }", "asm": "ret", "file": "/src/g.c"},
    ]
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(tmp_path / "data.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    folder = run_import("decompile-bench", tmp_path / "data.arrow")
    assert list_cases(folder) == ["000000_twice.c"]
    assert [line.get("reason") for line in read_manifest(folder)] == [
        None,
        "C++",
        "C++",
        "does not compile (unknown name or type): unknown type name 'foo_t'",
    ]


@pytest.mark.parametrize(("row", "name"), [(exebench_row(), "rows.jsonl.gz"), (raw_exebench_row(), "rows.jsonl.zst")])
def test_exebench(run_import: Import, tmp_path: Path, row: dict[str, Any], name: str) -> None:
    """Both shapes: as the loader makes rows, and as the files have them."""
    folder = run_import("exebench", write_lines(tmp_path / name, [row]))
    reference = open_case(folder, "000000_move.c")
    assert reference.functions == ("move",)
    assert MOVED_DEPS.strip() in (folder / "cases" / "000000_move.c").read_text()
    assert reference.case.tests is not None
    assert reference.case.tests.kind == "io"
    assert reference.golden.has_main
    [record] = read_records(folder / "answers.jsonl")
    level = "O0" if name.endswith(".gz") else "O3"
    assert (record["case"], record["function"], record["passes"]) == ("000000_move.c", "move", level)
    assert record["model"]["name"] == "gcc"
    assert "move:" in record["answer"]


def test_local_functions_are_called_by_their_pairs(run_import: Import, tmp_path: Path) -> None:
    """Most functions of ExeBench's are `static` in their projects."""
    row = exebench_row(func_def=f"/* moves {'{'} */ static inline {MOVED}")
    folder = run_import("exebench", write_lines(tmp_path / "rows.jsonl", [row]))
    [line] = read_manifest(folder)
    assert line["left_out"] == ["`static` is left out, so that the pairs can call the function"]
    reference = open_case(folder, "000000_move.c")
    assert reference.functions == ("move",)
    assert "static" not in reference.ir and reference.golden.has_main


def test_archives_of_packed_files(run_import: Import, tmp_path: Path) -> None:
    """ExeBench is published so. What is no regular file, or has no rows, is passed over."""
    write_lines(tmp_path / "a.jsonl.zst", [raw_exebench_row()])
    write_lines(tmp_path / "b.jsonl.gz", [exebench_row(path="other.c", asm=None)])
    with tarfile.open(tmp_path / "test_real.tar.gz", "w:gz") as archive:
        for name in ("a.jsonl.zst", "b.jsonl.gz"):
            archive.add(tmp_path / name, f"test_real/{name}")
        link = tarfile.TarInfo("test_real/c.jsonl")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    folder = run_import("exebench", tmp_path / "test_real.tar.gz")
    assert [line["row"] for line in read_manifest(folder)] == ["test_real/a.jsonl.zst:1", "test_real/b.jsonl.gz:1"]
    assert list_cases(folder) == ["000000_move.c"]


def test_pairs_with_stand_ins_are_left_out(run_import: Import, tmp_path: Path) -> None:
    """A stand-in that is linked would hide the arguments of the calls from the judge."""
    row = exebench_row()
    row["synth_io_pairs"]["dummy_funcs"] = ["int outside(int x) { return 3; }"]
    folder = run_import("exebench", write_lines(tmp_path / "rows.jsonl", [row]))
    [line] = read_manifest(folder)
    assert "tests" not in line
    assert line["left_out"] == ["the pairs are left out: they need stand-ins for functions that the row lacks"]


def test_supercoder(run_import: Import, tmp_path: Path) -> None:
    folder = run_import("supercoder", write_parquet(tmp_path / "train.parquet", [supercoder_row()]))
    inputs = [f"000005_program.{number}.{end}" for number in (1, 2) for end in ("in", "out")]
    assert list_cases(folder) == [*inputs, "000005_program.c"]
    text = (folder / "cases" / "000005_program.c").read_text()
    assert text == f"// LLMC: program\n{PROGRAM}"
    assert (folder / "cases" / "000005_program.1.in").read_text() == "1 2\n"
    assert (folder / "cases" / "000005_program.1.out").read_text() == "3\n"
    records = read_records(folder / "answers.jsonl")
    assert [(record["function"], record["passes"]) for record in records] == [("main", "O0"), ("main", "O3")]


def test_anghabench(run_import: Import, tmp_path: Path) -> None:
    source = tmp_path / "AnghaBench"
    (source / "8cc").mkdir(parents=True)
    text = "typedef int Buffer;\nint write(Buffer *, char);\nvoid append(Buffer *b, char *s, int n) {\n    for (int i = 0; i < n; i++) write(b, s[i]);\n}\n"
    (source / "8cc" / "extr_buffer.c_append.c").write_text(text)
    (source / "8cc" / "extr_buffer.c_broken.c").write_text("void broken(Buffer *b) {}\n")
    (source / "secret.c").symlink_to("/etc/passwd")
    folder = run_import("anghabench", source)
    assert list_cases(folder) == ["8cc_extr_buffer.c_append.c"]
    assert (folder / "cases" / "8cc_extr_buffer.c_append.c").read_text() == f"// LLMC: functions append\n{text}"
    assert [line["row"] for line in read_manifest(folder)] == [
        "8cc/extr_buffer.c_append.c",
        "8cc/extr_buffer.c_broken.c",
    ]


def test_ir_files(run_import: Import, tmp_path: Path) -> None:
    (tmp_path / "ir").mkdir()
    (tmp_path / "ir" / "good.ll").write_text(IR)
    (tmp_path / "ir" / "bad.ll").write_text(IR.replace("i32 %y", "i64 %y"))
    folder = run_import("ir", tmp_path / "ir")
    assert list_cases(folder) == ["good.ll"]
    assert open_case(folder, "good.ll").functions == ("twice",)


def test_ir_in_questions(run_import: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Compiler-R1's rows ask for a pass list: the answer is one to the task `tune`."""
    folder = run_import("ir", write_parquet(tmp_path / "train.parquet", [compiler_r1_row()]))
    assert open_case(folder, "000000.ll").functions == ("twice",)
    [record] = read_records(folder / "answers.jsonl")
    assert (record["task"], record["passes"], record["answer"]) == ("tune", "", "-p 'sroa,instcombine'")
    assert capsys.readouterr().out.endswith("/answers.jsonl --llmc-task tune\n")


def test_columns(run_import: Import, tmp_path: Path) -> None:
    rows = [
        {
            "code": ALL_BELOW,
            "meta": {"name": "func0"},
            "check": ALL_BELOW_TESTS,
            "out": [RIGHT, RIGHT],
            "level": "O2",
            "key": "a b/../c",
        }
    ]
    source = write_lines(tmp_path / "rows.jsonl", rows)
    columns = "source=code,function=meta.name,tests=check,answer=out,passes=level,id=key"
    folder = run_import("jsonl", source, "--columns", columns)
    assert list_cases(folder) == ["a_b_.._c_func0.c"]
    records = read_records(folder / "answers.jsonl")
    assert [(record["sample"], record["passes"]) for record in records] == [(0, "O2"), (1, "O2")]
    [line] = read_manifest(folder)
    assert line == {"row": "rows.jsonl:1", "taken": True, "case": "a_b_.._c_func0.c", "tests": "asserts", "answers": 2}


def test_names_are_safe_and_stable(run_import: Import, tmp_path: Path) -> None:
    """Names come from rows, which may hold anything."""
    ids = ["../../etc/cron", "con\0", "", "a" * 400, "Ä ö", "-rf", ".hidden", "same", "SAME"]
    rows = [{"c": f"int f{n}(int x) {{ return x + {n}; }}", "id": id} for n, id in enumerate(ids)]
    folder = run_import("jsonl", write_lines(tmp_path / "rows.jsonl", rows), "--columns", "source=c,id=id")
    names = list_cases(folder)
    assert len({name.lower() for name in names}) == len(rows)
    assert all(len(name) <= 112 and name[0].isalnum() for name in names)
    assert {path.parent for path in folder.rglob("*.c")} == {folder / "cases"}


BODY = "int f(int x) { return x; }\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("// LLMC: cflags -include/etc/passwd\n" + BODY, "directive"),
        ("/* llmc: link /etc/passwd */" + BODY, "directive"),
        ('#include "/etc/passwd"\n' + BODY, "only headers"),
        ("#include <../../../../etc/passwd>\n" + BODY, "only headers"),
        ('#inc\\\nlude "/etc/passwd"\n' + BODY, "only headers"),
        ('%:include "/etc/passwd"\n' + BODY, "only headers"),
        ("#define X </etc/passwd>\n#include X\n" + BODY, "only headers"),
        ('const char s[] = {\n#embed "/etc/passwd"\n};\n' + BODY, "embed"),
        ('__asm__(".incbin \\"/etc/passwd\\"");\n' + BODY, "assembly"),
        ('#define C(a, b) a##b\nC(__as, m__)(".incbin \\"/etc/passwd\\"");\n' + BODY, "put no words together"),
        ("#def\\\nine C(a, b) a#\\\n#b\n" + BODY, "put no words together"),
        ("#define C(a, b) a%:%:b\n" + BODY, "put no words together"),
        ("\0" + BODY, "control character"),
        ("int f(int x) { return y; }\n", "does not compile"),
        ("", "missing or empty"),
        ("x" * ((1 << 20) + 1), "longer than 1 MiB"),
        (7, "no text"),
        ("\ud800" + BODY, "no Unicode"),
    ],
)
def test_hostile_text_is_refused(run_import: Import, tmp_path: Path, text: object, reason: str) -> None:
    rows = [{"c": text}, {"c": BODY}]
    folder = run_import("jsonl", write_lines(tmp_path / "rows.jsonl", rows), "--columns", "source=c")
    refused, taken = read_manifest(folder)
    assert not refused["taken"]
    assert reason in refused["reason"]
    assert taken["taken"]
    assert list_cases(folder) == ["000001.c"]


ASM = "define void @g() {{\n  call void asm sideeffect {}()\n  ret void\n}}\n"
INCBIN = '".incbin \\22/etc/passwd\\22"'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"module asm {INCBIN}\n", "whole module"),
        (f"module ; c\n\tasm{INCBIN}\n", "whole module"),
        (f"; c\rmodule asm {INCBIN}\n", "whole module"),
        (f"@zero = global i32 0module asm {INCBIN}\n", "whole module"),
        ("; LLMC: link /etc/passwd\n", "directive"),
        (ASM.format(f'{INCBIN}, ""'), "no dot"),
        (ASM.format(f'\n{INCBIN}, ""'), "no dot"),
        (ASM.format(f'\talignstack ; "c"\n{INCBIN}, ""'), "no dot"),
        ("define i32 @g() {\n  %y = call i32asm " + INCBIN + ', "=r"()\n  ret i32 %y\n}\n', "no dot"),
        ("%0 = type i32\ndefine void @g() {\n  %y = call %0asm " + INCBIN + ', "=r"()\n  ret void\n}\n', "no dot"),
        ("@.incbin = external global i8\n" + ASM.format('"${0:P} x", "X"'), "as a directive"),
        ('@"\\01.incbin" = external global i8\n' + ASM.format('"${0:P} x", "X"'), "as a directive"),
        ('@"x\\5C\\22;.incbin " = global i8 0\n', "backslash"),
        ('@"x\\z" = global i8 0\n', "backslash"),
        ('!llvm.dependent-libraries = !{!0}\n!0 = !{!"/etc/passwd"}\n', "libraries"),
        ('!llvm.dependent\\2Dlibraries = !{!0}\n!0 = !{!"/etc/passwd"}\n', "backslash"),
    ],
)
def test_hostile_ir_is_refused(run_import: Import, tmp_path: Path, text: str, reason: str) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"ir": text + IR}, {"ir": IR}])
    refused, taken = read_manifest(run_import("ir", source))
    assert taken["taken"]
    assert reason in refused.get("reason", "taken")


def test_harmless_assembly_in_ir_is_taken(run_import: Import, tmp_path: Path) -> None:
    """So is what only looks like assembly: names, texts and comments."""
    texts = [
        ASM.format('"movl $$1, %eax", "~{eax}"'),
        '@.str = private constant [4 x i8] c"asm\\00"\n' + ASM.format('"", "~{memory}"'),
        '; asm ".incbin"\n@asm = global i8 0\n@"a.asm" = global i8 0\n@"\\01puts2" = global i8 0\n',
        '!llvm.ident = !{!0}\n!0 = !{!"C:\\5Ca module asm \\22.x\\22"}\n',
    ]
    source = write_lines(tmp_path / "rows.jsonl", [{"ir": text + IR} for text in texts])
    assert [line.get("reason") for line in read_manifest(run_import("ir", source))] == [None] * len(texts)


DEFINES = "define\n" * 100_000


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("format", "row"),
    [
        ("ir", {"ir": "\n" * 500_000 + IR}),
        ("ir", {"ir": IR, "answer": "<answer>[" * 100_000}),
        ("ir", {"ir": f'{IR}@s = global [700000 x i8] c"{DEFINES}"\n', "answer": "<answer>['sroa']</answer>"}),
        ("ir", {"ir": "asm " * 200_000 + IR}),
        ("jsonl", {"c": BODY + '"\\' * 300_000}),
        ("jsonl", {"c": BODY + "int a" + "{" * 250_000 + ")" * 250_000 + ";"}),
        ("jsonl", {"c": BODY + "int v[] =" + "{}" * 300_000 + ";"}),
    ],
)
def test_time_to_read_a_row_grows_with_its_length(
    run_import: Import, tmp_path: Path, format: str, row: dict[str, str]
) -> None:
    """Each of these rows took many minutes, beyond the limit of this test."""
    good = {"ir": IR, "c": BODY}
    row |= {"t": "int main(void) { return 0; }"} if format == "jsonl" else {}
    columns = ("--columns", "source=c,tests=t") if format == "jsonl" else ()
    folder = run_import(format, write_lines(tmp_path / "rows.jsonl", [row, good]), *columns)
    assert [line["taken"] for line in read_manifest(folder)][1:] == [True]


def test_last_answer_of_a_row_counts(run_import: Import, tmp_path: Path) -> None:
    answer = "Not <answer>['licm']</answer> but <answer> ['sroa', 'dce'] </answer>."
    folder = run_import("ir", write_lines(tmp_path / "rows.jsonl", [{"ir": IR, "answer": answer}]))
    assert [record["answer"] for record in read_records(folder / "answers.jsonl")] == ["-p 'sroa,dce'"]


def test_rows_of_hashes_in_comments_are_taken(run_import: Import, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"c": "/* #### */\n" + BODY}])
    assert [line["taken"] for line in read_manifest(run_import("jsonl", source, "--columns", "source=c"))] == [True]


def test_hostile_tests_are_refused(run_import: Import, tmp_path: Path) -> None:
    row = decompile_eval_rows()[0] | {"c_test": '#include "/etc/passwd"\nint main() { return 0; }'}
    source = write_lines(tmp_path / "rows.jsonl", [row, decompile_eval_rows()[1]])
    assert [line["taken"] for line in read_manifest(run_import("llm4decompile", source))] == [False, True]


def test_names_do_not_reach_the_terminal(
    run_import: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name of a file in an archive may hold what a terminal acts on."""
    write_lines(tmp_path / "a.jsonl", [exebench_row(func_def=""), exebench_row()])
    with tarfile.open(tmp_path / "rows.tar", "w") as archive:
        archive.add(tmp_path / "a.jsonl", "\x1b[2J/../../a.jsonl")
    folder = run_import("exebench", tmp_path / "rows.tar")
    assert "\x1b" not in capsys.readouterr().out
    assert list_cases(folder) == ["000001_move.c"]


def test_lines_that_are_no_rows(run_import: Import, tmp_path: Path) -> None:
    lines = ["{", "[" * 100_000, "7", '{"c": ' + "1" * 5000 + "}", '{"c": NaN}', json.dumps({"c": BODY})]
    folder = run_import("jsonl", write_lines(tmp_path / "rows.jsonl", lines), "--columns", "source=c")
    assert [line["taken"] for line in read_manifest(folder)] == [False] * 5 + [True]


def test_tests_that_do_not_fit_are_left_out(run_import: Import, tmp_path: Path) -> None:
    """The case is there all the same."""
    faults = [
        "int main() { return helper(1) }",
        "int f(int x) { return x; }\nint main() { return f(1); }",
        "int helper;",
    ]
    rows = [{"c_func": BODY, "c_test": fault} for fault in faults]
    folder = run_import("llm4decompile", write_lines(tmp_path / "rows.jsonl", rows))
    lines = read_manifest(folder)
    assert all(line["taken"] and "tests" not in line for line in lines)
    assert [line["left_out"][0].partition(":")[0] for line in lines] == [
        "the tests are left out, which do not compile (syntax error)",
        "the tests are left out",
        "the tests are left out",
    ]
    assert all(open_case(folder, name).functions == ("f",) for name in list_cases(folder))


def test_compilers_that_crash_or_hang_cost_one_row(run_import: Import, tmp_path: Path) -> None:
    """Nesting that exhausts the stack of clang ends its process, in which other files are read too."""
    deep = "int f(int x) { return " + "(" * 200_000 + "x" + ")" * 200_000 + "; }\n"
    rows = [{"c": BODY}, {"c": deep}, {"c": BODY.replace("f(", "g(")}]
    folder = run_import("jsonl", write_lines(tmp_path / "rows.jsonl", rows), "--columns", "source=c")
    assert [line["taken"] for line in read_manifest(folder)] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("rows.jsonl.gz", b"no gzip", "Not a gzipped file"),
        ("rows.jsonl.zst", b"no zstd", "can't be unpacked"),
        ("rows.tar.gz", b"no tar", "can't be unpacked"),
        ("rows.parquet", b"no parquet", "no parquet file"),
        ("rows.json", b"{", "no JSON"),
        ("rows.json", b"7", "expected a list of objects"),
        ("rows.txt", b"", "rows are read from"),
        ("rows.jsonl", b"", "no rows are found"),
    ],
)
def test_files_that_can_not_be_read(run_import: Import, tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SystemExit, match=message):
        run_import("exebench", tmp_path / name)


def test_folders_are_new(run_import: Import, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.c").write_text(BODY)
    with pytest.raises(SystemExit, match="not empty"):
        run_import("exebench", write_lines(tmp_path / "rows.jsonl", [exebench_row()]))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.c"]


def test_columns_are_for_one_format(run_import: Import, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"c": BODY}])
    for format, args in (("jsonl", ()), ("exebench", ("--columns", "source=c")), ("jsonl", ("--columns", "code=c"))):
        with pytest.raises(SystemExit, match="--columns"):
            run_import(format, source, *args)


def test_table(run_import: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        exebench_row(),
        raw_exebench_row()["text"],
        exebench_row(func_def=""),
        exebench_row(func_def=MOVED.replace("item_t", "x")),
    ]
    folder = run_import("exebench", write_lines(tmp_path / "rows.jsonl", rows))
    assert capsys.readouterr().out == (
        "rows                4\n"
        "  taken             2\n"
        "  not taken         2\n"
        "cases               1\n"
        "  io                1\n"
        "answers             2\n"
        "not taken:\n"
        "  1 x does not compile (unknown name or type): rows.jsonl:4\n"
        "  1 x func_def is missing or empty: rows.jsonl:3\n"
        f"judge: pytest {folder} --llmc-model replay:{folder}/answers.jsonl --llmc-passes O0,O3\n"
    )


def test_question_keys_of_answers(run_import: Import, tmp_path: Path) -> None:
    """A replay finds an answer by the key that its question has in a session."""
    rows = [{"c": ALL_BELOW, "a": RIGHT}]
    folder = run_import("jsonl", write_lines(tmp_path / "rows.jsonl", rows), "--columns", "source=c,answer=a")
    [record] = read_records(folder / "answers.jsonl")
    assert QuestionKey(record["case"], record["function"], record["task"], record["passes"]) == QuestionKey(
        "000000.c", "func0", "asm", "O0"
    )
