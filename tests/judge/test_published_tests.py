"""Published tests: what they say of an answer stands beside the verdict, and decides nothing in its favour."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dataset_rows import (
    ALL_BELOW,
    ALL_BELOW_TESTS,
    AT_THE_LIMIT,
    NEVER_ALL,
    RIGHT,
    decompile_eval_rows,
    exebench_row,
    supercoder_row,
    write_lines,
    write_parquet,
)
from gcc_answers import assembly
from sessions import run

from pytest_llmcompiler import check_file
from pytest_llmcompiler.cli import main
from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.judge.verdict import Verdict

EXAMPLES = 20


def write_case(folder: Path, tests: str, source: str = ALL_BELOW) -> Path:
    """A case with tests beside it."""
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests" / "below.c").write_text(f"int func0(int *values, int size, int limit);\n{tests}")
    (folder / "below.c").write_text(f"// LLMC: tests tests/below.c\n{source}")
    return folder / "below.c"


def judge(case: Path, answer: str) -> Verdict:
    return check_file(case, "func0", answer, examples=EXAMPLES)


@pytest.mark.parametrize(
    ("answer", "kind", "published"),
    [
        (RIGHT, "pass", {"tests": "asserts", "holds": True}),
        (AT_THE_LIMIT, "mismatch", {"tests": "asserts", "holds": True}),
        (
            NEVER_ALL,
            "mismatch",
            {"tests": "asserts", "holds": False, "message": "assertion fails: func0(values, 4, 100) == 1"},
        ),
        ("func0:\n    jmp func0\n", "hang", {"tests": "asserts", "holds": False, "message": "they do not end"}),
        ("func0:\n    movl 0, %eax\n    ret\n", "crash", {"tests": "asserts", "holds": False, "message": "bad read"}),
        ("func0:\n    vpxor %xmm0, %xmm0, %xmm0\n    ret\n", "inconclusive", None),
        (RIGHT.replace("incl %eax", "incl %eax, %eax, %eax"), "assemble", None),
        ("I can't.", "no-answer", None),
    ],
)
def test_beside_the_verdict(tmp_path: Path, answer: str, kind: str, published: object) -> None:
    verdict = judge(write_case(tmp_path, ALL_BELOW_TESTS), answer)
    assert verdict.kind == kind
    assert verdict.detail.get("published") == published


def test_arguments_of_the_tests_are_inputs(tmp_path: Path) -> None:
    """A fault that shows on the one argument that the tests pass, and on no other, is found on it."""
    tests = "#include <assert.h>\nint main() { int v[] = {77345, 9}; assert(func0(v, 2, 77346)); return 0; }\n"
    answer = RIGHT.replace(
        "    xorl %eax, %eax\n.next:", "    cmpl $77346, %edx\n    je .one\n    xorl %eax, %eax\n.next:"
    )
    verdict = judge(write_case(tmp_path, tests), answer)
    assert verdict.kind == "mismatch"
    assert verdict.counterexample is not None
    assert "77346" in " ".join(verdict.counterexample.input)


def test_tests_that_the_reference_fails(tmp_path: Path) -> None:
    """They are wrong, and no answer fails here for that."""
    tests = ALL_BELOW_TESTS.replace("100) == 1", "100) == 0")
    verdict = judge(write_case(tmp_path, tests), RIGHT)
    assert verdict.passed
    assert verdict.detail["published"] == {
        "tests": "asserts",
        "holds": False,
        "message": "they fail with the reference too: assertion fails: func0(values, 4, 100) == 0",
    }


@pytest.mark.parametrize("tests", ["int main() { return 0; }", "int main() { for (;;); int v = 1; func0(&v, 1, 2); }"])
def test_tests_that_show_nothing(tmp_path: Path, tests: str) -> None:
    verdict = judge(write_case(tmp_path, tests), RIGHT)
    assert verdict.passed
    assert "published" not in verdict.detail
    assert "below.c are left out" in verdict.detail["warning"]


@pytest.mark.parametrize(
    ("tests", "source", "message"),
    [
        ("int helper;", ALL_BELOW, "below.c defines no `main`"),
        ("int main() { return 0; }", f"{ALL_BELOW}int main() {{ return 1; }}", "below.c has a `main` of its own"),
        ("int main() { return 0; }", f"// LLMC: tests tests/below.c\n{ALL_BELOW}", "names tests already"),
        (
            "int main() { return 0; }",
            ALL_BELOW.replace("#include", "// LLMC: tests other.c\n#include"),
            "names tests already",
        ),
    ],
)
def test_directives_that_do_not_fit(tmp_path: Path, tests: str, source: str, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        judge(write_case(tmp_path, tests, source), RIGHT)


def test_pairs_of_a_row(tmp_path: Path) -> None:
    """Pairs of inputs and outputs, with structs and texts, become tests that hold for the reference and gcc alike."""
    main(["import", "exebench", str(write_lines(tmp_path / "rows.jsonl", [exebench_row()])), str(tmp_path / "out")])
    case = tmp_path / "out" / "cases" / "000000_move.c"
    (tmp_path / "wrong.c").write_text(case.read_text().replace("*= 2", "*= 3"))
    verdict = check_file(case, "move", assembly(case), examples=EXAMPLES)
    assert (verdict.kind, verdict.detail["published"]) == ("pass", {"tests": "io", "holds": True})
    verdict = check_file(case, "move", assembly(tmp_path / "wrong.c"), examples=EXAMPLES)
    assert verdict.kind == "mismatch"
    message = "exit code 1: pair 0: items[0].weight"
    assert verdict.detail["published"] == {"tests": "io", "holds": False, "message": message}


def test_program_of_a_row(tmp_path: Path) -> None:
    """The published inputs of a whole program are among those that it is judged on, and have results of their own."""
    source = write_parquet(tmp_path / "train.parquet", [supercoder_row()])
    main(["import", "supercoder", str(source), str(tmp_path / "out")])
    case = tmp_path / "out" / "cases" / "000005_program.c"
    (tmp_path / "wrong.c").write_text(case.read_text().replace("a + b", "a < 0 ? a - b : a + b"))
    verdict = check_file(case, "main", assembly(case), examples=EXAMPLES)
    assert (verdict.kind, verdict.detail["published"]) == ("pass", {"tests": "io", "holds": True})
    verdict = check_file(case, "main", assembly(tmp_path / "wrong.c"), examples=EXAMPLES)
    assert (verdict.kind, verdict.detail["published"]) == ("mismatch", {"tests": "io", "holds": True})
    verdict = check_file(case, "main", "main:\n    xorl %eax, %eax\n    ret\n", examples=EXAMPLES)
    message = '000005_program.1.in: line 1: expected "3", observed ""'
    assert verdict.detail["published"] == {"tests": "io", "holds": False, "message": message}


def test_table_and_records_of_a_session(project: pytest.Pytester) -> None:
    """The table tells how many answers pass the published tests and fail here, and on which input."""
    row = decompile_eval_rows()[0] | {"answers": [RIGHT, AT_THE_LIMIT, NEVER_ALL]}
    project.makefile(".json", rows=json.dumps([row]))
    columns = "source=c_func,tests=c_test,answer=answers,passes=type,id=task_id"
    main(["import", "jsonl", "rows.json", "out", "--columns", columns])
    model = "--llmc-model=replay:out/answers.jsonl"
    result = run(project, "out", model, "--llmc-samples=3", "--llmc-record=record.jsonl")
    result.stdout.fnmatch_lines(
        [
            "published tests: 2 of 3 answers that ran pass them; 1 of these fail here:",
            "  7.c::func0[[]asm-O0[]] sample 1: mismatch: return value: expected 0, observed 1*",
        ]
    )
    records = [json.loads(line) for line in (project.path / "record.jsonl").read_text().splitlines()]
    assert [record["verdict"] for record in records] == ["pass", "mismatch", "mismatch"]
    assert [record["detail"]["published"]["holds"] for record in records] == [True, True, False]
