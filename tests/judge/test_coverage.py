"""What the inputs of a suite did not reach is said, with the reason."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from sessions import put, run

from pytest_llmcompiler import check, check_file
from pytest_llmcompiler.judge.api import judge_answer
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.program.case import read_case

DRAINED = """
int turns;
unsigned drained(void)
{
    unsigned left = 50253292;

    for (; turns < 5; turns++) {
        int level = -2147483647;
        do {
            level += 4;
            left -= 3;
        } while (level < 20);
    }
    return left;
}
int pick(int kind)
{
    if (kind == 12345678 && turns > 3)
        return 1;
    return kind > 5 ? 2 : 3;
}
int divide(int a)
{
    if (a == 0)
        return 7 / a;
    return 100 / a;
}
"""

DRAINED_ASSEMBLY = """drained:
    movl $50253292, %eax
    retq
"""


def test_lines_that_run_too_long_are_named() -> None:
    verdict = check(DRAINED, "drained", DRAINED_ASSEMBLY, examples=30)
    assert verdict.kind == "pass"  # it leaves out the body of the loop, which no input reaches in time
    coverage = verdict.detail["coverage"]
    assert 0 < coverage["edges"] < coverage["of"]
    assert {"line": 10, "reason": "runs too long"} in coverage["unreached"]
    assert {"line": 11, "reason": "runs too long"} in coverage["unreached"]
    assert not {3, 5, 14} & {part["line"] for part in coverage["unreached"]}
    (line,) = verdict.evidence
    assert "10-" in line
    assert "runs too long" in line


def test_undefined_lines_and_full_coverage() -> None:
    divide = "divide:\n\tmovl $100, %eax\n\tcltd\n\tidivl %edi\n\tretq\n"
    coverage = check(DRAINED, "divide", divide, examples=30).detail["coverage"]
    assert coverage["unreached"] == [{"line": 25, "reason": "undefined"}]
    pick = """pick:
    cmpl $12345678, %edi
    jne .Lother
    cmpl $3, turns(%rip)
    jle .Lother
    movl $1, %eax
    retq
.Lother:
    xorl %eax, %eax
    cmpl $5, %edi
    setle %al
    addl $2, %eax
    retq
"""
    verdict = check(DRAINED, "pick", pick, examples=30)
    assert verdict.kind == "pass"
    assert verdict.detail["coverage"]["edges"] == verdict.detail["coverage"]["of"] > 4
    assert verdict.detail["coverage"]["unreached"] == []
    assert not verdict.evidence


def test_a_least_coverage_makes_a_pass_inconclusive_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "drained.c"
    path.write_text(DRAINED)
    with closing(JudgeClient(JudgeSettings(30, min_coverage=0.9))) as judge:
        case = read_case(path)
        verdict = judge_answer(judge, case, "drained", Answer(DRAINED_ASSEMBLY))
        assert verdict.kind == "inconclusive"
        assert "line" in verdict.message
        assert "runs too long" in verdict.message
        assert "%" in verdict.message
        assert judge_answer(judge, case, "drained", Answer("drained:\n\txorl %eax, %eax\n\tretq\n")).kind == "mismatch"


def test_reports_have_it(project: pytest.Pytester) -> None:
    path = put(project, "drained.c", DRAINED)
    arguments = ("--llmc-model", "reference", f"{path}::drained[asm-O0]")
    result = run(project, "--llmc-record", "samples.jsonl", "-rP", *arguments)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["no input reached *", "1 item passes with code that no input reached:"])
    detail = json.loads((project.path / "samples.jsonl").read_text())["detail"]
    assert detail["coverage"]["edges"] < detail["coverage"]["of"]
    result = run(project, "--llmc-min-coverage", "0.9", *arguments)
    result.assert_outcomes(skipped=1)


def test_code_that_the_probe_does_not_lead_to_is_reached_by_the_engine() -> None:
    # Without the engine, 36 of the 37 edges are reached.
    path = Path(__file__).parents[2] / "benchmarks/functions/json_scan.c"
    verdict = check_file(path, "json_string_length", "json_string_length: retq\n")
    assert not verdict.passed
    assert verdict.detail["coverage"]["edges"] == verdict.detail["coverage"]["of"]
