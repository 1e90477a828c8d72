"""A model and a prompt template of the user's own, and a record without an answer."""

from __future__ import annotations

import re

import pytest
from sessions import (
    LOW,
    PROMPT_MODEL,
    TWICE,
    WRONG,
    assert_no_traceback,
    put,
    records,
    replay,
    run,
    text_of,
)


def test_a_fixture_of_the_user_is_the_model(project: pytest.Pytester) -> None:
    project.makeconftest(
        f"""
        import pytest
        from pytest_llmcompiler.model.answer import Answer

        class Mine:
            def describe(self):
                return {{"backend": "mine", "name": "me"}}

            def answers(self, prompt, samples):
                for sample in range(samples):
                    yield Answer({{"twice": {WRONG!r}, "low": {LOW!r}}}[prompt.function], sample)

            def close(self):
                pass

        @pytest.fixture(scope="session")
        def llmc_model():
            print("one model")
            return Mine()
        """
    )
    result = run(project, "--llmc-record=out.jsonl", "--llmc-samples=2", "--llmc-report=page.html", "-s")
    result.assert_outcomes(passed=1, failed=1)
    assert text_of(result).count("one model") == 1
    assert "2 mismatch" in (project.path / "page.html").read_text()
    assert [line["verdict"] for line in records(project.path / "out.jsonl")] == ["mismatch", "mismatch", "pass", "pass"]
    assert {line["model"]["name"] for line in records(project.path / "out.jsonl")} == {"me"}


def test_a_prompt_template_of_the_user(project: pytest.Pytester) -> None:
    project.makeconftest(PROMPT_MODEL)
    put(project, "mine.txt", "{passes} of {function} {{{ir_count} {bin_size}}}:\n{ir}\n")
    result = run(project, "--llmc-prompt=mine.txt", "-s", "-k", "twice", "--llmc-record=out.jsonl")
    result.assert_outcomes(passed=1, deselected=1)
    [line] = [line for line in result.outlines if "PROMPT" in line]
    assert re.search(r"O0 of twice \{\d+ \d+\}:\\n", line)
    assert "define i32 @twice" in line and "@low" not in line
    assert records(project.path / "out.jsonl")[0]["prompt"] == "mine.txt"


def test_a_prompt_does_not_depend_on_where_the_project_lies(project: pytest.Pytester) -> None:
    project.makeconftest(PROMPT_MODEL)
    [line] = [line for line in run(project, "-s", "-k", "twice").outlines if "PROMPT" in line]
    assert str(project.path) not in line


def test_a_prompt_template_with_a_fault(project: pytest.Pytester) -> None:
    put(project, "mine.txt", "{ir}\nby {author}\n")
    for extra in ([], ["-q"], ["--collect-only"]):
        result = run(project, "--llmc-prompt=mine.txt", "--llmc-model=reference", *extra)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *mine.txt:2: unknown field {author}*"])
        assert_no_traceback(result)


def test_a_replay_without_an_answer_skips_the_item(project: pytest.Pytester) -> None:
    result = run(project, replay(project, TWICE), "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*answers.jsonl*no answer*low*"])
