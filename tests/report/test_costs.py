"""Speed and size of right answers: means over functions, tables, thresholds, baselines, comparisons."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from sessions import LOW, TWICE, records, replay, run, text_of

from pytest_llmcompiler.errors import BaselineError
from pytest_llmcompiler.model.answer import QuestionKey
from pytest_llmcompiler.report.baseline import Baseline, BaselineCounts, Change, paired_cost_test, signed_rank_p_value
from pytest_llmcompiler.report.cost_estimate import estimate_cost
from pytest_llmcompiler.report.cost_ratios import MEASURES, SIZE, SPEED, average_ratios, read_ratios
from pytest_llmcompiler.report.pass_criteria import PassCriteria
from pytest_llmcompiler.report.passk import SampleCounts
from pytest_llmcompiler.report.terminal import summary_lines

NOPS = ":\n" + 6 * "\tnop\n"


def cost(instructions: int, size: int = 10, *, o3: int = 1000, oz: int = 10) -> dict[str, Any]:
    references = {"O3": {"instructions": o3, "bytes": 2 * oz}, "Oz": {"instructions": 2 * o3, "bytes": oz}}
    return {"instructions": instructions, "bytes": size, "references": references}


def item(function: str, *speeds: float, passes: str = "O0") -> SampleCounts:
    """A question all of whose samples pass, each so many times as fast as clang -O3."""
    costs = average_ratios(cost(1000, o3=round(1000 * speed)) for speed in speeds)
    return SampleCounts(
        QuestionKey("a.c", function, "asm", passes), ("pass",) * len(speeds), None, None, len(speeds), costs=costs
    )


def record(function: str, sample: int, verdict: str, **detail: Any) -> Any:
    return {
        "case": "a.c",
        "function": function,
        "task": "asm",
        "passes": "O0",
        "sample": sample,
        "answer": "",
        "verdict": verdict,
        "detail": detail,
    }


def test_ratios_are_above_1_where_the_answer_is_better() -> None:
    assert read_ratios(cost(500, 40)) == {"speed@O3": 2.0, "speed@Oz": 4.0, "size@O3": 0.5, "size@Oz": 0.25}


@pytest.mark.parametrize(
    "broken",
    [None, 3, {}, {"instructions": 5}, cost(0), cost(5) | {"references": [1]}, cost(5) | {"references": {"O3": None}}],
)
def test_what_is_no_cost_has_no_ratio(broken: object) -> None:
    assert SPEED not in read_ratios(broken)


def test_functions_count_once_however_many_answers_pass() -> None:
    items = [item("f", 2.0, 2.0, 2.0), item("f", 2.0, passes="O2"), item("g", 0.5), SampleCounts(
        QuestionKey("a.c", "h", "asm", "O0"), ("crash",), None, None, 1
    )]  # fmt: skip
    mean = estimate_cost(items, SPEED)
    assert mean is not None and (mean.value, mean.functions) == (pytest.approx(1.0), 2)
    # Two logarithms, +-log 2: their deviation is log 2 times the root of 2, and t for one degree of freedom is 12.7.
    assert mean.high == pytest.approx(math.exp(12.706205 * math.log(2)), rel=1e-4)
    assert mean.low == pytest.approx(1 / mean.high)
    assert estimate_cost(items[-1:], SPEED) is None


def test_one_function_has_no_interval() -> None:
    mean = estimate_cost([item("f", 1.5)], SPEED)
    assert mean is not None and str(mean) == "1.50" and (mean.low, mean.high) == (0.0, math.inf)


def test_the_interval_holds_its_level() -> None:
    """Of many draws of ten functions from a population, 95 % of the intervals have its mean."""
    import random

    draw, hits = random.Random(5), 0
    for _ in range(2000):
        mean = estimate_cost([item(f"f{n}", math.exp(draw.gauss(0.1, 0.3))) for n in range(10)], SPEED)
        assert mean is not None
        hits += mean.low <= math.exp(0.1) <= mean.high
    assert 0.935 < hits / 2000 < 0.965


def test_the_table_has_speed_and_size_of_what_passes() -> None:
    samples = [
        record("f", 0, "pass", cost=cost(500)),
        record("f", 1, "crash", cost=cost(1)),
        record("g", 0, "pass", cost=cost(2000, 20)),
        record("h", 0, "hang"),
    ]
    lines = summary_lines(samples, [1], 200)
    header, overall = lines[0].split(), next(line for line in lines if line.startswith("overall"))
    assert header[2:5] == ["pass@1", SPEED, SIZE]
    assert "1.00 (" in overall and "0.71 (" in overall
    text = " ".join(" ".join(lines).split())
    assert (
        "geometric mean over 2 functions" in text and "speed against O3 1.00" in text and "size against O3 1.41" in text
    )
    assert "slowest, by speed@O3: a.c::g 0.50" in text and "largest, by size@Oz: a.c::g 0.50" in text
    assert not any("speed" in line for line in summary_lines(samples[3:], [1], 200))


def test_thresholds_are_about_functions_with_right_answers() -> None:
    items = [
        item("f", 0.8),
        item("g", 1.2),
        SampleCounts(QuestionKey("a.c", "h", "asm", "O0"), ("hang",), None, None, 1),
    ]
    assert not PassCriteria(0, 1, {SPEED: 0.9}).close((), items, "m", "").failed
    outcome = PassCriteria(0, 1, {SPEED: 0.99, "pass@1": 0.9, "speed@O0": 2}).close((), items, "m", "")
    assert outcome.failed and outcome.lines == [
        "FAIL: pass@1 of at least 90 percent is required (--llmc-fail-under); found 66.66",
        "FAIL: speed@O0 of at least 2 is required (--llmc-fail-under); no passing sample has it",
        "FAIL: speed@O3 of at least 0.99 is required (--llmc-fail-under); found 0.9797",
    ]


# -- the baseline


def change(function: str, then: float, now: float, passes: str = "O0") -> Change:
    before, after = (BaselineCounts(1, 1, 1, {SPEED: speed}) for speed in (then, now))
    return Change(f"a.c::{function}[asm-{passes}]", "same", before, after)


def test_the_signed_rank_test_counts_all_signs() -> None:
    """The p-value is the share of the ways to sign the differences that give so small a sum of positive ranks."""
    for differences in ([-0.1, -0.2, 0.3, -0.4], [0.5, -0.1, -0.1, -0.7, 0.2], [-1.0] * 7):
        ordered = sorted(map(abs, differences))
        ranks = [
            sum(i + 1 for i, other in enumerate(ordered) if other == abs(d)) / ordered.count(abs(d))
            for d in differences
        ]
        found = sum(rank for rank, d in zip(ranks, differences, strict=True) if d > 0)
        ways = [
            sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
            for signs in itertools.product((False, True), repeat=len(ranks))
        ]
        assert signed_rank_p_value([*differences, 0.0]) == pytest.approx(sum(way <= found for way in ways) / len(ways))
    assert signed_rank_p_value([]) == signed_rank_p_value([0.0]) == 1.0


def test_many_differences_are_taken_for_normal() -> None:
    differences = [(-1) ** n * (n + 1.0) - 6 for n in range(50)]
    exact = signed_rank_p_value(differences)
    assert 0.01 < exact < 0.5
    assert signed_rank_p_value([*differences, 1e-9]) == pytest.approx(exact, abs=0.01)


def test_slower_code_of_many_functions_is_worse() -> None:
    test = paired_cost_test([change(f"f{n}", 1.0, 0.9) for n in range(8)], SPEED)
    assert test is not None and (test.items, test.then, test.now) == (8, 1.0, pytest.approx(0.9))
    assert test.p_value == 1 / 256
    # Questions about one function are one pair.
    alike = paired_cost_test([change("f", 1.0, 0.9, passes) for passes in ("O0", "O1", "O2", "O3")], SPEED)
    assert alike is not None and alike.p_value == 0.5
    assert paired_cost_test([Change("f", "new", None, BaselineCounts(1, 1, 1, {SPEED: 1.0}))], SPEED) is None


def test_a_baseline_fails_what_got_slower(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    fast, slow = ([item(f"f{n}", speed) for n in range(8)] for speed in (1.0, 0.5))
    criteria = PassCriteria(0, 1, {})
    criteria.load(path, update=True)
    assert not criteria.close(fast, fast, "m", "pytest").failed
    line = json.loads(path.read_text().splitlines()[1])
    assert line == {"item": "a.c::f0[asm-O0]", "passed": 1, "judged": 1, "samples": 1, SPEED: 1.0, SIZE: 1.0}

    def outcome(items: list[SampleCounts]) -> Any:
        criteria.load(path, update=False)
        return criteria.close(items, items, "m", "pytest")

    assert outcome(fast) == outcome(fast) and not outcome(fast).failed
    worse = outcome(slow)
    assert worse.failed and worse.lines[-1] == (
        "FAIL: speed@O3 of 8 functions: 1.000, now 0.500, which chance alone brings about with a probability of 0.0039"
    )
    assert not outcome(slow[:3]).failed  # three may be chance
    better = outcome([item(f"f{n}", 2.0) for n in range(8)])
    assert not better.failed and better.lines[-1].startswith("to update the baseline")


def test_a_broken_cost_in_a_baseline_is_named(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text(
        '{"schema": 1, "model": "m", "samples": 1}\n'
        '{"item": "a.c::f[asm-O0]", "passed": 1, "judged": 1, "samples": 1, "speed@O3": "fast"}\n'
    )
    with pytest.raises(BaselineError, match=r"b\.jsonl:2: expected a number above 0 as 'speed@O3', found 'fast'"):
        Baseline.read(path)


# -- sessions


def test_records_tables_and_comparisons_of_two_runs(project: pytest.Pytester) -> None:
    slow = [("twice", TWICE.replace(":\n", NOPS)), ("low", LOW.replace(":\n", NOPS))]
    models = {"slow": replay(project, *slow, passes="O2"), "clang": "--llmc-model=reference"}
    for name, model in models.items():
        result = run(project, model, "--llmc-record", f"{name}.jsonl", "--llmc-passes", "O2")
        assert result.ret == 0 and "geometric mean over 2 functions" in " ".join(text_of(result).split())
    for record in records(project.path / "clang.jsonl"):
        ratios = read_ratios(record["detail"]["cost"])
        assert ratios.keys() == set(MEASURES) and ratios["speed@O2"] <= 1.0 <= ratios["speed@O0"]
    compared = text_of(run(project, "--llmc-compare", "slow.jsonl", "clang.jsonl"))
    assert re.search(
        r"speed@O3  0.25, then 0.40: 1.6. .+ times as good in 2 functions with right answers in both", compared
    )
    failed = run(project, models["slow"], "--llmc-passes", "O2", "--llmc-fail-under", "speed@O2=0.99")
    assert failed.ret == 1 and "FAIL: speed@O2 of at least 0.99 is required" in text_of(failed)
