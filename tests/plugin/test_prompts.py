"""Several prompts in a session, prompts that show C, and runs beside each other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sessions import CASE, LOW, PROMPT_MODEL, TWICE, WRONG, put, records, run, text_of

from pytest_llmcompiler.model.answer import QuestionKey
from pytest_llmcompiler.model.prompt import Template
from pytest_llmcompiler.report.comparison import RecordedRun, compare_runs
from pytest_llmcompiler.report.passk import SampleCounts

TWO_PROMPTS = f"""
import pytest
from pytest_llmcompiler.model.answer import Answer

class Mine:
    def describe(self):
        return {{"backend": "mine", "name": "me"}}

    def answers(self, prompt, samples):
        right = {{"twice": {TWICE!r}, "low": {LOW!r}}}[prompt.function]
        counts = "instruction count" in prompt.text
        for sample in range(samples):
            yield Answer(right if counts or prompt.function == "low" else {WRONG!r}, sample)

    def close(self):
        pass

@pytest.fixture(scope="session")
def llmc_model():
    return Mine()
"""


def test_two_prompts_are_asked_and_compared(project: pytest.Pytester) -> None:
    project.makeconftest(TWO_PROMPTS)
    flags = ("--llmc-prompt=meta,meta-without-counts", "--llmc-record=out.jsonl", "-v")
    result = run(project, *flags)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines_random(
        [
            "*::twice[[]asm-O0-meta[]] PASSED*",
            "*::twice[[]asm-O0-meta-without-counts[]] FAILED*",
            "by prompt",
            "meta-without-counts against meta, over 2 items of 2 functions that both have judged",
            "  pass@1  100.0 percent, then 50.0: -50.0 points*",
            "  better in 0 functions, worse in 1, equal in 1: exact McNemar p = 1",
            "  samples: pass 2, then 1; mismatch 0, then 1",
        ]
    )
    assert {line["prompt"] for line in records(project.path / "out.jsonl")} == {"meta", "meta-without-counts"}
    run(project, *flags, "--llmc-resume", "-k", "twice").assert_outcomes(passed=1, failed=1, deselected=2)
    project.path.joinpath("conftest.py").unlink()
    again = run(project, "--llmc-model=replay:out.jsonl", *flags[:1])
    again.assert_outcomes(passed=3, failed=1)
    assert "judged anew: 0 of 4 verdicts changed" in text_of(again)


def test_records_of_two_prompts_are_answers_to_no_third(project: pytest.Pytester) -> None:
    lines = []
    for template in ("meta", "mine"):
        record = {"case": "a.c", "function": "twice", "task": "asm", "passes": "O0", "sample": 0, "answer": TWICE}
        lines.append(json.dumps(record | {"prompt": template}) + "\n")
    put(project, "two.jsonl", "".join(lines))
    result = run(project, "--llmc-model=replay:two.jsonl", "--llmc-prompt=meta-without-counts")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    words = "two.jsonl holds answers to the prompts meta, mine, and none to meta-without-counts"
    assert words in text_of(result)


def test_a_prompt_that_shows_c(project: pytest.Pytester) -> None:
    project.makeconftest(PROMPT_MODEL)
    put(project, "cases/a.c", "// \xc3\xa4\n#include <stdlib.h>\n" + CASE + "int main(void) { return twice(0); }\n")
    put(project, "cases/b.ll", "define i32 @f() {\n  ret i32 1\n}\n")
    put(project, "c.txt", "{function} with {passes}:\n{c}")
    result = run(project, "--llmc-prompt=c.txt", "-s", "-rs")
    result.assert_outcomes(passed=2, skipped=1)
    [twice, low] = [line for line in result.outlines if "PROMPT" in line]
    assert "twice with O0:" in twice and "return (int)(2u * (unsigned)x); }" in twice
    assert r"unsigned char low(unsigned x);\nint main(void);" in twice
    assert "int twice(int x);" in low and "return (unsigned char)x; }" in low
    assert "b.ll: the prompt shows C source, and this case is IR" in text_of(result)


@pytest.mark.parametrize("value", ["meta,meta", "a/x.txt,b/x.txt", "meta,", ","])
def test_prompts_of_one_name_can_t_be_told_apart(project: pytest.Pytester, value: str) -> None:
    result = run(project, "--llmc-model=reference", f"--llmc-prompt={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--llmc-prompt: can't use '{value}': expected prompt templates of different names" in text_of(result)


def test_a_prompt_that_is_nearly_a_published_one_is_warned_about(project: pytest.Pytester) -> None:
    text = Template.load("meta").text
    put(project, "near.txt", text.replace("\n\n", "\n").replace("bytes.", "bytes"))
    put(project, "far.txt", text.replace("following", "next"))
    near = run(project, "--llmc-model=reference", "--llmc-prompt=near.txt", "--collect-only")
    assert "--llmc-prompt near.txt differs from the published prompt 'meta' only in blanks" in text_of(near)
    for other in ("far.txt", "meta"):
        result = run(project, "--llmc-model=reference", f"--llmc-prompt={other}", "--collect-only")
        assert "differs from the published prompt" not in text_of(result)


# -- two runs


def write(path: Path, *verdicts: str, function: str = "f", first: int = 0) -> None:
    """A record of some samples of a function, after what is there."""
    with path.open("a") as file:
        for sample, verdict in enumerate(verdicts, first):
            record = {"case": "a.c", "function": function, "task": "asm", "passes": "O0", "sample": sample}
            file.write(json.dumps(record | {"answer": "", "verdict": verdict, "detail": {}}) + "\n")


def test_two_recorded_runs_are_compared(project: pytest.Pytester) -> None:
    one, other = project.path / "one.jsonl", project.path / "other.jsonl"
    for number, (then, now) in enumerate([("pass", "hang"), *[("crash", "pass")] * 5, ("pass", "pass")]):
        write(one, then, function=f"f{number}")
        write(other, now, function=f"f{number}")
    write(other, "pass", function="alone")
    result = run(project, "--llmc-compare", "one.jsonl", "other.jsonl")
    assert result.ret == pytest.ExitCode.OK
    assert [line for line in result.outlines if line.strip()] == [
        "other.jsonl against one.jsonl, over 7 items of 7 functions that both have judged",
        "  pass@1  28.6 percent, then 85.7: +57.1 points (95 percent interval over functions -15.6 to +100.0)",
        "  better in 5 functions, worse in 1, equal in 1: exact McNemar p = 0.22",
        "  samples: pass 2, then 6; crash 5, then 0; hang 0, then 1",
        "  left out: 1 item that only other.jsonl has, such as a.c::alone[asm-O0]",
    ]


def test_what_was_not_judged_can_t_be_compared(project: pytest.Pytester) -> None:
    write(project.path / "one.jsonl", "pass")
    put(project, "raw.jsonl", '{"case":"a.c","function":"f","task":"asm","passes":"O0","sample":0,"answer":""}\n')
    put(project, "bad.jsonl", "{\n")
    for name, words in {
        "raw.jsonl": "raw.jsonl holds samples that were not judged: judge them first, with `pytest --llmc-model replay:raw",
        "bad.jsonl": "bad.jsonl:1: not JSON",
        "none.jsonl": "can't read the records none.jsonl: No such file or directory",
    }.items():
        result = run(project, "--llmc-compare", "one.jsonl", name)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"--llmc-compare: {words}" in text_of(result)


def test_runs_that_have_nothing_in_common(project: pytest.Pytester) -> None:
    write(project.path / "one.jsonl", "inconclusive")
    write(project.path / "other.jsonl", "pass")
    result = run(project, "--llmc-compare", "one.jsonl", "other.jsonl")
    assert "other.jsonl against one.jsonl: no question has judged samples in both" in result.outlines


def _run(verdicts: list[list[bool]]) -> RecordedRun:
    counts_by_item = {}
    for number, samples in enumerate(verdicts):
        key = QuestionKey("a.c", f"f{number}", "asm", "O0")
        kinds = tuple("pass" if passed else "crash" for passed in samples)
        counts_by_item[key] = SampleCounts(key, kinds, None, None, len(kinds))
    return RecordedRun("", counts_by_item)


SAMPLES = st.lists(st.booleans(), min_size=1, max_size=4)


@settings(deadline=None)
@given(st.lists(st.tuples(SAMPLES, SAMPLES), min_size=2, max_size=12))
def test_the_other_way_round_everything_is_turned_round(pairs: list[tuple[list[bool], list[bool]]]) -> None:
    first, second = _run([pair for pair, _ in pairs]), _run([other for _, other in pairs])
    there, back = compare_runs(first, second), compare_runs(second, first)
    assert there and back
    assert (there.first, there.second, there.better, there.worse) == (back.second, back.first, back.worse, back.better)
    assert math.isclose(there.low, -back.high) and math.isclose(there.high, -back.low)
    assert there.low <= there.second - there.first <= there.high
    assert -1 <= there.low <= there.high <= 1
    assert there.p_value == back.p_value and 0 < there.p_value <= 1


def test_mcnemar_s_test_is_the_binomial_one() -> None:
    first, second = _run([[False]] * 8 + [[True]] * 3), _run([[True]] * 8 + [[False]] + [[True]] * 2)
    comparison = compare_runs(first, second)
    assert comparison and (comparison.better, comparison.worse) == (8, 1)
    assert math.isclose(comparison.p_value, 2 * (1 + 9) / 2**9)


def test_pass_lists_of_two_runs_are_compared(project: pytest.Pytester) -> None:
    for passes, verdict in (("O0", "pass"), ("O2", "hang")):
        record = {"case": "a.c", "function": "f", "task": "asm", "passes": passes, "sample": 0, "answer": ""}
        put(project, f"{passes}.jsonl", json.dumps(record | {"verdict": verdict, "detail": {}}) + "\n")
    result = run(project, "--llmc-compare", "O0.jsonl", "O2.jsonl")
    assert "O2.jsonl (O2) against O0.jsonl (O0), over 1 item of 1 function that both have judged" in result.outlines


def test_shares_are_compared_exactly() -> None:
    def shares(*passed: int) -> RecordedRun:
        return _run([[number < few for number in range(10)] for few in passed])

    comparison = compare_runs(shares(1, 6, 3), shares(2, 7, 4))
    assert comparison and (comparison.better, comparison.worse) == (3, 0)
    assert comparison.high - comparison.low > 0.5, "three functions that differ alike say little of others"
    cluster = [QuestionKey("a.c", "f", "asm", passes) for passes in ("O0", "O2")]

    def one_function(*passed: int) -> RecordedRun:
        counts_by_item = {}
        for key, few in zip(cluster, passed):
            counts_by_item[key] = SampleCounts(key, ("pass",) * few + ("hang",) * (10 - few), None, None, 10)
        return RecordedRun("", counts_by_item)

    comparison = compare_runs(one_function(1, 6), one_function(3, 4))
    assert comparison and (comparison.better, comparison.worse) == (0, 0)
