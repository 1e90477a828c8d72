"""Records as a typed object: reading, counting, comparing, tables."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_records import asserts, cost, made, made_samples, write

from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.report.passk import pass_at_k
from pytest_llmcompiler.results import Results, ResultsError

FAULTS = Path(__file__).parents[1] / "faults" / "git_lfs.jsonl"


# -- reading


def test_files_are_parts_of_one_run(tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl", made_samples("f", "pass crash"))
    second = write(tmp_path / "second.jsonl", [*made_samples("g", "hang"), made("f", 2, "pass")])
    results = Results.read([first, str(second)])
    assert [(record["function"], record["sample"]) for record in results] == [("f", 0), ("f", 1), ("g", 0), ("f", 2)]
    assert (len(results), results.name) == (4, "first, second")
    assert repr(results) == "<Results 'first, second': 4 samples of 2 items>"
    assert results.verdicts == {"pass": 2, "crash": 1, "hang": 1}
    assert Results.read(tmp_path.glob("f*.jsonl")).name == "first"


def test_of_a_sample_that_comes_twice_the_last_one_counts(tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl", [*made_samples("f", "crash crash"), made("f", 0, "hang")])
    second = write(tmp_path / "second.jsonl", [made("f", 1, "pass")])
    assert Results.read([first, second]).verdicts == {"pass": 1, "hang": 1}
    assert Results.read([second, first]).verdicts == {"crash": 1, "hang": 1}


def test_damaged_lines_are_named_with_file_and_line(tmp_path: Path) -> None:
    good = made("f", 0, "pass")
    first = tmp_path / "first.jsonl"
    first.write_text(json.dumps(good) + "\n\n{oops\n" + json.dumps(good | {"detail": {"inputs": "ten"}}) + "\n")
    second = write(tmp_path / "second.jsonl", [made("f", 1, "crash")], "[1]\n" + json.dumps(good)[:40])
    with pytest.raises(ResultsError) as error:
        Results.read([first, second])
    lines = str(error.value).splitlines()
    assert lines[0].startswith(f"{first}:3: not JSON: ")
    assert lines[1:] == [
        f"{first}:4: 'detail.inputs' must be a whole number from 0, not 'ten'",
        f"{second}:2: a record is a JSON object",
        "Results.read(…, skip_damaged=True) leaves such lines out",
    ]
    results = Results.read([first, second], skip_damaged=True)
    assert [(line.path, line.line) for line in results.damaged] == [(first, 3), (first, 4), (second, 2)]
    assert len(results) == 2


def test_of_many_damaged_lines_some_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", (), "{}\n" * 25)
    with pytest.raises(ResultsError, match=r"r\.jsonl:10: .*\nand 15 more lines\n") as error:
        Results.read(path)
    assert "jsonl:11:" not in str(error.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"can't read the records .*no\.jsonl: No such file"):
        Results.read(tmp_path / "no.jsonl")


def test_answers_of_two_models_to_one_question_are_no_run(tmp_path: Path) -> None:
    other = {"model": {"backend": "llama.cpp", "name": "other"}}
    first = write(tmp_path / "first.jsonl", made_samples("f", "pass crash"))
    second = write(tmp_path / "second.jsonl", [made("f", 1, "hang") | other])
    message = r"first\.jsonl and .*second\.jsonl both have sample 1 of a\.c::f\[asm-O0\], of different models"
    with pytest.raises(ResultsError, match=message):
        Results.read([first, second])
    third = write(tmp_path / "third.jsonl", [made("g", 1, "hang") | other])
    assert len(Results.read([first, third])) == 3


# -- counting and comparing


def test_pass_at_k_is_the_mean_over_items_with_its_interval() -> None:
    results = Results(
        [*made_samples("f", "pass crash crash pass"), *made_samples("g", "crash crash inconclusive hang")]
    )
    for k in (1, 2, 3):
        mean = results.pass_at_k(k)
        assert mean.value == pytest.approx((pass_at_k(4, 2, k) + pass_at_k(3, 0, k)) / 2)
        assert 0 <= mean.low < mean.value < mean.high <= 1
        assert mean.left_out == 0
    assert results.pass_at_k(4).left_out == 1
    for k in (5, 0, -1):
        with pytest.raises(ResultsError, match=f"pass@{k} is not defined here: no item has more than 4 judged samples"):
            results.pass_at_k(k)


def test_samples_without_a_verdict_count_nowhere() -> None:
    answer_alone = {key: made("f", 1, None)[key] for key in ("case", "function", "task", "passes", "sample", "answer")}
    results = Results([made("f", 0, "pass"), answer_alone, made("g", 0, None)])
    assert (len(results), results.verdicts, len(results.counts)) == (3, {"pass": 1}, 1)
    assert results.pass_at_k().value == 1
    assert results.to_pandas()["verdict"].isna().tolist() == [False, True, True]
    assert repr(results) == "<Results '': 3 samples of 1 items>"


def test_a_part_of_a_run(tmp_path: Path) -> None:
    results = Results([*made_samples("f", "pass crash"), *made_samples("g", "hang")], "all")
    part = results.filter(lambda record: record["function"] == "f")
    assert (part.name, part.verdicts) == ("all", {"pass": 1, "crash": 1})
    assert results.filter(lambda record: False, "none").name == "none"
    with pytest.raises(ResultsError):
        results.filter(lambda record: False).pass_at_k()


def test_two_runs_are_compared_as_the_command_compares_them(tmp_path: Path) -> None:
    samples = {"a": ("crash pass", "pass pass"), "b": ("crash crash", "pass crash"), "c": ("pass hang", "hang hang")}
    paths = [
        write(
            tmp_path / f"{number}.jsonl",
            [each for name in samples for each in made_samples(name, samples[name][number])],
        )
        for number in (0, 1)
    ]
    first, second = map(Results.read, paths)
    comparison = first.compare(second)
    command = [sys.executable, "-m", "pytest_llmcompiler", "compare", *map(str, paths)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{100 * comparison.first:.1f} percent, then {100 * comparison.second:.1f}" in printed
    assert f"interval over functions {100 * comparison.low:+.1f} to {100 * comparison.high:+.1f}" in printed
    assert f"better in {comparison.better} functions, worse in {comparison.worse}" in printed
    assert f"p = {comparison.p_value:.2g}" in printed
    assert (comparison.items, comparison.better, comparison.worse) == (3, 2, 1)
    with pytest.raises(ResultsError, match="no item has judged samples in both runs"):
        first.compare(second.filter(lambda record: False))


def test_runs_of_two_pass_lists_are_paired() -> None:
    runs = [Results(record | {"passes": passes} for record in made_samples("f", "pass")) for passes in ("O0", "O2")]
    assert runs[0].compare(runs[1]).items == 1


def test_speed_and_size_are_means_over_functions() -> None:
    records = [
        made("f", 0, "pass", **cost(100, 40)),
        made("f", 1, "pass", **cost(400, 160)),
        made("g", 0, "pass", **cost(50, 20)),
    ]
    mean = Results(records).cost("speed@O3")
    assert (mean.value, mean.functions) == (pytest.approx(1), 2)  # of 1/2 and 2
    assert mean.low < 1 < mean.high
    assert Results(records).cost("size@O0").value == pytest.approx(2)
    for measure, message in (
        ("speed@O1", "there is no measure 'speed@O1', only speed@O0, "),
        ("size@Oz", "no sample that"),
    ):
        with pytest.raises(ResultsError, match=message):
            Results([made("f", 0, "pass")]).cost(measure)


def test_the_tests_that_came_with_the_cases() -> None:
    records = [made("f", number, verdict, **asserts(holds)) for number, (verdict, holds) in enumerate(OUTCOMES)]
    table = Results([*records, made("g", 0, "crash")]).published
    assert [(row.kind, row.hold, row.fail) for row in table.rows] == [
        ("pass", 1, 1),
        ("crash", 0, 1),
        ("mismatch", 2, 0),
        ("inconclusive", 1, 0),
    ]
    assert (table.samples, table.hold, table.refused) == (6, 4, 2)


OUTCOMES = [
    ("pass", True),
    ("pass", False),
    ("mismatch", True),
    ("mismatch", True),
    ("crash", False),
    ("inconclusive", True),
]


# -- tables and files


def test_a_table_has_types_and_missing_values(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    records = [made("f", 0, "pass", inputs=9, instructions=12, proved=True, **cost(200, 40), **asserts(True))]
    records.append(made("f", 1, "crash") | {"tokens": {"prompt": None}, "seconds": 1.5})
    table = Results(records).to_pandas()
    assert table["verdict"].tolist() == ["pass", "crash"]
    assert table["verdict"].cat.categories.tolist() == list(KINDS)
    assert (table["verdict"] > "pass").tolist() == [False, True]
    row = table.iloc[0]
    assert [row[name] for name in ("case", "function", "sample", "inputs", "ir_instructions")] == ["a.c", "f", 0, 9, 12]
    assert [row[name] for name in ("proved", "published_hold", "executed", "code_bytes")] == [True, True, 200, 40]
    assert [row[name] for name in ("speed@O0", "speed@O3", "size@O2", "size@Oz")] == [2, 0.5, 1.5, 1]
    assert [str(table[name].dtype) for name in ("sample", "seconds", "proved")] == ["Int64", "Float64", "boolean"]
    assert table["prompt_tokens"].tolist()[1] is pandas.NA
    assert table["seconds"].sum() == 1.5
    assert "answer" not in table and Results(records).to_pandas(answers=True)["answer"][1] == "f: ret # 1"
    assert len(Results([]).to_pandas()) == 0


def test_a_number_that_no_column_holds_is_an_error() -> None:
    pytest.importorskip("pandas")
    with pytest.raises(ResultsError, match="the values of 'seed' don't fit into a column"):
        Results([made("f", 0, "pass") | {"seed": 2**100}]).to_pandas()


def test_the_table_is_that_of_the_export(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    results = Results.read(FAULTS)
    results.export(str(tmp_path / "t.csv"))
    table = results.to_pandas()
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(table.columns)
    assert len(rows) == len(table) == len(results)
    for name in table.columns:
        assert [row[name] for row in rows] == ["" if pandas.isna(value) else str(value) for value in table[name]]


def test_results_are_exported_for_other_harnesses(tmp_path: Path) -> None:
    results = Results([*made_samples("f", "pass crash"), made("g", 0, None)])
    results.export(f"lm-eval:{tmp_path / 'new' / 'r.json'}", ks=(1, 2))
    summary = json.loads((tmp_path / "new" / "r.json").read_text())
    assert summary["results"]["llmcompiler_asm"]["pass@2,judge"] == 1
    assert summary["n-samples"]["llmcompiler_asm"]["original"] == 1
    for file, message in (("t.xls", "expected a file that ends in"), (f"{tmp_path}/new", "expected a file")):
        with pytest.raises(ResultsError, match=re.escape(message)):
            results.export(file)
    with pytest.raises(ResultsError, match="it is a folder"):
        results.export(f"evalplus:{tmp_path}")


@pytest.mark.parametrize("call", ["to_pandas", "plot_pass_at_k"])
def test_without_the_extra_an_error_says_what_to_install(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    results: Any = Results(made_samples("f", "pass"))
    with pytest.raises(ResultsError, match=r"pip install 'pytest-llmcompiler\[plot\]'"):
        getattr(results, call)()


def test_the_module_needs_no_extra_to_be_imported() -> None:
    code = (
        "import sys; import pytest_llmcompiler.results, pytest_llmcompiler.results.figures; "
        "print([name for name in ('pandas', 'matplotlib', 'numpy', 'pytest') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
