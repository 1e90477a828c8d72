"""Records in the formats of other harnesses."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_llmcompiler.report.export import ExportFile, export, parse_export
from pytest_llmcompiler.report.passk import count_samples, estimate


def record(function: str, sample: int, verdict: str | None, **more: Any) -> dict[str, Any]:
    return {
        "case": "a.c",
        "function": function,
        "task": "asm",
        "passes": "O0",
        "sample": sample,
        "answer": f"{function}:\n\tret # {sample}\n",
        "question": function.encode().hex().rjust(64, "0"),
        "model": {"backend": "replay", "name": "models/mine"},
        "settings": {"prompt": "meta", "temperature": 0.8, "max_tokens": 99, "seed": 7},
        "verdict": verdict,
        "detail": {"message": "", "evidence": [], **more},
    }


def asserts(holds: bool, message: str = "") -> dict[str, Any]:
    return {"published": {"tests": "asserts", "holds": holds, "message": message}}


def written(
    path: Path, records: Sequence[dict[str, Any]], format_name: str, ks: Sequence[int] = (1,)
) -> dict[str, Any]:
    export(records, parse_export(f"{format_name}:{path / 'out.json'}"), ks)  # type: ignore[arg-type]
    result: dict[str, Any] = json.loads((path / "out.json").read_text())
    return result


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("t.csv", ("csv", "t.csv")),
        ("a/t.parquet", ("parquet", "a/t.parquet")),
        ("evalplus:x_eval_results.json", ("evalplus", "x_eval_results.json")),
        ("lm-eval:t.csv", ("lm-eval", "t.csv")),
    ],
)
def test_an_ending_or_a_name_says_the_format(text: str, file: tuple[str, str]) -> None:
    assert parse_export(text) == (file[0], Path(file[1]))


@pytest.mark.parametrize("text", ["t.xls", "evalplus:", "evalplus", "lm_eval:t.json", "csv:t.json", ""])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"ends in \.csv or \.parquet, or evalplus:FILE\.json or lm-eval:FILE\.json"):
        parse_export(text)


def test_statuses_for_evalplus(tmp_path: Path) -> None:
    records = [
        record("f", 1, "mismatch", input=["x = 1"], **asserts(True)),
        record("f", 0, "pass", **asserts(True)),
        record("f", 2, "hang", **asserts(False, "f(3) == 4")),
        record("g", 0, "pass"),
        record("g", 1, "hang"),
        record("g", 2, "abi", input=["y = 2", "z = 3"]),
    ]
    result = written(tmp_path, records, "evalplus")
    tasks = result["eval"]
    assert list(tasks) == ["a.c::f[asm-O0]", "a.c::g[asm-O0]"]
    statuses = {task: [(each["base_status"], each["plus_status"]) for each in tasks[task]] for task in tasks}
    assert statuses == {
        "a.c::f[asm-O0]": [("pass", "pass"), ("pass", "fail"), ("fail", "timeout")],
        "a.c::g[asm-O0]": [("pass", "pass"), ("timeout", "timeout"), ("fail", "fail")],
    }
    second = tasks["a.c::f[asm-O0]"][1]
    assert second["solution"] == records[0]["answer"]
    assert (second["base_fail_tests"], second["plus_fail_tests"]) == ([], [["x = 1"]])
    assert tasks["a.c::f[asm-O0]"][2]["base_fail_tests"] == ["f(3) == 4"]
    assert tasks["a.c::g[asm-O0]"][2]["base_fail_tests"] == [["y = 2", "z = 3"]]
    assert {each["task_id"] for each in tasks["a.c::g[asm-O0]"]} == {"a.c::g[asm-O0]"}
    assert result["pass_at_k"] == {"base": {"pass@1": 0.5}, "plus": {"pass@1": pytest.approx(1 / 3)}}


def test_pass_at_k_for_evalplus_is_that_of_its_own_definition(tmp_path: Path) -> None:
    """EvalPlus: 1 - (1 - k/(n-c+1)) · … · (1 - k/n), the mean over tasks, where every task has at least k samples."""
    records = [record("f", number, "pass" if number < 3 else "crash") for number in range(12)]
    records += [record("g", number, "pass" if number < 1 else "crash", **asserts(number == 1)) for number in range(10)]
    result = written(tmp_path, records, "evalplus")["pass_at_k"]

    def mean(k: int, counts: Sequence[tuple[int, int]]) -> float:
        total = 0.0
        for n, c in counts:
            fail = 1.0
            for i in range(n - c + 1, n + 1):
                fail *= 1 - k / i
            total += 1 - (fail if n - c >= k else 0)
        return total / len(counts)

    for suite, counts in (("base", [(12, 3), (10, 1)]), ("plus", [(12, 3), (10, 0)])):
        assert result[suite] == {f"pass@{k}": pytest.approx(mean(k, counts)) for k in (1, 10)}


def test_what_cant_be_judged_is_left_out_for_evalplus(tmp_path: Path) -> None:
    records = [
        record("f", 0, "inconclusive"),
        record("f", 1, "pass"),
        record("f", 2, None),
        record("g", 0, "inconclusive"),
        record("h", 0, "pass"),
        record("h", 0, "inconclusive"),
        record("i", 0, "inconclusive"),
        record("i", 0, "pass"),
    ]
    result = written(tmp_path, records, "evalplus")
    assert {task: len(samples) for task, samples in result["eval"].items()} == {
        "a.c::f[asm-O0]": 1,
        "a.c::i[asm-O0]": 1,
    }
    assert result["left_out"] == {"a.c::f[asm-O0]": 2, "a.c::g[asm-O0]": 1, "a.c::h[asm-O0]": 1}
    assert written(tmp_path, [], "evalplus")["pass_at_k"] == {"base": {}, "plus": {}}


def test_the_hash_for_evalplus_is_that_of_the_questions(tmp_path: Path) -> None:
    records = [record("f", 0, "pass"), record("g", 0, "crash")]
    first = written(tmp_path, records, "evalplus")["hash"]
    assert written(tmp_path, [record("g", 0, "pass"), record("f", 0, "crash")], "evalplus")["hash"] == first
    assert written(tmp_path, [records[0], records[1] | {"question": "0" * 64}], "evalplus")["hash"] != first


def test_a_summary_for_lm_eval(tmp_path: Path) -> None:
    records = [record("f", number, "pass" if number < 3 else "crash") for number in range(4)]
    records += [record("g", number, "inconclusive" if number else "crash") for number in range(4)]
    records += [record("f", 0, "pass") | {"task": "ir"}]
    result = written(tmp_path, records, "lm-eval", (1, 3))
    mean = estimate(count_samples(records[:8]), 1)  # type: ignore[arg-type]
    assert mean and mean.standard_error
    assert result["results"]["llmcompiler_asm"] == {
        "alias": "llmcompiler_asm",
        "pass@1,judge": mean.value,
        "pass@1_stderr,judge": mean.standard_error,
        "pass@3,judge": 1.0,
        "pass@3_stderr,judge": "N/A",
        "inconclusive,judge": 0.375,
    }
    assert mean.value == pytest.approx((0.75 + 0) / 2)
    assert mean.standard_error == pytest.approx(0.375)  # of two values 0.75 apart: half their difference
    assert result["results"]["llmcompiler_ir"]["pass@1,judge"] == 1
    assert result["n-samples"]["llmcompiler_asm"] == {"original": 2, "effective": 2}
    assert result["configs"]["llmcompiler_asm"]["repeats"] == 4
    assert result["configs"]["llmcompiler_asm"]["generation_kwargs"] == {"temperature": 0.8, "max_gen_toks": 99}
    assert result["config"]["model_args"] == {"backend": "replay", "name": "models/mine"}
    assert result["model_name_sanitized"] == "models__mine"
    for name in ("group_subtasks", "versions", "n-shot", "higher_is_better"):
        assert result[name].keys() == {"llmcompiler_asm", "llmcompiler_ir"}


def test_prompts_are_tasks_of_their_own_for_lm_eval(tmp_path: Path) -> None:
    settings = {"settings": {"prompt": "meta,mine.j2"}}
    records = [record("f", 0, "pass") | settings | {"prompt": name} for name in ("meta", "mine.j2")]
    assert list(written(tmp_path, records, "lm-eval")["results"]) == ["llmcompiler_asm-meta", "llmcompiler_asm-mine"]


def test_an_export_without_records_is_an_empty_summary(tmp_path: Path) -> None:
    result = written(tmp_path, [], "lm-eval")
    assert (result["results"], result["n-samples"]) == ({}, {})


def test_tables_have_costs_as_ratios(tmp_path: Path) -> None:
    levels = {
        level: {"instructions": 100 * (4 - n), "bytes": 40 - n} for n, level in enumerate(("O0", "O2", "O3", "Oz"))
    }
    cost = {"cost": {"instructions": 200, "bytes": 0, "references": levels}}
    export([record("f", 0, "pass", **cost), record("f", 1, "crash")], ExportFile("csv", tmp_path / "t.csv"))  # type: ignore[list-item]
    header, first, second = [line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines()]
    row = dict(zip(header, first))
    assert [row[f"speed@{level}"] for level in ("O0", "O2", "O3", "Oz")] == ["2.0", "1.5", "1.0", "0.5"]
    assert row["executed"] == "200"
    assert row["size@O0"] == ""  # no code: no ratio
    assert dict(zip(header, second))["speed@O0"] == ""


def test_cells_of_csv_are_no_formulas(tmp_path: Path) -> None:
    """Records are read from files of others, whose names may be formulas, or hold what a terminal acts on."""
    formula = '=HYPERLINK("http://x","y")'
    one = record(formula, 0, "pass") | {"case": "+a\x1b[2J.c", "seconds": -1.5, "model": {"name": "@x"}}
    export([one], parse_export(str(tmp_path / "t.csv")))
    with (tmp_path / "t.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["function"], row["case"], row["model"]) == (f"'{formula}", "'+a\\x1b[2J.c", "'@x")
    assert (row["verdict"], row["seconds"]) == ("pass", "-1.5")
