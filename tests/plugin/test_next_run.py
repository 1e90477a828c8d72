"""What a run writes, and how the next run uses it: baseline, record, export, JUnit's file."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from servers import MODELS, Reply, Script, serve
from sessions import CASE, LOW, TWICE, VEX, WRONG

from pytest_llmcompiler import KINDS
from pytest_llmcompiler.errors import ExportError, ResumeError
from pytest_llmcompiler.model.replay import read_records
from pytest_llmcompiler.report.export import check_export, export, parse_export
from pytest_llmcompiler.report.rejudged import changed_verdict_lines
from pytest_llmcompiler.report.resume import Resumption

SCHEMA = json.loads(files("pytest_llmcompiler.report").joinpath("record.schema.json").read_text())
ANSWERS = {
    "pass": TWICE,
    "no-answer": "no code at all",
    "truncated": "<code>\ntwice:\n\tleal (%rdi",
    "assemble": "twice:\n\tfrobnicate %eax\n",
    "link": "twice:\n\tcall nobody\n\tret\n",
    "crash": "twice:\n\tmovl (%rax), %eax\n\tret\n",
    "hang": "twice:\n1:\tjmp 1b\n",
    "mismatch": WRONG,
    "abi": "twice:\n\txorl\t%ebx, %ebx\n\tleal\t(%rdi,%rdi), %eax\n\tretq\n",
    "inconclusive": VEX,
}
"""An answer of each verdict."""
SAMPLES = ("--llmc-samples=10", "--llmc-pass-k=1,3", "--llmc-examples=10")
KILLING = """
import os
import shutil
import signal
from pytest_llmcompiler.report.records import Recorder

whole = Recorder.write
written = []

def write(self, record):
    written.append(record)
    if "KILL_AFTER" in os.environ and len(written) > int(os.environ["KILL_AFTER"]):
        os.write(self._file, b'{"schema": 1, "case": "a.c", "fun')
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, record)

Recorder.write = write
"""


def run(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, in a project with the one case `a.c`."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    kept.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *args],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def table(text: str) -> str:
    """The table at the end of a session, with its notes on pass@k."""
    table_match = re.search(
        r"^=+ language model as compiler =+\n(.*?)^(?:against|judged|=====|\d+ items)", text, re.M | re.S
    )
    assert table_match, text
    return table_match[1].strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one case of two functions; one of them gets an answer of each verdict."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "cases").mkdir()
    (folder / "cases/a.c").write_text(CASE)
    (folder / "pytest.ini").write_text("[pytest]\nllmc_cases = cases\n")
    (folder / "conftest.py").write_text(KILLING)
    question = {"case": "a.c", "task": "asm", "passes": "O0"}
    lines: list[dict[str, Any]] = [
        {
            **question,
            "function": "twice",
            "sample": number,
            "answer": answer,
            "stop": "length" if kind == "truncated" else "eos",
        }
        for number, (kind, answer) in enumerate(ANSWERS.items())
    ]
    lines += [{**question, "function": "low", "sample": number, "answer": "I can't"} for number in (0, 1)]
    write_lines(folder / "answers.jsonl", lines)
    return folder


@pytest.fixture(scope="module")
def first(project: Path) -> subprocess.CompletedProcess[str]:
    """A run that leaves a record, a baseline, a table and JUnit's file."""
    return run(
        project,
        "--llmc-model=replay:answers.jsonl",
        *SAMPLES,
        "-p",
        "no:xdist",
        "-rx",
        "--junitxml=first.xml",
        "--llmc-record=first.jsonl",
        "--llmc-export=first.csv,evalplus:first_eval_results.json",
        "--llmc-export=lm-eval:first_results.json",
        "--llmc-baseline=new/base.jsonl",
        "--llmc-update-baseline",
    )


# -- records


