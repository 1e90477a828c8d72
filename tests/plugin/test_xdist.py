"""The plugin under pytest-xdist: the same verdicts, one table, one whole record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sessions import LOW, TWICE, VEX, WRONG, put, records, replay, text_of

pytest.importorskip("xdist", reason="pytest-xdist is not installed")

SAMPLES = ("--llmc-samples=3", "--llmc-pass-k=1,2", "--llmc-examples=10", "-v")


def answer_everything(project: pytest.Pytester) -> str:
    """Four files of two functions, with answers of every kind."""
    answers = {"a.c": [TWICE, WRONG, VEX], "b.c": [TWICE] * 3, "c.c": [VEX] * 3, "sub/d.c": ["prose", WRONG, ""]}
    lines = []
    for case, texts in answers.items():
        put(project, f"cases/{case}", (project.path / "cases/a.c").read_text())
        for sample, text in enumerate(texts):
            for function, answer in (("twice", text), ("low", LOW)):
                question = {"case": case, "function": function, "task": "asm", "passes": "O0"}
                lines.append(json.dumps({**question, "sample": sample, "answer": answer}))
    put(project, "answers.jsonl", "\n".join(lines) + "\n")
    return "--llmc-model=replay:answers.jsonl"


def read_samples(path: Path) -> list[tuple[Any, ...]]:
    return sorted(
        (line["case"], line["function"], line["sample"], line["verdict"], line["answer"]) for line in records(path)
    )


def table(result: pytest.RunResult) -> list[str]:
    [start] = [number for number, line in enumerate(result.outlines) if "language model as compiler" in line]
    rest = result.outlines[start:]
    return rest[: next(number for number, line in enumerate(rest) if number and line.startswith("==="))]


def test_two_workers_find_what_one_process_finds(project: pytest.Pytester) -> None:
    model = answer_everything(project)
    project.makeconftest(
        """
        from pathlib import Path
        from pytest_llmcompiler.plugin import EVALUATION

        def pytest_collection_finish(session):
            if hasattr(session.config, "workerinput"):
                name = f"jobs-{session.config.workerinput['workerid']}"
                Path(session.config.rootpath, name).write_text(str(session.config.stash[EVALUATION].session.jobs))
        """
    )
    alone = project.runpytest_subprocess(model, "--llmc-record=alone.jsonl", "-p", "no:xdist", *SAMPLES)
    both = project.runpytest_subprocess(model, "--llmc-record=both.jsonl", "-n", "2", "--llmc-jobs=5", *SAMPLES)
    outcomes = {"passed": 6, "failed": 1, "skipped": 1}
    alone.assert_outcomes(**outcomes)
    both.assert_outcomes(**outcomes)
    assert len(read_samples(project.path / "alone.jsonl")) == 24
    assert read_samples(project.path / "both.jsonl") == read_samples(project.path / "alone.jsonl")
    assert table(both) == table(alone)
    assert "INTERNALERROR" not in text_of(both)
    both.stdout.fnmatch_lines(["llmc: judge up to 4 workers, each keeps *"])
    assert {path.read_text() for path in project.path.glob("jobs-*")} == {"2"}, "each process has half, rounded down"


def test_a_failure_shows_its_evidence(project: pytest.Pytester) -> None:
    model = replay(project, ("twice", WRONG), ("low", LOW))
    result = project.runpytest_subprocess(model, "-n", "2", "--llmc-examples=10", "--junitxml=out.xml")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["mismatch: return value: expected *, observed *", "  input     x = *"])
    assert (project.path / "out.xml").read_text().count('name="llmc_verdicts"') == 2


def test_a_file_elsewhere_that_is_named(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    put(project, "src/b.c", (project.path / "cases/a.c").read_text())
    (project.path / "src/deep").mkdir()
    monkeypatch.chdir(project.path / "src/deep")
    result = project.runpytest_subprocess("../b.c", "--llmc-model=reference", "-n", "2", "--llmc-examples=10")
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("option", ["--llmc-model=missing.gguf", "--llmc-model=gpt", "--llmc-prompt=nowhere.txt"])
def test_a_model_or_prompt_that_is_not_there_is_a_usage_error(project: pytest.Pytester, option: str) -> None:
    result = project.runpytest_subprocess("--llmc-model=reference", option, "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "INTERNALERROR" not in text_of(result) and "Traceback" not in text_of(result)


def test_a_directive_with_a_fault(project: pytest.Pytester) -> None:
    put(project, "cases/bad.c", "// LLMC: pases O0\nint f(void) { return 1; }\n")
    result = project.runpytest_subprocess("--llmc-model=reference", "-n", "2")
    result.stdout.fnmatch_lines(["*cases/bad.c:1: unknown directive*"])
    assert "INTERNALERROR" not in text_of(result)
