"""What a run is held against: the baseline's file, its statistics, and thresholds."""

from __future__ import annotations

import json
import random
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmcompiler.errors import BaselineError
from pytest_llmcompiler.model.answer import QuestionKey
from pytest_llmcompiler.report.baseline import Baseline, BaselineCounts, Change, fisher_p_value, paired_test
from pytest_llmcompiler.report.pass_criteria import PassCriteria, SessionOutcome
from pytest_llmcompiler.report.passk import SampleCounts


def item(function: str, passed: int, judged: int, inconclusive: int = 0) -> SampleCounts:
    verdicts = ("pass",) * passed + ("crash",) * (judged - passed) + ("inconclusive",) * inconclusive
    return SampleCounts(QuestionKey("a.c", function, "asm", "O0"), verdicts, None, None, judged)


def known(**items: tuple[int, int]) -> Baseline:
    return Baseline("b.jsonl", 20, {f"a.c::{name}[asm-O0]": BaselineCounts(*both, 20) for name, both in items.items()})


# -- the file


def test_the_file_is_sorted_one_line_an_item(tmp_path: Path) -> None:
    items = [item("g", 0, 3, 1), item("f", 4, 4), item("é", 0, 0, 4)]
    Baseline("b.jsonl", 4, {}).updated(items).write(tmp_path / "b.jsonl", "model x")
    assert (tmp_path / "b.jsonl").read_text() == (
        '{"schema": 1, "model": "model x", "samples": 4}\n'
        '{"item": "a.c::f[asm-O0]", "passed": 4, "judged": 4, "samples": 4}\n'
        '{"item": "a.c::g[asm-O0]", "passed": 0, "judged": 3, "samples": 4}\n'
        '{"item": "a.c::\\u00e9[asm-O0]", "passed": 0, "judged": 0, "samples": 4}\n'
    )
    again = Baseline.read(tmp_path / "b.jsonl")
    assert again.samples == 4 and {again.compare(item_counts, 0).kind for item_counts in items} == {"same"}
    assert [path.name for path in tmp_path.iterdir()] == ["b.jsonl"]


HEADER = '{"schema": 1, "model": "m", "samples": 4}\n'
ENTRY = '{"item": "a.c::f[asm-O0]", "passed": 1, "judged": 2, "samples": 4}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: remove it"),
        ("<<<<<<< HEAD\n", ":1: not JSON"),
        (ENTRY, ':1: expected the header of a baseline, {"schema": 1'),
        (HEADER.replace("1", "2", 1), ":1: expected the header"),
        (HEADER.replace("4", "-4"), ":1: expected a whole number as 'samples', found -4"),
        (HEADER + ENTRY + "=======\n", ":3: not JSON"),
        (HEADER + "[1]\n", ":2: expected a JSON object, found \\[1\\]"),
        (HEADER + ENTRY + ENTRY, r":3: a.c::f\[asm-O0\] is there twice"),
        (HEADER + ENTRY.replace("item", "name"), ":2: expected the name of an item as 'item'"),
        (HEADER + ENTRY.replace("1", "true", 1), ":2: expected a whole number as 'passed', found True"),
        (HEADER + ENTRY.replace("1", "3", 1), r":2: a.c::f\[asm-O0\] can't have 3 of 2 of 4 samples"),
    ],
)
def test_a_file_that_is_no_baseline_is_an_error_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b.jsonl").write_text(text)
    with pytest.raises(BaselineError, match=rf"b\.jsonl ?{message}"):
        Baseline.read(tmp_path / "b.jsonl")


def test_what_cant_be_read_or_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BaselineError, match=r"no .*b\.jsonl yet: write it with --llmc-update-baseline"):
        Baseline.read(tmp_path / "b.jsonl")
    with pytest.raises(BaselineError, match="can't read"):
        Baseline.read(tmp_path)
    for path in (tmp_path / "file/b.jsonl", tmp_path / "none/b.jsonl"):
        with pytest.raises(BaselineError, match=r"can't write .*b\.jsonl: N"):
            known().write(path, "m")


# -- what got worse


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_the_chance_is_the_share_of_ways_to_deal_the_passing_samples(then: int, now: int, data: st.DataObject) -> None:
    before, after = data.draw(st.integers(0, then)), data.draw(st.integers(0, now))
    ways = list(combinations(range(then + now), before + after))
    share = sum(sum(sample < now for sample in way) <= after for way in ways) / len(ways)
    assert fisher_p_value(BaselineCounts(before, then, then), BaselineCounts(after, now, now)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("share", "then", "now", "kind"),
    [
        (0, (1, 20), (0, 20), "worse"),  # passed, and does not now
        (0, (0, 20), (1, 20), "better"),
        (0, (20, 20), (19, 20), "same"),
        (1, (20, 20), (19, 20), "worse"),
        (1, (19, 20), (20, 20), "better"),
        (1, (19, 20), (1, 20), "worse"),  # failed before, but not like this
        (0.5, (10, 20), (9, 20), "worse"),
        (0, (18, 20), (2, 20), "worse"),
        (0, (2, 20), (18, 20), "better"),
        (0, (12, 20), (8, 20), "same"),
        (0, (0, 20), (0, 20), "same"),
        (0, (3, 20), (0, 0), "not judged"),
        (0, (0, 0), (0, 0), "same"),
        (0, (0, 0), (0, 20), "new"),
    ],
)
def test_an_item_against_the_baseline(share: float, then: tuple[int, int], now: tuple[int, int], kind: str) -> None:
    assert known(f=then).compare(item("f", *now), share).kind == kind