def test_records_of_every_verdict_are_as_the_schema_says(first: object, project: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    first_records = [json.loads(line) for line in (project / "first.jsonl").read_text().splitlines()]
    assert {record["verdict"] for record in first_records} == set(KINDS)
    for record in first_records:
        validator.validate(record)
        assert record.keys() <= SCHEMA["properties"].keys()
        assert record["settings"].keys() <= SCHEMA["properties"]["settings"]["properties"].keys()
    for record in read_records(Path(__file__).parents[1] / "faults" / "git_lfs.jsonl"):
        validator.validate(record)
    wrong = [{"verdict": "good"}, {"sample": -1}, {"answer": None}, {"schema": 2}, {"detail": {}}, {"stop": "tired"}]
    assert [change for change in wrong if validator.is_valid(first_records[0] | change)] == []


def test_the_schema_names_every_verdict() -> None:
    assert SCHEMA["properties"]["verdict"]["enum"] == [*KINDS, None]
    assert SCHEMA["properties"]["previous"]["enum"] == [*KINDS]


def test_junit_has_the_counts(first: object, project: Path) -> None:
    twice, low = ElementTree.parse(project / "first.xml").iter("testcase")
    properties = {member.get("name"): member.get("value") for member in twice.iter("property")}
    assert properties == {
        "llmc_verdicts": ",".join(ANSWERS),
        **{f"llmc_count_{kind}": "1" for kind in KINDS},
        "llmc_pass@1": str(1 / 9),
        "llmc_model": "answers.jsonl",
    }
    [skipped] = low.iter("skipped")
    assert (skipped.get("type"), skipped.get("message")) == ("pytest.xfail", "0 of 2 samples pass")


def test_the_table_of_a_run_has_a_row_for_each_sample(first: object, project: Path) -> None:
    with (project / "first.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    summary = [rows[3][key] for key in ("case", "function", "sample", "verdict", "seconds", "model")]
    assert summary == ["a.c", "twice", "3", "assemble", "", "answers.jsonl"]
    assert rows[7]["message"] == "return value: expected 2, observed 1"


def test_a_table_for_parquet_has_types(first: object, project: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    records = read_records(project / "first.jsonl")
    records[0] |= {"tokens": {"prompt": 11, "answer": None}, "seconds": 1.5, "previous": "hang"}
    export(records, parse_export(f"{project}/first.parquet"))
    rows = parquet.read_table(project / "first.parquet").to_pylist()
    assert [row["verdict"] for row in rows] == [record["verdict"] for record in records]
    summary = [rows[0][key] for key in ("sample", "prompt_tokens", "answer_tokens", "seconds", "previous", "message")]
    assert summary == [0, 11, None, 1.5, "hang", ""]
    with pytest.raises(ExportError, match=r"can't write .*none/t\.parquet"):
        export(records, parse_export(f"{project}/none/t.parquet"))


def test_a_table_that_cant_be_written_is_told_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"can't write .*file/t\.csv: "):
        check_export(parse_export(f"{tmp_path}/file/t.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ExportError, match=r"can't write .*folder\.csv: it is a folder"):
        check_export(parse_export(f"{tmp_path}/folder.csv"))
    (tmp_path / "t.csv").write_text("of an earlier run")
    check_export(parse_export(f"{tmp_path}/t.csv"))
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.csv", "t.csv"}
    assert (tmp_path / "t.csv").read_text() == "of an earlier run"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_export(parse_export(f"{tmp_path}/t.csv"))
    with pytest.raises(ExportError, match=r"t\.parquet needs pyarrow: pip install pyarrow, or write a \.csv file"):
        check_export(parse_export(f"{tmp_path}/t.parquet"))


# -- the baseline


def test_an_updated_baseline_fails_nothing(first: subprocess.CompletedProcess[str], project: Path) -> None:
    assert first.returncode == 0, first.stdout
    assert "2 items written to new/base.jsonl" in first.stdout
    assert "XFAIL cases/a.c::low[asm-O0] - 0 of 2 samples pass" in first.stdout
    assert (project / "new/base.jsonl").read_text() == (
        '{"schema": 1, "model": "answers.jsonl", "samples": 10}\n'
        '{"item": "a.c::low[asm-O0]", "passed": 0, "judged": 2, "samples": 2}\n'
        '{"item": "a.c::twice[asm-O0]", "passed": 1, "judged": 9, "samples": 10, "speed@O3": 1.0, "size@Oz": 1.0}\n'
    )


def test_a_record_with_a_passing_item_broken_and_a_failing_one_mended(first: object, project: Path) -> None:
    records = read_records(project / "first.jsonl")
    for number, answer in ((0, WRONG), (10, LOW)):
        records[number]["answer"] = answer
    write_lines(project / "broken.jsonl", records)
    result = run(
        project,
        "--llmc-model=replay:broken.jsonl",
        *SAMPLES,
        "-p",
        "no:xdist",
        "-v",
        "--llmc-baseline=new/base.jsonl",
        "--llmc-fail-under=pass@1=0.9",
        "--llmc-fail-under=pass@3=0.01",
    )
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in result.stdout
    for line in (
        "worse than base.jsonl: 1 of 9 samples passed, now 0 of 9 (2 mismatch, 1 no-answer, *",
        "judged anew: 2 of 12 verdicts changed",
        "  a.c::low[asm-O0] sample 0: no-answer -> pass",
        "  a.c::twice[asm-O0] sample 0: pass -> mismatch",
        "against base.jsonl: 1 worse, 1 better, 0 as before",
        "  worse   a.c::twice[asm-O0]: 1 of 9 samples passed, now 0 of 9",
        "  better  a.c::low[asm-O0]: 0 of 2 samples passed, now 1 of 2",
        "pass@1 of 2 items: 5.6 percent, now 25.0",
        "to update the baseline, the items that are worse included: pytest * --llmc-fail-under=pass@3=0.01 --llmc-update-baseline",
        "FAIL: pass@1 of at least 90 percent is required (--llmc-fail-under); found 25.00",
        "FAIL: pass@3 of at least 1 percent is required (--llmc-fail-under); found 0.00",
    ):
        pytest.LineMatcher(result.stdout.splitlines()).fnmatch_lines([line.replace("[", "[[]")])


def test_a_threshold_alone_fails_a_session_in_which_no_item_fails(first: object, project: Path) -> None:
    args = (project, "--llmc-model=replay:answers.jsonl", *SAMPLES, "-p", "no:xdist", "--llmc-record=first.jsonl")
    result = run(*args, "--llmc-resume", "--llmc-require=none", "--llmc-fail-under=pass@1=0.06")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 passed, 1 xfailed" in result.stdout
    assert "FAIL: pass@1 of at least 6 percent is required (--llmc-fail-under); found 5.55" in result.stdout


# -- going on


def test_a_run_that_was_killed_goes_on_where_its_record_stops(
    first: subprocess.CompletedProcess[str], project: Path
) -> None:
    args = (project, "--llmc-model=replay:answers.jsonl", *SAMPLES, "--llmc-record=killed.jsonl")
    killed = run(*args, "-p", "no:xdist", KILL_AFTER="5")
    assert killed.returncode == -signal.SIGKILL
    left = (project / "killed.jsonl").read_bytes()
    assert left.count(b"\n") == 5 and not left.endswith(b"\n")
    resumed = run(*args, "-n", "2", "--llmc-resume", "--llmc-baseline=new/base.jsonl", "--llmc-fail-under=pass@1=0.05")
    assert "1 passed, 1 xfailed" in resumed.stdout and "against base.jsonl: 2 as before" in resumed.stdout
    assert resumed.returncode == 0, resumed.stdout
    assert table(resumed.stdout) == table(first.stdout)
    record = (project / "killed.jsonl").read_bytes()
    assert record.startswith(left[: left.rindex(b"\n")])

    def count_records(name: str) -> Counter[tuple[Any, ...]]:
        return Counter(
            (line["function"], line["sample"], line["verdict"], line["answer"]) for line in read_records(project / name)
        )

    assert count_records("killed.jsonl") == count_records("first.jsonl"), (
        "nothing is judged twice, and nothing is left out"
    )


def test_a_record_of_another_setting_is_a_usage_error(first: object, project: Path) -> None:
    args = (project, "--llmc-model=replay:answers.jsonl", "--llmc-record=first.jsonl", "--llmc-resume")
    before = (project / "first.jsonl").read_bytes()
    result = run(*args, *SAMPLES, "--llmc-seed=5")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert (
        "--llmc-resume: first.jsonl was recorded with another --llmc-seed: a.c::twice[asm-O0] sample 0 has 1, "
        "this session 5; use the same, or record to another file"
    ) in result.stderr
    assert (project / "first.jsonl").read_bytes() == before


def test_a_record_of_another_model_is_told_by_each_worker(first: object, project: Path) -> None:
    shutil.copy(project / "answers.jsonl", project / "others.jsonl")
    args = ("--llmc-model=replay:others.jsonl", "--llmc-record=first.jsonl", "--llmc-resume")
    result = run(project, *args, *SAMPLES, "-n", "2")
    assert "was recorded with another model (name)" in result.stdout, result.stdout
    assert "INTERNALERROR" not in result.stdout + result.stderr


def test_what_differs_is_named(first: object, project: Path, tmp_path: Path) -> None:
    records = read_records(project / "first.jsonl")
    settings, facts = records[0]["settings"], records[0]["model"]
    whole = Resumption(project / "first.jsonl")
    whole.check(settings)
    whole.check_model(facts | {"gpu": True})
    for change, words in (
        ({"max_tokens": 9}, "another --llmc-max-tokens: .* has None, this session 9"),
        ({"version": "9"}, "another version of pytest-llmcompiler: .* this session '9'"),
        ({"prompt": "mine.txt"}, "another --llmc-prompt: "),
    ):
        with pytest.raises(ResumeError, match=words):
            whole.check(settings | change)
    with pytest.raises(ResumeError, match=r"another model \(name\): .* has 'answers\.jsonl', this session 'new.gguf'"):
        whole.check_model({"name": "new.gguf"})
    write_lines(tmp_path / "old.jsonl", [{key: value for key, value in records[0].items() if key != "settings"}])
    with pytest.raises(ResumeError, match=r"old\.jsonl holds a\.c::twice\[asm-O0\] sample 0 without the settings"):
        Resumption(tmp_path / "old.jsonl").check(settings)
    assert len(Resumption(tmp_path / "none.jsonl")) == 0


def test_many_changed_verdicts_are_not_all_listed() -> None:
    question = {"case": "a.c", "function": "f", "task": "asm", "passes": "O0"}
    records = [{**question, "sample": number, "verdict": "pass", "previous": "hang"} for number in range(60)]
    lines = changed_verdict_lines([*records, {**question, "sample": 60, "verdict": "hang", "previous": "hang"}])
    assert lines[0] == "judged anew: 60 of 61 verdicts changed"
    assert lines[-1] == "  and 10 more; --llmc-record keeps all of them, as `previous`"
    assert len(lines) == 52


def silence(request: dict[str, Any] | None) -> Reply:
    """Answers that hold no code."""
    if request is None:
        return MODELS
    choices = [{"text": "I can't", "finish_reason": "stop"}] * request.get("n", 1)
    return 200, {}, {"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 3 * len(choices)}}


def count_requests(script: Script) -> int:
    """The number of answers that a server was asked for."""
    return sum(question.get("n", 1) for _, _, question in script.requests if question)


def test_a_server_is_asked_only_for_what_the_record_lacks(project: Path) -> None:
    with serve(rest=silence) as (url, script):
        args = (project, f"--llmc-model={url}", "--llmc-cache=off", "--llmc-record=server.jsonl", "-p", "no:xdist")
        args = (*args, "-k", "twice", "--llmc-temperature=0.5", "--llmc-require=none", "--llmc-resume")
        run(*args, "--llmc-samples=2")
        assert count_requests(script) == 2
        result = run(*args, "--llmc-samples=5")
        assert count_requests(script) == 5
    assert [line["sample"] for line in read_records(project / "server.jsonl")] == [0, 1, 2, 3, 4]
    assert re.search(r"^overall +1 +5 ", result.stdout, re.M), result.stdout
    assert read_records(project / "server.jsonl")[0]["settings"]["temperature"] == 0.5
