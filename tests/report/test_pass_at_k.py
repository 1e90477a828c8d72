from __future__ import annotations

import random
import re
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.model.answer import QuestionKey
from pytest_llmcompiler.report.passk import SampleCounts, count_samples, estimate, pass_at_k
from pytest_llmcompiler.report.terminal import summary_lines


def question(function: str, passed: int, samples: int, passes: str = "O0") -> SampleCounts:
    verdicts = ("pass",) * passed + ("crash",) * (samples - passed)
    return SampleCounts(QuestionKey("a.c", function, "asm", passes), verdicts, 10, 20, samples)


def records(verdicts: str, function: str = "f", **more: Any) -> list[dict[str, Any]]:
    base = {"task": "asm", "case": "a.c", "function": function, "passes": "O0"} | more
    return [
        base
        | {
            "sample": number,
            "verdict": verdict,
            "detail": {"message": f"why {verdict}"},
            "tokens": {"prompt": 1000, "answer": 100 + number},
        }
        for number, verdict in enumerate(verdicts.split())
    ]


@settings(deadline=None)
@given(st.integers(1, 9), st.data())
def test_the_estimator_is_the_share_of_draws_with_a_pass(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-15)


@settings(deadline=None)
@given(st.integers(1, 3000), st.data())
def test_it_stays_exact_for_many_samples(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    value = pass_at_k(n, c, k)
    assert (value == 0) == (c == 0)
    assert 0 <= value <= 1
    if n - c < k:
        assert value == 1
    assert pass_at_k(n, c, 1) == pytest.approx(c / n, rel=1e-15)
    if k < n:
        assert value <= pass_at_k(n, c, k + 1)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 6), (5, 6, 1), (5, -1, 1), (5, 2, 0), (0, 0, 1)])
def test_what_has_no_value_is_an_error(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k} of {n} samples with {c} passes"):
        pass_at_k(n, c, k)


def test_the_mean_is_over_questions() -> None:
    mean = estimate([question("f", 1, 4), question("g", 4, 4), question("h", 0, 20)], 1)
    assert mean is not None
    assert mean.value == pytest.approx((0.25 + 1 + 0) / 3)
    assert 0 < mean.low < mean.value < mean.high < 1


@pytest.mark.parametrize("passed", [0, 20])
def test_the_interval_has_a_width_where_all_pass_or_all_fail(passed: int) -> None:
    widths = []
    for count in (2, 5, 30, 300):
        mean = estimate([question(f"f{number}", passed, 20) for number in range(count)], 1)
        assert mean is not None and (mean.low == 0 if passed == 0 else mean.high == 1)
        widths.append(mean.high - mean.low)
    assert widths == sorted(widths, reverse=True)
    assert 0.4 < widths[1] < 0.5 and 0.005 < widths[3] < 0.02