def test_the_more_items_the_rarer_each_may_look_worse_by_chance() -> None:
    few, many = known(f=(15, 20)), known(f=(15, 20), **{f"g{number}": (9, 20) for number in range(500)})
    assert few.compare(item("f", 5, 20), 0).kind == "worse"
    assert many.compare(item("f", 5, 20), 0).kind == "same"
    assert many.compare(item("f", 1, 20), 0).kind == "worse"


def run_of(draw: random.Random, rates: list[float]) -> list[SampleCounts]:
    return [item(f"f{number}", sum(draw.random() < rate for _ in range(20)), 20) for number, rate in enumerate(rates)]


def test_what_did_not_get_worse_seldom_looks_so_and_what_did_is_found() -> None:
    draw = random.Random(7)
    alarms = detected = 0
    for _ in range(200):
        rates = [draw.uniform(0.4, 0.9) for _ in range(30)]
        baseline = known().updated(run_of(draw, rates))
        same = [baseline.compare(item_counts, 0) for item_counts in run_of(draw, rates)]
        lower = [baseline.compare(item_counts, 0) for item_counts in run_of(draw, [0.8 * rate for rate in rates])]
        moved, fell = paired_test(same), paired_test(lower)
        assert moved and fell
        alarms += moved.p_value <= 0.01 or any(change.kind == "worse" for change in same)
        detected += fell.p_value <= 0.01
    assert alarms <= 8, "twice 1 percent of 200"
    assert detected >= 195


def test_items_are_compared_with_themselves() -> None:
    easy, hard = BaselineCounts(20, 20, 20), BaselineCounts(0, 20, 20)
    assert paired_test([Change("easy", "same", easy, easy), Change("hard", "same", hard, hard)]) is not None
    moved = paired_test(
        [Change("f", "same", BaselineCounts(10, 20, 20), BaselineCounts(5, 20, 20)), Change("new", "new", None, easy)]
    )
    assert moved is not None and (moved.items, moved.then, moved.now) == (1, 0.5, 0.25)
    # The normal approximation is near Fisher's exact test of the one item.
    assert moved.p_value == pytest.approx(
        fisher_p_value(BaselineCounts(10, 20, 20), BaselineCounts(5, 20, 20)), abs=0.005
    )
    assert paired_test([Change("new", "new", None, easy)]) is None


# -- what becomes of items and sessions


def pass_criteria(
    tmp_path: Path, baseline: Baseline | None, share: float | None = 0, *, update: bool = False, **least: float
) -> PassCriteria:
    criteria = PassCriteria(share, 20, {f"pass@{k[1:]}": value for k, value in least.items()})
    if baseline:
        baseline.write(tmp_path / "b.jsonl", "m")
        criteria.load(tmp_path / "b.jsonl", update=update)
    return criteria


def test_without_a_baseline_the_share_rules(tmp_path: Path) -> None:
    assert pass_criteria(tmp_path, None).decide(item("f", 1, 20)).kind == "passed"
    assert pass_criteria(tmp_path, None, 0.5).decide(item("f", 9, 20)).kind == "failed"
    none = pass_criteria(tmp_path, None, None)
    assert [none.decide(item("f", passed, 20)).kind for passed in (0, 1)] == ["known", "passed"]


def test_with_a_baseline_only_what_is_worse_fails(tmp_path: Path) -> None:
    criteria = pass_criteria(tmp_path, known(good=(9, 20), bad=(0, 20)))
    decisions = [
        criteria.decide(item(name, passed, 20)) for name, passed in (("good", 0), ("bad", 0), ("new", 0), ("bad", 3))
    ]
    assert [(decision.kind, decision.message) for decision in decisions] == [
        ("worse", "worse than b.jsonl: 9 of 20 samples passed, now 0 of 20"),
        ("known", "0 of 20 samples pass; known to b.jsonl"),
        ("known", "0 of 20 samples pass; not judged in b.jsonl"),
        ("passed", "3 of 20 samples pass; known to b.jsonl"),
    ]
    updating = pass_criteria(tmp_path, known(good=(9, 20)), update=True)
    assert [updating.decide(item("good", passed, 20)).kind for passed in (0, 1)] == ["known", "passed"]


def close(criteria: PassCriteria, *items: SampleCounts) -> SessionOutcome:
    return criteria.close(items, items, "m", "pytest cases")


