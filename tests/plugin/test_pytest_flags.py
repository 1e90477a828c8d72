"""The plugin beside flags and reports of pytest itself."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from sessions import (
    LOW,
    TWICE,
    WRONG,
    replay,
    run,
    text_of,
)

from pytest_llmcompiler.plugin import pytest_html_results_table_html


def test_verbose_select_and_stop(project: pytest.Pytester) -> None:
    model = replay(project, ("twice", WRONG), ("low", LOW))
    result = run(project, model, "-v")
    result.stdout.fnmatch_lines(["cases/a.c::twice[[]asm-O0[]] FAILED*", "cases/a.c::low[[]asm-O0[]] PASSED*"])
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    run(project, model, "-k", "low").assert_outcomes(passed=1, deselected=1)
    run(project, model, "-x").assert_outcomes(failed=1)


def test_last_failed(project: pytest.Pytester) -> None:
    model = replay(project, ("twice", WRONG), ("low", LOW))
    run(project, model).assert_outcomes(passed=1, failed=1)
    run(project, model, "--lf").assert_outcomes(failed=1)
    replay(project, ("twice", TWICE), ("low", LOW))
    run(project, model, "--lf").assert_outcomes(passed=1)


def test_collecting_opens_no_model(project: pytest.Pytester) -> None:
    result = run(project, "--collect-only", "-q", "--llmc-model=http://127.0.0.1:9/v1")
    assert result.ret == 0
    assert result.outlines[:2] == ["cases/a.c::twice[asm-O0]", "cases/a.c::low[asm-O0]"]


def test_junit(project: pytest.Pytester) -> None:
    run(project, replay(project, WRONG, TWICE), "--llmc-samples=2", "--junitxml=out.xml", "-k", "twice")
    [case] = ElementTree.parse(project.path / "out.xml").iter("testcase")
    assert (case.get("classname"), case.get("name")) == ("cases.a.c", "twice[asm-O0]")
    [noted] = [member for member in case.iter("property") if member.get("name") == "llmc_verdicts"]
    assert noted.get("value") == "mismatch,pass"


def test_pytest_html_is_given_the_verdicts() -> None:
    fields: dict[str, Any] = {"nodeid": "a", "location": ("a.c", 0, "f"), "keywords": {}, "when": "call"}
    for properties, shown in (([("llmc_verdicts", "pass,hang")], ["pass,hang\n", "log"]), ([("other", 1)], ["log"])):
        data = ["log"]
        report = pytest.TestReport(**fields, outcome="passed", longrepr=None, user_properties=properties)
        pytest_html_results_table_html(report, data)
        assert data == shown


def test_junit_of_a_failure_holds_the_evidence(project: pytest.Pytester) -> None:
    # XML knows no control characters: those of an answer must not spoil the file.
    run(project, replay(project, WRONG + "# \x01\x1b[31m \ufffe\n"), "--junitxml=out.xml", "-k", "twice")
    [failure] = ElementTree.parse(project.path / "out.xml").iter("failure")
    assert failure.text is not None


def test_quiet(project: pytest.Pytester) -> None:
    result = run(project, replay(project, ("twice", TWICE), ("low", LOW)), "-q")
    assert not any(line.startswith("llmc:") for line in result.outlines)
    assert "INTERNALERROR" not in text_of(result)
    result.assert_outcomes(passed=2)
