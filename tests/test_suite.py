"""The suite of this repository, with answers that are known to be right: nothing else than `pass` will do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gcc_answers
import pytest

ROOT = Path(__file__).parent.parent
CASES = ROOT / "cases"


def run_suite(folder: Path, *args: str) -> list[dict[str, Any]]:
    """Run pytest over the suite in a process of its own; the records of all samples. Fails where anything failed."""
    record = folder / "record.jsonl"
    command = [sys.executable, "-m", "pytest", "cases", "-q", "-rfEs", "-p", "no:cacheprovider", "--tb=short", *args]
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
        command += ["-n", "2", "--dist", "loadfile"]
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, f"--llmc-record={record}"], cwd=ROOT, env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    return [json.loads(line) for line in record.read_text().splitlines()]


def verdicts(records: list[dict[str, Any]]) -> Counter[str]:
    return Counter(record["verdict"] for record in records)


def functions(records: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(record["case"], record["function"]) for record in records}


@pytest.fixture(scope="module")
def reference_records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    passes = "--llmc-passes=O0,O1,O2,O3"
    return run_suite(tmp_path_factory.mktemp("reference"), "--llmc-model=reference", passes)


def test_the_suite_is_as_large_as_it_is_said_to_be(reference_records: list[dict[str, Any]]) -> None:
    found = functions(reference_records)
    files = {case for case, _ in found}
    assert {("git_lfs.c", name) for name in ("consume_line", "copy_64_hex", "validate", "parse_diff")} <= found
    assert len([one for one in found if one[0] != "git_lfs.c"]) >= 25
    assert len(files) >= 11 and len([name for name in files if name.endswith(".ll")]) >= 2
    assert files == {path.relative_to(CASES).as_posix() for path in CASES.rglob("*.*") if path.suffix in (".c", ".ll")}


def test_the_reference_s_own_code_passes_at_every_level(reference_records: list[dict[str, Any]]) -> None:
    assert set(verdicts(reference_records)) == {"pass"}
    levels = Counter(record["passes"] for record in reference_records)
    assert set(levels) == {"O0", "O1", "O2", "O3"} and len(set(levels.values())) == 1
    assert len(functions(reference_records)) == levels["O0"]


def test_every_function_is_judged_on_many_inputs(reference_records: list[dict[str, Any]]) -> None:
    """A function without arguments has one input only; whoever takes any has to be held to more."""
    few = {
        (record["case"], record["function"]): record["detail"]["inputs"]
        for record in reference_records
        if record["detail"]["inputs"] < 20
    }
    assert not few


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_gcc_s_code_passes(tmp_path: Path, reference_records: list[dict[str, Any]]) -> None:
    kinds = [("O2", False), ("O2", True), ("O0", False), ("Os", True)]
    made = [
        record | {"sample": sample}
        for sample, (level, intel) in enumerate(kinds)
        for record in gcc_answers.records(CASES, level=level, intel=intel)
    ]
    answers = tmp_path / "gcc.jsonl"
    gcc_answers.write(answers, iter(made))
    ignored = [f"--ignore={path.relative_to(ROOT)}" for path in sorted(CASES.rglob("*.ll"))]
    args = [f"--llmc-model=replay:{answers}", f"--llmc-samples={len(kinds)}", "--llmc-require=all"]
    records = run_suite(tmp_path, *args, *ignored)
    assert verdicts(records) == {"pass": len(made)}
    assert functions(records) == {one for one in functions(reference_records) if one[0].endswith(".c")}
