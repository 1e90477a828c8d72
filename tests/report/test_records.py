from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.answer import Answer, Prompt
from pytest_llmcompiler.model.replay import ReplayModel, read_records
from pytest_llmcompiler.report.records import Recorder, build_record

PROMPT = Prompt(
    case="git_lfs.c",
    function="f",
    task="asm",
    passes="O0",
    template="meta",
    text="the prompt",
    reference=lambda: "",
    digest="0123abcd",
)
ANSWER = Answer("f:\n\tret\n", 0, "stop", 11, 7, 1.5, 42)

WRITER = """
import sys
from pathlib import Path
from pytest_llmcompiler.report.records import Recorder

recorder = Recorder(Path(sys.argv[1]))
number = 0
while number != int(sys.argv[3]):
    answer = chr(97 + number % 26) * int(sys.argv[4])
    recorder.write({"schema": 1, "case": "a.c", "function": sys.argv[2], "task": "asm", "passes": "O0",
                    "sample": number, "answer": answer})
    number += 1
"""


def writer(path: Path, name: str, count: int, size: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count), str(size)])


def small(sample: int = 0, **more: Any) -> dict[str, Any]:
    base = {
        "schema": 1,
        "case": "a.c",
        "function": "f",
        "task": "asm",
        "passes": "O0",
        "sample": sample,
        "answer": "",
    }
    return base | more


def test_a_record_holds_all_that_is_known_of_a_sample(tmp_path: Path) -> None:
    verdict = Verdict("crash", "bad read", ("at line 3",), {"inputs": 9})
    written = build_record(PROMPT, ANSWER, {"backend": "replay", "name": "x"}, verdict, {"seed": 5}, "hang")
    recorder = Recorder(tmp_path / "new" / "r.jsonl")
    recorder.write(written)
    recorder.close()
    assert json.loads((tmp_path / "new" / "r.jsonl").read_text()) == {
        "schema": 1,
        "case": "git_lfs.c",
        "function": "f",
        "task": "asm",
        "passes": "O0",
        "prompt": "meta",
        "question": "0123abcd",
        "sample": 0,
        "answer": "f:\n\tret\n",
        "stop": "stop",
        "tokens": {"prompt": 11, "answer": 7},
        "seconds": 1.5,
        "seed": 42,
        "model": {"backend": "replay", "name": "x"},
        "settings": {"seed": 5},
        "verdict": "crash",
        "previous": "hang",
        "detail": {"message": "bad read", "evidence": ["at line 3"], "inputs": 9},
    }


@pytest.mark.parametrize("text", ["", "\u00e9 \u4e2d \U0001f600", "a\nb\r\n\u2028\x00\x1f", "\ud800 alone"])
def test_what_is_recorded_is_replayed(tmp_path: Path, text: str) -> None:
    answers = [Answer(text, 0, "length", 5, 6, 0.25, 7), Answer(text * 2, 1, "eos", None, None, None, None)]
    recorder = Recorder(tmp_path / "r.jsonl")
    for answer in answers:
        recorder.write(build_record(PROMPT, answer, {}, Verdict("pass"), {}))
    assert list(ReplayModel(tmp_path / "r.jsonl").answers(PROMPT, 5)) == answers


def test_a_killed_writer_loses_at_most_its_last_record(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for attempt in range(8):
        process = writer(path, f"f{attempt}", -1, 300_000)
        before = path.stat().st_size if path.exists() else 0
        deadline = time.monotonic() + 30
        while not path.exists() or path.stat().st_size < before + 1_000_000:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.001 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        samples = [line["sample"] for line in read_records(path) if line["function"] == f"f{attempt}"]
        assert samples == list(range(len(samples))) and len(samples) >= 3
    Recorder(path).write(small())
    assert path.read_bytes().endswith(b"\n")
    assert all(len(set(line["answer"])) <= 1 and len(line["answer"]) in (0, 300_000) for line in read_records(path))


def test_workers_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    workers = [writer(path, name, 60, 20_000) for name in ("f", "g", "h")]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    for name in ("f", "g", "h"):
        assert [line["sample"] for line in read_records(path) if line["function"] == name] == list(range(60))


@pytest.mark.parametrize("cut", [1, 5, 12, 30, -1])
def test_what_a_killed_writer_left_is_taken_away_before_the_next_record(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r.jsonl"
    whole = json.dumps(small(0)).encode() + b"\n"
    path.write_bytes(whole + json.dumps(small(1, answer="x" * 100_000)).encode()[:cut])
    assert [line["sample"] for line in read_records(path)] == [0]
    Recorder(path).write(small(2))
    assert [line["sample"] for line in read_records(path)] == [0, 2]
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("end", [json.dumps(small(1)), "notes of mine"])
def test_nothing_else_is_taken_away(tmp_path: Path, end: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(end)
    Recorder(path).write(small(2))
    assert path.read_text() == f"{end}\n{json.dumps(small(2))}\n"


def test_two_recorders_of_one_process_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    first, second = Recorder(path), Recorder(path)
    first.write(small(0))
    second.write(small(1))
    first.close()
    second.write(small(2))
    second.close()
    assert [line["sample"] for line in read_records(path)] == [0, 1, 2]


def test_a_place_that_cant_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Recorder(tmp_path / "file" / "r.jsonl")