def test_more_samples_or_pass_lists_of_the_same_functions_do_not_narrow_it() -> None:
    passed = [0, 20, 0, 20, 20]
    few = estimate([question(str(number), c // 20, 1) for number, c in enumerate(passed)], 1)
    many = estimate([question(str(number), c, 20) for number, c in enumerate(passed)], 1)
    lists = [question(str(number), c, 20, level) for level in ("O0", "O1", "O2") for number, c in enumerate(passed)]
    assert few is not None and many is not None
    assert many.high - many.low == pytest.approx(few.high - few.low, rel=0.1)
    again = estimate(lists, 1)
    assert again is not None
    assert (again.low, again.high) == pytest.approx((many.low, many.high))


def test_one_function_says_nothing_about_others() -> None:
    mean = estimate([question("f", 10, 20), question("f", 12, 20, "O2")], 1)
    assert mean is not None and (mean.low, mean.high) == (0, 1)


@pytest.mark.parametrize(("functions", "samples", "k"), [(5, 5, 1), (10, 20, 5), (30, 20, 1)])
@pytest.mark.parametrize("shape", [(0.3, 0.3), (1, 1), (3, 0.5)])
def test_the_interval_covers_the_truth(functions: int, samples: int, k: int, shape: tuple[float, float]) -> None:
    draw = random.Random(f"{functions} {samples} {k} {shape}")
    truth = sum(1 - (1 - draw.betavariate(*shape)) ** k for _ in range(50_000)) / 50_000
    covered, runs = 0, 300
    for _ in range(runs):
        suite = []
        for number in range(functions):
            p = draw.betavariate(*shape)
            suite.append(question(str(number), sum(draw.random() < p for _ in range(samples)), samples))
        mean = estimate(suite, k)
        assert mean is not None
        covered += mean.low <= truth <= mean.high
    assert covered / runs > 0.9


def test_inconclusive_samples_are_in_neither_count() -> None:
    (counts,) = count_samples(records("pass inconclusive crash inconclusive assemble"))
    assert (counts.judged, counts.passed, counts.assembled) == (3, 1, 2)
    assert (counts.prompt_tokens, counts.answer_tokens) == (5000, 510)
    mean = estimate([counts], 3)
    assert mean is not None and mean.value == 1
    assert estimate([counts], 4) is None


def test_questions_with_too_few_samples_are_left_out_and_counted() -> None:
    mean = estimate([question("f", 5, 5), question("g", 0, 4)], 5)
    assert mean is not None and (mean.value, mean.left_out) == (1, 1)


def test_a_sample_recorded_again_counts_once() -> None:
    (counts,) = count_samples([*records("crash pass"), *records("pass")])
    assert counts.verdicts == ("pass", "pass")


SESSION = [
    *records("pass pass crash inconclusive"),
    *records("assemble assemble mismatch pass", "g"),
    *records("pass pass pass pass", "h", case="folder/of/many/other/things/list_of_structs.c"),
    *records("no-answer truncated link abi", "i", case="folder/of/many/other/things/list_of_structs.c", passes="O2"),
    *records("hang pass", "j", task="ir"),
]


def test_the_table() -> None:
    assert summary_lines(SESSION, [1, 2], 130) == TABLE.splitlines()


TABLE = """\
                                  items  samples        pass@1        pass@2  assembled  pass  no-answer  truncated  assemble
by task
  asm                                 4       16   47.9 (9-90)  62.5 (12-95)       66.7     7          1          1         2
  ir                                  1        2  50.0 (0-100)   100 (0-100)        100     1          0          0         0
by file
  a.c                                 3       10   47.2 (8-90)  83.3 (12-99)       77.8     4          0          0         2
  ...er/things/list_of_structs.c      2        8  50.0 (0-100)  50.0 (0-100)       62.5     4          1          1         0
by prompt tokens
  513 to 1,024                        5       18  48.3 (15-84)  70.0 (21-95)       70.6     8          1          1         2
overall                               5       18  48.3 (15-84)  70.0 (21-95)       70.6     8          1          1         2

                                  link  crash  hang  mismatch  abi  inconclusive  prompt tok  answer tok
by task
  asm                                1      1     0         1    1             1      16,000       1,624
  ir                                 0      0     1         0    0             0       2,000         201
by file
  a.c                                0      1     1         1    0             1      10,000       1,013
  ...er/things/list_of_structs.c     1      0     0         0    1             0       8,000         812
by prompt tokens
  513 to 1,024                       1      1     1         1    1             1      18,000       1,825
overall                              1      1     1         1    1             1      18,000       1,825

functions with the most failures: samples that pass, and how others fail
  folder/of/many/other/things/list_of_structs.c::i  0 of 4  1 no-answer, 1 truncated, 1 link, 1 abi
  a.c::g                                            1 of 4  2 assemble, 1 mismatch
  a.c::j                                            1 of 2  1 hang
  a.c::f                                            2 of 3  1 crash, 1 inconclusive

pass@k: in percent, the mean over items and its 95 percent interval over functions; assembled: in percent of the judged samples
1 inconclusive, counted neither as passed nor as failed:
  1 x why inconclusive: a.c::f[asm-O0]
"""


@settings(deadline=None)
@given(st.integers(20, 250), st.sets(st.sampled_from([1, 2, 5, 10])))
def test_the_table_fits_the_width_and_loses_no_column(width: int, ks: set[int]) -> None:
    lines = summary_lines(SESSION, sorted(ks), width)
    assert max(map(len, lines)) <= max(width, 40)
    words = " ".join(lines).split()
    headers = ["items", "samples", "assembled", *KINDS, *(f"pass@{k}" for k in ks)]
    assert [header for header in headers if header not in words] == []


def sized(prompt: int | None, instructions: int | None) -> dict[str, Any]:
    return {"tokens": {"prompt": prompt}, "detail": {"message": "", "instructions": instructions}}


def test_verdicts_by_size() -> None:
    prompts = [(1, None), (256, 5), (257, 5), (512, 5), (8192, 5), (8193, 5)]
    instructions = [(None, 8), (None, 9), (None, 16), (None, 17), (None, None)]
    session = [record | sized(*size) for size in (*prompts, *instructions) for record in records("pass", f"f{size}")]
    lines = summary_lines(session, [1], 200)
    rows = lines[lines.index("by IR instructions") : next(n for n, line in enumerate(lines) if "overall" in line)]
    assert [re.split(r"  +", line.strip())[:2] for line in rows] == [
        ["by IR instructions"],
        ["up to 8", "1"],
        ["9 to 16", "2"],
        ["17 to 32", "1"],
        ["by prompt tokens"],
        ["up to 256", "2"],
        ["257 to 512", "2"],
        ["4,097 to 8,192", "1"],
        ["8,193 to 16,384", "1"],
    ]


def test_the_ten_worst_functions() -> None:
    session = [
        record for number in range(14) for record in records("pass " * number + "crash " * (14 - number), f"f{number}")
    ]
    session += records("pass", "fine") + records("inconclusive", "unknown")
    lines = summary_lines(session, [1], 100)
    start = lines.index("functions with the most failures: samples that pass, and how others fail")
    assert [line.split()[0] for line in lines[start + 1 : lines.index("", start)]] == [f"a.c::f{n}" for n in range(10)]
    assert not any("most failures" in line for line in summary_lines(records("crash pass"), [1], 100))
    assert not any("most failures" in line for line in summary_lines(records("pass") + records("pass", "g"), [1], 100))


def test_colours_leave_the_widths_alone() -> None:
    def paint(text: str, colour: str) -> str:
        return f"<{colour}>{text}</>" if colour else text

    painted = "\n".join(summary_lines(SESSION, [1, 2], 130, paint))
    assert re.sub(r"<\w*>|</>", "", painted).splitlines() == TABLE.splitlines()
    assert "<green>" in painted and "<red>" in painted and "<yellow>" in painted


def test_without_records_there_is_no_table() -> None:
    assert summary_lines([], [1], 80) == []


def test_what_is_not_known_is_a_dash() -> None:
    lines = summary_lines([record | {"tokens": {}} for record in records("inconclusive")], [1, 5], 200)
    (line,) = (line for line in lines if line.startswith("overall"))
    assert line.split() == ["overall", "1", "1", "-", "-", "-", "0", "1"]
    assert not any("tok" in line for line in lines), "columns of which nothing is known are left out"
