"""Sessions that ask for the tasks beside `asm`, from the question to record, report and folder."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from sources import TWICE_C, TWICE_IR

from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets import list_target_names as targets

SCHEMA = json.loads(files("pytest_llmcompiler.report").joinpath("record.schema.json").read_text())


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\nllmc_cases = cases\nllmc_examples = 10\nllmc_task = asm,ir,tune,disassemble\n")
    (pytester.path / "cases").mkdir()
    (pytester.path / "cases" / "a.c").write_text(TWICE_C)
    return pytester


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:xdist", *args)


def records(project: pytest.Pytester, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.path / name).read_text().splitlines()]


@pytest.mark.parametrize("target", targets())
def test_every_task_from_the_question_to_the_record(project: pytest.Pytester, target: str) -> None:
    """The reference answers all tasks rightly. Its record replays to the same verdicts, can be resumed, and is valid."""
    label = {task: get_target(target).label_task(task) for task in ("asm", "tune", "ir", "disassemble")}
    ids = [
        *(f"a.c::twice[{label[task]}-{passes}]" for task in ("asm", "ir") for passes in ("O0", "Oz")),
        f"a.c::twice[{label['tune']}]",
        *(f"a.c::twice[{label['disassemble']}-{passes}]" for passes in ("O0", "Oz")),
    ]
    here = f"--llmc-target={target}"
    args = ("--llmc-passes=O0,Oz", "--llmc-record=out.jsonl", "--llmc-report=out.html", here)
    first = run(project, "-v", "--llmc-model=reference", *args)
    first.assert_outcomes(passed=7)
    first.stdout.fnmatch_lines([f"cases/{name.replace('[', '[[]')[:-1]}[]] PASSED*" for name in ids])
    said = " ".join(first.stdout.str().split())  # lines are broken where they end
    for words in (
        f"{label['tune']}: 1 of 1 pass lists keep the behaviour; their binary size is 0.00 percent below that of -Oz "
        "in all: smaller for 0.0, equal for 100.0, larger for 0.0 percent of them",
        f"{label['ir']}: 100.0 percent of samples are opt's own IR, 100.0 but for the names of values",
        f"{label['disassemble']}: 100.0 percent of samples give the same assembly when lowered, with a mean BLEU of 100.0",
    ):
        assert words in said
    written = records(project, "out.jsonl")
    assert [(record["task"], record["passes"]) for record in written][4] == (label["tune"], "")
    for record in written:
        jsonschema.validate(record, SCHEMA)
    [tune] = [record for record in written if record["task"] == label["tune"]]
    size = tune["detail"]["tune"]["size"]
    assert (
        tune["detail"]["tune"] == {"passes": "default<Oz>", "size": size, "oz": size, "improvement": 0.0} and size > 0
    )
    again = run(project, "--llmc-model=replay:out.jsonl", "--llmc-passes=O0,Oz", here)
    again.assert_outcomes(passed=7)
    again.stdout.fnmatch_lines(["judged anew: 0 of 7 verdicts changed"])
    run(project, "--llmc-model=reference", *args, "--llmc-resume").assert_outcomes(passed=7)
    assert len(records(project, "out.jsonl")) == 7
    page = (project.path / "out.html").read_text()
    assert json.dumps(["a.c", "twice", label["tune"]]) in page


def test_a_wrong_answer_in_ir_gets_a_native_program(project: pytest.Pytester) -> None:
    record = {
        "case": "a.c",
        "function": "twice",
        "task": "ir",
        "passes": "O0",
        "sample": 0,
        "answer": TWICE_IR.replace("1\n", "2\n"),
    }
    tune = {**record, "task": "tune", "passes": "", "answer": "opt -p 'instcombin'"}
    (project.path / "in.jsonl").write_text(json.dumps(record) + "\n" + json.dumps(tune) + "\n")
    result = run(project, "--llmc-model=replay:in.jsonl", "--llmc-artifacts=kept", "--llmc-task=ir,tune")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["mismatch: return value: expected *", "assemble: unknown pass name 'instcombin'"])
    folder = project.path / "kept" / "a.c" / "twice"
    done = project.run(str(folder / "ir-O0" / "sample-0" / "run"))
    assert done.ret == 1 and "candidate" in done.stdout.str()
    assert "the assembly that LLVM makes of the answer" in (folder / "ir-O0" / "sample-0" / "README.txt").read_text()
    assert "There is no `run`" in (folder / "tune" / "sample-0" / "README.txt").read_text()


def test_assembly_in_intel_syntax(project: pytest.Pytester) -> None:
    """The prompt and the reference use it with the setting. An answer may use it with and without."""
    args = ("--llmc-syntax=intel", "--llmc-task=asm,disassemble", "--llmc-record=out.jsonl", "--llmc-artifacts=kept")
    run(project, "--llmc-model=reference", *args).assert_outcomes(passed=2)
    assembly = next(record["answer"] for record in records(project, "out.jsonl") if record["task"] == "asm")
    assert assembly.startswith("\t.intel_syntax noprefix\n") and "dword ptr [rbp - 4]" in assembly
    bare = {
        "case": "a.c",
        "function": "twice",
        "task": "asm",
        "passes": "O0",
        "sample": 0,
        "answer": "twice:\n  lea eax, [rdi + rdi]\n  ret\n",
    }
    lift = {**bare, "task": "disassemble", "answer": "<code>define i32 @twice(i32 %x) {\n  ret i32 %x\n}\n</code>"}
    (project.path / "in.jsonl").write_text(json.dumps(bare) + "\n" + json.dumps(lift) + "\n")
    run(project, "--llmc-model=replay:in.jsonl", *args).assert_outcomes(passed=1, failed=1)
    prompt = (project.path / "kept" / "a.c" / "twice" / "disassemble-O0" / "sample-0" / "prompt.txt").read_text()
    assert "mov\tdword ptr [rbp - 4], edi\n" in prompt and prompt.startswith("[INST] Disassemble this code to LLVM-IR:")


def test_settings_that_can_t_be_used(project: pytest.Pytester) -> None:
    (project.path / "mine.txt").write_text("{ir}\n")
    for args, words in (
        (("--llmc-task=lift",), "--llmc-task: can't use 'lift': expected asm, ir, tune or disassemble"),
        (
            ("--llmc-prompt=mine.txt",),
            "--llmc-prompt: mine.txt: the template never shows the code: it has no {asm}, for task disassemble",
        ),
        (("--llmc-syntax=masm",), "--llmc-syntax: can't use 'masm': expected att or intel"),
    ):
        result = project.runpytest_inprocess("-p", "no:xdist", "--llmc-model=reference", *args)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert words in result.stderr.str()
