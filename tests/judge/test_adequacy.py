"""Faults that are seeded into clang's own code choose the suite, and say how much it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from faces import Compile
from sessions import put, run

from pytest_llmcompiler.emulator import engine_server
from pytest_llmcompiler.judge import adequacy, mutants
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

pytestmark = pytest.mark.skipif(bool(engine_server.find_problem()), reason="the engine can't be built here")

SHADE = """
int shade(int colour, int *uses)
{
    int red = colour >> 16 & 255;
    *uses += 1;
    return red > 200 ? 3 : red > 100 ? 2 : 1;
}
/* No input has this remainder: what follows shows nowhere. */
unsigned rare(unsigned long long a)
{
    if (a * 0x9e3779b97f4a7c15u % 1000000007 == 5) {
        a = a * 7 + 1;
        a ^= a >> 9;
        a += a << 3;
        a = a * 31 - 4;
        a ^= a >> 5;
        return (unsigned)a;
    }
    return 9;
}
"""
WRONG = "shade:\n movl %edi, %eax\n sarl $16, %eax\n addl $1, (%rsi)\n movl $1, %eax\n ret\n"
"""Takes no branch."""


def test_records_and_the_table_say_how_many_faults_the_inputs_show(pytester: pytest.Pytester, tmp_path: Path):
    path = put(pytester, "shade.c", SHADE)
    result = run(
        pytester,
        path,
        "--llmc-model=reference",
        "--llmc-record",
        str(tmp_path / "record.jsonl"),
        "--llmc-examples",
        "40",
    )
    lines = (tmp_path / "record.jsonl").read_text().splitlines()
    records = {record["function"]: record["detail"] for record in map(json.loads, lines) if "detail" in record}
    shade, rare = records["shade"]["adequacy"], records["rare"]["adequacy"]
    assert shade["mutants"] >= 4
    assert shade["killed"] >= 0.9 * shade["mutants"]
    assert rare["killed"] < 0.9 * rare["mutants"]
    output = result.stdout.str()
    assert "1 item passes on inputs that show less than 90 % of the seeded faults:" in output
    assert re.search(rf"rare.*: {rare['killed']} of {rare['mutants']}", output)


def test_without_the_engine_nothing_is_said(monkeypatch: pytest.MonkeyPatch, compiled: Compile):
    monkeypatch.setattr(adequacy.FunctionEngine, "is_usable", False)
    verdict = Harness(compiled(SHADE), "shade", JudgeSettings(20, 977)).judge(WRONG, explain=False)
    assert verdict.kind == "mismatch"
    assert "adequacy" not in verdict.detail


def test_a_mutant_changes_the_text_at_one_place_alone():
    text = Path(__file__).with_name("test_adequacy.py").read_text()
    assert mutants.seed_mutants(text, "missing", 5, "1").mutants == ()
    text = (
        "\t.text\nf:\n\tmovl\t%edi, %eax\n\tandl\t$255, %eax\n\tcmpl\t$7, %eax\n\tje\t.LBB0_2\n"
        "# %bb.1:\n\timull\t$3, %eax, %eax\n\taddl\t$2, %eax\n.LBB0_2:\n\tretq\n.Lfunc_end0:\n"
    )
    mutated = mutants.seed_mutants(text, "f", 100, "1")
    assert mutated == mutants.seed_mutants(text, "f", 100, "1")
    assert {mutant.kind for mutant in mutated.mutants} == {
        *("stuck value", "wrong at one value", "saturated value", "sign lost", "stuck bit"),
        *("branch at one value", "block left out"),
    }
    lines = mutated.text.split("\n")
    assert all(lines[mutant.switch_line - 1].startswith("\tnopl") for mutant in mutated.mutants)
    assert all(lines[mutant.code_line - 2].startswith(".Lmutant") for mutant in mutated.mutants)
    kept = [
        line for line in lines[: lines.index(".Lmutant0:")] if not line.startswith(("\tnopl", ".Lback", ".Lpassed"))
    ]
    assert kept == text.split("\n")[:-2]


def test_no_kind_of_fault_is_measured_too():
    faults = Path(__file__).parents[2] / "benchmarks/quality/faults.py"
    measured = re.findall(r'^    "([^"]+)": _', faults.read_text(), re.M)
    assert len(measured) > 10
    assert not set(measured) & set(mutants._KINDS)
