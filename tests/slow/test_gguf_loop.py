"""A session with a real GGUF file: a model with random weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from random_gguf import write_random_gguf

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

ROOT = Path(__file__).parents[2]
SAMPLES = 3


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_gguf(tmp_path_factory.mktemp("model") / "random.gguf", context=8192)


def command(gguf: Path, record: Path, *args: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "pytest",
        "cases/bits.c",
        f"--llmc-model={gguf}",
        f"--llmc-record={record}",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--llmc-max-tokens=64",
        *args,
    ]


def surroundings() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}


def pytest_on(gguf: Path, record: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(gguf, record, *args), cwd=ROOT, env=surroundings(), capture_output=True, text=True, timeout=300
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_sample_gets_a_verdict_and_the_session_lives(gguf: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    done = pytest_on(gguf, record, f"--llmc-samples={SAMPLES}", "--llmc-pass-k=1,3")
    output = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, output[-4000:]
    assert "10 failed in" in done.stdout, output[-4000:]
    run_records = lines_of(record)
    counts = Counter((line["function"], line["passes"]) for line in run_records)
    assert len(counts) == 10 and set(counts.values()) == {SAMPLES}
    assert {line["verdict"] for line in run_records} <= {"no-answer", "truncated", "assemble", "link"}
    assert {line["model"]["backend"] for line in run_records} == {"llama.cpp"}
    for line in run_records:
        assert line["tokens"]["prompt"] > 100 and 0 < line["tokens"]["answer"] <= 64
        assert line["stop"] in ("eos", "stop", "length")
    [overall] = [line for line in done.stdout.splitlines() if line.startswith("overall") and "(" in line]
    assert overall.split()[:4] == ["overall", "10", "30", "0.0"] and overall.count("0.0 (0-") == 2


def test_what_was_recorded_is_found_again(gguf: Path, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{number}.jsonl" for number in range(3))
    pytest_on(gguf, first, "--llmc-samples=2", "-k", "average or count_ones")
    # The answers depend on the seed alone, not on which questions are asked.
    pytest_on(gguf, second, "--llmc-samples=2", "-k", "count_ones")
    answers = {(line["function"], line["sample"]): line["answer"] for line in lines_of(first)}
    assert {(line["function"], line["sample"]): line["answer"] for line in lines_of(second)} == {
        key: answer for key, answer in answers.items() if key[0] == "count_ones"
    }
    pytest_on(Path(f"replay:{first}"), third, "--llmc-samples=2", "-k", "average or count_ones")
    assert [(line["answer"], line["verdict"]) for line in lines_of(third)] == [
        (line["answer"], line["verdict"]) for line in lines_of(first)
    ]


def test_a_prompt_over_the_context_is_skipped_with_its_token_counts(gguf: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    done = pytest_on(gguf, record, "--llmc-n-ctx=512", "-rs", "-k", "average")
    assert done.returncode == 0 and "1 skipped" in done.stdout, done.stdout[-3000:]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert "the model's context only 512" in line and "--llmc-n-ctx" in line
    assert not record.exists() or not lines_of(record)


def test_a_killed_session_leaves_a_readable_record(gguf: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(
        command(gguf, record, "--llmc-samples=20"), cwd=ROOT, env=surroundings(), stdout=log, stderr=log
    )
    try:
        deadline = time.monotonic() + 120
        while (not record.exists() or record.read_bytes().count(b"\n") < 5) and time.monotonic() < deadline:
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(30)
        log.close()
    whole = record.read_bytes().rpartition(b"\n")[0].splitlines()
    assert 5 <= len(whole) < 200
    assert all(json.loads(line)["verdict"] for line in whole)
    # Another session goes on where the first one was cut off, and the record replays.
    with record.open("ab") as file:
        file.write(b'{"schema": 1, "case": "bits.c", "fun')
    pytest_on(gguf, record, "--llmc-samples=1", "-k", "average")
    run_records = lines_of(record)
    assert run_records[-1]["function"] == "average" and len(run_records) == len(whole) + 1
    done = pytest_on(Path(f"replay:{record}"), tmp_path / "again.jsonl", "--llmc-samples=5")
    assert "error" not in done.stdout.splitlines()[-1], done.stdout[-3000:]
    assert len(lines_of(tmp_path / "again.jsonl")) >= 5
