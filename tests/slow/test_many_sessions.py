"""Tests that run several sessions of pytest each."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from servers import MODELS, completion, send, serve
from sessions import (
    CASE,
    TWICE,
    VEX,
    WRONG,
    put,
    records,
    replay,
    run,
)


def test_a_file_elsewhere_is_a_case_where_it_is_named_and_a_model_given(project: pytest.Pytester) -> None:
    put(project, "src/b.c", CASE)
    result = run(project, "src/b.c", "--llmc-model=reference", "--collect-only", "-q")
    assert result.outlines[:2] == ["src/b.c::twice[asm-O0]", "src/b.c::low[asm-O0]"]
    result = run(project, "src/b.c::low", "--llmc-model=reference", "-v")
    result.stdout.fnmatch_lines(["src/b.c::low[[]asm-O0[]] PASSED*"])
    result.assert_outcomes(passed=1)
    run(project, "src", "--llmc-model=reference").assert_outcomes()
    # Without a model pytest says of such a file what it says of any that no plugin knows.
    assert run(project, "src/b.c").ret != 0


def last_words(handler: BaseHTTPRequestHandler) -> None:
    """Answer, and close the server's door."""
    send(handler, completion(TWICE))
    handler.server.socket.close()
    threading.Thread(target=handler.server.shutdown).start()


def test_a_server_that_goes_down_is_an_error_and_no_failure(project: pytest.Pytester) -> None:
    with serve(MODELS, last_words) as (url, _):
        result = run(project, f"--llmc-model={url}", "--llmc-record=out.jsonl", "-v")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["cases/a.c::twice[[]asm-O0[]] PASSED*", "cases/a.c::low[[]asm-O0[]] ERROR*"])
    result.stdout.fnmatch_lines(["*no server listens at http://127.0.0.1:*"])
    assert [line["verdict"] for line in records(project.path / "out.jsonl")] == ["pass"]
    assert len(result.outlines) < 100, "the message drowns in pytest's own frames"


@pytest.mark.parametrize(
    ("require", "passing"),
    [
        ("any", {"one", "half", "all", "vex", "vexed"}),
        ("all", {"all", "vex"}),
        ("0.5", {"half", "all", "vex", "vexed"}),
    ],
)
def test_how_many_samples_must_pass(project: pytest.Pytester, require: str, passing: set[str]) -> None:
    answers = {
        "none": [WRONG, WRONG, WRONG, WRONG],
        "one": [WRONG, TWICE, WRONG, WRONG],
        "half": [WRONG, TWICE, WRONG, TWICE],
        "all": [TWICE, TWICE, TWICE, TWICE],
        # Inconclusive samples count neither way.
        "vex": [TWICE, VEX, VEX, TWICE],
        "vexed": [TWICE, VEX, VEX, WRONG],
        "lost": [VEX, VEX, VEX, VEX],
    }
    (project.path / "cases/a.c").unlink()
    lines = []
    for name, texts in answers.items():
        put(project, f"cases/{name}.c", CASE)
        replay(project, *texts, case=f"{name}.c")
        lines.append((project.path / "answers.jsonl").read_text())
    put(project, "answers.jsonl", "".join(lines))
    result = run(
        project,
        "--llmc-model=replay:answers.jsonl",
        "--llmc-samples=4",
        f"--llmc-require={require}",
        "-k",
        "twice",
        "-v",
    )
    outcomes = dict(re.findall(r"^cases/(\w+)\.c::twice\S+ (\w+)", "\n".join(result.outlines), re.MULTILINE))
    assert {name for name, outcome in outcomes.items() if outcome == "PASSED"} == passing
    assert {name for name, outcome in outcomes.items() if outcome == "FAILED"} == {*answers} - passing - {"lost"}
    assert outcomes["lost"] == "SKIPPED"