def test_the_end_of_a_session_names_what_changed(tmp_path: Path) -> None:
    criteria = pass_criteria(tmp_path, known(a=(9, 20), b=(0, 20), c=(5, 20), d=(7, 20), not_run=(4, 20)))
    now = [item("b", 2, 20), item("a", 0, 20), item("c", 0, 0, 20), item("d", 7, 20), item("e", 0, 20)]
    assert close(criteria, *now) == SessionOutcome(
        [
            "against b.jsonl: 1 worse, 1 better, 1 new, 1 not judged, 1 as before",
            "  worse       a.c::a[asm-O0]: 9 of 20 samples passed, now 0 of 20",
            "  better      a.c::b[asm-O0]: 0 of 20 samples passed, now 2 of 20",
            "  new         a.c::e[asm-O0]: 0 of 20 samples pass",
            "  not judged  a.c::c[asm-O0]: 5 of 20 samples passed, now 0 of 0",
            "pass@1 of 3 items: 26.7 percent, now 15.0",
            "to update the baseline, the items that are worse included: pytest cases --llmc-update-baseline",
        ],
        True,
    )
    assert close(criteria, item("d", 7, 20)) == SessionOutcome(["against b.jsonl: 1 as before"], False)
    assert close(criteria) == SessionOutcome([], False)


def test_what_no_item_shows_pass_at_1_does(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(30)]
    criteria = pass_criteria(tmp_path, known(**dict.fromkeys(names, (14, 20))))
    outcome = close(criteria, *(item(name, 11, 20) for name in names))
    assert outcome.failed
    assert outcome.lines[0] == "against b.jsonl: 30 moved within chance, 0 as before"
    assert outcome.lines[1].startswith("FAIL: pass@1 of 30 items: 70.0 percent, now 55.0, which chance alone ")


def test_an_update_leaves_what_was_not_run_as_it_is(tmp_path: Path) -> None:
    criteria = pass_criteria(tmp_path, known(a=(9, 20), b=(0, 20)), update=True)
    outcome = close(criteria, item("b", 5, 20), item("a2", 1, 20))
    assert not outcome.failed and outcome.lines[-1] == f"2 items written to {tmp_path / 'b.jsonl'}"
    lines = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()[1:]]
    assert [(line["item"][5:-8], line["passed"]) for line in lines] == [("a2", 1), ("a", 9), ("b", 5)]


def test_a_baseline_that_cant_be_written_fails_the_session_and_lists_changes(tmp_path: Path) -> None:
    criteria = pass_criteria(tmp_path, known(a=(0, 20)), update=True)
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "b.jsonl").mkdir()
    outcome = close(criteria, item("a", 5, 20))
    assert outcome.failed and outcome.lines[1].startswith("  better  a.c::a[asm-O0]")
    assert outcome.lines[-1].startswith(f"FAIL: can't write {tmp_path / 'b.jsonl'}: ")


def test_another_number_of_samples_is_an_error(tmp_path: Path) -> None:
    known(f=(1, 2)).write(tmp_path / "b.jsonl", "m")
    for update in (True, False):
        with pytest.raises(BaselineError, match="holds 20 samples an item, and --llmc-samples is 5: "):
            PassCriteria(0, 5, {}).load(tmp_path / "b.jsonl", update=update)


def test_what_reaches_a_threshold_exactly_reaches_it(tmp_path: Path) -> None:
    """1/10 and 7/10 are no fractions of two, and neither is 0.4."""
    assert not close(pass_criteria(tmp_path, None, k1=0.4), item("f", 1, 10), item("g", 7, 10)).failed
    assert BaselineCounts(55, 100, 100).suffice(0.55) and BaselineCounts(7, 25, 25).suffice(0.28)


def test_many_samples_are_compared_in_no_time() -> None:
    assert fisher_p_value(
        BaselineCounts(50_000, 100_000, 100_000), BaselineCounts(49_000, 100_000, 100_000)
    ) == pytest.approx(4e-6, rel=0.1)


def test_thresholds(tmp_path: Path) -> None:
    items = [item("f", 15, 20), item("g", 0, 1)]
    criteria = pass_criteria(tmp_path, None, k1=0.37, k5=0.9, k10=1.0)
    assert close(criteria, *items) == SessionOutcome([], False)
    assert close(pass_criteria(tmp_path, None, k1=0.3751, k20=0.5), *items) == SessionOutcome(
        ["FAIL: pass@1 of at least 37.51 percent is required (--llmc-fail-under); found 37.50"], True
    )
    assert close(pass_criteria(tmp_path, None, k1=1 / 3), item("f", 333_333, 1_000_000)).lines == [
        "FAIL: pass@1 of at least 33.3333 percent is required (--llmc-fail-under); found 33.33"
    ]
    assert close(pass_criteria(tmp_path, None, k2=0.1), item("g", 1, 1, 19)) == SessionOutcome(
        ["FAIL: pass@2 of at least 10 percent is required (--llmc-fail-under); no item has 2 judged samples"], True
    )
